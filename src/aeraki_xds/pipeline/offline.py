"""Translation without a server: what `validate` and `translate` do with files.

In: the events of one read. Out: what would be in force, and everything that is wrong. It runs the
very stages that `serve` runs, so the two never disagree.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from aeraki_xds.encode import packed_to_json, unpacked
from aeraki_xds.ingest.event import Event, Unreadable
from aeraki_xds.mesh.change import Delete, Rejected, Upsert
from aeraki_xds.mesh.graph import Graph
from aeraki_xds.mesh.names import Kind
from aeraki_xds.mesh.problems import Finding
from aeraki_xds.mesh.store import Store
from aeraki_xds.mesh.tenancy import Tenancy
from aeraki_xds.pipeline.composer import Composer, conflicts
from aeraki_xds.pipeline.ledger import Ledger
from aeraki_xds.pipeline.report import Entry, entries
from aeraki_xds.pipeline.scopes import ScopeSpec
from aeraki_xds.translate.output import ISTIO
from aeraki_xds.xds.resource import Resource

Plain = dict[str, dict[str, dict[str, object]]]
"""Type URL → name → resource in proto3 JSON; of what is for Istio, API version and kind →
`namespace/name` → object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offline:
    """What the files mean for each of the scopes asked for, and what is wrong with them."""

    scopes: tuple[Plain, ...]
    entries: tuple[Entry, ...]
    objects: int

    @property
    def is_valid(self) -> bool:
        """Whether there is no error; warnings are allowed."""
        return not any(entry.is_error for entry in self.entries)


def translate(
    events: Iterable[Event],
    specs: Iterable[ScopeSpec],
    *,
    tenancy: Tenancy,
) -> Offline:
    """Compose every host for every spec."""
    store, graph = Store(), Graph(tenancy=tenancy)
    said = list(events)
    about_objects = [e for e in said if isinstance(e, Upsert | Delete | Rejected)]
    graph.update(store.apply(about_objects))
    unreadable = [event for event in said if isinstance(event, Unreadable)]
    hidden = frozenset(Kind) if any(each.hides for each in unreadable) else frozenset()
    graph.blind = store.hidden_kinds() | hidden
    scopes: list[Plain] = []
    findings = [finding for found in graph.verdicts.values() for finding in found]
    for spec in specs:
        plain, found = _compose(graph, spec)
        scopes.append(plain)
        findings += found
    return Offline(
        scopes=tuple(scopes),
        entries=tuple(entries(store, unreadable, findings)),
        objects=len(store.objects.keys() | store.rejected.keys()),
    )


def _compose(graph: Graph, spec: ScopeSpec) -> tuple[Plain, list[Finding]]:
    composer = Composer(graph=graph, recipe=spec.recipe)
    ledger = Ledger()
    for host in sorted(graph.hosts):
        composer.compose(host)
    for host in composer.settle():
        composer.hand_over(host, spec, ledger)
    ledger.settle()
    plain: Plain = {}
    for identity, resource in sorted(ledger.in_force.items()):
        plain.setdefault(identity.type_url, {})[identity.name] = _plain(resource)
    return plain, [*composer.findings, *conflicts(graph, ledger)]


def _plain(resource: Resource) -> dict[str, object]:
    if resource.id.type_url.startswith(ISTIO):
        written: dict[str, object] = orjson.loads(unpacked(resource.packed))
        return written
    body = packed_to_json(resource.packed)
    del body["@type"]
    return body
