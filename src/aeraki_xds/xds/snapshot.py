"""Everything that a scope holds at one moment, immutable, sharing what did not change.

A publication makes a new snapshot from the old one and the changed resources in time proportional
to what changed, and says which names really did: same bytes are no change.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from aeraki_xds.xds.resource import Name, Resource, ResourceId, TypeUrl, version_of
from aeraki_xds.xds.shards import EMPTY, Shards

Changed = Mapping[TypeUrl, frozenset[Name]]
_PART: Final = 4_000
"""Changes at a time: ten milliseconds of them."""

_DIGEST: Final = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Collection:
    """All resources of one type, with the wrapping sum of their digests as version."""

    resources: Shards = field(default_factory=lambda: EMPTY)
    digest: int = 0

    @property
    def version(self) -> str:
        """Equal content has an equal version wherever it was built."""
        return version_of(self.digest)

    def changed_by(
        self, changes: Mapping[Name, Resource | None]
    ) -> tuple[Collection, frozenset[Name]]:
        """The collection after `changes` (None removes) and the names whose bytes differ."""
        if not self.resources:
            return _collected(changes)
        digest = self.digest
        changed: dict[Name, Resource | None] = {}
        for name, after in changes.items():
            before = self.resources.get(name)
            if after is not None and before is not None and after.digest == before.digest:
                continue
            if before is not None:
                digest -= before.digest
            if after is not None:
                digest += after.digest
            if before is not after:
                changed[name] = after
        if not changed:
            return self, frozenset()
        resources = self.resources.changed_by(changed)
        return Collection(resources, digest & _DIGEST), frozenset(changed)


def _collected(changes: Mapping[Name, Resource | None]) -> tuple[Collection, frozenset[Name]]:
    """What `changed_by` makes of an empty collection, in a third of the time: the first publication
    of a scope may hold tens of thousands of resources.
    """
    resources = {name: resource for name, resource in changes.items() if resource is not None}
    digest = sum([resource.digest for resource in resources.values()]) & _DIGEST
    return Collection(Shards.of(resources), digest), frozenset(resources)


_EMPTY: Final = Collection()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The collections of a scope, by type."""

    collections: Mapping[TypeUrl, Collection] = field(default_factory=dict)

    def of(self, type_url: TypeUrl) -> Collection:
        """The resources of one type; empty when there are none."""
        return self.collections.get(type_url, _EMPTY)

    def get(self, identity: ResourceId) -> Resource | None:
        """One resource."""
        return self.of(identity.type_url).resources.get(identity.name)

    def changed_by(self, changes: Mapping[ResourceId, Resource | None]) -> tuple[Snapshot, Changed]:
        """The snapshot after `changes` (None removes) and what really changed."""
        by_type: defaultdict[TypeUrl, dict[Name, Resource | None]] = defaultdict(dict)
        for (type_url, name), resource in changes.items():
            by_type[type_url][name] = resource
        collections = dict(self.collections)
        changed: dict[TypeUrl, frozenset[Name]] = {}
        for type_url, of_type in by_type.items():
            collection, names = self.of(type_url).changed_by(of_type)
            if names:
                collections[type_url] = collection
                changed[type_url] = names
        return (Snapshot(collections), changed) if changed else (self, changed)

    def steps(
        self, changes: Mapping[ResourceId, Resource | None]
    ) -> Iterator[tuple[Snapshot, Changed]]:
        """`changed_by`, a part at a time; the last that it says is the whole. To take in 80,000
        resources in one go held the loop for 0.12 s, in parts for 10 ms at the most.
        """
        snapshot, changed = self, dict[TypeUrl, frozenset[Name]]()
        yield snapshot, changed
        waiting = iter(changes.items())
        while part := dict(islice(waiting, _PART)):
            snapshot, names = snapshot.changed_by(part)
            for type_url, of_type in names.items():
                changed[type_url] = changed.get(type_url, frozenset()) | of_type
            yield snapshot, changed


Content = tuple[tuple[Resource, ...], tuple[Name, ...]]
"""The resources of a response, and the names that it says are gone."""

Alone = tuple[Resource, Mapping[Name, Resource], Content]
"""One resource: itself, by its name, and as a content; the same objects for every stream."""


class View:
    """What the streams with one list of scopes see: the first scope that holds a name wins.

    The hub replaces the snapshots; sessions only read. While a scope is not composed yet (None)
    the view is not ready and its sessions stay silent: silence is not emptiness. What every stream
    would work out alike is worked out once for each set of snapshots.
    """

    __slots__ = (
        "__weakref__", "_all", "_alone", "_layers", "_listings", "_snapshots", "_versions", "ready",
    )  # fmt: skip

    def __init__(self, snapshots: Iterable[Snapshot | None]) -> None:
        self.show(snapshots)

    def show(self, snapshots: Iterable[Snapshot | None]) -> None:
        """Replace what is seen."""
        seen = tuple(snapshots)
        self.ready = None not in seen
        self._snapshots = tuple(snapshot for snapshot in seen if snapshot is not None)
        self._layers: dict[TypeUrl, tuple[Shards, ...]] = {}
        self._all: dict[TypeUrl, Mapping[Name, Resource]] = {}
        self._alone: dict[tuple[TypeUrl, Name], Alone] = {}
        self._listings: dict[TypeUrl, tuple[Resource, ...]] = {}
        self._versions: dict[TypeUrl, str] = {}

    def layers(self, type_url: TypeUrl) -> tuple[Shards, ...]:
        """What each scope that has the type holds of it; the first that holds a name wins."""
        known = self._layers.get(type_url)
        if known is None:
            held = (snapshot.of(type_url).resources for snapshot in self._snapshots)
            known = self._layers[type_url] = tuple(filter(None, held))
        return known

    def get(self, type_url: TypeUrl, name: Name) -> Resource | None:
        """One resource."""
        for layer in self.layers(type_url):
            found = layer.get(name)
            if found is not None:
                return found
        return None

    def alone(self, type_url: TypeUrl, name: Name) -> Alone | None:
        """One resource, as what a response holds that holds nothing else."""
        known = self._alone.get((type_url, name))
        if known is None:
            found = self.get(type_url, name)
            if found is None:
                return None
            known = self._alone[type_url, name] = found, {name: found}, ((found,), ())
        return known

    def all(self, type_url: TypeUrl) -> Mapping[Name, Resource]:
        """Every resource of a type: the snapshot's own mapping where one scope has the type."""
        known = self._all.get(type_url)
        if known is None:
            layers = self.layers(type_url)
            known = self._all[type_url] = layers[0].flat() if len(layers) == 1 else _merged(layers)
        return known

    def listing(self, type_url: TypeUrl) -> tuple[Resource, ...]:
        """Every resource of a type, by name."""
        known = self._listings.get(type_url)
        if known is None:
            known = self._listings[type_url] = by_name(self.all(type_url))
        return known

    def version(self, type_url: TypeUrl) -> str:
        """The version of all that is seen of a type; what another scope hides does not count."""
        known = self._versions.get(type_url)
        if known is None:
            holders = [s for s in self._snapshots if s.of(type_url).resources]
            if len(holders) == 1:
                known = holders[0].of(type_url).version
            else:
                known = version_of_all(self.all(type_url).values())
            self._versions[type_url] = known
        return known


def _merged(layers: Iterable[Shards]) -> Mapping[Name, Resource]:
    merged: dict[Name, Resource] = {}
    for layer in layers:
        merged = {**layer.flat(), **merged}
    return merged


def version_of_all(resources: Iterable[Resource]) -> str:
    """The version that a collection of just these has."""
    return version_of(sum(resource.digest for resource in resources) & _DIGEST)


def by_name(resources: Mapping[Name, Resource]) -> tuple[Resource, ...]:
    """Resources in the order of their names, so that equal responses have equal bytes."""
    if len(resources) == 1:
        return tuple(resources.values())
    return tuple(resources[name] for name in sorted(resources))
