"""The point of it all: a route changes under load and nothing else happens.

One client, one Thrift connection, a real Envoy that takes everything by ADS from the real server
on a folder of YAML. Times are printed for the curious (`make test ARGS="-s -k live"`), never
asserted here.
"""

from __future__ import annotations

import asyncio
import statistics
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from aeraki_xds.demo.caller import Caller
from aeraki_xds.demo.control_plane import ControlPlane
from aeraki_xds.demo.envoy import Envoy
from aeraki_xds.demo.mesh import HOST, HelloMesh, rule, to
from aeraki_xds.demo.thrift_app import ThriftServer
from tests.e2e.conftest import LIMIT_S, Running, proxy_bootstrap, running
from tests.recording.relayed import recorded

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("live")]

CHANGES = 20
SETTLED = 50  # calls after a change before the next: the old cluster has been let go by then


async def test_twenty_route_changes_cut_nothing(tmp_path: Path, *, delta: bool) -> None:
    """Back and forth between two subsets, and every change is seen."""
    async with running(tmp_path, delta=delta) as live:
        took = []
        for number in range(CHANGES):
            version = "v2" if number % 2 == 0 else "v1"
            written = live.mesh.route(rule(to(version), name=f"change-{number}"))
            first = await live.caller.first(version, after=written, timeout=LIMIT_S)
            took.append(first - written)
            await live.caller.answers(SETTLED, after=first, version=version, timeout=LIMIT_S)
        await live.assert_nothing_was_cut()
        stats = await live.envoy.stats("config_reload$")
        assert stats[f"{live.trds}.config_reload"] == CHANGES + 1  # and the first load
        _print("route change", took)


@pytest.mark.parametrize("files", ["one file", "three files"])
async def test_twenty_new_subsets_with_new_endpoints_cut_nothing(
    tmp_path: Path, files: str, *, delta: bool
) -> None:
    """Each change adds a subset with an endpoint, routes to it, and drops the one before."""
    versions = ("v1", "v2", "v3")
    async with running(tmp_path, delta=delta, versions=versions) as live:
        took = []
        for number in range(CHANGES):
            version = versions[(number + 1) % len(versions)]
            written = _move_to(live, f"{version}-{number}", live.ports[version], files)
            first = await live.caller.first(version, after=written, timeout=LIMIT_S)
            took.append(first - written)
            await live.caller.answers(SETTLED, after=first, version=version, timeout=LIMIT_S)
        await live.assert_nothing_was_cut()
        await _only_the_last_subset_is_left(live)
        _print(f"new subset, {files}", took)


async def test_a_mistake_changes_nothing_and_mending_it_needs_no_restart(
    tmp_path: Path, *, delta: bool
) -> None:
    async with running(tmp_path, delta=delta) as live:
        live.mesh.route(rule(to("v2", 80), to("v1", 30)))
        page = await live.plane.until(
            "/debug/rejections", lambda page: bool(page["rejections"]), within_s=LIMIT_S
        )
        (problem,) = page["rejections"]
        assert problem["file"] == "router.yaml"
        assert problem["object"] == "MetaRouter/demo/hello"
        assert problem["field"] == "spec.routes[0].route"
        at = live.mesh.route(rule(to("v9")))  # valid in itself, but nobody declares v9
        page = await live.plane.until(
            "/debug/rejections", lambda page: "v9" in str(page), within_s=LIMIT_S
        )
        assert {row["field"] for row in page["rejections"]} == {
            "spec.routes[0].route[0].destination.subset"
        }
        answered = await live.caller.answers(SETTLED, after=at, version="v1", timeout=LIMIT_S)
        assert live.caller.split(at, until=answered) == {"v1": 1.0}
        mended = live.mesh.route(rule(to("v2")))
        await live.caller.first("v2", after=mended, timeout=LIMIT_S)
        await live.plane.until(
            "/debug/rejections", lambda page: not page["rejections"], within_s=LIMIT_S
        )
        await live.assert_nothing_was_cut()


async def test_a_restart_of_the_server_is_not_noticed_by_the_client(
    tmp_path: Path, *, delta: bool
) -> None:
    """While it is away Envoy keeps what it has; then it reconnects and is served changes again."""
    async with AsyncExitStack() as stack:
        v1 = await stack.enter_async_context(ThriftServer.run(answer="v1"))
        v2 = await stack.enter_async_context(ThriftServer.run(answer="v2"))
        mesh = HelloMesh(
            tmp_path / "mesh", vip="127.20.1.2", endpoints={"v1": v1.port, "v2": v2.port}
        )
        async with AsyncExitStack() as first:
            plane = await first.enter_async_context(ControlPlane.run(mesh.root))
            relay = await stack.enter_async_context(recorded(plane.xds))
            proxy = proxy_bootstrap(relay.address, delta=delta)
            envoy = await stack.enter_async_context(Envoy.run(proxy, log=tmp_path / "envoy.log"))
            await envoy.wait_live(LIMIT_S)
            caller = await stack.enter_async_context(Caller(mesh.vip, mesh.port))
            await caller.answers(SETTLED, after=0.0, version="v1", timeout=LIMIT_S)
        away = mesh.route(rule(to("v2")))
        until = await caller.answers(SETTLED, after=away, timeout=LIMIT_S)
        assert caller.split(away, until=until) == {"v1": 1.0}
        second = ControlPlane.run(mesh.root, port=plane.xds.port)
        plane = await stack.enter_async_context(second)
        await caller.first("v2", after=away, timeout=LIMIT_S)
        back = mesh.route(rule(to("v1")))
        await caller.first("v1", after=back, timeout=LIMIT_S)
        assert caller.errors == []
        assert caller.connections == 1
        stats = await envoy.stats("listener_manager.listener_modified")
        assert stats["listener_manager.listener_modified"] == 0
        await relay.settled()


async def _only_the_last_subset_is_left(live: Running) -> None:
    """What no route uses any more is gone from Envoy, too."""
    wanted = {f"outbound|{live.mesh.port}||{HOST}", "aeraki-xds"}
    async with asyncio.timeout(LIMIT_S):
        while True:
            dumps = await live.envoy.config_dump("dynamic_active_clusters")
            names = {dump["cluster"]["name"] for dump in dumps}
            if len(names - wanted) == 1:
                return
            await asyncio.sleep(0.01)


def _move_to(live: Running, subset: str, port: int, files: str) -> float:
    """Move everything to a new subset; returns when the first file was in place.

    In three files the order is the worst that is still right: the subset in use is dropped before
    the route leaves it, so for a moment the route names what nobody declares.
    """
    mesh = live.mesh
    only = {subset: port}
    service, subsets = mesh.service(only), mesh.subsets(only)
    router = mesh.router(rule(to(subset)))
    if files == "one file":
        written = mesh.write("mesh.yaml", service, subsets, router)
        for name in ("service.yaml", "subsets.yaml", "router.yaml"):
            (mesh.root / name).unlink(missing_ok=True)
        return written
    written = mesh.write("service.yaml", mesh.service({**live.in_use, **only}))
    mesh.write("subsets.yaml", subsets)
    mesh.write("router.yaml", router)
    mesh.write("service.yaml", service)
    live.in_use.clear()
    live.in_use.update(only)
    return written


def _print(what: str, took: list[float]) -> None:
    median, slowest = statistics.median(took) * 1000, max(took) * 1000
    print(f"{what}: file write to first new answer, median {median:.1f} ms, max {slowest:.1f} ms")
