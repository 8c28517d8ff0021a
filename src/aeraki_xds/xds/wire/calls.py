"""Calls that are not discovery (health, reflection, client status), within bounds.

In: gRPC streams whose messages are bytes. Out: whole requests, one at a time, and answers.
Guaranteed: who is not allowed is refused before anything is read; a request is bounded, the next
one is read when the last is answered, and the loop gets a turn between two; who does not read an
answer is let go. grpclib's own reader takes any size and answers what it cannot read with a stack
trace in the log. These calls are rare, so unlike discovery they go through h2 and have tasks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Final

from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError
from grpclib.server import Stream as GrpcStream

from aeraki_xds.xds.admission import Peer
from aeraki_xds.xds.field import VARINT, MalformedError, varint
from aeraki_xds.xds.wire.inbox import PREFIX_SIZE
from aeraki_xds.xds.wire.limits import DEFAULT_LIMITS
from aeraki_xds.xds.wire.tls import address_of, peer_of

LARGEST_REQUEST: Final = 1 << 20
"""Bytes: what is asked here is a name or some matchers, at worst with the node that asks."""

SEND_DEADLINE: Final = DEFAULT_LIMITS.send_deadline
"""Seconds that a client may take to make room for an answer."""

Allowed = Callable[[Peer], bool]
"""Whether a peer may call a service."""


class Call:
    """One call, as its service sees it."""

    def __init__(self, grpc: GrpcStream[bytes, bytes]) -> None:
        self._grpc = grpc

    async def request(self) -> bytes:
        """The request of a call that has one. Raises GRPCError."""
        message = await self._receive()
        if message is None:
            raise GRPCError(Status.INVALID_ARGUMENT, "the call has no request")
        return message

    async def requests(self) -> AsyncIterator[bytes]:
        """The requests of a stream. Raises GRPCError."""
        while (message := await self._receive()) is not None:
            yield message
            # A client may have sent thousands at once, and then neither end waits for anything.
            await asyncio.sleep(0)

    async def answer(self, message: bytes) -> None:
        """Send an answer. Raises GRPCError when the client does not read."""
        try:
            async with asyncio.timeout(SEND_DEADLINE):
                await self._grpc.send_message(message)
        except TimeoutError:
            reason = f"nothing was read for {SEND_DEADLINE:g} seconds"
            raise GRPCError(Status.UNAVAILABLE, reason) from None

    async def _receive(self) -> bytes | None:
        prefix = await self._read(PREFIX_SIZE)
        if not prefix:
            return None
        size = int.from_bytes(prefix[1:], "big")
        if prefix[0]:
            raise GRPCError(Status.UNIMPLEMENTED, "compressed messages are not supported")
        if size > LARGEST_REQUEST:
            reason = f"a request of {size} bytes: {LARGEST_REQUEST} is the most"
            raise GRPCError(Status.RESOURCE_EXHAUSTED, reason)
        message = await self._read(size)
        if len(message) < size:
            raise _cut_off()
        return message

    async def _read(self, size: int) -> bytes:
        try:
            return await self._grpc._stream.recv_data(size)
        except AssertionError:  # grpclib's word for a stream that ends too early
            raise _cut_off() from None


def rpc(
    serve: Callable[[Call], Awaitable[None]],
    cardinality: Cardinality,
    *,
    allowed: Allowed | None = None,
) -> Handler:
    """An entry of grpclib's RPC table. Without `allowed` everybody may call."""

    async def handle(grpc: GrpcStream[bytes, bytes]) -> None:
        if allowed is not None and not allowed(caller_of(grpc)):
            raise GRPCError(Status.PERMISSION_DENIED, "you may not call this service")
        try:
            await serve(Call(grpc))
        except MalformedError as failure:
            raise GRPCError(Status.INVALID_ARGUMENT, f"malformed request: {failure}") from failure

    return Handler(handle, cardinality, bytes, bytes)


def caller_of(grpc: GrpcStream[bytes, bytes]) -> Peer:
    """Who calls. Raises GRPCError if the certificate does not say who its holder is."""
    peer = grpc.peer
    return peer_of(peer.cert(), address=address_of(peer.addr()))


def services_of(paths: Iterable[str]) -> tuple[str, ...]:
    """The services of RPC paths, each once, sorted."""
    return tuple(sorted({path.split("/")[1] for path in paths}))


def integer(number: int, value: int) -> bytes:
    """Encode an enum or an unsigned integer field; proto3 leaves zero out."""
    return varint(number << 3 | VARINT) + varint(value) if value else b""


def _cut_off() -> GRPCError:
    return GRPCError(Status.INVALID_ARGUMENT, "the last request is cut off")
