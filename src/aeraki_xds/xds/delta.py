"""One type on one incremental stream: what was asked and which version of it was sent.

In: requests, names that may have changed. Out: the resources that are due and the names that are
gone. Guaranteed: an explicit subscription is always answered, with the resource or its absence;
a refused (name, version) is not sent again; nothing else is sent twice at one version.
Rules: xDS protocol, "Incremental xDS"; rulings in docs/decisions.
"""

from __future__ import annotations

from collections.abc import Iterable

from aeraki_xds.xds.message import Acked, DeltaRequest, Event, Nacked, Subscribed
from aeraki_xds.xds.resource import (
    ENDPOINTS,
    FULL_STATE,
    KEEPS_ON_REMOVAL,
    Name,
    Resource,
    TypeUrl,
)
from aeraki_xds.xds.snapshot import View, by_name
from aeraki_xds.xds.watch import Content, Watch, blamed


class DeltaWatch(Watch):
    """A type's state. A NACKed version stays in `sent`: it is parked until its bytes change."""

    def __init__(self, *, type_url: TypeUrl, view: View) -> None:
        super().__init__(type_url=type_url, view=view)
        self.sent: dict[Name, str] = {}
        self.parked: dict[Name, str] = {}
        self.owes_first_answer = False
        self._asked: set[Name] = set()
        self._in_flight: dict[Name, str] | None = None

    def receive(self, request: DeltaRequest) -> tuple[Event, ...]:
        """Take a request. (Un)subscriptions count whatever the nonce says (statement 14)."""
        verdict = self._verdict(request) if request.nonce and self._started else None
        return tuple(event for event in (verdict, self._subscribe(request)) if event)

    def accept(self, nonce: str) -> bool | None:
        """What `receive` makes of a plain ACK, one that (un)subscribes nothing: whether the
        response was still to be accepted. None when it is no ACK of the newest response.
        """
        if nonce != self.nonce or not self._started:
            return None
        in_flight, self._in_flight = self._in_flight, None
        return in_flight is not None

    def _verdict(self, request: DeltaRequest) -> Event | None:
        stale = request.nonce != self.nonce
        if request.error is None:
            if stale or self._in_flight is None:
                return None
            self._in_flight = None
            return Acked(type_url=self.type_url, nonce=request.nonce)
        refused: dict[Name, str] = {}
        if not stale:
            in_flight, self._in_flight = self._in_flight or {}, None
            named = self.type_url in FULL_STATE
            culprits = blamed(in_flight, request.error) if named else set(in_flight)
            refused = {name: in_flight[name] for name in culprits}
            self.parked.update(refused)
        return Nacked(
            type_url=self.type_url,
            nonce=request.nonce,
            error=request.error,
            names=tuple(sorted(refused)),
            stale=stale,
        )

    def _subscribe(self, request: DeltaRequest) -> Event | None:
        first, self._started = not self._started, True
        had_wildcard = self.subscription.wildcard
        if first:
            self.sent.update(request.initial_versions)
            self.dirty.update(request.initial_versions)
        added, removed = self.subscription.update(
            request.subscribe, request.unsubscribe, first=first
        )
        wildcard = self.subscription.wildcard
        self._subscribed(request, first=first)
        if wildcard and not had_wildcard:
            self.dirty.update(self._view.all(self.type_url))
            self.owes_first_answer = first and not request.initial_versions
        if had_wildcard and not wildcard:
            self.owes_first_answer = False
        self._unsubscribed(removed, lost_wildcard=had_wildcard and not wildcard)
        if not (first or added or removed or wildcard != had_wildcard):
            return None
        return Subscribed(type_url=self.type_url, added=added, removed=removed, wildcard=wildcard)

    def _subscribed(self, request: DeltaRequest, *, first: bool) -> None:
        """Naming a resource asks for it, had or not (statement 35), but for one case: what a
        reconnecting client says that it has is judged by its version. Endpoints are sent even
        then: a cluster that warms waits for them (statement 46).
        """
        spared = request.initial_versions if first and self.type_url != ENDPOINTS else {}
        for name in self.subscription.names.intersection(request.subscribe):
            if name not in spared:
                self._asked.add(name)
            self.dirty.add(name)

    def _unsubscribed(self, removed: frozenset[Name], *, lost_wildcard: bool) -> None:
        if self.subscription.wildcard:
            # 39: the client drops what it unsubscribes from, and the wildcard still wants it.
            self._asked |= removed
            self.dirty |= removed
            return
        for name in {*self.sent, *self._asked} if lost_wildcard else removed:
            if not self.subscription.wants(name):
                self.sent.pop(name, None)
                self.parked.pop(name, None)
                self._asked.discard(name)

    def _held_names(self) -> Iterable[Name]:
        return self.sent

    def updates(self) -> Content | None:
        """What is new or changed, and that a name does not exist which the client never had.

        What it has is removed last (statement 45), and alone: a removal is not refused together
        with a resource.
        """
        if not (self.dirty or self.owes_first_answer):
            return None
        due: dict[Name, Resource] = {}
        gone: set[Name] = set()
        later: set[Name] = set()
        for name in self.dirty:
            current = self._view.get(self.type_url, name)
            if current is not None:
                if self._is_due(name, current):
                    due[name] = current
            elif self.subscription.wants(name) and self.type_url not in KEEPS_ON_REMOVAL:
                if name in self.sent:
                    later.add(name)
                    if name in self._forced:
                        # A cluster waits for it: if it is back in time, it is due at any version.
                        self._asked.add(name)
                elif name in self._asked or name in self._forced:
                    gone.add(name)
        self.dirty = later
        self._forced.clear()
        owes, self.owes_first_answer = self.owes_first_answer, False
        if not (due or gone or owes):
            return None
        return self._content(due, gone)

    def removals(self) -> Content | None:
        """What is gone.

        To be called when `updates` has nothing more: then nothing but what is gone is dirty.
        """
        gone, self.dirty = self.dirty, set()
        return self._content({}, gone) if gone else None

    def _is_due(self, name: Name, current: Resource) -> bool:
        if name in self._forced:
            return True
        asked = name in self._asked or self.sent.get(name) != current.version
        return asked and self.subscription.wants(name)

    def _content(self, due: dict[Name, Resource], gone: set[Name]) -> Content:
        self._in_flight = {name: resource.version for name, resource in due.items()}
        for name, version in self._in_flight.items():
            self.parked.pop(name, None)
            if self.subscription.wants(name):
                self.sent[name] = version
        self._asked.difference_update(due, gone)
        for name in gone:
            self.sent.pop(name, None)
            self.parked.pop(name, None)
        return by_name(due), tuple(sorted(gone))
