"""The cyclic garbage collector, kept from holding up the event loop.

In: the collections that Python makes. Out: none that takes long over the same objects twice. A full
collection looks at every object that there is: a fifth of a second for a mesh of ten thousand
services, and no stream is served meanwhile. Nearly all of it is configuration, which lives long and
is in no cycle: what has survived a collection that took its time is set aside (`gc.freeze`) and
never looked at again. It is freed all the same when nobody refers to it any more; only a cycle
would stay for ever, so what comes and goes by the thousand, connections, must not be one when it
goes (`wire.connection`).
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, Final

_LONG: Final = 0.01
"""Seconds: a fifth of what the loop may be late."""

_OLDEST_EVERY: Final = 2
"""A full collection is considered after so many of the middle generation (Python: 10), so that it
finds less to look at when the configuration grows by a thousand objects a millisecond."""


class _Collections:
    """Hears of each collection. `clock` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since = 0.0

    def heard(self, phase: str, _info: dict[str, Any]) -> None:
        """What `gc.callbacks` asks for."""
        if phase == "start":
            self._since = self._clock()
        elif self._clock() - self._since > _LONG:
            gc.freeze()


@contextmanager
def short_collections(*, clock: Callable[[], float] = monotonic) -> Iterator[None]:
    """For the length of a block. Begins with a long one, for what is there already."""
    gc.collect()
    gc.freeze()
    youngest, middle, oldest = gc.get_threshold()
    gc.set_threshold(youngest, middle, _OLDEST_EVERY)
    heard = _Collections(clock).heard
    gc.callbacks.append(heard)
    try:
        yield
    finally:
        gc.callbacks.remove(heard)
        gc.set_threshold(youngest, middle, oldest)
