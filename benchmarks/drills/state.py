"""The source is gone when the server starts, and the disk is full: what --state-dir is for."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from aeraki_xds.demo.control_plane import ControlPlane
from aeraki_xds.demo.envoy import Envoy
from drills import server
from drills.mesh import LIMIT_S, calling, proxy, services
from drills.verdict import Fact, Finding, no_errors

SOURCE_STALE: Final = "aeraki_xds_source_stale_since_seconds"
STATE_STALE: Final = "aeraki_xds_state_stale_since_seconds"

_SIZE: Final = 1 << 20
_SECOND: Final = 500
"""Calls that take a second: what is in force is written at once, but a disk takes its time."""

_CLUSTERS: Final = "cluster_manager.active_clusters"


async def source(work: Path) -> Finding:
    """kill -9 under load, and the configuration is gone when a new server starts."""
    options = ("--state-dir", str(work / "state"))
    async with services(work) as files, AsyncExitStack() as first:
        plane = await first.enter_async_context(ControlPlane.run(files.root, options=options))
        async with calling(files, plane.xds, work) as mesh:
            await mesh.moves_to("v2")
            await mesh.caller.answers(_SECOND, after=time.perf_counter(), timeout=LIMIT_S)
            before, lag = await mesh.reloads(), await server.lag(plane)
            os.kill(plane.pid, signal.SIGKILL)
            await first.aclose()
            away = files.root.with_name("away")
            files.root.rename(away)
            port = plane.xds.port
            async with ControlPlane.run(files.root, port=port, options=options) as back:
                await back.until("/debug/adsz", lambda page: page["total"] > 0, within_s=LIMIT_S)
                await mesh.caller.answers(200, after=time.perf_counter(), timeout=LIMIT_S)
                same = await mesh.reloads() == before
                stale = await server.metric(back, SOURCE_STALE)
                (said,) = (await back.get("/readyz"))["sources"].values()
                async with proxy(back.xds, log=work / "new.log") as new:
                    held = [await _clusters(each) for each in (mesh.envoy, new)]
                away.rename(files.root)
                change = await mesh.next_change("v1")
                fresh = await _until(back, SOURCE_STALE, lambda since: since == 0)
                lag += await server.lag(back)
            return Finding(
                facts=(
                    no_errors(mesh.caller.errors),
                    Fact(told="no reload" if same else "Envoy reloaded something", good=same),
                    Fact(told=f"/readyz: {said['stale'] or 'not stale'}", good=stale > 0),
                    Fact(told=f"a new Envoy has {held[1]} clusters", good=held[0] == held[1]),
                    Fact(told=f"the folder is back: {change.told}", good=change.good),
                    Fact(told=f"stale since {fresh:g}", good=fresh == 0),
                    lag.fact(" (both servers)"),
                )
            )


async def disk(work: Path) -> Finding:
    """The disk is full where the server keeps its state, and then it is not."""
    folder = work / "state"
    folder.mkdir()
    async with services(work) as files:
        with _limited(folder) as limit:
            async with (
                ControlPlane.run(files.root, options=("--state-dir", str(folder))) as plane,
                calling(files, plane.xds, work) as mesh,
            ):
                await _until(plane, STATE_STALE, lambda since: since == 0)
                how = limit.fill(plane.pid)
                changes = [await mesh.next_change(version) for version in ("v2", "v1", "v2")]
                since = await _until(plane, STATE_STALE, lambda since: since > 0)
                limit.free(plane.pid)
                changes.append(await mesh.next_change("v1"))
                after = await _until(plane, STATE_STALE, lambda since: since == 0)
                lag = await server.lag(plane)
                return Finding(
                    facts=(
                        no_errors(mesh.caller.errors),
                        *changes,
                        Fact(told=f"{how}: state stale since {since:.0f}", good=since > 0),
                        Fact(told=f"room again: state stale since {after:g}", good=after == 0),
                        lag.fact(),
                    )
                )


class _Full:
    """A file system that can be filled, or a process that may not write."""

    def __init__(self, folder: Path, *, own: bool) -> None:
        self._filler = folder / "filler"
        self._own = own

    def fill(self, pid: int) -> str:
        """No byte can be written any more; says what is in the way."""
        if not self._own:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
            return "may not write anything, its log neither (RLIMIT_FSIZE)"
        with suppress(OSError), self._filler.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        return "no space left on a tmpfs"

    def free(self, pid: int) -> None:
        """There is room again."""
        if self._own:
            self._filler.unlink()
        else:
            infinity = resource.RLIM_INFINITY
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (infinity, infinity))


@contextmanager
def _limited(folder: Path) -> Iterator[_Full]:
    """A small file system of its own if we may mount one."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "drill", str(folder)]
    own = False
    with suppress(FileNotFoundError):  # a system without it
        own = subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield _Full(folder, own=own)
    finally:
        if own:
            subprocess.run(["umount", str(folder)], check=True)


async def _clusters(envoy: Envoy) -> int | str:
    return (await envoy.stats(f"^{_CLUSTERS}$"))[_CLUSTERS]


async def _until(plane: ControlPlane, name: str, holds: Callable[[float], bool]) -> float:
    """Wait until a metric says so. Raises TimeoutError with what it says."""
    value = 0.0
    try:
        async with asyncio.timeout(LIMIT_S):
            while not holds(value := await server.metric(plane, name)):
                await asyncio.sleep(0.05)
    except TimeoutError:
        message = f"{name} is {value:g} after {LIMIT_S:g} s"
        raise TimeoutError(message) from None
    return value
