"""One type on one incremental stream: what was asked and which version of it was sent.

In: requests, names that may have changed. Out: the resources that are due and the names that are
gone. Guaranteed: an explicit subscription is always answered, with the resource or its absence;
a refused (name, version) is not sent again; nothing else is sent twice at one version; a response
is of a size that can be made and read in one go.
Rules: xDS protocol, "Incremental xDS"; rulings in docs/decisions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from aeraki_xds.xds.message import Acked, DeltaRequest, Event, Nacked, Subscribed
from aeraki_xds.xds.resource import (
    ENDPOINTS,
    FULL_STATE,
    KEEPS_ON_REMOVAL,
    Name,
    Resource,
    TypeUrl,
)
from aeraki_xds.xds.snapshot import Content, View, by_name
from aeraki_xds.xds.watch import Leftover, Watch, blamed

MOST: Final = 2000
"""Names of a response; of more the next one says the rest: in this dialect each response is a
change to what the client holds."""


class DeltaWatch(Watch):
    """A type's state. A NACKed version stays in `sent`: it is parked until its bytes change."""

    __slots__ = ("_absent", "_asked", "_in_flight", "parked", "sent")

    def __init__(self, *, type_url: TypeUrl, view: View) -> None:
        super().__init__(type_url=type_url, view=view)
        self.sent: dict[Name, str] = {}
        self.parked: dict[Name, str] = {}
        self._asked: set[Name] = set()
        self._absent: set[Name] = set()
        self._in_flight: dict[Name, str] | None = None

    def receive(self, request: DeltaRequest) -> tuple[Event, ...]:
        """Take a request. (Un)subscriptions count whatever the nonce says (statement 14)."""
        self._reconsider()
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
        subscribe = frozenset(request.subscribe)
        added, removed = self.subscription.update(subscribe, request.unsubscribe, first=first)
        wildcard = self.subscription.wildcard
        if first:
            self._brings(request.initial_versions)
        self._subscribed(subscribe, request.initial_versions if first else {})
        if wildcard and not had_wildcard:
            self.dirty.update(self._view.all(self.type_url))
            self.owes_first_answer = first and not request.initial_versions
        if had_wildcard and not wildcard:
            self.owes_first_answer = False
        self._unsubscribed(removed, lost_wildcard=had_wildcard and not wildcard)
        if not (first or added or removed or wildcard != had_wildcard):
            return None
        return Subscribed(type_url=self.type_url, added=added, removed=removed, wildcard=wildcard)

    def _subscribed(self, subscribe: frozenset[Name], brought: Mapping[Name, str]) -> None:
        """Naming a resource asks for it, had or not (statement 35), but for one case: what a
        reconnecting client says that it has is judged by its version. Endpoints are sent even
        then: a cluster that warms waits for them (statement 46).
        """
        names = self.subscription.names
        named = subscribe if subscribe is names else subscribe & names
        self.dirty |= named
        spared = brought if self.type_url != ENDPOINTS else {}
        self._asked |= named.difference(spared) if spared else named

    def _brings(self, versions: Mapping[Name, str]) -> None:
        """What a reconnecting client holds (statement 40). There may be two hundred thousand: the
        request's mapping becomes ours. What the client does not want is forgotten when it is
        judged: if it is asked for later, it is sent in any case.
        """
        self.sent = versions if isinstance(versions, dict) else dict(versions)
        self._judge_later(versions)

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

    def leftovers(self) -> Iterable[Leftover]:
        """What may hold a lot of names; who has done with the watch can empty it."""
        return *super().leftovers(), self.sent, self.parked, self._asked, self._absent

    def _reconsider(self) -> None:
        super()._reconsider()
        self.dirty |= self._absent
        self._absent.clear()

    def updates(self) -> Content | None:
        """What is new or changed, and that a name does not exist which the client never had.

        What it has is removed last (statement 45), and alone: a removal is not refused together
        with a resource.
        """
        if not (self.dirty or self.owes_first_answer):
            return None
        for name in self._some():
            self._judge(name)
        due, gone = self._due, self._absent
        if self.dirty and len(due) + len(gone) < MOST:
            return None
        self._judge_forced_again()
        if self.dirty:
            self._forced.difference_update(due, gone)
        else:
            self._forced.clear()
        if not (due or gone or self.owes_first_answer):
            return None
        self.owes_first_answer = False
        self._due, self._absent = {}, set()
        return self._content(due, gone)

    def _judge(self, name: Name) -> None:
        """Decide whether a name is due, absent, leaving or nothing of these."""
        self._due.pop(name, None)
        self._absent.discard(name)
        self.leaving.discard(name)
        wanted = self.subscription.wants(name)
        if not wanted:
            self.sent.pop(name, None)
        current = self._view.get(self.type_url, name)
        if current is not None:
            if self._is_due(name, current):
                self._due[name] = current
        elif wanted and self.type_url not in KEEPS_ON_REMOVAL:
            if name in self.sent:
                self.leaving.add(name)
                if name in self._forced:
                    # A cluster waits for it: if it is back in time, it is due at any version.
                    self._asked.add(name)
            elif name in self._asked or name in self._forced:
                self._absent.add(name)

    def removals(self) -> Content | None:
        """What is gone; to be called when no name is dirty."""
        if len(self.leaving) > MOST:
            return self._content({}, {self.leaving.pop() for _ in range(MOST)})
        gone, self.leaving = self.leaving, set()
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
