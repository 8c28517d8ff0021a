"""The naive server on the asyncio API of grpcio, Google's own library, whose core is C++."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import grpc.aio

from aeraki_xds.settings import TlsFiles
from peers.naive import METHODS, Conversation, Message, Table, messages


class OnGrpcio(Table):
    """The server."""

    def __init__(self, *, tls: TlsFiles | None) -> None:
        super().__init__()
        self._tls = tls

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[int]:
        """Serve."""
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((_Methods(self),))
        if self._tls is None:
            port = server.add_insecure_port("127.0.0.1:0")
        else:
            port = server.add_secure_port("127.0.0.1:0", _credentials(self._tls))
        await server.start()
        try:
            yield port
        finally:
            await server.stop(None)

    async def converse(
        self, requests: AsyncIterator[Message], context: Any, *, delta: bool
    ) -> None:
        """Handle one stream."""
        conversation = Conversation(self, delta=delta)
        writer = asyncio.create_task(_write(context, conversation))
        try:
            async for request in requests:
                conversation.hear(request)
        finally:
            writer.cancel()
            conversation.close()


class _Methods(grpc.GenericRpcHandler):  # type: ignore[misc] # untyped
    """The RPCs by their paths."""

    def __init__(self, server: OnGrpcio) -> None:
        self._handlers = {path: _handler(server, delta) for path, delta in METHODS.items()}

    def service(self, details: Any) -> Any:
        return self._handlers.get(details.method)


def _handler(server: OnGrpcio, delta: bool) -> Any:
    request, response = messages(delta)
    return grpc.stream_stream_rpc_method_handler(
        partial(server.converse, delta=delta),
        request_deserializer=request.FromString,
        response_serializer=response.SerializeToString,
    )


async def _write(context: Any, conversation: Conversation) -> None:
    while True:
        await conversation.changed.wait()
        response = conversation.response()
        if response is not None:
            await context.write(response)


def _credentials(files: TlsFiles) -> Any:
    """Who has no certificate of the roots is refused."""
    pair = (files.key.read_bytes(), files.certificate.read_bytes())
    return grpc.ssl_server_credentials(
        [pair], root_certificates=files.roots.read_bytes(), require_client_auth=True
    )
