"""The gRPC server: discovery RPCs on grpclib, one reader and one writer per stream.

In: connections. Out: requests to the hub, responses when the hub wakes a stream. Guaranteed: a
stream that is not synced, not understood or not admitted ends with the status that says so, and
no other stream notices; a reader that does not read delays only itself, because its writer waits
for flow control and takes the latest state when it may write again.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import structlog
from grpclib.config import Configuration
from grpclib.const import Cardinality, Handler, Status
from grpclib.encoding.base import CodecBase
from grpclib.exceptions import GRPCError, StreamTerminatedError
from grpclib.server import Server
from grpclib.server import Stream as GrpcStream

from aeraki_xds.xds.admission import Admit, Node, Peer, Refusal, RefusalReason
from aeraki_xds.xds.field import MalformedError
from aeraki_xds.xds.hub import Hub, Stream
from aeraki_xds.xds.message import Nacked, Request
from aeraki_xds.xds.resource import HTTP_ROUTES, TypeUrl
from aeraki_xds.xds.session import Dialect
from aeraki_xds.xds.wire.envelope import read_delta, read_sotw, write_delta, write_sotw
from aeraki_xds.xds.wire.node import read_node

_BACKLOG: Final = 4096
"""Pending connections: with asyncio's 100 a restart of 2,000 proxies takes seconds (design §3)."""

_WINDOW: Final = 4 << 20
"""HTTP/2 receive windows in bytes: an Envoy's first request alone is 61 KB."""

_GRACE: Final = 1.0
"""Seconds for which a stream may take its last status: who does not read does not get it."""

_STATUS: Final = {
    RefusalReason.INVALID: Status.INVALID_ARGUMENT,
    RefusalReason.DENIED: Status.PERMISSION_DENIED,
}

_CLOSING: Final = "the server is shutting down"

_WRITE: Final = {Dialect.SOTW: write_sotw, Dialect.DELTA: write_delta}

_ADS: Final = "/envoy.service.discovery.v3.AggregatedDiscoveryService"
_RDS: Final = "/envoy.service.route.v3.RouteDiscoveryService"

_METHODS: Final[Mapping[str, tuple[Dialect, TypeUrl | None]]] = {
    f"{_ADS}/StreamAggregatedResources": (Dialect.SOTW, None),
    f"{_ADS}/DeltaAggregatedResources": (Dialect.DELTA, None),
    f"{_RDS}/StreamRoutes": (Dialect.SOTW, HTTP_ROUTES),
    f"{_RDS}/DeltaRoutes": (Dialect.DELTA, HTTP_ROUTES),
}
"""RPC path → dialect, and the type where the service implies it."""


class _Bytes(CodecBase):
    """Messages stay bytes: envelopes are read and written by `wire.envelope`."""

    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:
        return bytes(message)

    def decode(self, data: bytes, message_type: Any) -> bytes:
        return data


class XdsServer:
    """Serves a hub. `start` binds, `close` ends every stream and waits for the handlers."""

    def __init__(self, *, hub: Hub, admit: Admit) -> None:
        self._hub = hub
        self._admit = admit
        self._log = structlog.get_logger("aeraki_xds.xds")
        self._closing = False
        self._handlers: set[asyncio.Task[object]] = set()
        self._ended: set[asyncio.Task[object]] = set()
        self._server = Server(
            [_Service(self)],
            codec=_Bytes(),
            config=Configuration(
                http2_connection_window_size=_WINDOW, http2_stream_window_size=_WINDOW
            ),
        )

    async def start(
        self, host: str, port: int, *, tls: ssl.SSLContext | None = None
    ) -> tuple[str, int]:
        """Bind and listen; port 0 picks one. Returns the real address. Raises OSError."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        await self._server.start(sock=listening, backlog=_BACKLOG, ssl=tls)
        name = listening.getsockname()
        return str(name[0]), int(name[1])

    async def close(self) -> None:
        """Stop accepting, end every stream, and wait until the last handler is gone."""
        self._closing = True
        handlers = tuple(self._handlers)
        # Streams that their clients reset just now are being cancelled for that: not by us.
        self._ended = {handler for handler in handlers if not handler.cancelling()}
        self._server.close()
        # Not grpclib's `wait_closed`: since Python 3.12 it waits for the clients to hang up.
        if handlers:
            await asyncio.wait(handlers, timeout=_GRACE)

    async def serve(
        self, grpc: GrpcStream[bytes, bytes], dialect: Dialect, implied: TypeUrl | None
    ) -> None:
        """Handle one stream from its first request to its end."""
        if self._closing:
            raise GRPCError(Status.UNAVAILABLE, _CLOSING)
        handler = asyncio.current_task()
        assert handler is not None
        self._handlers.add(handler)
        try:
            await self._serve(grpc, dialect, implied)
        except asyncio.CancelledError:
            if handler in self._ended:  # grpclib would leave the client waiting for an end
                raise GRPCError(Status.UNAVAILABLE, _CLOSING) from None
            raise
        finally:
            self._handlers.discard(handler)

    async def _serve(
        self, grpc: GrpcStream[bytes, bytes], dialect: Dialect, implied: TypeUrl | None
    ) -> None:
        if not self._hub.serving:
            raise GRPCError(Status.UNAVAILABLE, "the configuration is not synced yet")
        await grpc.send_initial_metadata()
        data = await grpc.recv_message()
        if data is None:
            return
        request, node = self._first(data, dialect, implied)
        peer = Peer(address=_address(grpc))
        scopes = self._admit(node, peer, aggregated=implied is None)
        if isinstance(scopes, Refusal):
            raise GRPCError(_STATUS[scopes.reason], scopes.message)
        awake = asyncio.Event()
        # What the extensions decide is decided; 61 KB a stream would be most of its memory.
        node = replace(node, extensions=b"")
        stream = self._hub.open(
            node=node, peer=peer, scopes=scopes, dialect=dialect, wake=awake.set
        )
        log = self._log.bind(stream=stream.number, node=node.id, peer=peer.address)
        log.info("stream opened", dialect=dialect.value, scopes=list(scopes))
        try:
            await self._converse(grpc, stream, request, awake, implied, log)
        finally:
            self._hub.close(stream)
            log.info("stream closed")

    def _first(
        self, data: bytes, dialect: Dialect, implied: TypeUrl | None
    ) -> tuple[Request, Node]:
        request, raw = _decode(data, dialect, implied)
        try:
            node = read_node(raw) if raw is not None else Node(id="")
        except MalformedError as failure:
            raise GRPCError(Status.INVALID_ARGUMENT, str(failure)) from failure
        if not node.id:
            raise GRPCError(Status.INVALID_ARGUMENT, "the first request names no node.id")
        return request, node

    async def _converse(
        self,
        grpc: GrpcStream[bytes, bytes],
        stream: Stream,
        request: Request,
        awake: asyncio.Event,
        implied: TypeUrl | None,
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        """Read until the client ends the stream; write whenever the hub wakes it."""
        dialect = stream.session.dialect
        try:
            async with asyncio.TaskGroup() as tasks:
                writer = tasks.create_task(self._write(grpc, stream, awake))
                while True:
                    for event in self._hub.receive(stream, request):
                        if isinstance(event, Nacked):
                            log.warning(
                                "response refused",
                                type=event.type_url,
                                error=event.error,
                                resources=list(event.names),
                                stale=event.stale,
                            )
                    data = await grpc.recv_message()
                    if data is None:
                        break
                    request, _ = _decode(data, dialect, implied)
                writer.cancel()
        except* (StreamTerminatedError, ConnectionError):
            # The client went away; there is no one left to tell.
            pass
        except* GRPCError as failures:
            # grpclib answers UNKNOWN to a group, so the one status goes out bare.
            raise _first_of(failures) from None

    async def _write(
        self, grpc: GrpcStream[bytes, bytes], stream: Stream, awake: asyncio.Event
    ) -> None:
        write: Callable[..., bytes] = _WRITE[stream.session.dialect]
        while True:
            await awake.wait()
            awake.clear()
            while (response := self._hub.next(stream)) is not None:
                await grpc.send_message(write(response))


class _Service:
    """The RPC table in the shape that grpclib asks for."""

    def __init__(self, server: XdsServer) -> None:
        self._server = server

    def __mapping__(self) -> dict[str, Handler]:
        return {
            path: Handler(self._handler(*method), Cardinality.STREAM_STREAM, bytes, bytes)
            for path, method in _METHODS.items()
        }

    def _handler(self, dialect: Dialect, implied: TypeUrl | None) -> Callable[..., Any]:
        async def handle(grpc: GrpcStream[bytes, bytes]) -> None:
            await self._server.serve(grpc, dialect, implied)

        return handle


def _decode(
    data: bytes, dialect: Dialect, implied: TypeUrl | None
) -> tuple[Request, memoryview | None]:
    """Decode a request and fill in the type that the service implies (statement 1)."""
    request: Request
    try:
        request, node = read_sotw(data) if dialect is Dialect.SOTW else read_delta(data)
    except MalformedError as failure:
        raise GRPCError(Status.INVALID_ARGUMENT, f"malformed request: {failure}") from failure
    if implied is None:
        if not request.type_url:
            raise GRPCError(Status.INVALID_ARGUMENT, "a request on an ADS stream names no type_url")
        return request, node
    if request.type_url not in ("", implied):
        message = f"this service serves {implied}, not {request.type_url}"
        raise GRPCError(Status.INVALID_ARGUMENT, message)
    return replace(request, type_url=implied), node


def _address(grpc: GrpcStream[bytes, bytes]) -> str:
    peer = grpc.peer.addr() if grpc.peer is not None else None
    return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else str(peer or "unix")


def _first_of(group: BaseExceptionGroup[GRPCError]) -> BaseException:
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first
