"""One host, composed: everything that it gives to one way of delivery.

In: the graph, a host, and a recipe: MetaRDS, ADS for a variant of proxies, or EnvoyFilters for
Istio. Out: an `Output`. All recipes read the same graph, so routes, clusters, listeners and filters
never disagree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from aeraki_xds.mesh.graph import Graph
from aeraki_xds.mesh.names import Host
from aeraki_xds.mesh.objects import age, key_of
from aeraki_xds.mesh.ports import THRIFT_CODEC, PortProtocol, Protocol
from aeraki_xds.mesh.problems import Finding, warning
from aeraki_xds.mesh.service import Port, Service
from aeraki_xds.translate import metards, thrift
from aeraki_xds.translate.clusters import clusters_of
from aeraki_xds.translate.envoyfilter import host as envoyfilter
from aeraki_xds.translate.envoyfilter.profile import EnvoyFilters
from aeraki_xds.translate.listeners import Variant, listener_of
from aeraki_xds.translate.output import Output


@dataclass(frozen=True, slots=True, kw_only=True)
class MetaRds:
    """Routes for MetaProtocol Proxy; Istio delivers everything else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ads:
    """Everything for a stock Envoy."""

    variant: Variant


Recipe = MetaRds | Ads | EnvoyFilters


def compose(graph: Graph, host: Host, recipe: Recipe) -> Output:
    """What a host gives to a recipe; nothing when no ServiceEntry declares it."""
    match recipe:
        case MetaRds():
            return metards.routes_of(graph, host)
        case Ads():
            return _ads(graph, host, recipe.variant)
        case EnvoyFilters():
            return envoyfilter.objects_of(graph, host, recipe)
        case _:
            assert_never(recipe)


def _ads(graph: Graph, host: Host, variant: Variant) -> Output:
    """Clusters of all ports, and a listener for each port that names a protocol of ours. A
    service without such a port, to which no router sends, is nobody's business here: HTTP stays
    untouched.
    """
    declared = graph.service(host)
    if declared is None:
        return Output()
    service, findings = declared
    recognised = [(port, port.protocol) for port in service.ports if port.protocol]
    if not recognised and not graph.is_target(host):
        return Output()
    output = Output(age=_age(service), findings=findings) + clusters_of(graph, service)
    for port, protocol in recognised:
        is_thrift = _speaks_thrift(graph, protocol)
        if is_thrift and port.entry.spec.resolution != "NONE":
            output += thrift.routes_of(graph, service, port.number)
        if port.entry.spec.resolution != "NONE":
            output += listener_of(service, port, protocol, is_thrift=is_thrift, variant=variant)
        output += _undeclared(graph, port, protocol)
    return output


def _age(service: Service) -> tuple[str, ...]:
    """Oldest entry first; of one entry's hosts the first named."""
    entry = service.ports[0].entry
    hosts = entry.spec.hosts
    position = hosts.index(service.spelled) if service.spelled in hosts else len(hosts)
    return (*age(entry), f"{position:06d}")


def _speaks_thrift(graph: Graph, protocol: PortProtocol) -> bool:
    if protocol.protocol is Protocol.THRIFT:
        return True
    return graph.codec(protocol.application) == THRIFT_CODEC


def _undeclared(graph: Graph, port: Port, protocol: PortProtocol) -> Output:
    if not protocol.application or graph.codec(protocol.application) is not None:
        return Output()
    message = f"no ApplicationProtocol declares the codec of {protocol.application!r}"
    problem = warning(f"{port.field}.name", message)
    return Output(findings=(Finding(key=key_of(port.entry), problem=problem),))
