"""What a stage's process does with its memory: few heaps, large pieces go back when freed, cycles are sought seldom."""

import contextlib
import ctypes
import gc
import os
import sys
from collections.abc import Iterator

_LARGE_BYTES = 1 << 20
_MALLOC = {
    "MALLOC_ARENA_MAX": (-8, 2),
    "MALLOC_TRIM_THRESHOLD_": (-1, _LARGE_BYTES),
    "MALLOC_MMAP_THRESHOLD_": (-3, _LARGE_BYTES),
}
"""What glibc calls it in the environment: what it is called in mallopt, and our value."""


def stay_small() -> None:
    """For this process, before its threads begin and before pyarrow is loaded. What the user has set stays.

    glibc gives each thread (librdkafka's, gRPC's) a heap of its own, up to 8 per core, and each keeps the peak of the
    batches that passed through it; pyarrow's own allocator keeps one more. See decision 25 for what it gave.
    """
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    with contextlib.suppress(OSError, AttributeError):  # another C library decides for itself
        library = ctypes.CDLL(None)
        for name, (parameter, value) in _MALLOC.items():
            if name not in os.environ:
                library.mallopt(parameter, value)


def collect_seldom() -> None:
    """Once the stage is built: look for cycles of objects after 50,000 new ones instead of 700, and among these only.

    A batch is thousands of records, none of them in a cycle, and each collection goes through all that are alive: it
    was a sixth of what enrich did.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


@contextlib.contextmanager
def without_numpy() -> Iterator[None]:
    """Import pyarrow in here: it loads numpy where it finds it (11 MB) and does without elsewhere, as in our image.

    None means "not there" to an import. Afterwards the name is free again: psycopg looks for it in its own way.
    """
    if "numpy" in sys.modules:
        yield
        return
    sys.modules["numpy"] = None  # type: ignore[assignment]  # documented so, not typed so
    try:
        yield
    finally:
        del sys.modules["numpy"]
