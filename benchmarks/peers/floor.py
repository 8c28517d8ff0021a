"""The floor: what the kernel alone takes to give so many bytes to so many sockets.

In: plain TCP connections, from which nothing is read; commands, of which one differs:

    {"do": "publish", "size": n, "acks": 0} → {"at_ns", "cpu_s"}  send n bytes to each

Out: n bytes on each; `cpu_s` is what the loop took. There is no gRPC, no resource, no ACK and no
TLS. Guaranteed: a socket that does not take all of it at once is a failure, for then it is not the
floor that is measured.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial

from aeraki_xds.settings import TlsFiles
from peers.commands import Acks, Answer, Command

_BACKLOG = 4096


class Floor:
    """The server, if it can be called one."""

    def __init__(self, *, tls: TlsFiles | None) -> None:
        if tls is not None:
            message = "the floor is plain TCP, without TLS"
            raise ValueError(message)
        self.acks = Acks()
        self._sockets: list[socket.socket] = []

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[int]:
        """Accept whoever comes."""
        listening = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
        listening.setblocking(False)
        accepting = asyncio.create_task(self._accept(listening))
        try:
            yield listening.getsockname()[1]
        finally:
            accepting.cancel()
            listening.close()
            for each in self._sockets:
                each.close()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            accepted, _ = await loop.sock_accept(listening)
            # As every server does that is compared here.
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets.append(accepted)

    def fill(self, bodies: Mapping[str, bytes]) -> None:
        """There are no resources here."""

    def change(self, command: Command) -> Callable[[], Answer]:
        """Send so many bytes to each."""
        return partial(self._send, bytes(command["size"]))

    def _send(self, data: bytes) -> Answer:
        before = time.process_time()
        for each in self._sockets:
            if each.send(data) < len(data):
                message = f"a socket does not take {len(data)} bytes at once"
                raise BlockingIOError(message)
        return {"cpu_s": time.process_time() - before}

    def tell(self) -> Answer:
        """How many connections there are, each counted as a stream."""
        return {"streams": len(self._sockets)}
