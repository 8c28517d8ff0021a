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
from grpclib.server import Handler as Handlers
from grpclib.server import Server
from grpclib.server import Stream as GrpcStream

from aeraki_xds.xds.admission import Admit, Peer
from aeraki_xds.xds.hub import Hub
from aeraki_xds.xds.wire.bodies import Bodies
from aeraki_xds.xds.wire.connection import Connection
from aeraki_xds.xds.wire.conversation import Conversation
from aeraki_xds.xds.wire.counts import Counts, StreamRefusal
from aeraki_xds.xds.wire.drain import Drain
from aeraki_xds.xds.wire.exchange import Exchange
from aeraki_xds.xds.wire.gate import BACKLOG, Exit, Gate, Share, unix_socket
from aeraki_xds.xds.wire.limits import DEFAULT_LIMITS, Limits
from aeraki_xds.xds.wire.methods import METHODS
from aeraki_xds.xds.wire.outbox import Outbox
from aeraki_xds.xds.wire.quotas import Account, Quotas
from aeraki_xds.xds.wire.streams import End, Host

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
        self._streams = 0
        self._server = _Server(services, host=self, limits=limits, counts=self.counts)
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
        await self._until(lambda: not self._streams and self._is_written(), grace)
        for connection in self._server.connections:
            connection.close()
        await self._until(lambda: not self._server.connections, min(grace, _GRACE))
        for connection in self._server.connections:
            connection.abort()
        await self._until(lambda: not self._server.connections, _GRACE)

    async def _until(self, condition: Callable[[], bool], seconds: float) -> None:
        """Wait for something, but no longer than that."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not condition():
                    await asyncio.sleep(_STEP)

    def _is_written(self) -> bool:
        return all(connection.is_writable for connection in self._server.connections)

    def _remove_file(self) -> None:
        """Remove our socket from the file system, unless another server has put its own there."""
        if self._file is not None:
            path, inode = self._file
            with suppress(FileNotFoundError):
                if _inode(path) == inode:
                    path.unlink()

    def converse(
        self, path: str, *, peer: Callable[[], Peer], account: Account, outbox: Outbox, end: End
    ) -> Conversation:
        """Begin a discovery stream. Raises GRPCError."""
        if self._closing:
            raise GRPCError(Status.UNAVAILABLE, _CLOSING)
        if self._streams >= self._limits.streams:
            self.counts.streams_refused[StreamRefusal.STREAMS] += 1
            message = f"{self._limits.streams} streams are open: come back later"
            raise GRPCError(Status.RESOURCE_EXHAUSTED, message)
        if not self._hub.serving:
            raise GRPCError(Status.UNAVAILABLE, "the configuration is not synced yet")
        conversation = Conversation(
            exchange=self._exchange,
            method=METHODS[path],
            peer=peer(),
            account=account,
            outbox=outbox,
            end=end,
        )
        self._streams += 1
        conversation.wake()  # the client may wait for the headers of the answer before it asks
        return conversation

    def ended(self) -> None:
        """A discovery stream is gone."""
        self._streams -= 1


def _inode(path: Path) -> int:
    return path.stat().st_ino


class _Server(Server):
    """grpclib's server over our connections, which the gate makes."""

    def __init__(
        self, services: Sequence[IServable], *, host: Host, limits: Limits, counts: Counts
    ) -> None:
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
        self._host = host
        self._limits = limits
        self._quotas = Quotas(limits=limits, counts=counts)
        self._share = Share(loop=asyncio.get_running_loop())
        self._exit = Exit(loop=asyncio.get_running_loop())
        self._mapping = _Rpcs(self._mapping)

    def connection(self) -> Connection:
        """A new connection, for the gate. grpclib would keep its handlers until others come."""
        handlers = Handlers(
            self._mapping, self._codec, self._status_details_codec, self.__dispatch__
        )
        return Connection(
            handlers,
            self._config,
            self._h2_config,
            paths=METHODS,
            host=self._host,
            limits=self._limits,
            quotas=self._quotas,
            share=self._share,
            exit_by=self._exit,
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
