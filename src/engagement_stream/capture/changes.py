"""The live stream: pgoutput messages in, records out, and the position that they amount to.

The unit is PostgreSQL's transaction. Its records are counted from 2 (rows, truncates and messages of ours; nothing
that depends on the server's caches, such as Relation messages), so that the count is the same each time the
transaction is decoded. One that was cut into several Kafka transactions is read again from its start after a
crash and passed over by that count: rows of one transaction may share an LSN, so no row's LSN is ever a position.
"""

import time
from collections.abc import Callable, Sequence

from engagement_stream.capture import pgoutput
from engagement_stream.capture.envelope import envelope, message_envelope, source_commit, source_end, source_table, tail
from engagement_stream.capture.first_images import FirstImages
from engagement_stream.capture.outgoing import Outgoing
from engagement_stream.capture.pgoutput import UNCHANGED, Values
from engagement_stream.capture.progress import Copy, Progress
from engagement_stream.capture.records import Records
from engagement_stream.capture.tables import Table, table_of
from engagement_stream.capture.values import NULL
from engagement_stream.errors import Fatal
from engagement_stream.model.canary import canary_sent_us
from engagement_stream.model.change import WATERMARK_PREFIX
from engagement_stream.model.position import FIRST_STREAMED_INDEX
from engagement_stream.settings import KafkaSettings

_MESSAGE_INDEX = 0  # a message outside of transactions has an LSN to itself
_INSERT = bytes([pgoutput.INSERT])
_OPS = (b"c", b"u", b"d", b"t", b"m")


class Changes:
    """Feed it messages in order; `end_lsn`, `commit_lsn`, `next_index` and `catalog` are as in Progress."""

    def __init__(self, outgoing: Outgoing, kafka: KafkaSettings, database: str, progress: Progress) -> None:
        self._out = outgoing
        self._kafka = kafka
        self._events_topic = kafka.events_topic
        self._database = database
        self._records = Records(outgoing, kafka)
        self._tables: dict[int, Table | None] = {}
        self._copy: Copy | None = None
        self._first_images: FirstImages | None = None
        self.end_lsn = progress.end_lsn
        self.commit_lsn = progress.commit_lsn
        self.next_index = progress.next_index
        self.catalog = progress.catalog
        self.commit_ts_us = progress.commit_ts_us
        self.in_transaction = False
        self._passed = False  # the present transaction was delivered whole before
        self._first_new = 0  # index of its first record that was not delivered before
        self._index = FIRST_STREAMED_INDEX
        self._head = b""
        self._message_source = source_table(kafka.prefix, database, "", "")
        self._catalog_end = source_end(self.catalog)
        self._tails: dict[bytes, bytes] = {}
        self._create_tail = b""
        self._handlers: dict[int, Callable[[bytes], None]] = {
            pgoutput.BEGIN: self._begin,
            pgoutput.COMMIT: self._commit,
            pgoutput.RELATION: self._relation,
            pgoutput.INSERT: self._insert,
            pgoutput.UPDATE: self._update,
            pgoutput.DELETE: self._delete,
            pgoutput.TRUNCATE: self._truncate,
            pgoutput.MESSAGE: self._message,
            **dict.fromkeys(pgoutput.IGNORED, _ignore),
        }

    def copying(self, copy: Copy | None, first_images: FirstImages | None) -> None:
        """The first copy is on its way, or, with None, over."""
        self._copy, self._first_images = copy, first_images

    def handle(self, messages: Sequence[bytes]) -> None:
        """Raises Fatal for what the protocol does not know; all that came before it is done then."""
        at = 0
        while at < len(messages):
            taken = self._inserts(messages, at) if messages[at][:1] == _INSERT else 0
            if not taken:
                self._handle(messages[at])
            at += taken or 1

    def _inserts(self, messages: Sequence[bytes], at: int) -> int:
        """The usual way of nearly all records: a run of inserted events in one go. How many messages that were."""
        table = self._tables.get(int.from_bytes(messages[at][1:5]))
        if table is None or table.inserted is None:
            return 0
        if self._first_images is not None or self._was_delivered(self._index):
            return 0
        records = table.inserted(messages, at, table.head, self._index, self._catalog_end + self._create_tail)
        count = len(records)
        if count:
            self._out.add_all(self._events_topic, records)
            self._out.commit_ts_us += [self.commit_ts_us] * count
            self._index += count
            self.next_index = self._index
        return count

    def _handle(self, message: bytes) -> None:
        try:
            handler = self._handlers[message[0]]
        except (KeyError, IndexError):
            raise _not_understood(f"a message that begins with {message[:8]!r}") from None
        try:
            handler(message)
        except pgoutput.UnexpectedMessage as error:
            raise _not_understood(str(error)) from error

    def sent_up_to(self, lsn: int) -> None:
        """A keep-alive between transactions: there is nothing for us before `lsn`."""
        if not self.in_transaction:
            self.end_lsn = max(self.end_lsn, lsn)

    def _begin(self, message: bytes) -> None:
        begin = pgoutput.begin(message)
        self.in_transaction = True
        # Records of the WAL do not overlap: a commit record that begins before our end is over before it.
        self._passed = begin.commit_lsn < self.end_lsn
        if self._passed:
            return
        self._first_new = self.next_index if begin.commit_lsn == self.commit_lsn else 0
        self.next_index = self._first_new
        self._index = FIRST_STREAMED_INDEX
        self.commit_lsn, self.commit_ts_us = begin.commit_lsn, begin.commit_ts_us
        self._describe(begin.commit_ts_us, begin.commit_lsn, begin.xid)

    def _describe(self, commit_ts_us: int, commit_lsn: int, xid: int | None) -> None:
        self._head = source_commit(commit_ts_us, commit_lsn, xid, snapshot=False)
        for table in self._tables.values():
            if table is not None:
                table.head = table.source + self._head
        now_ms = time.time_ns() // 1_000_000
        self._tails = {op: tail(op, now_ms) for op in _OPS}
        self._create_tail = self._tails[b"c"]

    def _commit(self, message: bytes) -> None:
        commit = pgoutput.commit(message)
        self.in_transaction = False
        if not self._passed:
            self.end_lsn = commit.end_lsn
            self.next_index = 0

    def _relation(self, message: bytes) -> None:
        relation = pgoutput.relation(message)
        table = table_of(relation, self._kafka.prefix, self._database)
        if table is not None:
            table.head = table.source + self._head
        self._tables[relation.relation_id] = table

    def _insert(self, message: bytes) -> None:
        table = self._table(pgoutput.relation_of(message))
        if table is None:
            return
        values = pgoutput.insert(message)[1]
        index = self._take_index()
        if index is None:
            return
        if table.is_events:
            self._out.commit_ts_us.append(self.commit_ts_us)
            if self._first_images is not None:
                self._first_images.created(_id(table, values))
        self._put(table, b"c", None, values, index, message)

    def _update(self, message: bytes) -> None:
        update = pgoutput.update(message)
        table = self._table(update.relation_id)
        if table is None:
            return
        old = None if update.key_only else update.old
        new = update.new
        if old is not None:
            new = [before if after is UNCHANGED else after for before, after in zip(old, new, strict=True)]
        if table.is_events or old is None or old[table.id_at] == new[table.id_at]:
            index = self._take_index()
            if index is None:
                return
            if table.is_events:
                self._changed_later(table, "u", old, message)
                if self._first_images is not None:
                    self._first_images.created(_id(table, new))  # with a changed id it is still the same fact
            self._put(table, b"u", old, new, index, message)
            return
        # A content that changed its id: one ends, another begins; both in one message, so in one Kafka transaction.
        gone, begun = self._take_index(), self._take_index()
        if gone is not None and begun is not None:
            self._put(table, b"d", old, None, gone, message)
            self._put(table, b"c", None, new, begun, message)

    def _delete(self, message: bytes) -> None:
        delete = pgoutput.delete(message)
        table = self._table(delete.relation_id)
        if table is None:
            return
        index = self._take_index()
        if index is None:
            return
        if table.is_events:
            self._changed_later(table, "d", None if delete.key_only else delete.old, message)
        self._put(table, b"d", delete.old, None, index, message)

    def _changed_later(self, table: Table, op: str, old: Values | None, message: bytes) -> None:
        """An event is a fact: if the first copy has not reached it yet, it is told as it was, first."""
        self._out.changed_later[op] += 1
        if self._copy is None or self._first_images is None or old is None:
            return
        event_id = _id(table, old)
        if self._first_images.is_due(event_id):
            self._records.put_event_image(table, old, event_id, self._records.image_rest(table, self._copy), message)

    def _truncate(self, message: bytes) -> None:
        for relation_id in pgoutput.truncate(message):
            table = self._table(relation_id)
            index = self._take_index() if table is not None else None
            if table is None or index is None:
                continue
            value = envelope(NULL, NULL, table.head + b"%d" % index + self._catalog_end, self._tails[b"t"])
            if table.is_events:
                self._out.changed_later["t"] += 1
                self._to_every_partition(value)
            else:
                self._content_moved(index)
                self._out.add(self._kafka.content_topic, value, b"truncate", 0)  # a compacted topic wants a key

    def _message(self, message: bytes) -> None:
        mark = pgoutput.logical_message(message)
        ours = mark.prefix == WATERMARK_PREFIX
        if mark.transactional:
            index = self._take_index() if ours else None
            if index is not None:
                self._put_mark(mark, index)
        elif mark.lsn > self.end_lsn:
            if ours:
                self._describe(time.time_ns() // 1000, mark.lsn, None)
                self._put_mark(mark, _MESSAGE_INDEX)
            self.end_lsn = mark.lsn

    def _put_mark(self, mark: pgoutput.LogicalMessage, index: int) -> None:
        source = self._message_source + self._head + b"%d" % index + self._catalog_end
        self._to_every_partition(message_envelope(mark.prefix, mark.content, source, self._tails[b"m"]))
        self._out.marks += self._kafka.partitions
        self._out.canary_us = canary_sent_us(mark.content.decode(errors="replace")) or self._out.canary_us

    def _to_every_partition(self, value: bytes) -> None:
        for partition in range(self._kafka.partitions):
            self._out.add(self._kafka.events_topic, value, None, partition)

    def _put(self, table: Table, op: bytes, old: Values | None, new: Values | None, index: int, message: bytes) -> None:
        source = table.head + b"%d" % index + self._catalog_end
        if not table.is_events:
            self._content_moved(index)
        self._records.put(table, old, new, source, self._tails[op], (self.commit_lsn, index), message)

    def _content_moved(self, index: int) -> None:
        self.catalog = (self.commit_lsn, index)
        self._catalog_end = source_end(self.catalog)

    def _take_index(self) -> int | None:
        """The next record's index; None when it was delivered before."""
        index = self._index
        self._index = index + 1
        if self._was_delivered(index):
            return None
        self.next_index = index + 1
        return index

    def _was_delivered(self, index: int) -> bool:
        """Whether the record with this index of the present transaction is in Kafka already."""
        return self._passed or index < self._first_new

    def _table(self, relation_id: int) -> Table | None:
        try:
            return self._tables[relation_id]
        except KeyError:
            raise pgoutput.UnexpectedMessage(f"a row of table {relation_id}, which was never described") from None


def _id(table: Table, values: Values) -> int:
    return int(values[table.id_at])  # type: ignore[arg-type]  # a primary key is never NULL or TOASTed


def _ignore(_message: bytes) -> None:
    pass


def _not_understood(what: str) -> Fatal:
    return Fatal(
        f"the replication stream holds {what}",
        remedy="this server's version may be newer than this program knows: update it. The slot keeps the changes",
    )
