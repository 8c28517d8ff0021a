"""Any interleaving converges: a model of two proxies, one in each dialect, against one hub.

Publications to two merged scopes, subscriptions, slow readers, refusals, requests that cross
responses and reconnections come in any order. Whenever everything that was said has been heard,
each proxy holds what the scopes hold of what it asked for, but for versions that it refused itself.
"""

from __future__ import annotations

from collections import deque
from typing import ClassVar, Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from aeraki_xds.xds.message import Event, Nacked, Response, Stale
from aeraki_xds.xds.resource import (
    CLUSTER,
    ENDPOINTS,
    FULL_STATE,
    HTTP_ROUTES,
    LISTENER,
    THRIFT_ROUTES,
    Name,
    Resource,
    Scope,
    TypeUrl,
)
from tests.xds.dialogue import DeltaEnvoy, Envoy, Server, SotwEnvoy, body, cluster, resource

OWN: Final = Scope("own")
SHARED: Final = Scope("shared")
TYPES: Final = (CLUSTER, ENDPOINTS, LISTENER, HTTP_ROUTES, THRIFT_ROUTES)
NAMES: Final = (Name("n1"), Name("n2"), Name("n3"))
STAR: Final = Name("*")
LONG: Final = 200
"""Rounds after which a conversation that goes on is a loop."""


class Proxy:
    """A client that asks for the endpoints of its clusters, refuses what is "bad", and knows which
    of its clusters still wait for endpoints.

    `whole`: it refuses a response as a whole and gives no names, but for clusters. Otherwise, and
    of clusters always, it does as Envoy does: it takes what is good and names the rest.
    """

    said_by: ClassVar[type[Envoy]]

    def __init__(self, server: Server, *, whole: bool) -> None:
        self.server = server
        self.whole = whole
        self.held: dict[TypeUrl, dict[Name, Resource]] = {type_url: {} for type_url in TYPES}
        self.names: dict[TypeUrl, set[Name]] = {type_url: set() for type_url in TYPES}
        self.warming: set[Name] = set()
        self.connects()

    def connects(self) -> None:
        self.envoy = self.said_by(self.server, scopes=(OWN, SHARED))
        self.inbox: deque[Response] = deque()
        self.nonces: set[str] = set()
        self.refused: set[tuple[TypeUrl, Name, int]] = set()
        self.kept: set[tuple[TypeUrl, Name]] = set()

    def wants(self, type_url: TypeUrl, name: Name) -> bool:
        names = self.names[type_url]
        return name in names or (STAR in names and type_url in FULL_STATE)

    def hears(self, type_url: TypeUrl, name: Name) -> bool:
        """Whether a resource that arrives is kept."""
        return self.wants(type_url, name)

    def asks(self, type_url: TypeUrl, names: set[Name]) -> None:
        raise NotImplementedError

    def after(self, response: Response, good: dict[Name, Resource]) -> dict[Name, Resource]:
        """What is held of a type when `good` of a response was taken."""
        raise NotImplementedError

    def noted(self, type_url: TypeUrl, events: tuple[Event, ...]) -> None:
        """The server's reading of a request, which a real client would not know."""

    def may_keep(self, type_url: TypeUrl) -> bool:
        """Whether the client may go on holding what no longer exists."""
        raise NotImplementedError

    # --- what the server writes ---------------------------------------------------------------

    def is_written_to(self) -> bool:
        session = self.envoy.stream.session
        before = {type_url: set(watch.sent) for type_url, watch in session.watches.items()}
        response = self.server.hub.next(self.envoy.stream)
        if response is None:
            return False
        names = [each.name for each in response.resources] + list(response.removed)
        assert len(names) == len(set(names)), "a name occurs twice"
        assert response.nonce not in self.nonces, "a nonce came twice"
        self.nonces.add(response.nonce)
        watch = session.watches[response.type_url]
        for name in names:
            assert response.type_url == ENDPOINTS or watch.subscription.wants(name)
        if response.type_url in FULL_STATE and self.removes(response, before):
            assert self.owed() == [], "a removal came before something that was still due"
        self.inbox.append(response)
        return True

    def removes(self, response: Response, before: dict[TypeUrl, set[Name]]) -> bool:
        held = before[response.type_url]
        if isinstance(self, DeltaProxy):
            return bool(held & set(response.removed))
        return bool(held - {each.name for each in response.resources})

    def owed(self) -> list[tuple[TypeUrl, Name]]:
        """What this stream asked for and was not sent, parked versions aside."""
        found = []
        for type_url, watch in self.envoy.stream.session.watches.items():
            for name in NAMES:
                current = watch._view.get(type_url, name)
                if current is None or not watch.subscription.wants(name):
                    continue
                versions = (current.digest, current.version)
                sent = watch.sent.get(name)
                sent_version = sent.version if isinstance(sent, Resource) else sent
                if sent_version != current.version and watch.parked.get(name) not in versions:
                    found.append((type_url, name))
        return found

    # --- what the client reads ----------------------------------------------------------------

    def reads(self) -> bool:
        if not self.inbox:
            return False
        response = self.inbox.popleft()
        type_url = response.type_url
        held = self.held[type_url]
        heard = {each.name: each for each in response.resources if self.hears(type_url, each.name)}
        bad = {name for name, each in heard.items() if body(each) == "bad"}
        whole = bool(bad) and self.whole and type_url != CLUSTER
        culprits = set(heard) if whole else bad
        good = {name: each for name, each in heard.items() if name not in culprits}
        new = {name for name, each in good.items() if held.get(name) != each}
        self.refused |= {
            (type_url, name, heard[name].digest)
            for name in culprits
            if name not in held or held[name].digest != heard[name].digest
        }
        if whole:
            # A full state that was refused removed nothing.
            self.kept |= {(type_url, name) for name in held if name not in heard}
        else:
            self.held[type_url] = self.after(response, good)
        if type_url == CLUSTER:
            self.warming |= {name for name in new if self.differs(held.get(name), good[name])}
        if type_url == ENDPOINTS:
            self.warming -= {*heard, *response.removed}
        if bad:
            error = "refused" if whole else "refused: " + ", ".join(sorted(bad))
            self.noted(type_url, self.envoy.nacks(response, error))
        else:
            self.noted(type_url, self.envoy.acks(response))
        self.follows_its_clusters()
        return True

    @staticmethod
    def differs(before: Resource | None, after: Resource) -> bool:
        return before is None or before.digest != after.digest

    def follows_its_clusters(self) -> None:
        clusters = set(self.held[CLUSTER])
        self.warming &= clusters
        if clusters != self.names[ENDPOINTS]:
            self.asks(ENDPOINTS, clusters)

    # --- quiet --------------------------------------------------------------------------------

    def settles(self) -> None:
        for _ in range(LONG):
            if not (self.is_written_to() or self.reads()):
                return
        message = "the conversation does not end"
        raise AssertionError(message)

    def holds(self, expected: dict[TypeUrl, dict[Name, Resource]]) -> None:
        for type_url in TYPES:
            held = self.held[type_url]
            for name, current in expected[type_url].items():
                refused = (type_url, name, current.digest) in self.refused
                if self.wants(type_url, name) and not refused:
                    assert name in held, f"{name} of {type_url} was never sent"
                    assert body(held[name]) == body(current), f"{name} of {type_url} is outdated"
            for name in held:
                assert self.wants(type_url, name)
                stays = (type_url, name) in self.kept or self.may_keep(type_url)
                assert name in expected[type_url] or stays, f"{name} stayed"
        waiting = {name for name in self.warming if name in expected[ENDPOINTS]}
        assert not waiting, f"clusters wait for endpoints: {waiting}"


class SotwProxy(Proxy):
    """It keeps what it unsubscribed from until the server has read that: a request that crosses a
    response is not read, and the next one may name the resource again."""

    said_by: ClassVar[type[Envoy]] = SotwEnvoy

    def connects(self) -> None:
        super().connects()
        self.read: dict[TypeUrl, set[Name]] = {type_url: set() for type_url in TYPES}
        self.held = {type_url: {} for type_url in TYPES}
        self.warming = set()
        self.names[ENDPOINTS] = set()
        for type_url, names in self.names.items():
            if names or type_url == ENDPOINTS:
                self.asks(type_url, names)

    def hears(self, type_url: TypeUrl, name: Name) -> bool:
        read = self.read[type_url]
        known = name in read or (STAR in read and type_url in FULL_STATE)
        return known or self.wants(type_url, name)

    def asks(self, type_url: TypeUrl, names: set[Name]) -> None:
        self.names[type_url] = names
        self.noted(type_url, self.envoy.asks(type_url, *sorted(names)))

    def noted(self, type_url: TypeUrl, events: tuple[Event, ...]) -> None:
        for event in events:
            if isinstance(event, Stale) or (isinstance(event, Nacked) and event.stale):
                return
        self.read[type_url] = set(self.names[type_url])
        self.held[type_url] = {
            name: each for name, each in self.held[type_url].items() if self.wants(type_url, name)
        }

    def after(self, response: Response, good: dict[Name, Resource]) -> dict[Name, Resource]:
        held = self.held[response.type_url]
        if response.type_url not in FULL_STATE:
            return held | good
        listed = {each.name for each in response.resources}
        return {name: each for name, each in held.items() if name in listed} | good

    def may_keep(self, type_url: TypeUrl) -> bool:
        return type_url not in FULL_STATE


class DeltaProxy(Proxy):
    """It brings along what it holds when it reconnects."""

    said_by: ClassVar[type[Envoy]] = DeltaEnvoy

    def connects(self) -> None:
        super().connects()
        for type_url, names in self.names.items():
            if names:
                has = {name: each.version for name, each in self.held[type_url].items()}
                self.speaks(type_url, names, set(), has)

    def speaks(
        self, type_url: TypeUrl, adds: set[Name], drops: set[Name], has: dict[Name, str]
    ) -> None:
        envoy = self.envoy
        assert isinstance(envoy, DeltaEnvoy)
        told = {str(name): version for name, version in has.items()}
        envoy.asks(type_url, *sorted(adds), drops=tuple(sorted(drops)), has=told)

    def asks(self, type_url: TypeUrl, names: set[Name]) -> None:
        adds, drops = names - self.names[type_url], self.names[type_url] - names
        self.names[type_url] = set(names)
        self.speaks(type_url, adds, drops, {})
        self.held[type_url] = {
            name: each
            for name, each in self.held[type_url].items()
            if self.wants(type_url, name) and name not in drops
        }

    def after(self, response: Response, good: dict[Name, Resource]) -> dict[Name, Resource]:
        held = self.held[response.type_url] | good
        return {name: each for name, each in held.items() if name not in response.removed}

    def may_keep(self, type_url: TypeUrl) -> bool:
        return type_url == HTTP_ROUTES


proxies = st.sampled_from((0, 1))
types = st.sampled_from(TYPES)
asked_for = st.sampled_from((CLUSTER, LISTENER, HTTP_ROUTES, THRIFT_ROUTES))
publications = st.dictionaries(
    st.tuples(types, st.sampled_from(NAMES)),
    st.sampled_from(("1", "2", "bad", None)),
    min_size=1,
    max_size=5,
)


class Conversations(RuleBasedStateMachine):
    """The interleavings."""

    def __init__(self) -> None:
        super().__init__()
        self.server = Server()
        self.scopes: dict[Scope, dict[tuple[TypeUrl, Name], Resource]] = {}
        self.mended = 0

    @initialize(whole=st.booleans(), composed=st.booleans())
    def connect(self, whole: bool, composed: bool) -> None:
        if composed:
            everything = {(type_url, name): "1" for type_url in TYPES for name in NAMES}
            self.publish(scope=SHARED, publication=dict(everything))
            self.publish(scope=OWN, publication={})
        self.proxies: tuple[Proxy, ...] = (
            SotwProxy(self.server, whole=whole),
            DeltaProxy(self.server, whole=whole),
        )
        for proxy in self.proxies:
            proxy.asks(CLUSTER, {STAR})

    @rule(scope=st.sampled_from((OWN, SHARED)), publication=publications)
    def publish(self, scope: Scope, publication: dict[tuple[TypeUrl, Name], str | None]) -> None:
        held = self.scopes.setdefault(scope, {})
        without = []
        for (type_url, name), text in publication.items():
            plain = resource(type_url, name, text or "")
            made = cluster(name, text or "") if type_url == CLUSTER else plain
            if text is None:
                held.pop((type_url, name), None)
                without.append(made)
            else:
                held[type_url, name] = made
        added = [held[key] for key, text in publication.items() if text is not None]
        self.server.publishes(*added, without=without, scope=scope)

    @rule(which=proxies, type_url=asked_for, names=st.sets(st.sampled_from((*NAMES, STAR))))
    def subscribe(self, which: int, type_url: TypeUrl, names: set[Name]) -> None:
        proxy = self.proxies[which]
        if names or proxy.names[type_url]:  # an empty first list would be a wildcard
            proxy.asks(type_url, set(names))
            proxy.follows_its_clusters()

    @rule(which=proxies, count=st.integers(1, 3))
    def write(self, which: int, count: int) -> None:
        for _ in range(count):
            self.proxies[which].is_written_to()

    @rule(which=proxies, count=st.integers(1, 3))
    def read(self, which: int, count: int) -> None:
        for _ in range(count):
            self.proxies[which].reads()

    @rule(which=proxies)
    def reconnect(self, which: int) -> None:
        self.proxies[which].envoy.leaves()
        self.proxies[which].connects()

    @rule()
    def settle(self) -> None:
        for proxy in self.proxies:
            proxy.settles()
            if len(self.scopes) == 2:
                proxy.holds(self.expected())
            else:
                assert not proxy.nonces, "a scope that is not there yet was not silent"

    @precondition(lambda self: len(self.scopes) == 2)
    @rule()
    def mend(self) -> None:
        """Everything that could be refused changes for the good: then nothing is left out."""
        for scope, held in self.scopes.items():
            self.mended += 1
            self.publish(scope=scope, publication=dict.fromkeys(held, f"mended {self.mended}"))
        for proxy in self.proxies:
            proxy.settles()
            proxy.refused.clear()
            proxy.kept.clear()
            proxy.holds(self.expected())

    def expected(self) -> dict[TypeUrl, dict[Name, Resource]]:
        merged = {**self.scopes.get(SHARED, {}), **self.scopes.get(OWN, {})}
        return {
            type_url: {name: each for (of, name), each in merged.items() if of == type_url}
            for type_url in TYPES
        }

    def teardown(self) -> None:
        if hasattr(self, "proxies"):
            self.settle()


TestConversations = Conversations.TestCase
TestConversations.settings = settings(
    max_examples=300, stateful_step_count=50, deadline=None, print_blob=False
)
