"""The two captured tables: which columns must be there, and how a row of theirs is told and keyed. Pure."""

from collections.abc import Callable
from dataclasses import dataclass

from engagement_stream.capture.envelope import Row, row_format, source_table
from engagement_stream.capture.inserted import Inserted, inserted_reader
from engagement_stream.capture.pgoutput import Column, Relation
from engagement_stream.capture.values import INTEGER_OIDS, TIMESTAMPTZ_OID, UUID_OID, is_text
from engagement_stream.errors import Fatal

EVENTS = "engagement_events"
CONTENT = "content"

_NEEDED = {
    EVENTS: {
        "id": "bigint",
        "content_id": "uuid",
        "user_id": "uuid",
        "event_type": "text",
        "event_ts": "timestamptz",
        "duration_ms": "integer",
        "device": "text",
        "raw_payload": "jsonb",
    },
    CONTENT: {
        "id": "uuid",
        "slug": "text",
        "title": "text",
        "content_type": "text",
        "length_seconds": "integer",
        "publish_ts": "timestamptz",
    },
}
"""What enrichment reads. Any integer type does for an integer, any type told as text for text and jsonb."""


def _fits(type_oid: int, wanted: str) -> bool:
    if wanted in {"bigint", "integer"}:
        return type_oid in INTEGER_OIDS
    if wanted == "uuid":
        return type_oid == UUID_OID or is_text(type_oid)
    if wanted == "timestamptz":
        return type_oid == TIMESTAMPTZ_OID
    return is_text(type_oid)


def misfit(table: str, columns: tuple[Column, ...]) -> str | None:
    """The first needed column that is missing or has another type, as a sentence; None if all is well."""
    found = {column.name: column.type_oid for column in columns}
    for name, wanted in _NEEDED[table].items():
        if name not in found:
            return f"column {name} of table {table} is gone"
        if not _fits(found[name], wanted):
            return f"column {name} of table {table} is not {wanted} any more"
    return None


@dataclass(slots=True)
class Table:
    """One version of a table's definition. Index numbers point into a row's values."""

    relation: Relation
    is_events: bool
    encode: Callable[[Row], bytes]
    inserted: Inserted | None
    """None for content: its rows are few, and they move the catalog's position."""
    source: bytes
    id_at: int
    content_id_at: int
    payload_at: int
    """Of raw_payload; -1 for content."""
    head: bytes = b""
    """`source` with the present transaction's part; set at each Begin."""

    def key(self, values: Row) -> bytes:
        """The Kafka key: the content's id, or the event's where it is NULL."""
        return values[self.content_id_at] or values[self.id_at] or b""


def table_of(relation: Relation, connector: str, database: str) -> Table | None:
    """None for a table that is not ours. Raises Fatal when a column that enrichment needs is gone or retyped."""
    if relation.name not in _NEEDED:
        return None
    problem = misfit(relation.name, relation.columns)
    if problem is not None:
        raise Fatal(
            f"{problem}, and enrichment needs it",
            remedy=f"undo the change of {relation.schema}.{relation.name}; rows written meanwhile lack it "
            "for good: set CAPTURE_SLOT to a new name and CAPTURE_SNAPSHOT=never, then backfill from that time on",
        )
    names = [column.name for column in relation.columns]
    is_events = relation.name == EVENTS
    id_at = names.index("id")
    return Table(
        relation,
        is_events,
        row_format(relation.columns),
        inserted_reader(relation, "content_id", "id") if is_events else None,
        source_table(connector, database, relation.schema, relation.name),
        id_at,
        names.index("content_id") if is_events else id_at,
        names.index("raw_payload") if is_events else -1,
    )
