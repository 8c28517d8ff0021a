"""The pipeline, from what a source says to what a proxy is sent, in virtual time.

The inbox is fed by hand, the proxies are conversations (`tests.xds.dialogue`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from aeraki_xds import turns
from aeraki_xds.ingest.event import Event, SourceLost, Synced, Unreadable
from aeraki_xds.mesh.graph import Graph
from aeraki_xds.mesh.names import Host
from aeraki_xds.mesh.objects import MeshObject
from aeraki_xds.mesh.problems import error
from aeraki_xds.mesh.tenancy import Tenancy
from aeraki_xds.pipeline import Pipeline, Scopes, composer
from aeraki_xds.pipeline.scopes import GLOBAL, PUBLIC
from aeraki_xds.translate import output
from aeraki_xds.translate.compose import Recipe, compose
from aeraki_xds.translate.output import Output
from aeraki_xds.xds.admission import Node, Peer
from aeraki_xds.xds.identity import SpiffeId
from aeraki_xds.xds.message import Response
from aeraki_xds.xds.resource import (
    CLUSTER,
    ENDPOINTS,
    HTTP_ROUTES,
    LISTENER,
    THRIFT_ROUTES,
    Scope,
    TypeUrl,
)
from tests.mesh.kit import (
    full,
    gone,
    protocol,
    refused,
    router,
    said,
    service,
    subsets,
    virtual_service,
)
from tests.virtual_time import at, virtual_time
from tests.xds.dialogue import PEER, Server, SotwEnvoy

SYNCED = [Synced(source="folder")]
HELLO = full("hello")
ROUTE = f"{HELLO}_9090"
SOCKET = "127.20.0.1_9090"
V1, V2 = f"outbound|9090|v1|{HELLO}", f"outbound|9090|v2|{HELLO}"
DEMO = Peer(
    address="10.0.0.1:4000",
    identity=SpiffeId(trust_domain="cluster.local", namespace="demo", service_account="web"),
)
CANARY: tuple[MeshObject, ...] = (service(), subsets(), router("hello", "hello/v1"))


class Rig:
    """A pipeline with a hub, and the hand that feeds it."""

    def __init__(self, *, sources: Sequence[str] = ("folder",)) -> None:
        self.server = Server()
        self.scopes = Scopes()
        self.pipeline = Pipeline(
            hub=self.server.hub,
            scopes=self.scopes,
            sources=sources,
            clock=asyncio.get_running_loop().time,
            tenancy=Tenancy(),
        )

    async def say(self, events: Sequence[Event]) -> None:
        """Say something and let it take its way."""
        self.pipeline.inbox.put(events)
        await asyncio.sleep(0.2)

    def envoy(self, **metadata: object) -> SotwEnvoy:
        """A stock Envoy on an aggregated stream."""
        node = Node(id="envoy", metadata=metadata)
        admitted = self.scopes.admit(node, PEER, only=None)
        assert isinstance(admitted, tuple)
        return SotwEnvoy(self.server, scopes=admitted)

    def sidecar(self) -> SotwEnvoy:
        """A MetaProtocol Proxy on a stream of the route service."""
        return SotwEnvoy(self.server, scopes=self.scopes_of(PEER, only=HTTP_ROUTES))

    def scopes_of(self, peer: Peer, *, only: TypeUrl | None) -> tuple[Scope, ...]:
        """What a peer sees that is of the namespace its identity says."""
        namespace = peer.identity.namespace if peer.identity is not None else "demo"
        node = Node(id="sidecar", metadata={"NAMESPACE": namespace})
        admitted = self.scopes.admit(node, peer, only=only)
        assert isinstance(admitted, tuple)
        return admitted

    def names(self, scope: Scope, type_url: TypeUrl) -> set[str]:
        """What a scope holds of a type."""
        snapshot = self.server.hub.snapshot(scope)
        assert snapshot is not None
        return set(snapshot.of(type_url).resources)

    def version(self, scope: Scope, type_url: TypeUrl, name: str) -> str:
        """The version of a resource of a scope."""
        snapshot = self.server.hub.snapshot(scope)
        assert snapshot is not None
        found = [r for n, r in snapshot.of(type_url).resources.items() if n == name]
        return found[0].version if found else ""

    @property
    def problems(self) -> list[str]:
        """What the report says, without file names."""
        return [f"{entry.key}: {entry.problem}" for entry in self.pipeline.report]


@asynccontextmanager
async def running(*events: Event, sources: Sequence[str] = ("folder",)) -> AsyncIterator[Rig]:
    """A pipeline at work that was told these events."""
    rig = Rig(sources=sources)
    async with asyncio.TaskGroup() as tasks:
        work = tasks.create_task(rig.pipeline.run())
        try:
            if events:
                await rig.say(events)
            yield rig
        finally:
            work.cancel()


def types(responses: Sequence[Response]) -> list[TypeUrl]:
    return [response.type_url for response in responses]


@pytest.fixture
def composed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Every call of `compose`, as (short name of the host, recipe)."""
    calls: list[tuple[str, str]] = []

    def counted(graph: Graph, host: Host, recipe: Recipe) -> Output:
        calls.append((host.partition(".")[0], type(recipe).__name__))
        return compose(graph, host, recipe)

    monkeypatch.setattr(composer, "compose", counted)
    return calls


# --- start ------------------------------------------------------------------------------------


@virtual_time
async def test_nothing_is_served_before_every_source_is_synced() -> None:
    async with running(*said(*CANARY), sources=("folder", "cluster")) as rig:
        assert not rig.server.hub.serving
        await rig.say([Synced(source="cluster")])
        assert not rig.server.hub.serving
        await rig.say(SYNCED)
        assert rig.names(GLOBAL, HTTP_ROUTES) == {ROUTE}


@virtual_time
async def test_nothing_is_composed_before_every_source_is_synced(
    composed: list[tuple[str, str]],
) -> None:
    async with running(*said(*CANARY)) as rig:
        assert composed == []
        await rig.say([*said(service("other")), *SYNCED])
        assert composed == [("hello", "MetaRds"), ("other", "MetaRds")]


@virtual_time
async def test_an_empty_folder_that_is_synced_is_served() -> None:
    async with running(*SYNCED) as rig:
        assert rig.server.hub.serving
        assert rig.names(GLOBAL, HTTP_ROUTES) == set()


@virtual_time
async def test_what_was_deleted_before_the_sync_is_never_served() -> None:
    async with running(*said(*CANARY)) as rig:
        await rig.say([*gone(service()), *SYNCED])
        assert rig.names(GLOBAL, HTTP_ROUTES) == set()


# --- changes ----------------------------------------------------------------------------------


@virtual_time
async def test_a_change_reaches_the_proxies_that_asked_for_it_and_wakes_no_other() -> None:
    events: list[Event] = [*said(*CANARY, service("other", address="127.0.0.9")), *SYNCED]
    async with running(*events) as rig:
        mine, others = rig.sidecar(), rig.sidecar()
        mine.asks(HTTP_ROUTES, ROUTE)
        others.asks(HTTP_ROUTES, f"{full('other')}_9090")
        assert len(rig.server.says(mine)) == len(rig.server.says(others)) == 1
        woken = others.woken
        await rig.say(said(router("hello", "hello/v2")))
        (response,) = rig.server.says(mine)
        assert V2.encode() in response.resources[0].packed
        assert others.woken == woken
        assert rig.server.says(others) == []


@virtual_time
async def test_the_first_change_after_quiet_is_published_at_once() -> None:
    async with running(*said(*CANARY), *SYNCED) as rig:
        sidecar = rig.sidecar()
        sidecar.asks(HTTP_ROUTES, ROUTE)
        rig.server.says(sidecar)
        now = asyncio.get_running_loop().time()
        rig.pipeline.inbox.put(said(router("hello", "hello/v2")))
        while not (said_now := rig.server.says(sidecar)):
            await asyncio.sleep(0)
        assert len(said_now) == 1
        assert asyncio.get_running_loop().time() == now


@virtual_time
async def test_a_burst_is_one_publication() -> None:
    async with running(*said(*CANARY), *SYNCED) as rig:
        sidecar = rig.sidecar()
        sidecar.asks(HTTP_ROUTES, ROUTE)
        rig.server.says(sidecar)
        rig.pipeline.inbox.put(said(service("other")))
        await asyncio.sleep(0.001)
        woken = sidecar.woken
        for number in range(10):
            rig.pipeline.inbox.put(said(router("hello", f"hello/v{number % 2 + 1}")))
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.2)
        assert sidecar.woken == woken + 1


@virtual_time
async def test_a_change_that_changes_nothing_sends_nothing() -> None:
    async with running(*said(*CANARY), *SYNCED) as rig:
        sidecar = rig.sidecar()
        sidecar.asks(HTTP_ROUTES, ROUTE)
        rig.server.says(sidecar)
        woken = sidecar.woken
        await rig.say(said(*CANARY))
        await rig.say(said(service("hello", created="2024-01-01T00:00:00Z")))
        assert sidecar.woken == woken


@virtual_time
async def test_only_affected_hosts_are_composed_each_once_per_recipe(
    composed: list[tuple[str, str]],
) -> None:
    others = [service(f"s{n}", address=f"127.1.0.{n}") for n in range(5)]
    async with running(*said(*CANARY, *others), *SYNCED) as rig:
        rig.envoy()
        rig.envoy(NAMESPACE="another")
        await asyncio.sleep(0.1)
        composed.clear()
        await rig.say(said(router("hello", "hello/v2")))
        assert sorted(composed) == [("hello", "Ads"), ("hello", "MetaRds")]


@virtual_time
async def test_hosts_that_send_to_a_changed_one_are_composed_too(
    composed: list[tuple[str, str]],
) -> None:
    front = service("front", address="127.0.0.8")
    async with running(*said(*CANARY, front, router("front", "hello/v1")), *SYNCED) as rig:
        composed.clear()
        await rig.say(said(subsets(names=["v1"])))
        assert sorted(composed) == [("front", "MetaRds"), ("hello", "MetaRds")]


@virtual_time
async def test_a_deleted_service_takes_its_resources_with_it() -> None:
    async with running(*said(*CANARY), *SYNCED) as rig:
        envoy = rig.envoy()
        await asyncio.sleep(0.1)
        scope = envoy.stream.scopes[0]
        assert rig.names(scope, LISTENER) == {SOCKET}
        await rig.say(gone(service()))
        for type_url in (LISTENER, CLUSTER, ENDPOINTS, THRIFT_ROUTES):
            assert rig.names(scope, type_url) == set()


@virtual_time
async def test_an_application_protocol_makes_a_port_thrift() -> None:
    port = {9090: "tcp-metaprotocol-mine"}
    async with running(*said(service(ports=port)), *SYNCED) as rig:
        scope = rig.envoy().stream.scopes[0]
        await asyncio.sleep(0.1)
        assert rig.names(scope, THRIFT_ROUTES) == set()
        assert any("no ApplicationProtocol declares" in line for line in rig.problems)
        await rig.say(said(protocol("mine", "aeraki.meta_protocol.codec.thrift")))
        assert rig.names(scope, THRIFT_ROUTES) == {ROUTE}
        assert rig.problems == []


@pytest.fixture
def slow_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step of long work costs more than a slice."""
    ticks = iter(range(10**6))
    monkeypatch.setattr(turns, "monotonic", lambda: next(ticks) * 2 * turns.SLICE)


@asynccontextmanager
async def others(do: Callable[[], object]) -> AsyncIterator[None]:
    """Something else that is done whenever the loop has a turn."""

    async def go_on() -> None:
        while True:
            do()
            await asyncio.sleep(0)

    task = asyncio.create_task(go_on())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.mark.usefixtures("slow_work")
@virtual_time
async def test_reading_composing_and_settling_give_the_loop_its_turn() -> None:
    rig = Rig()
    had: list[None] = []
    async with others(lambda: had.append(None)):
        await rig.pipeline.apply([*said(*(service(f"s{n}") for n in range(100))), *SYNCED])
    # Objects fifty at a time; each host composed, put in place, handed over, and settled.
    assert len(had) >= 2 + 4 * 100


@pytest.mark.usefixtures("slow_work")
@virtual_time
async def test_all_scopes_change_in_one_turn_of_the_loop() -> None:
    async with running(*said(service()), *SYNCED) as rig:
        rig.scopes_of(DEMO, only=HTTP_ROUTES)
        restricted = Scope("restricted/demo")
        for scope in (restricted, PUBLIC):
            rig.server.hub.on_wanted(scope)
        await asyncio.sleep(0.2)
        seen: set[tuple[bool, bool]] = set()

        def look() -> None:
            held = (rig.names(scope, HTTP_ROUTES) for scope in (PUBLIC, restricted))
            public, own = (ROUTE in names for names in held)
            seen.add((public, own))

        async with others(look):
            await rig.pipeline.apply(said(service(export_to=(".",))))
            look()
        assert seen == {(True, False), (False, True)}


# --- scopes -----------------------------------------------------------------------------------


@virtual_time
async def test_a_scope_is_composed_when_a_stream_first_asks_for_it(
    composed: list[tuple[str, str]],
) -> None:
    async with running(*said(*CANARY), *SYNCED) as rig:
        composed.clear()
        envoy = rig.envoy()
        envoy.asks(CLUSTER)
        assert rig.server.says(envoy) == []  # silent, not empty
        await asyncio.sleep(0.1)
        assert composed == [("hello", "Ads")]
        assert types(rig.server.says(envoy)) == [CLUSTER, ENDPOINTS]


@virtual_time
async def test_a_namespace_more_costs_no_composition(composed: list[tuple[str, str]]) -> None:
    async with running(*said(*CANARY), *SYNCED) as rig:
        rig.envoy(NAMESPACE="one")
        await asyncio.sleep(0.1)
        composed.clear()
        two = rig.envoy(NAMESPACE="two")
        await asyncio.sleep(0.1)
        assert composed == []
        assert rig.names(two.stream.scopes[0], LISTENER) == {SOCKET}


@virtual_time
async def test_scopes_share_equal_resources() -> None:
    async with running(*said(*CANARY), *SYNCED) as rig:
        one, two = rig.envoy(NAMESPACE="one"), rig.envoy(NAMESPACE="two")
        await asyncio.sleep(0.1)
        held = [rig.server.hub.snapshot(each.stream.scopes[0]) for each in (one, two)]
        assert held[0] is not None
        assert held[1] is not None
        for type_url, collection in held[0].collections.items():
            for name, resource in collection.resources.items():
                assert held[1].of(type_url).resources[name] is resource


@virtual_time
async def test_a_service_that_is_not_exported_is_not_in_the_scope_of_another_namespace() -> None:
    async with running(*said(service(export_to=(".",)), subsets()), *SYNCED) as rig:
        own = rig.envoy(NAMESPACE="demo").stream.scopes[0]
        other = rig.envoy(NAMESPACE="other").stream.scopes[0]
        await asyncio.sleep(0.1)
        assert rig.names(own, LISTENER) == {SOCKET}
        assert rig.names(other, LISTENER) == set()
        await rig.say(said(service(export_to=("other",))))
        assert rig.names(own, LISTENER) == set()
        assert rig.names(other, LISTENER) == {SOCKET}


@virtual_time
async def test_a_scope_is_dropped_a_minute_after_its_last_stream(
    composed: list[tuple[str, str]],
) -> None:
    async with running(*said(*CANARY), *SYNCED) as rig:
        one, two = rig.envoy(), rig.envoy()
        scope = one.stream.scopes[0]
        await at(10, one.leaves)
        await at(20, two.leaves)
        await at(79.9)
        assert rig.server.hub.published == [scope, GLOBAL]
        await at(80.1)
        assert rig.server.hub.published == [GLOBAL]
        composed.clear()
        await rig.say(said(router("hello", "hello/v2")))
        assert composed == [("hello", "MetaRds")]  # no one needs the other recipe any more


@virtual_time
async def test_a_proxy_that_is_back_within_the_minute_finds_its_scope_composed(
    composed: list[tuple[str, str]],
) -> None:
    async with running(*said(*CANARY), *SYNCED) as rig:
        first = rig.envoy()
        await at(10, first.leaves)
        composed.clear()
        again: list[SotwEnvoy] = []
        await at(60, lambda: again.append(rig.envoy()))
        again[0].asks(CLUSTER)
        assert types(rig.server.says(again[0])) == [CLUSTER, ENDPOINTS]
        await at(200)
        assert again[0].stream.scopes[0] in rig.server.hub.published
        assert composed == []


@virtual_time
async def test_the_minute_begins_anew_with_each_last_stream() -> None:
    async with running(*said(*CANARY), *SYNCED) as rig:
        first = rig.envoy()
        scope = first.stream.scopes[0]
        await at(10, first.leaves)
        await at(60)
        second = rig.envoy()
        await at(65, second.leaves)
        await at(124)
        assert scope in rig.server.hub.published
        await at(126)
        assert scope not in rig.server.hub.published


@virtual_time
async def test_a_dropped_scope_is_composed_again_from_what_is_true_then() -> None:
    async with running(*said(*CANARY), *SYNCED) as rig:
        first = rig.envoy()
        await at(1, first.leaves)
        await at(100)
        await rig.say(gone(service()))
        scope = rig.envoy().stream.scopes[0]
        await asyncio.sleep(0.1)
        assert rig.names(scope, LISTENER) == set()


@virtual_time
async def test_a_dropped_scope_is_forgotten_with_all_that_it_held() -> None:
    async with running(*said(*CANARY), *SYNCED) as rig:
        before = dict(rig.scopes.specs)
        for number in range(10):
            rig.envoy(NAMESPACE=f"n{number}", AERAKI_BIND=f"127.0.0.{number}").leaves()
        staying = rig.envoy()
        (scope,) = set(staying.stream.scopes) - {GLOBAL}
        await at(1)
        assert len(rig.scopes.specs) == len(before) + 11
        await at(100)
        assert rig.scopes.specs.keys() == before.keys() | {scope}
        await rig.say(said(router("hello", "hello/v2")))
        assert rig.server.hub.published == [scope, GLOBAL]


@virtual_time
async def test_a_scope_that_everybody_left_before_it_could_be_composed_is_forgotten_too() -> None:
    async with running(*said(*CANARY)) as rig:
        before = dict(rig.scopes.specs)
        rig.envoy(NAMESPACE="gone").leaves()
        await at(100)
        assert rig.scopes.specs == before
        await rig.say(SYNCED)
        assert rig.server.hub.published == [GLOBAL]


@virtual_time
async def test_a_stream_that_comes_while_its_scope_expires_is_sent_what_changes() -> None:
    async with running(*said(*CANARY), *SYNCED) as rig:
        first = rig.envoy()
        await at(1, first.leaves)
        again: list[SotwEnvoy] = []
        # In the turn in which the minute is over, before the pipeline has its own.
        asyncio.get_running_loop().call_at(61, lambda: again.append(rig.envoy()))
        await at(62)
        scope = again[0].stream.scopes[0]
        assert rig.names(scope, LISTENER) == {SOCKET}
        await rig.say(gone(service()))
        assert rig.names(scope, LISTENER) == set()


@virtual_time
async def test_what_is_public_outlives_its_last_stream_as_something_that_can_be_composed() -> None:
    async with running(*said(*CANARY), *SYNCED) as rig:
        for second in (1, 100):
            public = SotwEnvoy(rig.server, scopes=rig.scopes_of(DEMO, only=HTTP_ROUTES))
            await at(second)
            assert rig.names(PUBLIC, HTTP_ROUTES) == {ROUTE}
            public.leaves()
            await at(second + 70)
            assert PUBLIC not in rig.server.hub.published


@virtual_time
async def test_what_is_global_is_never_dropped() -> None:
    async with running(*said(*CANARY), *SYNCED) as rig:
        sidecar = rig.sidecar()
        await at(1, sidecar.leaves)
        await at(500)
        assert rig.server.hub.published == [GLOBAL]


# --- last good --------------------------------------------------------------------------------


@virtual_time
async def test_a_subset_that_nobody_declares_keeps_the_last_good_route_and_heals() -> None:
    async with running(*said(*CANARY), *SYNCED) as rig:
        scope = rig.envoy().stream.scopes[0]
        await asyncio.sleep(0.1)
        good = rig.version(scope, THRIFT_ROUTES, ROUTE)
        good_global = rig.version(GLOBAL, HTTP_ROUTES, ROUTE)
        await rig.say(said(router("hello", "hello/v9")))
        assert rig.version(scope, THRIFT_ROUTES, ROUTE) == good
        assert rig.version(GLOBAL, HTTP_ROUTES, ROUTE) == good_global
        assert rig.names(scope, LISTENER) == {SOCKET}
        assert ["'v9'" in line for line in rig.problems] == [True]
        await rig.say(said(subsets(names=["v1", "v9"])))
        assert rig.version(scope, THRIFT_ROUTES, ROUTE) != good
        assert rig.version(GLOBAL, HTTP_ROUTES, ROUTE) != good_global
        assert not any(entry.is_error for entry in rig.pipeline.report)


@virtual_time
async def test_a_subset_taken_away_under_a_route_leaves_its_cluster_until_it_moves() -> None:
    async with running(*said(*CANARY), *SYNCED) as rig:
        scope = rig.envoy().stream.scopes[0]
        await asyncio.sleep(0.1)
        await rig.say(said(subsets(names=["v2"])))
        assert V1 in rig.names(scope, CLUSTER)
        assert V1 in rig.names(scope, ENDPOINTS)
        await rig.say(said(router("hello", "hello/v2")))
        assert V1 not in rig.names(scope, CLUSTER)
        assert V1 not in rig.names(scope, ENDPOINTS)
        assert V2 in rig.names(scope, CLUSTER)


@virtual_time
async def test_a_host_without_a_last_good_route_has_neither_route_nor_listener() -> None:
    async with running(*said(service(), router("hello", "hello/v9")), *SYNCED) as rig:
        scope = rig.envoy().stream.scopes[0]
        await asyncio.sleep(0.1)
        assert rig.names(scope, THRIFT_ROUTES) == set()
        assert rig.names(scope, LISTENER) == set()
        assert rig.names(GLOBAL, HTTP_ROUTES) == set()
        assert rig.names(scope, CLUSTER) != set()


@virtual_time
async def test_a_router_that_cannot_be_read_and_never_could_holds_its_host() -> None:
    async with running(*said(service()), *refused(router()), *SYNCED) as rig:
        assert rig.names(GLOBAL, HTTP_ROUTES) == set()
        await rig.say(gone(router()))
        assert rig.names(GLOBAL, HTTP_ROUTES) == {ROUTE}


@virtual_time
async def test_a_router_that_can_no_longer_be_read_stays_as_it_was() -> None:
    async with running(*said(*CANARY), *SYNCED) as rig:
        good = rig.version(GLOBAL, HTTP_ROUTES, ROUTE)
        await rig.say(refused(router()))
        assert rig.version(GLOBAL, HTTP_ROUTES, ROUTE) == good
        assert [entry.in_force for entry in rig.pipeline.report] == [True]


@virtual_time
async def test_a_new_scope_of_a_host_with_a_last_good_route_has_that_route_too() -> None:
    """Which scope asks first must not decide who is routed."""
    async with running(*said(*CANARY), *SYNCED) as rig:
        first = rig.envoy(NAMESPACE="one").stream.scopes[0]
        await asyncio.sleep(0.1)
        await rig.say(said(router("hello", "hello/v9")))
        second = rig.envoy(NAMESPACE="two").stream.scopes[0]
        await asyncio.sleep(0.1)
        assert rig.names(first, THRIFT_ROUTES) == {ROUTE}
        assert rig.names(second, THRIFT_ROUTES) == {ROUTE}


@virtual_time
async def test_a_host_that_fails_to_compose_keeps_its_last_good_and_costs_no_other_its_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = service("other", address="127.0.0.9")
    async with running(*said(*CANARY, other), *SYNCED) as rig:

        def fails(graph: Graph, host: Host, recipe: Recipe) -> Output:
            if host == HELLO:
                raise RuntimeError(host)
            return compose(graph, host, recipe)

        monkeypatch.setattr(composer, "compose", fails)
        good = rig.version(GLOBAL, HTTP_ROUTES, ROUTE)
        good_other = rig.version(GLOBAL, HTTP_ROUTES, f"{full('other')}_9090")
        await rig.say(said(router("hello", "hello/v2"), router("other", "hello/v2")))
        assert rig.version(GLOBAL, HTTP_ROUTES, ROUTE) == good
        assert rig.version(GLOBAL, HTTP_ROUTES, f"{full('other')}_9090") != good_other
        monkeypatch.undo()
        await rig.say(said(router("hello", "hello/v2*100", "hello/v1*0")))
        assert rig.version(GLOBAL, HTTP_ROUTES, ROUTE) != good


@virtual_time
async def test_a_host_whose_messages_cannot_be_encoded_keeps_its_last_good_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running(*said(*CANARY), *SYNCED) as rig:

        def breaks(message: object) -> bytes:
            raise ValueError(message)

        good = rig.version(GLOBAL, HTTP_ROUTES, ROUTE)
        monkeypatch.setattr(output, "encode", breaks)
        await rig.say(said(router("hello", "hello/v2")))
        assert rig.version(GLOBAL, HTTP_ROUTES, ROUTE) == good
        monkeypatch.undo()
        await rig.say(said(router("hello", "hello/v2*100", "hello/v1*0")))
        assert rig.version(GLOBAL, HTTP_ROUTES, ROUTE) != good


# --- sources and files ------------------------------------------------------------------------


@virtual_time
async def test_a_source_that_is_lost_keeps_what_it_said_and_is_shown_until_it_is_back() -> None:
    async with running(*said(*CANARY), *SYNCED) as rig:
        await rig.say([SourceLost(source="folder", reason="it is gone")])
        assert rig.pipeline.sources["folder"].stale == "it is gone"
        assert rig.pipeline.synced
        assert rig.names(GLOBAL, HTTP_ROUTES) == {ROUTE}
        await rig.say(SYNCED)
        assert rig.pipeline.sources["folder"].stale == ""


@virtual_time
async def test_while_one_source_is_lost_changes_of_others_are_still_applied() -> None:
    synced = [Synced(source="one"), Synced(source="two")]
    async with running(*said(*CANARY), *synced, sources=("one", "two")) as rig:
        good = rig.version(GLOBAL, HTTP_ROUTES, ROUTE)
        await rig.say([SourceLost(source="one", reason="gone")])
        await rig.say(said(router("hello", "hello/v2")))
        assert rig.version(GLOBAL, HTTP_ROUTES, ROUTE) != good


@virtual_time
async def test_a_source_that_is_lost_before_it_was_synced_is_not_synced() -> None:
    async with running(SourceLost(source="folder", reason="not there")) as rig:
        assert not rig.pipeline.synced
        assert not rig.server.hub.serving
        await rig.say(SYNCED)
        assert rig.server.hub.serving


@virtual_time
async def test_an_unreadable_file_is_reported_until_it_is_withdrawn() -> None:
    unreadable = Unreadable(origin="a.yaml", problems=(error("", "line 1: no YAML"),))
    async with running(*said(*CANARY), *SYNCED, unreadable) as rig:
        assert [str(entry) for entry in rig.pipeline.report] == ["a.yaml: line 1: no YAML"]
        assert rig.names(GLOBAL, HTTP_ROUTES) == {ROUTE}
        await rig.say([Unreadable(origin="a.yaml", problems=())])
        assert rig.pipeline.report == []


@virtual_time
async def test_withdrawing_what_was_never_said_is_no_accident() -> None:
    async with running(*SYNCED, Unreadable(origin="a.yaml", problems=())) as rig:
        assert rig.pipeline.report == []


# --- the report -------------------------------------------------------------------------------


@virtual_time
async def test_findings_and_collisions_are_in_the_report_while_they_last() -> None:
    async with running(*said(service("a"), service("b")), *SYNCED) as rig:
        rig.envoy()
        await asyncio.sleep(0.1)
        assert ["socket 127.20.0.1_9090" in line for line in rig.problems] == [True]
        await rig.say(gone(service("a")))
        assert rig.problems == []


@virtual_time
async def test_a_shadowed_virtual_service_is_reported() -> None:
    async with running(*said(*CANARY, virtual_service()), *SYNCED) as rig:
        rig.envoy()
        await asyncio.sleep(0.1)
        assert ["shadowed" in line for line in rig.problems] == [True]
