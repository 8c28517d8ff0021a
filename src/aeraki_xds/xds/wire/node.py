"""The node of a stream's first request: who is asking.

Only what decides something is decoded: id 1, cluster 2, metadata 3, user agent 6. The extension
list (9) is kept raw with its digest, for a fleet runs few builds. The metadata is decoded by hand,
too: it comes from anyone, and every way in which it can be wrong must end as a MalformedError.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from struct import unpack
from typing import Final

from aeraki_xds.xds.admission import Node
from aeraki_xds.xds.field import (
    FIXED64,
    LENGTH,
    VARINT,
    MalformedError,
    length_delimited,
    read_varint,
    scan,
    to_text,
)

_DEPTH: Final = 100
"""How deeply metadata may nest: protobuf's own limit."""

_MOST: Final = 10_000
"""Fields of a node at all depths, for it is decoded in one go. A stock Envoy's has 520, of which
nearly all are extensions; a value of metadata takes four."""


def read_node(data: memoryview) -> Node:
    """Decode `envoy.config.core.v3.Node`. Raises MalformedError."""
    strings = {1: "", 2: "", 6: ""}
    metadata: dict[str, object] = {}
    extensions: list[bytes] = []
    fields = _Fields()
    for number, wire_type, value in fields.of(data):
        if wire_type != LENGTH:
            continue
        if number in strings:
            strings[number] = to_text(value)
        elif number == 3:
            metadata = _struct(value, fields, _DEPTH)
        elif number == 9:
            extensions.append(length_delimited(9, bytes(value)))
    raw = b"".join(extensions)
    return Node(
        id=strings[1],
        cluster=strings[2],
        metadata=metadata,
        user_agent=strings[6],
        extensions=raw,
        extensions_digest=blake2b(raw, digest_size=8).hexdigest() if raw else "",
    )


class _Fields:
    """The fields of a node's messages, as `scan` finds them, but only so many in all."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = _MOST

    def of(self, data: memoryview) -> Iterator[tuple[int, int, memoryview]]:
        """The top-level fields of one message. Raises MalformedError."""
        for found in scan(data):
            self._left -= 1
            if self._left < 0:
                message = f"a node of more than {_MOST} fields"
                raise MalformedError(message)
            yield found


def _struct(data: memoryview, fields: _Fields, depth: int) -> dict[str, object]:
    """google.protobuf.Struct: fields 1 = map entries of key 1 and value 2."""
    found: dict[str, object] = {}
    for number, wire_type, entry in fields.of(data):
        if number != 1 or wire_type != LENGTH:
            continue
        key = ""
        value: object = None
        for part, part_type, inner in fields.of(entry):
            if part_type == LENGTH and part == 1:
                key = to_text(inner)
            elif part_type == LENGTH and part == 2:
                value = _value(inner, fields, depth - 1)
        found[key] = value
    return found


def _list(data: memoryview, fields: _Fields, depth: int) -> list[object]:
    """google.protobuf.ListValue: values 1."""
    return [
        _value(value, fields, depth - 1)
        for number, wire_type, value in fields.of(data)
        if number == 1 and wire_type == LENGTH
    ]


def _value(data: memoryview, fields: _Fields, depth: int) -> object:
    """google.protobuf.Value: null 1, number 2, string 3, bool 4, struct 5, list 6. Last wins."""
    if depth <= 0:
        message = f"metadata nests deeper than {_DEPTH} levels"
        raise MalformedError(message)
    found: object = None
    for number, wire_type, value in fields.of(data):
        if (number, wire_type) == (1, VARINT):
            found = None
        elif (number, wire_type) == (2, FIXED64):
            (found,) = unpack("<d", value)
        elif (number, wire_type) == (3, LENGTH):
            found = to_text(value)
        elif (number, wire_type) == (4, VARINT):
            found = read_varint(value, 0)[0] != 0
        elif (number, wire_type) == (5, LENGTH):
            found = _struct(value, fields, depth)
        elif (number, wire_type) == (6, LENGTH):
            found = _list(value, fields, depth)
    return found
