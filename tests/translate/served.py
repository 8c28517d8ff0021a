"""What translation alone makes of objects, before anything is served.

In: events and a recipe. Out: the drafts of every host and their bytes, for tests that look at
messages or bytes rather than at JSON.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from aeraki_xds.mesh.change import ObjectEvent
from aeraki_xds.mesh.graph import Graph
from aeraki_xds.mesh.names import Host
from aeraki_xds.mesh.store import Store
from aeraki_xds.translate.compose import Recipe, compose
from aeraki_xds.translate.output import Draft, Output


def outputs(events: Iterable[ObjectEvent], recipe: Recipe) -> dict[Host, Output]:
    """What each host gives to a recipe."""
    graph = Graph()
    graph.update(Store().apply(events))
    return {host: compose(graph, host, recipe) for host in sorted(graph.hosts)}


def drafts(events: Iterable[ObjectEvent], recipe: Recipe) -> list[Draft]:
    """The resources of all hosts."""
    return [draft for output in outputs(events, recipe).values() for draft in output.drafts]


def fingerprint(events: Iterable[ObjectEvent], recipe: Recipe) -> str:
    """A digest of everything that translation says: bytes, names, needs, problems, in order."""
    digest = hashlib.sha256()
    for host, output in outputs(events, recipe).items():
        for draft in output.drafts:
            digest.update(repr((host, draft.id, draft.needs)).encode())
            digest.update(draft.encoded())
        said = (output.age, sorted(output.withheld), output.findings)
        digest.update(repr(said).encode())
    return digest.hexdigest()
