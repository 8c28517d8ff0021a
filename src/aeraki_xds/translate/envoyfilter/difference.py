"""What proxies would feel if one set of EnvoyFilters took the place of another.

In: two sets of objects. Out: how many listeners and clusters differ, and how many objects would be
written. Each listener that differs is pushed anew by istiod, and its connections are drained.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import orjson

Objects = Mapping[str, Mapping[str, Any]]
"""`namespace/name` → object."""

_Place = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What differs, counted."""

    listeners: int
    clusters: int
    created: int
    changed: int
    deleted: int

    def __bool__(self) -> bool:
        return any(self.plain().values())

    def plain(self) -> dict[str, int]:
        """The counts by name."""
        return asdict(self)


def difference(before: Objects, after: Objects) -> Difference:
    """What differs between two sets of objects of one kind."""
    places = _unequal(_patches(before.values()), _patches(after.values()))
    kinds = [place[0] for place in places]
    return Difference(
        listeners=kinds.count("NETWORK_FILTER"),
        clusters=kinds.count("CLUSTER"),
        created=len(after.keys() - before.keys()),
        changed=sum(before[name] != after[name] for name in before.keys() & after.keys()),
        deleted=len(before.keys() - after.keys()),
    )


def _unequal(before: Mapping[_Place, Any], after: Mapping[_Place, Any]) -> list[_Place]:
    return [each for each in before.keys() | after.keys() if before.get(each) != after.get(each)]


def _patches(objects: Iterable[Mapping[str, Any]]) -> dict[_Place, list[bytes]]:
    """What is done where: to which listener of which workloads, or to which cluster."""
    found: dict[_Place, list[bytes]] = defaultdict(list)
    for each in objects:
        spec = each["spec"]
        workloads = orjson.dumps(spec.get("workloadSelector"), option=orjson.OPT_SORT_KEYS)
        for patch in spec.get("configPatches", ()):
            where = _place(patch, workloads.decode())
            what = [each["metadata"]["namespace"], patch]
            found[where].append(orjson.dumps(what, option=orjson.OPT_SORT_KEYS))
    return {where: sorted(patches) for where, patches in found.items()}


def _place(patch: Mapping[str, Any], workloads: str) -> _Place:
    if patch["applyTo"] == "CLUSTER":
        match = patch.get("match") or {"cluster": patch["patch"].get("value", {})}
        return ("CLUSTER", match["cluster"]["name"])
    listener = patch["match"]["listener"]
    port = listener["filterChain"].get("destinationPort", 0)
    return (patch["applyTo"], workloads, listener["name"], str(port))
