"""HTTP/2 frames of a gRPC client by hand, as few as a discovery stream needs.

In: what to send; the bytes that come. Out: bytes; the frames in them. Header blocks use the static
table and literals only, so a connection keeps no compression state and any server can read them;
what servers send in headers is not decoded. Source: RFC 9113, RFC 7541 appendix A.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Final

DATA: Final = 0
HEADERS: Final = 1
RST_STREAM: Final = 3
SETTINGS: Final = 4
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8

ACK: Final = 0x1
END_STREAM: Final = 0x1
_END_HEADERS: Final = 0x4

_HEAD: Final = Struct(">IBI")
HEAD_SIZE: Final = 9
_SETTING: Final = Struct(">HI")
_INITIAL_WINDOW_SIZE: Final = 4
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

FIRST_WINDOW: Final = 65_535
"""Bytes that may be sent on a connection or a stream before its window is opened."""

LARGEST: Final = 16_384
"""Bytes of a frame that everybody takes."""

WINDOW: Final = 256 << 20
"""Bytes that a server may send before it is told to go on; Envoy's default."""


def frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    """One frame."""
    return _HEAD.pack(len(payload) << 8 | kind, flags, stream_id) + payload


def greeting(*, window: int = WINDOW) -> bytes:
    """What a client opens a connection with: its windows, for streams and for the connection."""
    return b"".join(
        (
            _PREFACE,
            frame(SETTINGS, 0, 0, _SETTING.pack(_INITIAL_WINDOW_SIZE, window)),
            frame(WINDOW_UPDATE, 0, 0, max(window - FIRST_WINDOW, 1).to_bytes(4, "big")),
        )
    )


def call(stream_id: int, path: str, authority: str) -> bytes:
    """The headers of a gRPC call."""
    block = b"".join(
        (
            b"\x83\x86",  # :method POST, :scheme http
            b"\x04" + _string(path),
            b"\x01" + _string(authority),
            b"\x0f\x10" + _string("application/grpc"),  # content-type
            b"\x00" + _string("te") + _string("trailers"),
        )
    )
    return frame(HEADERS, _END_HEADERS, stream_id, block)


def prefixed(body: bytes) -> bytes:
    """A gRPC message: a byte for no compression, four for the length, and the body."""
    return len(body).to_bytes(5, "big") + body


def message(stream_id: int, body: bytes) -> bytes:
    """One gRPC message in one DATA frame; `body` has to fit a frame."""
    return frame(DATA, 0, stream_id, prefixed(body))


def opened(stream_id: int, size: int) -> bytes:
    """WINDOW_UPDATE: the server may send `size` bytes more."""
    return frame(WINDOW_UPDATE, 0, stream_id, size.to_bytes(4, "big"))


def initial_window(settings: bytes) -> int | None:
    """The window that a SETTINGS payload gives to every stream; None if it says nothing of it."""
    values = dict(_SETTING.iter_unpack(settings))
    return values.get(_INITIAL_WINDOW_SIZE)


def read(data: bytes, at: int = 0) -> Iterator[tuple[int, int, int, int, int]]:
    """Kind, flags, stream id, start and end of the payload of each whole frame in `data`."""
    end = len(data)
    while end - at >= HEAD_SIZE:
        length_and_kind, flags, stream_id = _HEAD.unpack_from(data, at)
        start = at + HEAD_SIZE
        at = start + (length_and_kind >> 8)
        if at > end:
            return
        yield length_and_kind & 0xFF, flags, stream_id & 0x7FFFFFFF, start, at


def _string(text: str) -> bytes:
    """A literal without Huffman coding."""
    raw = text.encode()
    assert len(raw) < 127, "longer ones need a second length byte"
    return bytes((len(raw),)) + raw
