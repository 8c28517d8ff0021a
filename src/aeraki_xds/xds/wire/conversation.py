"""One discovery stream: requests go to the hub as they arrive, responses go out when there is room.

In: whole messages from the inbox, the turns that the drain gives. Out: messages into the outbox;
how the stream has to end. Guaranteed: requests are handled in the order in which they came, each at
once; a response is judged only when it can be written, so a client that does not read is sent the
latest state and delays nobody.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Final

import structlog
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from aeraki_xds.xds.admission import Admit, Node, Peer, Refusal, RefusalReason
from aeraki_xds.xds.field import MalformedError
from aeraki_xds.xds.hub import Hub, Stream
from aeraki_xds.xds.message import Event, Nacked, Request, Stale
from aeraki_xds.xds.resource import TypeUrl
from aeraki_xds.xds.session import Dialect
from aeraki_xds.xds.wire.acks import Acks
from aeraki_xds.xds.wire.bodies import Bodies, nonce_tail
from aeraki_xds.xds.wire.drain import Drain
from aeraki_xds.xds.wire.envelope import read_delta, read_sotw
from aeraki_xds.xds.wire.limits import Limits
from aeraki_xds.xds.wire.methods import Method
from aeraki_xds.xds.wire.node import read_node
from aeraki_xds.xds.wire.outbox import Outbox

_STATUS: Final = {
    RefusalReason.INVALID: Status.INVALID_ARGUMENT,
    RefusalReason.DENIED: Status.PERMISSION_DENIED,
}

_LOG: Final = structlog.get_logger("aeraki_xds.xds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What the conversations of a server share."""

    hub: Hub
    admit: Admit
    drain: Drain
    bodies: Bodies
    limits: Limits


class Conversation:
    """One stream. It is the reader of the stream's inbox."""

    __slots__ = (
        "_acks", "_exchange", "_method", "_outbox", "_over", "_peer", "_stalled", "_stream",
        "waiting",
    )  # fmt: skip

    def __init__(self, *, exchange: Exchange, method: Method, peer: Peer, outbox: Outbox) -> None:
        self.waiting = False
        self._exchange = exchange
        self._method = method
        self._peer = peer
        self._outbox = outbox
        self._acks = Acks(method.dialect)
        self._stream: Stream | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def finished(self) -> None:
        """Wait until the client has ended its side. Raises GRPCError where we end the stream."""
        await self._over

    def close(self) -> None:
        """Forget the stream. To be called once, whatever happened."""
        self._over.cancel()
        self._reads_again()
        stream, self._stream = self._stream, None
        if stream is not None:
            self._exchange.hub.close(stream)
            self._logger(stream).info("stream closed")

    # --- in -------------------------------------------------------------------------------------

    def receive(self, message: bytes) -> None:
        """Take the next request."""
        if self._over.done():
            return
        stream = self._stream
        if stream is not None:
            ack = self._acks.read(message)
            if ack is not None and self._exchange.hub.accept(stream, *ack):
                return
        try:
            self._receive(message)
        except GRPCError as failure:
            self.finish(failure)

    def finish(self, failure: GRPCError | None) -> None:
        """The stream is over: the client said so, or it cannot go on."""
        if self._over.done():
            return
        if failure is None:
            self._over.set_result(None)
        else:
            self._over.set_exception(failure)

    def _receive(self, message: bytes) -> None:
        written_type, request, node = self._decode(message)
        if self._stream is None:
            self._stream = self._open(node)
        events = self._exchange.hub.receive(self._stream, request)
        self._check_names(self._stream, request.type_url)
        if not any(_is_stale(event) for event in events):
            self._acks.learn(written_type, request)
        for event in events:
            if isinstance(event, Nacked):
                self._logger(self._stream).warning(
                    "response refused",
                    type=event.type_url,
                    error=event.error,
                    resources=list(event.names),
                    stale=event.stale,
                )

    def _check_names(self, stream: Stream, type_url: TypeUrl) -> None:
        most = self._exchange.limits.names
        if len(stream.session.watches[type_url].subscription.names) > most:
            message = f"a subscription to more than {most} names of one type"
            raise GRPCError(Status.RESOURCE_EXHAUSTED, message)

    def _decode(self, message: bytes) -> tuple[str, Request, memoryview | None]:
        """Decode a request and fill in the type that the service implies."""
        request: Request
        try:
            read = read_sotw if self._method.dialect is Dialect.SOTW else read_delta
            request, node = read(message)
        except MalformedError as failure:
            raise GRPCError(Status.INVALID_ARGUMENT, f"malformed request: {failure}") from failure
        written_type, only = request.type_url, self._method.only
        if only is None:
            if not written_type:
                raise GRPCError(
                    Status.INVALID_ARGUMENT, "a request on an ADS stream names no type_url"
                )
        elif written_type not in ("", only):
            message_text = f"this service serves {only}, not {written_type}"
            raise GRPCError(Status.INVALID_ARGUMENT, message_text)
        elif not written_type:
            request = replace(request, type_url=only)
        return written_type, request, node

    def _open(self, raw: memoryview | None) -> Stream:
        try:
            node = read_node(raw) if raw is not None else Node(id="")
        except MalformedError as failure:
            raise GRPCError(Status.INVALID_ARGUMENT, str(failure)) from failure
        if not node.id:
            raise GRPCError(Status.INVALID_ARGUMENT, "the first request names no node.id")
        scopes = self._exchange.admit(node, self._peer, only=self._method.only)
        if isinstance(scopes, Refusal):
            raise GRPCError(_STATUS[scopes.reason], scopes.message)
        stream = self._exchange.hub.open(
            # What the extensions decide is decided; 61 KB a stream would be most of its memory.
            node=replace(node, extensions=b""),
            peer=self._peer,
            scopes=scopes,
            dialect=self._method.dialect,
            wake=self.wake,
            only=self._method.only,
        )
        self._logger(stream).info(
            "stream opened", dialect=self._method.dialect.value, scopes=list(scopes)
        )
        return stream

    def _logger(self, stream: Stream) -> structlog.typing.FilteringBoundLogger:
        logger: structlog.typing.FilteringBoundLogger = _LOG.bind(
            stream=stream.number, node=stream.node.id, peer=stream.peer.address
        )
        return logger

    # --- out ------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Something may be due: have a turn."""
        self._exchange.drain.add(self)

    def resume(self) -> None:
        """The client reads again: have a turn if something waits for that."""
        if not self._outbox.empty:
            self.wake()

    def write(self) -> None:
        """Write what is due, as far as the client reads."""
        stream = self._stream
        if stream is None:
            return
        if not self._outbox.empty:
            if not self._outbox.flush():
                return
            self._reads_again()
        exchange = self._exchange
        dialect = self._method.dialect
        while (response := exchange.hub.next(stream)) is not None:
            body = exchange.bodies.of(dialect, response)
            if not self._outbox.put(body, nonce_tail(response.nonce)):
                self._waits(self._outbox.position)
                return

    def _waits(self, position: int) -> None:
        """Look after the send deadline whether the client has read on."""
        loop = asyncio.get_running_loop()
        deadline = self._exchange.limits.send_deadline
        self._stalled = loop.call_later(deadline, self._still_waits, position)

    def _still_waits(self, before: int) -> None:
        if self._outbox.position != before:
            self._waits(self._outbox.position)
            return
        deadline = self._exchange.limits.send_deadline
        message = f"nothing was read for {deadline:g} seconds"
        if self._stream is not None:
            self._logger(self._stream).warning("stream cut off", reason=message)
        self.finish(GRPCError(Status.UNAVAILABLE, message))
        self._outbox.abandon()

    def _reads_again(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None


def _is_stale(event: Event) -> bool:
    return isinstance(event, Stale) or (isinstance(event, Nacked) and event.stale)
