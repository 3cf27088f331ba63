"""Starts bqemulator 1.4.0 with some of its habits mended: `python -m engagement_stream.stack.bigquery_emulator`.

1. It copies the whole table after every append, to be able to answer FOR SYSTEM_TIME AS OF, and has no switch for it: a
   million rows would be copied again every second. Nobody here asks for that.
2. Appends run in threads, queries on the event loop, both on one DuckDB connection: together they lock each other up
   for good. Here the appends' part with DuckDB runs on the loop, too.
3. Every open append connection keeps a thread, and there are as few as CPUs plus four. Here there are 64.
4. DuckDB takes every core for each statement, while everything else here waits for one. Here it takes half of them,
   and needs a third less CPU time for a row (measured on two cores).
5. What a load job brings is compressed at once, at the price of half its CPU time. Here it is stored as it comes, and
   an INSERT compresses strings in the cheap ways only: a third less CPU time, a quarter more disk.
6. After every append it writes its catalog's row of the table again, for the number of rows in it: a second transaction
   that cost more than a third of its time. Here that number stays in memory; a restart may tell an old one.
7. DuckDB rewrites half-filled row groups at each checkpoint, every 16 MB of its log: a quarter of its time. Here it is
   every 128 MB. Durable is what is in the log, as before; a start after a kill reads more of it (2 s of 120 MB).
8. It makes a view of every append's rows, and drops it: a third of the cost of a small append. Here DuckDB finds the
   rows where they are.
"""

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

_THREADS = 64
_WITH_DUCKDB = (
    "_handle_create_write_stream",
    "_handle_get_write_stream",
    "_handle_finalize_write_stream",
    "_handle_batch_commit_write_streams",
    "_handle_flush_rows",
    "_ensure_stream_bound",
    "_perform_append",
)


def mend() -> None:
    """Change the emulator's classes, in this process only."""
    from bqemulator.catalog.duckdb_repository import DuckDBCatalogRepository
    from bqemulator.grpc_api.write_servicer import BigQueryWriteHandler
    from bqemulator.jobs import executor
    from bqemulator.storage.engine import DuckDBEngine
    from bqemulator.versioning.snapshots import SnapshotManager

    def no_copy(*_args: object, **_kwargs: object) -> None:
        """What it answers for a table that is gone."""

    SnapshotManager.capture = no_copy  # type: ignore[method-assign]  # on purpose
    set_up = DuckDBEngine._apply_session_pragmas  # noqa: SLF001 - it has no other place for settings

    def set_up_with_less(self: Any) -> None:
        set_up(self)
        self.connection.execute(f"SET threads = {max((os.cpu_count() or 1) // 2, 1)}")
        self.connection.execute("SET disabled_compression_methods = 'fsst,dict_fsst'")
        self.connection.execute("SET checkpoint_threshold = '128MB'")

    DuckDBEngine._apply_session_pragmas = set_up_with_less  # type: ignore[method-assign]  # noqa: SLF001 - on purpose
    load = executor._LOAD_FORMAT_HANDLERS["PARQUET"]  # noqa: SLF001 - on purpose

    def load_as_it_comes(path: str, target: str, context: Any) -> None:
        context.engine.execute("SET force_compression = 'uncompressed'")
        try:
            load(path, target, context)
        finally:
            context.engine.execute("SET force_compression = 'auto'")

    executor._LOAD_FORMAT_HANDLERS["PARQUET"] = load_as_it_comes  # noqa: SLF001 - on purpose
    made = BigQueryWriteHandler.__init__

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        made(self, *args, **kwargs)
        self.loop, self.loop_thread = asyncio.get_running_loop(), threading.get_ident()
        self.loop.set_default_executor(ThreadPoolExecutor(_THREADS))

    BigQueryWriteHandler.__init__ = init  # type: ignore[method-assign]  # on purpose
    DuckDBCatalogRepository.update_table = _update_table  # type: ignore[method-assign]  # on purpose
    BigQueryWriteHandler._flush_to_target = _insert  # type: ignore[method-assign]  # noqa: SLF001 - on purpose
    for name in _WITH_DUCKDB:
        setattr(BigQueryWriteHandler, name, _on_loop(getattr(BigQueryWriteHandler, name)))


def _update_table(self: Any, table: Any) -> Any:
    self.ensure_ready()
    known = self.get_table(table.project_id, table.dataset_id, table.table_id)
    updated = self._cache.update_table(table)
    if known is None or known.model_copy(update={"num_rows": table.num_rows}) != table:
        self._write_table(updated)
    return updated


def _insert(self: Any, stream: Any, rows: Any) -> None:
    from bqemulator.storage.sql_identifiers import quoted_table_ref

    place = stream.project_id, stream.dataset_id, stream.table_id
    catalog = self._ctx.catalog
    with self._write_lock:
        # `rows` in the statement is the variable of that name here.
        self._ctx.engine.connection.execute(f"INSERT INTO {quoted_table_ref(*place)} SELECT * FROM rows")  # noqa: S608
        table = catalog.get_table(*place)
        if table is not None:
            catalog.update_table(table.model_copy(update={"num_rows": table.num_rows + rows.num_rows}))
        self._ctx.snapshots.record_change(*place)


def _on_loop(method: Callable[..., Any]) -> Callable[..., Any]:
    def hop(self: Any, *args: Any) -> Any:
        if threading.get_ident() == self.loop_thread:
            return method(self, *args)

        async def run() -> Any:
            return method(self, *args)

        call: Coroutine[Any, Any, Any] = run()
        return asyncio.run_coroutine_threadsafe(call, self.loop).result()

    return hop


def main() -> None:
    """The emulator's own command line."""
    from bqemulator.cli import main as emulator

    mend()
    sys.argv[0] = "bqemulator"
    emulator()


if __name__ == "__main__":
    main()
