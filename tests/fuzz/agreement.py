"""What the official classes read in the same bytes, as an oracle for any bytes.

In: bytes from anywhere. Out: nothing, or an AssertionError. Held for each reader: it reads what the
official class reads, or it raises MalformedError where the official class refuses, and it raises
nothing else. Six differences are meant, and are all that there are:

- groups, which no xDS client writes, are malformed to us;
- so is the field number 0, as the specification has it; Python's official parser lets it pass;
- what a field that we do not read has inside, nobody looks at: the official class refuses more;
- of a message that is there twice the last one counts, where the official class merges them;
- metadata may nest 100 values deep with us; the official limit is 100 messages, of which a value
  takes two or three;
- a node has so many fields in all, for it is decoded in one go; officially there is no limit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container
from typing import Any, Final

from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import empty_pb2, message, struct_pb2
from google.protobuf.unknown_fields import UnknownFieldSet

from aeraki_xds.xds.field import (
    FIXED64,
    LENGTH,
    VARINT,
    MalformedError,
    length_delimited,
    read_varint,
    scan,
    varint,
)
from aeraki_xds.xds.wire.envelope import read_delta, read_sotw
from aeraki_xds.xds.wire.node import read_node

_GROUP: Final = 3
_MEANT: Final = re.compile(rf"wire type {_GROUP}|no field has the number 0\b|a node of more than")
"""Why only ours may refuse."""

_DEEP: Final = 20
"""Values: from here on the official class may refuse for the depth alone."""


class _DeepError(Exception):
    """Nests so deep that the official class may refuse it for that."""


def agree_on_fields(data: bytes) -> None:
    """`scan` finds the fields that the official parser finds where it knows none."""
    theirs = _parsed(empty_pb2.Empty(), data)
    ours = _ours(lambda: [(number, kind, _plain(kind, raw)) for number, kind, raw in scan(data)])
    if theirs is None:
        assert isinstance(ours, MalformedError)
        return
    found = [(each.field_number, each.wire_type, each.data) for each in UnknownFieldSet(theirs)]
    if any(kind == _GROUP or number == 0 for number, kind, _ in found):
        assert isinstance(ours, MalformedError)
    else:
        assert ours == found


def agree_on_sotw(data: bytes) -> None:
    """`read_sotw` against DiscoveryRequest."""
    ours = _ours(lambda: read_sotw(data))
    theirs = _counterpart(ours, discovery_pb2.DiscoveryRequest(), data, _kept_of_sotw)
    if theirs is None or isinstance(ours, MalformedError):
        return
    request, node = ours
    assert (request.type_url, request.version, request.nonce, request.names, request.error) == (
        theirs.type_url,
        theirs.version_info,
        theirs.response_nonce,
        tuple(theirs.resource_names),
        theirs.error_detail.message if theirs.HasField("error_detail") else None,
    )
    assert (node is not None) == theirs.HasField("node")


def agree_on_delta(data: bytes) -> None:
    """`read_delta` against DeltaDiscoveryRequest."""
    ours = _ours(lambda: read_delta(data))
    theirs = _counterpart(ours, discovery_pb2.DeltaDiscoveryRequest(), data, _kept_of_delta)
    if theirs is None or isinstance(ours, MalformedError):
        return
    request, node = ours
    assert (request.type_url, request.nonce, request.subscribe, request.unsubscribe) == (
        theirs.type_url,
        theirs.response_nonce,
        tuple(theirs.resource_names_subscribe),
        tuple(theirs.resource_names_unsubscribe),
    )
    assert request.initial_versions == dict(theirs.initial_resource_versions)
    said = theirs.error_detail.message if theirs.HasField("error_detail") else None
    assert request.error == said
    assert (node is not None) == theirs.HasField("node")


def agree_on_node(data: bytes) -> None:
    """`read_node` against Node, its metadata value by value."""
    ours = _ours(lambda: read_node(memoryview(data)))
    theirs = _counterpart(ours, base_pb2.Node(), data, _kept_of_node)
    if theirs is None or isinstance(ours, MalformedError):
        return
    assert (ours.id, ours.cluster, ours.user_agent) == (
        theirs.id,
        theirs.cluster,
        theirs.user_agent_name,
    )
    assert repr(_sorted(ours.metadata)) == repr(_sorted(_json(theirs.metadata)))
    raw = b"".join(length_delimited(9, bytes(v)) for n, k, v in scan(data) if (n, k) == (9, LENGTH))
    assert ours.extensions == raw


READERS: Final[tuple[Callable[[bytes], None], ...]] = (
    agree_on_fields,
    agree_on_sotw,
    agree_on_delta,
    agree_on_node,
)


# --- both sides ---------------------------------------------------------------------------------


def _ours(read: Callable[[], Any]) -> Any:
    """What ours reads, or why it does not; any other exception is the caller's failure."""
    try:
        return read()
    except MalformedError as failure:
        return failure


def _parsed(into: Any, data: bytes) -> Any:
    try:
        into.ParseFromString(data)
    except message.DecodeError:
        return None
    return into


def _counterpart(ours: Any, official: Any, data: bytes, kept: Callable[[bytes], bytes]) -> Any:
    """The official message to compare with, if there is to be one."""
    if isinstance(ours, MalformedError):
        if not _MEANT.match(str(ours)):
            assert _parsed(official, data) is None, f"only ours refuses: {ours}"
        return None
    try:
        rest = kept(data)
    except _DeepError:
        return None
    theirs = _parsed(official, rest)
    assert theirs is not None, "only the official class refuses"
    return theirs


def _plain(wire_type: int, raw: memoryview) -> object:
    match wire_type:
        case 0:
            return read_varint(raw, 0)[0]
        case 1 | 5:
            return int.from_bytes(raw, "little")
    return bytes(raw)


def _json(value: Any) -> Any:
    """A Struct, ListValue or Value as plain data. (MessageToDict refuses what is not a number.)"""
    match value:
        case struct_pb2.Struct():
            return {key: _json(inner) for key, inner in value.fields.items()}
        case struct_pb2.ListValue():
            return [_json(inner) for inner in value.values]
    match value.WhichOneof("kind"):
        case None | "null_value":
            return None
        case "struct_value" | "list_value" as kind:
            return _json(getattr(value, kind))
        case kind:
            return getattr(value, kind)


def _sorted(value: Any) -> Any:
    match value:
        case dict():
            return sorted((key, _sorted(inner)) for key, inner in value.items())
        case list():
            return [_sorted(inner) for inner in value]
    return value


# --- what is left when the meant differences are taken out --------------------------------------


def _kept(
    data: bytes,
    *,
    plain: Container[tuple[int, int]],
    messages: dict[int, Callable[[bytes], bytes]],
    once: tuple[frozenset[int], ...] = (),
) -> bytes:
    """The fields that we read, of the `messages` among them likewise what we read; of each set of
    field numbers in `once` the last.
    """
    found: list[tuple[int, bytes]] = []
    for number, kind, raw in scan(data):
        if kind == LENGTH and number in messages:
            written = length_delimited(number, messages[number](bytes(raw)))
        elif (number, kind) in plain:
            written = varint(number << 3 | kind)
            written += varint(len(raw)) * (kind == LENGTH) + bytes(raw)
        else:
            continue
        rivals = next((each for each in once if number in each), frozenset[int]())
        found = [each for each in found if each[0] not in rivals]
        found.append((number, written))
    return b"".join(written for _, written in found)


def _strings(*numbers: int) -> frozenset[tuple[int, int]]:
    return frozenset((number, LENGTH) for number in numbers)


def _unread(_data: bytes) -> bytes:
    """A node in a request is there or not, and read by itself."""
    return b""


def _kept_of_status(data: bytes) -> bytes:
    return _kept(data, plain=_strings(2), messages={}, once=(frozenset({2}),))


def _kept_of_sotw(data: bytes) -> bytes:
    return _kept(
        data,
        plain=_strings(1, 3, 4, 5),
        messages={2: _unread, 6: _kept_of_status},
        once=(frozenset({2}), frozenset({6})),
    )


def _kept_of_delta(data: bytes) -> bytes:
    return _kept(
        data,
        plain=_strings(2, 3, 4, 6),
        messages={
            1: _unread,
            5: lambda entry: _kept(entry, plain=_strings(1, 2), messages={}),
            7: _kept_of_status,
        },
        once=(frozenset({1}), frozenset({7})),
    )


def _kept_of_node(data: bytes) -> bytes:
    return _kept(
        data,
        plain=_strings(1, 2, 6),
        messages={3: lambda struct: _kept_of_struct(struct, _DEEP)},
        once=(frozenset({3}),),
    )


def _kept_of_struct(data: bytes, depth: int) -> bytes:
    def entry(data: bytes) -> bytes:
        return _kept(
            data,
            plain=_strings(1),
            messages={2: lambda value: _kept_of_value(value, depth - 1)},
            once=(frozenset({2}),),
        )

    return _kept(data, plain=(), messages={1: entry})


def _kept_of_list(data: bytes, depth: int) -> bytes:
    return _kept(data, plain=(), messages={1: lambda value: _kept_of_value(value, depth - 1)})


def _kept_of_value(data: bytes, depth: int) -> bytes:
    if depth <= 0:
        raise _DeepError
    return _kept(
        data,
        plain={(1, VARINT), (2, FIXED64), (3, LENGTH), (4, VARINT)},
        messages={
            5: lambda struct: _kept_of_struct(struct, depth),
            6: lambda values: _kept_of_list(values, depth),
        },
        once=(frozenset({1, 2, 3, 4, 5, 6}),),
    )
