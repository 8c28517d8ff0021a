"""One type on one state-of-the-world stream: what was asked, sent, accepted and refused.

In: requests, names that may have changed. Out: the resources that are due. Guaranteed: no
resource is sent twice at one version unless forced; a refused version is not sent again alone.
Rules: xDS protocol, "ACK/NACK and resource type instance version"; rulings in docs/decisions.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Final

from aeraki_xds.xds.message import Acked, Event, Nacked, SotwRequest, Stale, Subscribed
from aeraki_xds.xds.resource import Name, Resource, TypeUrl
from aeraki_xds.xds.snapshot import Content, View, by_name
from aeraki_xds.xds.watch import Watch, blamed

MOST: Final = 10_000
"""Resources of a response that need not hold everything. Of more the next response holds the rest;
it is not less, for the client answers each with its whole list of names."""


class SotwWatch(Watch):
    """A type's state: what both kinds of types share."""

    __slots__ = ("_in_flight", "_listed", "_unasked", "acked", "parked", "sent")

    sent: Mapping[Name, Resource]
    acked: Mapping[Name, Resource]

    def __init__(self, *, type_url: TypeUrl, view: View) -> None:
        super().__init__(type_url=type_url, view=view)
        self.parked: dict[Name, int] = {}
        self._listed: tuple[Name, ...] | None = None
        self._unasked: set[Name] = set()
        self._in_flight: Mapping[Name, Resource] | None = None

    def receive(self, request: SotwRequest) -> tuple[Event, ...]:
        """Take a request. Rules in the order in which they apply:

        1. The first request of a type on a stream is a subscription, whatever nonce, version or
           error it carries over from an earlier stream (statement 16).
        2. A nonce other than the newest is stale: nothing changes, nothing is answered
           (statement 12); a later request repeats the whole list.
        3. An error parks the refused version, and the list counts all the same (statement 11).
        """
        verdict: Event | None = None
        if self._started:
            if request.nonce != self.nonce:
                return (self._stale(request),)
            verdict = self._verdict(request)
            if request.names == self._listed and not self._unasked:
                return (verdict,) if verdict else ()
        subscribed = self._subscribe(request.names)
        return tuple(event for event in (verdict, subscribed) if event)

    def accept(self, nonce: str) -> bool | None:
        """What `receive` makes of a plain ACK, one that repeats the list: whether the response was
        still to be accepted. None when it is no ACK of the newest response.
        """
        if nonce != self.nonce or self._listed is None:
            return None
        in_flight, self._in_flight = self._in_flight, None
        if in_flight is not None:
            self._took(in_flight)
        if self._unasked:
            self._subscribe(self._listed)
        return in_flight is not None

    def _stale(self, request: SotwRequest) -> Event:
        if request.error is None:
            return Stale(type_url=self.type_url, nonce=request.nonce)
        return Nacked(
            type_url=self.type_url, nonce=request.nonce, error=request.error, names=(), stale=True
        )

    def _verdict(self, request: SotwRequest) -> Event | None:
        """Only the first request with a nonce accepts; a later one, with the error of a NACK taken
        off, is a new subscription.
        """
        in_flight, self._in_flight = self._in_flight, None
        if request.error is None:
            if in_flight is None:
                return None
            self._took(in_flight)
            return Acked(type_url=self.type_url, nonce=request.nonce)
        self._reconsider()
        refused = self._refused(request.error, in_flight or {})
        self.parked.update(refused)
        return Nacked(
            type_url=self.type_url,
            nonce=request.nonce,
            error=request.error,
            names=tuple(sorted(refused)),
            stale=False,
        )

    def _refused(self, error: str, in_flight: Mapping[Name, Resource]) -> dict[Name, int]:
        """The versions to park: what of a response that was refused is new to the client."""
        return {
            name: resource.digest
            for name, resource in in_flight.items()
            if name not in self.acked or self.acked[name].digest != resource.digest
        }

    def _subscribe(self, names: tuple[Name, ...]) -> Event | None:
        self._reconsider()
        self._listed = names
        had_wildcard = self.subscription.wildcard
        added, removed = self.subscription.replace(names)
        wildcard = self.subscription.wildcard
        first, self._started = not self._started, True
        self.dirty |= added
        if wildcard and not had_wildcard:
            self.dirty.update(self._view.all(self.type_url))
        if had_wildcard and not wildcard:
            self._forget_unwanted({*self.sent, *self.acked, *self.parked})
        elif removed or self._unasked:
            self._forget_unwanted(removed | self._unasked)
        if not (first or added or removed or wildcard != had_wildcard):
            return None
        return Subscribed(type_url=self.type_url, added=added, removed=removed, wildcard=wildcard)

    def _forget_unwanted(self, names: Iterable[Name]) -> None:
        """Forget those of `names` that the client no longer asks for."""
        lost = {name for name in names if not self.subscription.wants(name)}
        self._unasked.clear()
        for name in lost:
            self.parked.pop(name, None)
        self._forget(lost)

    def _held_names(self) -> Iterable[Name]:
        return self.sent

    def _is_due(self, name: Name, current: Resource) -> bool:
        """Whether a resource is wanted, not parked as it is, and not what was sent."""
        digest = current.digest
        if self.parked.get(name) == digest or not self.subscription.wants(name):
            return False
        held = self.sent.get(name)
        return held is None or held.digest != digest

    @abstractmethod
    def _took(self, in_flight: Mapping[Name, Resource]) -> None:
        """The client accepted these."""

    @abstractmethod
    def _forget(self, names: AbstractSet[Name]) -> None:
        """The client no longer holds these, as far as we are concerned."""


class PartialWatch(SotwWatch):
    """A type that is asked for by name: a response holds what is new or changed, and nothing says
    what is gone (statement 27). `sent` and `acked` are changed in place, under their other names.
    """

    __slots__ = ("_accepted", "_held")

    _held: dict[Name, Resource]
    _accepted: dict[Name, Resource]

    def __init__(self, *, type_url: TypeUrl, view: View) -> None:
        super().__init__(type_url=type_url, view=view)
        self.sent = self._held = {}
        self.acked = self._accepted = {}

    def updates(self) -> Content | None:
        """What is new or changed, or forced."""
        if len(self.dirty) == 1 and not (self._due or self._forced or self.parked or self._later):
            # One name to judge, and nothing that tells it apart from what it is for other streams:
            # this is what a change mostly is, for thousands of them, and what it takes is shared.
            name = self.dirty.pop()
            alone = self._view.alone(self.type_url, name)
            if alone is None or name not in self.subscription.names:
                return None
            current, by_its_name, content = alone
            held = self._held.get(name)
            if held is not None and held.digest == current.digest:
                return None
            self._held[name] = current
            self._in_flight = by_its_name
            return content
        for name in self._some():
            self._judge(name)
        forced, due = self._forced, self._due
        if self.dirty and len(due) < MOST:
            return None
        self._judge_forced_again()
        if forced:
            self._unasked.update(name for name in due if not self.subscription.wants(name))
            self._forced = forced.difference(due) if self.dirty else set()
        if not due:
            return None
        self._due = {}
        for name in self.parked and due:
            self.parked.pop(name, None)
        self._held.update(due)
        self._in_flight = due
        return by_name(due), ()

    def _judge(self, name: Name) -> None:
        current = self._view.get(self.type_url, name)
        if current is not None and (name in self._forced or self._is_due(name, current)):
            self._due[name] = current
            return
        self._due.pop(name, None)
        if current is None and name in self._forced:
            # The client waits for it: when it is back, it is due at any version.
            self._held.pop(name, None)
            self.parked.pop(name, None)

    def removals(self) -> Content | None:
        """Nothing."""
        return None

    def _took(self, in_flight: Mapping[Name, Resource]) -> None:
        self._accepted.update(in_flight)

    def _forget(self, names: AbstractSet[Name]) -> None:
        for name in names:
            self._held.pop(name, None)
            self._accepted.pop(name, None)


class FullStateWatch(SotwWatch):
    """Listeners or clusters: a response is all there is, and what it leaves out is gone (statement
    26). `sent` and `acked` are replaced as a whole, for they may be the snapshot's own mapping.
    """

    __slots__ = ()

    def __init__(self, *, type_url: TypeUrl, view: View) -> None:
        super().__init__(type_url=type_url, view=view)
        self.sent = {}
        self.acked = {}

    def updates(self) -> Content | None:
        """Everything, when something is new or changed. It still holds what is gone."""
        for name in self._some():
            self._judge(name)
        due, gone = self._due, self.leaving
        if self.dirty or not due:
            return None
        for name in due:
            self.parked.pop(name, None)
        due.clear()
        wanted = self._wanted()
        if gone:
            wanted = {**{name: self.sent[name] for name in gone}, **wanted}
        return self._content(wanted)

    def _judge(self, name: Name) -> None:
        self._due.pop(name, None)
        self.leaving.discard(name)
        current = self._view.get(self.type_url, name)
        if current is None:
            if name in self.sent:
                self.leaving.add(name)
        elif self._is_due(name, current):
            self._due[name] = current

    def removals(self) -> Content | None:
        """Everything, without what is gone; to be called when no name is dirty."""
        if not self.leaving:
            return None
        for name in self.leaving:
            self.parked.pop(name, None)
        self.leaving = set()
        return self._content(self._wanted())

    def _wanted(self) -> Mapping[Name, Resource]:
        """All that exists of what is wanted; a parked version as this stream last accepted it."""
        everything = self._view.all(self.type_url)
        if not self.subscription.wildcard:
            names = self.subscription.names
            everything = {n: everything[n] for n in names if n in everything}
        stand_ins = {
            name: self.acked[name]
            for name, digest in self.parked.items()
            if name in self.acked and name in everything and everything[name].digest == digest
        }
        return {**everything, **stand_ins} if stand_ins else everything

    def _content(self, wanted: Mapping[Name, Resource]) -> Content:
        self.sent = self._in_flight = wanted
        if wanted is self._view.all(self.type_url):
            return self._view.listing(self.type_url), ()
        return by_name(wanted), ()

    def _took(self, in_flight: Mapping[Name, Resource]) -> None:
        self.acked = in_flight

    def _refused(self, error: str, in_flight: Mapping[Name, Resource]) -> dict[Name, int]:
        """Of the others of a response that was refused the client took the new ones."""
        new = super()._refused(error, in_flight)
        culprits = blamed(new, error)
        if len(culprits) == len(new):
            return new
        before = {name: self.acked[name] for name in culprits if name in self.acked}
        taken = {name: resource for name, resource in in_flight.items() if name not in culprits}
        self.acked = taken | before
        return {name: new[name] for name in culprits}

    def _forget(self, names: AbstractSet[Name]) -> None:
        self.sent = {n: resource for n, resource in self.sent.items() if n not in names}
        self.acked = {n: resource for n, resource in self.acked.items() if n not in names}
