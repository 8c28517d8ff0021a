"""What a real Envoy refuses: only that is parked, and only until it changes.

The server is used as a library here, for it has to be made to serve what no translation makes: a
cluster that Envoy cannot accept, beside one that it can.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from aeraki_xds._proto.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType
from aeraki_xds.demo.envoy import Envoy
from aeraki_xds.demo.http import Address
from aeraki_xds.xds import Hub, Name, Node, Peer, Resource, Scope
from aeraki_xds.xds.resource import CLUSTER, ENDPOINTS
from aeraki_xds.xds.wire import XdsServer
from tests.e2e.conftest import LIMIT_S, proxy_bootstrap
from tests.recording.relayed import recorded
from tests.recording.rules import Expectation

pytestmark = pytest.mark.e2e

SCOPE = Scope("test")
EDS = ClusterDiscoveryType.EDS


async def test_a_refused_cluster_is_parked_alone_and_is_sent_again_when_it_changes(
    tmp_path: Path, *, delta: bool
) -> None:
    hub = Hub(clock=time.time)
    publish(hub, cluster("good", seconds=1), cluster("bad", seconds=1, kind=EDS))
    async with (
        serving(hub) as xds,
        recorded(xds, Expectation(absent=frozenset({(ENDPOINTS, "bad")}))) as relay,
        Envoy.run(proxy_bootstrap(relay.address, delta=delta), log=tmp_path / "envoy.log") as envoy,
    ):
        await until(lambda: parked(hub) == ["bad"])
        (stream,) = hub.streams
        assert "bad" in stream.status_of(CLUSTER).last_error
        await until_held(envoy, {"good": 1})
        publish(hub, cluster("good", seconds=2))
        await until_held(envoy, {"good": 2})
        assert parked(hub) == ["bad"]
        publish(hub, cluster("bad", seconds=3))
        await until_held(envoy, {"good": 2, "bad": 3})
        await until(lambda: parked(hub) == [])
        nacks = stream.status_of(CLUSTER).nacks
        # In SotW the full state is refused once more when a sibling changes: it has to hold the
        # cluster that was never accepted, for leaving it out would say that it is gone.
        assert nacks == (1 if delta else 2)
        await relay.settled()


def cluster(
    name: str, *, seconds: int, kind: ClusterDiscoveryType = ClusterDiscoveryType.STATIC
) -> Resource:
    """Its connect timeout tells the versions apart. An EDS cluster has to say where from."""
    message = Cluster(name=name, type=kind, connect_timeout=timedelta(seconds=seconds))
    return Resource.of(CLUSTER, Name(name), bytes(message))


def publish(hub: Hub, *resources: Resource) -> None:
    hub.publish(SCOPE, {resource.id: resource for resource in resources})


def parked(hub: Hub) -> list[str]:
    return sorted(name for stream in hub.streams for name in stream.session.watches[CLUSTER].parked)


async def until_held(envoy: Envoy, wanted: dict[str, int]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while True:
            dumps = await envoy.config_dump("dynamic_active_clusters")
            held = {dump["cluster"]["name"]: dump["cluster"]["connect_timeout"] for dump in dumps}
            if held == {name: f"{seconds}s" for name, seconds in wanted.items()}:
                return
            await asyncio.sleep(0.01)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not holds():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(hub: Hub) -> AsyncIterator[Address]:
    def admit(node: Node, peer: Peer, **_: object) -> tuple[Scope, ...]:
        return (SCOPE,)

    server = XdsServer(hub=hub, admit=admit)
    host, port = await server.start("127.0.0.1", 0)
    try:
        yield Address(host, port)
    finally:
        await server.close()
