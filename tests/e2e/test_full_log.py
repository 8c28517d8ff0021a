"""`aeraki-xds serve` where what it has to say cannot be written: it serves on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from aeraki_xds.demo.http import Address, fetch
from aeraki_xds.demo.mesh import HelloMesh, free_port, rule, to
from aeraki_xds.demo.process import exited, leashed, stop_process
from tests.e2e.conftest import LIMIT_S

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(sys.platform != "linux", reason="a full disk is one of Linux"),
]

FULL: Final = Path("/dev/full")
NOWHERE: Final = Path("/dev/null")


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A server's process, what it serves, and where it answers."""

    process: Process
    mesh: HelloMesh
    admin: Address

    async def routes_to(self, version: str) -> None:
        """Change the route, and wait until the new one is served."""
        self.mesh.route(rule(to(version)))
        async with asyncio.timeout(LIMIT_S):
            while f"|{version}|" not in await self._routes():
                assert self.process.returncode is None, "the server has ended"
                await asyncio.sleep(0.02)

    async def _routes(self) -> str:
        with contextlib.suppress(OSError):  # it does not listen yet
            _, page = await asyncio.to_thread(fetch, self.admin, "/debug/resources?scope=global")
            return page
        return ""

    async def ends(self) -> int | None:
        """Ask it to end: with which status it does."""
        self.process.send_signal(signal.SIGTERM)
        assert await exited(self.process, within_s=LIMIT_S)
        return self.process.returncode


@asynccontextmanager
async def serving(
    folder: Path, *prefix: str, stdout: Path = NOWHERE, stderr: Path = NOWHERE
) -> AsyncIterator[Served]:
    """A server that writes to these files, started by a `prefix` of its command."""
    mesh = HelloMesh(folder / "mesh", vip="127.20.1.9", endpoints={"v1": 1, "v2": 2})
    admin = Address("127.0.0.1", free_port("127.0.0.1"))
    command = [sys.executable, "-m", "aeraki_xds", "serve", "--config-dir", str(mesh.root)]
    command += ["--xds-address", "127.0.0.1:0", "--admin-address", f"{admin.host}:{admin.port}"]
    with stdout.open("w") as out, stderr.open("w") as errors:
        process = await asyncio.create_subprocess_exec(
            *leashed([*prefix, *command]), stdout=out, stderr=errors, start_new_session=True
        )
    try:
        yield Served(process=process, mesh=mesh, admin=admin)
    finally:
        await stop_process(process)


def events(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


async def test_a_server_whose_log_is_full_goes_on_through_changes_and_ends_well(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path, stdout=FULL, stderr=FULL) as served:
        await served.routes_to("v1")
        await served.routes_to("v2")
        assert await served.ends() == 0


async def test_a_log_that_may_not_grow_ends_nothing_and_what_was_lost_is_said_when_it_may(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    limited = ("/usr/bin/env", "prlimit", "--fsize=0:unlimited")
    async with serving(tmp_path, *limited, stderr=log) as served:
        await served.routes_to("v1")
        assert log.read_bytes() == b""
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE, unlimited)
        await served.routes_to("v2")
        assert await served.ends() == 0
    lost, *others = events(log)
    assert lost["event"] == "log lines lost"
    assert lost["lines"] >= 2
    assert "configuration applied" in [each["event"] for each in others]


async def test_a_server_that_cannot_announce_itself_serves_and_its_log_has_the_line(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    async with serving(tmp_path, stdout=FULL, stderr=log) as served:
        await served.routes_to("v2")
        assert await served.ends() == 0
    (said,) = (each for each in events(log) if "announced" in each)
    assert said["level"] == "error"
    assert said["announced"].startswith("serving xds=127.0.0.1:")
    assert said["announced"].endswith(f"admin={served.admin.host}:{served.admin.port}")
