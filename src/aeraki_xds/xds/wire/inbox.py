"""gRPC messages of one stream, put together from DATA payloads.

In: payloads, split anywhere, from h2 or past it. Out: whole messages to the reader of the stream.
Guaranteed: the messages do not depend on how the bytes were split; what has come of a message that
is not complete is on the client's account, for the window was given back.
Source: gRPC over HTTP/2, "Length-Prefixed-Message".
"""

from __future__ import annotations

from typing import Final, Protocol

from grpclib.const import Status
from grpclib.exceptions import GRPCError

from aeraki_xds.xds.wire.expected import Hearer, Line
from aeraki_xds.xds.wire.quotas import Account, Taken

PREFIX_SIZE: Final = 5

LARGEST_MESSAGE: Final = 32 << 20
"""Bytes of a request: the first delta request of a large Envoy has passed gRPC's default of 4 MiB
(envoyproxy/envoy#36169)."""


class Reader(Hearer, Protocol):
    """Who takes the messages of a stream."""

    def listen(self, line: Line | None) -> None:
        """Answers may be expected there, before anything is received."""

    def receive(self, message: bytes) -> None:
        """Take the next message."""

    def finish(self, failure: GRPCError | None) -> None:
        """The client has said all it had to, or what it says cannot be read on."""

    def resume(self) -> None:
        """The client may be written to again, or more."""

    def close(self) -> None:
        """The stream is gone."""


class Inbox:
    """One stream's. `account` is that of the client, `pieces` are of a message not yet whole."""

    __slots__ = ("_account", "_held", "_over", "_reader", "pieces")

    def __init__(self, reader: Reader, *, account: Account) -> None:
        self._account = account
        self._reader = reader
        self._held = 0
        self.pieces: bytearray | None = None
        self._over = False

    def feed(self, payload: bytes) -> None:
        """Take the payload of a DATA frame whose bytes are counted already."""
        if self._over:
            return
        if self.pieces is None:
            if _is_message(payload):
                self._reader.receive(payload[PREFIX_SIZE:])
                return
            self.pieces = bytearray()
        if not self._hold(len(payload)):
            return
        self.pieces += payload
        while not self._over and self.pieces and self._take():
            pass
        if not self.pieces:
            self.pieces = None

    def refuse(self, failure: GRPCError) -> None:
        """End the stream, unless it is over."""
        if not self._over:
            self._end(failure)

    def close(self) -> None:
        """The stream is gone, and what has come of a message with it."""
        self._over = True
        self._drop()
        self._reader.close()

    def resume(self) -> None:
        """Windows or the transport have opened."""
        self._reader.resume()

    def eof(self) -> None:
        """The client has ended its side."""
        if self._over:
            return
        if self.pieces:
            self._finish(Status.INVALID_ARGUMENT, "the last request is cut off")
        else:
            self._end(None)

    def _take(self) -> bool:
        """Take a message off the pieces, if there is a whole one."""
        pieces = self.pieces
        if pieces is None or len(pieces) < PREFIX_SIZE:
            return False
        size = int.from_bytes(pieces[1:PREFIX_SIZE], "big")
        if pieces[0]:
            self._finish(Status.UNIMPLEMENTED, "compressed messages are not supported")
        elif size > LARGEST_MESSAGE:
            self._finish(
                Status.RESOURCE_EXHAUSTED,
                f"a request of {size} bytes: {LARGEST_MESSAGE} is the most",
            )
        elif len(pieces) >= PREFIX_SIZE + size:
            message = bytes(memoryview(pieces)[PREFIX_SIZE : PREFIX_SIZE + size])
            del pieces[: PREFIX_SIZE + size]
            self._let_go(PREFIX_SIZE + size)
            self._reader.receive(message)
            return True
        return False

    def _finish(self, status: Status, message: str) -> None:
        self._end(GRPCError(status, message))

    def _end(self, failure: GRPCError | None) -> None:
        self._over = True
        self._drop()
        self._reader.finish(failure)

    def _drop(self) -> None:
        self.pieces = None
        self._let_go(self._held)

    def _hold(self, size: int) -> bool:
        """Take so many bytes from the account; where it has no more, the stream ends."""
        try:
            self._account.take(Taken.BYTES, size)
        except GRPCError as failure:
            self._end(failure)
            return False
        self._held += size
        return True

    def _let_go(self, size: int) -> None:
        if size:
            self._held -= size
            self._account.give_back(Taken.BYTES, size)


def _is_message(payload: bytes) -> bool:
    """Whether it is one whole uncompressed message; a frame is never too large for one."""
    size = len(payload) - PREFIX_SIZE
    return size >= 0 and payload[:PREFIX_SIZE] == size.to_bytes(PREFIX_SIZE, "big")
