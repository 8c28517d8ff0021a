"""A route table as a MetaRouter makes it, to be published by any peer.

In: how many routes, and a word that makes this version differ from others. Out: what a command of
`peers` carries as `rest`. Guaranteed: two words of one length make tables of one size.
"""

from __future__ import annotations

from base64 import b64encode

from envoy.config.route.v3 import route_components_pb2, route_pb2


def rest(routes: int, word: str) -> str:
    """A header match and a weighted destination each."""
    made = route_pb2.RouteConfiguration()
    host = made.virtual_hosts.add(name="bench", domains=["*"])
    for number in range(routes):
        route = route_components_pb2.Route(name=f"route-{number}")
        route.match.prefix = "/"
        header = route.match.headers.add(name="version")
        header.string_match.exact = f"v{number}-{word}"
        for subset, weight in (("v1", 90), ("v2", 10)):
            route.route.weighted_clusters.clusters.add(
                name=f"outbound|9090|{subset}|orders.shop.svc.cluster.local"
            ).weight.value = weight
        host.routes.append(route)
    return b64encode(made.SerializeToString()).decode()
