"""The Istio kinds that we read: services and workloads, routes, subsets and gateways.

Only what some translation uses is modelled; everything else in these objects is Istio's business
and is skipped. Versions v1, v1beta1 and v1alpha3 have the same fields.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from aeraki_xds.mesh.objects.base import Duration, Metadata

Resolution = Literal["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"]
"""How the endpoints of a service are found."""


class _Istio(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of Istio's types: further fields are skipped."""


class ServicePort(_Istio, frozen=True):
    """A port of a service; its name says the protocol (`mesh.ports`)."""

    number: int
    name: str = ""
    protocol: str = ""
    target_port: int = 0


class WorkloadEndpoint(_Istio, frozen=True):
    """One address that serves; `ports` overrides the port number by port name."""

    address: str = ""
    ports: dict[str, int] = {}
    labels: dict[str, str] = {}
    weight: int = 0
    locality: str = ""


class WorkloadSelector(_Istio, frozen=True):
    """The workloads that serve: those with all these labels."""

    labels: dict[str, str] = {}


class ServiceEntrySpec(_Istio, frozen=True):
    """A service of the mesh."""

    hosts: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    ports: tuple[ServicePort, ...] = ()
    resolution: Resolution = "NONE"
    endpoints: tuple[WorkloadEndpoint, ...] = ()
    workload_selector: WorkloadSelector | None = None
    export_to: tuple[str, ...] = ()


class ServiceEntry(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """networking.istio.io ServiceEntry."""

    metadata: Metadata
    spec: ServiceEntrySpec = ServiceEntrySpec()


class SyntheticServiceEntry(ServiceEntry, frozen=True, kw_only=True, rename="camel"):
    """What a Kubernetes Service means to Istio (`mesh.synthetic`). `target_names` are the ports, by
    number, whose target is the named port of a container.
    """

    target_names: dict[int, str] = {}


class WorkloadEntry(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """networking.istio.io WorkloadEntry: a workload outside of the cluster."""

    metadata: Metadata
    spec: WorkloadEndpoint = WorkloadEndpoint()

    @property
    def labels(self) -> dict[str, str]:
        """What selectors see: the metadata's labels before the spec's, as Istio has it."""
        return {**self.spec.labels, **self.metadata.labels}


class IstioPortSelector(_Istio, frozen=True):
    """A port by number."""

    number: int = 0


class IstioDestination(_Istio, frozen=True):
    """Where calls go."""

    host: str = ""
    subset: str = ""
    port: IstioPortSelector | None = None


class HttpRouteDestination(_Istio, frozen=True):
    """A destination and its share in per cent."""

    destination: IstioDestination | None = None
    weight: int = 0


class IstioStringMatch(_Istio, frozen=True):
    """Istio's oneof of exact, prefix and regex."""

    exact: str | None = None
    prefix: str | None = None
    regex: str | None = None


class HttpMatch(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """The part of an HTTP match that a native protocol can mean.

    Unknown fields are refused here, unlike elsewhere in Istio's kinds: skipping a condition would
    widen the match.
    """

    name: str = ""
    method: IstioStringMatch | None = None
    headers: dict[str, IstioStringMatch] = {}


class IstioPercent(_Istio, frozen=True):
    """A share in per cent."""

    value: float = 0.0


class HttpRoute(_Istio, frozen=True):
    """One ordered rule; every match of the list is an alternative.

    The match is kept as plain JSON: a VirtualService is mostly about HTTP, which is not ours, and
    must stay readable when it uses conditions that only HTTP has (`mesh.rules` decodes it).
    """

    name: str = ""
    match: tuple[dict[str, object], ...] = ()
    route: tuple[HttpRouteDestination, ...] = ()
    mirror: IstioDestination | None = None
    mirror_percentage: IstioPercent | None = None
    # Known only to be reported where a rule of ours would have to honour them.
    cors_policy: object = None
    delegate: object = None
    direct_response: object = None
    fault: object = None
    headers: object = None
    mirrors: object = None
    redirect: object = None
    retries: object = None
    rewrite: object = None
    timeout: object = None


class VirtualServiceSpec(_Istio, frozen=True):
    """How calls to hosts are routed."""

    hosts: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    http: tuple[HttpRoute, ...] = ()
    tcp: object = None
    tls: object = None
    export_to: tuple[str, ...] = ()


class VirtualService(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """networking.istio.io VirtualService."""

    metadata: Metadata
    spec: VirtualServiceSpec = VirtualServiceSpec()


class ConsistentHash(_Istio, frozen=True):
    """Only the header form can mean an attribute of a call."""

    http_header_name: str = ""


class LoadBalancer(_Istio, frozen=True):
    """How a cluster chooses among its endpoints."""

    simple: str = ""
    consistent_hash: ConsistentHash | None = None


class TcpSettings(_Istio, frozen=True):
    """Connection settings of a cluster."""

    connect_timeout: Duration | None = None
    max_connections: object = None
    tcp_keepalive: object = None
    max_connection_duration: object = None
    idle_timeout: object = None


class ConnectionPool(_Istio, frozen=True):
    """Connection settings of a cluster, by layer."""

    tcp: TcpSettings | None = None
    http: object = None


class TrafficPolicy(_Istio, frozen=True):
    """How a cluster behaves; a subset's own policy comes before its service's."""

    load_balancer: LoadBalancer | None = None
    connection_pool: ConnectionPool | None = None
    # Known only to be reported where clusters are ours to build.
    outlier_detection: object = None
    port_level_settings: object = None
    proxy_protocol: object = None
    tls: object = None
    tunnel: object = None


class RuleSubset(_Istio, frozen=True):
    """A named part of a service: the endpoints that carry all these labels."""

    name: str = ""
    labels: dict[str, str] = {}
    traffic_policy: TrafficPolicy | None = None


class DestinationRuleSpec(_Istio, frozen=True):
    """The subsets of a host and the policies of its clusters."""

    host: str = ""
    traffic_policy: TrafficPolicy | None = None
    subsets: tuple[RuleSubset, ...] = ()
    export_to: tuple[str, ...] = ()


class DestinationRule(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """networking.istio.io DestinationRule."""

    metadata: Metadata
    spec: DestinationRuleSpec = DestinationRuleSpec()


class GatewayPort(_Istio, frozen=True):
    """A port that a gateway listens on; its name says the protocol (`mesh.ports`)."""

    number: int = 0
    name: str = ""
    protocol: str = ""


class GatewayServer(_Istio, frozen=True):
    """What a gateway offers on a port."""

    port: GatewayPort | None = None
    hosts: tuple[str, ...] = ()


class GatewaySpec(_Istio, frozen=True):
    """Which proxies are the gateway, and what they offer."""

    selector: dict[str, str] = {}
    servers: tuple[GatewayServer, ...] = ()


class Gateway(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """networking.istio.io Gateway."""

    metadata: Metadata
    spec: GatewaySpec = GatewaySpec()
