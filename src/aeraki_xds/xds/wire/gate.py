"""Lets connections in and out, no faster than what they cost can be paid for.

In: a listening socket; connections that are gone. Out: connections. Guaranteed: however many
clients come at once, only so many TLS handshakes are under way, none begins while the loop is busy,
and only so many clients say their first words at once; the others wait in the kernel's queue, where
they cost nothing. A handshake that does not end is given up. Running out of file descriptors is
waited out. However many have something to say that h2 has to read, or are gone at once, the loop
has its turn meanwhile.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import stat
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Final

import structlog

from aeraki_xds.xds.wire.counts import ConnectionRefusal, Counts
from aeraki_xds.xds.wire.limits import Limits

BACKLOG: Final = 4096
"""Pending connections: with asyncio's 100 a restart of 2,000 proxies takes seconds."""

_MOMENT: Final = 0.05
"""Seconds for which a client that was let in is waited for to speak. What it says first is work,
and the more it is the fewer are let in meanwhile; but who is silent keeps nobody waiting."""

_BUSY: Final = 0.01
"""Seconds of a turn of the loop after which no TLS handshake is begun: those that are under way,
and what their clients say first, are as much as it bears. So a storm comes in as fast as the
machine can take it: 2,000 sidecars in 5.7 s where 250 a second took 8.5. The loop was never late by
more than 50 ms, also where clients are 150 ms away and answer while others begin."""

_LONGEST: Final = 0.1
"""Seconds that a client waits for that, whatever else the loop has to do."""

_H2: Final = 0.005
"""Seconds of a turn for what h2 is given. It opens streams with it, whose tasks are more work."""

_OUT: Final = 0.001
"""Seconds of a turn for connections that are gone. Each is some more work in the next turn, for the
tasks of its streams."""

_PAUSE: Final = 0.1
"""Seconds to wait when the system has no more sockets to give."""


class Entrant(asyncio.Protocol):
    """A connection, as the gate sees it."""

    entered: asyncio.Event
    """Set when the client has said something."""


class Gate:
    """Accepts for one server. `clock` gives seconds, not the loop's own."""

    def __init__(
        self,
        *,
        limits: Limits,
        counts: Counts,
        connection: Callable[[], Entrant],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._counts = counts
        self._limits = limits
        self._connection = connection
        self._clock = clock
        self._room = asyncio.Semaphore(limits.handshakes)
        self._next_at = 0.0
        self._log = structlog.get_logger("aeraki_xds.xds")

    async def accept(self, listening: socket.socket, tls: ssl.SSLContext | None) -> None:
        """Let clients in until cancelled. Connections that are made outlive it."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._room.acquire()
                if tls is not None:
                    await self._pace()
                try:
                    accepted, _ = await loop.sock_accept(listening)
                except OSError as failure:
                    self._room.release()
                    self._log.warning("connections cannot be accepted", error=str(failure))
                    await asyncio.sleep(_PAUSE)
                    continue
                tasks.create_task(self._let_in(accepted, tls))

    async def _pace(self) -> None:
        """Wait for the next handshake's turn, and for a short one of the loop."""
        now = asyncio.get_running_loop().time()
        if self._next_at > now:
            await asyncio.sleep(self._next_at - now)
        self._next_at = max(self._next_at, now) + 1 / self._limits.handshakes_per_second
        began = now = self._clock()
        took = _BUSY
        while took >= _BUSY and now - began < _LONGEST:
            await asyncio.sleep(0)
            took, now = self._clock() - now, self._clock()

    async def _let_in(self, accepted: socket.socket, tls: ssl.SSLContext | None) -> None:
        timeout = self._limits.handshake_timeout if tls is not None else None
        entrant = self._connection()
        inside: asyncio.BaseTransport | socket.socket = accepted
        try:
            inside, _ = await asyncio.get_running_loop().connect_accepted_socket(
                lambda: entrant, accepted, ssl=tls, ssl_handshake_timeout=timeout
            )
            with suppress(TimeoutError):
                async with asyncio.timeout(_MOMENT):
                    await entrant.entered.wait()
        except (OSError, EOFError) as failure:  # of TLS too: ssl.SSLError is an OSError
            self._counts.connections_refused[ConnectionRefusal.HANDSHAKE] += 1
            accepted.close()
            self._log.info("a connection was not made", error=str(failure) or repr(failure))
        except Exception:  # noqa: BLE001 - border: one connection's fault is not the others'
            self._counts.connections_refused[ConnectionRefusal.HANDSHAKE] += 1
            inside.close()
            self._log.exception("a connection could not be made")
        finally:
            self._room.release()


class Share:
    """What h2 may take of a turn of the loop, on all connections of a server together: a thousand
    of them may have something for it at once. `clock` gives seconds, not the loop's own.
    """

    def __init__(
        self, *, loop: asyncio.AbstractEventLoop, clock: Callable[[], float] = monotonic
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._until: float | None = None

    def is_used_up(self) -> bool:
        """Whether the rest has to wait for the next turn. To be asked before each piece of work."""
        now = self._clock()
        if self._until is None:
            self._until = now + _H2
            self._loop.call_soon(self._renew)
        return now >= self._until

    def _renew(self) -> None:
        self._until = None


class Exit:
    """Forgets connections for one server. `clock` gives seconds, not the loop's own."""

    def __init__(
        self, *, loop: asyncio.AbstractEventLoop, clock: Callable[[], float] = monotonic
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._gone: deque[Callable[[], None]] = deque()
        self._scheduled = False

    def add(self, forget: Callable[[], None]) -> None:
        """Forget a connection in its turn."""
        self._gone.append(forget)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._run)

    def _run(self) -> None:
        end = self._clock() + _OUT
        try:
            while self._gone:
                self._gone.popleft()()
                if self._clock() >= end:
                    break
        finally:
            self._scheduled = bool(self._gone)
            if self._scheduled:
                self._loop.call_soon(self._run)


def unix_socket(path: Path) -> socket.socket:
    """A socket of the file system that listens, for its owner alone. What an earlier server left
    there is replaced, but nothing else. Raises OSError.
    """
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.stat().st_mode):
            path.unlink()
    listening = socket.socket(socket.AF_UNIX)
    try:
        listening.bind(str(path))
        path.chmod(0o600)  # before anybody can connect
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening
