"""One connection of a discovery client, with any number of streams, in frames by hand.

In: bytes of the transport. Out: requests and ACKs; what came is told to whom the connection belongs
to. Guaranteed: flow control is kept in both directions (RFC 9113, section 5.2), for a server may
close a connection that does not; what a response costs here is a small part of what it costs any
server, for the common case, one frame with one message, is looked at once and copied once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from time import monotonic_ns
from typing import Final, Protocol, cast

from aeraki_xds.bench import frames
from aeraki_xds.bench.ask import Ask
from aeraki_xds.xds.field import read_varint, scan, varint

_PREFIX: Final = 5
_HEADS: Final = frames.HEAD_SIZE + _PREFIX
_VERSION: Final = 1
_NONCE: Final = 5


class Owner(Protocol):
    """Whose connections they are."""

    address: tuple[str, int]
    bytes_received: int
    hold_acks: bool
    leaving: bool
    last_ack_ns: int
    refused: int
    retry: float | None

    def took(self, response: bytes) -> None:
        """A stream was sent a whole response, with its prefix."""

    def fail(self, message: str) -> None:
        """Something ended that should have gone on."""


class Connection(asyncio.Protocol):
    """A connection whose client is `node_id`, with a stream for each ask. If it does not read, it
    asks and never hears.
    """

    __slots__ = (
        "_asks", "_authority", "_closing", "_next_id", "_node_id", "_owner", "_partial", "_queue",
        "_reads", "_room", "_streams", "_transport", "_unreturned", "_window", "served",
    )  # fmt: skip

    def __init__(
        self, owner: Owner, asks: Sequence[Ask], node_id: str, *, reads: bool = True
    ) -> None:
        self.served = False
        self._owner = owner
        self._asks = asks
        self._authority = ":".join(map(str, owner.address))
        self._node_id = node_id
        self._reads = reads
        self._closing = False
        self._partial = b""
        self._transport: asyncio.Transport | None = None
        self._streams: dict[int, _Stream] = {}
        self._next_id = 1
        self._unreturned = 0
        self._room = self._window = frames.FIRST_WINDOW
        self._queue: deque[tuple[_Stream, bytes]] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are of no such class
        self._transport.write(frames.greeting())
        for ask in self._asks:
            self._open(_Stream(self, ask))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self._closing:
            self._owner.fail(f"{self._node_id}: the server closed the connection: {exc}")

    def close(self) -> None:
        """Close it."""
        self._closing = True
        if self._transport is not None:
            self._transport.close()

    def release(self) -> None:
        """Send the ACKs that were held back."""
        for stream in self._streams.values():
            held, stream.held = stream.held, []
            for ack in held:
                self.send(stream, ack)

    # --- out ------------------------------------------------------------------------------------

    def _open(self, stream: _Stream) -> None:
        stream.begin(self._next_id, self._window)
        self._streams[self._next_id] = stream
        self._next_id += 2
        self._write(frames.call(stream.id, stream.ask.path, self._authority))
        self.send(stream, frames.prefixed(stream.ask.first(self._node_id)))

    def send(self, stream: _Stream, message: bytes) -> None:
        """Send a message with its prefix, when the server's windows are open to it."""
        size = len(message)
        if size <= frames.LARGEST and not self._queue and size <= min(self._room, stream.room):
            self._room -= size
            stream.room -= size
            self._write(frames.frame(frames.DATA, 0, stream.id, message))
            return
        self._queue.append((stream, message))
        self._send_on()

    def _send_on(self) -> None:
        """Send what waits, as far as may be; whoever came first goes first."""
        while self._queue:
            stream, message = self._queue[0]
            room = min(self._room, stream.room, frames.LARGEST)
            if room <= 0:
                return
            piece, rest = message[:room], message[room:]
            self._room -= len(piece)
            stream.room -= len(piece)
            self._write(frames.frame(frames.DATA, 0, stream.id, piece))
            if rest:
                self._queue[0] = stream, rest
            else:
                self._queue.popleft()

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    # --- in -------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if not self._reads:
            if self._transport is not None:  # earlier, uvloop would not heed it
                self._transport.pause_reading()
            return
        self._owner.bytes_received += len(data)
        if self._partial:
            data = self._partial + data
        taken = 0
        for kind, flags, stream_id, start, stop in frames.read(data):
            taken = stop
            if kind == frames.DATA:
                self._return(stop - start)
                stream = self._streams.get(stream_id)
                if stream is not None:
                    stream.take(data[start:stop])
            else:
                self._control(kind, flags, stream_id, data[start:stop])
        self._partial = data[taken:]

    def _control(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        stream = self._streams.get(stream_id)
        if kind == frames.SETTINGS:
            if not flags & frames.ACK:
                self._set(payload)
        elif kind == frames.PING:
            if not flags & frames.ACK:
                self._write(frames.frame(frames.PING, frames.ACK, 0, payload))
        elif kind == frames.WINDOW_UPDATE:
            size = int.from_bytes(payload, "big")
            if stream_id == 0:
                self._room += size
            elif stream is not None:
                stream.room += size
            self._send_on()
        elif kind == frames.GOAWAY:
            self._owner.fail(f"{self._node_id}: the server ends the connection")
        elif stream is not None and (
            kind == frames.RST_STREAM or (kind == frames.HEADERS and flags & frames.END_STREAM)
        ):
            del self._streams[stream_id]  # after trailers a reset may come
            reset = kind == frames.RST_STREAM
            self._ended(stream, f"reset {int.from_bytes(payload, 'big')}" if reset else "a status")

    def _set(self, payload: bytes) -> None:
        window = frames.initial_window(payload)
        if window is not None:
            for stream in self._streams.values():
                stream.room += window - self._window
            self._window = window
        self._write(frames.frame(frames.SETTINGS, frames.ACK, 0, b""))
        self._send_on()

    def _ended(self, stream: _Stream, how: str) -> None:
        self._owner.refused += 1
        if self._owner.retry is None:
            self._owner.fail(f"{self._node_id}: the server ended the stream with {how}")
        else:
            asyncio.get_running_loop().call_later(self._owner.retry, self._ask_again, stream)

    def _ask_again(self, stream: _Stream) -> None:
        if not self._closing:
            self._queue = deque(each for each in self._queue if each[0] is not stream)
            self._open(stream)

    def _return(self, size: int) -> None:
        """Give the server the connection's window back before it runs out."""
        self._unreturned += size
        if self._unreturned > frames.WINDOW // 2:
            size, self._unreturned = self._unreturned, 0
            self._write(frames.opened(0, size))

    def answer(self, stream: _Stream, response: bytes) -> None:
        """ACK a response, unless that is to wait."""
        owner = self._owner
        owner.took(response)
        self.served = True
        ack = stream.ack_of(response)
        if owner.hold_acks:
            stream.held.append(ack)
        else:
            self.send(stream, ack)
            owner.last_ack_ns = monotonic_ns()
        if owner.leaving:
            self.close()

    def give_back(self, stream: _Stream, size: int) -> None:
        """Open a stream's window again."""
        self._write(frames.opened(stream.id, size))


class _Stream:
    """One stream, in as many lives as it has to be asked for."""

    __slots__ = ("_before_nonce", "_before_version", "_connection", "_pieces", "_unreturned", "ask",
                 "held", "id", "room")  # fmt: skip

    def __init__(self, connection: Connection, ask: Ask) -> None:
        self._connection = connection
        self.ask = ask
        self._before_version, self._before_nonce = ask.ack()
        self.begin(0, 0)

    def begin(self, stream_id: int, window: int) -> None:
        """A new life, with this id and this window of the server's."""
        self.id = stream_id
        self.room = window
        self.held: list[bytes] = []
        self._pieces = b""
        self._unreturned = 0

    def take(self, payload: bytes) -> None:
        """Take a payload of DATA: each message in it is answered."""
        self._unreturned += len(payload)
        if self._unreturned > frames.WINDOW // 2:
            size, self._unreturned = self._unreturned, 0
            self._connection.give_back(self, size)
        if self._pieces:
            payload = self._pieces + payload
        end = len(payload)
        while end >= _PREFIX:
            size = int.from_bytes(payload[1:_PREFIX], "big") + _PREFIX
            if end < size:
                break
            self._connection.answer(self, payload[:size])
            payload = payload[size:]
            end -= size
        self._pieces = payload

    def ack_of(self, response: bytes) -> bytes:
        """The message that accepts a response, with its prefix."""
        version, nonce = version_and_nonce(response)
        body = b"".join(
            (
                self._before_version and self._before_version + varint(len(version)) + version,
                self._before_nonce,
                varint(len(nonce)),
                nonce,
            )
        )
        return frames.prefixed(body)


def version_and_nonce(response: bytes) -> tuple[bytes, bytes]:
    """Fields 1 and 5 of a response with its prefix, in either dialect."""
    version = nonce = b""
    at, end = _PREFIX, len(response)
    while at + 1 < end:
        tag, size, start = response[at], response[at + 1], at + 2
        if tag & 0x87 != 2:
            break  # no string and no message, or a tag of two bytes
        if size >= 0x80:
            size, start = read_varint(response, at + 1)
        at = start + size
        if tag == _VERSION << 3 | 2:
            version = response[start:at]
        elif tag == _NONCE << 3 | 2:
            nonce = response[start:at]
    else:
        return version, nonce
    for number, _, value in scan(memoryview(response)[at:]):
        if number == _VERSION:
            version = bytes(value)
        elif number == _NONCE:
            nonce = bytes(value)
    return version, nonce
