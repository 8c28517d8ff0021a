"""The names that the mesh, Istio and Envoy agree on, and how they are made from one another.

Every string that names something has its own type, so that a host is never passed for a cluster.
The spellings are part of the contract with data planes (design: "Listener addresses"): route
resources are `<host>_<port>` for every type, clusters `outbound|<port>|<subset>|<host>`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple, NewType

Host = NewType("Host", str)
Namespace = NewType("Namespace", str)
Subset = NewType("Subset", str)
RouteName = NewType("RouteName", str)
ClusterName = NewType("ClusterName", str)

DEFAULT_DOMAIN: Final = "cluster.local"
NO_SUBSET: Final = Subset("")


class Kind(StrEnum):
    """The kinds of objects that are understood."""

    SERVICE_ENTRY = "ServiceEntry"
    VIRTUAL_SERVICE = "VirtualService"
    DESTINATION_RULE = "DestinationRule"
    META_ROUTER = "MetaRouter"
    APPLICATION_PROTOCOL = "ApplicationProtocol"
    GATEWAY = "Gateway"
    REDIS_SERVICE = "RedisService"
    REDIS_DESTINATION = "RedisDestination"
    DUBBO_AUTHORIZATION_POLICY = "DubboAuthorizationPolicy"
    SERVICE = "Service"
    SECRET = "Secret"
    CONFIG_MAP = "ConfigMap"
    ENDPOINT_SLICE = "EndpointSlice"
    POD = "Pod"
    WORKLOAD_ENTRY = "WorkloadEntry"


ROUTING: Final = frozenset({Kind.META_ROUTER, Kind.VIRTUAL_SERVICE})
"""Kinds that say how calls to a host are routed."""

ABOUT_REDIS: Final = frozenset({Kind.REDIS_SERVICE, Kind.REDIS_DESTINATION})
"""Kinds that say how a Redis host is offered and reached."""

SERVING: Final = frozenset({Kind.ENDPOINT_SLICE, Kind.POD, Kind.WORKLOAD_ENTRY})
"""Kinds that say who serves: they are many, change all the time, and matter to ADS only."""

RULING: Final = ROUTING | ABOUT_REDIS
"""Kinds that say what happens to calls of hosts which they name."""


class Key(NamedTuple):
    """The identity of an object; cluster-scoped kinds have an empty namespace."""

    kind: Kind
    namespace: Namespace
    name: str

    def __str__(self) -> str:
        """`Kind/namespace/name`, as `validate` and the logs print it."""
        return f"{self.kind}/{self.namespace}/{self.name}"


def full_host(name: str, namespace: Namespace, domain: str = DEFAULT_DOMAIN) -> Host:
    """Expand a short name as Istio does: `reviews` in `shop` is `reviews.shop.svc.<domain>`.

    A name that contains a dot is already full (specification §2.5); one trailing dot is dropped.
    """
    if name and "." not in name:
        return Host(f"{name}.{namespace}.svc.{domain}")
    return Host(name.removesuffix("."))


def cluster_name(host: Host, port: int, subset: Subset = NO_SUBSET) -> ClusterName:
    """Istio's name of an outbound cluster."""
    return ClusterName(f"outbound|{port}|{subset}|{host}")


def route_name(host: Host, port: int) -> RouteName:
    """The name of a route resource, whatever its type."""
    return RouteName(f"{host}_{port}")
