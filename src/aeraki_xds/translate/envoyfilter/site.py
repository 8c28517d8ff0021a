"""One port of a service, and what a protocol makes of it.

In: what `placing` found out. Out, from each protocol's module: `Generated`, the network filters of
both directions, wherever they are going to be placed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from aeraki_xds.mesh.graph import Graph
from aeraki_xds.mesh.names import ClusterName, Host, Namespace, cluster_name
from aeraki_xds.mesh.objects import ServiceEntry, key_of
from aeraki_xds.mesh.ports import PortProtocol
from aeraki_xds.mesh.problems import Finding, Problem
from aeraki_xds.mesh.service import Port, Service
from aeraki_xds.translate.envoyfilter.profile import EnvoyFilters, Mend
from aeraki_xds.translate.envoyfilter.values import Json

REPLACE = "REPLACE"
INSERT_BEFORE = "INSERT_BEFORE"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkFilter:
    """A network filter: its name, the full name of its config's message, the config, and whether it
    takes the place of the TCP proxy or precedes it."""

    name: str
    message: str
    config: Json = field(repr=False)  # there may be passwords in it
    operation: str = REPLACE


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """What a protocol makes of a port.

    `patches` follow the filter in every outbound object. `held`: nothing may be decided now, so
    what the whole host has stays. `enforcing` are the findings about rules that only the inbound
    filter carries out, for where it cannot be placed.
    """

    outbound: NetworkFilter | None = None
    inbound: NetworkFilter | None = None
    patches: tuple[Json, ...] = field(default=(), repr=False)
    held: bool = False
    enforcing: tuple[Finding, ...] = ()
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A port of a service that speaks a protocol of ours; `inbound_number` is its number where the
    workload listens."""

    graph: Graph
    service: Service
    port: Port
    protocol: PortProtocol
    delivery: EnvoyFilters
    inbound_number: int

    @property
    def entry(self) -> ServiceEntry:
        """The object that declares the port."""
        return self.port.entry

    @property
    def host(self) -> Host:
        """The host as Istio's clusters spell it."""
        return self.service.spelled

    @property
    def namespace(self) -> Namespace:
        """The namespace of the service."""
        return Namespace(self.entry.metadata.namespace)

    @property
    def number(self) -> int:
        """The port that clients connect to."""
        return self.port.number

    @property
    def outbound_cluster(self) -> ClusterName:
        """The service as a whole."""
        return cluster_name(self.host, self.number)

    @property
    def inbound_cluster(self) -> ClusterName:
        """The workload itself."""
        return ClusterName(f"inbound|{self.inbound_number}||")

    def has(self, mend: Mend) -> bool:
        """Whether a mend is in force."""
        return self.delivery.has(mend)

    def finding(self, problem: Problem) -> Finding:
        """Something about the object that declares the port."""
        return Finding(key=key_of(self.entry), problem=problem)
