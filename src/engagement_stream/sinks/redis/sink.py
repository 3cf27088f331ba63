"""The Redis sink: one script per batch and partition applies what it adds up to and moves the fence, both or neither.

A batch carries `prev` and `end`, its place in the log. The script compares `prev` with the fence, so a lost answer, a
retry, a worker that wakes up late and a Redis that lost data all end in a verdict instead of a wrong total:
OK, DUP (applied before), TRIM (applied in part), GAP (what lies before is missing: go back to the fence), MOVED (a
rebuild out of PostgreSQL took this partition's place: go to its fence, and pass over what it already counted).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

import redis

from engagement_stream.crashpoint import crash_point
from engagement_stream.errors import Fatal, Reopen, Retry
from engagement_stream.observe.log import log
from engagement_stream.observe.metrics import CLAMPED
from engagement_stream.settings import RedisSettings
from engagement_stream.sinks.base import Checkpoint, Gather, Receipt, Road, Slice
from engagement_stream.sinks.decode import decode
from engagement_stream.sinks.redis.client import blocking_client
from engagement_stream.sinks.redis.errors import instruction, translated
from engagement_stream.sinks.redis.fold import Folded, RedisEvent, decode_event, fold
from engagement_stream.sinks.redis.keys import partitions_key, position_key, tag
from engagement_stream.sinks.redis.place import resume_at, server_findings

PIECE_RECORDS = 2_000
"""Records per script. More of them touch few contents more, so each costs less; it is still some milliseconds of the
server's one thread, and within what Lua's `unpack` takes (8,000; recent events travel as pairs)."""

_HINT_EVERY_S = 1.0
_STATE = ("applying", "window_s", "generation", "rebuilt_lsn", "rebuilt_until")
_APPLY = files(__package__).joinpath("apply.lua").read_text()


@dataclass(frozen=True, slots=True)
class Generation:
    """What a partition's state was made of: empty and 0, or a rebuild that counted all that was committed before.

    It is passed over before offset `until`: behind that nothing is so old but dead letters that were sent back to
    enrich, and those the rebuild left out.
    """

    name: str
    from_lsn: int
    until: int

    def passes_over(self, offset: int, lsn: int) -> bool:
        return lsn < self.from_lsn and offset < self.until


@dataclass(frozen=True, slots=True)
class _Piece:
    """One call of the script."""

    part: Slice
    folded: Folded


class RedisSink:
    """Implements `sinks.base.Sink`. `replays`: of dead letters, counted into the same keys behind their own fence."""

    decoder: Callable[[bytes], RedisEvent] = staticmethod(decode_event)
    """bytes -> RedisEvent; raises for what is dead-lettered."""

    def __init__(self, settings: RedisSettings, *, replays: bool = False) -> None:
        self._settings = settings
        self._replays = replays
        self._fence = "replays_fence" if replays else "fence"
        self._window_s = settings.window_minutes * 60
        self._client: redis.Redis | None = None
        self._road: Road | None = None
        self._script = ""
        self._generations: dict[int, Generation] = {}
        self._hinted_s = 0.0
        self._warned: set[str] = set()

    @property
    def name(self) -> str:
        return "redis"

    @property
    def gather(self) -> Gather:
        return Gather(max_records=5_000, linger_s=0.0)

    def open(self, partitions: Sequence[int], road: Road) -> Mapping[int, int]:
        """Read the fences. There is nothing to take from the former owner: the fence itself keeps it out."""
        self.close()
        prefix = self._settings.prefix
        begins, ends = road.begins_at(partitions), road.ends_at(partitions)
        crash_point("redis.before_fences")
        with translated():
            client = blocking_client(self._settings)
            self._check(client)
            self._script = str(client.script_load(_APPLY))
            with client.pipeline(transaction=False) as pipe:
                for partition in partitions:
                    pipe.hmget(position_key(prefix, partition), self._fence, *_STATE)
                states = pipe.execute()
        crash_point("redis.after_fences")
        starts: dict[int, int] = {}
        self._generations = {}
        for partition, (fence, applying, window_s, generation, lsn, until) in zip(partitions, states, strict=True):
            if applying is not None:
                raise _torn(prefix, partition)
            starts[partition] = resume_at(
                prefix,
                road.topic,
                partition,
                None if fence is None else int(fence),
                begins[partition],
                ends[partition],
                self._fence,
            )
            passed_lsn = 0 if self._replays else int(lsn or 0)  # what was sent back was left out by the rebuild
            self._generations[partition] = Generation((generation or b"").decode(), passed_lsn, int(until or 0))
            if window_s is not None and int(window_s) < self._window_s:
                self._warn(f"the window was made longer: the ranking is whole again in {self._window_s // 60} minutes")
        with translated(), client.pipeline(transaction=False) as pipe:
            if partitions:
                pipe.sadd(partitions_key(prefix), *partitions)
            for partition in partitions:
                pipe.hset(position_key(prefix, partition), "window_s", self._window_s)
            pipe.execute()
        crash_point("redis.after_window")
        self._client, self._road = client, road
        return starts

    def write(self, slices: Sequence[Slice]) -> Receipt:
        """Apply the slices. Retry is safe at any moment: a script that ran answers DUP the second time."""
        client, road = self._client, self._road
        if client is None or road is None:
            raise Reopen("the Redis sink is not open")
        durable: dict[int, int] = {}
        records = 0
        commit_ts_us: list[int] = []
        todo = list(slices)
        while todo:
            pieces = [piece for part in todo for piece in self._pieces(part, road)]
            todo = []
            for piece, (verdict, fence) in zip(pieces, self._apply(client, pieces), strict=True):
                part = piece.part
                if verdict == b"OK":
                    durable[part.partition] = part.end
                    records += piece.folded.records
                    commit_ts_us += piece.folded.commit_ts_us
                    CLAMPED.inc(piece.folded.future)
                elif verdict == b"DUP":
                    durable[part.partition] = part.end
                elif verdict == b"TRIM":
                    todo.append(part.after(fence))
                elif verdict == b"GAP":
                    raise Reopen(f"Redis stands at {fence} in {road.topic}[{part.partition}], we are at {part.prev}")
                elif verdict == b"MOVED":
                    raise Reopen(f"{road.topic}[{part.partition}] was rebuilt in Redis up to {fence}")
                else:
                    raise _torn(self._settings.prefix, part.partition)
        self._hint(road, durable)
        return Receipt(durable, records, commit_ts_us)

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = self._road = None

    def _pieces(self, part: Slice, road: Road) -> list[_Piece]:
        pieces = []
        prev = part.prev
        for first in range(0, max(len(part.offsets), 1), PIECE_RECORDS):
            last = first + PIECE_RECORDS
            end = part.offsets[last] if last < len(part.offsets) else part.end
            piece = Slice(part.partition, prev, end, part.offsets[first:last], part.values[first:last])
            prev = end
            read = decode(piece, self.decoder, stage=self.name, topic=road.topic)
            if read.letters:
                crash_point("redis.before_dead_letter")
                road.dead_letter(read.letters)
                crash_point("redis.after_dead_letter")
            made = self._generations[part.partition]
            folded = fold(
                [e for o, e in zip(read.offsets, read.events, strict=True) if not made.passes_over(o, e.position[0])]
                if made.from_lsn
                else read.events,
                dead_letters=len(read.letters),
                recent_events=self._settings.recent_events,
                window_s=self._window_s,
            )
            pieces.append(_Piece(piece, folded))
        return pieces

    def _apply(self, client: redis.Redis, pieces: Sequence[_Piece]) -> list[tuple[bytes, int]]:
        prefix = self._settings.prefix
        crash_point("redis.before_script")
        with translated(), client.pipeline(transaction=False) as pipe:
            for piece in pieces:
                part = piece.part
                pipe.evalsha(
                    self._script,
                    1,
                    position_key(prefix, part.partition),
                    tag(prefix, part.partition),
                    part.prev,
                    part.end,
                    self._window_s,
                    self._settings.recent_events,
                    piece.folded.payload,
                    self._generations[part.partition].name,
                    self._fence,
                )
            answers = pipe.execute(raise_on_error=False)
        crash_point("redis.after_script")
        for answer in answers:
            # What ran before the failed one is applied; offered again, it answers DUP.
            if isinstance(answer, Exception):
                raise instruction(answer) from answer
        return [(verdict, int(fence)) for verdict, fence in answers]

    def _hint(self, road: Road, durable: Mapping[int, int]) -> None:
        """Tell the group where we are, for those who look at its lag; the truth is the fence."""
        now_s = time.monotonic()
        if durable and now_s - self._hinted_s >= _HINT_EVERY_S:
            self._hinted_s = now_s
            try:
                road.commit({partition: Checkpoint(offset) for partition, offset in durable.items()}, wait=False)
            except (Retry, Reopen):
                return

    def _check(self, client: redis.Redis) -> None:
        try:
            told = client.info("everything")
        except redis.exceptions.NoPermissionError:
            self._warn("Redis does not let us see INFO: see to it that maxmemory-policy is noeviction")
            return
        for warning in server_findings(told):
            self._warn(warning)

    def _warn(self, sentence: str) -> None:
        if sentence not in self._warned:
            self._warned.add(sentence)
            log().warning("the server could lose totals", finding=sentence)


def _torn(prefix: str, partition: int) -> Fatal:
    return Fatal(
        f"a script broke off in the middle of a batch of partition {partition}: its totals in Redis are not right",
        remedy="run `engagement rebuild redis` and restart the stage; or, while the log holds everything, delete the "
        f"keys {tag(prefix, partition)}* and restart the stage: the log is counted again",
    )
