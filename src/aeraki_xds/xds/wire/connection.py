"""One HTTP/2 connection: what is plain goes past h2, everything else through it.

In: bytes of the transport. Out: payloads to inboxes, turns to conversations whose clients read
again. Guaranteed: the same messages, windows and errors as without the shortcut, however the bytes
are split; a frame of an unknown type is ignored (RFC 9113, section 5.5), which grpclib does not. A
connection that opens no stream, that is old, that keeps h2 busy with frames that carry nothing, or
whose identity has too many, is closed, and none of them delays the others by more than some
milliseconds.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, Final, cast

import structlog
from grpclib.config import Configuration
from grpclib.exceptions import GRPCError
from grpclib.protocol import AbstractHandler, EventsProcessor, H2Protocol
from grpclib.protocol import Connection as HttpConnection
from h2.config import H2Configuration
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    UnknownFrameReceived,
    WindowUpdated,
)

from aeraki_xds.xds.wire.budget import Budget
from aeraki_xds.xds.wire.expected import Expected
from aeraki_xds.xds.wire.gate import Entrant, Exit, Share
from aeraki_xds.xds.wire.http2 import begun
from aeraki_xds.xds.wire.limits import Limits
from aeraki_xds.xds.wire.openings import Openings
from aeraki_xds.xds.wire.quotas import Account, Quotas, Taken, identity_at
from aeraki_xds.xds.wire.streams import Host, Streams, called, known
from aeraki_xds.xds.wire.tls import Expiry, OtherEnd
from aeraki_xds.xds.wire.windows import HEADER_SIZE, Plain, Windows

_SLICE: Final = 4 << 10
"""Bytes that h2 is given in a turn of the loop: of the smallest frames it is ten milliseconds'
work, and a read of a quarter of a megabyte may hold twenty thousand."""

_BEHIND: Final = 256 << 10
"""Bytes that wait for their turn, above which no more are read."""

_GO_AWAY: Final = b"\0\0\x08\x07\0\0\0\0\0\x7f\xff\xff\xff\0\0\0\0"
"""GOAWAY without an error (RFC 9113, section 6.8)."""

_STEP: Final = 0.05
"""Seconds between two looks at whether the last stream has ended."""

_OLD: Final = "this connection has reached its age: connect again"

_LOG: Final = structlog.get_logger("aeraki_xds.xds")


class Connection(H2Protocol, Entrant):
    """grpclib's protocol, which leaves the streams of `paths` to the server of discovery."""

    def __init__(
        self,
        handler: AbstractHandler,
        config: Configuration,
        h2_config: H2Configuration,
        *,
        paths: Collection[str],
        host: Host,
        limits: Limits,
        quotas: Quotas,
        share: Share,
        exit_by: Exit,
        connections: set[Connection],
    ) -> None:
        super().__init__(handler, config, h2_config)
        self._share = share
        self._exit = exit_by
        self._paths = paths
        self._host = host
        self._limits = limits
        self._quotas = quotas
        self._account: Account | None = None
        self._connections = connections
        self.entered = asyncio.Event()
        self._opened_by = 0
        self._reads_again = False
        self._behind = b""
        self._paused = False
        self._timer: asyncio.TimerHandle | None = None
        self._used = False
        self._retired = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take part in what grpclib makes of h2's events. We greet with our first answer."""
        h2 = begun(
            self.h2_config,
            connection_window=self.config.http2_connection_window_size,
            stream_window=self.config.http2_stream_window_size,
            streams=self._limits.streams_per_connection,
        )
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are of no such class
        self.connection = HttpConnection(h2, self._transport, config=self.config)
        self.connection.initialize()
        self._windows = Windows(h2)
        self._openings = Openings(self._windows)
        self._expected = Expected(self._windows)
        account = self._quotas.of(identity_at(transport))
        self._streams = Streams(
            self.connection,
            windows=self._windows,
            expected=self._expected,
            host=self._host,
            account=account,
            peer=OtherEnd(transport).peer,
        )
        self.processor = _Events(self.handler, self.connection, self._streams)
        processors: dict[Any, Any] = self.processor.processors
        processors[UnknownFrameReceived] = _ignore
        processors[RemoteSettingsChanged] = self._settings_changed
        processors[RequestReceived] = self._opened
        processors[DataReceived] = self._received
        processors[StreamEnded] = self._ended
        processors[StreamReset] = self._reset
        processors[WindowUpdated] = self._window_updated
        self._connections.add(self)
        self._expiry = Expiry(transport, self.retire)
        self._loop = asyncio.get_running_loop()
        self._budget = Budget(limits=self._limits, clock=self._loop.time)
        self._next(self._limits.first_stream, self._close_unused)
        self._enter(account)

    def data_received(self, data: bytes) -> None:
        """Take what has come, or leave it to other turns where h2 has much to do already."""
        if self._hear(data):
            return
        if not self._behind:
            self._read(data)
            return
        self._behind += data
        if len(self._behind) > _BEHIND and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _read(self, data: bytes) -> None:
        """Take what is plain, and leave the rest to h2: of that, one slice a turn."""
        at, left = self._take(data, 0), _SLICE
        if at == len(data):
            return
        self.entered.set()  # by what is never plain: the preface
        self._expected.forget()
        while at < len(data) and left > 0 and not self.connection.is_closing():
            if self._share.is_used_up():
                break
            stop = self._windows.behind(data, at, left)
            self._give(data[at:stop])
            left -= stop - at
            at = self._take(data, stop)
        if self._reads_again:
            self._reads_again = False
            self._streams.resume()
        if self.connection.is_closing():
            return
        if at < len(data):
            self._behind = data[at:]
            self._loop.call_soon(self._read_on)
        else:
            self._expected.open = self._windows.between_frames

    def _give(self, piece: bytes) -> None:
        """Give h2 something to read."""
        if not self._is_affordable(piece):
            return
        self._openings.about_to_read(self._windows.block(piece))
        super().data_received(piece)
        if self._windows.overlong():
            self._cut_off(ErrorCodes.FRAME_SIZE_ERROR, "a frame is too long")

    def _is_affordable(self, piece: bytes) -> bool:
        """Whether a client may go on, and says that; if not, it has gone too far."""
        if self._budget.allows(piece, sent=self._windows.sent(self._opened_by)):
            return True
        self._cut_off(ErrorCodes.ENHANCE_YOUR_CALM, "too many frames that carry nothing")
        return False

    def _read_on(self) -> None:
        data, self._behind = self._behind, b""
        self._read(data)
        if self._paused and len(self._behind) < _BEHIND and not self.connection.is_closing():
            self._paused = False
            self._transport.resume_reading()

    def connection_lost(self, exc: BaseException | None) -> None:
        """The transport is gone."""
        self._connections.discard(self)
        self._expiry.cancel()
        if self._account is not None:
            self._account.give_back(Taken.CONNECTIONS)
        if self._timer is not None:
            self._timer.cancel()
        self._exit.add(partial(super().connection_lost, exc))

    def resume_writing(self) -> None:
        """The transport is below its low-water mark."""
        super().resume_writing()
        self._streams.resume()

    @property
    def is_writable(self) -> bool:
        """Whether the transport takes more: what was written is not much, or gone."""
        return self.connection.write_ready.is_set()

    def retire(self, reason: str = _OLD) -> None:
        """End the streams that there are, then close; new ones are not served. The statuses go out
        before the GOAWAY, for there are clients to whom it is the end of everything.
        """
        if self._retired or self.connection.is_closing():
            return
        self._retired = True
        self._streams.dismiss(reason)
        self._leave(self._loop.time() + self._limits.retirement)

    def close(self) -> None:
        """Say goodbye and close, when what has been written is gone or takes too long."""
        if not self.connection.is_closing():
            self._transport.write(_GO_AWAY)
            self._transport.close()
            self._next(self._limits.retirement, self.abort)

    def abort(self) -> None:
        """Close at once, whatever has not been written."""
        self._transport.abort()

    def _enter(self, account: Account) -> None:
        """Be accounted for, or leave."""
        try:
            account.take(Taken.CONNECTIONS)
        except GRPCError:  # counted and said there
            self.close()
        else:
            self._account = account

    def _leave(self, latest: float) -> None:
        done = not self._streams and not self.processor.streams
        if done or self._loop.time() >= latest:
            self.close()
            return
        self._next(_STEP, self._leave, latest)

    def _next(self, delay: float, callback: Callable[..., None], *arguments: object) -> None:
        """What happens to the connection next, in place of what would have."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(delay, callback, *arguments)

    def _take(self, data: bytes, at: int) -> int:
        """Take the plain frames that there are from `at` on: where they end."""
        if self.connection.is_closing():
            return at
        for kind, stream_id, start, stop in self._windows.plain_frames(data, at):
            if kind is Plain.DATA:
                known = stop - at < len(data) and self._hear(data[at:stop])
                taken = known or self._feed(stream_id, data[start:stop])
            else:
                taken = self._open_again(stream_id, data[at:stop])
            if not taken:
                break
            at = stop
        return at

    def _hear(self, frame: bytes) -> bool:
        """Take a frame, if it is one that is expected."""
        updates = self._expected.heard(frame)
        if updates is None:
            return False
        if updates:
            self._transport.write(updates)
        return True

    def _feed(self, stream_id: int, payload: bytes) -> bool:
        """Deliver a payload, if it is of a stream that takes one."""
        inbox, h2_stream = self._streams.get(stream_id), self._windows.stream(stream_id)
        if inbox is None or h2_stream is None:
            return False
        updates = self._windows.received(h2_stream, len(payload))
        if updates is None:
            return False
        if updates:
            self._transport.write(updates)
        inbox.feed(payload)
        return True

    def _open_again(self, stream_id: int, frame: bytes) -> bool:
        """Open a stream by a call that is known, if there is time for that now."""
        path = self._openings.path_of(frame[HEADER_SIZE:])
        if path is None or self._share.is_used_up() or not self._windows.opened(stream_id):
            return False
        if self._is_affordable(frame):
            self._streams.open(stream_id, path)
        return True

    def _opened(self, event: RequestReceived) -> None:
        if self.connection.is_closing():
            return
        if not self._used:
            self._used = True
            self._retire_in_time()
        headers = known(event.headers)
        call = called(headers, self._paths)
        if call is not None:
            path, seconds = call
            if seconds is None and self._windows.is_of_any_length(event.stream_id):
                self._openings.was_read(path)
            self._streams.open(event.stream_id, path, seconds=seconds)
        else:
            event.headers = cast("Any", headers)
            self.processor.process_request_received(event)

    def _received(self, event: DataReceived) -> None:
        inbox = self._streams.get(event.stream_id)
        if inbox is None:
            self.processor.process_data_received(event)
            return
        self.connection.ack(event.stream_id, event.flow_controlled_length)
        inbox.feed(bytes(event.data))

    def _ended(self, event: StreamEnded) -> None:
        self.processor.process_stream_ended(event)
        if inbox := self._streams.get(event.stream_id):
            inbox.eof()

    def _reset(self, event: StreamReset) -> None:
        self.processor.process_stream_reset(event)
        self._streams.forget(event.stream_id)

    def _window_updated(self, event: WindowUpdated) -> None:
        self.processor.process_window_updated(event)
        if event.stream_id == 0:
            self._opened_by += event.delta or 0
            self._reads_again = True
        elif inbox := self._streams.get(event.stream_id):
            inbox.resume()

    def _settings_changed(self, event: RemoteSettingsChanged) -> None:
        self.processor.process_remote_settings_changed(event)
        self._reads_again = True

    def _cut_off(self, code: ErrorCodes, reason: str) -> None:
        if self.connection.is_closing():
            return
        _LOG.warning("a connection was cut off", reason=reason, peer=self._peer())
        self.connection._connection.close_connection(code)
        self.connection.flush()
        self.processor.close(reason)
        self._next(self._limits.retirement, self.abort)

    def _close_unused(self) -> None:
        _LOG.info("a connection was not used", peer=self._peer())
        self._transport.close()

    def _retire_in_time(self) -> None:
        jitter = self._limits.age_jitter * random.uniform(-1, 1)
        self._next(self._limits.max_age * (1 + jitter), self.retire)

    def _peer(self) -> str:
        return str(self._transport.get_extra_info("peername"))


class _Events(EventsProcessor):
    """grpclib's, whose end is the end of our streams, too."""

    def __init__(self, handler: AbstractHandler, connection: HttpConnection, ours: Streams) -> None:
        super().__init__(handler, connection)
        self._ours = ours

    def close(self, reason: str = "Connection closed") -> None:
        """No event will come any more."""
        self._ours.close()
        super().close(reason)


def _ignore(_event: UnknownFrameReceived) -> None:
    pass
