"""Discovery messages: bytes to requests, responses to bytes.

Requests are scanned for their top-level fields; the node stays raw, for it is 61 KB in a stock
Envoy and needed once per stream. Responses copy the resources that were packed when they were
made; their nonce is each stream's own and comes behind (`bodies`). Field numbers:
envoy/service/discovery/v3/discovery.proto. Guaranteed: what is too much is refused as soon as it is
counted, before the rest is decoded.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from aeraki_xds.xds.field import (
    LENGTH,
    MalformedError,
    scan,
    text,
    to_text,
    varint,
)
from aeraki_xds.xds.message import DeltaRequest, Response, SotwRequest
from aeraki_xds.xds.resource import Name, Resource, TypeUrl
from aeraki_xds.xds.wire.limits import DEFAULT_LIMITS, Limits
from aeraki_xds.xds.wire.slices import Sliced, at_once

_SLICE: Final = 64 << 10
_FIELD: Final = 64
"""A slice is so many bytes, and each field is so many more: a millisecond or two."""

_LONGEST_ENTRY: Final = 16 << 10
"""Bytes of a name and its version."""

_LONGEST_ERROR: Final = 64 << 10
"""Characters of a client's error that are kept: each name that it may mean is looked for in it."""


class TooManyError(ValueError):
    """A request that names more than one may."""


def read_sotw(data: bytes) -> tuple[SotwRequest, memoryview | None]:
    """Decode a DiscoveryRequest and hand out its raw node. Raises MalformedError, TooManyError."""
    return at_once(sotw_in_slices(data))


def read_delta(data: bytes) -> tuple[DeltaRequest, memoryview | None]:
    """Decode a DeltaDiscoveryRequest and hand out its raw node. Raises MalformedError,
    TooManyError.
    """
    return at_once(delta_in_slices(data))


def sotw_in_slices(
    data: bytes, *, limits: Limits = DEFAULT_LIMITS
) -> Sliced[tuple[SotwRequest, memoryview | None]]:
    """`read_sotw`, with a stop after each slice."""
    strings = {1: "", 4: "", 5: ""}
    names: list[Name] = []
    node: memoryview | None = None
    error: str | None = None
    spent = 0
    for number, wire_type, value in scan(data):
        spent += _FIELD + len(value)
        if spent > _SLICE:
            spent = 0
            _no_more_than(limits.names, names)
            yield
        if wire_type != LENGTH:
            continue
        if number in strings:
            strings[number] = to_text(value)
        elif number == 2:
            node = value
        elif number == 3:
            names.append(Name(to_text(value)))
        elif number == 6:
            error = yield from _status_message(value)
    _no_more_than(limits.names, names)
    request = SotwRequest(
        type_url=TypeUrl(strings[4]),
        names=tuple(names),
        nonce=strings[5],
        version=strings[1],
        error=error,
    )
    return request, node


def delta_in_slices(
    data: bytes, *, limits: Limits = DEFAULT_LIMITS, versions: dict[Name, str] | None = None
) -> Sliced[tuple[DeltaRequest, memoryview | None]]:
    """`read_delta`, with a stop after each slice. `versions` is an empty mapping to fill, of one
    who will empty it, whatever becomes of the request.
    """
    if versions is None:
        versions = {}
    strings = {2: "", 6: ""}
    subscribe: list[Name] = []
    unsubscribe: list[Name] = []
    node: memoryview | None = None
    error: str | None = None
    spent = 0
    for number, wire_type, value in scan(data):
        spent += _FIELD + len(value)
        if spent > _SLICE:
            spent = 0
            _no_more_than(limits.names, subscribe, unsubscribe)
            _no_more_versions_than(limits.initial_versions, versions)
            yield
        if wire_type != LENGTH:
            continue
        if number in strings:
            strings[number] = to_text(value)
        elif number == 1:
            node = value
        elif number == 3:
            subscribe.append(Name(to_text(value)))
        elif number == 4:
            unsubscribe.append(Name(to_text(value)))
        elif number == 5:
            name, version = _map_entry(value)
            versions[Name(name)] = version
        elif number == 7:
            error = yield from _status_message(value)
    _no_more_than(limits.names, subscribe, unsubscribe)
    _no_more_versions_than(limits.initial_versions, versions)
    request = DeltaRequest(
        type_url=TypeUrl(strings[2]),
        subscribe=tuple(subscribe),
        unsubscribe=tuple(unsubscribe),
        initial_versions=versions,
        nonce=strings[6],
        error=error,
    )
    return request, node


def sotw_body(response: Response) -> bytes:
    """Encode a DiscoveryResponse but for its nonce (5): version_info 1, resources 2, type_url 4."""
    parts = [text(1, response.version)]
    for resource in response.resources:
        parts += (_head(2, len(resource.packed)), resource.packed)
    parts.append(text(4, response.type_url))
    return b"".join(parts)


def delta_body(response: Response) -> bytes:
    """Encode a DeltaDiscoveryResponse but for its nonce (5): system_version_info 1, resources 2,
    type_url 4, removed_resources 6.
    """
    parts = [text(1, response.version)]
    for resource in response.resources:
        named = _named(resource)
        parts += (_head(2, len(named) + len(resource.packed)), named, resource.packed)
    parts.append(text(4, response.type_url))
    for name in response.removed:
        encoded = name.encode()
        parts += (_head(6, len(encoded)), encoded)
    return b"".join(parts)


def _named(resource: Resource) -> bytes:
    """What of a `Resource` message precedes its Any: version 1, name 3, tag and length of 2."""
    version, name = resource.version.encode(), resource.name.encode()
    return b"".join(
        (_head(1, len(version)), version, _head(3, len(name)), name, _head(2, len(resource.packed)))
    )


@lru_cache(maxsize=1 << 14)
def _head(number: int, size: int) -> bytes:
    """Tag and length of a field. Most sizes come again, and this is most of the work."""
    return varint(number << 3 | LENGTH) + varint(size)


def _no_more_than(most: int, *lists: list[Name]) -> None:
    if max(map(len, lists)) > most:
        message = f"a subscription to more than {most} names of one type"
        raise TooManyError(message)


def _no_more_versions_than(most: int, versions: Mapping[Name, str]) -> None:
    if len(versions) > most:
        message = f"more than {most} initial_resource_versions of one type"
        raise TooManyError(message)


def _status_message(value: memoryview) -> Sliced[str]:
    """The message of a google.rpc.Status, or the beginning of a long one."""
    message = ""
    spent = 0
    for number, wire_type, inner in scan(value):
        spent += _FIELD + len(inner)
        if spent > _SLICE:
            spent = 0
            yield
        if number == 2 and wire_type == LENGTH:
            message = to_text(inner)
    return message[:_LONGEST_ERROR]


def _map_entry(value: memoryview) -> tuple[str, str]:
    """One entry of a map<string, string>."""
    if len(value) > _LONGEST_ENTRY:
        message = f"an entry of initial_resource_versions of {len(value)} bytes"
        raise MalformedError(message)
    strings = {1: "", 2: ""}
    for number, wire_type, inner in scan(value):
        if number in strings and wire_type == LENGTH:
            strings[number] = to_text(inner)
    return strings[1], strings[2]
