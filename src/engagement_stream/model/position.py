"""Where a change stands in the source's history.

A position is the pair (commit LSN of its transaction, index within that transaction). Pairs compare the way
history went. Row LSNs do not: rows of one transaction may share one, and they are not ordered across
transactions. Streamed changes count from 2; the first copy's content is (S, 0) and its events are (S, 1),
where S is the snapshot's consistent point, so they come before everything that is streamed.
"""

Position = tuple[int, int]

BEGINNING: Position = (0, 0)
SNAPSHOT_CONTENT_INDEX = 0
SNAPSHOT_EVENT_INDEX = 1
FIRST_STREAMED_INDEX = 2


def format_lsn(lsn: int) -> str:
    """PostgreSQL's own spelling: 0x16B374D848 is `16/B374D848`."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def parse_lsn(text: str) -> int:
    """The inverse of `format_lsn`; raises ValueError on anything else."""
    high, _, low = text.partition("/")
    return (int(high, 16) << 32) | int(low, 16)
