"""Mutants of capture and enrich."""

from typing import Final

from tests.mutants.patching import Mutant, Patch, Scenario

CAPTURE: Final = "capture killed"
ENRICH: Final = "enrich killed"
TWIN: Final = "enrich frozen"
FREEZE: Final = Patch("crashpoint.py", "os.kill(os.getpid(), signal.SIGKILL)", "os.kill(os.getpid(), signal.SIGSTOP)")

SCENARIOS: Final = (
    Scenario(
        CAPTURE,
        "A first copy; killed before a commit; killed in the middle of a transaction larger than a chunk; pairs of "
        "transactions that overlap. Then every row once, with its values.",
        (
            Patch("capture/outgoing.py", "MAX_RECORDS = 30_000 ", "MAX_RECORDS = 50 "),
            Patch("capture/streaming.py", "_PIECE_MESSAGES = 500", "_PIECE_MESSAGES = 20"),
        ),
    ),
    Scenario(
        ENRICH,
        "Events between new versions of their contents, some in one transaction with them, and a malformed record; "
        "killed after a commit. Then every event once, in its partition, with the title as of its position.",
    ),
    Scenario(
        TWIN,
        "A worker is frozen with a batch in hand until the group has given its partitions to another one, which "
        "delivers the batch; then it wakes up. Every event once.",
        (FREEZE, Patch("broker/consumer.py", "SESSION_TIMEOUT_MS = 20_000", "SESSION_TIMEOUT_MS = 6_000")),
    ),
)

MUTANTS: Final = (
    Mutant(
        "slot acknowledged early",
        "PostgreSQL is told before the rows are committed in Kafka",
        CAPTURE,
        "missing",
        (
            Patch(
                "capture/streaming.py",
                "        self._topic.write(self._outbox, progress)\n        out.commit()\n",
                "        self._topic.write(self._outbox, progress)\n"
                "        self._acknowledge.now(progress.end_lsn)\n"
                "        out.commit()\n",
            ),
        ),
    ),
    Mutant(
        "progress apart from its rows",
        "the rows are committed in one Kafka transaction, the progress in the next",
        CAPTURE,
        "doubled",
        (
            Patch(
                "capture/outgoing.py",
                "if not self._exactly_once and self.records:\n            self._outbox.commit()\n",
                "if self.records:\n            self._outbox.commit()\n            self._outbox.begin()\n",
            ),
        ),
    ),
    Mutant(
        "transactions compared by <=",
        "a transaction whose commit begins where the one before ended is taken for delivered",
        CAPTURE,
        "missing",
        (
            Patch(
                "capture/changes.py",
                "self._passed = begin.commit_lsn < self.end_lsn",
                "self._passed = begin.commit_lsn <= self.end_lsn",
            ),
        ),
    ),
    Mutant(
        "chunks of a transaction repeated",
        "a transaction that was cut is read again from its start without passing over what was delivered",
        CAPTURE,
        "doubled",
        (
            Patch(
                "capture/changes.py",
                "self._first_new = self.next_index if begin.commit_lsn == self.commit_lsn else 0",
                "self._first_new = 0",
            ),
        ),
    ),
    Mutant(
        "one row too many passed over",
        "going on in the middle of a transaction is off by one",
        CAPTURE,
        "missing",
        (Patch("capture/changes.py", "or index < self._first_new", "or index <= self._first_new"),),
    ),
    Mutant(
        "offsets apart from the output",
        "input offsets are committed after the output's transaction, not in it",
        ENRICH,
        "doubled",
        (
            Patch(
                "broker/transaction.py",
                "                    _send_offsets(self._aside, producer, list(offsets), group)",
                "                    pass",
            ),
            Patch(
                "broker/transaction.py",
                '            crash_point("transaction.after_commit")\n',
                '            crash_point("transaction.after_commit")\n'
                "            if offsets and consumer is not None:\n"
                "                consumer.commit(offsets=list(offsets), asynchronous=False)\n",
            ),
        ),
    ),
    Mutant(
        "joined with the newest content",
        "an event gets the content as it is now, not as of its own position",
        ENRICH,
        "wrong",
        (Patch("enrich/rules.py", "            if version.position >= position:\n", "            if False:\n"),),
    ),
    Mutant(
        "content not waited for",
        "an event is joined with what happens to be known, without waiting for what it refers to",
        ENRICH,
        "wrong",
        (
            Patch(
                "enrich/stage.py",
                "        if not catalog.covers(batch.needs):\n            self._catalog.follow()\n",
                "        if batch.needs:\n            return True\n",
            ),
        ),
    ),
    Mutant(
        "partition chosen by the key",
        "the output does not go to the partition that its input was read from",
        ENRICH,
        "misplaced",
        (
            Patch(
                "enrich/translate.py",
                "            records.append((message.partition(), value, key))",
                "            records.append((-1, value, key))",
            ),
        ),
    ),
    Mutant(
        "refused record dropped",
        "what cannot be read leaves no dead letter",
        ENRICH,
        "dead letters",
        (
            Patch(
                "enrich/translate.py",
                "    output.letters += [_letter(message, refusal) for message, refusal in batch.refused]\n",
                "",
            ),
        ),
    ),
    Mutant(
        "no group metadata in the transaction",
        "the broker cannot tell that the offsets come from a worker that has lost its partitions",
        TWIN,
        "doubled",
        (
            Patch(
                "broker/transaction.py",
                "group = consumer.consumer_group_metadata()",
                'group = Consumer({"group.id": self._name.rsplit("-", 1)[0]}).consumer_group_metadata()',
            ),
        ),
    ),
)
