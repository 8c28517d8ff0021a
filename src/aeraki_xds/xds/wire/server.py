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
from grpclib.protocol import Stream as HttpStream
from grpclib.server import Handler as StreamHandler
from grpclib.server import Server
from grpclib.server import Stream as GrpcStream

from aeraki_xds.xds.admission import Admit
from aeraki_xds.xds.hub import Hub
from aeraki_xds.xds.wire.bodies import Bodies
from aeraki_xds.xds.wire.calls import caller_of
from aeraki_xds.xds.wire.connection import Connection, Handlers, inbox_of, outbox_of
from aeraki_xds.xds.wire.conversation import Conversation
from aeraki_xds.xds.wire.counts import Counts, StreamRefusal
from aeraki_xds.xds.wire.drain import Drain
from aeraki_xds.xds.wire.exchange import Exchange
from aeraki_xds.xds.wire.gate import BACKLOG, Exit, Gate, Share, unix_socket
from aeraki_xds.xds.wire.limits import DEFAULT_LIMITS, Limits
from aeraki_xds.xds.wire.methods import METHODS, Method
from aeraki_xds.xds.wire.quotas import Quotas

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
        self.counts: Final = Counts()
        self._exchange = Exchange(
            hub=hub,
            admit=admit,
            drain=Drain(loop=asyncio.get_running_loop(), counts=self.counts),
            bodies=Bodies(),
            limits=limits,
            counts=self.counts,
        )
        self._closing = False
        self._handlers: set[asyncio.Task[object]] = set()
        self._server = _Server([_Service(self), *services], limits=limits, counts=self.counts)
        self._listening: socket.socket | None = None
        self._file: tuple[Path, int] | None = None
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

    async def start_unix(self, path: Path, *, tls: ssl.SSLContext | None = None) -> None:
        """Bind and listen on a socket of the file system, for its owner alone; what an earlier
        server left there is replaced. Raises OSError.
        """
        self._accept_on(unix_socket(path), tls)
        self._file = (path, _inode(path))

    def _accept_on(self, listening: socket.socket, tls: ssl.SSLContext | None) -> None:
        listening.setblocking(False)
        gate = Gate(limits=self._limits, counts=self.counts, connection=self._server.connection)
        self._listening = listening
        self._accepting = asyncio.create_task(gate.accept(listening, tls), name="xds gate")

    @property
    def connections(self) -> int:
        """How many connections there are."""
        return len(self._server.connections)

    @property
    def responses_encoded(self) -> int:
        """How many responses were encoded so far, of those that streams do not share."""
        return self._exchange.bodies.encoded

    async def close(self, *, grace: float = _GRACE) -> None:
        """Stop accepting, end every stream, and wait until the last handler is gone. Who does not
        read is waited for `grace` seconds; then its connection goes without a status.
        """
        self._closing = True
        if self._accepting is not None and self._listening is not None:
            self._accepting.cancel()
            await asyncio.wait((self._accepting,))
            self._listening.close()
            self._remove_file()
        for connection in self._server.connections:
            connection.retire(_CLOSING)
        if self._handlers:
            await asyncio.wait(tuple(self._handlers), timeout=grace)
        for connection in self._server.connections:
            connection.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(min(grace, _GRACE)):
                while self._server.connections:
                    await asyncio.sleep(_STEP)
        for connection in self._server.connections:
            connection.abort()
        if self._handlers:
            await asyncio.wait(tuple(self._handlers), timeout=_GRACE)

    def _remove_file(self) -> None:
        """Remove our socket from the file system, unless another server has put its own there."""
        if self._file is not None:
            path, inode = self._file
            with suppress(FileNotFoundError):
                if _inode(path) == inode:
                    path.unlink()

    async def serve(self, grpc: GrpcStream[bytes, bytes], method: Method) -> None:
        """Handle one stream from its headers to its end."""
        if self._closing:
            raise GRPCError(Status.UNAVAILABLE, _CLOSING)
        if len(self._handlers) >= self._limits.streams:
            self.counts.streams_refused[StreamRefusal.STREAMS] += 1
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
        inbox = inbox_of(grpc._stream)
        conversation = Conversation(
            exchange=self._exchange,
            method=method,
            peer=caller_of(grpc),
            account=inbox.account,
            outbox=outbox,
        )
        try:
            inbox.read_by(conversation)
            await conversation.finished()
        finally:
            conversation.close()


def _inode(path: Path) -> int:
    return path.stat().st_ino


class _Server(Server):
    """grpclib's server over our connections, which the gate makes."""

    def __init__(self, services: Sequence[IServable], *, limits: Limits, counts: Counts) -> None:
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
        # grpclib asks for less, and looks headers up that may be missing; and bytes of a value that
        # are not ASCII (RFC 9113, section 8.2.1) are no reason to fail.
        self._h2_config.validate_inbound_headers = True
        self._h2_config.header_encoding = "latin-1"
        self.connections: set[Connection] = set()
        self._limits = limits
        self._quotas = Quotas(limits=limits, counts=counts)
        self._share = Share(loop=asyncio.get_running_loop())
        self._exit = Exit(loop=asyncio.get_running_loop())
        self._mapping = _Rpcs(self._mapping)

    def connection(self) -> Connection:
        """A new connection, for the gate. grpclib would keep its handlers until others come."""
        handlers = _Handlers(
            self._mapping, self._codec, self._status_details_codec, self.__dispatch__
        )
        return Connection(
            handlers,
            self._config,
            self._h2_config,
            paths=METHODS,
            limits=self._limits,
            quotas=self._quotas,
            share=self._share,
            exit_by=self._exit,
            connections=self.connections,
        )


class _Handlers(StreamHandler, Handlers):
    """grpclib's tasks."""

    def when_done(self, stream: HttpStream, then: Callable[[], None]) -> None:
        # Said by the task itself: one that is cancelled before its first step runs no `finally`.
        self._tasks[stream].add_done_callback(lambda _task: then())


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
