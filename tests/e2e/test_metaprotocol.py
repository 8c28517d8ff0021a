"""MetaRDS to the client that it is made for: a strict fake of MetaProtocol Proxy.

The server is the real one, in a process of its own, on a folder. Each listener of the proxy has a
stream of its own under one node id.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from aeraki_xds.demo.control_plane import ControlPlane
from aeraki_xds.demo.mesh import HOST, HelloMesh, rule, to
from tests.e2e.conftest import LIMIT_S
from tests.e2e.metaprotocol import MetaProtocolProxy, RouteSubscription
from tests.recording.recording import Told
from tests.recording.relayed import CheckedRelay, recorded

pytestmark = pytest.mark.e2e

OTHERS = ("alpha", "beta")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """A proxy with a listener for `hello` and one for each of the others."""

    mesh: HelloMesh
    plane: ControlPlane
    relay: CheckedRelay
    proxy: MetaProtocolProxy

    @property
    def hello(self) -> RouteSubscription:
        return self.proxy[route_name("hello", self.mesh)]

    @property
    def others(self) -> list[RouteSubscription]:
        return [self.proxy[route_name(service, self.mesh)] for service in OTHERS]

    def cluster(self, subset: str) -> str:
        return f"outbound|{self.mesh.port}|{subset}|{HOST}"


def route_name(service: str, mesh: HelloMesh) -> str:
    return f"{service}.demo.svc.cluster.local_{mesh.port}"


@asynccontextmanager
async def sidecar(work: Path, *, delta: bool) -> AsyncIterator[Sidecar]:
    """Every listener has its first routes; at the end nothing was complained about."""
    mesh = HelloMesh(work / "mesh", vip="127.20.1.4", endpoints={"v1": 1, "v2": 2})
    for number, service in enumerate(OTHERS):
        mesh.write(f"{service}.yaml", another_service(mesh, service, f"127.20.1.{5 + number}"))
    names = [route_name(service, mesh) for service in ("hello", *OTHERS)]
    async with (
        ControlPlane.run(mesh.root) as plane,
        recorded(plane.xds) as relay,
        MetaProtocolProxy.run(relay.address, *names, delta=delta) as proxy,
    ):
        made = Sidecar(mesh=mesh, plane=plane, relay=relay, proxy=proxy)
        for name in names:
            await proxy[name].until(lambda each: each.routes is not None)
        yield made
        await relay.settled()
        proxy.assert_content()


def another_service(mesh: HelloMesh, service: str, vip: str) -> dict[str, object]:
    """A copy of hello's ServiceEntry, without a router."""
    made = deepcopy(mesh.service({"v1": 1}))
    made["metadata"]["name"] = service
    made["spec"]["hosts"] = [f"{service}.demo.svc.cluster.local"]
    made["spec"]["addresses"] = [vip]
    return made


async def test_a_changed_router_reaches_its_listener_and_no_other(
    tmp_path: Path, *, delta: bool
) -> None:
    async with sidecar(tmp_path, delta=delta) as car:
        assert car.hello.clusters == [car.cluster("v1")]
        for version in ("v2", "v1", "v2"):
            car.mesh.route(rule(to(version)))
            await car.hello.until(partial(sends_to, [car.cluster(version)]))
        assert car.hello.updates == 4
        assert [each.updates for each in car.others] == [1, 1]
        streams = [each for each in car.relay.streams if each.open]
        assert len(streams) == len({each.connection for each in streams}) == 3
        assert len({each.node for each in streams}) == 1


async def test_a_deleted_router_gives_the_default_route_and_no_removal(
    tmp_path: Path, *, delta: bool
) -> None:
    async with sidecar(tmp_path, delta=delta) as car:
        (car.mesh.root / "router.yaml").unlink()
        await car.hello.until(partial(sends_to, [car.cluster("")]))
        car.mesh.route(rule(to("v2")))
        await car.hello.until(partial(sends_to, [car.cluster("v2")]))
        assert removed_anywhere(car.relay) == []


async def test_a_deleted_service_leaves_its_listener_the_routes_that_it_has(
    tmp_path: Path, *, delta: bool
) -> None:
    """Nothing can be said to it, neither a removal nor an empty response."""
    async with sidecar(tmp_path, delta=delta) as car:
        gone = route_name("alpha", car.mesh)
        assert gone in str(await car.plane.get("/debug/resources"))
        (car.mesh.root / "alpha.yaml").unlink()
        await car.plane.until(
            "/debug/resources", lambda page: gone not in str(page), within_s=LIMIT_S
        )
        car.mesh.route(rule(to("v2")))
        await car.hello.until(partial(sends_to, [car.cluster("v2")]))
        assert [each.updates for each in car.others] == [1, 1]
        assert removed_anywhere(car.relay) == []


async def test_an_edit_that_cannot_be_read_keeps_the_last_good_routes(
    tmp_path: Path, *, delta: bool
) -> None:
    async with sidecar(tmp_path, delta=delta) as car:
        (car.mesh.root / "router.yaml").write_text("kind: [MetaRouter", encoding="utf-8")
        await car.plane.until(
            "/debug/rejections", lambda page: bool(page["rejections"]), within_s=LIMIT_S
        )
        assert car.hello.clusters == [car.cluster("v1")]
        assert car.hello.updates == 1
        car.mesh.route(rule(to("v2")))
        await car.hello.until(partial(sends_to, [car.cluster("v2")]))
        assert car.hello.updates == 2


async def test_streams_that_were_cut_are_opened_again_and_served_what_changed_meanwhile(
    tmp_path: Path, *, delta: bool
) -> None:
    async with sidecar(tmp_path, delta=delta) as car:
        before = {each.name: each.streams for each in (car.hello, *car.others)}
        await car.relay.cut()
        car.mesh.route(rule(to("v2")))
        for each in (car.hello, *car.others):
            await each.until(lambda each: each.streams == before[each.name] + 1)
        await car.hello.until(partial(sends_to, [car.cluster("v2")]))


async def test_a_listener_whose_routes_do_not_exist_opens_without_any_and_gets_them_later(
    tmp_path: Path, *, delta: bool
) -> None:
    mesh = HelloMesh(tmp_path / "mesh", vip="127.20.1.7", endpoints={"v1": 1, "v2": 2})
    late = route_name("late", mesh)
    async with (
        ControlPlane.run(mesh.root) as plane,
        recorded(plane.xds) as relay,
        MetaProtocolProxy.run(relay.address, late, delta=delta, init_limit_s=0.2) as proxy,
    ):
        await proxy[late].until(lambda each: each.opened_without_routes)
        assert proxy[late].updates == 0
        mesh.write("late.yaml", another_service(mesh, "late", "127.20.1.8"))
        await proxy[late].until(lambda each: each.routes is not None)
        assert proxy[late].faults == []
        await relay.settled()


def sends_to(clusters: list[str], subscription: RouteSubscription) -> bool:
    return subscription.clusters == clusters


def removed_anywhere(relay: CheckedRelay) -> list[str]:
    return [
        name
        for stream in relay.streams
        for entry in stream.entries
        if isinstance(entry, Told)
        for name in entry.removed
    ]
