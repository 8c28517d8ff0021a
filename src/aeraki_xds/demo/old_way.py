"""The contrast: the same change delivered as Envoy is usually configured, routes in the listener.

In: the same mesh. Out: what a client sees of one route change that arrives by LDS: how many calls
the old route still answered, when the new one first did, and whether the connection survived. The
server is our own, used as a library, so the only difference is where the routes are.
Source: Envoy, "Draining"; a changed filter chain drains its connections over --drain-time-s.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aeraki_xds._proto.envoy.config.listener.v3 import Listener
from aeraki_xds._proto.envoy.extensions.filters.network.thrift_proxy.v3 import (
    RouteConfiguration,
    ThriftProxy,
)
from aeraki_xds.demo.caller import Caller
from aeraki_xds.demo.envoy import Envoy
from aeraki_xds.demo.mesh import HelloMesh, rule, to
from aeraki_xds.encode import pack
from aeraki_xds.ingest.decode import decode
from aeraki_xds.ingest.files import read_paths
from aeraki_xds.mesh.change import Upsert
from aeraki_xds.mesh.graph import Graph
from aeraki_xds.mesh.store import Store
from aeraki_xds.translate.bootstrap import BootstrapSettings, bootstrap
from aeraki_xds.translate.compose import Ads, compose
from aeraki_xds.translate.listeners import Variant
from aeraki_xds.translate.output import Draft
from aeraki_xds.xds import Hub, Name, Node, Peer, Resource, ResourceId, Scope, TypeUrl
from aeraki_xds.xds.wire import XdsServer

SCOPE: Final = Scope("old-way")
DRAIN_S: Final = 3
LIMIT_S: Final = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the client saw: calls that the old route answered after the change, milliseconds to
    the first answer of the new one, connections that it needed, and listeners rebuilt."""

    stale_answers: int
    first_new_ms: float
    connections: int
    errors: int
    listeners_rebuilt: int


async def change_the_old_way(mesh: HelloMesh, work: Path) -> Outcome:
    """Route everything to v1, then to v2, by rewriting the listener."""
    hub = Hub(clock=time.time)
    mesh.route(rule(to("v1")))
    _publish(hub, mesh)
    async with (
        _serving(hub) as (host, port),
        Envoy.run(_bootstrap(host, port), log=work / "envoy.log", drain_time_s=DRAIN_S) as envoy,
    ):
        await envoy.wait_live(LIMIT_S)
        async with Caller(mesh.vip, mesh.port, reconnect=True, rate=500) as caller:
            await caller.answers(50, after=0.0, version="v1", timeout=LIMIT_S)
            mesh.route(rule(to("v2")))
            changed = time.perf_counter()
            _publish(hub, mesh)
            first = await caller.first("v2", after=changed, timeout=LIMIT_S)
            await caller.answers(20, after=first, version="v2", timeout=LIMIT_S)
            stats = await envoy.stats("listener_manager.listener_modified")
            stale = [c for c in caller.history(changed) if c.version == "v1"]
            return Outcome(
                stale_answers=len(stale),
                first_new_ms=(first - changed) * 1000,
                connections=caller.connections,
                errors=len(caller.errors),
                listeners_rebuilt=int(stats["listener_manager.listener_modified"]),
            )


def with_inline_routes(drafts: Iterable[Draft]) -> list[Draft]:
    """The same configuration with every route table inside its listener."""
    drafts = list(drafts)
    tables = {d.id.name: d.message for d in drafts if isinstance(d.message, RouteConfiguration)}
    inlined = [d for d in drafts if not isinstance(d.message, RouteConfiguration | Listener)]
    for draft in drafts:
        if isinstance(draft.message, Listener):
            chain = draft.message.filter_chains[0].filters[0]
            assert chain.typed_config is not None
            proxy = ThriftProxy.parse(chain.typed_config.value)
            assert proxy.trds is not None
            table = tables[proxy.trds.route_config_name]
            assert isinstance(table, RouteConfiguration)
            proxy.trds, proxy.route_config = None, table
            chain.typed_config = pack(proxy)
            inlined.append(Draft.of(draft.id.name, draft.message))
    return inlined


def _publish(hub: Hub, mesh: HelloMesh) -> None:
    store, graph = Store(), Graph()
    upserts = [event for event in read_paths([mesh.root], decode) if isinstance(event, Upsert)]
    graph.update(store.apply(upserts))
    changes: dict[ResourceId, Resource | None] = {}
    for host in graph.hosts:
        for draft in with_inline_routes(compose(graph, host, Ads(variant=Variant())).drafts):
            type_url, name = TypeUrl(draft.id.type_url), Name(draft.id.name)
            needs = tuple(ResourceId(TypeUrl(n.type_url), Name(n.name)) for n in draft.needs)
            made = Resource.of(type_url, name, draft.encoded(), needs)
            changes[made.id] = made
    hub.publish(SCOPE, changes)


@asynccontextmanager
async def _serving(hub: Hub) -> AsyncIterator[tuple[str, int]]:
    def admit(node: Node, peer: Peer, *, only: TypeUrl | None) -> tuple[Scope, ...]:
        return (SCOPE,)

    server = XdsServer(hub=hub, admit=admit)
    address = await server.start("127.0.0.1", 0)
    try:
        yield address
    finally:
        await server.close()


def _bootstrap(host: str, port: int) -> dict[str, object]:
    settings = BootstrapSettings(
        node_id="demo-old-way", cluster="demo", xds_host=host, xds_port=port, admin_port=0
    )
    return bootstrap(settings)
