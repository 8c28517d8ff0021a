"""MetaProtocol at gateways: a filter for each port of a gateway that a router names.

In: the graph and a service whose router names gateways. Out: an EnvoyFilter for the gateway's
proxies, and the VirtualService that makes istiod open a TCP listener there (specification §3.7).
Of two routers on one port the older has it: objects of one name are settled where all hosts meet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from aeraki_xds.mesh.graph import Graph
from aeraki_xds.mesh.links import gateway_topic
from aeraki_xds.mesh.names import Kind, Namespace, route_name
from aeraki_xds.mesh.objects import Gateway, MetaRouter, key_of
from aeraki_xds.mesh.objects.istio import GatewayPort, ServicePort
from aeraki_xds.mesh.ports import PortProtocol, Protocol, parse_port_name
from aeraki_xds.mesh.problems import Finding, Problem, error, warning
from aeraki_xds.mesh.service import Port, Service
from aeraki_xds.translate.envoyfilter import metaprotocol
from aeraki_xds.translate.envoyfilter.placing import envoy_filter, filter_patch
from aeraki_xds.translate.envoyfilter.profile import EnvoyFilters, Mend
from aeraki_xds.translate.envoyfilter.site import Site
from aeraki_xds.translate.output import Draft, Manifest, Output


def objects_of(graph: Graph, service: Service, delivery: EnvoyFilters) -> Output:
    """The objects of all gateways of the host's router."""
    routers = graph.in_force(Kind.META_ROUTER, service.host)
    router = next((each for each in routers if isinstance(each, MetaRouter)), None)
    if router is None:
        return Output()
    output = Output()
    for n, name in enumerate(router.spec.gateways):
        field = f"spec.gateways[{n}]"
        found = _gateway(graph, router, name)
        if isinstance(found, str):
            output += _noted(router, warning(field, found))
        elif found is not None:
            output += _of_gateway(graph, service, router, found, field, delivery)
    return output


def _gateway(graph: Graph, router: MetaRouter, name: str) -> Gateway | str | None:
    """A gateway, or why there is none; None for one that is refused, which was said already."""
    topic = gateway_topic(name, Namespace(router.metadata.namespace))
    namespace, _, _ = topic.name.partition("/")
    if not graph.tenancy.lends(router, namespace):
        return None
    found = next(iter(graph.settles(topic)), None)
    return found if isinstance(found, Gateway) else f"there is no Gateway {topic.name}"


def _of_gateway(
    graph: Graph,
    service: Service,
    router: MetaRouter,
    gateway: Gateway,
    field: str,
    delivery: EnvoyFilters,
) -> Output:
    output = Output()
    for port, protocol in _ports(gateway, delivery):
        target = _target(graph, service, router, port, protocol, delivery)
        if isinstance(target, Problem):
            output += _noted(router, replace(target, field=field))
            continue
        site = _site(graph, service, port, protocol, delivery)
        codec = graph.codec(protocol.application)
        if codec is None:
            text = f"no ApplicationProtocol declares the codec of {protocol.application!r}"
            output += _noted(router, error(field, text)) + Output(held=True)
            continue
        output += Output(drafts=tuple(_objects(site, codec, gateway, target)))
    return output


def _ports(gateway: Gateway, delivery: EnvoyFilters) -> Iterator[tuple[GatewayPort, PortProtocol]]:
    """The MetaProtocol ports of a gateway, each number once."""
    seen: set[int] = set()
    for server in gateway.spec.servers:
        if server.port is None or server.port.number in seen:
            continue
        spoken = parse_port_name(server.port.name, any_transport=not delivery.has(Mend.TCP_PORTS))
        if spoken is not None and spoken.protocol is Protocol.METAPROTOCOL:
            seen.add(server.port.number)
            yield server.port, spoken


def _target(
    graph: Graph,
    service: Service,
    router: MetaRouter,
    port: GatewayPort,
    protocol: PortProtocol,
    delivery: EnvoyFilters,
) -> int | Problem:
    """The service port behind a gateway's port.

    For Aeraki they are the same number, which a destination of the router has to name (G-1).
    """
    named = {
        each.destination.port.number
        for route in router.spec.routes
        for each in route.route
        if each.destination is not None and each.destination.port is not None
    }
    if port.number in named:
        return port.number
    if not delivery.has(Mend.GATEWAY_PORTS):
        text = (
            f"no destination names port.number {port.number}, the gateway's port: it stays closed "
            "(--with gateway-ports)"
        )
        return warning("", text)
    speaking = [each.number for each in service.ports if each.protocol == protocol]
    if port.number in speaking:
        return port.number
    if len(speaking) == 1:
        return speaking[0]
    text = (
        f"{service.host} has {len(speaking)} ports that speak {protocol.application}: name the one "
        f"behind the gateway's port {port.number} in a destination"
    )
    return error("", text)


def _site(
    graph: Graph,
    service: Service,
    port: GatewayPort,
    protocol: PortProtocol,
    delivery: EnvoyFilters,
) -> Site:
    """The gateway's port, as if it were one of the service's."""
    spec = ServicePort(number=port.number, name=port.name)
    return Site(
        graph=graph,
        service=service,
        port=Port(spec=spec, protocol=protocol, entry=service.ports[0].entry),
        protocol=protocol,
        delivery=delivery,
        inbound_number=port.number,
    )


def _objects(site: Site, codec: str, gateway: Gateway, target: int) -> Iterator[Draft]:
    meta, number = gateway.metadata, site.number
    routes = route_name(site.host, target)
    patch = filter_patch(
        metaprotocol.outbound_filter(site, codec, routes), f"0.0.0.0_{number}", site.delivery
    )
    name = f"aeraki-gateway-outbound-{meta.name}.{meta.namespace}-{number}"
    labels = dict(sorted(gateway.spec.selector.items()))
    yield envoy_filter(meta.namespace, name, [patch], labels)
    destination = {"host": site.host, "port": {"number": target}}
    spec = {
        "hosts": [site.host],
        "gateways": [f"{meta.namespace}/{meta.name}"],
        "tcp": [{"match": [{"port": number}], "route": [{"destination": destination}]}],
    }
    opens = f"aeraki-vs-{meta.namespace}.{meta.name}-{number}"
    yield Draft.to_write(
        Manifest(kind="VirtualService", namespace=meta.namespace, name=opens, spec=spec)
    )


def _noted(router: MetaRouter, problem: Problem) -> Output:
    return Output(findings=(Finding(key=key_of(router), problem=problem),))
