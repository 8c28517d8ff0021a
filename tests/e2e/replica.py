"""`aeraki-xds serve --kubernetes` in a process of its own, on free ports of loopback.

In: a kubeconfig. Out: where it answers, and the lines of its log. Guaranteed: it is gone when its
block is left.
"""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from envoy.service.discovery.v3 import discovery_pb2
from grpclib.client import Channel
from grpclib.const import Cardinality

from aeraki_xds.demo.http import Address, fetch
from aeraki_xds.demo.process import leashed, stop_process
from tests.e2e.conftest import LIMIT_S
from tests.xds.test_wire_server import STREAM_ROUTES, Talk

POLL_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """A process that serves, and mostly writes, too."""

    process: Process
    log: Path
    xds: Address
    admin: Address
    probes: Address

    async def says(self, path: str) -> tuple[int, Any]:
        """Status and body of an admin page."""
        status, body = await asyncio.to_thread(fetch, self.admin, path)
        return status, orjson.loads(body)

    async def until(
        self, path: str, holds: Callable[[int, Any], bool], *, within_s: float = LIMIT_S
    ) -> Any:
        """Ask for a page until it says what is waited for. Raises TimeoutError with the page."""
        status, page = 0, None
        try:
            async with asyncio.timeout(within_s):
                while True:
                    status, page = await self.says(path)
                    if holds(status, page):
                        return page
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            message = f"{path} does not say so within {within_s} s: {status} {page}"
            raise TimeoutError(message) from None

    async def is_ready(self, *, within_s: float = LIMIT_S) -> Any:
        """Wait until every source was read."""
        return await self.until("/readyz", lambda status, _: status == 200, within_s=within_s)

    def lines(self, event: str) -> list[dict[str, Any]]:
        """What it has logged of an event."""
        text = self.log.read_bytes()
        whole = text[: text.rfind(b"\n") + 1].splitlines()
        said = (orjson.loads(line) for line in whole if line.startswith(b"{"))
        return [line for line in said if line["event"] == event]

    async def logged(self, event: str, *, within_s: float = LIMIT_S) -> dict[str, Any]:
        """The first line of an event."""
        await until(lambda: bool(self.lines(event)), within_s=within_s)
        return self.lines(event)[0]

    def resident(self) -> float:
        """Memory of the process, in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (line,) = (each for each in status.splitlines() if each.startswith("VmRSS:"))
        return int(line.split()[1]) / 1024


@asynccontextmanager
async def replica(kubeconfig: Path, *options: str, log: Path) -> AsyncIterator[Replica]:
    """Serve a cluster; the ports are open when the block begins."""
    listens = ("--xds-address", "--admin-address", "--http-address")
    command = [sys.executable, "-m", "aeraki_xds", "serve"]
    command += ["--kubernetes", "--kubeconfig", str(kubeconfig), "--log-format", "json"]
    command += [word for name in listens for word in (name, "127.0.0.1:0")]
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *leashed([*command, *options]),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
        try:
            assert process.stdout is not None  # it was started with a pipe
            async with asyncio.timeout(LIMIT_S):
                line = (await process.stdout.readline()).decode()
            assert line.startswith("serving "), f"it did not start: see {log}"
            told = dict(word.partition("=")[::2] for word in line.split()[1:])
            xds, admin, probes = (Address.parse(told[name]) for name in ("xds", "admin", "probes"))
            yield Replica(process=process, log=log, xds=xds, admin=admin, probes=probes)
        finally:
            await stop_process(process)


@asynccontextmanager
async def proxy(server: Replica, path: str = STREAM_ROUTES) -> AsyncIterator[Talk]:
    """A client of the server that has said nothing yet."""
    channel = Channel(server.xds.host, server.xds.port)
    request, response = discovery_pb2.DiscoveryRequest, discovery_pb2.DiscoveryResponse
    grpc: Any = channel.request(path, Cardinality.STREAM_STREAM, request, response)
    await grpc.__aenter__()
    talk = Talk(grpc, delta=False)
    try:
        yield talk
    finally:
        await talk.leave()
        channel.close()


async def until(holds: Callable[[], bool], *, within_s: float = LIMIT_S) -> None:
    """Wait for a condition of this process."""
    async with asyncio.timeout(within_s):
        while not holds():
            await asyncio.sleep(POLL_S)
