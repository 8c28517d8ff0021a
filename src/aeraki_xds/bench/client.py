"""Discovery clients by the thousand on one event loop.

In: an address, and what each stream asks for. Out: rounds, each over when every stream was sent one
response more, and when that was. A client does as a proxy does: it asks, and ACKs what it is sent;
it may be told to hold its ACKs back, so that what sending and what hearing ACKs costs a server can
be told apart, or not to read at all. Guaranteed: a stream or a connection that a server ends is an
error, never silence; of patient clients, a stream that ends is asked for again.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from time import monotonic_ns
from typing import Final

from aeraki_xds.bench.ask import Ask
from aeraki_xds.bench.connection import Connection

STAMP: Final = b"published-at-"
"""What stands before nineteen digits, the moment of a change in nanoseconds, where a resource says
when it was published."""

_DIGITS: Final = 19


class LostError(ConnectionError):
    """The server ended a stream or a connection."""


def stamp(at_ns: int) -> str:
    """What a resource may hold so that clients can tell how old it is when it comes."""
    return f"{STAMP.decode()}{at_ns:0{_DIGITS}}"


class Clients:
    """All connections. `deliveries_ns` are the moments at which streams were sent their responses
    of this round, of the monotonic clock, which is the same for every process of a machine;
    `last_ack_ns` that at which the last of them was ACKed. With `tls` the connections are
    encrypted. With `retry` a stream that the server ends is asked for again after so many seconds,
    on its connection; `refused` counts them. `ages_ns`, if it is a list, gets the age of every
    response that bears a `stamp`.
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
        self.last_ack_ns = 0
        self.ages_ns: list[int] | None = None
        self.responses = 0
        self.refused = 0
        self.bytes_received = 0
        self.address = (host, port)
        self.retry = retry
        self.leaving = False
        self._tls = tls
        self._connections: list[Connection] = []
        self._streams = 0
        self._outstanding = 0
        self._round_over = asyncio.Event()
        self._failure: str | None = None

    async def connect(
        self,
        asks: Sequence[Ask],
        *,
        at_once: int = 100,
        per_connection: int = 1,
        deaf: int = 0,
    ) -> None:
        """Open a connection for every `per_connection` of these, `at_once` of them at a time, and
        wait for the first response of each stream. The first `deaf` connections never read, and
        owe nothing. Raises OSError, LostError.
        """
        shares = [asks[at : at + per_connection] for at in range(0, len(asks), per_connection)]
        self._streams += len(asks) - sum(map(len, shares[:deaf]))
        self.begin_round()
        for start in range(0, len(shares), at_once):
            await asyncio.gather(
                *(
                    self._connect(share, number, reads=number >= deaf)
                    for number, share in enumerate(shares[start : start + at_once], start)
                )
            )
        await self.delivered()

    async def _connect(self, asks: Sequence[Ask], number: int, *, reads: bool) -> None:
        def connection() -> Connection:
            return Connection(self, asks, asks[0].node_id or f"bench-{number}", reads=reads)

        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(connection, *self.address, ssl=self._tls)
        self._connections.append(made)

    def begin_round(self, *, expected: int | None = None) -> None:
        """From now on every stream owes one response; or so many of them do."""
        self._outstanding = self._streams if expected is None else expected
        self.deliveries_ns = []
        self._round_over.clear()
        if self._outstanding == 0:
            self._round_over.set()

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

    def took(self, response: bytes) -> None:
        """A stream was sent a whole response, with the prefix that gRPC has for it."""
        now = monotonic_ns()
        self.responses += 1
        self.deliveries_ns.append(now)
        if self.ages_ns is not None:
            at = response.find(STAMP)
            if at >= 0:
                at += len(STAMP)
                self.ages_ns.append(now - int(response[at : at + _DIGITS]))
        self._outstanding -= 1
        if self._outstanding == 0:
            self._round_over.set()

    def fail(self, message: str) -> None:
        """Something ended that should have gone on."""
        self._failure = self._failure or message
        self._round_over.set()
