"""One partition and its write stream: what is in the table, what is under way, and what each answer means for it."""

from collections import deque
from datetime import datetime
from typing import Final

import grpc
from google.cloud.bigquery_storage_v1 import types

from engagement_stream.broker.dead_letter import DeadLetter
from engagement_stream.errors import Fatal, Reopen, Retry
from engagement_stream.sinks.base import Checkpoint, Slice
from engagement_stream.sinks.bigquery.checkpoint import Mark
from engagement_stream.sinks.bigquery.errors import (
    MENDED_BY_A_PERSON_S,
    Answer,
    judge_append,
    not_allowed,
    storage_code,
)
from engagement_stream.sinks.bigquery.frame import MAX_BYTES, Frame, frames
from engagement_stream.sinks.bigquery.rows import REFUSED, TOO_LARGE, read_rows, refuse
from engagement_stream.sinks.bigquery.table import TABLE

ALL_REFUSED_ROWS: Final = 100
"""So many rows refused in a row and none accepted between them: it is not the rows that are wrong."""


class Lane:
    """`rows` rows of `stream` are acknowledged; they end at offset `position` of the partition."""

    def __init__(self, topic: str, partition: int, stream: str, position: int, *, max_bytes: int = MAX_BYTES) -> None:
        self.topic, self.partition, self.stream = topic, partition, stream
        self.position = position
        self.rows = 0
        self.frames: deque[Frame] = deque()
        """Not acknowledged, in order. Some may be in the stream already: only a repetition tells."""
        self.letters: list[DeadLetter] = []
        """To be dead-lettered before anything is sent: nobody looks at a record again whose placeholder is there."""
        self.records = 0
        self.commit_ts_us: list[int] = []
        self._end = position
        self._max_bytes = max_bytes
        self._refused_in_a_row = 0

    def offer(self, piece: Slice, now: datetime) -> None:
        """Take what is new in the slice; what is under way already stays byte for byte what it was."""
        if piece.end <= self._end:
            return
        rest = piece.after(self._end)
        rows, letters = read_rows(rest, self.topic, now)
        first = self.frames[-1].first + len(self.frames[-1]) if self.frames else self.rows
        made = self._cut(frames(rows, first, rest.end, self.topic, self.partition, self._max_bytes), letters)
        if made:
            self.frames += made
        elif self.frames:
            self.frames[-1].end = rest.end
        else:
            self.position = rest.end
        self.letters += letters
        self._end = rest.end

    def _cut(self, made: list[Frame], letters: list[DeadLetter]) -> list[Frame]:
        """A row that fits into no request becomes a placeholder."""
        for index, frame in enumerate(made):
            if len(frame.data) > self._max_bytes:
                detail = f"the row has {len(frame.data)} bytes, an append takes {self._max_bytes}"
                letters.append(refuse(frame.rows, 0, self.partition, self.topic, TOO_LARGE, detail))
                (made[index],) = frames(frame.rows, frame.first, frame.end, self.topic, self.partition)
        return made

    def checkpoint(self) -> Checkpoint:
        """What a successor needs to know."""
        return Checkpoint(self.position, Mark(self.stream, self.rows).encode())

    def take_delivered(self) -> tuple[int, list[int]]:
        """Events that took effect since the last call, and the commit times of the live ones."""
        taken = (self.records, self.commit_ts_us)
        self.records, self.commit_ts_us = 0, []
        return taken

    def judge(self, response: types.AppendRowsResponse) -> Answer:
        """Apply the answer to the first frame. Returns DONE, TOO_EARLY, REFUSED (send the frames anew) or NOT_NOW.

        Raises Reopen when the stream is not ours any more, Retry when a person is needed, Fatal.
        """
        error = response.error
        answer = judge_append(error.code, storage_code(response))
        if response.row_errors:
            answer = Answer.REFUSED
        return self._apply(answer, error.message, [(e.index, e.message) for e in response.row_errors])

    def judge_broken(self, error: grpc.RpcError) -> Answer:
        """As `judge`, for a connection that ended with an error instead of an answer."""
        code = error.code() if isinstance(error, grpc.Call) else None
        number = code.value[0] if code is not None else -1
        details = str(error.details()) if isinstance(error, grpc.Call) else type(error).__name__
        return self._apply(judge_append(number), details, [])

    def _apply(self, answer: Answer, message: str, row_errors: list[tuple[int, str]]) -> Answer:
        frame = self.frames[0]
        place = f"{self.topic}[{self.partition}]"
        text = message[:300]
        if answer is Answer.THERE_BEFORE and frame.sends > 1:
            answer = Answer.DONE  # our own bytes: an earlier sending of this frame arrived, its answer did not
        if answer is Answer.DONE:
            self._settle(frame)
        elif answer is Answer.REFUSED:
            self._isolate(frame, row_errors, text)
        elif answer is Answer.NOT_ALLOWED:
            raise not_allowed(f"appending rows of {place}: {text}")
        elif answer in {Answer.THERE_BEFORE, Answer.TOO_EARLY, Answer.GONE}:
            raise Reopen(f"the write stream of {place} does not take offset {frame.first}: {text}")
        return answer

    def _settle(self, frame: Frame) -> None:
        self.frames.popleft()
        self.rows += len(frame)
        self.position = frame.end
        self.records += frame.alive
        self.commit_ts_us += frame.live_commit_ts_us
        if frame.alive:
            self._refused_in_a_row = 0

    def _isolate(self, frame: Frame, row_errors: list[tuple[int, str]], message: str) -> None:
        """Nothing of the frame was taken: replace the rows that are named, or halve it until one is left."""
        rows = frame.rows
        named = {index: text for index, text in row_errors if 0 <= index < len(rows)}
        if not named and len(rows) == 1:
            named = {0: message}
        if not named:
            middle = len(rows) // 2
            self.frames.popleft()
            halves = [(rows.part(0, middle), frame.first), (rows.part(middle, len(rows)), frame.first + middle)]
            for part, first in reversed(halves):
                end = frame.end if first > frame.first else part.offsets[-1] + 1
                self.frames.extendleft(reversed(frames(part, first, end, self.topic, self.partition, self._max_bytes)))
            return
        if named.keys() & rows.dead:
            raise Fatal(
                f"BigQuery refuses even the placeholder of a record of {self.topic}[{self.partition}]: "
                f"{next(iter(named.values()))[:300]}",
                remedy="see whether columns of engagement_events were made REQUIRED or got a policy, and undo it",
            )
        if len(named) == len(rows) - len(rows.dead):
            self._refused_in_a_row += len(named)
            if self._refused_in_a_row > ALL_REFUSED_ROWS:
                raise Retry(
                    f"BigQuery refused the last {self._refused_in_a_row} rows and took none between them "
                    f"({next(iter(named.values()))[:300]}): check the table {TABLE}; nothing more is dead-lettered "
                    "until it takes one",
                    after_s=MENDED_BY_A_PERSON_S,
                )
        for index, text in named.items():
            self.letters.append(refuse(rows, index, self.partition, self.topic, REFUSED, (text or message)[:1_000]))
        self.frames.popleft()
        self.frames.extendleft(
            reversed(frames(rows, frame.first, frame.end, self.topic, self.partition, self._max_bytes))
        )
