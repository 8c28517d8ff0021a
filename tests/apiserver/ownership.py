"""Who set which field: `metadata.managedFields`, and the rules of server-side apply.

In: objects, before and after, and who writes. Out: the fields that each manager owns, in the real
format (FieldsV1), and the conflicts of an apply. Rule: Kubernetes, "Server-Side Apply". A field
here is a top-level field, each key of one that is a map (so `spec.hosts`), or a single label or
annotation; the real server goes down to leaves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tests.apiserver.kinds import JsonObject

Path = tuple[str, ...]


def fields_of(value: Mapping[str, Any]) -> dict[Path, Any]:
    """The fields of an object that can be owned, and what they are."""
    fields: dict[Path, Any] = {}
    metadata = value.get("metadata", {})
    for name in ("annotations", "labels"):
        fields |= {("metadata", name, key): one for key, one in (metadata.get(name) or {}).items()}
    for name in ("finalizers", "ownerReferences"):
        if name in metadata:
            fields["metadata", name] = metadata[name]
    for name, content in value.items():
        if name in {"apiVersion", "kind", "metadata"}:
            continue
        if isinstance(content, dict) and content:
            fields |= {(name, key): one for key, one in content.items()}
        else:
            fields[(name,)] = content
    return fields


def put(value: JsonObject, path: Path, content: object) -> None:
    """Set a field in place."""
    *parents, last = path
    for name in parents:
        if not isinstance(value.get(name), dict):
            value[name] = {}
        value = value[name]
    value[last] = content


def remove(value: JsonObject, path: Path) -> None:
    """Remove a field in place; what held only labels or annotations goes with the last of them."""
    *parents, last = path
    above, name = value, ""
    for name in parents:
        above, value = value, value.get(name, {})
    value.pop(last, None)
    if not value and path[0] == "metadata":
        above.pop(name, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manager:
    """One entry of managedFields."""

    name: str
    operation: str  # Apply or Update
    subresource: str
    api_version: str
    time: str
    owns: frozenset[Path] = frozenset()

    @classmethod
    def read(cls, raw: JsonObject) -> Manager:
        return cls(
            name=raw["manager"],
            operation=raw["operation"],
            subresource=raw.get("subresource", ""),
            api_version=raw["apiVersion"],
            time=raw["time"],
            owns=frozenset(_leaves(raw["fieldsV1"], ())),
        )

    def written(self) -> JsonObject:
        """The entry as the API shows it."""
        tree: JsonObject = {}
        for path in sorted(self.owns):
            put(tree, tuple(f"f:{name}" for name in path), {})
        subresource = {"subresource": self.subresource} if self.subresource else {}
        return {
            "manager": self.name,
            "operation": self.operation,
            "apiVersion": self.api_version,
            "time": self.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": tree,
            **subresource,
        }

    def is_same(self, other: Manager) -> bool:
        """Whether both entries are one manager's: an apply and an update are two managers."""
        mine = (self.name, self.operation, self.subresource)
        return mine == (other.name, other.operation, other.subresource)

    def __str__(self) -> str:
        """As the message of a conflict has it."""
        shown = f'"{self.name}"'
        if self.subresource:
            shown += f' with subresource "{self.subresource}"'
        if self.operation == "Update":
            shown += f" using {self.api_version} at {self.time}"
        return shown


def _leaves(tree: JsonObject, above: Path) -> Iterator[Path]:
    for name, below in tree.items():
        path = (*above, name.removeprefix("f:"))
        if below:
            yield from _leaves(below, path)
        else:
            yield path


def managers_of(value: Mapping[str, Any]) -> list[Manager]:
    """The entries of an object."""
    entries = value.get("metadata", {}).get("managedFields", [])
    return [Manager.read(entry) for entry in entries]


def owned_by(managers: Iterable[Manager], me: Manager) -> frozenset[Path]:
    """What a manager owns so far."""
    return next((one.owns for one in managers if me.is_same(one)), frozenset())


def replaced(managers: Iterable[Manager], me: Manager, *, lost: frozenset[Path]) -> list[Manager]:
    """The entries when one owns what it says, and all others lose some fields.

    An entry that owns what it did keeps its time; one that owns nothing any more goes.
    """
    mine = next((one for one in managers if me.is_same(one) and one.owns == me.owns), me)
    others = [replace(one, owns=one.owns - lost) for one in managers if not me.is_same(one)]
    return [one for one in (*others, mine) if one.owns]


def conflicts(
    managers: Iterable[Manager], me: Manager, live: Mapping[Path, Any], wanted: Mapping[Path, Any]
) -> list[tuple[Manager, Path]]:
    """The fields to which an apply gives another value than those who own them did."""
    changed = [path for path in sorted(wanted) if path in live and live[path] != wanted[path]]
    return [
        (manager, path)
        for manager in managers
        if not me.is_same(manager)
        for path in changed
        if path in manager.owns
    ]
