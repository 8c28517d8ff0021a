"""What an object is about: the edges of the graph.

In: one object. Out: its `Links`. Besides hosts there are *topics*, which one object settles and
others depend on: the codec of an application protocol, a gateway, a Secret, the authorization
policies of a namespace, the mesh config; the workloads that several entries may share; and who
serves: a Pod settles what the slices say that refer to it, and these what their Service depends on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

from aeraki_xds.mesh.names import Host, Key, Kind, Namespace, full_host
from aeraki_xds.mesh.objects import (
    ApplicationProtocol,
    DestinationRule,
    DubboAuthorizationPolicy,
    EndpointSlice,
    Gateway,
    KubernetesService,
    MeshConfig,
    MeshObject,
    MetaRouter,
    Pod,
    RedisDestination,
    RedisService,
    Secret,
    ServiceEntry,
    SyntheticServiceEntry,
    VirtualService,
    WorkloadEntry,
    key_of,
)
from aeraki_xds.mesh.objects.redis import RedisAuth
from aeraki_xds.mesh.ports import Protocol, parse_port_name
from aeraki_xds.mesh.rules import applies_to_mesh, targets_of
from aeraki_xds.mesh.tenancy import Tenancy, rate_limit_host


class Subject(StrEnum):
    """What a topic is."""

    APPLICATION = "application"
    GATEWAY = "gateway"
    LABEL = "label"
    MESH = "mesh"
    POD = "pod"
    POLICIES = "policies"
    SECRET = "secret"
    SLICES = "slices"
    TARGET_NAMES = "target-names"
    WORKLOADS = "workloads"


class Topic(NamedTuple):
    """Something that objects settle for others: a protocol's name, a namespace, or `ns/name`."""

    subject: Subject
    name: str


MESH: Final = Topic(Subject.MESH, "")

SERVICE_NAME: Final = "kubernetes.io/service-name"
"""Label of an EndpointSlice: the Service that it is of."""

SETTLING: Final = {
    Subject.MESH: Kind.CONFIG_MAP,
    Subject.POLICIES: Kind.DUBBO_AUTHORIZATION_POLICY,
    Subject.SECRET: Kind.SECRET,
}
"""The kinds whose objects settle topics by their names alone: what was never read may matter."""


class Links(msgspec.Struct, frozen=True, kw_only=True):
    """What an object is about: its hosts, the hosts it sends to, the topics that it settles and
    those that it depends on.
    """

    hosts: frozenset[Host] = frozenset()
    targets: frozenset[Host] = frozenset()
    settles: frozenset[Topic] = frozenset()
    uses: frozenset[Topic] = frozenset()


def links_of(item: MeshObject, tenancy: Tenancy) -> Links:
    """The links of an object; hosts are full names."""
    namespace = Namespace(item.metadata.namespace)

    def full(name: str, namespace: Namespace = namespace) -> Host:
        return full_host(name, namespace, tenancy.domain)

    match item:
        case ServiceEntry():
            # Wildcards: validation says to the user that they are not translated.
            named = (host for host in item.spec.hosts if not host.startswith("*"))
            return Links(
                hosts=frozenset(map(full, named)),
                settles=frozenset(filter(None, [workloads_topic(item)])),
                uses=_spoken(item, tenancy).union(_serving(item)),
            )
        case DestinationRule():
            return Links(hosts=frozenset({full(item.spec.host)}))
        case MetaRouter():
            limited_by = rate_limit_host(item)
            targets = targets_of(item, full)
            return Links(
                hosts=frozenset(map(full, item.spec.hosts)),
                targets=targets | {limited_by} if limited_by else targets,
                uses=frozenset(gateway_topic(name, namespace) for name in item.spec.gateways),
            )
        case VirtualService():
            for_mesh = applies_to_mesh(item)
            return Links(
                hosts=frozenset(map(full, item.spec.hosts)),
                targets=targets_of(item, full) if for_mesh else frozenset(),
            )
        case RedisService():
            settings = item.spec.settings
            return Links(
                hosts=frozenset(map(full, item.spec.host)),
                targets=frozenset(map(full, _redis_targets(item))),
                uses=_secrets(settings.auth if settings else None, namespace),
            )
        case RedisDestination():
            policy = item.spec.traffic_policy
            pool = policy.connection_pool if policy else None
            return Links(
                hosts=frozenset({full(item.spec.host)}),
                uses=_secrets(pool.redis.auth if pool and pool.redis else None, namespace),
            )
        case Gateway():
            ports = (server.port for server in item.spec.servers if server.port is not None)
            return Links(
                settles=settled_by(key_of(item), tenancy),
                uses=frozenset(filter(None, (_application(port.name) for port in ports))),
            )
        case DubboAuthorizationPolicy() | Secret() | MeshConfig():
            return Links(settles=settled_by(key_of(item), tenancy))
        case EndpointSlice():
            return Links(settles=_served(item), uses=frozenset(filter(None, pods_of(item))))
        case Pod():
            return Links(settles=frozenset({pod_topic(item.metadata.name, namespace)}))
        case WorkloadEntry():
            labels = item.labels.items()
            return Links(settles=frozenset(_label_topic(k, v, namespace) for k, v in labels))
        case ApplicationProtocol():
            return Links(settles=frozenset({Topic(Subject.APPLICATION, item.spec.protocol)}))
        case KubernetesService():
            message = "a Service is linked as the ServiceEntry that it stands for"
            raise TypeError(message)


def settled_by(key: Key, tenancy: Tenancy) -> frozenset[Topic]:
    """What an object settles by its name alone, readable or not."""
    match key.kind:
        case Kind.GATEWAY:
            return frozenset({Topic(Subject.GATEWAY, f"{key.namespace}/{key.name}")})
        case Kind.SECRET:
            return frozenset({Topic(Subject.SECRET, f"{key.namespace}/{key.name}")})
        case Kind.DUBBO_AUTHORIZATION_POLICY:
            return frozenset({Topic(Subject.POLICIES, key.namespace)})
        case Kind.CONFIG_MAP if key == tenancy.mesh_config_key:
            return frozenset({MESH})
        case _:
            return frozenset()


def gateway_topic(name: str, namespace: Namespace) -> Topic:
    """The gateway that a router means by `name` or `namespace/name`."""
    return Topic(Subject.GATEWAY, name if "/" in name else f"{namespace}/{name}")


def secret_topic(name: str, namespace: str) -> Topic:
    """A Secret."""
    return Topic(Subject.SECRET, f"{namespace}/{name}")


def workloads_topic(entry: ServiceEntry) -> Topic | None:
    """The workloads of an entry, if it has a selector and a port that speaks a protocol of ours."""
    selector = entry.spec.workload_selector
    if selector is None or not selector.labels:
        return None
    if not any(parse_port_name(port.name, any_transport=True) for port in entry.spec.ports):
        return None
    labels = ",".join(f"{key}={value}" for key, value in sorted(selector.labels.items()))
    return Topic(Subject.WORKLOADS, f"{entry.metadata.namespace}/{labels}")


def pod_topic(name: str, namespace: str) -> Topic:
    """A Pod."""
    return Topic(Subject.POD, f"{namespace}/{name}")


def slices_topic(entry: SyntheticServiceEntry) -> Topic:
    """The EndpointSlices of a Service."""
    return Topic(Subject.SLICES, f"{entry.metadata.namespace}/{entry.metadata.name}")


def pods_of(item: EndpointSlice) -> Iterator[Topic | None]:
    """The Pod behind each endpoint of a slice; None where there is another thing, or nothing."""
    for endpoint in item.endpoints:
        ref = endpoint.target_ref
        is_pod = ref.kind == Kind.POD and ref.name
        yield pod_topic(ref.name, ref.namespace or item.metadata.namespace) if is_pod else None


def selected_topic(entry: ServiceEntry) -> Topic | None:
    """The WorkloadEntries that may serve an entry, if these may: those with one of the labels that
    its selector wants."""
    selector = entry.spec.workload_selector
    if selector is None or not selector.labels or entry.spec.endpoints:
        return None
    return _label_topic(*min(selector.labels.items()), entry.metadata.namespace)


def _label_topic(key: str, value: str, namespace: str) -> Topic:
    return Topic(Subject.LABEL, f"{namespace}/{key}={value}")


def _served(item: EndpointSlice) -> frozenset[Topic]:
    service = item.metadata.labels.get(SERVICE_NAME)
    if not service:
        return frozenset()
    return frozenset({Topic(Subject.SLICES, f"{item.metadata.namespace}/{service}")})


def _serving(entry: ServiceEntry) -> Iterable[Topic]:
    """What says who serves an entry. A named target port of a protocol of ours is a topic, too: not
    that anybody settled it, but so that one can tell that slices are needed for it.
    """
    if not isinstance(entry, SyntheticServiceEntry):
        topic = selected_topic(entry)
        return () if topic is None else (topic,)
    slices = slices_topic(entry)
    spoken = (p for p in entry.spec.ports if parse_port_name(p.name, any_transport=True))
    if any(port.number in entry.target_names for port in spoken):
        return (slices, Topic(Subject.TARGET_NAMES, slices.name))
    return (slices,)


def _spoken(entry: ServiceEntry, tenancy: Tenancy) -> frozenset[Topic]:
    """What the protocols of a service's ports depend on."""
    return frozenset(
        topic for port in entry.spec.ports for topic in _needed(port.name, entry, tenancy)
    )


def _application(port: str) -> Topic | None:
    """The application protocol that a port's name names."""
    spoken = parse_port_name(port, any_transport=True)
    if spoken is None or not spoken.application:
        return None
    return Topic(Subject.APPLICATION, spoken.application)


def _needed(port: str, entry: ServiceEntry, tenancy: Tenancy) -> Iterator[Topic]:
    spoken = parse_port_name(port, any_transport=True)
    if spoken is None:
        return
    if spoken.protocol is Protocol.METAPROTOCOL:
        yield from (MESH, Topic(Subject.APPLICATION, spoken.application))
    if Protocol.DUBBO in (spoken.protocol, spoken.application):
        yield MESH
        yield from (
            Topic(Subject.POLICIES, name) for name in (entry.metadata.namespace, tenancy.root)
        )


def _redis_targets(item: RedisService) -> Iterable[str]:
    for each in item.spec.redis:
        targets = (each.route, *(mirror.route for mirror in each.mirror))
        yield from (target.host for target in targets if target is not None and target.host)


def _secrets(auth: RedisAuth | None, namespace: Namespace) -> frozenset[Topic]:
    if auth is None or auth.secret is None:
        return frozenset()
    return frozenset({secret_topic(auth.secret.name, namespace)})
