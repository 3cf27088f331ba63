"""Who sees what: a recorded `pg_current_snapshot()` as a condition on xmin. Pure.

A row that exists now is in the snapshot unless its xmin is one of the then unfinished transactions or a later one.
Rows carry 32 bits of the transaction id, and rows frozen long ago keep theirs, so the comparison is only right
as long as the cluster has not used up its first 2**32 transaction ids.
"""

from dataclasses import dataclass
from typing import Self

EPOCH = 1 << 32


@dataclass(frozen=True, slots=True)
class Snapshot:
    """64-bit transaction ids: all below `xmin` are over, none from `xmax` on has begun, `xip` are unfinished."""

    xmin: int
    xmax: int
    xip: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """`10:20:10,14,15`."""
        xmin, xmax, xip = text.split(":")
        return cls(int(xmin), int(xmax), tuple(int(x) for x in xip.split(",") if x))

    def condition(self, next_xid: int) -> str:
        """SQL that is true for rows of the snapshot; `next_xid` is the present session's snapshot's xmax.

        Raises ValueError when transaction ids have wrapped: old frozen rows could pass for new ones.
        """
        if next_xid > EPOCH:
            raise ValueError("transaction ids have wrapped")
        raw = "xmin::text::bigint"
        unfinished = ",".join(map(str, self.xip)) or "-1"
        return f"{raw} < {self.xmax} AND {raw} NOT IN ({unfinished})"
