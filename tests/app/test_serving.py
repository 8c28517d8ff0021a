"""When a cluster is asked who serves: while it matters to somebody, who is told nothing before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from aeraki_xds.app.cluster import Cluster
from aeraki_xds.mesh.tenancy import Tenancy
from aeraki_xds.pipeline import pipeline
from aeraki_xds.settings import ClusterSettings, Role
from aeraki_xds.translate.envoyfilter.profile import CURRENT, EnvoyFilters
from aeraki_xds.xds.resource import ENDPOINTS, HTTP_ROUTES
from tests.apiserver.server import ApiServer
from tests.ingest.kubernetes.kit import rule, until
from tests.pipeline.test_pipeline import Rig
from tests.xds.dialogue import SotwEnvoy

NAMES = ("pods", "endpointslices", "workloadentries")
KINDS = ("Pod", "EndpointSlice", "WorkloadEntry")
HOST = "hello.demo.svc.cluster.local"


@dataclass(frozen=True, slots=True, kw_only=True)
class Watching:
    """A pipeline whose configuration is in a cluster."""

    api: ApiServer
    rig: Rig

    @property
    def asked(self) -> set[str]:
        """Which of the kinds that say who serves were asked about."""
        return {call.resource for call in self.api.calls} & {*NAMES}

    @property
    def is_watched(self) -> bool:
        """Whether all of these kinds are, now."""
        return all(self.api.watches(kind) for kind in KINDS)

    @property
    def is_unwatched(self) -> bool:
        """Whether none of these kinds is, now."""
        return not any(self.api.watches(kind) for kind in KINDS)


@asynccontextmanager
async def watching(
    api: ApiServer, folder: Path, *, role: Role = Role.NONE
) -> AsyncIterator[Watching]:
    """All that there is was read, and is served."""
    path = folder / "kubeconfig"
    api.kubeconfig(path)
    settings = ClusterSettings(
        kubeconfig=path, delivery=EnvoyFilters.of(CURRENT), role=role, server_id="test"
    )
    async with Cluster.opened(settings, Tenancy()) as cluster, asyncio.TaskGroup() as tasks:
        rig = Rig(sources=cluster.names)
        work = [
            tasks.create_task(cluster.tend(rig.pipeline)),
            tasks.create_task(cluster.run(rig.pipeline.inbox.put)),
            tasks.create_task(rig.pipeline.run()),
        ]
        try:
            await until(lambda: rig.server.hub.published != [])
            yield Watching(api=api, rig=rig)
        finally:
            for task in work:
                task.cancel()


def service(target: object = 8080) -> dict[str, Any]:
    """A Service with one Thrift port."""
    port = {"name": "tcp-metaprotocol-thrift", "port": 9090, "targetPort": target}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "hello", "namespace": "demo"},
        "spec": {"clusterIP": "127.20.0.1", "selector": {"app": "hello"}, "ports": [port]},
    }


def endpoint_slice() -> dict[str, Any]:
    """Somebody serves it."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "hello-1",
            "namespace": "demo",
            "labels": {"kubernetes.io/service-name": "hello"},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.0.0.1"]}],
        "ports": [{"name": "tcp-metaprotocol-thrift", "port": 8080}],
    }


async def test_a_stock_envoy_is_told_nothing_before_it_was_read_who_serves(tmp_path: Path) -> None:
    async with ApiServer.started() as api:
        api.put(service())
        api.put(endpoint_slice())
        api.allowed = lambda _verb, _group, resource, *_: resource != "endpointslices"
        async with watching(api, tmp_path) as it:
            server, store = it.rig.server, it.rig.pipeline.store
            assert it.asked == set()
            envoy, sidecar = it.rig.envoy(), it.rig.sidecar()
            envoy.asks(ENDPOINTS, f"outbound|9090||{HOST}")
            sidecar.asks(HTTP_ROUTES, f"{HOST}_9090")
            assert [each.type_url for each in server.says(sidecar)] == [HTTP_ROUTES]
            await until(lambda: api.watches("Pod") == 1)
            api.put(rule("hello", HOST))  # whatever is composed meanwhile
            await until(lambda: len(store.objects) == 2)
            assert server.says(envoy) == []
            api.allowed = lambda *_: True
            assert b"10.0.0.1" in await _said(it, envoy)
            await until(lambda: it.is_watched)


async def _said(it: Watching, envoy: SotwEnvoy) -> bytes:
    """What an Envoy is told next."""
    told: list[bytes] = []

    def is_told() -> bool:
        told.extend(r.packed for said in it.rig.server.says(envoy) for r in said.resources)
        return bool(told)

    await until(is_told)
    return b"".join(told)


async def test_it_is_read_no_more_a_minute_after_the_last_stock_envoy_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "_IDLE", 0.05)
    async with ApiServer.started() as api:
        api.put(service())
        api.put(endpoint_slice())
        async with watching(api, tmp_path) as it:
            for _ in range(2):
                envoy = it.rig.envoy()
                envoy.asks(ENDPOINTS, f"outbound|9090||{HOST}")
                assert b"10.0.0.1" in await _said(it, envoy)
                await until(lambda: it.is_watched)
                envoy.leaves()
                await until(lambda: it.is_unwatched)
                await until(lambda: len(it.rig.pipeline.store.objects) == 1)


@pytest.mark.parametrize(("role", "is_needed"), [(Role.SHADOW, True), (Role.NONE, False)])
async def test_filters_at_ports_with_names_need_it_too(
    tmp_path: Path, role: Role, *, is_needed: bool
) -> None:
    async with ApiServer.started() as api:
        api.put(service("rpc"))
        async with watching(api, tmp_path, role=role) as it:
            assert it.asked == ({*NAMES} if is_needed else set())
            api.put(service())
            await until(lambda: it.is_unwatched)
