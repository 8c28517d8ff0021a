"""One HTTP/2 connection: plain DATA goes straight to its stream, everything else through h2.

In: bytes of the transport. Out: payloads to inboxes, turns to conversations whose clients read
again. Guaranteed: the same messages, windows and errors as without the shortcut, however the bytes
are split; a frame of an unknown type is ignored (RFC 9113, section 5.5), which grpclib does not.
"""

from __future__ import annotations

from asyncio import BaseTransport
from collections.abc import Collection
from functools import partial
from typing import Any

from grpclib.config import Configuration
from grpclib.protocol import AbstractHandler, H2Protocol
from grpclib.protocol import Stream as HttpStream
from h2.config import H2Configuration
from h2.events import RemoteSettingsChanged, RequestReceived, UnknownFrameReceived, WindowUpdated

from aeraki_xds.xds.wire.inbox import Inbox
from aeraki_xds.xds.wire.outbox import Outbox
from aeraki_xds.xds.wire.windows import Windows


class Connection(H2Protocol):
    """grpclib's protocol, with an inbox in place of the buffer of every stream of `paths`."""

    def __init__(
        self,
        handler: AbstractHandler,
        config: Configuration,
        h2_config: H2Configuration,
        *,
        paths: Collection[str],
    ) -> None:
        super().__init__(handler, config, h2_config)
        self._paths = paths

    def connection_made(self, transport: BaseTransport) -> None:
        """Take part in what grpclib makes of h2's events."""
        super().connection_made(transport)
        self._transport = self.connection._transport
        self._windows = Windows(self.connection._connection)
        self._streams = self.processor.streams
        self.processor.processors.update(
            {
                RequestReceived: self._opened,
                WindowUpdated: self._window_updated,
                RemoteSettingsChanged: self._settings_changed,
                UnknownFrameReceived: _ignore,
            }
        )

    def data_received(self, data: bytes) -> None:
        """Take what is plain DATA, and leave the rest to h2."""
        taken = self._take(data)
        if taken < len(data):
            super().data_received(data[taken:] if taken else data)

    def resume_writing(self) -> None:
        """The transport is below its low-water mark."""
        super().resume_writing()
        self._resume()

    def _take(self, data: bytes) -> int:
        """Deliver the plain DATA frames at the head of `data`; how many bytes they were."""
        taken = 0
        for stream_id, start, stop in self._windows.plain_frames(data):
            inbox, h2_stream = self._inbox(stream_id), self._windows.stream(stream_id)
            if inbox is None or h2_stream is None:
                break
            updates = self._windows.received(h2_stream, stop - start)
            if updates is None:
                break
            if updates:
                self._transport.write(updates)
            inbox.feed(data[start:stop])
            taken = stop
        return taken

    def _inbox(self, stream_id: int) -> Inbox | None:
        stream = self._streams.get(stream_id)
        inbox: object = stream.buffer if stream is not None else None
        return inbox if isinstance(inbox, Inbox) else None

    def _opened(self, event: RequestReceived) -> None:
        self.processor.process_request_received(event)
        stream = self._streams[event.stream_id]
        headers: dict[Any, Any] = dict(event.headers)
        if headers.get(":path") in self._paths:
            inbox: Any = Inbox(partial(self.connection.ack, event.stream_id))
            stream.buffer = inbox

    def _window_updated(self, event: WindowUpdated) -> None:
        self.processor.process_window_updated(event)
        if event.stream_id == 0:
            self._resume()
        elif inbox := self._inbox(event.stream_id):
            inbox.resume()

    def _settings_changed(self, event: RemoteSettingsChanged) -> None:
        self.processor.process_remote_settings_changed(event)
        self._resume()

    def _resume(self) -> None:
        for stream_id in tuple(self._streams):
            if inbox := self._inbox(stream_id):
                inbox.resume()


def inbox_of(stream: HttpStream) -> Inbox:
    """The inbox that the connection gave to a stream."""
    inbox: object = stream.buffer
    assert isinstance(inbox, Inbox)
    return inbox


def outbox_of(stream: HttpStream) -> Outbox | None:
    """An outbox for a stream whose headers have been answered; None when it is gone already."""
    windows = Windows(stream._h2_connection)
    h2_stream = windows.stream(stream.id) if stream.id is not None else None
    if h2_stream is None:
        return None
    return Outbox(
        windows=windows,
        stream=h2_stream,
        transport=stream._transport,
        writable=stream.connection.write_ready,
    )


def _ignore(_event: UnknownFrameReceived) -> None:
    pass
