"""Who serves a cluster, as a ClusterLoadAssignment.

In: who serves a port (`mesh.workloads`) and a subset's labels. Out: the members that carry all of
those labels, sorted by locality and address.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from aeraki_xds._proto.envoy.config.core.v3 import Address, Locality, SocketAddress
from aeraki_xds._proto.envoy.config.endpoint.v3 import (
    ClusterLoadAssignment,
    Endpoint,
    LbEndpoint,
    LocalityLbEndpoints,
)
from aeraki_xds.mesh.names import ClusterName
from aeraki_xds.mesh.workloads import Member


def assignment(
    name: ClusterName, members: Iterable[Member], labels: Mapping[str, str]
) -> ClusterLoadAssignment:
    """The load assignment of a cluster; without endpoints it is empty, and calls fail fast."""
    by_locality: dict[str, list[Member]] = {}
    for member in members:
        if labels.items() <= (member.labels or {}).items():
            by_locality.setdefault(member.locality, []).append(member)
    return ClusterLoadAssignment(
        cluster_name=name,
        endpoints=[_locality(locality, by_locality[locality]) for locality in sorted(by_locality)],
    )


def _locality(locality: str, endpoints: Iterable[Member]) -> LocalityLbEndpoints:
    """A locality's weight is the sum of its endpoints': gRPC ignores one without a weight."""
    members = sorted(endpoints, key=lambda each: (each.address, each.number))
    region, zone, sub_zone, *_ = (*locality.split("/"), "", "")
    return LocalityLbEndpoints(
        locality=Locality(region=region, zone=zone, sub_zone=sub_zone) if locality else None,
        lb_endpoints=[_endpoint(each) for each in members],
        load_balancing_weight=sum(each.weight or 1 for each in members),
    )


def _endpoint(member: Member) -> LbEndpoint:
    socket = SocketAddress(address=member.address, port_value=member.number)
    return LbEndpoint(
        endpoint=Endpoint(address=Address(socket_address=socket)),
        load_balancing_weight=member.weight or None,
    )
