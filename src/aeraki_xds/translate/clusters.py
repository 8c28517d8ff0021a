"""The upstreams of a service: one cluster per port and subset, with endpoints by EDS or DNS.

In: the graph and a service. Out: drafts of clusters and their assignments. Every declared subset
has its cluster whether a route uses it or not, so a route that moves to it finds it warm. Which
Pods are of a subset nobody knows before all of them are read: till then its assignment is withheld.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Final, NamedTuple

import msgspec

from aeraki_xds._proto.envoy.config.cluster.v3 import (
    Cluster,
    ClusterDiscoveryType,
    ClusterDnsLookupFamily,
    ClusterEdsClusterConfig,
    ClusterLbPolicy,
)
from aeraki_xds._proto.envoy.config.core.v3 import (
    Address,
    AggregatedConfigSource,
    ApiVersion,
    ConfigSource,
    SocketAddress,
)
from aeraki_xds._proto.envoy.config.endpoint.v3 import (
    ClusterLoadAssignment,
    Endpoint,
    LbEndpoint,
    LocalityLbEndpoints,
)
from aeraki_xds.mesh.graph import Graph
from aeraki_xds.mesh.names import NO_SUBSET, ClusterName, Subset, cluster_name
from aeraki_xds.mesh.objects import (
    DestinationRule,
    SyntheticServiceEntry,
    TrafficPolicy,
    key_of,
)
from aeraki_xds.mesh.problems import Finding, Problem, warning
from aeraki_xds.mesh.service import Port, Service
from aeraki_xds.mesh.workloads import Member, members_of, slices_of
from aeraki_xds.translate.endpoints import assignment
from aeraki_xds.translate.output import Draft, Output, found

_CONNECT_TIMEOUT: Final = timedelta(seconds=10)
"""Istio's default."""

_LB_POLICIES: Final = {
    "ROUND_ROBIN": ClusterLbPolicy.ROUND_ROBIN,
    "LEAST_REQUEST": ClusterLbPolicy.LEAST_REQUEST,
    "LEAST_CONN": ClusterLbPolicy.LEAST_REQUEST,
    "RANDOM": ClusterLbPolicy.RANDOM,
}


class _Part(NamedTuple):
    """A subset, or the service as a whole, with the policy that counts for it."""

    subset: Subset
    labels: Mapping[str, str]
    policy: TrafficPolicy | None


def clusters_of(graph: Graph, service: Service) -> Output:
    """All clusters of a service with their endpoints."""
    rule = graph.destination_rule(service.host)
    output = Output(findings=found(key_of(rule), _unapplied(rule))) if rule else Output()
    for port in service.ports:
        members = members_of(graph, port)
        for part in _parts(rule):
            output += _cluster(graph, service, port, members, part)
    return output


def _parts(rule: DestinationRule | None) -> Iterable[_Part]:
    """The service as a whole, then each subset."""
    common = rule.spec.traffic_policy if rule else None
    yield _Part(NO_SUBSET, {}, common)
    for subset in rule.spec.subsets if rule else ():
        yield _Part(Subset(subset.name), subset.labels, _inherit(subset.traffic_policy, common))


def _inherit(own: TrafficPolicy | None, common: TrafficPolicy | None) -> TrafficPolicy | None:
    """A subset's policy, field by field before its service's."""
    if own is None or common is None:
        return own or common
    return TrafficPolicy(
        load_balancer=own.load_balancer or common.load_balancer,
        connection_pool=own.connection_pool or common.connection_pool,
    )


def _cluster(
    graph: Graph, service: Service, port: Port, members: tuple[Member, ...], part: _Part
) -> Output:
    subset, labels, policy = part
    name = cluster_name(service.spelled, port.number, subset)
    cluster = Cluster(
        name=name, connect_timeout=_connect_timeout(policy), lb_policy=_lb_policy(policy)
    )
    resolution = port.entry.spec.resolution
    if resolution == "NONE":
        if subset:
            return Output()
        message = "resolution NONE names no endpoints, so there is no cluster; use STATIC or DNS"
        return _noted(port, warning("spec.resolution", message))
    endpoints = assignment(name, members, labels)
    if resolution == "STATIC":
        cluster.type = ClusterDiscoveryType.EDS
        cluster.eds_cluster_config = ClusterEdsClusterConfig(
            eds_config=ConfigSource(
                ads=AggregatedConfigSource(), resource_api_version=ApiVersion.V3
            )
        )
        served = Draft.of(name, endpoints)
        drafts = (Draft.of(name, cluster, (served.id,)),)
        if labels and any(member.labels is None for member in members):
            return Output(drafts=drafts, withheld=frozenset({served.id}))
        output = Output(drafts=(*drafts, served))
    else:
        if not members:
            endpoints = _host_itself(name, service, port)
        cluster.type = ClusterDiscoveryType.STRICT_DNS
        cluster.dns_lookup_family = ClusterDnsLookupFamily.V4_PREFERRED
        cluster.load_assignment = endpoints
        output = Output(drafts=(Draft.of(name, cluster),))
    if not endpoints.endpoints:
        what = f"subset {subset!r} of {service.host}" if subset else service.host
        output += _noted(port, _nobody(graph, port, what))
    return output


def _nobody(graph: Graph, port: Port, what: str) -> Problem:
    """That calls fail, and for a Service whether that is known or not."""
    entry = port.entry
    if not isinstance(entry, SyntheticServiceEntry):
        return warning("spec.endpoints", f"nobody serves {what}")
    text = f"nobody serves {what}: " + (
        "no ready endpoint of its EndpointSlices does"
        if slices_of(graph, entry)
        else "no EndpointSlice of the Service is read, and only these say who does"
    )
    return warning("spec.selector", text)


def _noted(port: Port, problem: Problem) -> Output:
    return Output(findings=(Finding(key=key_of(port.entry), problem=problem),))


def _host_itself(name: ClusterName, service: Service, port: Port) -> ClusterLoadAssignment:
    """DNS without endpoints: the host is the name to look up."""
    number = port.spec.target_port or port.number
    socket = SocketAddress(address=service.host, port_value=number)
    endpoint = LbEndpoint(endpoint=Endpoint(address=Address(socket_address=socket)))
    return ClusterLoadAssignment(
        cluster_name=name, endpoints=[LocalityLbEndpoints(lb_endpoints=[endpoint])]
    )


_UNAPPLIED: Final = ("outlierDetection", "portLevelSettings", "proxyProtocol", "tls", "tunnel")
_UNAPPLIED_TCP: Final = ("maxConnections", "tcpKeepalive", "maxConnectionDuration", "idleTimeout")


def _unapplied(rule: DestinationRule) -> Iterable[Problem]:
    """What a DestinationRule asks of clusters that ours do not have yet: said, not dropped."""
    policies = [("spec.trafficPolicy", rule.spec.traffic_policy)]
    policies += (
        (f"spec.subsets[{n}].trafficPolicy", subset.traffic_policy)
        for n, subset in enumerate(rule.spec.subsets)
    )
    for field, policy in policies:
        pool = policy.connection_pool if policy else None
        asked = [name for name in _UNAPPLIED if _is_set(policy, name)]
        balancer = policy.load_balancer if policy else None
        asked += ["loadBalancer.consistentHash"] if _is_set(balancer, "consistentHash") else []
        asked += ["connectionPool.http"] if _is_set(pool, "http") else []
        asked += (
            f"connectionPool.tcp.{name}"
            for name in _UNAPPLIED_TCP
            if _is_set(pool.tcp if pool else None, name)
        )
        for name in asked:
            yield warning(f"{field}.{name}", "is not applied to a stock Envoy's clusters yet")


def _is_set(struct: msgspec.Struct | None, name: str) -> bool:
    """Whether a field, by its JSON name, was written."""
    if struct is None:
        return False
    names = dict(zip(struct.__struct_encode_fields__, struct.__struct_fields__, strict=True))
    return getattr(struct, names[name]) is not None


def _connect_timeout(policy: TrafficPolicy | None) -> timedelta:
    pool = policy.connection_pool if policy else None
    timeout = pool.tcp.connect_timeout if pool and pool.tcp else None
    return timedelta(seconds=timeout.seconds) if timeout else _CONNECT_TIMEOUT


def _lb_policy(policy: TrafficPolicy | None) -> ClusterLbPolicy:
    balancer = policy.load_balancer if policy else None
    return _LB_POLICIES.get(balancer.simple if balancer else "", ClusterLbPolicy.LEAST_REQUEST)
