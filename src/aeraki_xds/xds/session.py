"""One stream: the protocol without I/O, in both dialects, over any number of types.

In: requests (`receive`) and names that changed (`mark`). Out: one response at a time (`next`), in
make-before-break order, judged at the moment it is taken, so the latest state always wins and a
slow reader is sent each type once, not each version. Nothing ever waits for an ACK.

The order of one publication on a stream (xDS protocol, "Eventual consistency considerations"):

1. clusters: what is new, and in SotW still what is gone;
2. unasked, the endpoints of every cluster that (1) sent new or changed: Envoy asks late in SotW
   and never again in delta, and a cluster without endpoints answers nothing;
3. listeners, likewise with what is gone;
4. routes and everything else;
5. only when there is nothing left to say of (1) to (4): what is gone, listeners first, then routes,
   clusters and endpoints. In SotW that is listeners and clusters without it.

A change for thousands of streams asks each of them for one response, so what it takes is flat here
and in `sotw`, `hub` and `wire.bodies`: what streams share is made once, and who has said all is not
asked again. A response costs 4 µs of CPU less, of 23, for it (2,000 streams).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from functools import lru_cache
from typing import Final

from aeraki_xds.xds.delta import DeltaWatch
from aeraki_xds.xds.message import DeltaRequest, Event, Request, Response, SotwRequest
from aeraki_xds.xds.resource import (
    CLUSTER,
    ENDPOINTS,
    FULL_STATE,
    LISTENER,
    Name,
    Resource,
    TypeUrl,
)
from aeraki_xds.xds.snapshot import Content, View, version_of_all
from aeraki_xds.xds.sotw import FullStateWatch, PartialWatch, SotwWatch

_FIRST: Final = {CLUSTER: 0, ENDPOINTS: 1, LISTENER: 2}
_GONE_LAST: Final = {CLUSTER: 2, ENDPOINTS: 3, LISTENER: 0}
NONCE_WIDTH: Final = 8


class Dialect(Enum):
    """The two variants of the transport protocol."""

    SOTW = "sotw"
    DELTA = "delta"


class Session:
    """The state of one stream. All methods are synchronous, so each is atomic on the loop."""

    __slots__ = (
        "_order", "_removal_order", "_responses", "_view", "dialect", "quiet", "unfinished",
        "watches",
    )  # fmt: skip

    def __init__(self, *, dialect: Dialect, view: View) -> None:
        self.dialect: Final = dialect
        self.watches: dict[TypeUrl, SotwWatch | DeltaWatch] = {}
        self.unfinished = False
        self.quiet = False
        self._view = view
        self._order: list[SotwWatch | DeltaWatch] = []
        self._removal_order: list[SotwWatch | DeltaWatch] = []
        self._responses = 0

    def receive(self, request: Request) -> tuple[Event, ...]:
        """Take a request of the session's dialect and say what it meant."""
        watch = self._watch(request.type_url)
        match watch, request:
            case SotwWatch(), SotwRequest():
                return watch.receive(request)
            case DeltaWatch(), DeltaRequest():
                return watch.receive(request)
        message = f"a {type(request).__name__} on a {self.dialect.value} stream"
        raise TypeError(message)

    @property
    def backlog(self) -> int:
        """How many names, of all types, are to be judged or to be said to be gone."""
        return sum(watch.backlog for watch in self._order)

    def mark(self, type_url: TypeUrl, names: Iterable[Name]) -> None:
        """Names of a type changed in the snapshot."""
        watch = self.watches.get(type_url)
        if watch is not None:
            watch.mark(names)

    def refresh(self) -> None:
        """The view became ready or was replaced: judge everything again."""
        for watch in self._order:
            watch.refresh()

    def next(self) -> Response | None:
        """The next response to write, or None when the client has all that it asked for; or, if
        `unfinished` says so, when not all is judged yet and it is to be called again. If `quiet`
        says so, the response is the last, and it need not be called again.
        """
        self.unfinished = self.quiet = False
        if not self._view.ready:
            return None
        for watch in self._order:
            if watch.dirty or watch.owes_first_answer:
                cluster = watch.type_url == CLUSTER
                content = self._clusters(watch, watch.updates) if cluster else watch.updates()
                if content is not None:
                    return self._response(watch, content)
                if watch.dirty:
                    self.unfinished = True
                    return None
        for watch in self._removal_order:
            if watch.leaving:
                cluster = watch.type_url == CLUSTER
                content = self._clusters(watch, watch.removals) if cluster else watch.removals()
                if content is not None:
                    return self._response(watch, content)
        return None

    def _clusters(
        self, watch: SotwWatch | DeltaWatch, take: Callable[[], Content | None]
    ) -> Content | None:
        held = _held(watch)
        content = take()
        if content is not None:
            # With a removal, too: what was accepted may stand in there for what was refused.
            self._send_endpoints_unasked(watch, held, content)
        return content

    def _watch(self, type_url: TypeUrl) -> SotwWatch | DeltaWatch:
        watch = self.watches.get(type_url)
        if watch is None:
            watch = self.watches[type_url] = self._new_watch(type_url)
            self._order.append(watch)
            self._order.sort(key=lambda w: _FIRST.get(w.type_url, len(_FIRST)))
            self._removal_order = sorted(self._order, key=lambda w: _GONE_LAST.get(w.type_url, 1))
        return watch

    def _new_watch(self, type_url: TypeUrl) -> SotwWatch | DeltaWatch:
        if self.dialect is Dialect.DELTA:
            return DeltaWatch(type_url=type_url, view=self._view)
        kind = FullStateWatch if type_url in FULL_STATE else PartialWatch
        return kind(type_url=type_url, view=self._view)

    def _send_endpoints_unasked(
        self,
        clusters: SotwWatch | DeltaWatch,
        held: Mapping[Name, Resource],
        content: Content,
    ) -> None:
        """Step 2. A client that names its clusters (gRPC) subscribes before it accepts endpoints:
        it is only sent those that it subscribes to already.
        """
        wanted = {
            need.name
            for cluster in content[0]
            if (before := held.get(cluster.name)) is None or before.digest != cluster.digest
            for need in cluster.needs
            if need.type_url == ENDPOINTS
        }
        if not clusters.subscription.wildcard:
            endpoints = self.watches.get(ENDPOINTS)
            wanted &= endpoints.subscription.names if endpoints is not None else set()
        if wanted:
            self._watch(ENDPOINTS).force(wanted)

    def _response(self, watch: SotwWatch | DeltaWatch, content: Content) -> Response:
        """The version is that of the whole type; but a full state that differs from it, for it
        still holds what is gone, or what was accepted in place of what was refused, has its own.
        """
        self._responses += 1
        nonce = watch.nonce = _nonce(self._responses)
        resources, removed = content
        view, type_url = self._view, watch.type_url
        if (
            type_url in FULL_STATE
            and self.dialect is Dialect.SOTW
            and resources is not view.listing(type_url)
        ):
            version = version_of_all(resources)
        else:
            version = view.version(type_url)
        # What is left for `next`, where it can be seen at a glance: most streams have one type.
        self.quiet = len(self._order) == 1 and not (
            watch.dirty or watch.leaving or watch.owes_first_answer
        )
        return _new(Response, (type_url, version, nonce, resources, removed))


_new: Final = tuple.__new__
"""Makes a named tuple without the function that sorts its arguments: half of the time."""


@lru_cache(maxsize=1 << 12)
def _nonce(number: int) -> str:
    """A stream's nonces are numbered from one, so those of a fleet are mostly a few."""
    return f"{number:0{NONCE_WIDTH}x}"


def _held(watch: SotwWatch | DeltaWatch) -> Mapping[Name, Resource]:
    """What of the next response is not new; of a delta response everything is new, changed or
    asked for again.
    """
    return watch.sent if isinstance(watch, SotwWatch) else {}
