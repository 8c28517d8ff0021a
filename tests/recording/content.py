"""What resources say, read by the official classes: their names, and what they refer to.

In: a type URL and bytes. Out: the message, its own name, the clusters and route resources that it
names, the endpoints that it needs; all cached, for the same bytes come again and again. Bytes that
the official class does not fully understand have no name: the checker reports that.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, Final

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2,
)
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2
from envoy.extensions.filters.network.thrift_proxy.v3 import route_pb2 as thrift_route_pb2
from envoy.extensions.filters.network.thrift_proxy.v3 import thrift_proxy_pb2
from google.protobuf.message import DecodeError

from tests.recording.kinds import (
    CLUSTER,
    ENDPOINTS,
    HTTP_ROUTES,
    LISTENER,
    PREFIX,
    THRIFT_ROUTES,
)

_CLASSES: Final = {
    CLUSTER: cluster_pb2.Cluster,
    ENDPOINTS: endpoint_pb2.ClusterLoadAssignment,
    LISTENER: listener_pb2.Listener,
    HTTP_ROUTES: route_pb2.RouteConfiguration,
    THRIFT_ROUTES: thrift_route_pb2.RouteConfiguration,
}
_REPEATED: Final = type(route_pb2.RouteConfiguration().virtual_hosts)
_INSIDE: Final = {
    PREFIX + each.DESCRIPTOR.full_name: each
    for each in (
        http_connection_manager_pb2.HttpConnectionManager,
        tcp_proxy_pb2.TcpProxy,
        thrift_proxy_pb2.ThriftProxy,
    )
}
"""Filters that hold routes, or name them, inside an `Any`."""


@functools.lru_cache(maxsize=4096)
def decoded(type_url: str, body: bytes) -> Any | None:
    """The message; None when the type is not one that is served or the bytes are not of it."""
    made = {**_CLASSES, **_INSIDE}.get(type_url)
    if made is None:
        return None
    try:
        message = made.FromString(body)
    except DecodeError:
        return None
    known = made()
    known.CopyFrom(message)
    known.DiscardUnknownFields()
    return message if known.ByteSize() == message.ByteSize() else None


@functools.lru_cache(maxsize=4096)
def inner_name(type_url: str, body: bytes) -> str | None:
    """The name that a resource gives itself."""
    message = decoded(type_url, body)
    if message is None:
        return None
    return str(message.cluster_name if type_url == ENDPOINTS else message.name)


@functools.lru_cache(maxsize=4096)
def endpoints_of(body: bytes) -> str | None:
    """The name of the endpoints that a cluster takes from the management server, if any."""
    cluster = decoded(CLUSTER, body)
    if cluster is None or cluster.type != cluster_pb2.Cluster.EDS:
        return None
    return str(cluster.eds_cluster_config.service_name or cluster.name)


@functools.lru_cache(maxsize=4096)
def clusters_in(type_url: str, body: bytes) -> frozenset[str]:
    """The clusters that a route configuration, or a listener with its own routes, sends to."""
    message = decoded(type_url, body)
    found = _strings(message, "cluster") if message is not None else ()
    return frozenset(name for name in found if name)


@functools.lru_cache(maxsize=4096)
def routes_in(body: bytes) -> frozenset[str]:
    """The route resources that a listener asks for."""
    message = decoded(LISTENER, body)
    found = _strings(message, "route_config_name") if message is not None else ()
    return frozenset(name for name in found if name)


def _strings(message: Any, wanted: str) -> Iterator[str]:
    """All strings of fields of one name, however deep; weighted clusters are called `name`."""
    if message.DESCRIPTOR.full_name == "google.protobuf.Any":
        inside = decoded(message.type_url, message.value)
        if inside is not None:
            yield from _strings(inside, wanted)
        return
    weighted = wanted == "cluster" and message.DESCRIPTOR.name == "ClusterWeight"
    for field, value in message.ListFields():
        if field.message_type is None:
            if field.name == wanted or (weighted and field.name == "name"):
                yield value
        elif field.message_type.GetOptions().map_entry:
            continue
        else:
            for each in value if isinstance(value, _REPEATED) else (value,):
                yield from _strings(each, wanted)
