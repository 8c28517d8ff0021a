"""Long work that lets the event loop have its turn every few milliseconds.

In: small steps of work. Out: the same steps, in order. A mesh of ten thousand services takes
seconds to read and to compose, a page about it long to write: probes, keepalives and streams are
answered meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from time import monotonic
from typing import Final, TypeVar

T = TypeVar("T")

SLICE: Final = 0.005
"""Seconds of work after which the loop gets its turn; not by the loop's own time, which stands
still within a turn of uvloop."""


async def in_turns(steps: Iterable[T]) -> AsyncIterator[T]:
    """Each step, the next one after a turn of the loop where those before took long."""
    since = monotonic()
    for step in steps:
        yield step
        if monotonic() - since > SLICE:
            await asyncio.sleep(0)
            since = monotonic()


def few_at_a_time(things: Sequence[T], size: int = 50) -> Iterable[Sequence[T]]:
    """Slices of a long sequence, for steps that cost little each."""
    return (things[start : start + size] for start in range(0, len(things), size))
