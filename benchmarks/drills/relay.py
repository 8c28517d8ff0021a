"""A network between a client and a server that can go dead without closing anything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Self

from aeraki_xds.demo.http import Address


class Relay:
    """Passes bytes on; made by `Relay.to` only. `address` is where clients connect."""

    def __init__(self, target: Address) -> None:
        self.address = target
        self._target = target
        self._alive: set[asyncio.Event] = set()

    @classmethod
    @asynccontextmanager
    async def to(cls, target: Address) -> AsyncIterator[Self]:
        """Relay to this address for the length of the block."""
        relay = cls(target)
        listening = await asyncio.start_server(relay._connected, "127.0.0.1", 0)
        relay.address = Address(*listening.sockets[0].getsockname()[:2])
        try:
            yield relay
        finally:
            listening.close()

    def swallow(self) -> int:
        """From now on nothing passes on the connections that there are; says how many. Later ones
        are not affected.
        """
        swallowed = len(self._alive)
        for alive in self._alive:
            alive.clear()
        self._alive.clear()
        return swallowed

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:  # nobody is there: neither are we
            writer.close()
            return
        alive = asyncio.Event()
        alive.set()
        self._alive.add(alive)
        try:
            await asyncio.gather(_pass(reader, far_writer, alive), _pass(far_reader, writer, alive))
        finally:
            self._alive.discard(alive)
            writer.close()
            far_writer.close()


async def _pass(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, alive: asyncio.Event
) -> None:
    """Until the reader's end is over. What a dead network swallowed is read, so that the one who
    wrote it notices nothing."""
    with suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            if alive.is_set():
                writer.write(data)
                await writer.drain()
        if alive.is_set():
            writer.close()
