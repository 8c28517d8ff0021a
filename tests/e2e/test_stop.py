"""How `aeraki-xds serve` ends: not ready, no new connections, streams told, and then it is gone."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from envoy.service.discovery.v3 import discovery_pb2
from grpclib.client import Channel
from grpclib.const import Cardinality, Status

from aeraki_xds.bench import frames
from aeraki_xds.bench.ask import Ask
from aeraki_xds.demo.http import Address, fetch
from aeraki_xds.demo.process import exited, python_module
from aeraki_xds.xds import HTTP_ROUTES
from tests.e2e.conftest import LIMIT_S
from tests.xds.test_wire_server import STREAM_ROUTES, Talk

pytestmark = pytest.mark.e2e

COUNT: Final = 400
DEAF_STREAMS: Final = 95
SERVICE: Final = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: s{n}, namespace: shop}}
spec:
  hosts: [s{n}.shop.svc.cluster.local]
  addresses: [127.30.{high}.{low}]
  ports: [{{number: 9090, name: tcp-metaprotocol-thrift}}]
  resolution: STATIC
"""
NAMES: Final = tuple(f"s{n}.shop.svc.cluster.local_9090" for n in range(COUNT))


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A server's process and where it answers."""

    process: Process
    xds: Address
    admin: Address

    async def says(self, path: str) -> tuple[int, str]:
        """The status and body of an admin page."""
        return await asyncio.to_thread(fetch, self.admin, path)

    async def until(self, path: str, status: int, text: str) -> None:
        """Wait until a page says this."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                answered, body = await self.says(path)
                if answered == status and text in body:
                    return
                await asyncio.sleep(0.01)

    @property
    def is_over(self) -> bool:
        return self.process.returncode is not None


@asynccontextmanager
async def serving(folder: Path, *arguments: str) -> AsyncIterator[Served]:
    (folder / "services.yaml").write_text(
        "---\n".join(SERVICE.format(n=n, high=n // 250, low=n % 250 + 1) for n in range(COUNT))
    )
    command = ["serve", "--config-dir", str(folder), "--log-level", "error", *arguments]
    command += ["--xds-address", "127.0.0.1:0", "--admin-address", "127.0.0.1:0"]
    async with python_module("aeraki_xds", *command, announces="serving ") as (process, line):
        told = dict(word.partition("=")[::2] for word in line.split()[1:])
        xds, admin = Address.parse(told["xds"]), Address.parse(told["admin"])
        served = Served(process=process, xds=xds, admin=admin)
        await served.until("/readyz", 200, "ready")
        yield served


@asynccontextmanager
async def talking(to: Address) -> AsyncIterator[Talk]:
    """A client that was served one response."""
    channel = Channel(to.host, to.port)
    request, response = discovery_pb2.DiscoveryRequest, discovery_pb2.DiscoveryResponse
    grpc: Any = channel.request(STREAM_ROUTES, Cardinality.STREAM_STREAM, request, response)
    await grpc.__aenter__()
    talk = Talk(grpc, delta=False)
    try:
        await talk.ask(HTTP_ROUTES, NAMES[0], node="good")
        await talk.hear()
        yield talk
    finally:
        await talk.leave()
        channel.close()


def deaf_client(to: Address) -> socket.socket:
    """One that asks for more than the kernel holds for it, and reads nothing."""
    ask = Ask(path=STREAM_ROUTES, type_url=HTTP_ROUTES, names=NAMES)
    opening = ask.opening("deaf")
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.connect((to.host, to.port))
    made.sendall(opening)
    for stream_id in range(3, 2 * DEAF_STREAMS, 2):
        node = frames.message(stream_id, ask.first("deaf"))
        made.sendall(frames.call(stream_id, STREAM_ROUTES, "xds") + node)
    return made


async def stuck(served: Served) -> None:
    """Wait until more has been asked for than the deaf one's buffers take."""
    before = -1
    async with asyncio.timeout(LIMIT_S):
        while True:
            page = json.loads((await served.says("/debug/syncz?limit=1000"))[1])
            answered = sum("deaf" in each["node"] for each in page["streams"])
            if 10 < answered == before:
                return
            before = answered
            await asyncio.sleep(0.2)


async def accepts(address: Address) -> bool:
    try:
        _, writer = await asyncio.open_connection(address.host, address.port)
    except ConnectionRefusedError:
        return False
    writer.close()
    return True


async def test_streams_end_in_order_and_who_does_not_read_is_waited_for_no_longer_than_told(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path, "--grace-period", "3") as served, talking(served.xds) as good:
        deaf = await asyncio.to_thread(deaf_client, served.xds)
        await stuck(served)
        loop = asyncio.get_running_loop()
        start = loop.time()
        served.process.send_signal(signal.SIGTERM)
        assert await good.ended_with() == (Status.UNAVAILABLE, "the server is shutting down")
        assert not await accepts(served.xds)
        await served.until("/readyz", 503, "draining")
        assert not served.is_over  # it waits for the deaf one
        assert await exited(served.process, within_s=LIMIT_S)
        assert served.process.returncode == 0
        assert loop.time() - start >= 3
        deaf.close()


async def test_nobody_is_waited_for_who_is_gone_and_the_process_ends_at_once(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path, "--grace-period", "600") as served, talking(served.xds) as good:
        served.process.send_signal(signal.SIGTERM)
        assert (await good.ended_with())[0] is Status.UNAVAILABLE
        assert await exited(served.process, within_s=LIMIT_S)
        assert served.process.returncode == 0


async def test_a_second_signal_waits_for_nobody(tmp_path: Path) -> None:
    async with serving(tmp_path, "--grace-period", "600") as served:
        deaf = await asyncio.to_thread(deaf_client, served.xds)
        await stuck(served)
        os.kill(served.process.pid, signal.SIGTERM)
        await served.until("/readyz", 503, "draining")
        assert not served.is_over
        os.kill(served.process.pid, signal.SIGTERM)
        assert await exited(served.process, within_s=LIMIT_S)
        assert served.process.returncode == 0
        deaf.close()
