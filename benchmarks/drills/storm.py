"""Thousands of clients at once: in plaintext, with certificates, and more than are taken."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

from peers.catalogue import peer
from peers.table import rest

from aeraki_xds.bench.ask import Ask
from aeraki_xds.bench.client import Clients
from aeraki_xds.demo.control_plane import ControlPlane
from aeraki_xds.demo.mesh import HelloMesh
from aeraki_xds.xds import HTTP_ROUTES
from drills import server
from drills.certificates import OURS, PROXY
from drills.pki import Authority
from drills.verdict import Fact, Finding, Lag

PATH: Final = "/envoy.service.route.v3.RouteDiscoveryService/StreamRoutes"
COUNT: Final = 2_000
TAKEN: Final = 1_000
"""How many streams the server takes that refuses the others."""

GROWTH: Final = 1.1
"""What a second storm may leave behind of memory, of what the first did: the interpreter keeps what
it once had for the next one."""

_GIVEN_BACK_S: Final = 12.0
"""Until what is free in C is given back to the system (`aeraki_xds.garbage`)."""

_LIMIT_S: Final = 60.0
_RETRY_S: Final = 0.25


async def storm(work: Path) -> Finding:
    """2,000 clients connect at once and leave, twice."""
    return await _storms(work, options=(), tls=None)


async def tls_storm(work: Path) -> Finding:
    """2,000 clients connect at once under mutual TLS and leave, twice."""
    authority = Authority("root")
    ours, theirs = work / "ours", work / "theirs"
    for folder, uri in ((ours, OURS), (theirs, PROXY)):
        authority.issue(folder, uri, lifetime=timedelta(hours=1))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname = False  # the server proves a SPIFFE identity
    tls.load_verify_locations(theirs / "root-cert.pem")
    tls.load_cert_chain(theirs / "cert-chain.pem", theirs / "key.pem")
    tls.set_alpn_protocols(["h2"])
    return await _storms(work, options=("--tls-dir", str(ours)), tls=tls)


async def refused(_work: Path) -> Finding:
    """2,000 clients come to a server that takes 1,000, and try again while others leave."""
    async with peer("ours", options=("--streams", str(TAKEN))) as child:
        clients = Clients(host="127.0.0.1", port=(await child.answer())["port"], retry=_RETRY_S)
        await child.ask("fill", count=1, rest=rest(10, "first"))
        before = (await child.ask("tell"))["tasks"]
        try:
            ask = Ask(path=PATH, type_url=HTTP_ROUTES, names=("bench-0",))
            async with asyncio.TaskGroup() as tasks:
                connecting = tasks.create_task(_connect(clients, ask))
                while clients.refused < COUNT - TAKEN and not connecting.done():
                    await asyncio.sleep(0.05)
                clients.leave()
            took = connecting.result()
        finally:
            clients.close()
        async with asyncio.timeout(_LIMIT_S):
            while (told := await child.ask("tell"))["connections"] or told["tasks"] > before:
                await asyncio.sleep(0.05)
        lag = Lag.of([float(bound) for bound in told["lag"]["bounds"]], told["lag"]["counts"])
        served = Fact(
            told=f"{clients.responses:,} of {COUNT:,} served in {took:.1f} s, "
            f"after {clients.refused:,} refusals",
            good=clients.responses == COUNT and clients.refused > 0,
        )
        left = Fact(told=f"{told['streams']} streams left behind", good=told["streams"] == 0)
        return Finding(facts=(served, left, lag.fact()))


async def _storms(work: Path, *, options: Sequence[str], tls: ssl.SSLContext | None) -> Finding:
    files = HelloMesh(work / "mesh", vip="127.20.1.9", endpoints={"v1": 1})
    route = f"hello.demo.svc.cluster.local_{files.port}"
    ask = Ask(path=PATH, type_url=HTTP_ROUTES, names=(route,))
    async with ControlPlane.run(files.root, options=options) as plane:
        await plane.until("/readyz", lambda page: page["status"] == "ready", within_s=_LIMIT_S)
        tasks = await server.total(plane, "/debug/tasks")
        facts: list[Fact] = []
        memory = [server.resident_mb(plane.pid)]
        for which in ("first", "second"):
            async with _clients(plane, tls) as clients:
                took = await _connect(clients, ask)
                streams = await server.total(plane, "/debug/adsz")
            served = f"{which}: {streams:,} of {COUNT:,} served in {took:.1f} s"
            facts += [Fact(told=served, good=streams == COUNT), await _left(plane, tasks)]
            await asyncio.sleep(_GIVEN_BACK_S)
            memory.append(server.resident_mb(plane.pid))
        before, first, second = memory
        told = (
            f"{before:.0f} MiB before, {first:.0f} after the first, {second:.0f} after the second"
        )
        grown = Fact(told=told, good=second <= first * GROWTH)
        return Finding(facts=(*facts, grown, (await server.lag(plane)).fact()))


@asynccontextmanager
async def _clients(plane: ControlPlane, tls: ssl.SSLContext | None) -> AsyncIterator[Clients]:
    clients = Clients(host=plane.xds.host, port=plane.xds.port, tls=tls)
    try:
        yield clients
    finally:
        clients.close()


async def _connect(clients: Clients, ask: Ask) -> float:
    """Seconds until everybody is served. Raises TimeoutError."""
    began = time.monotonic()
    async with asyncio.timeout(_LIMIT_S):
        await clients.connect([ask] * COUNT, at_once=COUNT)
    return time.monotonic() - began


async def _left(plane: ControlPlane, tasks: int) -> Fact:
    """What is still there of clients that have left, once it does not get less any more."""
    left = (-1, -1, -1)
    try:
        async with asyncio.timeout(_LIMIT_S):
            while left != (0, 0, 0):
                left = (
                    await server.total(plane, "/debug/connections"),
                    await server.total(plane, "/debug/adsz"),
                    max(await server.total(plane, "/debug/tasks") - tasks, 0),
                )
                await asyncio.sleep(0.1)
    except TimeoutError:
        pass
    connections, streams, more = left
    told = f"left behind: {connections} connections, {streams} streams, {more} tasks"
    return Fact(told=told, good=left == (0, 0, 0))
