"""What each identity may take of the server, over all its connections together.

In: connections, streams, names and bytes as they come and go. Out: a refusal that names the cap.
Guaranteed: an account is exact, whatever way its things end; it is there while anything is taken
and no longer; what one identity takes is no other's loss.

An identity is what the peer's certificate proves; without one it is the host that connects, or
whoever uses a socket of the file system. A deployment shares its service account, so the caps are
far above what a healthy one takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum
from typing import Final

import structlog
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from aeraki_xds.xds.identity import IdentityError, identity_of
from aeraki_xds.xds.wire.counts import ConnectionRefusal, Counts, StreamRefusal
from aeraki_xds.xds.wire.limits import Limits

_LOG: Final = structlog.get_logger("aeraki_xds.xds")


class Taken(Enum):
    """What is counted, in the words of the refusal."""

    CONNECTIONS = "connections"
    STREAMS = "streams"
    NAMES = "names, of all streams together"
    BYTES = "bytes of requests that are not handled yet"


_REFUSALS: Final = {
    Taken.STREAMS: StreamRefusal.IDENTITY_STREAMS,
    Taken.NAMES: StreamRefusal.IDENTITY_NAMES,
    Taken.BYTES: StreamRefusal.IDENTITY_BYTES,
}


class Account:
    """One identity's."""

    __slots__ = ("_caps", "_close", "_counts", "_said", "identity", "taken")

    def __init__(
        self,
        *,
        identity: str,
        caps: dict[Taken, int],
        counts: Counts,
        close: Callable[[Account], None],
    ) -> None:
        self.identity: Final = identity
        self.taken = dict.fromkeys(Taken, 0)
        self._caps = caps
        self._counts = counts
        self._close = close
        self._said: set[Taken] = set()

    def take(self, what: Taken, amount: int = 1) -> None:
        """Take so much more. Raises GRPCError, and takes nothing, where that is too much."""
        most = self._caps[what]
        if self.taken[what] + amount > most:
            raise self._refusal(what, most)
        self.taken[what] += amount

    def give_back(self, what: Taken, amount: int = 1) -> None:
        """What was taken is free again."""
        if not amount:
            return
        left = self.taken[what] = self.taken[what] - amount
        assert left >= 0, f"{self.identity} gave back more {what.value} than it took"
        if not any(self.taken.values()):
            self._close(self)

    def _refusal(self, what: Taken, most: int) -> GRPCError:
        if what is Taken.CONNECTIONS:
            self._counts.connections_refused[ConnectionRefusal.IDENTITY_CONNECTIONS] += 1
        else:
            self._counts.streams_refused[_REFUSALS[what]] += 1
        message = f"{self.identity} is at its cap: {most} {what.value}"
        if what not in self._said:  # and not a thousand times a second
            self._said.add(what)
            _LOG.info("an identity is refused more", identity=self.identity, cap=message)
        return GRPCError(Status.RESOURCE_EXHAUSTED, message)


class Quotas:
    """The accounts of a server."""

    def __init__(self, *, limits: Limits, counts: Counts) -> None:
        self.accounts: dict[str, Account] = {}
        self._counts = counts
        self._caps = {
            Taken.CONNECTIONS: limits.connections_per_identity,
            Taken.STREAMS: limits.streams_per_identity,
            Taken.NAMES: limits.names_per_identity,
            Taken.BYTES: limits.bytes_per_identity,
        }

    def of(self, identity: str) -> Account:
        """An identity's account, to take something at once: one that is empty is forgotten."""
        account = self.accounts.get(identity)
        if account is None:
            account = self.accounts[identity] = Account(
                identity=identity, caps=self._caps, counts=self._counts, close=self._forget
            )
        return account

    def _forget(self, account: Account) -> None:
        if self.accounts.get(account.identity) is account:
            del self.accounts[account.identity]


def identity_at(transport: asyncio.BaseTransport) -> str:
    """Whom a connection is accounted to. Who has a certificate that names no one, and is refused
    for it later, is its host until then.
    """
    certificate = transport.get_extra_info("peercert")
    if certificate:
        try:
            return str(identity_of(certificate))
        except IdentityError:
            pass
    address: object = transport.get_extra_info("peername")
    return str(address[0]) if isinstance(address, tuple) else "the unix socket"
