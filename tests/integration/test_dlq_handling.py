"""Handling dead letters on a real Kafka: sent back once whoever asks and whatever dies, and only where they failed."""

import signal
import threading

import msgspec
import pytest

from engagement_stream.broker.retry import replay_of
from engagement_stream.cli import main
from engagement_stream.dlq.handling import Handling, TakenOver
from engagement_stream.dlq.letter import Filter
from engagement_stream.dlq.showing import read_content
from engagement_stream.settings import KafkaSettings
from tests.fixtures.dead_letters import (
    Operator,
    command_environment,
    dying_command,
    letter,
    operating,
    pass_by,
    put_letters,
    sent_back,
)

_ONE = "http/{topic}/1/7"

KILLED_AT = [
    "dlq.before_begin",
    "dlq.after_produce",
    "transaction.before_commit",
    "transaction.after_commit",
    "dlq.after_commit",
]


@pytest.fixture
def kafka(kafka_settings: KafkaSettings) -> KafkaSettings:
    """Three letters of the http sink, which is past their records; one of them was written twice."""
    topic = kafka_settings.enriched_topic
    letters = [letter("http", topic, p, o, b'{"n":%d}' % o) for p, o in ((1, 7), (1, 8), (2, 3))]
    put_letters(kafka_settings, [*letters, letters[0]])
    pass_by(kafka_settings, "http", topic, 100)
    return kafka_settings


def test_a_letter_written_twice_is_one_letter(kafka: KafkaSettings) -> None:
    """A stage that dies between letter and position writes it again."""
    with operating(kafka) as operator:
        assert [found.name for found in operator.letters()] == [
            f"http/{kafka.enriched_topic}/{place}" for place in ("1/7", "1/8", "2/3")
        ]
        assert operator.queue.summary().counts == {("http", "refused", "open"): 3}


def test_a_replay_carries_the_same_bytes_to_the_same_partition_of_its_stage_alone(kafka: KafkaSettings) -> None:
    """With the key of the record and the place where it failed first."""
    name = _ONE.format(topic=kafka.enriched_topic)
    with operating(kafka) as operator:
        assert operator.handling.replay([name], "me").done == 1
        found = operator.queue.find(name)
        assert found is not None
        assert (found.state, found.by) == ("replayed", "me")
    (record,) = sent_back(kafka, "http")
    assert (record.value(), record.key(), record.partition()) == (b'{"n":7}', b"a content", 1)
    replay = replay_of(record)
    assert replay is not None
    assert (replay.letter, replay.origin, replay.again) == (name, f"{kafka.enriched_topic}/1/7", 1)
    assert not sent_back(kafka, "redis") + sent_back(kafka, "bigquery") + sent_back(kafka, "enrich")


def test_clicked_twice_is_replayed_once(kafka: KafkaSettings) -> None:
    """One after the other and at the same moment, by the same person and by two."""
    name = _ONE.format(topic=kafka.enriched_topic)
    with operating(kafka) as one, operating(kafka) as other:
        clicks = [threading.Thread(target=_click, args=(one, name)) for _ in range(3)]
        clicks += [threading.Thread(target=_click, args=(other, name)) for _ in range(2)]
        for click in clicks:
            click.start()
        for click in clicks:
            click.join(60)
        outcome = other.handling.replay([name], "other")
        assert (outcome.done, outcome.handled_before) == (0, 1)
    assert len(sent_back(kafka, "http")) == 1


def _click(operator: Operator, name: str) -> None:
    try:
        operator.handling.replay([name], "a click")
    except TakenOver:
        return


def test_who_is_overtaken_is_told_and_nothing_is_done_twice(kafka: KafkaSettings) -> None:
    """The second begins while the first is between two transactions."""
    topic = kafka.enriched_topic
    put_letters(kafka, [letter("http", topic, 0, offset, b"x") for offset in range(1_500)])
    pass_by(kafka, "http", topic, 10_000)
    with operating(kafka) as first, operating(kafka) as second:

        def overtake(seen: int, _total: int) -> None:
            if seen == 1_000:
                assert second.handling.replay(Filter(), "second").done == 503

        with pytest.raises(TakenOver, match="somebody else") as told:
            first.handling.replay(Filter(), "first", tell=overtake)
        assert told.value.outcome.done == 1_000
    assert len(sent_back(kafka, "http")) == 1_503


def test_a_letter_waits_until_its_stage_is_past_the_record(kafka_settings: KafkaSettings) -> None:
    """Before that a restart of the stage might deliver it, and the replay again."""
    topic = kafka_settings.enriched_topic
    put_letters(kafka_settings, [letter("redis", topic, 0, 5, b"x")])
    pass_by(kafka_settings, "redis", topic, 5)
    with operating(kafka_settings) as operator:
        (why,) = operator.handling.replay(Filter(), "me").refused
        assert why.startswith("not yet")
        pass_by(kafka_settings, "redis", topic, 6)
        assert operator.handling.replay(Filter(), "me").done == 1


def test_what_never_was_a_record_cannot_be_replayed_and_can_be_discarded(kafka_settings: KafkaSettings) -> None:
    """The refusal says what to do instead."""
    put_letters(
        kafka_settings,
        [
            letter("capture", "engagement_events", 2, 99, b"row", "oversized"),
            letter("capture", "content", 2, 98, b"row", "oversized"),
            letter("enrich", kafka_settings.events_topic, 0, 1, None, "malformed"),
        ],
    )
    with operating(kafka_settings) as operator:
        outcome = operator.handling.replay(Filter(), "me")
        assert outcome.done == 0
        assert {why.split(":")[0] for why in outcome.refused} == {"not replayable"}
        assert any("insert it again" in why for why in outcome.refused)
        assert any("update it" in why for why in outcome.refused)
        assert operator.handling.discard(Filter(stage="capture"), "me").done == 2
        assert [found.stage for found in operator.letters()] == ["enrich"]
    assert not sent_back(kafka_settings, "enrich")


def test_a_bulk_replay_takes_what_fits_the_filter_and_tells_how_far_it_is(kafka: KafkaSettings) -> None:
    """Several transactions, several runs of the queue, letters of others in between."""
    topic = kafka.enriched_topic
    put_letters(
        kafka,
        [
            letter("bigquery", topic, offset % 4, offset, b"%d" % offset, "too large" if offset % 3 else "payload")
            for offset in range(3_000)
        ],
    )
    pass_by(kafka, "bigquery", topic, 10_000)
    told: list[tuple[int, int]] = []
    with operating(kafka) as operator:
        wanted = Filter(stage="bigquery", reason="too large")
        assert operator.handling.replay(wanted, "me", limit=500).left == 1_500
        assert operator.handling.replay(wanted, "me", tell=lambda *at: told.append(at)).done == 1_500
        assert len(operator.letters()) == 1_003
    assert told == [(1_000, 1_500), (1_500, 1_500)]
    assert {m.value() for m in sent_back(kafka, "bigquery")} == {b"%d" % n for n in range(3_000) if n % 3}


@pytest.mark.parametrize("step", KILLED_AT)
def test_killed_at_any_step_a_replay_and_its_mark_are_both_there_or_neither(kafka: KafkaSettings, step: str) -> None:
    """Whoever asks next ends it."""
    dead = dying_command(kafka, step, "replay", "--all")
    assert dead.returncode == -signal.SIGKILL, dead.stderr
    with operating(kafka) as operator:
        outcome = operator.handling.replay(Filter(), "me")
        assert outcome.done == (0 if step.endswith("after_commit") else 3)
        assert not operator.letters()
    assert len(sent_back(kafka, "http")) == 3


def test_the_index_grows_with_the_queue_and_begins_anew_where_that_does(kafka: KafkaSettings) -> None:
    """A second operator's marks and later letters are seen; a letter's content stays readable."""
    with operating(kafka) as operator, operating(kafka) as other:
        first = operator.letters()[0]
        assert Handling(kafka, other.queue).discard([first.name], "other").done == 1
        put_letters(kafka, [letter("redis", kafka.enriched_topic, 3, 4, b"later")])
        assert [found.stage for found in operator.letters()] == ["http", "http", "redis"]
        content = read_content(operator.queue, first)
        assert (content.value, content.detail, content.not_replayable) == (b'{"n":7}', "because of a test", "")
        assert operator.letters(Filter(state="discarded")) == [operator.queue.find(first.name)]


def test_the_command_lists_shows_replays_and_discards(
    kafka: KafkaSettings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """For people and, with --json, for programs; both forms of an id; a mistake is a sentence."""
    for name, value in command_environment(kafka).items():
        monkeypatch.setenv(name, value)

    def command(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as end:
            main(["dlq", *arguments])
        code = end.value.code
        said = capsys.readouterr()  # progress of a slow machine is told on stderr, as mistakes are
        return code if isinstance(code, int) else 0, said.out or said.err

    listed = command("list", "--stage", "http")[1]
    assert "http: refused: 3 open" in listed
    assert '{"n"' not in listed, "no payload in the list"
    told = msgspec.json.decode(command("list", "--json", "--limit", "2")[1])
    assert (told["total"], len(told["letters"])) == (3, 2)
    rest = msgspec.json.decode(command("list", "--json", "--limit", "2", "--before", told["next"])[1])
    assert len({found["id"] for found in told["letters"] + rest["letters"]}) == 3
    assert rest["next"] is None
    name = _ONE.format(topic=kafka.enriched_topic)
    shown = command("show", name.replace("/", "~"))[1]
    assert '{"n":7}' in shown
    assert "because of a test" in shown
    assert command("replay", name) == (0, "1 replayed\n")
    assert "handled before" in command("replay", name)[1]
    code, why = command("discard", "--all")
    assert (code, "--yes" in why) == (2, True)
    assert command("discard", "--all", "--yes") == (0, "2 discarded\n")
    assert command("replay")[0] == command("show", "http/nothing/0/0")[0] == command("list", "--state", "no")[0] == 2
