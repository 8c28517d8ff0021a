"""The gRPC server: discovery RPCs on grpclib, whose streams are conversations.

In: connections. Out: requests to the hub, responses when the hub wakes a stream. Guaranteed: a
stream that is not synced, not understood or not admitted ends with the status that says so, and
no other stream notices.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from grpclib._typing import IServable
from grpclib.config import Configuration
from grpclib.const import Cardinality, Handler, Status
from grpclib.encoding.base import CodecBase
from grpclib.exceptions import GRPCError
from grpclib.server import Handler as StreamHandler
from grpclib.server import Server
from grpclib.server import Stream as GrpcStream

from aeraki_xds.xds.admission import Admit
from aeraki_xds.xds.hub import Hub
from aeraki_xds.xds.wire.bodies import Bodies
from aeraki_xds.xds.wire.calls import caller_of
from aeraki_xds.xds.wire.connection import Connection, inbox_of, outbox_of
from aeraki_xds.xds.wire.conversation import Conversation, Exchange
from aeraki_xds.xds.wire.drain import Drain
from aeraki_xds.xds.wire.gate import BACKLOG, Gate, unix_socket
from aeraki_xds.xds.wire.limits import DEFAULT_LIMITS, Limits
from aeraki_xds.xds.wire.methods import METHODS, Method

_WINDOW: Final = 4 << 20
"""HTTP/2 receive windows in bytes: an Envoy's first request alone is 61 KB."""

_GRACE: Final = 1.0
"""Seconds for which a stream may take its last status: who does not read does not get it."""

_STEP: Final = 0.005
"""Seconds between two looks at whether the last connection is gone."""

_CLOSING: Final = "the server is shutting down"


class XdsServer:
    """Serves a hub. `start` binds, `close` ends every stream and waits for the handlers.
    `services` are served beside discovery: health, reflection, client status.
    """

    def __init__(
        self,
        *,
        hub: Hub,
        admit: Admit,
        limits: Limits = DEFAULT_LIMITS,
        services: Sequence[IServable] = (),
    ) -> None:
        self._hub = hub
        self._limits = limits
        self._exchange = Exchange(
            hub=hub,
            admit=admit,
            drain=Drain(loop=asyncio.get_running_loop()),
            bodies=Bodies(),
            limits=limits,
        )
        self._closing = False
        self._handlers: set[asyncio.Task[object]] = set()
        self._server = _Server([_Service(self), *services], limits=limits)
        self._listening: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None

    async def start(
        self, host: str, port: int, *, tls: ssl.SSLContext | None = None
    ) -> tuple[str, int]:
        """Bind and listen; port 0 picks one. Returns the real address. Raises OSError."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
        self._accept_on(listening, tls)
        name = listening.getsockname()
        return str(name[0]), int(name[1])

    async def start_unix(self, path: Path) -> None:
        """Bind and listen on a socket of the file system, for its owner alone; what an earlier
        server left there is replaced. Raises OSError.
        """
        self._accept_on(unix_socket(path), None)

    def _accept_on(self, listening: socket.socket, tls: ssl.SSLContext | None) -> None:
        listening.setblocking(False)
        gate = Gate(limits=self._limits, connection=self._server.connection)
        self._listening = listening
        self._accepting = asyncio.create_task(gate.accept(listening, tls), name="xds gate")

    @property
    def connections(self) -> int:
        """How many connections there are."""
        return len(self._server.connections)

    async def close(self) -> None:
        """Stop accepting, end every stream, and wait until the last handler is gone."""
        self._closing = True
        if self._accepting is not None and self._listening is not None:
            self._accepting.cancel()
            await asyncio.wait((self._accepting,))
            self._listening.close()
        for connection in self._server.connections:
            connection.retire(_CLOSING)
        if self._handlers:
            await asyncio.wait(tuple(self._handlers), timeout=_GRACE)
        for connection in self._server.connections:
            connection.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(_GRACE):
                while self._server.connections:
                    await asyncio.sleep(_STEP)
        for connection in self._server.connections:
            connection.abort()
        if self._handlers:
            await asyncio.wait(tuple(self._handlers), timeout=_GRACE)

    async def serve(self, grpc: GrpcStream[bytes, bytes], method: Method) -> None:
        """Handle one stream from its headers to its end."""
        if self._closing:
            raise GRPCError(Status.UNAVAILABLE, _CLOSING)
        if len(self._handlers) >= self._limits.streams:
            message = f"{self._limits.streams} streams are open: come back later"
            raise GRPCError(Status.RESOURCE_EXHAUSTED, message)
        handler = asyncio.current_task()
        assert handler is not None
        self._handlers.add(handler)
        try:
            await self._converse(grpc, method)
        finally:
            self._handlers.discard(handler)

    async def _converse(self, grpc: GrpcStream[bytes, bytes], method: Method) -> None:
        if not self._hub.serving:
            raise GRPCError(Status.UNAVAILABLE, "the configuration is not synced yet")
        await grpc.send_initial_metadata()
        outbox = outbox_of(grpc._stream)
        if outbox is None:
            return
        peer = caller_of(grpc)
        conversation = Conversation(
            exchange=self._exchange, method=method, peer=peer, outbox=outbox
        )
        try:
            inbox_of(grpc._stream).read_by(conversation)
            await conversation.finished()
        finally:
            conversation.close()


class _Server(Server):
    """grpclib's server over our connections, which the gate makes."""

    def __init__(self, services: Sequence[IServable], *, limits: Limits) -> None:
        config = Configuration(
            http2_connection_window_size=_WINDOW,
            http2_stream_window_size=_WINDOW,
            # grpclib's own never notice a peer that is gone while nothing is sent to it.
            _keepalive_time=limits.keepalive_time,
            _keepalive_timeout=limits.keepalive_timeout,
            _keepalive_permit_without_calls=True,
            _http2_max_pings_without_data=0,
            _http2_min_sent_ping_interval_without_data=limits.keepalive_time / 2,
        )
        super().__init__(services, codec=_Bytes(), config=config)
        self.connections: set[Connection] = set()
        self._limits = limits
        self._mapping = _Rpcs(self._mapping)

    def connection(self) -> Connection:
        """A new connection, for the gate."""
        self.__gc_step__()
        handler = StreamHandler(
            self._mapping, self._codec, self._status_details_codec, self.__dispatch__
        )
        self._handlers.add(handler)
        return Connection(
            handler,
            self._config,
            self._h2_config,
            paths=METHODS,
            limits=self._limits,
            connections=self.connections,
        )


class _Rpcs(dict[str, Handler]):
    """The RPC table, with an answer for what is not in it: grpclib's own has no content type, and
    clients take it for something that is not gRPC.
    """

    def get(self, path: str, default: Any = None) -> Handler:
        return super().get(path) or Handler(_not_served, Cardinality.STREAM_STREAM, bytes, bytes)


async def _not_served(grpc: GrpcStream[bytes, bytes]) -> None:
    raise GRPCError(Status.UNIMPLEMENTED, f"{grpc._method_name} is not served")


class _Bytes(CodecBase):
    """Messages stay bytes: envelopes are read and written by `wire.envelope`."""

    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:
        return bytes(message)

    def decode(self, data: bytes, message_type: Any) -> bytes:
        return data


class _Service:
    """The RPC table in the shape that grpclib asks for."""

    def __init__(self, server: XdsServer) -> None:
        self._server = server

    def __mapping__(self) -> dict[str, Handler]:
        return {
            path: Handler(self._handler(method), Cardinality.STREAM_STREAM, bytes, bytes)
            for path, method in METHODS.items()
        }

    def _handler(self, method: Method) -> Callable[..., Any]:
        async def handle(grpc: GrpcStream[bytes, bytes]) -> None:
            await self._server.serve(grpc, method)

        return handle
