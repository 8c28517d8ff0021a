"""The clients of the model: what a proxy asks for, takes in, refuses and holds.

A proxy behaves as Envoy does: it asks for the endpoints of its clusters, waits for those of a
cluster that is new or changed, and refuses what is "bad". What it holds is judged here as users
would: nothing outdated, nothing left over, and never a route to a cluster that is gone.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from typing import Final, NamedTuple

from aeraki_xds.xds.message import Event, Response
from aeraki_xds.xds.resource import (
    CLUSTER,
    ENDPOINTS,
    FULL_STATE,
    HTTP_ROUTES,
    Name,
    Resource,
    Scope,
    TypeUrl,
)
from tests.xds.dialogue import Envoy
from tests.xds.model_stream import Accounts
from tests.xds.model_tap import TappedDelta, TappedSotw, is_stale
from tests.xds.model_world import SENDERS, STAR, Content, World, refusable, target

ENOUGH: Final = 200
"""Rounds after which a conversation that goes on is a loop."""


class Manners(NamedTuple):
    """In what proxies differ beside their dialect.

    `whole`: it refuses a response as a whole and gives no names, but for clusters. Otherwise, and
    of clusters always, it does as Envoy does: it takes what is good and names the rest.
    `brief`: its plain ACKs take the short way into the hub.
    `unspoken`: it asks for everything with a first request that names nothing.
    `riding`: in delta, what it (un)subscribes rides on the nonce that it took in last.
    """

    whole: bool
    brief: bool
    unspoken: bool
    riding: bool


class Proxy:
    """A client of one stream at a time."""

    delta: bool

    def __init__(
        self,
        world: World,
        *,
        scopes: tuple[Scope, ...],
        types: tuple[TypeUrl, ...],
        manners: Manners,
    ) -> None:
        self.world = world
        self.scopes = scopes
        self.types = types
        self.manners = manners
        self.blocked = False
        self.held: dict[TypeUrl, dict[Name, Resource]] = {type_url: {} for type_url in types}
        self.names: dict[TypeUrl, frozenset[Name]] = dict.fromkeys(types, frozenset())
        self.warming: set[Name] = set()
        self.connects()

    def connects(self) -> None:
        """Open a stream; nothing of an earlier one but what the client itself remembers."""
        self.accounts = Accounts(self.world, self.scopes, delta=self.delta)
        self.envoy = self._opens()
        self.woken = 0
        self.asleep = True
        self.inbox: deque[tuple[int, Response, Mapping[TypeUrl, Content]]] = deque()
        self.written = 0
        self.named_at: dict[tuple[TypeUrl, Name], int] = {}
        self.early: set[tuple[TypeUrl, Name]] = set()
        self.spoke: set[TypeUrl] = set()
        self.taken: dict[TypeUrl, list[str]] = {type_url: [] for type_url in self.types}
        self.refused: set[tuple[TypeUrl, Name, int]] = set()
        self.kept: set[tuple[TypeUrl, Name]] = set()

    def leaves(self) -> None:
        """End the stream; what was on its way is lost."""
        self.envoy.leaves()

    def _opens(self) -> Envoy:
        raise NotImplementedError

    def wants(self, type_url: TypeUrl, name: Name) -> bool:
        names = self.names[type_url]
        return name in names or (STAR in names and type_url in FULL_STATE)

    def hears(self, type_url: TypeUrl, name: Name) -> bool:
        """Whether a resource that arrives is kept."""
        return self.wants(type_url, name)

    def words(self, type_url: TypeUrl, names: frozenset[Name]) -> tuple[Name, ...]:
        """How a list is said: everything needs no word before another was said."""
        if self.manners.unspoken and names == {STAR} and type_url not in self.spoke:
            return ()
        return tuple(sorted(names))

    def may_want_nothing(self, type_url: TypeUrl) -> bool:
        """Whether it can say so: before any word an empty list asks for everything."""
        raise NotImplementedError

    def asks(self, type_url: TypeUrl, names: frozenset[Name]) -> None:
        """Want exactly these names of a type."""
        raise NotImplementedError

    def mutters(self, type_url: TypeUrl, nonce: str, error: str | None) -> None:
        """Say again what is wanted, under a nonce of long ago: it means nothing."""
        raise NotImplementedError

    def after(self, response: Response, good: dict[Name, Resource]) -> dict[Name, Resource]:
        """What is held of a type when `good` of a response was taken."""
        raise NotImplementedError

    def noted(self, type_url: TypeUrl, events: tuple[Event, ...]) -> None:
        """The server's reading of a request, which a real client would not know."""

    def hears_removals(self, type_url: TypeUrl) -> bool:
        """Whether the client can be told that something of a type no longer exists."""
        raise NotImplementedError

    # --- what the server writes ---------------------------------------------------------------

    def is_written_to(self) -> bool:
        """Whether the server's writer, unless blocked or asleep, had something to write or to
        judge.
        """
        if self.blocked or (self.asleep and self.woken == self.envoy.woken):
            if not self.blocked:
                self.accounts.silent()
            return False
        self.woken = self.envoy.woken
        response = self.world.server.hub.next(self.envoy.stream)
        unfinished = self.envoy.stream.session.unfinished
        self.asleep = response is None and not unfinished
        if unfinished:
            self.accounts.waits(self.envoy.stream.session.watches)
            return True
        if response is None:
            self.accounts.silent()
            return False
        self.accounts.writes(response)
        self.written += 1
        self.inbox.append((self.written, response, self.world.seen_by(self.scopes)))
        return True

    def unblocks(self) -> None:
        """What had to wait is written at once: each type at its newest, and what is gone of it."""
        self.blocked = False
        waiting = len(self.inbox)
        while self.is_written_to():
            pass
        written = Counter(response.type_url for _, response, _ in list(self.inbox)[waiting:])
        assert all(count <= 2 for count in written.values()), "it was written what was outdated"

    # --- what the client reads ----------------------------------------------------------------

    def reads(self) -> bool:
        """Take in and answer the next response."""
        if not self.inbox:
            return False
        number, response, published = self.inbox.popleft()
        type_url = response.type_url
        self.taken[type_url].append(response.nonce)
        before = self.held[type_url]
        heard = {each.name: each for each in response.resources if self.hears(type_url, each.name)}
        bad = {name for name, each in heard.items() if refusable(self.world.text(each))}
        whole = bool(bad) and self.manners.whole and type_url != CLUSTER
        culprits = set(heard) if whole else bad
        good = {name: each for name, each in heard.items() if name not in culprits}
        # Also what it holds already: that it took this may have crossed a response, unread.
        self.refused |= {(type_url, name, heard[name].digest) for name in culprits}
        self.refused -= {(type_url, name, each.digest) for name, each in good.items()}
        if whole:
            # A full state that was refused removed nothing.
            self.kept |= {(type_url, name) for name in before if name not in heard}
        else:
            self.held[type_url] = self.after(response, good)
        for name in good:
            # What was written before the client named it anew may be older than what it had, and
            # the server does not know that the client has it.
            named_at = max(self.named_at.get((type_url, each), 0) for each in (name, STAR))
            is_early = number <= named_at
            (self.early.add if is_early else self.early.discard)((type_url, name))
        if type_url == CLUSTER:
            self._warms(before, good)
            self._sends_nowhere_that_is_gone(set(before) - set(self.held[CLUSTER]), published)
        elif type_url == ENDPOINTS:
            self.warming -= {*heard, *response.removed}
        self._answers(response, bad, names=not whole)
        return True

    def _warms(self, before: Content, good: Content) -> None:
        self.warming |= {
            name
            for name, each in good.items()
            if each.needs and (name not in before or before[name].digest != each.digest)
        }
        self.follows_its_clusters()

    def _answers(self, response: Response, bad: set[Name], *, names: bool) -> None:
        if bad:
            error = ", ".join(f"{name}: refused" for name in sorted(bad)) if names else "refused"
            self.noted(response.type_url, self.envoy.nacks(response, error))
        else:
            self.noted(response.type_url, self.envoy.acks(response))

    def _sends_nowhere_that_is_gone(
        self, gone: set[Name], published: Mapping[TypeUrl, Content]
    ) -> None:
        """A cluster may go under a route only if nothing better was published, or was refused."""
        for type_url in SENDERS:
            for name, each in self.held[type_url].items():
                if target(self.world.text(each)) not in gone:
                    continue
                if (type_url, name) in self.kept | self.early:
                    continue
                newest = published[type_url].get(name)
                if newest is None:
                    assert not self.hears_removals(type_url), f"{name} outlived its cluster"
                elif (type_url, name, newest.digest) not in self.refused:
                    assert newest.digest == each.digest, f"{name} had left the cluster before"

    def follows_its_clusters(self) -> None:
        """Ask for the endpoints of exactly the clusters that are held."""
        if CLUSTER in self.types:
            clusters = frozenset(name for name, each in self.held[CLUSTER].items() if each.needs)
            self.warming &= clusters
            if clusters != self.names[ENDPOINTS]:
                self.asks(ENDPOINTS, clusters)

    # --- quiet --------------------------------------------------------------------------------

    def settles(self) -> None:
        """Write and read until neither side has anything to say."""
        for _ in range(ENOUGH):
            if not (self.is_written_to() or self.reads()):
                return
        message = "the conversation does not end"
        raise AssertionError(message)

    def holds_what_it_should(self) -> None:
        """Once quiet: what is published of what it asked for, but what it refused itself."""
        published = self.world.seen_by(self.scopes)
        for type_url in self.types:
            held = self.held[type_url]
            for name, current in published[type_url].items():
                if not self.wants(type_url, name) or self.has_refused(type_url, current):
                    continue
                assert name in held, f"{name} of {type_url} was never sent"
                assert held[name].digest == current.digest, f"{name} of {type_url} is outdated"
            for name in held:
                assert self.wants(type_url, name)
                known = (type_url, name) not in self.kept | self.early
                stays = not (known and self.hears_removals(type_url))
                assert name in published[type_url] or stays, f"{name} of {type_url} stayed"
        waiting = self.warming & published[ENDPOINTS].keys()
        assert not waiting, f"clusters wait for endpoints: {waiting}"

    def has_refused(self, type_url: TypeUrl, each: Resource) -> bool:
        return (type_url, each.name, each.digest) in self.refused

    def agrees_with(self, other: Proxy) -> None:
        """Once quiet, who asked for the same holds the same, whatever the dialect."""
        published = self.world.seen_by(self.scopes)
        for type_url in self.types:
            if self.names[type_url] != other.names[type_url]:
                continue
            for name, each in published[type_url].items():
                if not (self.has_refused(type_url, each) or other.has_refused(type_url, each)):
                    ours, theirs = self.held[type_url].get(name), other.held[type_url].get(name)
                    assert (ours and ours.digest) == (theirs and theirs.digest)


class SotwProxy(Proxy):
    """It keeps what it unsubscribed from until the server has read that: a request that crosses a
    response is not read, and the next one may name the resource again. So it does with endpoints
    that came unasked: they count as sent until the server has read a list without them."""

    delta = False

    def _opens(self) -> Envoy:
        brief = self.manners.brief
        return TappedSotw(self.world.server, self.scopes, self.accounts, briefly=brief)

    def connects(self) -> None:
        super().connects()
        self.read: dict[TypeUrl, frozenset[Name]] = dict.fromkeys(self.types, frozenset())
        self.held = {type_url: {} for type_url in self.types}
        self.warming = set()
        if ENDPOINTS in self.types:
            self.names[ENDPOINTS] = frozenset()
        for type_url, names in self.names.items():
            if names or type_url == ENDPOINTS:
                self.asks(type_url, names)

    def hears(self, type_url: TypeUrl, name: Name) -> bool:
        read = self.read[type_url]
        known = name in read or (STAR in read and type_url in FULL_STATE)
        return known or type_url == ENDPOINTS or self.wants(type_url, name)

    def asks(self, type_url: TypeUrl, names: frozenset[Name]) -> None:
        self.names[type_url] = names
        self.noted(type_url, self.envoy.asks(type_url, *self.words(type_url, names)))

    def may_want_nothing(self, type_url: TypeUrl) -> bool:
        return type_url in self.spoke

    def mutters(self, type_url: TypeUrl, nonce: str, error: str | None) -> None:
        assert isinstance(self.envoy, TappedSotw)
        names = self.envoy.names.get(type_url, ())
        self.noted(type_url, self.envoy.asks(type_url, *names, nonce=nonce, error=error))

    def noted(self, type_url: TypeUrl, events: tuple[Event, ...]) -> None:
        if any(is_stale(event) for event in events):
            return
        assert isinstance(self.envoy, TappedSotw)
        if self.envoy.names.get(type_url):
            self.spoke.add(type_url)
        self.read[type_url] = self.names[type_url]
        self.held[type_url] = {
            name: each for name, each in self.held[type_url].items() if self.wants(type_url, name)
        }

    def after(self, response: Response, good: dict[Name, Resource]) -> dict[Name, Resource]:
        held = self.held[response.type_url]
        if response.type_url not in FULL_STATE:
            return held | good
        listed = {each.name for each in response.resources}
        return {name: each for name, each in held.items() if name in listed} | good

    def hears_removals(self, type_url: TypeUrl) -> bool:
        return type_url in FULL_STATE


class DeltaProxy(Proxy):
    """It brings along what it holds when it reconnects."""

    delta = True

    def _opens(self) -> Envoy:
        brief = self.manners.brief
        return TappedDelta(self.world.server, self.scopes, self.accounts, briefly=brief)

    def connects(self) -> None:
        super().connects()
        for type_url, names in self.names.items():
            if names:
                has = {str(name): each.version for name, each in self.held[type_url].items()}
                self._speaks(type_url, self.words(type_url, names), has=has)
                self.spoke.add(type_url)

    def _speaks(
        self,
        type_url: TypeUrl,
        adds: tuple[Name, ...],
        drops: tuple[Name, ...] = (),
        has: dict[str, str] | None = None,
    ) -> None:
        assert isinstance(self.envoy, TappedDelta)
        taken = self.taken[type_url]
        nonce = taken[-1] if taken and self.manners.riding else ""
        self.envoy.asks(type_url, *adds, drops=drops, has=has, nonce=nonce)

    def asks(self, type_url: TypeUrl, names: frozenset[Name]) -> None:
        adds, drops = names - self.names[type_url], self.names[type_url] - names
        self.named_at.update(((type_url, name), self.written) for name in adds)
        self.names[type_url] = names
        self._speaks(type_url, self.words(type_url, adds), tuple(sorted(drops)))
        self.spoke.add(type_url)
        self.held[type_url] = {
            name: each
            for name, each in self.held[type_url].items()
            if self.wants(type_url, name) and name not in drops
        }

    def may_want_nothing(self, type_url: TypeUrl) -> bool:
        return bool(self.names[type_url])

    def mutters(self, type_url: TypeUrl, nonce: str, error: str | None) -> None:
        assert isinstance(self.envoy, TappedDelta)
        self.envoy.asks(type_url, nonce=nonce, error=error)

    def after(self, response: Response, good: dict[Name, Resource]) -> dict[Name, Resource]:
        held = self.held[response.type_url] | good
        return {name: each for name, each in held.items() if name not in response.removed}

    def hears_removals(self, type_url: TypeUrl) -> bool:
        return type_url != HTTP_ROUTES
