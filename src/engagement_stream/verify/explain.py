"""For each example the field that differs: both rows are fetched by id and laid side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from engagement_stream.broker.consumer import read_range
from engagement_stream.model.change import EventRow, decode_event_change
from engagement_stream.model.engagement import Engagement, decode_engagement
from engagement_stream.settings import Settings
from engagement_stream.verify.canon import JOINED_FIELDS, SOURCE_FIELDS, canonical
from engagement_stream.verify.expected import expected
from engagement_stream.verify.ledger import Ledger
from engagement_stream.verify.raw_topic import Contents
from engagement_stream.verify.receiver import embedded_receiver, receiver_data
from engagement_stream.verify.report import Finding
from engagement_stream.verify.source import rows_now

_LONGEST = 120


def explain(settings: Settings, data_dir: Path, ledger: Ledger, findings: Sequence[Finding]) -> list[Finding]:
    """The same findings; those that are wrong say in which field."""
    found: list[Finding] = list(findings)
    for place, differences in (
        ("raw topic", _in_raw),
        ("enriched", _in_enriched),
        ("bigquery", _in_bigquery),
        ("receiver", _at_receiver),
    ):
        at = [i for i, f in enumerate(found) if f.place == place and f.kind == "wrong" and not f.detail]
        if at:
            details = differences(settings, data_dir, ledger, [int(found[i].id) for i in at])
            for i in at:
                found[i] = msgspec.structs.replace(found[i], detail=details.get(int(found[i].id), "another value"))
    return found


def fields(wanted: Mapping[str, object], here: Mapping[str, object]) -> str:
    """The fields that differ, in words; empty when none does. Pure."""
    return "; ".join(
        f"{name} is {_short(here.get(name))}, should be {_short(value)}"
        for name, value in wanted.items()
        if here.get(name) != value
    )


def _in_raw(settings: Settings, _data_dir: Path, ledger: Ledger, ids: list[int]) -> dict[int, str]:
    now = rows_now(settings.postgres, ids)
    details = {}
    for event_id in ids:
        for part, offset in ledger.rows("select part, off from raw where id = ?", event_id):
            row = decode_event_change(_record(settings, settings.kafka.events_topic, part, offset)).after
            if row is not None and event_id in now:
                details[event_id] = fields(_row(now[event_id]), _row(row))
    return details


def _in_enriched(settings: Settings, _data_dir: Path, ledger: Ledger, ids: list[int]) -> dict[int, str]:
    contents = Contents()
    contents.read(settings.kafka)
    details = {}
    for event_id in ids:
        here = _enriched(settings, ledger, event_id)
        for part, offset in ledger.rows("select part, off from raw where id = ?", event_id):
            change = decode_event_change(_record(settings, settings.kafka.events_topic, part, offset))
            wanted = expected(change, contents.versions)
            if wanted is None:
                details[event_id] = "it cannot be enriched and belongs into the dead-letter queue"
            elif here is not None:
                details[event_id] = fields(msgspec.structs.asdict(wanted), msgspec.structs.asdict(here)) or "its bytes"
    return details


def _in_bigquery(settings: Settings, _data_dir: Path, ledger: Ledger, ids: list[int]) -> dict[int, str]:
    from engagement_stream.verify.bigquery import bigquery_rows

    rows = bigquery_rows(settings.bigquery, ids)
    names = (*SOURCE_FIELDS, *JOINED_FIELDS, "_topic_partition", "_offset")
    details = {}
    for event_id in ids:
        wanted = _enriched(settings, ledger, event_id)
        places = ledger.rows("select part, off from enriched where id = ?", event_id)
        for (own, joined), place in rows.get(event_id, [])[:1]:
            if wanted is not None:
                ((own_wanted, joined_wanted),) = canonical([wanted])
                wanted_values = own_wanted + joined_wanted + tuple(next(places))
                details[event_id] = fields(
                    dict(zip(names, wanted_values, strict=True)), dict(zip(names, own + joined + place, strict=True))
                )
    return details


def _at_receiver(settings: Settings, data_dir: Path, ledger: Ledger, ids: list[int]) -> dict[int, str]:
    receiver = embedded_receiver(settings.http, data_dir)
    details = {}
    for event_id, kept in (receiver_data(receiver, set(ids)) if receiver else {}).items():
        wanted = _enriched(settings, ledger, event_id)
        if wanted is not None:
            held = msgspec.json.decode(kept[0], type=dict[str, object])
            details[event_id] = fields(msgspec.to_builtins(wanted), held) or "its bytes"
    return details


def _enriched(settings: Settings, ledger: Ledger, event_id: int) -> Engagement | None:
    for part, offset in ledger.rows("select part, off from enriched where id = ?", event_id):
        return decode_engagement(_record(settings, settings.kafka.enriched_topic, part, offset))
    return None


def _record(settings: Settings, topic: str, partition: int, offset: int) -> bytes:
    for message in read_range(settings.kafka, topic, partition, offset, end=offset + 1):
        value = message.value()
        return value if isinstance(value, bytes) else b""
    return b""


def _row(row: EventRow) -> dict[str, object]:
    return msgspec.structs.asdict(row)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... ({len(text)} characters)"
