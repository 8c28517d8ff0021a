"""gRPC messages of one stream, put together from DATA payloads.

In: payloads, split anywhere, from h2 or past it. Out: whole messages to whoever took the inbox.
Guaranteed: the messages do not depend on how the bytes were split; what was received is given back
to the client's window at once, for a message is consumed when it is complete, and until then it is
on the client's account. It stands in for the buffer of grpclib's streams, whose reader is a
coroutine: two task switches for each message.
Source: gRPC over HTTP/2, "Length-Prefixed-Message".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from grpclib.const import Status
from grpclib.exceptions import GRPCError

from aeraki_xds.xds.wire.quotas import Account, Taken

PREFIX_SIZE: Final = 5

LARGEST_MESSAGE: Final = 32 << 20
"""Bytes of a request: the first delta request of a large Envoy has passed gRPC's default of 4 MiB
(envoyproxy/envoy#36169)."""


class Reader(Protocol):
    """Who takes the messages of a stream."""

    def receive(self, message: bytes) -> None:
        """Take the next message."""

    def finish(self, failure: GRPCError | None) -> None:
        """The client has said all it had to, or what it says cannot be read on."""

    def resume(self) -> None:
        """The client may be written to again, or more."""


class Inbox:
    """One stream's buffer. What comes before it has a reader waits. `give_back` opens the client's
    window again; `account` is that of the client.
    """

    __slots__ = (
        "_failure", "_give_back", "_held", "_over", "_pieces", "_reader", "_waiting", "account",
    )  # fmt: skip

    def __init__(self, give_back: Callable[[int], None], *, account: Account) -> None:
        self.account: Final = account
        self._held = 0
        self._give_back = give_back
        self._reader: Reader | None = None
        self._waiting: list[bytes] = []
        self._pieces: bytearray | None = None
        self._over = False
        self._failure: GRPCError | None = None

    def read_by(self, reader: Reader) -> None:
        """Hand over what has come and whatever will."""
        self._reader = reader
        waiting, self._waiting = self._waiting, []
        for message in waiting:
            self._let_go(len(message))
            reader.receive(message)
        if self._over:
            reader.finish(self._failure)

    def feed(self, payload: bytes) -> None:
        """Take the payload of a DATA frame whose bytes are counted already."""
        if self._over:
            return
        if self._pieces is None:
            if _is_message(payload):
                self._deliver(payload[PREFIX_SIZE:])
                return
            self._pieces = bytearray()
        if not self._hold(len(payload)):
            return
        self._pieces += payload
        while not self._over and self._pieces and self._take():
            pass
        if not self._pieces:
            self._pieces = None

    def dismiss(self, reason: str) -> None:
        """The connection is to be closed: the client is to connect anew."""
        self.refuse(GRPCError(Status.UNAVAILABLE, reason))

    def refuse(self, failure: GRPCError) -> None:
        """End the stream, unless it is over."""
        if not self._over:
            self._end(failure)

    def close(self) -> None:
        """Forget what has come: nobody will read it. To be called once the stream is gone."""
        self._over = True
        self._pieces = None
        self._waiting.clear()
        self._let_go(self._held)

    def resume(self) -> None:
        """Windows or the transport have opened."""
        if self._reader is not None:
            self._reader.resume()

    def _take(self) -> bool:
        """Take a message off the pieces, if there is a whole one."""
        pieces = self._pieces
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
            self._deliver(message)
            return True
        return False

    def _deliver(self, message: bytes) -> None:
        if self._reader is not None:
            self._reader.receive(message)
        elif self._hold(len(message)):
            self._waiting.append(message)

    def _finish(self, status: Status, message: str) -> None:
        self._end(GRPCError(status, message))

    def _end(self, failure: GRPCError | None) -> None:
        self._over = True
        self._failure = failure
        if self._pieces is not None:
            self._let_go(len(self._pieces))
            self._pieces = None
        if self._reader is not None:
            self._reader.finish(failure)

    def _hold(self, size: int) -> bool:
        """Take so many bytes from the account; where it has no more, the stream ends."""
        try:
            self.account.take(Taken.BYTES, size)
        except GRPCError as failure:
            self._end(failure)
            return False
        self._held += size
        return True

    def _let_go(self, size: int) -> None:
        if size:
            self._held -= size
            self.account.give_back(Taken.BYTES, size)

    # --- what grpclib asks of a buffer ----------------------------------------------------------

    def add(self, data: bytes, ack_size: int) -> None:
        """Take the payload of a DATA frame that h2 has parsed; `ack_size` counts its padding."""
        self._give_back(ack_size)
        self.feed(bytes(data))

    def eof(self) -> None:
        """The client has ended its side."""
        if self._over:
            return
        if self._pieces:
            self._finish(Status.INVALID_ARGUMENT, "the last request is cut off")
        else:
            self._end(None)

    def unacked_size(self) -> int:
        """Nothing is held back."""
        return 0


def _is_message(payload: bytes) -> bool:
    """Whether it is one whole uncompressed message; a frame is never too large for one."""
    size = len(payload) - PREFIX_SIZE
    return size >= 0 and payload[:PREFIX_SIZE] == size.to_bytes(PREFIX_SIZE, "big")
