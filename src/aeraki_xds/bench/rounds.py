"""Rounds of one load against one server: what each took, and what they say together.

In: a fleet, and the server as far as one can ask it. Out: figures. A round is one of two kinds: in
one the ACKs go out at once, as a fleet of proxies does, and times are measured; in the other they
are kept back until everything is sent, and the server's CPU is measured, for sending and for ACKs
apart. Guaranteed: what a server cannot be asked is None, never a guess.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from aeraki_xds.bench.fleet import Delivered, Fleet, Progress

WARM_UP: Final = 2
"""Rounds that do not count."""

BUSY: Final = 0.9
"""The share of a core from which on a load generator may be what was measured."""


class Target(Protocol):
    """A server, and whoever changes what it serves."""

    async def expect(self, *, acks: int) -> None:
        """So many ACKs come from now on."""

    async def publish(self, *, acks: int) -> int:
        """Change what the streams ask for, of which so many will ACK it: when that began, in
        nanoseconds of the monotonic clock.
        """

    async def acked(self) -> int | None:
        """Wait until the server has handled the last of these ACKs: when that was; None if one
        cannot know.
        """

    async def cpu_s(self) -> float | None:
        """Seconds of CPU that it has taken so far; None if one cannot know."""

    async def memory_kb(self) -> float | None:
        """Its resident memory; None if one cannot know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """A round from the change on, in milliseconds. `acked` is when the server had handled the last
    ACK or, if it does not tell, when the last was sent; `busy` is the share of a core that the
    busiest load generator took of the time to the last delivery.
    """

    first: float
    half: float
    p99: float
    last: float
    acked: float
    busy: float

    @classmethod
    def of(cls, delivered: Delivered, *, at_ns: int, acked_ns: int | None) -> Timed:
        """Work it out."""
        moments = [(moment - at_ns) / 1e6 for moment in delivered.moments_ns]
        last_ack = acked_ns if acked_ns is not None else delivered.last_ack_ns
        return cls(
            first=moments[0],
            half=percentile(moments, 0.5),
            p99=percentile(moments, 0.99),
            last=moments[-1],
            acked=(last_ack - at_ns) / 1e6,
            busy=delivered.busy_s * 1e3 / max(moments[-1], 1e-3),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The server's CPU for one stream, in microseconds."""

    send_us: float
    ack_us: float


@dataclass(slots=True, kw_only=True)
class Figures:
    """What is known of one server under one load."""

    streams: int
    connections: int
    storm_ms: float = 0.0
    storm_cpu_us: float | None = None
    refused: int = 0
    kb_grown: float | None = None
    bytes_per_response: float = 0.0
    timed: list[Timed] = field(default_factory=list)
    costs: list[Cost] = field(default_factory=list)

    def median(self, what: str) -> float:
        """Of a field of `Timed` or `Cost`; NaN if there was no such round."""
        rounds: Sequence[Timed | Cost] = self.timed if what in Timed.__slots__ else self.costs
        return statistics.median(getattr(each, what) for each in rounds) if rounds else math.nan

    @property
    def kb_per_connection(self) -> float:
        """Memory of the server, for each connection with its streams; NaN if one cannot know."""
        return math.nan if self.kb_grown is None else self.kb_grown / self.connections

    @property
    def harness_bound(self) -> bool:
        """Whether the load generator was as busy as it can be in most of the rounds."""
        return bool(self.timed) and self.median("busy") > BUSY


class Rounds:
    """One server under one load. `name` is what the changed resource is called, None if every
    stream asks for it.
    """

    def __init__(self, *, fleet: Fleet, target: Target, name: str | None = None) -> None:
        load = fleet.load
        self.figures = Figures(streams=load.streams, connections=load.connections)
        self._fleet = fleet
        self._target = target
        self._name = name

    async def connect(self, progress: Progress = lambda _count: None) -> None:
        """Open every stream and hear its first response; what that takes. Raises LostError."""
        figures, target = self.figures, self._target
        memory, cpu = await target.memory_kb(), await target.cpu_s()
        await target.expect(acks=self._fleet.load.reading)
        delivered, figures.refused = await self._fleet.connect(progress)
        figures.storm_ms = (delivered.moments_ns[-1] - delivered.began_ns) / 1e6
        figures.bytes_per_response = delivered.bytes_received / delivered.responses
        await target.acked()
        if cpu is not None and (after := await target.cpu_s()) is not None:
            figures.storm_cpu_us = (after - cpu) / figures.streams * 1e6
        if memory is not None and (grown := await target.memory_kb()) is not None:
            figures.kb_grown = grown - memory

    async def time(self) -> Timed:
        """Change, and wait until everybody has it and has said so. Raises LostError."""
        delivered, at_ns, _ = await self._change()
        return Timed.of(delivered, at_ns=at_ns, acked_ns=await self._target.acked())

    async def cost(self) -> Cost | None:
        """The same, with the ACKs held back; None if one cannot know. Raises LostError."""
        target = self._target
        start = await target.cpu_s()
        if start is None:
            return None
        await self._fleet.hold_acks()
        _, _, concerned = await self._change()
        sent = await target.cpu_s()
        await self._fleet.release_acks()
        await target.acked()
        heard = await target.cpu_s()
        idle = await target.cpu_s()  # what asking itself costs
        assert sent is not None
        assert heard is not None
        assert idle is not None
        send = sent - start - (idle - heard)
        ack = heard - sent - (idle - heard)
        return Cost(send_us=send / concerned * 1e6, ack_us=ack / concerned * 1e6)

    async def run(
        self, rounds: int, *, progress: Callable[[int], None] = lambda _round: None
    ) -> None:
        """So many rounds of each kind, after some that do not count. Raises LostError."""
        for number in range(-WARM_UP, rounds):
            progress(number)
            await self.both(counts=number >= 0)

    async def both(self, *, counts: bool) -> None:
        """A round of each kind, noted if it counts. Raises LostError."""
        timed, cost = await self.time(), await self.cost()
        if counts:
            self.figures.timed.append(timed)
            if cost is not None:
                self.figures.costs.append(cost)

    async def _change(self) -> tuple[Delivered, int, int]:
        """Change: what came of it, when it began, and how many streams it concerns."""
        concerned = await self._fleet.begin(self._name)
        at_ns = await self._target.publish(acks=concerned)
        delivered = await self._fleet.delivered()
        self.figures.bytes_per_response = delivered.bytes_received / max(delivered.responses, 1)
        return delivered, at_ns, concerned


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of the values, which are in order, that is not below `share` of them."""
    return values[max(math.ceil(share * len(values)) - 1, 0)]
