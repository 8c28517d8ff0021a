"""`serve --state-dir`: a server that is killed, and comes back without its folder.

Real parts throughout: the process, a disk, a real Envoy that carries Thrift calls all the while.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from aeraki_xds.demo.caller import Caller
from aeraki_xds.demo.control_plane import ControlPlane
from aeraki_xds.demo.envoy import Envoy
from aeraki_xds.demo.http import fetch
from aeraki_xds.demo.mesh import HOST, HelloMesh, rule, to
from aeraki_xds.demo.thrift_app import ThriftServer
from tests.e2e.conftest import LIMIT_S, proxy_bootstrap
from tests.recording.relayed import recorded

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("state")]

STALE = "aeraki_xds_source_stale_since_seconds"
SETTLED = 50


def serving(
    mesh: HelloMesh, state: Path, *, port: int = 0
) -> AbstractAsyncContextManager[ControlPlane]:
    """A server with a state folder."""
    return ControlPlane.run(mesh.root, port=port, options=["--state-dir", str(state)])


async def metric(plane: ControlPlane, name: str) -> float:
    """A metric without labels, or with whatever labels it has."""
    _, body = await asyncio.to_thread(fetch, plane.admin, "/metrics")
    found = (line for line in body.splitlines() if line.startswith(name))
    return float(next(found).rsplit(" ", 1)[1])


async def written(state: Path, text: str) -> None:
    """Wait until the router is on the disk with this text."""
    query = (
        "SELECT count(*) FROM records WHERE name LIKE '%MetaRouter%' AND CAST(body AS TEXT) LIKE ?"
    )
    file = f"file:{state / 'state.db'}?mode=ro"
    async with asyncio.timeout(LIMIT_S):
        while True:
            with (
                contextlib.suppress(sqlite3.OperationalError),  # it is being made
                contextlib.closing(sqlite3.connect(file, uri=True)) as connection,
            ):
                if connection.execute(query, (f"%{text}%",)).fetchone() == (1,):
                    return
            await asyncio.sleep(0.02)


async def resources(plane: ControlPlane) -> Any:
    """What is served to the proxies of these tests, with versions."""
    scope = "/debug/resources?scope=ads/demo/stock/-"
    page = await plane.until(scope, lambda page: bool(page.get("scopes")), within_s=LIMIT_S)
    return page["scopes"]


async def held(envoy: Envoy) -> set[str]:
    """The clusters and listeners that an Envoy was sent, with their versions' names."""
    dumps = await envoy.config_dump("dynamic_active_clusters")
    names = {str(dump["cluster"]["name"]) for dump in dumps}
    return names | set(await envoy.listeners())


async def test_what_was_in_force_survives_a_kill_without_the_folder(
    tmp_path: Path, *, delta: bool
) -> None:
    state = tmp_path / "state"
    async with AsyncExitStack() as stack:
        servers = {
            version: await stack.enter_async_context(ThriftServer.run(answer=version))
            for version in ("v1", "v2")
        }
        endpoints = {version: server.port for version, server in servers.items()}
        mesh = HelloMesh(tmp_path / "mesh", vip="127.20.1.3", endpoints=endpoints)
        async with AsyncExitStack() as first:
            plane = await first.enter_async_context(serving(mesh, state))
            relay = await stack.enter_async_context(recorded(plane.xds))
            proxy = proxy_bootstrap(relay.address, delta=delta)
            envoy = await stack.enter_async_context(Envoy.run(proxy, log=tmp_path / "envoy.log"))
            await envoy.wait_live(LIMIT_S)
            caller = await stack.enter_async_context(Caller(mesh.vip, mesh.port))
            await caller.answers(SETTLED, after=0.0, version="v1", timeout=LIMIT_S)
            # A route that nobody could compose any more is in force, too.
            mesh.route(rule(to("v9")))
            await plane.until("/debug/rejections", lambda page: "v9" in str(page), within_s=LIMIT_S)
            await written(state, "v9")
            before = await resources(plane)
            assert await metric(plane, STALE) == 0
            os.kill(plane.pid, signal.SIGKILL)
        mesh.root.rename(tmp_path / "away")
        loads = await envoy.stats("config_reload$|lds.update_success|cds.update_success")

        plane = await stack.enter_async_context(serving(mesh, state, port=plane.xds.port))
        ready = await plane.until(
            "/readyz", lambda page: page["status"] == "ready", within_s=LIMIT_S
        )
        assert "cannot be listed" in ready["sources"][str(mesh.root)]["stale"]
        assert ready["state"] == {"stale": ""}
        assert await metric(plane, STALE) > 0
        await plane.until("/debug/syncz", lambda page: bool(page["streams"]), within_s=LIMIT_S)
        assert await resources(plane) == before
        log = tmp_path / "second.log"
        async with Envoy.run(proxy_bootstrap(plane.xds, delta=delta), log=log) as second:
            await second.wait_live(LIMIT_S)
            assert await held(second) == await held(envoy)
        await caller.answers(SETTLED, after=time.perf_counter(), version="v1", timeout=LIMIT_S)
        route = f"thrift.{mesh.cluster}.trds.{HOST}_{mesh.port}.config_reload"
        assert (await envoy.stats("config_reload$"))[route] == loads[route]

        (tmp_path / "away").rename(mesh.root)
        moved = mesh.route(rule(to("v2")))
        await caller.first("v2", after=moved, timeout=LIMIT_S)
        ready = await plane.until(
            "/readyz", lambda page: page["sources"][str(mesh.root)]["synced"], within_s=LIMIT_S
        )
        assert ready["sources"][str(mesh.root)]["stale"] == ""
        assert await metric(plane, STALE) == 0
        assert await metric(plane, "aeraki_xds_state_stale_since_seconds") == 0
        assert caller.errors == []
        assert caller.connections == 1
        stats = await envoy.stats("listener_manager.listener_(modified|added|removed)")
        assert stats["listener_manager.listener_modified"] == 0
        assert stats["listener_manager.listener_removed"] == 0
        assert stats["listener_manager.listener_added"] == 1
        await relay.settled()


async def test_a_state_folder_belongs_to_one_process(tmp_path: Path) -> None:
    state = tmp_path / "state"
    mesh = HelloMesh(tmp_path / "mesh", vip="127.20.1.4", endpoints={"v1": 1})
    async with serving(mesh, state) as plane:
        command = [sys.executable, "-m", "aeraki_xds", "serve", "--config-dir", str(mesh.root)]
        command += ["--state-dir", str(state), "--xds-address", "127.0.0.1:0"]
        command += ["--admin-address", "127.0.0.1:0"]
        done = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, timeout=LIMIT_S
        )
        assert done.returncode == 2
        assert f"the state folder {state} is in use by another aeraki-xds" in done.stderr
        os.kill(plane.pid, signal.SIGKILL)
    async with serving(mesh, state) as plane:  # the lock went with its holder
        await plane.until("/readyz", lambda page: page["status"] == "ready", within_s=LIMIT_S)


async def test_files_that_are_empty_after_a_restart_take_nothing_away(tmp_path: Path) -> None:
    """A disk that is full when an editor saves, and a server that is restarted then."""
    state = tmp_path / "state"
    mesh = HelloMesh(tmp_path / "mesh", vip="127.20.1.5", endpoints={"v1": 1})
    routes = "/debug/resources?scope=global"
    async with serving(mesh, state) as plane:
        before = await plane.until(routes, lambda page: bool(page.get("total")), within_s=LIMIT_S)
        await written(state, "v1")
    (mesh.root / "router.yaml").write_text("")
    async with serving(mesh, state) as plane:
        await plane.until("/readyz", lambda page: page["status"] == "ready", within_s=LIMIT_S)
        assert await plane.get(routes) == before
        page = await plane.get("/debug/rejections")
        assert [each["file"] for each in page["rejections"]] == ["router.yaml"]
