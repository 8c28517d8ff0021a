"""A port of a service, as `placing` finds it, from manifests in YAML."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import yaml

from aeraki_xds.mesh.change import Upsert
from aeraki_xds.mesh.graph import Graph
from aeraki_xds.mesh.names import Host
from aeraki_xds.mesh.objects import MeshObject, key_of
from aeraki_xds.mesh.store import Store
from aeraki_xds.translate.envoyfilter.profile import EnvoyFilters
from aeraki_xds.translate.envoyfilter.site import Generated, Site
from tests.translate.golden import events_of


def site_of(
    manifests: str, host: str, delivery: EnvoyFilters, *, objects: Iterable[MeshObject] = ()
) -> Site:
    """The first port of a host that names a protocol, among further objects."""
    graph = Graph()
    there = [Upsert(key=key_of(item), item=item, origin="test") for item in objects]
    graph.update(Store().apply([*events_of(yaml.safe_load_all(manifests)), *there]))
    found = graph.service(Host(host))
    assert found is not None, host
    service, _ = found
    port = next(port for port in service.ports if port.protocol is not None)
    assert port.protocol is not None
    return Site(
        graph=graph,
        service=service,
        port=port,
        protocol=port.protocol,
        delivery=delivery,
        inbound_number=port.number,
    )


@dataclass(frozen=True, slots=True)
class Said:
    """What was said of an object: `Kind/namespace/name field`, and how."""

    where: str
    text: str


def said(generated: Generated) -> list[Said]:
    return [
        Said(f"{each.key} {each.problem.field}", str(each.problem)) for each in generated.findings
    ]


def text_about(generated: Generated, where: str) -> str:
    """What was said of one field, all of it."""
    found = [each.text for each in said(generated) if each.where == where]
    assert found, (where, said(generated))
    return "\n".join(found)
