"""One host's EnvoyFilters: which of its ports have a filter, and what each becomes.

In: the graph, a host and a profile. Out: an `Output` of Kubernetes objects. A host of which
something cannot be decided keeps all its objects: an inbound filter is no use without the outbound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from aeraki_xds.mesh.graph import Graph
from aeraki_xds.mesh.links import MESH
from aeraki_xds.mesh.names import ROUTING, RULING, Host, Kind
from aeraki_xds.mesh.objects import MetaRouter, ServiceEntry, age, key_of
from aeraki_xds.mesh.ports import PortProtocol, Protocol, parse_port_name
from aeraki_xds.mesh.problems import Finding, warning
from aeraki_xds.mesh.service import Port, Service
from aeraki_xds.translate.envoyfilter import dubbo, gateway, metaprotocol, metrics, redis, thrift
from aeraki_xds.translate.envoyfilter.placing import inbound_number, place
from aeraki_xds.translate.envoyfilter.profile import EnvoyFilters, Mend
from aeraki_xds.translate.envoyfilter.site import Generated, Site
from aeraki_xds.translate.output import Output

_GENERATORS: Final[dict[Protocol, Callable[[Site], Generated]]] = {
    Protocol.DUBBO: dubbo.generate,
    Protocol.KAFKA: metrics.kafka,
    Protocol.METAPROTOCOL: metaprotocol.generate,
    Protocol.REDIS: redis.generate,
    Protocol.THRIFT: thrift.generate,
    Protocol.ZOOKEEPER: metrics.zookeeper,
}
_OF_ALL_PORTS: Final = frozenset({Protocol.METAPROTOCOL, Protocol.REDIS})
"""Protocols for which Aeraki looks at every port of a service, not only at the first."""


def objects_of(graph: Graph, host: Host, delivery: EnvoyFilters) -> Output:
    """The objects of a host, with those of the gateways that its router names."""
    declared = graph.service(host)
    if declared is None:
        return Output()
    service, findings = declared
    spoken = {port.number: _protocol(port, delivery) for port in service.ports}
    if not any(spoken.values()):
        return _ungated(graph, service)
    output = Output(age=_age(graph, service), findings=findings)
    output += _misspelt(graph, service, delivery)
    if _is_undecided(graph, host):
        return output + Output(held=True)
    for entry, ports in _by_entry(service):
        named = [(port, of) for port in ports if (of := spoken[port.number]) is not None]
        if not named:
            continue
        owner = _owner(graph, entry, delivery)
        if owner != host:
            output += _silent(graph, service, entry, owner)
            continue
        chosen, left_out = _choose(named, delivery)
        output += Output(findings=tuple(left_out))
        for port, protocol in chosen:
            site = _site(graph, service, port, protocol, delivery)
            output += place(site, _GENERATORS[protocol.protocol](site))
    return output + gateway.objects_of(graph, service, delivery)


def _protocol(port: Port, delivery: EnvoyFilters) -> PortProtocol | None:
    return parse_port_name(port.spec.name, any_transport=not delivery.has(Mend.TCP_PORTS))


def _site(
    graph: Graph, service: Service, port: Port, protocol: PortProtocol, delivery: EnvoyFilters
) -> Site:
    number = inbound_number(graph, port, delivery)
    return Site(
        graph=graph,
        service=service,
        port=port,
        protocol=protocol,
        delivery=delivery,
        inbound_number=number if isinstance(number, int) else port.number,
    )


def _age(graph: Graph, service: Service) -> tuple[str, ...]:
    """Of hosts that claim a gateway's port, the one with the oldest router has it."""
    routers = graph.in_force(Kind.META_ROUTER, service.host)
    return age(routers[0] if routers else service.ports[0].entry)


def _is_undecided(graph: Graph, host: Host) -> bool:
    """Whether a rule or the mesh config exists that nobody could read, ever: where filters go and
    what they enforce would be a guess."""
    if graph.is_unsettled(MESH):
        return True
    return not graph.in_force(Kind.META_ROUTER, host) and graph.is_held(Kind.META_ROUTER, host)


def _misspelt(graph: Graph, service: Service, delivery: EnvoyFilters) -> Output:
    """A router that means the host by another spelling: Aeraki passes over it (M-27)."""
    output = Output()
    for router in graph.in_force(Kind.META_ROUTER, service.host):
        if delivery.has(Mend.FULL_HOSTS) or not isinstance(router, MetaRouter):
            continue
        spec = router.spec
        if service.spelled not in spec.hosts and (
            spec.export_to or spec.local_rate_limit or spec.global_rate_limit
        ):
            text = (
                f"{service.spelled} is spelled otherwise here, so limits and exportTo have no "
                "effect, as in Aeraki (--with full-hosts)"
            )
            problem = warning("spec.hosts", text)
            output += Output(findings=(Finding(key=key_of(router), problem=problem),))
    return output


def _ungated(graph: Graph, service: Service) -> Output:
    """A router that wants gateways for a host whose ports are none of ours."""
    text = f"{service.host} has no port of MetaProtocol, so no gateway is opened for it"
    return Output(
        findings=tuple(
            Finding(key=key_of(router), problem=warning("spec.gateways", text))
            for router in graph.in_force(Kind.META_ROUTER, service.host)
            if isinstance(router, MetaRouter) and router.spec.gateways
        )
    )


def _by_entry(service: Service) -> Iterator[tuple[ServiceEntry, list[Port]]]:
    """The ports of each entry that declares some."""
    entries: dict[int, tuple[ServiceEntry, list[Port]]] = {}
    for port in service.ports:
        entries.setdefault(id(port.entry), (port.entry, []))[1].append(port)
    yield from entries.values()


def _owner(graph: Graph, entry: ServiceEntry, delivery: EnvoyFilters) -> Host:
    """Which of an entry's hosts its listeners speak for: all share their addresses (M-1)."""
    namespace = entry.metadata.namespace
    hosts = [graph.full(name, namespace) for name in entry.spec.hosts]
    if not delivery.has(Mend.EVERY_HOST):
        return hosts[0]
    plain = [host for host in hosts if not host.startswith("*")]
    return next((host for host in plain if _rules(graph, host)), plain[0])


def _rules(graph: Graph, host: Host, kinds: frozenset[Kind] = RULING) -> list[Kind]:
    return [kind for kind in sorted(kinds) if graph.in_force(kind, host)]


def _silent(graph: Graph, service: Service, entry: ServiceEntry, owner: Host) -> Output:
    """A host whose listeners speak for another; only one that has rules loses anything. (Redis
    objects of any host of an entry are found.)"""
    if not _rules(graph, service.host, ROUTING):
        return Output()
    message = (
        f"{service.host} shares its addresses with {owner}, whose rules alone are in force there; "
        "give it an entry of its own"
    )
    return _noted(entry, "spec.hosts", message)


def _choose(
    named: list[tuple[Port, PortProtocol]], delivery: EnvoyFilters
) -> tuple[list[tuple[Port, PortProtocol]], list[Finding]]:
    """The ports that have a filter, and what is said of the others."""
    chosen: list[tuple[Port, PortProtocol]] = []
    left_out: list[Finding] = []
    for port, protocol in named:
        why = _why_not(port, protocol, chosen, delivery)
        if why:
            problem = warning(f"{port.field}.name", why)
            left_out.append(Finding(key=key_of(port.entry), problem=problem))
        else:
            chosen.append((port, protocol))
    return chosen, left_out


def _why_not(
    port: Port,
    protocol: PortProtocol,
    chosen: Iterable[tuple[Port, PortProtocol]],
    delivery: EnvoyFilters,
) -> str:
    """Why a port has no filter; nothing if it has one (specification §2.4, M-2)."""
    kind = protocol.protocol
    if kind not in _GENERATORS:
        return f"{kind} is known and has no filter here: connections pass through as TCP"
    if delivery.has(Mend.EVERY_PORT):
        return ""
    first = next((of.protocol for _, of in chosen), None)
    if first is not None and (kind is not first or kind not in _OF_ALL_PORTS):
        return "only the service's first protocol has filters (--with every-port)"
    if kind is Protocol.REDIS and not port.spec.name.startswith("tcp-redis"):
        return "only ports named tcp-redis… have filters (--with every-port)"
    return ""


def _noted(entry: ServiceEntry, field: str, message: str) -> Output:
    return Output(findings=(Finding(key=key_of(entry), problem=warning(field, message)),))
