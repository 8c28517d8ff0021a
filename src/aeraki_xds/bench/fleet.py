"""Load generators of one load, as one: each is a process, and runs an equal share.

In: a load and the number of processes. Out: what came of each round, put together. Guaranteed: the
processes are gone when the block is left; what goes wrong in one of them is an error here, and so
is a round that is not over in time, with how far it came.
"""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import chain
from time import monotonic
from typing import Any, Final

from aeraki_xds.bench.child import Child, running
from aeraki_xds.bench.client import LostError
from aeraki_xds.bench.load import Load

_LOOK: Final = 0.1
"""Seconds between two looks at how far connecting is."""

Progress = Callable[[int], None]
"""Is told from time to time how many streams have their first response."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """What came of a round: the moments at which streams were sent their responses, in order, and
    that of the last ACK, in nanoseconds of the monotonic clock; when the round began; how many
    responses and bytes of HTTP/2 came; and for how many seconds of CPU the busiest generator worked
    for that.
    """

    began_ns: int
    moments_ns: Sequence[int]
    last_ack_ns: int
    responses: int
    bytes_received: int
    busy_s: float


class Fleet:
    """The generators of a load; made by `fleet` only."""

    def __init__(self, load: Load, children: Sequence[Child], *, patience: float) -> None:
        self.load = load
        self._children = children
        self._patience = patience

    async def connect(self, progress: Progress = lambda _count: None) -> tuple[Delivered, int]:
        """Open everything and wait until each stream has its first response; also how many streams
        were refused at first. Raises LostError.
        """
        shares = list(_shares(self.load, len(self._children)))
        load = dataclasses.asdict(self.load)
        for child, share in zip(self._children, shares, strict=True):
            await _ask(child, "connect", load=load, **share)
        until = monotonic() + self._patience
        while True:
            answers = await self._all("progress")
            served = sum(answer["responses"] for answer in answers)
            progress(served)
            if all(answer["done"] for answer in answers):
                refused = sum(answer["refused"] for answer in answers)
                return await self.delivered(), refused
            if monotonic() > until:
                raise LostError(
                    f"{served} of {self.load.reading} streams were served in {self._patience:g} s"
                )
            await asyncio.sleep(_LOOK)

    async def begin(self, name: str | None = None) -> int:
        """A round begins, for whoever asks for this name, or for all: how many these are."""
        return sum(answer["expected"] for answer in await self._all("begin", name=name))

    async def hold_acks(self) -> None:
        """Keep ACKs back from now on."""
        await self._all("hold")

    async def release_acks(self) -> None:
        """Send those that were kept back, and keep none back."""
        await self._all("release")

    async def delivered(self) -> Delivered:
        """Wait for the end of the round. Raises LostError."""
        return _together(await self._all("delivered", within_s=self._patience))

    async def count(self) -> Delivered:
        """What has come since the round began."""
        return _together(await self._all("count"))

    async def ages_ns(self) -> list[int]:
        """The ages of stamped responses that have come since this was last asked."""
        return list(chain.from_iterable(each["ages_ns"] for each in await self._all("ages")))

    async def _all(self, do: str, **more: Any) -> list[dict[str, Any]]:
        return await asyncio.gather(*(_ask(child, do, **more) for child in self._children))


@asynccontextmanager
async def fleet(load: Load, *, processes: int = 1, patience: float = 60.0) -> AsyncIterator[Fleet]:
    """The generators of a load, not connected yet; `patience` is how many seconds anything may
    take.
    """
    async with AsyncExitStack() as stack:
        command = (sys.executable, "-m", "aeraki_xds.bench.worker")
        children = [
            await stack.enter_async_context(running(*command))
            for _ in range(max(min(processes, load.connections), 1))
        ]
        yield Fleet(load, children, patience=patience)


async def _ask(child: Child, do: str, **more: Any) -> dict[str, Any]:
    answer = await child.ask(do, **more)
    if "error" in answer:
        raise LostError(answer["error"])
    return answer


def _shares(load: Load, count: int) -> Sequence[dict[str, int]]:
    """Equal numbers of connections for each, the deaf ones spread evenly."""
    shares = []
    first = 0
    for number in range(count):
        until = load.connections * (number + 1) // count * load.per_connection
        until = min(until, load.streams)
        deaf = load.deaf * (number + 1) // count - load.deaf * number // count
        shares.append({"first": first, "streams": until - first, "deaf": deaf})
        first = until
    return shares


def _together(answers: Sequence[dict[str, Any]]) -> Delivered:
    return Delivered(
        began_ns=min(each["began_ns"] for each in answers),
        moments_ns=sorted(chain.from_iterable(each["deliveries_ns"] for each in answers)),
        last_ack_ns=max(each["last_ack_ns"] for each in answers),
        responses=sum(each["responses"] for each in answers),
        bytes_received=sum(each["bytes"] for each in answers),
        busy_s=max(each["busy_s"] for each in answers),
    )
