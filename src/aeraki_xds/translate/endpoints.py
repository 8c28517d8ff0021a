"""Who serves a cluster: ServiceEntry endpoints as a ClusterLoadAssignment.

In: a port of a service and a subset's labels. Out: the endpoints that carry all those labels,
sorted by locality and address. A port's number at an endpoint is the endpoint's own
`ports[<name>]`, else the targetPort, else the service port (design §2, EDS).
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
from aeraki_xds.mesh.objects import WorkloadEndpoint
from aeraki_xds.mesh.service import Port


def assignment(name: ClusterName, port: Port, labels: Mapping[str, str]) -> ClusterLoadAssignment:
    """The load assignment of a cluster; without endpoints it is empty, and calls fail fast."""
    by_locality: dict[str, list[WorkloadEndpoint]] = {}
    for endpoint in port.entry.spec.endpoints:
        if labels.items() <= endpoint.labels.items():
            by_locality.setdefault(endpoint.locality, []).append(endpoint)
    return ClusterLoadAssignment(
        cluster_name=name,
        endpoints=[
            _locality(locality, port, by_locality[locality]) for locality in sorted(by_locality)
        ],
    )


def _locality(
    locality: str, port: Port, endpoints: Iterable[WorkloadEndpoint]
) -> LocalityLbEndpoints:
    """A locality's weight is the sum of its endpoints': gRPC ignores one without a weight."""
    members = sorted(endpoints, key=lambda each: (each.address, _port_at(each, port)))
    region, zone, sub_zone, *_ = (*locality.split("/"), "", "")
    return LocalityLbEndpoints(
        locality=Locality(region=region, zone=zone, sub_zone=sub_zone) if locality else None,
        lb_endpoints=[_endpoint(each, port) for each in members],
        load_balancing_weight=sum(each.weight or 1 for each in members),
    )


def _endpoint(endpoint: WorkloadEndpoint, port: Port) -> LbEndpoint:
    socket = SocketAddress(address=endpoint.address, port_value=_port_at(endpoint, port))
    return LbEndpoint(
        endpoint=Endpoint(address=Address(socket_address=socket)),
        load_balancing_weight=endpoint.weight or None,
    )


def _port_at(endpoint: WorkloadEndpoint, port: Port) -> int:
    return endpoint.ports.get(port.spec.name) or port.spec.target_port or port.number
