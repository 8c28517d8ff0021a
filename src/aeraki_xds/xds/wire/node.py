"""The node of a stream's first request: who is asking.

Only what decides something is decoded: id 1, cluster 2, metadata 3, user agent 6. The extension
list (9) is kept raw with its digest, for a fleet runs few builds.
"""

from __future__ import annotations

from hashlib import blake2b

from aeraki_xds._proto.google.protobuf import Struct
from aeraki_xds.xds.admission import Node
from aeraki_xds.xds.field import LENGTH, MalformedError, length_delimited, scan, to_text


def read_node(data: memoryview) -> Node:
    """Decode `envoy.config.core.v3.Node`. Raises MalformedError."""
    strings = {1: "", 2: "", 6: ""}
    metadata: dict[str, object] = {}
    extensions: list[bytes] = []
    for number, wire_type, value in scan(data):
        if wire_type != LENGTH:
            continue
        if number in strings:
            strings[number] = to_text(value)
        elif number == 3:
            metadata = _struct(value)
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


def _struct(value: memoryview) -> dict[str, object]:
    """Plain JSON of a google.protobuf.Struct. A hostile one must not reach past this stream."""
    try:
        decoded: dict[str, object] = Struct().parse(bytes(value)).to_dict()
    except (ValueError, TypeError, KeyError, IndexError, EOFError, RecursionError) as failure:
        message = f"node.metadata is not a google.protobuf.Struct: {failure}"
        raise MalformedError(message) from failure
    return decoded
