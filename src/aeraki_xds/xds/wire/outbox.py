"""What one stream has still to write: at most one message, in frames past h2.

In: a message as a body that streams share and a tail of the stream's own. Out: DATA frames to the
transport. Guaranteed: no frame is larger than the windows and the client's frame size allow, and
none is written while the transport is above its high-water mark; the shared body is never copied
for more than the frame that carries it.
"""

from __future__ import annotations

from asyncio import Event, Transport
from typing import Final

from h2.stream import H2Stream

from aeraki_xds.xds.wire.windows import Windows

_JOINED: Final = 4096
"""Bytes up to which copying a body into its frame is cheaper than a second write."""


class Outbox:
    """Written to only while empty. `writable` is set while the transport takes more."""

    __slots__ = ("_at", "_body", "_stream", "_tail", "_transport", "_windows", "_writable")

    def __init__(
        self, *, windows: Windows, stream: H2Stream, transport: Transport, writable: Event
    ) -> None:
        self._windows = windows
        self._stream = stream
        self._transport = transport
        self._writable = writable
        self._body = b""
        self._tail = b""
        self._at = 0

    def begin(self) -> None:
        """Write the headers of the answer."""
        self._transport.write(self._windows.answer(self._stream))

    @property
    def position(self) -> int:
        """Bytes of the waiting message that were written."""
        return self._at

    def abandon(self) -> None:
        """Give the client up. Where even the transport is full, no status would get through, and
        no other stream of the connection gets anything either: then the connection goes.
        """
        if not self._writable.is_set():
            self._transport.abort()

    @property
    def empty(self) -> bool:
        """Whether all that was put in has been written."""
        return not self._tail

    def put(self, body: bytes, tail: bytes) -> bool:
        """Write a message as far as may be: whether it went out whole. `tail` is not empty."""
        size = len(body) + len(tail)
        if size <= _JOINED and self._writable.is_set():
            header = self._windows.claim(self._stream, size)
            if header is not None:
                self._transport.write(b"".join((header, body, tail)))
                return True
        self._body, self._tail, self._at = body, tail, 0
        return self.flush()

    def flush(self) -> bool:
        """Write on: whether everything went out."""
        body, tail = self._body, self._tail
        split, end = len(body), len(body) + len(tail)
        while self._at < end:
            room = self._windows.room(self._stream) if self._writable.is_set() else 0
            if room <= 0:
                return False
            start, stop = self._at, min(self._at + room, end)
            header = self._windows.send(self._stream, stop - start)
            shared = memoryview(body)[start : min(stop, split)]
            own = tail[max(start - split, 0) : max(stop - split, 0)]
            self._transport.writelines((header, shared, own))
            self._at = stop
        self._body = self._tail = b""
        return True
