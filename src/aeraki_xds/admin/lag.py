"""How late the event loop is: the one number that every proxy feels.

In: a clock. Out: a histogram of the time between the moment at which a timer was due and the one
at which its task ran. Guaranteed: fifty measurements a second while it keeps up, so that a
pause of 20 ms or more is not missed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from aeraki_xds.xds.tally import Histogram

_INTERVAL: Final = 0.02


class LagMeter:
    """Measures while `run` runs. `clock` gives monotonic seconds."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self.seconds: Final = Histogram()
        self._clock = clock

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            due = self._clock() + _INTERVAL
            await asyncio.sleep(_INTERVAL)
            self.seconds.observe(max(0.0, self._clock() - due))
