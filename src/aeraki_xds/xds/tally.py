"""What the hub counts, as plain numbers that others export.

In: an increment where something happens. Out: totals by type, and how long a change took until the
last stream that it concerned had accepted it. Guaranteed: what a push or an ACK costs does not
depend on who looks; nothing here is keyed by text that a peer chose, so nothing grows with it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from aeraki_xds.xds.resource import (
    CLUSTER,
    ENDPOINTS,
    EXTENSION_CONFIG,
    HTTP_ROUTES,
    LISTENER,
    RUNTIME,
    SECRET,
    THRIFT_ROUTES,
    Resource,
    TypeUrl,
)

SHORT_NAMES: Final[Mapping[TypeUrl, str]] = {
    CLUSTER: "cds",
    ENDPOINTS: "eds",
    LISTENER: "lds",
    HTTP_ROUTES: "rds",
    THRIFT_ROUTES: "trds",
    SECRET: "sds",
    RUNTIME: "rtds",
    EXTENSION_CONFIG: "ecds",
}
"""The types that have a name of their own where space is short; all the rest is `OTHER`."""

OTHER: Final = "other"

SECONDS: Final = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
)
"""Upper bounds of the buckets of a duration."""


def short_name(type_url: str) -> str:
    """The label of a type: of a closed set, whatever a peer asks for."""
    return SHORT_NAMES.get(TypeUrl(type_url), OTHER)


class Totals:
    """What was said of one type on all streams together, since the process began."""

    __slots__ = ("_measured", "_size", "acks", "nacks", "push_bytes", "pushes", "stale")

    def __init__(self) -> None:
        self.pushes = 0
        self.push_bytes = 0
        self.acks = 0
        self.nacks = 0
        self.stale = 0
        self._measured: tuple[Resource, ...] = ()
        self._size = 0

    def pushed(self, resources: tuple[Resource, ...]) -> None:
        """A response with these went out. Streams that are due the same listing measure it once."""
        self.pushes += 1
        if len(resources) == 1:
            self.push_bytes += len(resources[0].packed)
            return
        if resources is not self._measured:
            self._measured = resources
            self._size = sum([len(resource.packed) for resource in resources])
        self.push_bytes += self._size


class Tally:
    """The totals of every type, by its short name."""

    def __init__(self) -> None:
        self.by_type: Final = {name: Totals() for name in (*SHORT_NAMES.values(), OTHER)}

    def of(self, type_url: TypeUrl) -> Totals:
        """Where a type is counted."""
        return self.by_type[short_name(type_url)]


class Histogram:
    """Durations, by bucket: `counts` has one number for each bound and one for what is above."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count one; a bound belongs to the bucket below it."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds


class Change:
    """One batch of configuration on its way to the streams that it concerns.

    `waiting` are those that still have to answer, and one for the publisher until it has published
    everything: it is over when there is none left.
    """

    __slots__ = ("_of", "concerned", "left", "since", "waiting")

    def __init__(self, of: Convergence, since: float) -> None:
        self._of = of
        self.since = since
        self.waiting = 1
        self.concerned = 0
        self.left = 0

    def concerns(self) -> None:
        """One more has to answer."""
        self.concerned += 1
        self.waiting += 1

    def published(self) -> None:
        """Every scope has it."""
        self.accepted()

    def accepted(self) -> None:
        """One of them has it in force."""
        self.waiting -= 1
        if not self.waiting:
            self._of.end(self)

    def passed(self) -> None:
        """One of them never will: it refused, went away, or there was nothing to send to it."""
        self.left += 1
        self.accepted()


class Convergence:
    """How long changes take to be in force everywhere. `clock` gives monotonic seconds.

    A change that nobody accepted is not counted: there was nothing to wait for.
    """

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self.seconds: Final = Histogram()
        self._clock = clock
        self._under_way: dict[Change, None] = {}

    @property
    def under_way(self) -> int:
        """Changes that someone has not answered yet."""
        return len(self._under_way)

    @property
    def oldest(self) -> float:
        """For how long the oldest of these is under way; 0 when there is none."""
        first = next(iter(self._under_way), None)
        return 0.0 if first is None else self._clock() - first.since

    def begin(self, since: float) -> Change:
        """A change that its source said at `since`; to be `published` when that is done."""
        change = Change(self, since)
        self._under_way[change] = None
        return change

    def end(self, change: Change) -> None:
        """Nobody is waited for any more."""
        del self._under_way[change]
        if change.concerned > change.left:
            self.seconds.observe(self._clock() - change.since)
