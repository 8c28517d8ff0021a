"""Discovery clients by the thousand on one event loop.

In: an address, and what each stream asks for. Out: rounds, each over when every stream was sent one
response more, and when that was. A client does as a proxy does: it asks, and ACKs what it is sent;
it may be told to hold its ACKs back, so that what sending and what hearing ACKs costs a server can
be told apart. Guaranteed: a stream or a connection that a server ends is an error, never silence.
"""

from __future__ import annotations

import asyncio
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
    """What one state-of-the-world stream asks for: its RPC, its type and its names."""

    path: str
    type_url: str
    names: tuple[str, ...]

    def subscription(self) -> bytes:
        """Fields 3 and 4 of every request of the stream."""
        names = (length_delimited(3, name.encode()) for name in self.names)
        return b"".join(names) + text(4, self.type_url)

    def opening(self, node_id: str, authority: str = "xds") -> bytes:
        """All that a client writes to open a connection and ask."""
        node = length_delimited(2, text(1, node_id))
        return (
            frames.greeting()
            + frames.call(1, self.path, authority)
            + frames.message(1, node + self.subscription())
        )


class Clients:
    """All streams, one to a connection. `last_delivery_ns` is of the monotonic clock, which is the
    same for every process of a machine.
    """

    def __init__(self, *, host: str, port: int) -> None:
        self.hold_acks = False
        self.last_delivery_ns = 0
        self.responses = 0
        self.bytes = 0
        self.address = (host, port)
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
                *(self._connect(ask, f"bench-{n}") for n, ask in enumerate(batch, start))
            )
        await self.delivered()

    async def _connect(self, ask: Ask, node_id: str) -> None:
        def connection() -> _Connection:
            return _Connection(self, ":".join(map(str, self.address)), ask, node_id)

        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(connection, *self.address)
        self._connections.append(made)

    def begin_round(self, *, expected: int | None = None) -> None:
        """From now on every stream owes one response."""
        self._outstanding = len(self._connections) if expected is None else expected
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

    def close(self) -> None:
        """Close every connection."""
        for connection in self._connections:
            connection.close()

    def took(self, size: int) -> None:
        """A stream was sent a whole response of `size` bytes."""
        self.responses += 1
        self.bytes += size
        self._outstanding -= 1
        if self._outstanding == 0:
            self.last_delivery_ns = monotonic_ns()
            self._round_over.set()

    def fail(self, message: str) -> None:
        """Something ended that should have gone on."""
        self._failure = self._failure or message
        self._round_over.set()


class _Connection(asyncio.Protocol):
    """A connection with one stream."""

    __slots__ = (
        "_ask", "_authority", "_clients", "_closing", "_held", "_node_id", "_partial", "_pieces",
        "_subscription", "_transport", "_unreturned",
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
        self._closing = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are of no such class
        self._transport.write(self._ask.opening(self._node_id, self._authority))

    def connection_lost(self, exc: Exception | None) -> None:
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
        for kind, flags, _, start, stop in frames.read(data):
            taken = stop
            if kind == frames.DATA:
                self._data(data[start:stop])
            elif kind == frames.SETTINGS and not flags & frames.ACK:
                self._write(frames.frame(frames.SETTINGS, frames.ACK, 0, b""))
            elif kind == frames.PING and not flags & frames.ACK:
                self._write(frames.frame(frames.PING, frames.ACK, 0, data[start:stop]))
            elif kind in (frames.RST_STREAM, frames.GOAWAY) or (
                kind == frames.HEADERS and flags & frames.END_STREAM
            ):
                self._clients.fail(f"{self._node_id}: the server ended the stream")
        self._partial = data[taken:]

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
        self._pieces = payload

    def _return(self, size: int) -> None:
        """Give the server its window back before it runs out."""
        self._unreturned += size
        if self._unreturned > frames.WINDOW // 2:
            size, self._unreturned = self._unreturned, 0
            self._write(frames.opened(0, size) + frames.opened(1, size))

    def _ack(self, response: bytes) -> None:
        version = nonce = b""
        for number, _, value in scan(response):
            if number == _VERSION:
                version = bytes(value)
            elif number == _NONCE:
                nonce = bytes(value)
        ack = frames.message(
            1,
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
