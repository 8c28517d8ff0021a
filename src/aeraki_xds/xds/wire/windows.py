"""HTTP/2 frames past h2: the one place that counts flow-control windows beside it.

In: bytes of a connection between two frames. Out: the payload of every plain DATA frame at their
head, and the frames to write for a payload that the client may be sent; the headers of an answer.
Guaranteed: h2's own counters and states are moved exactly as h2 would move them, so that it can
take over at any frame; whatever is not a plain DATA frame of an open stream is left to h2, errors
included. This is here because h2 takes a frame apart in some twenty calls, and all that a discovery
stream carries is small DATA.
Source: RFC 9113, sections 4.1, 5.2, 6.1, 6.9. A test fails when the internals of h2 move.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from struct import Struct
from typing import Final, NamedTuple

from grpclib.const import Status
from grpclib.metadata import encode_grpc_message
from h2.connection import AllowedStreamIDs, ConnectionInputs, ConnectionState, H2Connection
from h2.stream import H2Stream, StreamInputs, StreamState
from h2.windows import WindowManager

_HEADER: Final = Struct(">IBI")
"""Frame header: length (24 bits) and type (8 bits) in one, flags, stream id."""

HEADER_SIZE: Final = 9
_DATA: Final = 0
_HEADERS: Final = 1
_END_HEADERS: Final = 0x4
_FIRST_WINDOW: Final = 65_535
_WINDOW_UPDATE: Final = Struct(">IBII")
_WINDOW_UPDATE_HEAD: Final = 4 << 8 | 8


class Plain(Enum):
    """The frames that need not go through h2."""

    DATA = "data"
    HEADERS = "headers"


_PLAIN: Final = {(_DATA, 0): Plain.DATA, (_HEADERS, _END_HEADERS): Plain.HEADERS}
"""By type and flags: no padding, no end of the stream, a whole header block."""

_OPEN: Final = (ConnectionState.CLIENT_OPEN, ConnectionState.SERVER_OPEN)
_SENDING: Final = (StreamState.OPEN, StreamState.HALF_CLOSED_REMOTE)

CONTENT_TYPE: Final = "application/grpc+proto"

_ANSWER: Final = b"\x88\x0f\x10" + bytes((len(CONTENT_TYPE),)) + CONTENT_TYPE.encode()
""":status 200 and the content type, which the client is not to remember (RFC 7541, sections 6.1 and
6.2.2): so the answer is the same bytes for every stream, and h2's encoder need not know of it."""


class Compression(NamedTuple):
    """What header blocks of a client are read by: the entries that earlier blocks have left, of
    which the newest and how many, and how much they may take.
    """

    newest: object
    entries: int
    size: int


class Windows:
    """Both directions of one connection's flow control."""

    __slots__ = ("_h2",)

    def __init__(self, h2: H2Connection) -> None:
        self._h2 = h2

    def stream(self, stream_id: int) -> H2Stream | None:
        """h2's own record of a stream, to be handed to the other methods."""
        found: H2Stream | None = self._h2.streams.get(stream_id)
        return found

    # --- inbound --------------------------------------------------------------------------------

    def plain_frames(self, data: bytes, at: int) -> Iterator[tuple[Plain, int, int, int]]:
        """Kind, stream id, start and end of the payload of each plain frame at `at` in `data`, one
        behind the other.

        Nothing when h2 is in the midst of a frame or of a header block. To be called on, frame by
        frame, only after the one before was taken.
        """
        if not self.between_frames:
            return
        end, longest = len(data), self._h2.max_inbound_frame_size
        while end - at > HEADER_SIZE:
            length_and_type, flags, stream_id = _HEADER.unpack_from(data, at)
            length = length_and_type >> 8
            start = at + HEADER_SIZE
            at = start + length
            kind = _PLAIN.get((length_and_type & 0xFF, flags))
            if kind is None or at > end or not 0 < length <= longest:
                return
            yield kind, stream_id, start, at

    def block(self, data: bytes) -> bytes:
        """The header block of a plain HEADERS frame; empty if `data` is not one such frame."""
        buffer = self._h2.incoming_buffer
        if len(data) <= HEADER_SIZE or buffer._data or buffer._headers_buffer:
            return b""
        length_and_type, flags, _ = _HEADER.unpack_from(data)
        plain = _PLAIN.get((length_and_type & 0xFF, flags)) is Plain.HEADERS
        whole = len(data) == HEADER_SIZE + (length_and_type >> 8) and not buffer._preamble_len
        return data[HEADER_SIZE:] if plain and whole else b""

    def behind(self, data: bytes, at: int, most: int) -> int:
        """Where what h2 has to be given of `data` from `at` on ends, after `most` bytes at the
        latest: it is given a plain HEADERS frame alone, and else all up to the next plain frame.
        """
        h2 = self._h2
        latest = min(at + most, len(data))
        buffer = h2.incoming_buffer
        if buffer._headers_buffer:
            return latest
        if pending := buffer._data:  # a frame, or the head of one
            whole = HEADER_SIZE
            if len(pending) >= HEADER_SIZE:
                whole += int.from_bytes(pending[:3], "big")
            return min(at + whole - len(pending), latest)
        first = at = at + buffer._preamble_len
        while latest - at >= HEADER_SIZE:
            length_and_type, flags, _ = _HEADER.unpack_from(data, at)
            kind = _PLAIN.get((length_and_type & 0xFF, flags))
            if kind is not None and at > first:
                return at
            at += HEADER_SIZE + (length_and_type >> 8)
            if kind is Plain.HEADERS:
                break
        return min(at, latest) if at > first else latest

    def opened(self, stream_id: int) -> bool:
        """Open a stream, of which the headers need not be read; False when h2 has to judge that,
        and nothing was opened.
        """
        h2 = self._h2
        if (
            not stream_id & 1
            or not h2.highest_inbound_stream_id < stream_id <= h2.HIGHEST_ALLOWED_STREAM_ID
            or h2.open_inbound_streams >= h2.local_settings.max_concurrent_streams
        ):
            return False
        h2.state_machine.process_input(ConnectionInputs.RECV_HEADERS)
        stream = h2._begin_new_stream(stream_id, AllowedStreamIDs.ODD)
        stream.state_machine.process_input(StreamInputs.RECV_HEADERS)
        return True

    def is_of_any_length(self, stream_id: int) -> bool:
        """Whether the headers of a stream said nothing about the length of what follows."""
        stream = self.stream(stream_id)
        return stream is not None and stream._expected_content_length is None

    def compression(self) -> Compression:
        """As it is now."""
        table = self._h2.decoder.header_table
        entries = table.dynamic_entries
        return Compression(entries[0] if entries else None, len(entries), table.maxsize)

    @property
    def between_frames(self) -> bool:
        """Whether h2 would take what comes next for a frame, and no header block goes on in it."""
        buffer = self._h2.incoming_buffer
        return (
            not buffer._data
            and not buffer._headers_buffer
            and not buffer._preamble_len
            and self._h2.state_machine.state in _OPEN
        )

    def received(self, stream: H2Stream, size: int) -> bytes | None:
        """Count a payload that was received and consumed: the WINDOW_UPDATE frames to write for it,
        or None when h2 has to judge the frame, and nothing was counted.
        """
        windows = self.inbound(stream)
        if windows is None or stream.state_machine.state is not StreamState.OPEN:
            return None
        return consumed(*windows, size, stream.stream_id)

    def inbound(self, stream: H2Stream) -> tuple[WindowManager, WindowManager] | None:
        """The windows from which the client fills a stream, the connection's first; None if h2 has
        to judge every frame.
        """
        if stream._expected_content_length is not None:
            return None
        return self._h2._inbound_flow_control_window_manager, stream._inbound_window_manager

    def overlong(self) -> bool:
        """Whether h2 waits for the rest of a frame that is too long: it would wait for all of it,
        16 MiB, before it said so.
        """
        pending = self._h2.incoming_buffer._data
        return int.from_bytes(pending[:3], "big") > self._h2.max_inbound_frame_size

    # --- outbound -------------------------------------------------------------------------------

    def answer(self, stream: H2Stream) -> bytes:
        """Begin the answer on a stream that nothing was sent on: its HEADERS frame."""
        self._h2.state_machine.process_input(ConnectionInputs.SEND_HEADERS)
        stream.state_machine.process_input(StreamInputs.SEND_HEADERS)
        head = _HEADER.pack(len(_ANSWER) << 8 | _HEADERS, _END_HEADERS, stream.stream_id)
        return head + _ANSWER

    def end(self, stream: H2Stream, status: Status, message: str | None) -> None:
        """End a stream with its status; h2 has the frames. They are grpclib's: where the status is
        no good one, a reset follows.
        """
        headers: list[tuple[str, str]] = []
        if not stream.state_machine.headers_sent:
            headers = [(":status", "200"), ("content-type", CONTENT_TYPE)]
        headers.append(("grpc-status", str(status.value)))
        if message is not None:
            headers.append(("grpc-message", encode_grpc_message(message)))
        self._h2.send_headers(stream.stream_id, headers, end_stream=True)
        if status is not Status.OK and not stream.closed:
            self._h2.reset_stream(stream.stream_id)

    def room(self, stream: H2Stream) -> int:
        """Bytes that one DATA frame of a stream may carry now; none on a stream that is closed."""
        if stream.state_machine.state not in _SENDING:
            return 0
        h2 = self._h2
        return min(
            stream.outbound_flow_control_window,
            h2.outbound_flow_control_window,
            h2.max_outbound_frame_size,
        )

    def sent(self, opened: int) -> int:
        """Bytes of DATA sent on the connection, whose window the client has opened by `opened`."""
        return _FIRST_WINDOW + opened - self._h2.outbound_flow_control_window

    def claim(self, stream: H2Stream, size: int) -> bytes | None:
        """`send`, if the payload fits `room`."""
        h2 = self._h2
        if (
            size > stream.outbound_flow_control_window
            or size > h2.outbound_flow_control_window
            or size > h2.max_outbound_frame_size
            or stream.state_machine.state not in _SENDING
        ):
            return None
        stream.outbound_flow_control_window -= size
        h2.outbound_flow_control_window -= size
        return _HEADER.pack(size << 8 | _DATA, 0, stream.stream_id)

    def send(self, stream: H2Stream, size: int) -> bytes:
        """Count a payload of `size` bytes, which must fit `room`: the header of its frame."""
        stream.outbound_flow_control_window -= size
        self._h2.outbound_flow_control_window -= size
        return data_header(stream.stream_id, size)


def data_header(stream_id: int, size: int) -> bytes:
    """What precedes a payload of so many bytes."""
    return _HEADER.pack(size << 8 | _DATA, 0, stream_id)


def consumed(shared: WindowManager, own: WindowManager, size: int, stream_id: int) -> bytes | None:
    """Do what h2's `window_consumed` and `process_bytes` do with the windows of a connection and of
    an open stream of it, in a third of the time: the WINDOW_UPDATE frames to write, or None, and
    nothing was counted, when one of the two is too small.
    """
    if size > shared.current_window_size or size > own.current_window_size:
        return None
    shared.current_window_size -= size
    own.current_window_size -= size
    shared._bytes_processed += size
    own._bytes_processed += size
    if (
        shared._bytes_processed < shared.max_window_size // 2
        and own._bytes_processed < own.max_window_size // 2
        and shared.current_window_size
        and own.current_window_size
    ):
        return b""  # mostly: nothing is opened before half of a window is consumed
    updates = b""
    if opened := shared._maybe_update_window():
        updates = _WINDOW_UPDATE.pack(_WINDOW_UPDATE_HEAD, 0, 0, opened)
    if opened := own._maybe_update_window():
        updates += _WINDOW_UPDATE.pack(_WINDOW_UPDATE_HEAD, 0, stream_id, opened)
    return updates
