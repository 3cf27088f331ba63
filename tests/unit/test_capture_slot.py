"""The loss detector: everything that may have moved without us is compared with our own record."""

from dataclasses import replace

import msgspec
import pytest

from engagement_stream.capture.progress import Progress
from engagement_stream.capture.session import Identity
from engagement_stream.capture.slot import check_cluster, check_slot, check_unused
from engagement_stream.capture.source import SlotState
from engagement_stream.errors import Fatal

PROGRESS = Progress(
    phase="streaming", system_identifier="42", timeline=1, end_lsn=1000, commit_ts_us=1_754_049_600_000_000
)
IDENTITY = Identity("42", 1, 2000, "db")
SLOT = SlotState("pgoutput", True, "reserved", "", False, 1000, 0, None)


def test_a_slot_as_we_left_it_is_fine() -> None:
    """At or before our position, reserved or not promised any more."""
    for slot in (SLOT, replace(SLOT, confirmed_flush=900), replace(SLOT, wal_status="unreserved")):
        check_slot("s", PROGRESS, slot)
    check_cluster(PROGRESS, IDENTITY, None)
    check_unused("s", None)


@pytest.mark.parametrize(
    "slot",
    [
        None,
        replace(SLOT, confirmed_flush=1001),
        replace(SLOT, wal_status="lost"),
        replace(SLOT, invalidation="idle_timeout"),
        replace(SLOT, conflicting=True),
        replace(SLOT, plugin="wal2json"),
        replace(SLOT, here=False),
    ],
)
def test_a_slot_that_moved_or_was_invalidated_halts_with_a_remedy(slot: SlotState | None) -> None:
    """The remedy is a command or a setting."""
    with pytest.raises(Fatal) as caught:
        check_slot("s", PROGRESS, slot)
    assert "CAPTURE_SLOT" in caught.value.remedy


def test_the_remedy_says_from_when_to_backfill() -> None:
    """The commit time of the last delivered transaction."""
    with pytest.raises(Fatal) as caught:
        check_slot("s", PROGRESS, None)
    assert "2025-08-01 12:00:00 UTC" in caught.value.remedy


@pytest.mark.parametrize(
    ("history", "fine"), [("1\t0/400\tno recovery target", True), ("1\t0/3E7\tx", False), ("", False)]
)
def test_a_failover_is_fine_if_it_happened_behind_what_was_delivered(history: str, fine: bool) -> None:
    """0x400 is 1024, 0x3E7 is 999; delivered up to 1000."""
    identity = replace(IDENTITY, timeline=2)
    if fine:
        check_cluster(PROGRESS, identity, history)
    else:
        with pytest.raises(Fatal, match="failover"):
            check_cluster(PROGRESS, identity, history)


@pytest.mark.parametrize("identity", [replace(IDENTITY, system_identifier="43"), replace(IDENTITY, wal_end=999)])
def test_another_cluster_or_an_older_state_halts(identity: Identity) -> None:
    """Positions of two clusters do not compare."""
    with pytest.raises(Fatal):
        check_cluster(PROGRESS, identity, None)


def test_a_slot_that_nobody_knows_halts() -> None:
    """There is a slot and no record."""
    with pytest.raises(Fatal):
        check_unused("s", SLOT)


def test_progress_survives_its_encoding() -> None:
    """What is written is what is read."""
    assert msgspec.json.decode(msgspec.json.encode(PROGRESS), type=Progress) == PROGRESS
