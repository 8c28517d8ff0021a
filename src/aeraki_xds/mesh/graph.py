"""Who concerns whom: from a change to the hosts it touches, and from a host to its objects.

In: changes of the store. Out: affected hosts, in time proportional to what was touched, and the
questions that translation asks about one host. Indexes go both ways: an object knows the hosts it
speaks about, a host the objects that speak about it and the routers that send to it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

from aeraki_xds.mesh.names import DEFAULT_DOMAIN, Host, Key, Kind, Namespace, full_host
from aeraki_xds.mesh.objects import (
    ApplicationProtocol,
    DestinationRule,
    MeshObject,
    MetaRouter,
    ServiceEntry,
    VirtualService,
    age,
    key_of,
)
from aeraki_xds.mesh.ports import BUILT_IN_CODECS, parse_port_name
from aeraki_xds.mesh.problems import Finding, error, warning
from aeraki_xds.mesh.rules import Rule, applies_to_mesh, rules_of, targets_of, unread_matches
from aeraki_xds.mesh.service import Service, service_of
from aeraki_xds.mesh.store import Change

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """What an object is about: its hosts, the hosts it sends to, the application protocols."""

    hosts: frozenset[Host] = frozenset()
    targets: frozenset[Host] = frozenset()
    applications: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """How calls to a host are routed.

    `held`: a router of the host cannot be understood and none was ever in force, so nothing may
    be decided, least of all the default route. No `router` and not held: the default route.
    """

    router: MetaRouter | VirtualService | None = None
    rules: tuple[Rule, ...] = ()
    held: bool = False
    findings: tuple[Finding, ...] = ()


class Graph:
    """The mesh, indexed. `domain` is the cluster's DNS suffix."""

    def __init__(self, *, domain: str = DEFAULT_DOMAIN) -> None:
        self._domain = domain
        self._objects: dict[Key, MeshObject] = {}
        self._links: dict[Key, Links] = {}
        self._about: dict[tuple[Kind, Host], set[Key]] = defaultdict(set)
        self._senders: dict[Host, set[Key]] = defaultdict(set)
        self._applications: dict[str, set[Key]] = defaultdict(set)
        self._held: dict[Host, set[Key]] = defaultdict(set)

    def update(self, changes: Iterable[Change]) -> frozenset[Host]:
        """Take changes and return every host whose translation may differ now."""
        touched: set[Host] = set()
        for change in changes:
            if change.before is not None:
                touched |= self._remove(change.key)
            if change.after is not None:
                touched |= self._add(change.key, change.after)
            if change.key.kind in (Kind.META_ROUTER, Kind.VIRTUAL_SERVICE):
                touched |= self._hold(change)
        senders = (key for host in touched for key in self._senders.get(host, ()))
        return frozenset(touched.union(*(self._links[key].hosts for key in senders)))

    @property
    def hosts(self) -> frozenset[Host]:
        """Every host that a ServiceEntry declares."""
        return frozenset(host for kind, host in self._about if kind is Kind.SERVICE_ENTRY)

    def service(self, host: Host) -> tuple[Service, tuple[Finding, ...]] | None:
        """What the ServiceEntries of a host say together."""
        entries = [
            item
            for item in self._oldest_first(Kind.SERVICE_ENTRY, host)
            if isinstance(item, ServiceEntry)
        ]
        return service_of(host, entries) if entries else None

    def destination_rule(self, host: Host) -> DestinationRule | None:
        """The DestinationRule in force for a host: the oldest."""
        found = self._oldest_first(Kind.DESTINATION_RULE, host)
        return found[0] if found and isinstance(found[0], DestinationRule) else None

    def router(self, host: Host) -> Routing:
        """The MetaRouter in force for a host; a younger one for the same host is a conflict."""
        found = self._oldest_first(Kind.META_ROUTER, host)
        if not found:
            return Routing(held=self._is_held(Kind.META_ROUTER, host))
        oldest = found[0]
        assert isinstance(oldest, MetaRouter)
        message = (
            f"conflict: {host} is routed by the older {key_of(oldest)}, which stays in force; "
            "remove one of the two"
        )
        findings = tuple(
            Finding(key=key_of(other), problem=error("spec.hosts[0]", message))
            for other in found[1:]
        )
        return Routing(router=oldest, rules=rules_of(oldest, self._full), findings=findings)

    def routing(self, host: Host) -> Routing:
        """The rules of a host of a native protocol: MetaRouter before VirtualService."""
        routing = self.router(host)
        services = self._oldest_first(Kind.VIRTUAL_SERVICE, host)
        if routing.router is not None or routing.held:
            message = f"shadowed: {host} is routed by a MetaRouter, this has no effect there"
            shadowed = tuple(
                Finding(key=key_of(other), problem=warning("spec.hosts", message))
                for other in services
            )
            return replace(routing, findings=routing.findings + shadowed)
        if not services:
            return Routing(held=self._is_held(Kind.VIRTUAL_SERVICE, host))
        oldest = services[0]
        assert isinstance(oldest, VirtualService)
        message = f"conflict: {host} is routed by the older {key_of(oldest)}"
        findings = [
            Finding(key=key_of(other), problem=error("spec.hosts", message))
            for other in services[1:]
        ]
        findings += [Finding(key=key_of(oldest), problem=p) for p in unread_matches(oldest)]
        rules = rules_of(oldest, self._full)
        return Routing(router=oldest, rules=rules, findings=tuple(findings))

    def codec(self, application: str) -> str | None:
        """The codec of an application protocol: built in, or declared by the oldest object."""
        declared = [
            item
            for key in self._applications.get(application, ())
            if isinstance(item := self._objects[key], ApplicationProtocol)
        ]
        return BUILT_IN_CODECS.get(application) or (
            min(declared, key=age).spec.codec if declared else None
        )

    def _oldest_first(self, kind: Kind, host: Host) -> list[MeshObject]:
        return sorted((self._objects[key] for key in self._about.get((kind, host), ())), key=age)

    def _is_held(self, kind: Kind, host: Host) -> bool:
        return any(key.kind is kind for key in self._held.get(host, ()))

    def _add(self, key: Key, item: MeshObject) -> set[Host]:
        links = self._links_of(item)
        self._objects[key] = item
        self._links[key] = links
        touched = set(links.hosts)
        for host in links.hosts:
            self._about[key.kind, host].add(key)
        for host in links.targets:
            self._senders[host].add(key)
        for application in links.applications:
            self._applications[application].add(key)
        return touched | self._speakers(key, links)

    def _remove(self, key: Key) -> set[Host]:
        links = self._links[key]
        touched = set(links.hosts)
        for host in links.hosts:
            _discard(self._about, (key.kind, host), key)
        for host in links.targets:
            _discard(self._senders, host, key)
        touched |= self._speakers(key, links)
        for application in links.applications:
            _discard(self._applications, application, key)
        del self._links[key], self._objects[key]
        return touched

    def _speakers(self, key: Key, links: Links) -> set[Host]:
        """The hosts whose ports speak what an ApplicationProtocol declares."""
        if key.kind is not Kind.APPLICATION_PROTOCOL:
            return set()
        keys = (k for name in links.applications for k in self._applications.get(name, ()))
        return {host for each in keys for host in self._links[each].hosts}

    def _hold(self, change: Change) -> frozenset[Host]:
        for host in change.held_before:
            _discard(self._held, host, change.key)
        for host in change.held:
            self._held[host].add(change.key)
        return change.held_before | change.held

    def _full(self, name: str, namespace: Namespace) -> Host:
        return full_host(name, namespace, self._domain)

    def _links_of(self, item: MeshObject) -> Links:
        namespace = Namespace(item.metadata.namespace)
        match item:
            case ServiceEntry():
                return Links(
                    hosts=frozenset(
                        self._full(host, namespace)
                        for host in item.spec.hosts
                        if not host.startswith("*")  # validation says so to the user
                    ),
                    applications=frozenset(
                        protocol.application
                        for port in item.spec.ports
                        if (protocol := parse_port_name(port.name)) and protocol.application
                    ),
                )
            case DestinationRule():
                return Links(hosts=frozenset({self._full(item.spec.host, namespace)}))
            case VirtualService() if not applies_to_mesh(item):
                return Links()
            case MetaRouter() | VirtualService():
                return Links(
                    hosts=frozenset(self._full(host, namespace) for host in item.spec.hosts),
                    targets=targets_of(rules_of(item, self._full)),
                )
            case ApplicationProtocol():
                return Links(applications=frozenset({item.spec.protocol}))


def _discard(index: dict[K, set[V]], key: K, member: V) -> None:
    """Take a member out of an index and drop the entry that became empty."""
    members = index.get(key)
    if members is not None:
        members.discard(member)
        if not members:
            del index[key]
