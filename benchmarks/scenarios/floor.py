"""Plain sockets beside a server: the least that giving so many bytes to so many costs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from peers.catalogue import peer

from aeraki_xds.bench.child import Child


class Floor:
    """A loop of plain sends, and who reads what it sends: this process."""

    def __init__(self, child: Child, readers: list[_Reader]) -> None:
        self._child = child
        self._readers = readers

    @classmethod
    @asynccontextmanager
    async def under(cls, sockets: int) -> AsyncIterator[Floor]:
        """So many connections."""
        async with peer("floor") as child:
            port = (await child.answer())["port"]
            loop = asyncio.get_running_loop()
            readers: list[_Reader] = []
            try:
                for _ in range(sockets):
                    _, reader = await loop.create_connection(_Reader, "127.0.0.1", port)
                    readers.append(reader)
                while (await child.ask("tell"))["streams"] < sockets:
                    await asyncio.sleep(0.01)
                yield cls(child, readers)
            finally:
                for reader in readers:
                    reader.close()

    async def send_us(self, size: int) -> float:
        """Microseconds of CPU for each socket to send it so many bytes."""
        told = await self._child.ask("publish", size=size, acks=0)
        while any(reader.size < size for reader in self._readers):
            await asyncio.sleep(0.001)
        for reader in self._readers:
            reader.size = 0
        cpu_s: float = told["cpu_s"]
        return cpu_s / len(self._readers) * 1e6


class _Reader(asyncio.Protocol):
    """Reads, and counts."""

    def __init__(self) -> None:
        self.size = 0
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self.size += len(data)

    def close(self) -> None:
        """Close it."""
        if self._transport is not None:
            self._transport.close()
