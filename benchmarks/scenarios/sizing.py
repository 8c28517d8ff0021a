"""How many replicas a fleet needs, and of what size: computed from what one stream costs.

In: unit costs of one run. Out: a row for each size of the fleet. Nothing is measured here, and
nothing else is known of larger fleets than that costs add up: what a stream, a connection, a
service costs hardly depends on how many there are (see the other tables).

What a replica may be asked for: no more than half its streams' limit, a change for everybody ACKed
within `EVERYBODY_S`, and when one replica is lost, its proxies served by the others within
`RECOVERY_S`. There are always two. A replica is one process, and so one core.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final

from aeraki_xds.xds.wire.limits import DEFAULT_LIMITS
from scenarios.bars import grid

SIDECARS: Final = (1_000, 5_000, 10_000, 20_000, 50_000, 100_000)
STREAMS: Final = 10
"""Of a sidecar: one on which it asks for everything, or one for each of its listeners."""

SIDECARS_PER_SERVICE: Final = 10
EVERYBODY_S: Final = 1.0
RECOVERY_S: Final = 30.0
CHANGES_A_SECOND: Final = 10
CONCERNED: Final = 0.01
"""The share of all streams for which each of these is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Units:
    """What one costs: microseconds of CPU, kilobytes; under mutual TLS."""

    push_us: float
    """To send one stream a change, and to hear its ACK."""

    sidecar_us: float
    """To let one sidecar in, with all its streams."""

    sidecar_kb: float
    base_mb: float
    """Of a server without services and without streams."""

    service_kb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """One fleet. `everybody_s` is how long a change for all takes until all have ACKed it."""

    sidecars: int
    services: int
    replicas: int
    memory_mb: float
    everybody_s: float
    recovery_s: float
    cpu: float

    @classmethod
    def of(cls, sidecars: int, units: Units) -> Size:
        """The fewest replicas that will do."""
        replicas = 2
        while not (found := cls.with_replicas(sidecars, replicas, units)).good:
            replicas += 1
        return found

    @classmethod
    def with_replicas(cls, sidecars: int, replicas: int, units: Units) -> Size:
        """What so many replicas have to bear, when all are there, and when one is lost."""
        services = sidecars // SIDECARS_PER_SERVICE
        share = ceil(sidecars / replicas)
        most = ceil(sidecars / (replicas - 1))  # while one is lost
        kb = most * units.sidecar_kb + services * units.service_kb
        pushes = CHANGES_A_SECOND * CONCERNED * share * STREAMS
        return cls(
            sidecars=sidecars,
            services=services,
            replicas=replicas,
            memory_mb=units.base_mb + kb / 1024,
            everybody_s=share * STREAMS * units.push_us / 1e6,
            recovery_s=(most - share) * units.sidecar_us / 1e6,
            cpu=pushes * units.push_us / 1e6,
        )

    @property
    def good(self) -> bool:
        """Whether a replica bears it."""
        most = ceil(self.sidecars / (self.replicas - 1)) * STREAMS
        return (
            most <= DEFAULT_LIMITS.streams
            and self.everybody_s <= EVERYBODY_S
            and self.recovery_s <= RECOVERY_S
        )

    def row(self) -> list[str]:
        """Of the table."""
        share = ceil(self.sidecars / self.replicas)
        return [
            f"{self.sidecars:,}",
            f"{self.services:,}",
            f"{self.replicas}",
            f"{share:,}",
            f"{share * STREAMS:,}",
            f"{self.memory_mb:,.0f}",
            f"{self.cpu:.0%}",
            f"{self.everybody_s:.2f}",
            f"{self.recovery_s:.1f}",
        ]


def table(units: Units, sizes: Sequence[int] = SIDECARS) -> str:
    """A row for each fleet, and what it is computed from."""
    header = ["sidecars", "services", "replicas", "sidecars each", "streams each", "MiB each",
              "of a core", "all ACKed, s", "recovery, s"]  # fmt: skip
    rows = [Size.of(sidecars, units).row() for sidecars in sizes]
    return (
        f"{grid(header, rows)}\n\n"
        f"from: {units.push_us:.0f} µs a push with its ACK, {units.sidecar_us / 1e3:.1f} ms to let "
        f"a sidecar in with {STREAMS} streams,\n{units.sidecar_kb:.0f} KB for it, "
        f"{units.base_mb:.0f} MiB for the server, {units.service_kb:.1f} KB a service; mTLS"
    )
