"""What is in force in one scope: which host claims which name, and what must not go yet.

In: one host's composed resources at a time. Out: the changes of the scope's snapshot. Rules:

1. Of several hosts that claim one name, the older has it (a listener's socket).
2. A claim that is only *kept* (a last good route table, and what it needs) yields to any host that
   claims the name afresh, and holds where nobody does.
3. A listener is in force only while every route table that it names is: a proxy must not accept
   connections whose calls nobody can route.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from aeraki_xds.mesh.names import Host
from aeraki_xds.xds.resource import LISTENER, Resource, ResourceId


class Composed(msgspec.Struct, frozen=True, kw_only=True):
    """A host's output, encoded, with its rank by age.

    `kept` are resources of an earlier output that stay in force although the host does not claim
    them now: what it withholds, in its last good version, and everything that needs.
    """

    age: tuple[str, ...] = ()
    resources: tuple[Resource, ...] = ()
    kept: tuple[Resource, ...] = ()


NOTHING = Composed()


@dataclass(frozen=True, slots=True, kw_only=True)
class Collision:
    """A name that `loser` claims and the older `owner` has."""

    id: ResourceId
    owner: Host
    loser: Host


@dataclass(frozen=True, slots=True, order=True)
class _Claim:
    """Sorts the claims to one name: fresh before kept, then by age, then by host."""

    is_kept: bool
    age: tuple[str, ...]
    host: Host
    resource: Resource = field(compare=False)


class Ledger:
    """The claims of all hosts and the resources in force. To settle ten thousand replacements takes
    long enough to be done in steps; until the last one nothing that it says may be used.
    """

    def __init__(self) -> None:
        self.in_force: dict[ResourceId, Resource] = {}
        self._claims: dict[ResourceId, dict[Host, _Claim]] = {}
        self._claimed_by: dict[Host, set[ResourceId]] = {}
        self._touched: set[ResourceId] = set()
        self._contested: set[ResourceId] = set()

    def replace(self, host: Host, composed: Composed) -> None:
        """Put a host's claims in place of its earlier ones."""
        before = self._claimed_by.pop(host, set())
        for identity in before:
            del self._claims[identity][host]
        claims = [_Claim(True, composed.age, host, kept) for kept in composed.kept]
        claims += [_Claim(False, composed.age, host, made) for made in composed.resources]
        for claim in claims:
            self._claims.setdefault(claim.resource.id, {})[host] = claim
        after = {claim.resource.id for claim in claims}
        if after:
            self._claimed_by[host] = after
        self._touched |= before | after

    def settle(self) -> dict[ResourceId, Resource | None]:
        """Decide what is in force after the replacements and return what that changes."""
        return dict(filter(None, self.steps()))

    def steps(self) -> Iterator[tuple[ResourceId, Resource | None] | None]:
        """Settle name by name; each step is a change, or None where nothing changes."""
        touched, self._touched = self._touched, set()
        listeners: list[ResourceId] = []
        for identity in touched:
            if identity.type_url == LISTENER:
                listeners.append(identity)
            else:
                yield self._settled(identity)
        # Last, for they depend on the routes that this very pass puts in force.
        for identity in listeners:
            yield self._settled(identity)

    def _settled(self, identity: ResourceId) -> tuple[ResourceId, Resource | None] | None:
        resource = self._desired(identity)
        if resource is None:
            gone = self.in_force.pop(identity, None) is not None
            return (identity, None) if gone else None
        if self.in_force.get(identity) is resource:
            return None
        self.in_force[identity] = resource
        return identity, resource

    def collisions(self) -> Iterable[Collision]:
        """Every fresh claim that lost to an older host's."""
        for identity in sorted(self._contested):
            fresh = sorted(c for c in self._claims[identity].values() if not c.is_kept)
            for loser in fresh[1:]:
                yield Collision(id=identity, owner=fresh[0].host, loser=loser.host)

    def _desired(self, identity: ResourceId) -> Resource | None:
        claims = self._claims.get(identity)
        if claims and len(claims) > 1:
            self._contested.add(identity)
        else:
            self._contested.discard(identity)
        if not claims:
            self._claims.pop(identity, None)
            return None
        resource = min(claims.values()).resource
        if identity.type_url == LISTENER and any(n not in self.in_force for n in resource.needs):
            return None
        return resource
