"""The types that are served, by their official names, and what the protocol says of them."""

from __future__ import annotations

from typing import Final

PREFIX: Final = "type.googleapis.com/"
CLUSTER: Final = PREFIX + "envoy.config.cluster.v3.Cluster"
ENDPOINTS: Final = PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER: Final = PREFIX + "envoy.config.listener.v3.Listener"
HTTP_ROUTES: Final = PREFIX + "envoy.config.route.v3.RouteConfiguration"
THRIFT_ROUTES: Final = (
    PREFIX + "envoy.extensions.filters.network.thrift_proxy.v3.RouteConfiguration"
)
WORDS: Final = {
    CLUSTER: "CDS",
    ENDPOINTS: "EDS",
    LISTENER: "LDS",
    HTTP_ROUTES: "RDS",
    THRIFT_ROUTES: "TRDS",
}
FULL_STATE: Final = frozenset({CLUSTER, LISTENER})
"""Types that may be asked for by wildcard, and whose SotW response is all that there is."""
