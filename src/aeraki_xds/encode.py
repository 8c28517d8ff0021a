"""Messages to bytes, to `Any` and to JSON: the one place that knows the protobuf library's ways.

In: messages of `_proto`. Out: their encoding, deterministic as long as maps are filled in sorted
order. Translation calls this once per changed resource, never per stream.
"""

from __future__ import annotations

import betterproto2

from aeraki_xds._proto.google.protobuf import Any
from aeraki_xds._proto.message_pool import default_message_pool

Message = betterproto2.Message


def encode(message: Message) -> bytes:
    """The wire format of a message."""
    return bytes(message)


def type_url(message: Message) -> str:
    """`type.googleapis.com/<full name>` of a message's type."""
    return default_message_pool.type_to_url[type(message)]


def pack(message: Message) -> Any:
    """The message inside an Any, as a filter's `typed_config` wants it."""
    return Any(type_url=type_url(message), value=encode(message))


def packed_to_json(packed: bytes) -> dict[str, object]:
    """proto3 JSON of an encoded Any, with its `@type`: lowerCamelCase names, each Any unpacked."""
    plain: dict[str, object] = Any.parse(packed).to_dict()
    return plain
