"""A second state beside the present one, written in pieces, put in its place in one step, and the old one deleted.

Nobody reads a generation before `switch` has named it in the partition's position. Each piece counts itself in the same
stream of commands; a server that lost the last of them (restarted, failed over, flushed) has counted fewer, and the
switch refuses. It also refuses when another rebuild has begun since: the younger one wins.
"""

import re
import secrets
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files
from itertools import islice
from types import TracebackType
from typing import Self

import redis

from engagement_stream.crashpoint import crash_point
from engagement_stream.errors import Fatal
from engagement_stream.settings import RedisSettings
from engagement_stream.sinks.redis.client import blocking_client
from engagement_stream.sinks.redis.errors import translated
from engagement_stream.sinks.redis.keys import generation_tag, partitions_key, position_key, tag
from engagement_stream.sinks.redis.place import server_findings

_SWITCH = files(__package__).joinpath("switch.lua").read_text()
_FORGET = files(__package__).joinpath("forget.lua").read_text()
_PIECE_ARGUMENTS = 5_000
"""Some hundred kilobytes, some milliseconds of the server's one thread."""
_SCAN_KEYS = 1_000
_OF_A_GENERATION = re.compile(
    rb"(g[0-9a-f]+:.*|(content|users|recent|bucket):.*|totals|window|window-ms|buckets)", re.DOTALL
)
"""What follows the partition's tag in a key that belongs to some generation."""
_REMEDY = "run `engagement rebuild redis` again; until then everything is as it was before"


class NewGeneration:
    """Use as a context manager. Every call raises Retry or Fatal; nothing is tried again, a run begins anew instead."""

    def __init__(self, settings: RedisSettings, partitions: int) -> None:
        self.name = f"g{secrets.token_hex(4)}"
        self.warnings: list[str] = []
        self._prefix, self._partitions = settings.prefix, range(partitions)
        self._client: redis.Redis = blocking_client(settings)
        self._pending: dict[int, list[tuple[str | bytes | int, ...]]] = defaultdict(list)
        self._arguments: dict[int, int] = defaultdict(int)
        self._pieces: dict[int, int] = defaultdict(int)
        with translated():
            try:
                self.warnings = list(server_findings(self._client.info("everything")))
            except redis.exceptions.NoPermissionError:
                self.warnings = ["Redis does not let us see INFO: see to it that maxmemory-policy is noeviction"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def present_events(self) -> int:
        """How many events are counted in what is in place now."""
        events = 0
        with translated():
            for partition in self._partitions:
                name = self._client.hget(position_key(self._prefix, partition), "generation") or b""
                start = generation_tag(self._prefix, partition, name.decode())  # type: ignore[union-attr]  # bytes: not decoded
                events += int(self._client.hget(start + "totals", "events") or 0)
        return events

    def replays_fences(self) -> list[int]:
        """How far dead letters that were sent back to Redis are counted, or refused again, in each partition."""
        with translated():
            found = [self._client.hget(position_key(self._prefix, p), "replays_fence") for p in self._partitions]
        return [int(fence or 0) for fence in found]

    def begin(self) -> None:
        """From now on no older rebuild can put its generation in place."""
        crash_point("rebuild.before_begin")
        with translated(), self._client.pipeline(transaction=False) as pipe:
            for partition in self._partitions:
                pipe.hset(position_key(self._prefix, partition), "rebuilding", self.name)
            pipe.execute()
        crash_point("rebuild.after_begin")

    def put(self, partition: int, command: str, key: str, *arguments: str | bytes | int) -> None:
        """One command on a key of the generation, named without its tag; sent with the next piece."""
        name = generation_tag(self._prefix, partition, self.name) + key
        self._pending[partition].append((command, name, *arguments))
        self._arguments[partition] += len(arguments)
        if self._arguments[partition] >= _PIECE_ARGUMENTS:
            self._send(partition)

    def flush(self) -> None:
        """Send what was put and not sent."""
        for partition in list(self._pending):
            self._send(partition)

    def _send(self, partition: int) -> None:
        commands, self._arguments[partition] = self._pending.pop(partition), 0
        crash_point("rebuild.before_piece")
        with translated(), self._client.pipeline(transaction=False) as pipe:
            for command in commands:
                pipe.execute_command(*command)  # type: ignore[no-untyped-call]  # untyped upstream
            pipe.incr(generation_tag(self._prefix, partition, self.name) + "pieces")
            pipe.execute()
        self._pieces[partition] += 1
        crash_point("rebuild.after_piece")

    def switch(self, partition: int, position: Mapping[str, str | int]) -> None:
        """Readers and sink see this generation of the partition from now on. Everything was flushed before."""
        crash_point("rebuild.before_switch")
        with translated():
            self._client.sadd(partitions_key(self._prefix), partition)
            answer = self._client.eval(
                _SWITCH,
                1,
                position_key(self._prefix, partition),
                tag(self._prefix, partition),
                self.name,
                self._pieces[partition],
                *(part for pair in position.items() for part in pair),
            )
        if answer == b"TAKEN":
            raise Fatal(
                "another rebuild has begun since, or Redis was emptied meanwhile: this one must not take effect",
                remedy=_REMEDY,
            )
        if answer == b"LOST":
            raise Fatal("Redis lost some of what was written into it: it was restarted or failed over", remedy=_REMEDY)
        crash_point("rebuild.after_switch")

    def abandon(self) -> None:
        """Give the generation up, as far as it is not in place."""
        with translated():
            for partition in self._partitions:
                position = position_key(self._prefix, partition)
                if self._client.hget(position, "rebuilding") == self.name.encode():
                    self._client.hdel(position, "rebuilding")

    def forget_others(self, tell: Callable[[int], None]) -> int:
        """Delete, in pieces, every generation that is neither in place nor being made; `tell` hears of each piece."""
        forgotten = 0
        for partition in self._partitions:
            for piece in self._keys(partition):
                crash_point("rebuild.before_forget")
                with translated():
                    start = tag(self._prefix, partition)
                    gone = int(self._client.eval(_FORGET, 1, position_key(self._prefix, partition), start, *piece))
                crash_point("rebuild.after_forget")
                forgotten += gone
                tell(gone)
        return forgotten

    def _keys(self, partition: int) -> Iterator[list[bytes]]:
        start = tag(self._prefix, partition).encode()
        with translated():
            found = self._client.scan_iter(match=_literal(start) + b"*", count=_SCAN_KEYS)
            keys = (key for key in found if _OF_A_GENERATION.fullmatch(key, len(start)))
            while piece := list(islice(keys, _SCAN_KEYS)):
                yield piece


def _literal(text: bytes) -> bytes:
    """For a MATCH pattern."""
    return re.sub(rb"[*?\[\]^\\-]", rb"\\\g<0>", text)
