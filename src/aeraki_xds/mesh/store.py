"""Every object that is in force, by key: the single writer of what the mesh is.

In: object events, last word per key. Out: what really changed. An update that leaves a Struct
equal (resourceVersion, managedFields) ends here. A rejected object leaves its last good version
in force; one without a last good version is held, and so are the hosts that it names.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from aeraki_xds.mesh.change import Delete, ObjectEvent, Rejected, Upsert
from aeraki_xds.mesh.names import RULING, Key, Kind
from aeraki_xds.mesh.objects import MeshObject


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One key before and after; `held` are the hosts, as written, of an object that is rejected and
    never was in force, None where it is not so."""

    key: Key
    before: MeshObject | None = None
    after: MeshObject | None = None
    held_before: frozenset[str] | None = None
    held: frozenset[str] | None = None


class Store:
    """Objects in force and the rejections that stand beside them."""

    def __init__(self) -> None:
        self.objects: dict[Key, MeshObject] = {}
        self.rejected: dict[Key, Rejected] = {}
        self.accepted: dict[Key, Upsert] = {}

    def hidden_kinds(self) -> frozenset[Kind]:
        """The kinds of rules that are rejected, never were in force, and of which no host is
        known."""
        return frozenset(
            key.kind
            for key, rejected in self.rejected.items()
            if not rejected.hosts and key not in self.objects and key.kind in RULING
        )

    def apply(self, events: Iterable[ObjectEvent]) -> tuple[Change, ...]:
        """Take events in order and say what changed, each key once."""
        before: dict[Key, tuple[MeshObject | None, frozenset[str] | None]] = {}
        for event in events:
            key = event.key
            before.setdefault(key, (self.objects.get(key), self._held(key)))
            match event:
                case Upsert():
                    self.objects[key] = event.item
                    self.accepted[key] = event
                    self.rejected.pop(key, None)
                case Delete():
                    self.objects.pop(key, None)
                    self.accepted.pop(key, None)
                    self.rejected.pop(key, None)
                case Rejected():
                    self.rejected[key] = event
        changes = (
            Change(
                key=key,
                before=item,
                after=self.objects.get(key),
                held_before=held,
                held=self._held(key),
            )
            for key, (item, held) in before.items()
        )
        return tuple(c for c in changes if c.before != c.after or c.held_before != c.held)

    def _held(self, key: Key) -> frozenset[str] | None:
        rejected = self.rejected.get(key)
        return rejected.hosts if rejected is not None and key not in self.objects else None
