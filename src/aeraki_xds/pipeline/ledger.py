"""What is in force in one scope: which host claims which name, and what must not go yet.

In: one host's composed resources at a time. Out: the changes of the scope's snapshot. Rules:

1. A name that a host withholds stays as it was (design §6: last good), and so does everything
   that it needs, although nobody claims it any more: the clusters of a route that is kept.
2. Of several hosts that claim one name, the older has it (a listener's socket).
3. A listener is in force only while every route table that it names is: a proxy must not accept
   connections whose calls nobody can route.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from aeraki_xds.mesh.names import Host
from aeraki_xds.xds.resource import LISTENER, Resource, ResourceId


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """A host's output, encoded: its resources, the names it withholds, and its rank by age."""

    age: tuple[str, ...] = ()
    resources: tuple[Resource, ...] = ()
    withheld: frozenset[ResourceId] = field(default_factory=frozenset)


NOTHING = Composed()


@dataclass(frozen=True, slots=True, kw_only=True)
class Collision:
    """A name that `loser` claims and the older `owner` has."""

    id: ResourceId
    owner: Host
    loser: Host


class Ledger:
    """The claims of all hosts and the resources in force."""

    def __init__(self) -> None:
        self.in_force: dict[ResourceId, Resource] = {}
        self._claims: dict[ResourceId, dict[Host, tuple[tuple[str, ...], Resource]]] = {}
        self._claimed_by: dict[Host, set[ResourceId]] = {}
        self._kept: dict[Host, set[ResourceId]] = {}
        self._pinned: set[ResourceId] = set()
        self._touched: set[ResourceId] = set()

    def replace(self, host: Host, composed: Composed) -> None:
        """Put a host's claims in place of its earlier ones."""
        before = self._claimed_by.get(host, set())
        after = {resource.id for resource in composed.resources}
        kept = (before & composed.withheld) - after
        for identity in before - after - kept:
            self._drop(host, identity)
        for resource in composed.resources:
            self._claims.setdefault(resource.id, {})[host] = (composed.age, resource)
        _set_or_drop(self._claimed_by, host, after | kept)
        _set_or_drop(self._kept, host, kept)
        self._touched |= before | after

    def settle(self) -> dict[ResourceId, Resource | None]:
        """Decide what is in force after the replacements and return what that changes."""
        pinned = self._pins()
        self._touched |= pinned ^ self._pinned
        self._pinned = pinned
        desired = {identity: self._desired(identity) for identity in self._touched}
        changes: dict[ResourceId, Resource | None] = {}
        # Listeners last: they depend on the routes that this very pass puts in force.
        for identity in sorted(desired, key=lambda i: i.type_url == LISTENER):
            resource = desired[identity]
            if resource is not None and identity.type_url == LISTENER:
                resource = resource if all(n in self.in_force for n in resource.needs) else None
            if resource is None:
                if self.in_force.pop(identity, None) is not None:
                    changes[identity] = None
            elif self.in_force.get(identity) is not resource:
                self.in_force[identity] = resource
                changes[identity] = resource
        self._touched = set()
        return changes

    def collisions(self) -> Iterable[Collision]:
        """Every claim that lost to an older host's."""
        for identity, claims in sorted(self._claims.items()):
            if len(claims) > 1:
                owner = self._owner(identity)
                assert owner is not None
                for loser in sorted(claims.keys() - {owner}):
                    yield Collision(id=identity, owner=owner, loser=loser)

    def _drop(self, host: Host, identity: ResourceId) -> None:
        claims = self._claims[identity]
        del claims[host]
        if not claims:
            del self._claims[identity]

    def _owner(self, identity: ResourceId) -> Host | None:
        claims = self._claims.get(identity)
        return min(claims, key=lambda host: (claims[host][0], host)) if claims else None

    def _desired(self, identity: ResourceId) -> Resource | None:
        owner = self._owner(identity)
        if owner is not None:
            return self._claims[identity][owner][1]
        return self.in_force.get(identity) if identity in self._pinned else None

    def _pins(self) -> set[ResourceId]:
        """Everything in force that a kept resource needs, directly or not."""
        waiting = [identity for kept in self._kept.values() for identity in kept]
        pinned: set[ResourceId] = set()
        while waiting:
            resource = self.in_force.get(waiting.pop())
            for need in resource.needs if resource is not None else ():
                if need not in pinned:
                    pinned.add(need)
                    waiting.append(need)
        return pinned


def _set_or_drop(index: dict[Host, set[ResourceId]], host: Host, ids: set[ResourceId]) -> None:
    if ids:
        index[host] = ids
    else:
        index.pop(host, None)
