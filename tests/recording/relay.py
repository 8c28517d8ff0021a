"""A relay between xDS clients and a server, which records what passes and changes nothing.

In: the address of a server, which may come and go. Out: the address where clients connect instead,
and a `Recording`. Guaranteed: the bytes are forwarded as they came; a request is recorded before it
is forwarded and a response when it has been read, before it is forwarded: see `recording`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from itertools import count
from typing import Final, Self

from aeraki_xds.demo.http import Address
from tests.recording.recording import Recording
from tests.recording.tap import Tap

_CHUNK: Final = 1 << 16


class Relay:
    """A listening relay; made by `Relay.run` only."""

    def __init__(self, *, server: Address, address: Address) -> None:
        self.address = address
        self.recording = Recording()
        self.failures: list[BaseException] = []
        self._server = server
        self._numbers = count(1)
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    @contextlib.asynccontextmanager
    async def run(cls, server: Address) -> AsyncIterator[Self]:
        """Relay to a server for the length of the block, which ends every connection."""
        relay = cls(server=server, address=Address("127.0.0.1", 0))
        listening = await asyncio.start_server(relay._accept, "127.0.0.1", 0, limit=_CHUNK)
        relay.address = Address(*listening.sockets[0].getsockname()[:2])
        try:
            yield relay
        finally:
            listening.close()
            await relay.cut()
        if relay.failures:
            raise ExceptionGroup("what passed could not be read", _plain(relay.failures))

    async def cut(self) -> None:
        """End every connection, as a network does."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._connection(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            self.failures.append(failure)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tap = Tap(recording=self.recording, connection=next(self._numbers))
        by = "network"
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(_hang_up, writer)
            try:
                up_reader, up_writer = await asyncio.open_connection(*self._server, limit=_CHUNK)
            except ConnectionError:
                return  # the server is away
            stack.push_async_callback(_hang_up, up_writer)
            pumps = {
                asyncio.create_task(_pump(tap, "client", reader, up_writer)): "client",
                asyncio.create_task(_pump(tap, "server", up_reader, writer)): "server",
            }
            try:
                done, _ = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                by = pumps[next(iter(done))]
            finally:
                for pump in pumps:
                    pump.cancel()
                ends = await asyncio.gather(*pumps, return_exceptions=True)
                tap.hung_up(by)
        for end in ends:
            if isinstance(end, Exception):
                raise end


async def _pump(
    tap: Tap, by: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Record, then forward, until this end hangs up."""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(_CHUNK):
            tap.sent(by, data)
            writer.write(data)
            await writer.drain()


async def _hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


def _plain(failures: list[BaseException]) -> list[Exception]:
    return [each for each in failures if isinstance(each, Exception)]
