"""Mutants of the sinks and of their runner."""

from typing import Final

from tests.mutants.patching import Mutant, Patch, Scenario
from tests.mutants.stages import FREEZE

REDIS: Final = "redis disturbed"
REDIS_KILLED: Final = "redis killed"
BIGQUERY_KILLED: Final = "bigquery killed"
BIGQUERY_TWIN: Final = "bigquery frozen"
BIGQUERY_ANSWER: Final = "bigquery answer lost"
HTTP: Final = "http killed"

_NO_EMULATOR: Final = Patch(
    "sinks/bigquery/takeover.py", "            elif uses_emulator(self._settings):\n", "            elif False:\n"
)
"""With an emulator a second look at the table mends what the stream says wrong; the real service has no such net."""

SCENARIOS: Final = (
    Scenario(
        REDIS,
        "A flush in the middle, a lost answer, a twin that writes an old batch after its successor. Then the totals "
        "are those of a plain fold of the log.",
    ),
    Scenario(
        REDIS_KILLED,
        "Killed after the script that moves the fence past a malformed record. Then its dead letter is there.",
    ),
    Scenario(
        BIGQUERY_KILLED,
        "Killed after an append whose rows no commit tells of, with more records in the log afterwards; killed again "
        "before a commit. Then every record is one row.",
        (_NO_EMULATOR,),
    ),
    Scenario(
        BIGQUERY_TWIN,
        "A process is frozen before its first append, a successor delivers everything, then it wakes up. Every record "
        "is one row.",
        (_NO_EMULATOR, FREEZE),
    ),
    Scenario(
        BIGQUERY_ANSWER,
        "The emulator appends and its answer is lost; the sink goes on. Every record is one row.",
        (_NO_EMULATOR,),
    ),
    Scenario(
        HTTP,
        "Killed before a send and after an answer, with another BATCH_SIZE in each life; then the receiver answers 503 "
        "to one batch, twice. It has every event, and none under two keys.",
    ),
)

MUTANTS: Final = (
    Mutant(
        "fence not compared",
        "the script applies every batch, whatever was applied before",
        REDIS,
        "wrong",
        (Patch("sinks/redis/apply.lua", "if fence ~= prev then\n", "if false then\n"),),
    ),
    Mutant(
        "fence one too far",
        "the fence says that one record more was applied",
        REDIS,
        "wrong",
        (Patch("sinks/redis/apply.lua", "ARGV[8], ARGV[3], 'clock_us'", "ARGV[8], stop + 1, 'clock_us'"),),
    ),
    Mutant(
        "fence one too near",
        "the fence says that one record less was applied",
        REDIS,
        "wrong",
        (Patch("sinks/redis/apply.lua", "ARGV[8], ARGV[3], 'clock_us'", "ARGV[8], stop - 1, 'clock_us'"),),
    ),
    Mutant(
        "gap not noticed",
        "a batch is applied although what lies before it is missing from Redis",
        REDIS,
        "wrong",
        (Patch("sinks/redis/apply.lua", "  return {'GAP', fence}\n", ""),),
    ),
    Mutant(
        "dead letter after the position",
        "the fence moves past a refused record before its dead letter is written",
        REDIS_KILLED,
        "dead letters",
        (
            Patch(
                "sinks/redis/sink.py",
                "                road.dead_letter(read.letters)\n",
                "                self._late = read.letters\n",
            ),
            Patch(
                "sinks/redis/sink.py",
                "        self._hint(road, durable)\n        return Receipt",
                "        road.dead_letter(getattr(self, '_late', []))\n        return Receipt",
            ),
        ),
    ),
    Mutant(
        "resumed one too far",
        "the position after a takeover is one record behind what the stream has",
        BIGQUERY_KILLED,
        "missing",
        (Patch("sinks/bigquery/checkpoint.py", "            return at + 1\n", "            return at + 2\n"),),
    ),
    Mutant(
        "resumed one too near",
        "the position after a takeover is the last record that the stream has",
        BIGQUERY_KILLED,
        "doubled",
        (Patch("sinks/bigquery/checkpoint.py", "            return at + 1\n", "            return at\n"),),
    ),
    Mutant(
        "acknowledged rows off by one",
        "a lane counts one row less than its stream has taken",
        BIGQUERY_KILLED,
        "missing",
        (Patch("sinks/bigquery/lane.py", "self.rows += len(frame)", "self.rows += len(frame) - 1"),),
    ),
    Mutant(
        "ALREADY_EXISTS believed by a new process",
        "a successor goes on in the stream it found and takes 'there is something at this offset' for 'my rows are'",
        BIGQUERY_KILLED,
        "missing",
        (
            Patch(
                "sinks/bigquery/takeover.py",
                "        lanes = {\n"
                "            partition: Lane(self._road.topic, partition, self._create_stream(), position)\n"
                "            for partition, position in positions.items()\n"
                "        }\n",
                "        lanes = {}\n"
                "        for partition, point in self._road.committed(partitions).items():\n"
                "            mark = decode_mark(point.metadata) if point else None\n"
                "            stream = mark.stream if mark else self._create_stream()\n"
                "            position = point.offset if mark else positions[partition]\n"
                "            lanes[partition] = Lane(self._road.topic, partition, stream, position)\n"
                "            lanes[partition].rows = mark.rows if mark else 0\n",
            ),
            Patch("sinks/bigquery/takeover.py", "count = self._finalize(mark)", "count = mark.rows"),
            Patch(
                "sinks/bigquery/lane.py",
                "if answer is Answer.THERE_BEFORE and frame.sends > 1:",
                "if answer is Answer.THERE_BEFORE:",
            ),
        ),
    ),
    Mutant(
        "checkpoint after the first append",
        "a new stream is written to before its name is committed, so a successor cannot fence its owner",
        BIGQUERY_TWIN,
        "doubled",
        (
            Patch(
                "sinks/bigquery/takeover.py",
                "        self._road.commit({partition: lane.checkpoint() for partition, lane in lanes.items()})\n",
                "",
            ),
        ),
    ),
    Mutant(
        "former stream not finalized",
        "the rows of the former owner's stream are counted, but it may go on writing",
        BIGQUERY_TWIN,
        "doubled",
        (Patch("sinks/bigquery/takeover.py", "count = self._finalize(mark)", "count = mark.rows"),),
    ),
    Mutant(
        "appended without an offset",
        "a repetition goes to the end of the stream, wherever that is",
        BIGQUERY_ANSWER,
        "doubled",
        (
            Patch(
                "sinks/bigquery/frame.py",
                "request.offset.value = self.first",
                "pass",
            ),
        ),
    ),
    Mutant(
        "offset committed before the receipt",
        "a batch counts as done when it is sent, not when it is answered",
        HTTP,
        "missing",
        (
            Patch(
                "sinks/http/lane.py",
                "        return checkpoint(self.position, self.plan)\n",
                "        return checkpoint(self.position if self.plan is None else self.plan.end, None)\n",
            ),
        ),
    ),
    Mutant(
        "an error taken for a receipt",
        "503 counts as delivered",
        HTTP,
        "missing",
        (Patch("sinks/http/answer.py", "    if 200 <= status < 300:\n", "    if 200 <= status < 600:\n"),),
    ),
    Mutant(
        "frozen batch made anew",
        "after a restart the records are cut into other batches than those that were sent",
        HTTP,
        "under two keys",
        (
            Patch(
                "sinks/http/sink.py",
                "lanes[partition] = Lane(road.topic, partition, point, planned(point))",
                "lanes[partition] = Lane(road.topic, partition, point, None)",
            ),
        ),
    ),
    Mutant(
        "another key for each attempt",
        "the receiver cannot tell a repetition from a new batch",
        HTTP,
        "under two keys",
        (
            Patch(
                "sinks/http/sink.py",
                "key = idempotency_key(topic, lane.partition, lane.plan, body)",
                "key = idempotency_key(topic, lane.partition, lane.plan, body) + str(time.time_ns())",
            ),
        ),
    ),
    Mutant(
        "runner begins one too far",
        "the consumer is placed one record behind the position that the sink has opened at",
        HTTP,
        "missing",
        (
            Patch(
                "sinks/runner.py",
                "reader.assign([TopicPartition(self._topic, p, starts[p]) for p in partitions])",
                "reader.assign([TopicPartition(self._topic, p, starts[p] + 1) for p in partitions])",
            ),
        ),
    ),
)
