"""Who concerns whom: from a change to the hosts it touches, and from a host to its objects.

In: changes of the store. Out: affected hosts, in time proportional to what was touched, and the
questions that translation asks about one host. Indexes go both ways: an object knows the hosts it
speaks about, a host the objects that speak about it and the routers that send to it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from aeraki_xds.mesh.names import ROUTING, Host, Key, Kind, Namespace, full_host
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
from aeraki_xds.mesh.problems import Finding, Problem, error, warning
from aeraki_xds.mesh.rules import Rule, applies_to_mesh, rules_of, targets_of, unread
from aeraki_xds.mesh.service import Service, service_of
from aeraki_xds.mesh.store import Change
from aeraki_xds.mesh.tenancy import Tenancy, hosts_named, rate_limit_host

K = TypeVar("K")
V = TypeVar("V")

_DECLARING: Final = frozenset({Kind.SERVICE_ENTRY, Kind.DESTINATION_RULE})
"""Kinds that say what a host is: its ports, its subsets."""


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
    be decided, least of all the default route. `by_default`: nobody wrote a rule, so everything
    goes to the service itself. No rules otherwise means that none could be read: calls match
    nothing, for leaving rules out must not widen any.
    """

    router: MetaRouter | VirtualService | None = None
    rules: tuple[Rule, ...] = ()
    by_default: bool = False
    held: bool = False
    findings: tuple[Finding, ...] = ()


class Graph:
    """The mesh, indexed; `tenancy` says who may speak about what, and the DNS suffix.

    While it is `blind`, routers may exist that nobody could read and whose hosts nobody knows: a
    host without a router is held then, for its default route might be wrong.
    """

    def __init__(self, *, tenancy: Tenancy | None = None) -> None:
        self.verdicts: dict[Key, tuple[Finding, ...]] = {}
        self.blind = False
        self._tenancy = tenancy or Tenancy()
        self._objects: dict[Key, MeshObject] = {}
        self._links: dict[Key, Links] = {}
        self._about: dict[tuple[Kind, Host], set[Key]] = defaultdict(set)
        self._senders: dict[Host, set[Key]] = defaultdict(set)
        self._speaking: dict[str, set[Key]] = defaultdict(set)
        self._declaring: dict[str, set[Key]] = defaultdict(set)
        self._held: dict[Host, set[Key]] = defaultdict(set)

    def update(self, changes: Iterable[Change]) -> frozenset[Host]:
        """Take changes and return every host whose translation may differ now.

        `verdicts` are brought up to date with it: what is wrong with an object because of others.
        """
        touched: set[Host] = set()
        declared: set[Host] = set()
        judged: set[Key] = set()
        for change in changes:
            judged |= {change.key} | self._rivals(change.key)
            hosts = self._take(change)
            touched |= hosts
            judged |= self._rivals(change.key)
            if change.key.kind in _DECLARING:
                declared |= hosts
        # Who sends to a host is touched by what the host is, not by how the host itself routes.
        senders = {key for host in declared for key in self._senders.get(host, ())}
        judged |= senders
        judged.update(key for host in touched for kind in Kind for key in self._keys(kind, host))
        self._judge(judged)
        return frozenset(touched.union(*(self._links[key].hosts for key in senders)))

    def _take(self, change: Change) -> set[Host]:
        """Replace one object in the indexes; returns the hosts that it touches."""
        was_target = self._targets_of(change.key)
        touched: set[Host] = set()
        if change.before is not None:
            touched |= self._remove(change.key)
        if change.after is not None:
            touched |= self._add(change.key, change.after)
        if change.key.kind in ROUTING:
            touched |= self._hold(change)
        # A host that is sent to for the first or the last time gains or loses its clusters.
        targets = was_target | self._targets_of(change.key)
        if targets:
            alone = {h for h in targets if self._senders.get(h, set()) <= {change.key}}
            touched |= {h for h in alone if (h in was_target) != (h in self._senders)}
        return touched

    @property
    def hosts(self) -> frozenset[Host]:
        """Every host that a ServiceEntry declares."""
        return frozenset(host for kind, host in self._about if kind is Kind.SERVICE_ENTRY)

    def is_target(self, host: Host) -> bool:
        """Whether some router sends to the host."""
        return host in self._senders

    def service(self, host: Host) -> tuple[Service, tuple[Finding, ...]] | None:
        """What the ServiceEntries of a host say together."""
        entries = [
            item
            for item in self._in_force(Kind.SERVICE_ENTRY, host)
            if isinstance(item, ServiceEntry)
        ]
        return service_of(host, entries) if entries else None

    def destination_rule(self, host: Host) -> DestinationRule | None:
        """The DestinationRule in force for a host: the oldest."""
        found = self._in_force(Kind.DESTINATION_RULE, host)
        return found[0] if found and isinstance(found[0], DestinationRule) else None

    def router(self, host: Host) -> Routing:
        """The MetaRouter in force for a host; a younger one for the same host is a conflict."""
        found = self._in_force(Kind.META_ROUTER, host)
        if not found:
            return self._unrouted(Kind.META_ROUTER, host)
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
        return Routing(
            router=oldest,
            rules=rules_of(oldest, self._full),
            by_default=not oldest.spec.routes,
            findings=findings,
        )

    def routing(self, host: Host) -> Routing:
        """The rules of a host of a native protocol: MetaRouter before VirtualService."""
        routing = self.router(host)
        services = self._in_force(Kind.VIRTUAL_SERVICE, host)
        if routing.router is not None or (routing.held and not self.blind):
            message = f"shadowed: {host} is routed by a MetaRouter, this has no effect there"
            shadowed = tuple(
                Finding(key=key_of(other), problem=warning("spec.hosts", message))
                for other in services
            )
            return replace(routing, findings=routing.findings + shadowed)
        if not services:
            return self._unrouted(Kind.VIRTUAL_SERVICE, host)
        oldest = services[0]
        assert isinstance(oldest, VirtualService)
        message = f"conflict: {host} is routed by the older {key_of(oldest)}"
        findings = [
            Finding(key=key_of(other), problem=error("spec.hosts", message))
            for other in services[1:]
        ]
        findings += [Finding(key=key_of(oldest), problem=p) for p in unread(oldest)]
        return Routing(
            router=oldest,
            rules=rules_of(oldest, self._full),
            by_default=not oldest.spec.http,
            findings=tuple(findings),
        )

    def codec(self, application: str) -> str | None:
        """The codec of an application protocol: built in, or declared by the oldest object."""
        declared = self._declarers(application)
        return BUILT_IN_CODECS.get(application) or (declared[0].spec.codec if declared else None)

    def _declarers(self, application: str) -> list[ApplicationProtocol]:
        found = (self._objects[key] for key in self._declaring.get(application, ()))
        return sorted((f for f in found if isinstance(f, ApplicationProtocol)), key=age)

    def _keys(self, kind: Kind, host: Host) -> set[Key]:
        return self._about.get((kind, host), set())

    def _entries(self, host: Host) -> list[ServiceEntry]:
        """Everything that declares a host, oldest first, whether it may or not."""
        found = (self._objects[key] for key in self._keys(Kind.SERVICE_ENTRY, host))
        return sorted((each for each in found if isinstance(each, ServiceEntry)), key=age)

    def _in_force(self, kind: Kind, host: Host) -> list[MeshObject]:
        """The objects of a kind that may speak about a host, oldest first."""
        items = sorted((self._objects[key] for key in self._keys(kind, host)), key=age)
        entries = self._entries(host)
        return [item for item in items if self._tenancy.counts(item, host, entries)]

    def _judge(self, keys: Iterable[Key]) -> None:
        for key in keys:
            item = self._objects.get(key)
            problems = tuple(self._problems(item)) if item is not None else ()
            if problems:
                self.verdicts[key] = tuple(Finding(key=key, problem=each) for each in problems)
            else:
                self.verdicts.pop(key, None)

    def _problems(self, item: MeshObject) -> Iterable[Problem]:
        """What an object may not do, and what it does in vain."""
        namespace = Namespace(item.metadata.namespace)
        if isinstance(item, ApplicationProtocol):
            oldest = self._declarers(item.spec.protocol)[0]
            if oldest is not item and oldest.spec.codec != item.spec.codec:
                message = (
                    f"conflict: {item.spec.protocol!r} is declared by the older {key_of(oldest)}"
                )
                yield error("spec.protocol", message)
            return
        for field, name in hosts_named(item):
            host = self._full(name, namespace)
            entries = self._entries(host)
            owner = self._tenancy.foreign_owner(namespace, host, entries)
            if owner is not None:
                yield self._tenancy.foreign_host(field, host, owner)
            elif not entries and isinstance(item, MetaRouter):
                yield warning(field, f"no ServiceEntry declares {host}: the router has no effect")
        if isinstance(item, MetaRouter):
            yield from self._tenancy.borrowed(item)
            limiter = rate_limit_host(item)
            if limiter is not None:
                owner = self._tenancy.foreign_owner(namespace, limiter, self._entries(limiter))
                if owner is not None:
                    field = "spec.globalRateLimit.rateLimitService"
                    yield self._tenancy.foreign_host(field, limiter, owner)

    def _unrouted(self, kind: Kind, host: Host) -> Routing:
        held = self.blind or any(key.kind is kind for key in self._held.get(host, ()))
        return Routing(by_default=not held, held=held)

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
            self._of_applications(key)[application].add(key)
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
            _discard(self._of_applications(key), application, key)
        del self._links[key], self._objects[key]
        return touched

    def _of_applications(self, key: Key) -> dict[str, set[Key]]:
        """Where an object is kept by application protocol: with who declares it, or who speaks it,
        who may be every service there is.
        """
        is_declaration = key.kind is Kind.APPLICATION_PROTOCOL
        return self._declaring if is_declaration else self._speaking

    def _speakers(self, key: Key, links: Links) -> set[Host]:
        """The hosts whose ports speak what an ApplicationProtocol declares."""
        if key.kind is not Kind.APPLICATION_PROTOCOL:
            return set()
        keys = (k for name in links.applications for k in self._speaking.get(name, ()))
        return {host for each in keys for host in self._links[each].hosts}

    def _rivals(self, key: Key) -> set[Key]:
        """The ApplicationProtocols that declare what this one declares, itself included."""
        links = self._links.get(key)
        if key.kind is not Kind.APPLICATION_PROTOCOL or links is None:
            return set()
        return {k for name in links.applications for k in self._declaring.get(name, ())}

    def _hold(self, change: Change) -> frozenset[Host]:
        before = {self._full(name, change.key.namespace) for name in change.held_before}
        after = {self._full(name, change.key.namespace) for name in change.held}
        for host in before:
            _discard(self._held, host, change.key)
        for host in after:
            self._held[host].add(change.key)
        return frozenset(before | after)

    def _targets_of(self, key: Key) -> frozenset[Host]:
        links = self._links.get(key)
        return links.targets if links is not None else frozenset()

    def _full(self, name: str, namespace: Namespace) -> Host:
        return full_host(name, namespace, self._tenancy.domain)

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
                targets = targets_of(rules_of(item, self._full))
                limited_by = rate_limit_host(item) if isinstance(item, MetaRouter) else None
                return Links(
                    hosts=frozenset(self._full(host, namespace) for host in item.spec.hosts),
                    targets=targets | {limited_by} if limited_by else targets,
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
