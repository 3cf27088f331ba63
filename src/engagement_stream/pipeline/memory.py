"""How a stage's process takes memory from the system: few heaps, and what is freed in large pieces goes back."""

import contextlib
import ctypes
import os

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_HEAPS = 2
_LARGE_BYTES = 1 << 20


def keep_few_heaps() -> None:
    """For this process, before its threads begin and before pyarrow is loaded. What the user has set stays.

    glibc gives each thread (librdkafka's, gRPC's) a heap of its own, up to 8 per core, and each keeps the peak of the
    batches that passed through it; pyarrow's own allocator keeps one more. See decision 25 for what it gave.
    """
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    with contextlib.suppress(OSError, AttributeError):  # another C library decides for itself
        library = ctypes.CDLL(None)
        if "MALLOC_ARENA_MAX" not in os.environ:
            library.mallopt(_M_ARENA_MAX, _HEAPS)
        library.mallopt(_M_TRIM_THRESHOLD, _LARGE_BYTES)
        library.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
