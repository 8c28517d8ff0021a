"""A kit for tests of the services beside discovery: a real server, asked by the official clients.

The clients are grpcio's, which block, so each call of theirs runs in a thread.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, TypeVar

import grpc
import pytest
from grpclib.client import Channel
from grpclib.config import Configuration
from grpclib.const import Cardinality
from grpclib.protocol import H2Protocol
from grpclib.server import Server

from aeraki_xds.xds.wire.server import _Bytes

Answer = TypeVar("Answer")

PATIENCE: Final = 5.0
"""Seconds that an answer may take on a busy machine before the test fails."""


class Client:
    """A channel of grpcio, and raw streams of grpclib for what grpcio would never send."""

    def __init__(self, host: str, port: int) -> None:
        self.grpc: Any = grpc.insecure_channel(
            f"{host}:{port}", options=[("grpc.enable_http_proxy", 0)]
        )
        self._host = host
        self._port = port

    async def asks(self, call: Callable[..., Answer], *args: Any, **options: Any) -> Answer:
        """Make a blocking call, in a thread."""
        async with asyncio.timeout(2 * PATIENCE):
            return await asyncio.to_thread(call, *args, **options)

    @asynccontextmanager
    async def raw(self, path: str, *, window: int = 1 << 20) -> AsyncIterator[Any]:
        """A stream on which bytes are sent as they are, and that opens its window as it reads."""
        config = Configuration(http2_stream_window_size=window)
        channel = Channel(self._host, self._port, codec=_Bytes(), config=config)
        stream: Any = channel.request(path, Cardinality.STREAM_STREAM, bytes, bytes)
        try:
            async with asyncio.timeout(PATIENCE):
                await stream.__aenter__()  # whose exit would wait for a good end
                await stream.send_request()
                yield stream._stream
        finally:
            channel.close()
            await asyncio.sleep(0)  # transports close in the loop's next turn


async def ended_with(stream: Any) -> tuple[int, str]:
    """How the server ends a raw stream: gRPC's status and message."""
    headers = dict(await stream.recv_headers())
    if "grpc-status" not in headers:
        headers = dict(await stream.recv_trailers())
    return int(headers["grpc-status"]), headers.get("grpc-message", "")


def prefixed(message: bytes, *, compressed: bool = False, size: int | None = None) -> bytes:
    """A message as gRPC sends it, or pretends to."""
    claimed = len(message) if size is None else size
    return bytes((compressed,)) + claimed.to_bytes(4, "big") + message


class _Server(Server):
    """grpclib's server, which knows its connections."""

    def __init__(self, services: tuple[Any, ...]) -> None:
        super().__init__(services, codec=_Bytes())
        self.connections: list[Any] = []

    def _protocol_factory(self) -> H2Protocol:
        self.connections.append(super()._protocol_factory())
        made: H2Protocol = self.connections[-1]
        return made

    def is_left_alone(self) -> bool:
        """Whether every client has hung up, and that was noticed."""
        return not any(
            not hasattr(each, "connection") or hasattr(each.connection, "_transport")
            for each in self.connections
        )


@asynccontextmanager
async def serving(*services: Any) -> AsyncIterator[Client]:
    """Serve on loopback and hand out a client."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = _Server(services)
    await server.start(sock=listening)
    client = Client(*listening.getsockname())
    try:
        yield client
    finally:
        await asyncio.to_thread(client.grpc.close)
        await until(server.is_left_alone)
        server.close()
        await server.wait_closed()


@contextmanager
def refused(code: Any, message: str = "") -> Any:
    """The block ends with that status."""
    with pytest.raises(grpc.RpcError) as failure:
        yield
    error: Any = failure.value
    assert error.code() is code, error.details()
    assert message in error.details()


async def until(condition: Callable[[], bool]) -> None:
    """Give the loop turns until something is so."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0)
