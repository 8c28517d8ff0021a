"""What nobody needs any more: found and given back without holding up the event loop.

In: nothing but the process. Out: no collection that looks at everything there is, but for one an
hour; memory that is free, to the system. A full collection takes a fifth of a second for a mesh of
ten thousand services, or for some thousands of connections, and Python makes one whenever their
number has grown by a quarter: just when many services are read, or many proxies connect.

Nearly everything that lives long here is in no cycle, and is freed when nobody refers to it any
more: configuration, and what is left of a connection that is gone (`wire.connection`). Short-lived
cycles are found by the collections of the young, which go on. What else there may be waits for the
hour; configuration, once it has grown much, is set aside and not looked at then either.

TLS is paid in memory of C, some sixty kilobytes a connection, of which glibc keeps what is free for
as long as one byte above it is taken: after some storms of thousands that is hundreds of megabytes.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_NEVER: Final = 1_000_000_000
_COLLECTED_EVERY: Final = 360
_LOOK: Final = 10.0
"""Seconds between two looks at what is free; after so many of them everything is collected."""

_MUCH: Final = 32 << 20
"""Bytes that are worth to be given back: no malloc in the main thread ends meanwhile, for some tens
of milliseconds where there are hundreds of megabytes."""


@contextmanager
def no_full_collections() -> Iterator[None]:
    """For the length of a block, but for those of `now_and_then`."""
    young, middle, old = gc.get_threshold()
    gc.set_threshold(young, middle, _NEVER)
    try:
        yield
    finally:
        gc.set_threshold(young, middle, old)


def set_aside() -> None:
    """What there is now will live long: never look at it again."""
    gc.freeze()


async def now_and_then() -> None:
    """Collect once an hour, and give back what is free, until cancelled."""
    looks = 0
    while True:
        await asyncio.sleep(_LOOK)
        looks += 1
        if looks % _COLLECTED_EVERY == 0:
            gc.collect()
        if free_bytes() > _MUCH:
            await asyncio.to_thread(give_back)


class _Mallinfo(ctypes.Structure):
    """glibc's `struct mallinfo2` (mallinfo(3))."""

    _fields_ = tuple(  # type: ignore[mutable-override]
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
            "fordblks", "keepcost",
        )
    )  # fmt: skip


def free_bytes() -> int:
    """What glibc holds that nobody has taken; 0 where it cannot be asked."""
    mallinfo = getattr(_libc(), "mallinfo2", None)
    if mallinfo is None:
        return 0
    mallinfo.restype = _Mallinfo
    return int(mallinfo().fordblks)


def give_back() -> None:
    """Give what is free to the system."""
    trim = getattr(_libc(), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _libc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if sys.platform == "linux" else None
