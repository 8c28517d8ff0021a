"""The discovery RPCs: path → dialect and the type that the service implies.

ADS and one service for each type, in both dialects. The third RPC of each service, `Fetch…`, is
REST polling in gRPC's clothes and is not served. Source: envoy/service/*/v3/*ds.proto.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from aeraki_xds.xds.resource import (
    CLUSTER,
    ENDPOINTS,
    EXTENSION_CONFIG,
    HTTP_ROUTES,
    LISTENER,
    RUNTIME,
    SECRET,
    TypeUrl,
)
from aeraki_xds.xds.session import Dialect


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """What a discovery RPC is about. `only` is the type that its service implies (statement 1)."""

    dialect: Dialect
    only: TypeUrl | None


_SERVICES: Final[Mapping[str, tuple[str, TypeUrl | None]]] = {
    "discovery.v3.AggregatedDiscoveryService": ("AggregatedResources", None),
    "listener.v3.ListenerDiscoveryService": ("Listeners", LISTENER),
    "route.v3.RouteDiscoveryService": ("Routes", HTTP_ROUTES),
    "cluster.v3.ClusterDiscoveryService": ("Clusters", CLUSTER),
    "endpoint.v3.EndpointDiscoveryService": ("Endpoints", ENDPOINTS),
    "secret.v3.SecretDiscoveryService": ("Secrets", SECRET),
    "runtime.v3.RuntimeDiscoveryService": ("Runtime", RUNTIME),
    "extension.v3.ExtensionConfigDiscoveryService": ("ExtensionConfigs", EXTENSION_CONFIG),
}
"""Service below envoy.service → what its RPCs are called after, and its type."""

METHODS: Final[Mapping[str, Method]] = {
    f"/envoy.service.{service}/{verb}{what}": Method(dialect=dialect, only=only)
    for service, (what, only) in _SERVICES.items()
    for verb, dialect in (("Stream", Dialect.SOTW), ("Delta", Dialect.DELTA))
}
