"""The object model: frozen msgspec Structs, decoded strictly, one per kind.

Fields are those that some translation reads or some check needs; Istio's kinds tolerate further
fields (they are Istio's to judge), Aeraki's own kinds refuse them, because there a misspelt field
would silently widen a route. Sequences are tuples, so an object never changes once read.
"""

from __future__ import annotations

from typing import Final

from aeraki_xds.mesh.names import Key, Kind, Namespace
from aeraki_xds.mesh.objects.aeraki import (
    ApplicationProtocol,
    ApplicationProtocolSpec,
    Destination,
    DestinationWeight,
    GlobalRateLimit,
    KeyValue,
    LocalRateLimit,
    MetaRoute,
    MetaRouteMatch,
    MetaRouter,
    MetaRouterSpec,
    Percent,
    PortSelector,
    StringMatch,
    TokenBucket,
)
from aeraki_xds.mesh.objects.base import Duration, Metadata
from aeraki_xds.mesh.objects.istio import (
    DestinationRule,
    DestinationRuleSpec,
    HttpMatch,
    HttpRoute,
    LoadBalancer,
    RuleSubset,
    ServiceEntry,
    ServiceEntrySpec,
    ServicePort,
    TrafficPolicy,
    VirtualService,
    VirtualServiceSpec,
    WorkloadEndpoint,
)

MeshObject = ServiceEntry | VirtualService | DestinationRule | MetaRouter | ApplicationProtocol

OBJECT_TYPES: Final[dict[tuple[str, Kind], type[MeshObject]]] = {
    ("networking.istio.io", Kind.SERVICE_ENTRY): ServiceEntry,
    ("networking.istio.io", Kind.VIRTUAL_SERVICE): VirtualService,
    ("networking.istio.io", Kind.DESTINATION_RULE): DestinationRule,
    ("metaprotocol.aeraki.io", Kind.META_ROUTER): MetaRouter,
    ("metaprotocol.aeraki.io", Kind.APPLICATION_PROTOCOL): ApplicationProtocol,
}
"""API group and kind → the Struct that holds it."""

CLUSTER_SCOPED: Final = frozenset({Kind.APPLICATION_PROTOCOL})
"""Kinds whose namespace means nothing (specification §1.0)."""


def kind_of(item: MeshObject) -> Kind:
    """The kind of an object."""
    return Kind(type(item).__name__)


def key_of(item: MeshObject) -> Key:
    """The identity of an object."""
    kind = kind_of(item)
    namespace = "" if kind in CLUSTER_SCOPED else item.metadata.namespace
    return Key(kind, Namespace(namespace), item.metadata.name)


def age(item: MeshObject) -> tuple[str, str, str]:
    """Sort key under which the oldest comes first (RFC 3339 sorts as text).

    Objects of a folder carry no creationTimestamp; they order by namespace and name.
    """
    meta = item.metadata
    return (meta.creation_timestamp, meta.namespace, meta.name)


__all__ = [
    "CLUSTER_SCOPED",
    "OBJECT_TYPES",
    "ApplicationProtocol",
    "ApplicationProtocolSpec",
    "Destination",
    "DestinationRule",
    "DestinationRuleSpec",
    "DestinationWeight",
    "Duration",
    "GlobalRateLimit",
    "HttpMatch",
    "HttpRoute",
    "KeyValue",
    "LoadBalancer",
    "LocalRateLimit",
    "MeshObject",
    "MetaRoute",
    "MetaRouteMatch",
    "MetaRouter",
    "MetaRouterSpec",
    "Metadata",
    "Percent",
    "PortSelector",
    "RuleSubset",
    "ServiceEntry",
    "ServiceEntrySpec",
    "ServicePort",
    "StringMatch",
    "TokenBucket",
    "TrafficPolicy",
    "VirtualService",
    "VirtualServiceSpec",
    "WorkloadEndpoint",
    "age",
    "key_of",
    "kind_of",
]
