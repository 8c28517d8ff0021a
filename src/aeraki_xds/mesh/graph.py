"""Who concerns whom: from a change to the hosts it touches, and from a host to its objects.

In: changes of the store. Out: affected hosts, in time proportional to what was touched, and the
questions that translation asks about one host. Indexes go both ways: an object knows the hosts it
speaks about, a host the objects that speak about it and those that send to it; a topic knows who
settles it and who depends on it (`mesh.links`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Set
from typing import Final, TypeVar

from msgspec import structs

from aeraki_xds.mesh.about import DECLARING, ENTRIES, About
from aeraki_xds.mesh.links import SETTLING, Links, Subject, Topic, links_of, settled_by
from aeraki_xds.mesh.names import ROUTING, RULING, Host, Key, Kind, Namespace, full_host
from aeraki_xds.mesh.objects import (
    ApplicationProtocol,
    DestinationRule,
    KubernetesService,
    MeshObject,
    MetaRouter,
    RedisDestination,
    RedisService,
    VirtualService,
    age,
    key_of,
)
from aeraki_xds.mesh.ports import BUILT_IN_CODECS
from aeraki_xds.mesh.problems import Finding, Problem, error, warning
from aeraki_xds.mesh.rules import Routing, applies_to_mesh, rules_of, unread
from aeraki_xds.mesh.service import Service
from aeraki_xds.mesh.store import Change
from aeraki_xds.mesh.synthetic import service_entry
from aeraki_xds.mesh.tenancy import Tenancy, TenancyMode, hosts_named, rate_limit_host

K = TypeVar("K")
V = TypeVar("V")


class Graph:
    """The mesh, indexed; `tenancy` says who may speak about what, and the DNS suffix.

    Of the kinds that it is `blind` to there may be objects that nobody could read and whose hosts
    nobody knows: a host without a router is held then, for its default route might be wrong.
    """

    def __init__(self, *, tenancy: Tenancy | None = None) -> None:
        self.verdicts: dict[Key, tuple[Finding, ...]] = {}
        self.blind: frozenset[Kind] = frozenset()
        self.tenancy: Final = tenancy or Tenancy()
        self._objects: dict[Key, MeshObject] = {}
        self._links: dict[Key, Links] = {}
        self._about: Final = About(objects=self._objects, tenancy=self.tenancy)
        self._senders: dict[Host, set[Key]] = defaultdict(set)
        self._settling: dict[Topic, set[Key]] = defaultdict(set)
        self._using: dict[Subject, dict[Topic, set[Key]]] = {s: defaultdict(set) for s in Subject}
        self._held: dict[Host, set[Key]] = defaultdict(set)
        self._unsettled: dict[Topic, set[Key]] = defaultdict(set)

    def update(self, changes: Iterable[Change]) -> frozenset[Host]:
        """Take changes and return every host whose translation may differ now.

        `verdicts` are brought up to date with it: what is wrong with an object because of others.
        """
        touched: set[Host] = set()
        declared: set[Host] = set()
        judged: set[Key] = set()
        for change in changes:
            judged.add(change.key)
            judged |= self._rivals(change.key)
            hosts = self._take(change)
            touched |= hosts
            judged |= self._rivals(change.key)
            if change.key.kind in DECLARING:
                declared |= hosts
        # Who sends to a host is touched by what the host is, not by how the host itself routes.
        senders = {key for host in declared for key in self._senders.get(host, ())}
        judged |= senders
        for host in touched:
            judged.update(*self._about.of(host))
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
        if change.key.kind in RULING:
            touched |= self._hold(change)
            touched = touched.union(*map(self._beside, touched))
        touched |= self._unsettle(change)
        # A host that is sent to for the first or the last time gains or loses its clusters.
        targets = was_target | self._targets_of(change.key)
        if targets:
            alone = {h for h in targets if self._senders.get(h, set()) <= {change.key}}
            touched |= {h for h in alone if (h in was_target) != (h in self._senders)}
        return touched

    @property
    def hosts(self) -> frozenset[Host]:
        """Every host that a ServiceEntry or a Service declares."""
        return frozenset(self._about.declared)

    def is_target(self, host: Host) -> bool:
        """Whether some router sends to the host."""
        return any(key.kind in ROUTING for key in self._senders.get(host, ()))

    def service(self, host: Host) -> tuple[Service, tuple[Finding, ...]] | None:
        """What the ServiceEntries and the Service of a host say together."""
        return self._about.service(host)

    def destination_rule(self, host: Host) -> DestinationRule | None:
        """The DestinationRule in force for a host: the oldest."""
        return self._about.destination_rule(host)

    def router(self, host: Host) -> Routing:
        """The MetaRouter in force for a host; a younger one for the same host is a conflict."""
        found = self.in_force(Kind.META_ROUTER, host)
        if not found:
            held = self.is_held(Kind.META_ROUTER, host)
            return Routing(by_default=not held, held=held)
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
            rules=rules_of(oldest, self.full),
            by_default=not oldest.spec.routes,
            findings=findings,
        )

    def routing(self, host: Host) -> Routing:
        """The rules of a host of a native protocol: MetaRouter before VirtualService."""
        routing = self.router(host)
        services = [
            each
            for each in self.in_force(Kind.VIRTUAL_SERVICE, host)
            if isinstance(each, VirtualService) and applies_to_mesh(each)
        ]
        if routing.router is not None or self._is_named(Kind.META_ROUTER, host):
            message = f"shadowed: {host} is routed by a MetaRouter, this has no effect there"
            shadowed = tuple(
                Finding(key=key_of(other), problem=warning("spec.hosts", message))
                for other in services
            )
            return structs.replace(routing, findings=routing.findings + shadowed)
        if not services:
            held = routing.held or self.is_held(Kind.VIRTUAL_SERVICE, host)
            return Routing(by_default=not held, held=held)
        oldest = services[0]
        message = f"conflict: {host} is routed by the older {key_of(oldest)}"
        findings = [
            Finding(key=key_of(other), problem=error("spec.hosts", message))
            for other in services[1:]
        ]
        findings += [Finding(key=key_of(oldest), problem=p) for p in unread(oldest)]
        return Routing(
            router=oldest,
            rules=rules_of(oldest, self.full),
            by_default=not oldest.spec.http,
            findings=tuple(findings),
        )

    def codec(self, application: str) -> str | None:
        """The codec of an application protocol: built in, or declared by the oldest object."""
        declared = self._declarers(application)
        return BUILT_IN_CODECS.get(application) or (declared[0].spec.codec if declared else None)

    def in_force(self, kind: Kind, host: Host) -> list[MeshObject]:
        """The objects of a kind that may speak about a host, oldest first."""
        return self._about.in_force(kind, host)

    def settles(self, topic: Topic) -> list[MeshObject]:
        """The objects that settle a topic, oldest first."""
        return sorted((self._objects[key] for key in self._settling.get(topic, ())), key=age)

    def used(self, subject: Subject) -> frozenset[Topic]:
        """The topics of a subject that objects depend on, settled or not."""
        return frozenset(self._using[subject])

    def is_unsettled(self, topic: Topic) -> bool:
        """Whether something about a topic exists that cannot be read and never was in force, or may
        exist where nobody could look."""
        kind = SETTLING.get(topic.subject)
        known = topic.subject is not Subject.POLICIES and topic in self._settling
        return topic in self._unsettled or (kind in self.blind and not known)

    def is_held(self, kind: Kind, host: Host) -> bool:
        """Whether an object of a kind about a host exists that cannot be read and never was in
        force, or may exist where nobody could look."""
        return kind in self.blind or self._is_named(kind, host)

    def _is_named(self, kind: Kind, host: Host) -> bool:
        """Whether an object of a kind that never could be read names a host."""
        return any(key.kind is kind for key in self._held.get(host, ()))

    def is_foreign(self, host: Host, namespace: str) -> bool:
        """Whether objects of a namespace may not use a host, for it is another's."""
        owner = self.tenancy.foreign_owner(Namespace(namespace), host, self._about.entries(host))
        return self.tenancy.mode is TenancyMode.STRICT and owner is not None

    def full(self, name: str, namespace: str) -> Host:
        """The host that an object of a namespace means by a name."""
        return full_host(name, Namespace(namespace), self.tenancy.domain)

    def _declarers(self, application: str) -> list[ApplicationProtocol]:
        found = self.settles(Topic(Subject.APPLICATION, application))
        return [each for each in found if isinstance(each, ApplicationProtocol)]

    def _beside(self, host: Host) -> Iterable[Host]:
        """The hosts of the entries that declare a host: they share its listeners."""
        keys = [key for kind in ENTRIES for key in self._about.keys(kind, host)]
        return [each for key in keys for each in self._links[key].hosts]

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
            host = self.full(name, namespace)
            entries = self._about.entries(host)
            owner = self.tenancy.foreign_owner(namespace, host, entries)
            if owner is not None:
                yield self.tenancy.foreign_host(field, host, owner)
            elif not entries and isinstance(item, MetaRouter | RedisService | RedisDestination):
                what = "router" if isinstance(item, MetaRouter) else "object"
                message = f"no ServiceEntry or Service declares {host}: the {what} has no effect"
                yield warning(field, message)
        if isinstance(item, MetaRouter):
            yield from self.tenancy.borrowed(item)
            limiter = rate_limit_host(item)
            if limiter is not None:
                owner = self.tenancy.foreign_owner(namespace, limiter, self._about.entries(limiter))
                if owner is not None:
                    field = "spec.globalRateLimit.rateLimitService"
                    yield self.tenancy.foreign_host(field, limiter, owner)

    def _add(self, key: Key, item: MeshObject) -> set[Host]:
        if isinstance(item, KubernetesService):
            item = service_entry(item, self.tenancy.domain)
        links = links_of(item, self.tenancy)
        self._objects[key] = item
        self._links[key] = links
        self._about.add(key, links.hosts)
        for host in links.targets:
            self._senders[host].add(key)
        for topic in links.settles:
            self._settling[topic].add(key)
        for topic in links.uses:
            self._using[topic.subject][topic].add(key)
        return self._touched_by(links)

    def _remove(self, key: Key) -> set[Host]:
        links = self._links[key]
        self._about.remove(key, links.hosts)
        for host in links.targets:
            _discard(self._senders, host, key)
        for topic in links.settles:
            _discard(self._settling, topic, key)
        for topic in links.uses:
            _discard(self._using[topic.subject], topic, key)
        del self._links[key], self._objects[key]
        return self._touched_by(links)

    def _touched_by(self, links: Links) -> set[Host]:
        """The hosts of an object, and those that depend on what it settles."""
        if not links.settles:
            return set(links.hosts)
        return self._dependent(links.settles).union(links.hosts, self._crowded(links.settles))

    def _dependent(self, topics: Iterable[Topic]) -> set[Host]:
        """The hosts of all who depend on topics, also by way of what others settle."""
        found: set[Host] = set()
        waiting, seen = list(topics), set(topics)
        while waiting:
            topic = waiting.pop()
            for key in self._using[topic.subject].get(topic, ()):
                found |= self._links[key].hosts
                waiting += self._links[key].settles - seen
                seen |= self._links[key].settles
        return found

    def _crowded(self, topics: Iterable[Topic]) -> Iterable[Host]:
        """The hosts with routers whose workloads are those of a topic: their limits are enforced
        there."""
        keys = (
            key
            for topic in topics
            if topic.subject is Subject.WORKLOADS
            for key in self._settling.get(topic, ())
        )
        hosts = (host for key in keys for host in self._links[key].hosts)
        return (host for host in hosts if self._about.keys(Kind.META_ROUTER, host))

    def _rivals(self, key: Key) -> Set[Key]:
        """The ApplicationProtocols that declare what this one declares, itself included."""
        if key.kind is not Kind.APPLICATION_PROTOCOL or (links := self._links.get(key)) is None:
            return frozenset()
        return {k for topic in links.settles for k in self._settling.get(topic, ())}

    def _unsettle(self, change: Change) -> set[Host]:
        """Note whether an object that settles something by its name can be read at all."""
        if (change.held_before is None) == (change.held is None):
            return set()
        topics = settled_by(change.key, self.tenancy)
        for topic in topics:
            if change.held is not None:
                self._unsettled[topic].add(change.key)
            else:
                _discard(self._unsettled, topic, change.key)
        return self._dependent(topics)

    def _hold(self, change: Change) -> frozenset[Host]:
        before = {self.full(name, change.key.namespace) for name in change.held_before or ()}
        after = {self.full(name, change.key.namespace) for name in change.held or ()}
        for host in before:
            _discard(self._held, host, change.key)
        for host in after:
            self._held[host].add(change.key)
        return frozenset(before | after)

    def _targets_of(self, key: Key) -> frozenset[Host]:
        links = self._links.get(key)
        return links.targets if links is not None else frozenset()


def _discard(index: dict[K, set[V]], key: K, member: V) -> None:
    """Take a member out of an index and drop the entry that became empty."""
    members = index.get(key)
    if members is not None:
        members.discard(member)
        if not members:
            del index[key]
