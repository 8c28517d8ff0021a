"""How fast we write: a few at once, then so many a second, and not at all while told to wait.

In: each write. Out: it waits for its turn. An API server is shared, and istiod pushes what we
write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """`burst` writes at once, then `per_second`."""

    per_second: float = 50.0
    burst: int = 100


USUAL: Final = Rate()


class Pace:
    """A bucket of tokens. `clock` gives monotonic seconds."""

    def __init__(self, rate: Rate, *, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._clock = clock
        self._tokens = float(rate.burst)
        self._at = clock()
        self._until = float("-inf")

    @property
    def wait(self) -> float:
        """Seconds for which nothing is to be written at all."""
        return max(0.0, self._until - self._clock())

    def pause(self, seconds: float) -> None:
        """Write nothing for so long."""
        self._until = self._clock() + seconds

    async def turn(self) -> None:
        """Wait until a write may be made."""
        now = self._clock()
        added = (now - self._at) * self._rate.per_second
        self._tokens = min(self._tokens + added, float(self._rate.burst)) - 1
        self._at = now
        if self._tokens < 0:
            await asyncio.sleep(-self._tokens / self._rate.per_second)
