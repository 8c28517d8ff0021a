"""Discovery messages: bytes to requests, responses to bytes.

Requests are scanned for their top-level fields; the node stays raw, for it is 61 KB in a stock
Envoy and needed once per stream. Responses copy the resources that were packed when they were
made; their nonce is each stream's own and comes behind (`bodies`). Field numbers:
envoy/service/discovery/v3/discovery.proto.
"""

from __future__ import annotations

from typing import Final

from aeraki_xds.xds.field import LENGTH, length_delimited, scan, text, to_text, varint
from aeraki_xds.xds.message import DeltaRequest, Response, SotwRequest
from aeraki_xds.xds.resource import Name, Resource, TypeUrl

_RESOURCES_TAG: Final = varint(2 << 3 | LENGTH)
_ANY_TAG: Final = varint(2 << 3 | LENGTH)


def read_sotw(data: bytes) -> tuple[SotwRequest, memoryview | None]:
    """Decode a DiscoveryRequest and hand out its raw node. Raises MalformedError."""
    strings = {1: "", 4: "", 5: ""}
    names: list[Name] = []
    node: memoryview | None = None
    error: str | None = None
    for number, wire_type, value in scan(data):
        if wire_type != LENGTH:
            continue
        if number in strings:
            strings[number] = to_text(value)
        elif number == 2:
            node = value
        elif number == 3:
            names.append(Name(to_text(value)))
        elif number == 6:
            error = _status_message(value)
    request = SotwRequest(
        type_url=TypeUrl(strings[4]),
        names=tuple(names),
        nonce=strings[5],
        version=strings[1],
        error=error,
    )
    return request, node


def read_delta(data: bytes) -> tuple[DeltaRequest, memoryview | None]:
    """Decode a DeltaDiscoveryRequest and hand out its raw node. Raises MalformedError."""
    strings = {2: "", 6: ""}
    subscribe: list[Name] = []
    unsubscribe: list[Name] = []
    versions: dict[Name, str] = {}
    node: memoryview | None = None
    error: str | None = None
    for number, wire_type, value in scan(data):
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
            error = _status_message(value)
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
        parts += (_RESOURCES_TAG, varint(len(resource.packed)), resource.packed)
    parts.append(text(4, response.type_url))
    return b"".join(parts)


def delta_body(response: Response) -> bytes:
    """Encode a DeltaDiscoveryResponse but for its nonce (5): system_version_info 1, resources 2,
    type_url 4, removed_resources 6."""
    parts = [text(1, response.version)]
    for resource in response.resources:
        head = _named(resource)
        size = len(head) + len(resource.packed)
        parts += (_RESOURCES_TAG, varint(size), head, resource.packed)
    parts.append(text(4, response.type_url))
    parts += (length_delimited(6, name.encode()) for name in response.removed)
    return b"".join(parts)


def _named(resource: Resource) -> bytes:
    """The head of a `Resource` message: version 1, name 3, and the tag and length of its Any 2."""
    return (
        text(1, resource.version) + text(3, resource.name) + _ANY_TAG + varint(len(resource.packed))
    )


def _status_message(value: memoryview) -> str:
    """The message of a google.rpc.Status."""
    for number, wire_type, inner in scan(value):
        if number == 2 and wire_type == LENGTH:
            return to_text(inner)
    return ""


def _map_entry(value: memoryview) -> tuple[str, str]:
    """One entry of a map<string, string>."""
    strings = {1: "", 2: ""}
    for number, wire_type, inner in scan(value):
        if number in strings and wire_type == LENGTH:
            strings[number] = to_text(inner)
    return strings[1], strings[2]
