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
from aeraki_xds.mesh.objects.base import Duration, Metadata, Password
from aeraki_xds.mesh.objects.dubbo import DubboAuthorizationPolicy, DubboAuthorizationPolicySpec
from aeraki_xds.mesh.objects.istio import (
    DestinationRule,
    DestinationRuleSpec,
    Gateway,
    GatewayServer,
    GatewaySpec,
    HttpMatch,
    HttpRoute,
    LoadBalancer,
    RuleSubset,
    ServiceEntry,
    ServiceEntrySpec,
    ServicePort,
    SyntheticServiceEntry,
    TrafficPolicy,
    VirtualService,
    VirtualServiceSpec,
    WorkloadEndpoint,
    WorkloadEntry,
    WorkloadSelector,
)
from aeraki_xds.mesh.objects.kubernetes import (
    EndpointSlice,
    KubernetesPort,
    KubernetesService,
    KubernetesServiceSpec,
    MeshConfig,
    MeshConfigSpec,
    Pod,
    Secret,
)
from aeraki_xds.mesh.objects.redis import (
    RedisDestination,
    RedisDestinationSpec,
    RedisService,
    RedisServiceSpec,
)

MeshObject = (
    ServiceEntry
    | VirtualService
    | DestinationRule
    | Gateway
    | MetaRouter
    | ApplicationProtocol
    | RedisService
    | RedisDestination
    | DubboAuthorizationPolicy
    | KubernetesService
    | Secret
    | MeshConfig
    | EndpointSlice
    | Pod
    | WorkloadEntry
)

OBJECT_TYPES: Final[dict[tuple[str, Kind], type[MeshObject]]] = {
    ("networking.istio.io", Kind.SERVICE_ENTRY): ServiceEntry,
    ("networking.istio.io", Kind.VIRTUAL_SERVICE): VirtualService,
    ("networking.istio.io", Kind.DESTINATION_RULE): DestinationRule,
    ("networking.istio.io", Kind.GATEWAY): Gateway,
    ("metaprotocol.aeraki.io", Kind.META_ROUTER): MetaRouter,
    ("metaprotocol.aeraki.io", Kind.APPLICATION_PROTOCOL): ApplicationProtocol,
    ("redis.aeraki.io", Kind.REDIS_SERVICE): RedisService,
    ("redis.aeraki.io", Kind.REDIS_DESTINATION): RedisDestination,
    ("dubbo.aeraki.io", Kind.DUBBO_AUTHORIZATION_POLICY): DubboAuthorizationPolicy,
    ("", Kind.SERVICE): KubernetesService,
    ("", Kind.SECRET): Secret,
    ("", Kind.CONFIG_MAP): MeshConfig,
    ("discovery.k8s.io", Kind.ENDPOINT_SLICE): EndpointSlice,
    ("", Kind.POD): Pod,
    ("networking.istio.io", Kind.WORKLOAD_ENTRY): WorkloadEntry,
}
"""API group and kind → the Struct that holds it."""

_KINDS: Final[dict[type[MeshObject], Kind]] = {
    **{struct: kind for (_, kind), struct in OBJECT_TYPES.items()},
    SyntheticServiceEntry: Kind.SERVICE,
}

CLUSTER_SCOPED: Final = frozenset({Kind.APPLICATION_PROTOCOL})
"""Kinds whose namespace means nothing (specification §1.0)."""


def kind_of(item: MeshObject) -> Kind:
    """The kind of an object."""
    return _KINDS[type(item)]


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
    "DubboAuthorizationPolicy",
    "DubboAuthorizationPolicySpec",
    "Duration",
    "EndpointSlice",
    "Gateway",
    "GatewayServer",
    "GatewaySpec",
    "GlobalRateLimit",
    "HttpMatch",
    "HttpRoute",
    "KeyValue",
    "KubernetesPort",
    "KubernetesService",
    "KubernetesServiceSpec",
    "LoadBalancer",
    "LocalRateLimit",
    "MeshConfig",
    "MeshConfigSpec",
    "MeshObject",
    "MetaRoute",
    "MetaRouteMatch",
    "MetaRouter",
    "MetaRouterSpec",
    "Metadata",
    "Password",
    "Percent",
    "Pod",
    "PortSelector",
    "RedisDestination",
    "RedisDestinationSpec",
    "RedisService",
    "RedisServiceSpec",
    "RuleSubset",
    "Secret",
    "ServiceEntry",
    "ServiceEntrySpec",
    "ServicePort",
    "StringMatch",
    "SyntheticServiceEntry",
    "TokenBucket",
    "TrafficPolicy",
    "VirtualService",
    "VirtualServiceSpec",
    "WorkloadEndpoint",
    "WorkloadEntry",
    "WorkloadSelector",
    "age",
    "key_of",
    "kind_of",
]
