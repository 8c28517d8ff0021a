"""Reads along on one HTTP/2 connection: frames, headers, gRPC messages, in both directions.

In: bytes as they passed, in pieces of any size. Out: entries of a `Recording`, for the RPCs whose
path is one of discovery. A message counts when its last byte has passed. Bytes that are not what
they should be raise: then the relay, and the test, fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from hpack import Decoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    RstStreamFrame,
)

from tests.recording.recording import Recording, StreamRecord

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_FRAME_HEAD: Final = 9
_MESSAGE_HEAD: Final = 5
_DISCOVERY: Final = "/envoy.service."
"""How the paths of the RPCs begin that are recorded."""


@dataclass(slots=True, kw_only=True, eq=False)
class _Call:
    """One stream while it lasts, with the part of a message that has passed, each way."""

    record: StreamRecord
    pending: dict[str, bytearray] = field(
        default_factory=lambda: {"client": bytearray(), "server": bytearray()}
    )


class Tap:
    """Both directions of a connection; `sent(by, data)` for each piece that passes."""

    def __init__(self, *, recording: Recording, connection: int) -> None:
        self._recording = recording
        self._connection = connection
        self._calls: dict[int, _Call] = {}
        self._ways = {
            "client": _Way(self._from_client, preface=_PREFACE),
            "server": _Way(self._from_server, preface=b""),
        }

    def sent(self, by: str, data: bytes) -> None:
        """Take a piece that client or server sent."""
        self._ways[by].feed(data)

    def hung_up(self, by: str) -> None:
        """The connection is gone: so is everything on it."""
        for call in self._calls.values():
            call.record.closed(by)
        self._calls.clear()

    def _from_client(self, frame: Frame, headers: dict[str, str]) -> None:
        if isinstance(frame, HeadersFrame | ContinuationFrame):
            path = headers.get(":path", "")
            if path.startswith(_DISCOVERY):
                record = self._recording.stream(self._connection, path)
                self._calls[frame.stream_id] = _Call(record=record)
            return
        self._shared(frame, "client", StreamRecord.asked)

    def _from_server(self, frame: Frame, headers: dict[str, str]) -> None:
        if isinstance(frame, HeadersFrame | ContinuationFrame):
            if "grpc-status" in headers:
                self._end(
                    frame, "server", f"{headers['grpc-status']} {headers.get('grpc-message')}"
                )
            return
        self._shared(frame, "server", StreamRecord.told)

    def _shared(self, frame: Frame, by: str, note: Callable[[StreamRecord, bytes], None]) -> None:
        if isinstance(frame, DataFrame) and frame.stream_id in self._calls:
            call = self._calls[frame.stream_id]
            for message in _messages(call.pending[by], frame.data):
                note(call.record, message)
        if isinstance(frame, RstStreamFrame):
            self._end(frame, by, f"reset {frame.error_code}")
        elif isinstance(frame, DataFrame) and "END_STREAM" in frame.flags:
            self._end(frame, by, "")

    def _end(self, frame: Frame, by: str, status: str) -> None:
        call = self._calls.pop(frame.stream_id, None)
        if call is not None:
            call.record.closed(by, status)


class _Way:
    """One direction: bytes to frames, and header blocks to headers."""

    def __init__(self, take: Callable[[Frame, dict[str, str]], None], *, preface: bytes) -> None:
        self._take = take
        self._preface = preface
        self._bytes = bytearray()
        self._headers = Decoder()
        self._headers.max_allowed_table_size = 1 << 20  # whatever the other end allowed
        self._block = bytearray()

    def feed(self, data: bytes) -> None:
        self._bytes += data
        if self._preface:
            if len(self._bytes) < len(self._preface):
                return
            assert self._bytes.startswith(self._preface), "this is not HTTP/2"
            del self._bytes[: len(self._preface)]
            self._preface = b""
        while (frame := self._next()) is not None:
            if isinstance(frame, HeadersFrame | ContinuationFrame):
                self._block += frame.data
                if "END_HEADERS" in frame.flags:
                    self._take(frame, self._read_block())
            elif not isinstance(frame, GoAwayFrame):
                self._take(frame, {})

    def _next(self) -> Frame | None:
        if len(self._bytes) < _FRAME_HEAD:
            return None
        frame, size = Frame.parse_frame_header(memoryview(bytes(self._bytes[:_FRAME_HEAD])))
        end = _FRAME_HEAD + size
        if len(self._bytes) < end:
            return None
        frame.parse_body(memoryview(bytes(self._bytes[_FRAME_HEAD:end])))
        del self._bytes[:end]
        return frame

    def _read_block(self) -> dict[str, str]:
        block, self._block = bytes(self._block), bytearray()
        return {_text(name): _text(value) for name, value in self._headers.decode(block, raw=True)}


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode(errors="replace")


def _messages(pending: bytearray, data: bytes) -> Iterator[bytes]:
    """The gRPC messages that are complete now."""
    pending += data
    while len(pending) >= _MESSAGE_HEAD:
        assert pending[0] == 0, "a compressed message"
        end = _MESSAGE_HEAD + int.from_bytes(pending[1:_MESSAGE_HEAD], "big")
        if len(pending) < end:
            return
        message = bytes(pending[_MESSAGE_HEAD:end])
        del pending[:end]
        yield message
