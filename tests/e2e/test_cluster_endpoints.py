"""`serve --kubernetes`: a Service, its EndpointSlices and Pods reach a real Envoy by ADS.

The cluster is the tests' own API server; server, Envoy and the Thrift services behind the Pods are
real processes. Times are printed for the curious (`make test ARGS="-s -k cluster_endpoints"`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from aeraki_xds.demo.caller import Caller
from aeraki_xds.demo.control_plane import ControlPlane
from aeraki_xds.demo.envoy import Envoy
from aeraki_xds.demo.mesh import PORT_NAME, HelloMesh, rule, to
from aeraki_xds.demo.thrift_app import ThriftServer
from tests.apiserver.server import ApiServer
from tests.e2e.conftest import LIMIT_S, Running, proxy_bootstrap
from tests.recording.relayed import recorded

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("live")]

VIP: Final = "127.20.1.6"
NETWORK: Final = "127.21.6"
SUBSETS: Final = ("stable", "canary")
REPLACED: Final = 5
SETTLED: Final = 50
WATCHED: Final = ("EndpointSlice", "Pod", "WorkloadEntry")


@dataclass(frozen=True, slots=True, kw_only=True)
class Workloads:
    """A Service under load. Its Pods are called by their answers, v1, v2 and so on, and each is a
    Thrift server at an address of its own, all at one port."""

    api: ApiServer
    live: Running
    servers: AsyncExitStack

    def labelled(self, number: int, subset: str) -> float:
        """A Pod is of a subset; returns when that was said (perf_counter)."""
        self.api.put(pod(number, subset))
        return time.perf_counter()

    def serving(self, *numbers: int) -> float:
        """These Pods are ready, and no others; returns when that was said (perf_counter)."""
        self.api.put(endpoint_slice(numbers, self.live.ports["v1"]))
        return time.perf_counter()

    async def started(self, number: int) -> ThriftServer:
        """The server in a Pod."""
        port = self.live.ports["v1"]
        return await self.servers.enter_async_context(server(number, port))


def server(number: int, port: int = 0) -> AbstractAsyncContextManager[ThriftServer]:
    """What runs in a Pod."""
    return ThriftServer.run(answer=f"v{number}", host=f"{NETWORK}.{number}", port=port)


def service(port: int) -> dict[str, Any]:
    """The Service; its target port has a name."""
    listed = {"name": PORT_NAME, "port": port, "targetPort": "thrift", "protocol": "TCP"}
    spec = {"clusterIP": VIP, "clusterIPs": [VIP], "selector": {"app": "hello"}, "ports": [listed]}
    metadata = {"name": "hello", "namespace": "demo"}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def pod(number: int, subset: str) -> dict[str, Any]:
    """A Pod of the Service."""
    labels = {"app": "hello", "version": subset}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"hello-{number}", "namespace": "demo", "labels": labels},
        "spec": {"containers": [{"name": "hello", "image": "hello"}]},
    }


def endpoint_slice(numbers: Iterable[int], port: int) -> dict[str, Any]:
    """The EndpointSlice with these Pods, all ready."""
    endpoints = [
        {
            "addresses": [f"{NETWORK}.{number}"],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "targetRef": {"kind": "Pod", "name": f"hello-{number}", "namespace": "demo"},
        }
        for number in numbers
    ]
    labels = {"kubernetes.io/service-name": "hello"}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "hello-1", "namespace": "demo", "labels": labels},
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{"name": PORT_NAME, "port": port, "protocol": "TCP"}],
    }


@asynccontextmanager
async def in_cluster(work: Path, *, delta: bool) -> AsyncIterator[Workloads]:
    """Pod 1 is stable and Pod 2 is canary; stable is called, and the first calls are answered."""
    async with AsyncExitStack() as stack:
        port = (await stack.enter_async_context(server(1))).port
        await stack.enter_async_context(server(2, port))
        ports = {"v1": port, "v2": port}
        mesh = HelloMesh(work / "mesh", vip=VIP, endpoints=ports)
        api = await stack.enter_async_context(ApiServer.started())
        for item in (
            service(mesh.port),
            mesh.subsets(SUBSETS),
            mesh.router(rule(to("stable"))),
            pod(1, "stable"),
            pod(2, "canary"),
            endpoint_slice((1, 2), port),
        ):
            api.put(item)
        kubeconfig = work / "kubeconfig"
        api.kubeconfig(kubeconfig)
        options = ["--kubernetes", "--kubeconfig", str(kubeconfig), "--http-address", "127.0.0.1:0"]
        plane = await stack.enter_async_context(ControlPlane.run(None, options=options))
        assert asked_for(api) == set()
        relay = await stack.enter_async_context(recorded(plane.xds))
        proxy = proxy_bootstrap(relay.address, delta=delta)
        envoy = await stack.enter_async_context(Envoy.run(proxy, log=work / "envoy.log"))
        await envoy.wait_live(LIMIT_S)
        caller = await stack.enter_async_context(Caller(mesh.vip, mesh.port))
        await caller.answers(100, after=0.0, version="v1", timeout=LIMIT_S)
        assert asked_for(api) == {"endpointslices", "pods", "workloadentries"}
        async with asyncio.timeout(LIMIT_S):
            while not all(api.watches(kind) for kind in WATCHED):
                await asyncio.sleep(0.01)
        live = Running(
            mesh=mesh,
            plane=plane,
            relay=relay,
            envoy=envoy,
            caller=caller,
            ports=ports,
            in_use=dict(ports),
        )
        yield Workloads(api=api, live=live, servers=stack)
        await relay.settled()


def asked_for(api: ApiServer) -> set[str]:
    """What was asked about the kinds that say who serves."""
    kinds = {"endpointslices", "pods", "workloadentries"}
    return {call.resource for call in api.calls if call.resource in kinds}


async def test_pods_that_are_replaced_under_load_cost_no_call(tmp_path: Path, delta: bool) -> None:
    async with in_cluster(tmp_path, delta=delta) as cluster:
        caller, took = cluster.live.caller, []
        old, old_server = 1, None
        for new in range(3, 3 + REPLACED):
            new_server = await cluster.started(new)
            cluster.labelled(new, "stable")
            said = cluster.serving(2, new)
            cluster.api.delete("Pod", "demo", f"hello-{old}")
            first = await caller.first(f"v{new}", after=said, timeout=LIMIT_S)
            took.append(first - said)
            settled = await caller.answers(SETTLED, after=first, timeout=LIMIT_S)
            assert set(caller.split(first, until=settled)) == {f"v{new}"}
            if old_server is not None:
                await old_server.stop()
            old, old_server = new, new_server
        await cluster.live.assert_nothing_was_cut()
        print(f"slice to first answer: max {max(took) * 1000:.0f} ms")


async def test_a_pod_that_changes_its_label_changes_its_subset(tmp_path: Path) -> None:
    async with in_cluster(tmp_path, delta=False) as cluster:
        caller = cluster.live.caller
        said = cluster.labelled(2, "stable")
        await caller.first("v2", after=said, timeout=LIMIT_S)
        cluster.labelled(1, "canary")
        await _until_only("v2", caller)
        await cluster.live.assert_nothing_was_cut()


async def _until_only(version: str, caller: Caller) -> None:
    """Wait until of so many calls in a row nobody else answers any."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            begun = time.perf_counter()
            await caller.answers(SETTLED, after=begun, timeout=LIMIT_S)
            if set(caller.split(begun)) == {version}:
                return
