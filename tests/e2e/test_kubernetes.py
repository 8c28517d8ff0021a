"""`serve --kubernetes`: what is edited through a cluster's API reaches a real Envoy under load, and
the EnvoyFilters that follow from it are written back.

The cluster is the tests' own API server; server, Envoy and Thrift services are real processes.
Times are printed for the curious (`make test ARGS="-s -k kubernetes"`).
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from aeraki_xds.demo.caller import Caller
from aeraki_xds.demo.control_plane import ControlPlane
from aeraki_xds.demo.envoy import Envoy
from aeraki_xds.demo.mesh import HOST, HelloMesh, rule, to
from aeraki_xds.demo.thrift_app import ThriftServer
from tests.apiserver.server import ApiServer
from tests.e2e.conftest import LIMIT_S, Running, proxy_bootstrap
from tests.recording.relayed import recorded

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("live")]

CHANGES = 20
SETTLED = 50
ROUTER = "/apis/metaprotocol.aeraki.io/v1alpha1/namespaces/demo/metarouters/hello"


@dataclass(frozen=True, slots=True, kw_only=True)
class InCluster:
    """A mesh under load whose configuration is in a cluster."""

    api: ApiServer
    live: Running
    client: aiohttp.ClientSession

    async def route(self, *routes: dict[str, object]) -> float:
        """Edit the router as kubectl would; returns when the edit was sent (perf_counter)."""
        patch = orjson.dumps({"spec": {"routes": list(routes)}})
        headers = {"Content-Type": "application/merge-patch+json"}
        sent = time.perf_counter()
        async with self.client.patch(ROUTER, data=patch, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
        return sent


@asynccontextmanager
async def in_cluster(
    work: Path, ports: Mapping[str, int] | None = None
) -> AsyncIterator[InCluster]:
    """Everything up, and the first calls answered by v1."""
    async with AsyncExitStack() as stack:
        servers = {
            version: await stack.enter_async_context(ThriftServer.run(answer=version))
            for version in ("v1", "v2")
        }
        ports = {version: server.port for version, server in servers.items()}
        mesh = HelloMesh(work / "mesh", vip="127.20.1.5", endpoints=ports)
        api = await stack.enter_async_context(ApiServer.started())
        for item in (mesh.service(ports), mesh.subsets(ports), mesh.router(rule(to("v1")))):
            api.put(item)
        kubeconfig = work / "kubeconfig"
        api.kubeconfig(kubeconfig)
        plane = await stack.enter_async_context(
            ControlPlane.run(
                None,
                options=[
                    *("--kubernetes", "--kubeconfig", str(kubeconfig)),
                    *("--http-address", "127.0.0.1:0", "--tenancy", "strict"),
                ],
            )
        )
        relay = await stack.enter_async_context(recorded(plane.xds))
        proxy = proxy_bootstrap(relay.address, delta=False)
        envoy = await stack.enter_async_context(Envoy.run(proxy, log=work / "envoy.log"))
        await envoy.wait_live(LIMIT_S)
        caller = await stack.enter_async_context(Caller(mesh.vip, mesh.port))
        await caller.answers(100, after=0.0, version="v1", timeout=LIMIT_S)
        live = Running(
            mesh=mesh,
            plane=plane,
            relay=relay,
            envoy=envoy,
            caller=caller,
            ports=ports,
            in_use=dict(ports),
        )
        client = await stack.enter_async_context(aiohttp.ClientSession(api.url))
        yield InCluster(api=api, live=live, client=client)
        await relay.settled()


async def test_twenty_edits_through_the_api_reach_envoy_and_cut_nothing(tmp_path: Path) -> None:
    async with in_cluster(tmp_path) as cluster:
        live, took = cluster.live, []
        for number in range(CHANGES):
            version = "v2" if number % 2 == 0 else "v1"
            sent = await cluster.route(rule(to(version), name=f"change-{number}"))
            first = await live.caller.first(version, after=sent, timeout=LIMIT_S)
            took.append(first - sent)
            await live.caller.answers(SETTLED, after=first, version=version, timeout=LIMIT_S)
        await live.assert_nothing_was_cut()
        median, slowest = statistics.median(took) * 1000, max(took) * 1000
        print(f"API edit to first new answer: median {median:.1f} ms, max {slowest:.1f} ms")


async def test_the_filters_of_the_mesh_are_written_and_mended(tmp_path: Path) -> None:
    name = f"aeraki-inbound-{HOST}"
    async with in_cluster(tmp_path) as cluster:
        port = cluster.live.mesh.port
        written = await _appears(cluster.api, f"{name}-{port}")
        assert written["metadata"]["labels"]["manager"] == "Aeraki"
        cluster.api.delete("EnvoyFilter", "istio-system", f"{name}-{port}")  # somebody's mistake
        again = await _appears(cluster.api, f"{name}-{port}")
        assert again["spec"] == written["spec"]


async def _appears(api: ApiServer, name: str) -> dict[str, Any]:
    async with asyncio.timeout(LIMIT_S):
        while (found := api.get("EnvoyFilter", "istio-system", name)) is None:
            await asyncio.sleep(0.01)
    return found
