"""One discovery stream: requests go to the hub as they arrive, responses go out when there is room.

In: whole messages from the inbox, the turns that the drain gives. Out: messages into the outbox;
how the stream has to end. Guaranteed: requests are handled in the order in which they came, each at
once, but a large one in slices, of which the drain gives each its turn, and a huge one its turns
apart; a response is judged only when it can be written, so a client that does not read is sent the
latest state and delays nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import structlog
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from aeraki_xds.xds.admission import Peer
from aeraki_xds.xds.field import MalformedError
from aeraki_xds.xds.message import Event, Nacked, Request, SotwRequest, Stale, Subscribed
from aeraki_xds.xds.resource import Name, TypeUrl
from aeraki_xds.xds.session import Dialect
from aeraki_xds.xds.stream import Stream
from aeraki_xds.xds.wire.acks import Acks
from aeraki_xds.xds.wire.bodies import nonce_tail
from aeraki_xds.xds.wire.counts import StreamRefusal
from aeraki_xds.xds.wire.envelope import TooManyError, delta_in_slices, sotw_in_slices
from aeraki_xds.xds.wire.exchange import Exchange, named
from aeraki_xds.xds.wire.expected import Line
from aeraki_xds.xds.wire.methods import Method
from aeraki_xds.xds.wire.outbox import Outbox
from aeraki_xds.xds.wire.quotas import Account, Taken
from aeraki_xds.xds.wire.slices import Sliced, at_once, emptied

_LARGE: Final = 4 << 10
"""Bytes of a request that waits for its turn, and is decoded in slices: an Envoy that takes in a
thousand listeners names one route table more in each of a thousand requests, all at once."""

_HUGE: Final = 256 << 10
"""Bytes of a request whose turns are apart from the others': more than a proxy sends day by day."""

_MUCH: Final = 10_000
"""Names to be judged, or to be said to be gone, likewise."""

_KEPT: Final = 64
"""Bytes that keeping a request takes beside its own."""

_MANY: Final = 1000
"""Names of a response after which others have their turn."""

_LEARNED: Final = 10_000
_RECOGNISED: Final = 1 << 20
"""Names of a subscription whose ACKs are recognised by their bytes, and the bytes of such an ACK:
neither can be done in slices."""

_LOG: Final = structlog.get_logger("aeraki_xds.xds")


class Conversation:
    """One stream. It is the reader of the stream's inbox. `end` is called once, when it is over;
    with how we end it, or None where the client has ended its side.
    """

    __slots__ = (
        "_account", "_acks", "_begun", "_behind", "_brought", "_end", "_ended", "_exchange",
        "_held", "_line", "_method", "_much", "_names", "_outbox", "_over", "_peer", "_stalled",
        "_stream", "_work", "waiting",
    )  # fmt: skip

    def __init__(
        self,
        *,
        exchange: Exchange,
        method: Method,
        peer: Peer,
        account: Account,
        outbox: Outbox,
        end: Callable[[GRPCError | None], object],
    ) -> None:
        self.waiting = False
        self._begun = False
        self._end = end
        self._over = False
        self._account = account
        self._names = 0
        self._held = 0
        self._work: Sliced[None] | None = None
        self._behind: list[bytes] = []
        self._brought: dict[Name, str] | None = None
        self._much = False
        self._ended = False
        self._exchange = exchange
        self._method = method
        self._peer = peer
        self._outbox = outbox
        self._line: Line | None = None
        self._acks = Acks(method.dialect)
        self._stream: Stream | None = None
        self._stalled: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """Forget the stream. To be called once, whatever happened."""
        self._over = True
        self._reads_again()
        self._work = None
        self._behind.clear()
        self._expect_nothing()
        self._account.give_back(Taken.BYTES, self._held)
        self._account.give_back(Taken.NAMES, self._names)
        self._held = self._names = 0
        stream, self._stream = self._stream, None
        if stream is not None:
            self._exchange.hub.close(stream)
            _LOG.info("stream closed", **named(stream))
        self._let_go(stream)

    def _let_go(self, stream: Stream | None) -> None:
        """Free a lot of names a few at a time."""
        watches = stream.session.watches.values() if stream is not None else ()
        held = [each for watch in watches for each in watch.leftovers()]
        if self._brought is not None:
            held.append(self._brought)
            self._brought = None
        if any(len(each) > _MUCH for each in held):
            self._exchange.drain.add_work(emptied(*held))

    # --- in -------------------------------------------------------------------------------------

    def listen(self, line: Line | None) -> None:
        """Our answers' ACKs may be expected there, before anything is received."""
        self._line = line
        self._acks = Acks(self._method.dialect, line)

    def receive(self, message: bytes) -> None:
        """Take the next request."""
        if self._over:
            return
        try:
            if self._work is not None or len(message) > _LARGE:
                size = _KEPT + len(message)
                self._account.take(Taken.BYTES, size)
                self._held += size
                self._behind.append(message)
                if self._work is None:
                    self._next_behind()
                    self.wake()
            elif not self._is_ack(message):
                at_once(self._receive(message))
        except GRPCError as failure:
            self.finish(failure)

    def finish(self, failure: GRPCError | None) -> None:
        """The stream is over: the client said so, or it cannot go on."""
        if self._over:
            return
        self._expect_nothing()
        if failure is None and self._work is not None:
            self._ended = True  # with the request that is being decoded
            return
        self._over = True
        self._end(failure)

    def _next_behind(self) -> None:
        """Begin with the oldest request that waits."""
        message = self._behind[0]
        self._work = self._receive_in_slices(message)
        self._much = len(message) > _HUGE

    def _read_on(self) -> bool:
        """Do a slice of the request that is being decoded: whether it was the last."""
        assert self._work is not None
        try:
            next(self._work)
        except StopIteration:
            self._work = None
        except GRPCError as failure:
            self.finish(failure)
        self.wake()
        if self._over or self._work is not None:
            return False
        size = _KEPT + len(self._behind.pop(0))
        self._held -= size
        self._account.give_back(Taken.BYTES, size)
        if self._behind:
            self._next_behind()
        elif self._ended:
            self.finish(None)
        return True

    def accepts(self, type_url: TypeUrl, nonce: str) -> bool:
        """Whether an ACK that was expected is one now, and is done with."""
        stream = self._stream
        if stream is None or self._work is not None:
            return False
        return self._exchange.hub.accept(stream, type_url, nonce)

    def _expect_nothing(self) -> None:
        """Who has nothing more to say is not listened to."""
        self._acks.close()
        self._line = None

    def _is_ack(self, message: bytes) -> bool:
        """Whether it was a plain ACK, and is done with."""
        if self._stream is None:
            return False
        ack = self._acks.read(message)
        return ack is not None and self._exchange.hub.accept(self._stream, *ack)

    def _receive_in_slices(self, message: bytes) -> Sliced[None]:
        if len(message) > _RECOGNISED or not self._is_ack(message):
            yield from self._receive(message)

    def _receive(self, message: bytes) -> Sliced[None]:
        written_type, request, node = yield from self._decode(message)
        if self._stream is None:
            self._stream = self._exchange.open(
                node, peer=self._peer, method=self._method, wake=self.wake
            )
        self._take(self._stream, written_type, request)
        watch = self._stream.session.watches[request.type_url]
        if self._brought and watch.sent is not self._brought:
            yield from emptied(self._brought)  # the type had begun: it means nothing
        self._brought = None

    def _take(self, stream: Stream, written_type: str, request: Request) -> None:
        watches, most = stream.session.watches, self._exchange.limits.types
        if len(watches) >= most and request.type_url not in watches:
            raise self._too_many(f"more than {most} types on one stream")
        events = self._exchange.hub.receive(stream, request)
        for event in events:
            if isinstance(event, Subscribed):
                self._count_names(stream, event)
        if not any(_is_stale(event) for event in events):
            self._learn(written_type, request)
        for event in events:
            if isinstance(event, Nacked):
                _LOG.warning(
                    "response refused",
                    **named(stream),
                    type=event.type_url,
                    error=event.error,
                    resources=list(event.names),
                    stale=event.stale,
                )

    def _learn(self, written_type: str, request: Request) -> None:
        """Recognise the ACKs of this subscription; of one too large, and so of what it replaces,
        none are.
        """
        if isinstance(request, SotwRequest) and len(request.names) > _LEARNED:
            self._acks.close()
            self._acks = Acks(self._method.dialect, self._line)
        else:
            self._acks.learn(written_type, request)

    def _count_names(self, stream: Stream, event: Subscribed) -> None:
        more = len(event.added) - len(event.removed)
        if more > 0:
            self._account.take(Taken.NAMES, more)
        else:
            self._account.give_back(Taken.NAMES, -more)
        self._names += more
        most = self._exchange.limits.names
        if len(stream.session.watches[event.type_url].subscription.names) > most:
            raise self._too_many(f"a subscription to more than {most} names of one type")

    def _too_many(self, message: str) -> GRPCError:
        self._exchange.counts.streams_refused[StreamRefusal.NAMES] += 1
        return GRPCError(Status.RESOURCE_EXHAUSTED, message)

    def _decode(self, message: bytes) -> Sliced[tuple[str, Request, memoryview | None]]:
        """Decode a request and fill in the type that the service implies."""
        request: Request
        limits = self._exchange.limits
        try:
            if self._method.dialect is Dialect.SOTW:
                request, node = yield from sotw_in_slices(message, limits=limits)
            else:
                self._brought = {}
                request, node = yield from delta_in_slices(
                    message, limits=limits, versions=self._brought
                )
        except MalformedError as failure:
            raise GRPCError(Status.INVALID_ARGUMENT, f"malformed request: {failure}") from failure
        except TooManyError as failure:
            raise self._too_many(str(failure)) from failure
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

    # --- out ------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Something may be due: have a turn."""
        if self._much:
            self._exchange.drain.add_large(self)
        else:
            self._exchange.drain.add(self)

    def resume(self) -> None:
        """The client reads again: have a turn if something waits for that."""
        if not self._outbox.empty:
            self.wake()

    def write(self) -> None:
        """Answer that the stream is served; read on where a large request is being read; write what
        is due, as far as the client reads.
        """
        if self._over:
            return
        if not self._begun:
            self._begun = True
            self._outbox.begin()
        if self._work is not None and self._read_on():
            return  # the answer is work for another turn
        stream = self._stream
        if stream is None:
            return
        if not self._outbox.empty:
            if not self._outbox.flush():
                return
            self._reads_again()
        exchange = self._exchange
        hub, dialect = exchange.hub, self._method.dialect
        while (response := hub.next(stream)) is not None:
            type_url, version, nonce, resources, removed = response
            large = len(resources) + len(removed) > _MANY
            if large:
                self._weigh(stream)
            body = exchange.bodies.of(dialect, response)
            if not self._outbox.put(body, nonce_tail(nonce)):
                self._waits(self._outbox.position)
                return
            self._acks.expect(type_url, version, nonce)
            if large:
                self.wake()
                return
            if stream.session.quiet:
                hub.all_said(stream)
                break
        if stream.session.unfinished:
            self._weigh(stream)
            self.wake()
        elif self._work is None:
            self._much = False

    def _weigh(self, stream: Stream) -> None:
        """Whether so much is left to do that there are turns apart for it."""
        reads_much = self._work is not None and len(self._behind[0]) > _HUGE
        self._much = reads_much or stream.session.backlog > _MUCH

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
            _LOG.warning("stream cut off", **named(self._stream), reason=message)
        self.finish(GRPCError(Status.UNAVAILABLE, message))
        self._outbox.abandon()

    def _reads_again(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None


def _is_stale(event: Event) -> bool:
    return isinstance(event, Stale) or (isinstance(event, Nacked) and event.stale)
