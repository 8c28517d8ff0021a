"""Discovery clients by the thousand on one event loop.

In: an address, and what each stream asks for. Out: rounds, each over when every stream was sent one
response more, and when that was. A client does as a proxy does: it asks, and ACKs what it is sent;
it may be told to hold its ACKs back, so that what sending and what hearing ACKs costs a server can
be told apart. Guaranteed: a stream or a connection that a server ends is an error, never silence;
of patient clients, a stream that ends is asked for again.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic_ns
from typing import Final, cast

from aeraki_xds.bench import frames
from aeraki_xds.xds.field import length_delimited, scan, text

_VERSION: Final = 1
_NONCE: Final = 5
_PREFIX: Final = 5


class LostError(ConnectionError):
    """The server ended a stream or a connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What one state-of-the-world stream asks for: its RPC, its type and its names; `node_id` is
    who asks, one of ours if that is not said.
    """

    path: str
    type_url: str
    names: tuple[str, ...]
    node_id: str = ""

    def subscription(self) -> bytes:
        """Fields 3 and 4 of every request of the stream."""
        names = (length_delimited(3, name.encode()) for name in self.names)
        return b"".join(names) + text(4, self.type_url)

    def opening(self, node_id: str, authority: str = "xds") -> bytes:
        """All that a client writes to open a connection and ask."""
        return frames.greeting() + self.asking(1, node_id, authority)

    def asking(self, stream_id: int, node_id: str, authority: str = "xds") -> bytes:
        """A stream and its first request."""
        node = length_delimited(2, text(1, node_id))
        return frames.call(stream_id, self.path, authority) + frames.message(
            stream_id, node + self.subscription()
        )


class Clients:
    """All streams, one to a connection. `deliveries_ns` are the moments at which streams were sent
    their responses of this round, of the monotonic clock, which is the same for every process of a
    machine. With `tls` the connections are encrypted. With `retry` a stream that the server ends is
    asked for again after so many seconds, on its connection; `refused` counts them.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        tls: ssl.SSLContext | None = None,
        retry: float | None = None,
    ) -> None:
        self.hold_acks = False
        self.deliveries_ns: list[int] = []
        self.responses = 0
        self.refused = 0
        self.bytes = 0
        self.address = (host, port)
        self.retry = retry
        self.leaving = False
        self._tls = tls
        self._connections: list[_Connection] = []
        self._outstanding = 0
        self._round_over = asyncio.Event()
        self._failure: str | None = None

    async def connect(self, asks: Sequence[Ask], *, at_once: int = 100) -> None:
        """Open a connection for each, `at_once` of them at a time, and wait for their first
        responses. Raises OSError.
        """
        self.begin_round(expected=len(asks))
        for start in range(0, len(asks), at_once):
            batch = asks[start : start + at_once]
            await asyncio.gather(
                *(
                    self._connect(ask, ask.node_id or f"bench-{n}")
                    for n, ask in enumerate(batch, start)
                )
            )
        await self.delivered()

    async def _connect(self, ask: Ask, node_id: str) -> None:
        def connection() -> _Connection:
            return _Connection(self, ":".join(map(str, self.address)), ask, node_id)

        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(connection, *self.address, ssl=self._tls)
        self._connections.append(made)

    def begin_round(self, *, expected: int | None = None) -> None:
        """From now on every stream owes one response."""
        self._outstanding = len(self._connections) if expected is None else expected
        self.deliveries_ns = []
        self._round_over.clear()

    async def delivered(self) -> None:
        """Wait until each stream was sent its response of this round. Raises LostError."""
        await self._round_over.wait()
        if self._failure is not None:
            raise LostError(self._failure)

    def release_acks(self) -> None:
        """Send every ACK that was held back."""
        for connection in self._connections:
            connection.release()

    def leave(self) -> None:
        """Whoever was served leaves, and from now on everybody does as soon as he is."""
        self.leaving = True
        for connection in self._connections:
            if connection.served:
                connection.close()

    def close(self) -> None:
        """Close every connection."""
        for connection in self._connections:
            connection.close()

    def took(self, size: int) -> None:
        """A stream was sent a whole response of `size` bytes."""
        self.responses += 1
        self.bytes += size
        self.deliveries_ns.append(monotonic_ns())
        self._outstanding -= 1
        if self._outstanding == 0:
            self._round_over.set()

    def fail(self, message: str) -> None:
        """Something ended that should have gone on."""
        self._failure = self._failure or message
        self._round_over.set()


class _Connection(asyncio.Protocol):
    """A connection with one stream at a time."""

    __slots__ = (
        "_ask", "_authority", "_clients", "_closing", "_ended", "_held", "_node_id", "_partial",
        "_pieces", "_stream_id", "_subscription", "_transport", "_unreturned", "served",
    )  # fmt: skip

    def __init__(self, clients: Clients, authority: str, ask: Ask, node_id: str) -> None:
        self._clients = clients
        self._authority = authority
        self._ask = ask
        self._node_id = node_id
        self._subscription = ask.subscription()
        self._partial = b""
        self._pieces = b""
        self._held = b""
        self._unreturned = 0
        self.served = False
        self._stream_id = 1
        self._ended = False
        self._closing = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are of no such class
        self._transport.write(self._ask.opening(self._node_id, self._authority))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self._closing:
            self._clients.fail(f"{self._node_id}: the server closed the connection: {exc}")

    def close(self) -> None:
        self._closing = True
        if self._transport is not None:
            self._transport.close()

    def release(self) -> None:
        held, self._held = self._held, b""
        if held:
            self._write(held)

    def data_received(self, data: bytes) -> None:
        if self._partial:
            data = self._partial + data
        taken = 0
        for kind, flags, stream_id, start, stop in frames.read(data):
            taken = stop
            if kind == frames.DATA:
                self._data(data[start:stop])
            elif kind == frames.SETTINGS and not flags & frames.ACK:
                self._write(frames.frame(frames.SETTINGS, frames.ACK, 0, b""))
            elif kind == frames.PING and not flags & frames.ACK:
                self._write(frames.frame(frames.PING, frames.ACK, 0, data[start:stop]))
            elif kind == frames.GOAWAY:
                self._clients.fail(f"{self._node_id}: the server ends the connection")
            elif stream_id == self._stream_id and (
                kind == frames.RST_STREAM or (kind == frames.HEADERS and flags & frames.END_STREAM)
            ):
                self._end_stream()
        self._partial = data[taken:]

    def _end_stream(self) -> None:
        """The server ended it: by trailers, a reset, or one after the other."""
        if self._ended:
            return
        self._ended = True
        self._clients.refused += 1
        if self._clients.retry is None:
            self._clients.fail(f"{self._node_id}: the server ended the stream")
        else:
            asyncio.get_running_loop().call_later(self._clients.retry, self._ask_again)

    def _ask_again(self) -> None:
        if not self._closing:
            self._stream_id += 2
            self._ended = False
            self._pieces = self._held = b""
            self._write(self._ask.asking(self._stream_id, self._node_id, self._authority))

    def _data(self, payload: bytes) -> None:
        self._return(len(payload))
        payload = self._pieces + payload if self._pieces else payload
        while len(payload) >= _PREFIX:
            stop = int.from_bytes(payload[1:_PREFIX], "big") + _PREFIX
            if len(payload) < stop:
                break
            self._clients.took(stop)
            self._ack(payload[_PREFIX:stop])
            payload = payload[stop:]
            self.served = True
            if self._clients.leaving:
                self.close()
        self._pieces = payload

    def _return(self, size: int) -> None:
        """Give the server its window back before it runs out."""
        self._unreturned += size
        if self._unreturned > frames.WINDOW // 2:
            size, self._unreturned = self._unreturned, 0
            self._write(frames.opened(0, size) + frames.opened(self._stream_id, size))

    def _ack(self, response: bytes) -> None:
        version = nonce = b""
        for number, _, value in scan(response):
            if number == _VERSION:
                version = bytes(value)
            elif number == _NONCE:
                nonce = bytes(value)
        ack = frames.message(
            self._stream_id,
            length_delimited(_VERSION, version)
            + self._subscription
            + length_delimited(_NONCE, nonce),
        )
        if self._clients.hold_acks:
            self._held += ack
        else:
            self._write(ack)

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)
