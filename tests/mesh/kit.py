"""Objects and what is said of them, in one line each.

Everything lives in the namespace `demo` and is about the service `hello` unless told otherwise.
A destination is written `host`, `host/subset` or `host/subset*weight`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from aeraki_xds.mesh.change import Delete, Rejected, Upsert
from aeraki_xds.mesh.names import Host, Namespace, full_host
from aeraki_xds.mesh.objects import (
    ApplicationProtocol,
    ApplicationProtocolSpec,
    Destination,
    DestinationRule,
    DestinationRuleSpec,
    DestinationWeight,
    HttpRoute,
    MeshObject,
    Metadata,
    MetaRoute,
    MetaRouteMatch,
    MetaRouter,
    MetaRouterSpec,
    RuleSubset,
    ServiceEntry,
    ServiceEntrySpec,
    ServicePort,
    StringMatch,
    VirtualService,
    VirtualServiceSpec,
    WorkloadEndpoint,
    key_of,
)
from aeraki_xds.mesh.objects.istio import HttpRouteDestination, IstioDestination
from aeraki_xds.mesh.problems import Problem, error

THRIFT: Final = "tcp-metaprotocol-thrift"
OLD: Final = "2024-01-01T00:00:00Z"
YOUNG: Final = "2025-01-01T00:00:00Z"


def full(name: str, namespace: str = "demo") -> Host:
    """The full name of a host."""
    return full_host(name, Namespace(namespace))


def service(
    host: str = "hello",
    *,
    name: str = "",
    namespace: str = "demo",
    ports: Mapping[int, str] | None = None,
    address: str = "127.20.0.1",
    created: str = "",
    resolution: str = "STATIC",
    export_to: tuple[str, ...] = (),
    hosts: tuple[str, ...] = (),
) -> ServiceEntry:
    """A service with one Thrift port, 9090, and an endpoint for each of v1 and v2."""
    named = {9090: THRIFT} if ports is None else ports
    return ServiceEntry(
        metadata=Metadata(name=name or host, namespace=namespace, creation_timestamp=created),
        spec=ServiceEntrySpec(
            hosts=hosts or (full(host, namespace),),
            addresses=(address,) if address else (),
            ports=tuple(ServicePort(number=n, name=each) for n, each in named.items()),
            resolution=resolution,  # type: ignore[arg-type]  # one of the Literal's words
            endpoints=tuple(
                WorkloadEndpoint(address=f"127.0.0.{n}", labels={"version": f"v{n}"})
                for n in (1, 2)
            ),
            export_to=export_to,
        ),
    )


def subsets(
    host: str = "hello",
    names: Sequence[str] = ("v1", "v2"),
    *,
    name: str = "",
    namespace: str = "demo",
    created: str = "",
) -> DestinationRule:
    """The named parts of a service."""
    return DestinationRule(
        metadata=Metadata(name=name or host, namespace=namespace, creation_timestamp=created),
        spec=DestinationRuleSpec(
            host=host,
            subsets=tuple(RuleSubset(name=each, labels={"version": each}) for each in names),
        ),
    )


def router(
    host: str = "hello",
    *destinations: str,
    name: str = "",
    namespace: str = "demo",
    created: str = "",
    match: Mapping[str, StringMatch] | None = None,
) -> MetaRouter:
    """A MetaRouter with one rule."""
    return MetaRouter(
        metadata=Metadata(name=name or host, namespace=namespace, creation_timestamp=created),
        spec=MetaRouterSpec(
            hosts=(host,),
            routes=(
                MetaRoute(
                    match=MetaRouteMatch(attributes=dict(match)) if match else None,
                    route=tuple(
                        DestinationWeight(destination=Destination(host=to, subset=part), weight=n)
                        for to, part, n in map(_destination, destinations or (host,))
                    ),
                ),
            ),
        ),
    )


def virtual_service(
    host: str = "hello",
    *destinations: str,
    name: str = "",
    namespace: str = "demo",
    created: str = "",
    match: Sequence[dict[str, object]] = (),
) -> VirtualService:
    """A VirtualService with one rule."""
    return VirtualService(
        metadata=Metadata(name=name or host, namespace=namespace, creation_timestamp=created),
        spec=VirtualServiceSpec(
            hosts=(host,),
            http=(
                HttpRoute(
                    match=tuple(match),
                    route=tuple(
                        HttpRouteDestination(
                            destination=IstioDestination(host=to, subset=part), weight=n
                        )
                        for to, part, n in map(_destination, destinations or (host,))
                    ),
                ),
            ),
        ),
    )


def protocol(application: str, codec: str, *, created: str = "", name: str = "") -> MeshObject:
    """An ApplicationProtocol."""
    return ApplicationProtocol(
        metadata=Metadata(name=name or application, creation_timestamp=created),
        spec=ApplicationProtocolSpec(protocol=application, codec=codec),
    )


def said(*items: MeshObject, origin: str = "mesh.yaml") -> list[Upsert]:
    """The objects are there."""
    return [Upsert(key=key_of(item), item=item, origin=origin) for item in items]


def gone(*items: MeshObject) -> list[Delete]:
    """The objects are there no more."""
    return [Delete(key=key_of(item)) for item in items]


def refused(
    *items: MeshObject, hosts: Sequence[str] = ("hello",), origin: str = "mesh.yaml"
) -> list[Rejected]:
    """What is now under these objects' names cannot be used; it names these hosts."""
    problems: tuple[Problem, ...] = (error("spec.routes[0]", "cannot be read"),)
    named = frozenset(full(host) for host in hosts)
    return [
        Rejected(key=key_of(item), origin=origin, problems=problems, hosts=named) for item in items
    ]


def _destination(text: str) -> tuple[str, str, int]:
    where, _, weight = text.partition("*")
    host, _, part = where.partition("/")
    return host, part, int(weight or 100)
