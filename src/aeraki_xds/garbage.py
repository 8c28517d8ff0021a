"""The cyclic garbage collector, kept from holding up the event loop.

In: nothing but the process. Out: no collection that looks at everything there is, but for one an
hour. Such a collection takes a fifth of a second for a mesh of ten thousand services, or for some
thousands of connections, and Python makes one whenever their number has grown by a quarter: just
when many services are read, or many proxies connect.

Nearly everything that lives long here is in no cycle, and is freed when nobody refers to it any
more: configuration, and what is left of a connection that is gone (`wire.connection`). Short-lived
cycles are found by the collections of the young, which go on. What else there may be waits for the
hour; configuration, once it has grown much, is set aside and not looked at then either.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_NEVER: Final = 1_000_000_000
_SECONDS: Final = 3600.0


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
    """Collect once an hour, until cancelled."""
    while True:
        await asyncio.sleep(_SECONDS)
        gc.collect()
