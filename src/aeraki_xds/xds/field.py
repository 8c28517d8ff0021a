"""Protobuf's wire format by hand, as far as an xDS envelope needs it.

Envelopes (DiscoveryRequest, DiscoveryResponse, Any, Resource) have a handful of fields and are
handled once per message and stream, so they are written and scanned directly: a body that was
encoded once is copied, never decoded and encoded again.
Source: protobuf.dev, "Encoding" (tag = number << 3 | wire type; 2 = length-delimited).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

VARINT: Final = 0
FIXED64: Final = 1
LENGTH: Final = 2
FIXED32: Final = 5

_SHORT: Final = 5
"""Bytes that a tag or a length may take: they are of 32 bits."""

_LARGEST_TAG: Final = (1 << 32) - 1


class MalformedError(ValueError):
    """Bytes that are not a protobuf message."""


def varint(value: int) -> bytes:
    """Encode an unsigned integer, 7 bits a byte, least significant first."""
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def length_delimited(number: int, value: bytes) -> bytes:
    """Encode one string, bytes or message field."""
    return varint(number << 3 | LENGTH) + varint(len(value)) + value


def text(number: int, value: str) -> bytes:
    """Encode a string field; proto3 leaves an empty one out."""
    return length_delimited(number, value.encode()) if value else b""


def read_varint(data: bytes | memoryview, at: int, longest: int = 10) -> tuple[int, int]:
    """Decode a varint at offset `at`, of `longest` bytes at most: its value, of which 64 bits
    count, and the offset behind it. Raises MalformedError.
    """
    value = shift = 0
    while True:
        if at >= len(data) or shift >= 7 * longest:
            message = f"varint cut off or too long at byte {at}"
            raise MalformedError(message)
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
        shift += 7


def scan(data: bytes | memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Yield (field number, wire type, raw value) of each top-level field, in order.

    Values of length-delimited fields come without their length; varints as their raw bytes.
    Raises MalformedError; groups (deprecated since proto2) count as malformed.
    """
    view = memoryview(data)
    at = 0
    end = len(view)
    while at < end:
        # Nearly every tag and most lengths are one byte: a call for each would be half the time.
        tag = view[at]
        at += 1
        if tag >= 0x80:
            tag, at = read_varint(view, at - 1, _SHORT)
        wire_type = tag & 7
        if wire_type == LENGTH:
            size = view[at] if at < end else 0x80
            at += 1
            if size >= 0x80:
                size, at = read_varint(view, at - 1, _SHORT)
            stop = at + size
        elif wire_type == VARINT:
            _, stop = read_varint(view, at)
        elif wire_type == FIXED64:
            stop = at + 8
        elif wire_type == FIXED32:
            stop = at + 4
        else:
            message = f"wire type {wire_type} at byte {at}"
            raise MalformedError(message)
        if stop > end:
            message = f"field {tag >> 3} runs past the end at byte {at}"
            raise MalformedError(message)
        if not 7 < tag <= _LARGEST_TAG:
            message = f"no field has the number {tag >> 3}, at byte {at}"
            raise MalformedError(message)
        yield tag >> 3, wire_type, view[at:stop]
        at = stop


def to_text(value: memoryview) -> str:
    """Decode a string field. Raises MalformedError when it is not UTF-8."""
    try:
        return str(value, "utf-8")
    except UnicodeDecodeError as failure:
        message = f"a string that is not UTF-8: {failure.reason}"
        raise MalformedError(message) from failure
