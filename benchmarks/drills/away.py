"""The server is gone, frozen, or behind a network that swallows everything."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from aeraki_xds.demo.control_plane import ControlPlane
from drills import server
from drills.mesh import LIMIT_S, calling, services
from drills.relay import Relay
from drills.verdict import Fact, Finding, no_errors

AWAY_S: Final = 3.0
"""Seconds for which the server is gone or frozen."""

CUT_S: Final = 45.0
"""Within which a silent peer is cut: `keepalive_time` and `keepalive_timeout` are 40 together."""


async def kill(work: Path) -> Finding:
    """kill -9 of the server under load, and a new one on its port."""
    async with services(work) as files, AsyncExitStack() as first:
        plane = await first.enter_async_context(ControlPlane.run(files.root))
        async with calling(files, plane.xds, work) as mesh:
            before = await mesh.reloads()
            lag = await server.lag(plane)
            os.kill(plane.pid, signal.SIGKILL)
            await first.aclose()
            await asyncio.sleep(AWAY_S)
            async with ControlPlane.run(files.root, port=plane.xds.port) as back:
                listening = time.monotonic()
                await _connected(back)
                took = time.monotonic() - listening
                await mesh.caller.answers(100, after=time.perf_counter(), timeout=LIMIT_S)
                same = await mesh.reloads() == before
                change = await mesh.next_change("v2")
                lag += await server.lag(back)
            return Finding(
                facts=(
                    no_errors(mesh.caller.errors),
                    Fact(told=f"Envoy is back {took:.2f} s after the port", good=took <= 2.0),
                    Fact(told="no reload" if same else "Envoy reloaded something", good=same),
                    change,
                    lag.fact(" (both servers)"),
                )
            )


async def stop(work: Path) -> Finding:
    """The server is frozen (SIGSTOP) under load, and goes on."""
    async with (
        services(work) as files,
        ControlPlane.run(files.root) as plane,
        calling(files, plane.xds, work) as mesh,
    ):
        before = await server.lag(plane)
        os.kill(plane.pid, signal.SIGSTOP)
        await asyncio.sleep(AWAY_S)
        os.kill(plane.pid, signal.SIGCONT)
        thawed = before
        while thawed.measured < before.measured + 5:  # the freeze itself is one of them
            thawed = await server.lag(plane)
        changes = [await mesh.next_change(version) for version in ("v2", "v1", "v2")]
        await asyncio.sleep(1.0)
        lag = before + (await server.lag(plane) - thawed)
        note = ", without the freeze itself"
        return Finding(facts=(no_errors(mesh.caller.errors), *changes, lag.fact(note)))


async def dead(work: Path) -> Finding:
    """The network swallows what an Envoy and the server say to each other, and closes nothing."""
    async with (
        services(work) as files,
        ControlPlane.run(files.root) as plane,
        Relay.to(plane.xds) as relay,
        calling(files, relay.address, work) as mesh,
    ):
        swallowed = relay.swallow()
        began = time.monotonic()
        (lost,) = [entry["address"] for entry in await _connections(plane)]
        async with asyncio.timeout(LIMIT_S):
            while lost in [entry["address"] for entry in await _connections(plane)]:
                await asyncio.sleep(0.1)
        cut = time.monotonic() - began
        await _connected(plane)
        back = time.monotonic() - began
        change = await mesh.next_change("v2")
        return Finding(
            facts=(
                no_errors(mesh.caller.errors),
                Fact(
                    told=f"{swallowed} connection swallowed, cut after {cut:.1f} s",
                    good=swallowed == 1 and cut <= CUT_S,
                ),
                Fact(told=f"Envoy is back after {back:.1f} s"),
                change,
                (await server.lag(plane)).fact(),
            )
        )


async def _connected(plane: ControlPlane) -> None:
    await plane.until("/debug/adsz", lambda page: page["total"] > 0, within_s=LIMIT_S)


async def _connections(plane: ControlPlane) -> list[dict[str, str]]:
    page: dict[str, list[dict[str, str]]] = await plane.get("/debug/connections")
    return page["connections"]
