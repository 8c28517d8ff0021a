"""What a drill found, and whether that is good enough.

In: numbers, and pages of `/metrics`. Out: a `Finding`: facts, each good or bad. Nothing is measured
here, so that every verdict can be tested on numbers that are bad.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Self

LATE_S: Final = 0.05
"""A loop that is later than this is felt; a bound of the histogram."""

LATE_IN: Final = 1_000
"""One measurement in so many may be late."""

RATIO: Final = 1.2
"""How much slower others may be served for what one does."""

_METRIC: Final = "aeraki_xds_event_loop_lag_seconds_bucket"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One thing that was measured."""

    told: str
    good: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """All that a drill found."""

    facts: tuple[Fact, ...]

    @property
    def good(self) -> bool:
        """Whether every fact is."""
        return all(fact.good for fact in self.facts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """How late a server's loop ran its timers: measurements by upper bound in seconds, of which
    the last is infinity.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]

    @classmethod
    def parse(cls, page: str) -> Self:
        """Of a page of `/metrics`. Raises ValueError if the bound that decides is not there."""
        rows = [line for line in page.splitlines() if line.startswith(_METRIC)]
        labels = [row.partition('le="')[2].partition('"')[0] for row in rows]
        totals = [int(float(row.rpartition(" ")[2])) for row in rows]
        return cls.of(
            [float(label) for label in labels],
            [after - before for before, after in pairwise([0, *totals])],
        )

    @classmethod
    def of(cls, bounds: Sequence[float], counts: Sequence[int]) -> Self:
        """Of a histogram. Raises ValueError if the bound that decides is not there."""
        if LATE_S not in bounds:
            message = f"the histogram has no bound at {LATE_S:g} s: {list(bounds)}"
            raise ValueError(message)
        return cls(bounds=tuple(bounds), counts=tuple(counts))

    def __add__(self, other: Lag) -> Lag:
        """Both together: of two servers, or of two parts of a life."""
        counts = [ours + theirs for ours, theirs in zip(self.counts, other.counts, strict=True)]
        return Lag.of(self.bounds, counts)

    def __sub__(self, earlier: Lag) -> Lag:
        """What came after an earlier page of the same server."""
        counts = [ours - theirs for ours, theirs in zip(self.counts, earlier.counts, strict=True)]
        return Lag.of(self.bounds, counts)

    @property
    def measured(self) -> int:
        """How often it was measured."""
        return sum(self.counts)

    @property
    def late(self) -> int:
        """How often it was above `LATE_S`."""
        return sum(self.counts[self.bounds.index(LATE_S) + 1 :])

    def within(self, share: float) -> float:
        """The bound below which this share of the measurements is."""
        seen = 0
        for bound, count in zip(self.bounds, self.counts, strict=True):
            seen += count
            if seen >= share * self.measured:
                return bound
        return 0.0

    def __str__(self) -> str:
        """The buckets that are not empty."""
        buckets = zip(self.bounds, self.counts, strict=True)
        return ", ".join(f"{_ms(bound)}: {count}" for bound, count in buckets if count)

    def fact(self, note: str = "") -> Fact:
        """Good when no more than one in a thousand was late, and something was measured at all."""
        told = (
            f"loop lag: {self.late} of {self.measured} above {LATE_S * 1000:g} ms; "
            f"p99.9 ≤ {_ms(self.within(0.999))}, max ≤ {_ms(self.within(1.0))}{note}"
        )
        return Fact(told=told, good=self.measured > 0 and self.late * LATE_IN <= self.measured)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """How long others waited with something beside them and without it, in turns: pairs of
    99th percentiles, in seconds.
    """

    without: tuple[float, ...]
    beside: tuple[float, ...]

    @property
    def value(self) -> float:
        """The median over the pairs: each pair is of one moment of a busy machine."""
        pairs = zip(self.beside, self.without, strict=True)
        return statistics.median(beside / without for beside, without in pairs)

    @property
    def good(self) -> bool:
        """Up to `RATIO`."""
        return self.value <= RATIO

    def fact(self, what: str) -> Fact:
        """What it is the ratio of, and whether that is good."""
        told = (
            f"{what}: the others' 99th percentile × {self.value:.2f} "
            f"({_ms(statistics.median(self.beside))}, {len(self.beside)} pairs)"
        )
        return Fact(told=told, good=self.good)


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest value that is not below this share of them. Raises ValueError for none."""
    ordered = sorted(values)
    if not ordered:
        message = "nothing was measured"
        raise ValueError(message)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def no_errors(errors: Sequence[str]) -> Fact:
    """Calls that failed: none may."""
    seen = f": {errors[-1]}" if errors else ""
    return Fact(told=f"{len(errors)} failed calls{seen}", good=not errors)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.4g} ms"
