"""The naive server on grpclib, as ours is on grpclib."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from grpclib.const import Cardinality, Handler
from grpclib.server import Server, Stream

from aeraki_xds.settings import TlsFiles
from peers.naive import METHODS, Conversation, Table, messages, mutual_tls

_BACKLOG = 4096


class OnGrpclib(Table):
    """The server."""

    def __init__(self, *, tls: TlsFiles | None) -> None:
        super().__init__()
        self._tls = None if tls is None else mutual_tls(tls)

    def __mapping__(self) -> dict[str, Handler]:
        def handler(delta: bool) -> Handler:
            handle: Callable[[Any], Awaitable[None]] = partial(self._converse, delta=delta)
            return Handler(handle, Cardinality.STREAM_STREAM, *messages(delta))

        return {path: handler(delta) for path, delta in METHODS.items()}

    async def _converse(self, stream: Stream[Any, Any], *, delta: bool) -> None:
        conversation = Conversation(self, delta=delta)
        writer = asyncio.create_task(_write(stream, conversation))
        try:
            async for request in stream:
                conversation.hear(request)
        finally:
            writer.cancel()
            conversation.close()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[int]:
        """Serve."""
        server = Server([self])
        listening = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
        await server.start(sock=listening, backlog=_BACKLOG, ssl=self._tls)
        try:
            yield listening.getsockname()[1]
        finally:
            server.close()


async def _write(stream: Stream[Any, Any], conversation: Conversation) -> None:
    while True:
        await conversation.changed.wait()
        response = conversation.response()
        if response is not None:
            await stream.send_message(response)
