"""What is due of one type on one stream, kept like an account from what crosses the wire alone.

A second reading of the rulings on the protocol (docs/decisions/003-rulings-on-the-protocol.md),
naive on purpose: it notes no changes and keeps no indexes, but looks at everything that is
published whenever something may be written. What the server forgot to note is due here all the
same, and what it says without a reason is not.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from aeraki_xds.xds.message import (
    Acked,
    DeltaRequest,
    Event,
    Nacked,
    SotwRequest,
    Stale,
    Subscribed,
)
from aeraki_xds.xds.resource import (
    CLUSTER,
    ENDPOINTS,
    FULL_STATE,
    KEEPS_ON_REMOVAL,
    LISTENER,
    Name,
    Resource,
    TypeUrl,
)
from tests.xds.model_world import STAR, Content

FIRST: Final = {CLUSTER: 0, ENDPOINTS: 1, LISTENER: 2}
_ROUTES_AND_THE_REST: Final = 3
_GONE_LAST: Final = {LISTENER: 4, CLUSTER: 6, ENDPOINTS: 7}
_ROUTES_THAT_ARE_GONE: Final = 5


@dataclass
class Due:
    """What one response has to hold: resources by name, and names that are gone."""

    rank: int
    resources: dict[Name, Resource] = field(default_factory=dict)
    removed: set[Name] = field(default_factory=set)


class Account(ABC):
    """One type on one stream."""

    def __init__(self, type_url: TypeUrl) -> None:
        self.type_url = type_url
        self.full_state = type_url in FULL_STATE
        self.started = False
        self.names: frozenset[Name] = frozenset()
        self.wildcard = False
        self.nonce = ""
        self.told: dict[Name, int] = {}
        """The version of each name that the client was last sent and did not give up since."""
        self.parked: dict[Name, int] = {}
        self.forced: set[Name] = set()
        """Endpoints that a cluster which was just written waits for."""

    def wants(self, name: Name) -> bool:
        return self.wildcard or name in self.names

    def blamed(self, names: Iterable[Name], error: str) -> list[Name]:
        """Those that an error names, as Envoy names listeners and clusters: `a: what is wrong`."""
        words = error.split()
        return [name for name in names if self.full_state and f"{name}:" in words]

    def subscribes(self, names: frozenset[Name], *, wildcard: bool, first: bool) -> list[Event]:
        before, had_wildcard = self.names, self.wildcard
        self.names, self.wildcard = names, wildcard
        if not (first or names != before or wildcard != had_wildcard):
            return []
        return [
            Subscribed(
                type_url=self.type_url,
                added=names - before,
                removed=before - names,
                wildcard=wildcard,
            )
        ]

    @abstractmethod
    def update(self, current: Content) -> Due | None:
        """What is new or changed; it does not become old by being looked at."""

    @abstractmethod
    def removal(self, current: Content) -> Due | None:
        """What is gone, if `update` has nothing."""

    @abstractmethod
    def writes(self, due: Due, current: Content) -> None:
        """It was written."""

    @abstractmethod
    def gives_up_forcing(self, current: Content) -> None:
        """The clusters were answered: no endpoints that are still missing are forced any more."""

    def _rank(self) -> int:
        return FIRST.get(self.type_url, _ROUTES_AND_THE_REST)

    def _removal_rank(self) -> int:
        return _GONE_LAST.get(self.type_url, _ROUTES_THAT_ARE_GONE)


class SotwAccount(Account):
    """State of the world."""

    def __init__(self, type_url: TypeUrl) -> None:
        super().__init__(type_url)
        self.named = False
        self.open: dict[Name, Resource] | None = None
        """The newest response until it is answered."""
        self.accepted: dict[Name, Resource] = {}
        self.sent: dict[Name, Resource] = {}

    def hears(self, request: SotwRequest) -> list[Event]:
        first, self.started = not self.started, True
        if not first and request.nonce != self.nonce:
            return [self._stale(request)]
        events = [] if first else self._verdict(request)
        listed = frozenset(request.names)
        self.named |= bool(listed)
        wildcard = self.full_state and (STAR in listed or not self.named)
        events += self.subscribes(listed - {STAR}, wildcard=wildcard, first=first)
        for book in (self.told, self.parked, self.accepted, self.sent):
            for name in [name for name in book if not self.wants(name)]:
                del book[name]
        return events

    def _stale(self, request: SotwRequest) -> Event:
        if request.error is None:
            return Stale(type_url=self.type_url, nonce=request.nonce)
        return Nacked(
            type_url=self.type_url, nonce=request.nonce, error=request.error, names=(), stale=True
        )

    def _verdict(self, request: SotwRequest) -> list[Event]:
        answered, self.open = self.open, None
        if request.error is None:
            if answered is None:
                return []
            self.accepted = dict(answered) if self.full_state else {**self.accepted, **answered}
            return [Acked(type_url=self.type_url, nonce=request.nonce)]
        answered = answered or {}
        new = {
            name: each.digest
            for name, each in answered.items()
            if name not in self.accepted or self.accepted[name].digest != each.digest
        }
        named = self.blamed(new, request.error)
        refused = {name: new[name] for name in named or new}
        if len(refused) < len(new):
            left = {name: each for name, each in self.accepted.items() if name in refused}
            self.accepted = {n: e for n, e in answered.items() if n not in refused} | left
        self.parked.update(refused)
        return [
            Nacked(
                type_url=self.type_url,
                nonce=request.nonce,
                error=request.error,
                names=tuple(sorted(refused)),
                stale=False,
            )
        ]

    def _new(self, current: Content) -> dict[Name, Resource]:
        return {
            name: each
            for name, each in current.items()
            if name in self.forced
            or (
                self.wants(name) and each.digest not in (self.told.get(name), self.parked.get(name))
            )
        }

    def _gone(self, current: Content) -> set[Name]:
        return {name for name in self.told if self.full_state and name not in current}

    def _whole(self, current: Content, new: Iterable[Name]) -> dict[Name, Resource]:
        """All that exists; what was refused, as the client last accepted it."""
        return {
            name: self.accepted.get(name, each)
            if name not in new and self.parked.get(name) == each.digest
            else each
            for name, each in current.items()
            if self.wants(name)
        }

    def update(self, current: Content) -> Due | None:
        new = self._new(current)
        if not new:
            return None
        if not self.full_state:
            return Due(self._rank(), new)
        held = {name: self.sent[name] for name in self._gone(current)}
        return Due(self._rank(), held | self._whole(current, new))

    def removal(self, current: Content) -> Due | None:
        if not self._gone(current):
            return None
        return Due(self._removal_rank(), self._whole(current, ()))

    def writes(self, due: Due, current: Content) -> None:
        for name in (*self._new(current), *(n for n in self.told if n not in due.resources)):
            if self.full_state or name in due.resources:
                self.parked.pop(name, None)
        if self.full_state:
            self.told.clear()
            self.sent.clear()
        self.told.update({name: each.digest for name, each in due.resources.items()})
        self.sent.update(due.resources)
        self.open = due.resources

    def gives_up_forcing(self, current: Content) -> None:
        """What is missing cannot be said: when it is back, it is due at any version."""
        for name in self.forced:
            if name not in current:
                self.told.pop(name, None)
                self.parked.pop(name, None)
        self.forced.clear()


class DeltaAccount(Account):
    """Incremental."""

    def __init__(self, type_url: TypeUrl) -> None:
        super().__init__(type_url)
        self.asked: set[Name] = set()
        self.owes_an_answer = False
        self.open: dict[Name, int] | None = None

    def hears(self, request: DeltaRequest) -> list[Event]:
        first, self.started = not self.started, True
        events = self._verdict(request) if request.nonce and not first else []
        plus, minus = frozenset(request.subscribe), frozenset(request.unsubscribe)
        brought = request.initial_versions if first else {}
        if first:
            self.told.update({name: int(known, 16) for name, known in brought.items()})
        had_wildcard, before = self.wildcard, self.names
        wildcard = (
            self.full_state
            and STAR not in minus
            and (had_wildcard or STAR in plus or (first and not plus and not minus))
        )
        names = (before | plus) - minus - {STAR}
        events += self.subscribes(names, wildcard=wildcard, first=first)
        self.owes_an_answer = wildcard and (self.owes_an_answer or (first and not brought))
        self.asked |= plus & names
        if first and self.type_url != ENDPOINTS:
            self.asked -= brought.keys()  # due only at another version
        if wildcard:
            self.asked |= before - names
        for name in [*self.told, *self.asked]:
            if not self.wants(name) and (name in before or had_wildcard):
                self.told.pop(name, None)
                self.parked.pop(name, None)
                self.asked.discard(name)
        return events

    def _verdict(self, request: DeltaRequest) -> list[Event]:
        stale = request.nonce != self.nonce
        if request.error is None:
            if stale or self.open is None:
                return []
            self.open = None
            return [Acked(type_url=self.type_url, nonce=request.nonce)]
        refused: dict[Name, int] = {}
        if not stale:
            answered, self.open = self.open or {}, None
            named = self.blamed(answered, request.error)
            refused = {name: answered[name] for name in named or answered}
            self.parked.update(refused)
        return [
            Nacked(
                type_url=self.type_url,
                nonce=request.nonce,
                error=request.error,
                names=tuple(sorted(refused)),
                stale=stale,
            )
        ]

    def update(self, current: Content) -> Due | None:
        new = {
            name: each
            for name, each in current.items()
            if name in self.forced
            or (self.wants(name) and (name in self.asked or self.told.get(name) != each.digest))
        }
        missing = {
            name
            for name in self.asked | self.forced
            if name not in current and name not in self.told and self._may_say_gone(name)
        }
        if not (new or missing or self.owes_an_answer):
            return None
        return Due(self._rank(), new, missing)

    def removal(self, current: Content) -> Due | None:
        gone = {name for name in self.told if name not in current and self._may_say_gone(name)}
        return Due(self._removal_rank(), {}, gone) if gone else None

    def _may_say_gone(self, name: Name) -> bool:
        return self.wants(name) and self.type_url not in KEEPS_ON_REMOVAL

    def writes(self, due: Due, current: Content) -> None:
        self.open = {name: each.digest for name, each in due.resources.items()}
        self.told.update({n: digest for n, digest in self.open.items() if self.wants(n)})
        for name in due.removed:
            self.told.pop(name, None)
        for name in (*due.resources, *due.removed):
            self.parked.pop(name, None)
            self.asked.discard(name)
        self.owes_an_answer = False

    def gives_up_forcing(self, current: Content) -> None:
        """What is back before its removal was written is due at any version."""
        self.asked |= {name for name in self.forced & self.told.keys() if name not in current}
        self.forced.clear()
