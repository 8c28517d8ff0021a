"""Bad days rehearsed with real processes: what they did to the calls, and to the proxies.

In: nothing. Out: a table, a drill a row: what happened, what it was measured by, whether that was
good enough; exit status 1 if one was not. A real Envoy carries Thrift calls on one kept connection
throughout, and the server is the one that `aeraki-xds serve` runs.

    python benchmarks/drills.py            # all of them
    python benchmarks/drills.py kill stop  # some
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop
from servers import PATH, ROUTE, table

from aeraki_xds.bench.client import Ask, Clients
from aeraki_xds.demo.caller import Caller
from aeraki_xds.demo.control_plane import ControlPlane
from aeraki_xds.demo.envoy import Envoy
from aeraki_xds.demo.mesh import HelloMesh, rule, to
from aeraki_xds.demo.thrift_app import ThriftServer
from aeraki_xds.telemetry import configure_logging
from aeraki_xds.translate.bootstrap import BootstrapSettings, bootstrap
from aeraki_xds.xds import HTTP_ROUTES, Hub, Name, Resource, Scope
from aeraki_xds.xds.wire import XdsServer
from aeraki_xds.xds.wire.limits import Limits

LIMIT_S = 60.0
AWAY_S = 3.0
"""Seconds for which the server is gone or stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a drill measured, and whether it was good enough."""

    measured: str
    good: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh:
    """Two Thrift services behind an Envoy, and one client that never stops calling."""

    files: HelloMesh
    envoy: Envoy
    caller: Caller

    async def moves_to(self, version: str) -> float:
        """Change the route; seconds until the new service answers."""
        changed = self.files.route(rule(to(version)))
        return await self.caller.first(version, after=changed, timeout=LIMIT_S) - changed

    async def reloads(self) -> dict[str, int | str]:
        """Counters that move when Envoy takes something new."""
        return await self.envoy.stats(
            "config_reload$|listener_manager.listener_modified|cluster_manager.cluster_modified"
        )


@asynccontextmanager
async def mesh(work: Path, port: int) -> AsyncIterator[tuple[Mesh, ControlPlane, AsyncExitStack]]:
    """Everything up, calls answered by v1; the stack is that of the server alone."""
    async with AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(ThriftServer.run(answer=version))
            for version in ("v1", "v2")
        ]
        endpoints = {"v1": servers[0].port, "v2": servers[1].port}
        files = HelloMesh(work / "mesh", vip="127.20.1.9", endpoints=endpoints)
        first = await stack.enter_async_context(AsyncExitStack())
        plane = await first.enter_async_context(ControlPlane.run(files.root, port=port))
        settings = BootstrapSettings(
            node_id="drill", cluster="drill", xds_host="127.0.0.1", xds_port=plane.xds.port,
            admin_port=0,
        )  # fmt: skip
        envoy = Envoy.run(bootstrap(settings), log=work / "envoy.log")
        running = await stack.enter_async_context(envoy)
        await running.wait_live(LIMIT_S)
        caller = await stack.enter_async_context(Caller(files.vip, files.port))
        await caller.answers(100, after=0.0, version="v1", timeout=LIMIT_S)
        yield Mesh(files=files, envoy=running, caller=caller), plane, first


async def kill(work: Path) -> Finding:
    """kill -9 of the server under load, and a new one on its port."""
    async with mesh(work, 0) as (running, plane, first), AsyncExitStack() as second:
        before = await running.reloads()
        os.kill(plane.pid, signal.SIGKILL)
        await first.aclose()
        await asyncio.sleep(AWAY_S)
        again = ControlPlane.run(running.files.root, port=plane.xds.port)
        back = await second.enter_async_context(again)
        listening = time.monotonic()
        await back.until("/debug/syncz", lambda page: bool(page["streams"]), within_s=LIMIT_S)
        reconnected = time.monotonic() - listening
        await asyncio.sleep(0.5)
        reloads = await running.reloads() != before
        moved = await running.moves_to("v2")
        errors = len(running.caller.errors)
        return Finding(
            measured=f"{errors} failed calls, back after {reconnected:.2f} s, "
            f"{'reloads' if reloads else 'no reload'}, next change in {moved * 1000:.0f} ms",
            good=errors == 0 and reconnected <= 2.0 and not reloads,
        )


async def stop(work: Path) -> Finding:
    """The server is frozen (SIGSTOP) under load, and goes on."""
    async with mesh(work, 0) as (running, plane, _):
        os.kill(plane.pid, signal.SIGSTOP)
        await asyncio.sleep(AWAY_S)
        os.kill(plane.pid, signal.SIGCONT)
        moved = await running.moves_to("v2")
        errors = len(running.caller.errors)
        return Finding(
            measured=f"{errors} failed calls, next change in {moved * 1000:.0f} ms",
            good=errors == 0 and moved < 2.0,
        )


async def storm(_work: Path) -> Finding:
    """2,000 clients connect at once."""
    count = 2_000
    async with serving(Limits()) as (server, hub, clients):
        start = time.monotonic()
        async with asyncio.timeout(LIMIT_S):
            await clients.connect([ASK] * count, at_once=count)
        took = time.monotonic() - start
        open_streams = len(hub.streams)
        clients.close()
        async with asyncio.timeout(LIMIT_S):
            while hub.streams or server.connections:
                await asyncio.sleep(0.01)
        return Finding(
            measured=f"{open_streams} of {count} served in {took:.2f} s, 0 left behind",
            good=open_streams == count,
        )


async def stalled(_work: Path) -> Finding:
    """One client in a hundred reads nothing while a large table changes again and again."""
    async with serving(Limits()) as (_, hub, clients):
        await clients.connect([ASK] * 198)
        without = await rounds(hub, clients)
        lazy = [await asyncio.open_connection(*clients.address) for _ in range(2)]
        for _, writer in lazy:
            writer.write(ASK.opening("lazy"))
        while len(hub.streams) < 200:
            await asyncio.sleep(0.01)
        beside = await rounds(hub, clients)
        for _, writer in lazy:
            writer.close()
        ratio = beside / without
        return Finding(
            measured=f"the others' 99th percentile × {ratio:.2f} ({beside * 1000:.0f} ms)",
            good=ratio <= 1.2,
        )


async def rounds(hub: Hub, clients: Clients, count: int = 40) -> float:
    """Publish, wait for everybody; the 99th percentile of how long that takes, in seconds."""
    took = []
    for number in range(count):
        clients.begin_round()
        start = time.monotonic_ns()
        made = Resource.of(HTTP_ROUTES, Name(ROUTE), table(100, f"{number} {start}"))
        hub.publish(EVERYONE, {made.id: made})
        await clients.delivered()
        took.append((clients.last_delivery_ns - start) / 1e9)
    return sorted(took)[int(count * 0.99)]


ASK = Ask(path=PATH, type_url=HTTP_ROUTES, names=(ROUTE,))
EVERYONE = Scope("everyone")


@asynccontextmanager
async def serving(limits: Limits) -> AsyncIterator[tuple[XdsServer, Hub, Clients]]:
    """A server in this process, and clients of it."""
    hub = Hub(clock=time.time)
    server = XdsServer(hub=hub, admit=lambda node, peer, *, only: (EVERYONE,), limits=limits)
    host, port = await server.start("127.0.0.1", 0)
    made = Resource.of(HTTP_ROUTES, Name(ROUTE), table(10, "first"))
    hub.publish(EVERYONE, {made.id: made})
    clients = Clients(host=host, port=port)
    try:
        yield server, hub, clients
    finally:
        clients.close()
        await server.close()


DRILLS: dict[str, Callable[[Path], Awaitable[Finding]]] = {
    "kill": kill,
    "stop": stop,
    "storm": storm,
    "stalled": stalled,
}


async def rehearse(names: Sequence[str]) -> bool:
    """Run the drills of these names, print the table, and say whether all was good."""
    good = True
    for name in names:
        drill = DRILLS[name]
        with tempfile.TemporaryDirectory(prefix=f"drill-{name}-") as work:
            try:
                found = await drill(Path(work))
            except TimeoutError as failure:
                found = Finding(measured=f"not over in {LIMIT_S:g} s: {failure}", good=False)
        good = good and found.good
        told = (drill.__doc__ or "").strip()
        print(
            f"{'ok' if found.good else 'BAD':4}{name:10}{told}\n{'':14}{found.measured}", flush=True
        )
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("drills", nargs="*", help="which (default: all)")
    given = parser.parse_args()
    configure_logging(level="error")
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        good = runner.run(rehearse(given.drills or list(DRILLS)))
    sys.exit(not good)


if __name__ == "__main__":
    main()
