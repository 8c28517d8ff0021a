"""A change costs what it touches: counted, not timed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from aeraki_xds import encode as encoding
from aeraki_xds.encode import Message
from aeraki_xds.ingest import decode as decoding
from aeraki_xds.ingest.contents import Outcome
from aeraki_xds.ingest.files import FileSource
from aeraki_xds.mesh.graph import Graph
from aeraki_xds.mesh.names import Host
from aeraki_xds.mesh.tenancy import Tenancy
from aeraki_xds.pipeline import Pipeline, Scopes, composer
from aeraki_xds.pipeline.scopes import GLOBAL
from aeraki_xds.translate import compose as translation
from aeraki_xds.translate import output
from aeraki_xds.translate.compose import Recipe
from aeraki_xds.translate.output import Output
from aeraki_xds.xds.hub import Hub
from aeraki_xds.xds.resource import HTTP_ROUTES

SERVICES = 10_000
PER_FILE = 500
LIMIT_S = 60.0


def manifests(first: int, *, changed: int | None = None) -> str:
    documents = []
    for n in range(first, first + PER_FILE):
        documents.append(SERVICE.format(n=n, high=n // 250, low=n % 250 + 1))
        documents.append(ROUTER.format(n=n, name="changed" if n == changed else "first"))
    return "---\n".join(documents)


SERVICE = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: s{n}, namespace: shop}}
spec:
  hosts: [s{n}.shop.svc.cluster.local]
  addresses: [127.30.{high}.{low}]
  ports: [{{number: 9090, name: tcp-metaprotocol-thrift}}]
  resolution: STATIC
"""
ROUTER = """\
apiVersion: metaprotocol.aeraki.io/v1alpha1
kind: MetaRouter
metadata: {{name: s{n}, namespace: shop}}
spec:
  hosts: [s{n}]
  routes: [{{name: {name}, route: [{{destination: {{host: s{n}}}}}]}}]
"""


async def test_one_change_among_ten_thousand_services_is_one_of_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Objects decoded, hosts translated, resources encoded: 1, 1 and 1."""
    for first in range(0, SERVICES, PER_FILE):
        (tmp_path / f"{first:05}.yaml").write_text(manifests(first))
    done: Counter[str] = Counter()

    def decode(document: Mapping[str, object], *, origin: str) -> Outcome:
        done["decoded"] += 1
        return decoding.decode(document, origin=origin)

    def compose(graph: Graph, host: Host, recipe: Recipe) -> Output:
        done["translated"] += 1
        return translation.compose(graph, host, recipe)

    def encode(message: Message) -> bytes:
        done["encoded"] += 1
        return encoding.encode(message)

    monkeypatch.setattr(composer, "compose", compose)
    monkeypatch.setattr(output, "encode", encode)
    hub = Hub(clock=lambda: 0.0)
    source = FileSource(root=tmp_path, decode=decode)
    clock = asyncio.get_running_loop().time
    pipeline = Pipeline(
        hub=hub, scopes=Scopes(), sources=[source.name], clock=clock, tenancy=Tenancy()
    )
    running = [
        asyncio.ensure_future(pipeline.run()),
        asyncio.ensure_future(source.run(pipeline.inbox.put)),
    ]
    try:
        async with asyncio.timeout(LIMIT_S):
            while not hub.serving:
                await asyncio.sleep(0.01)
            snapshot = hub.snapshot(GLOBAL)
            assert snapshot is not None
            assert len(snapshot.of(HTTP_ROUTES).resources) == SERVICES
            assert done == {"decoded": 2 * SERVICES, "translated": SERVICES, "encoded": SERVICES}
            done.clear()
            (tmp_path / "05000.yaml").write_text(manifests(5000, changed=5123))
            while hub.snapshot(GLOBAL) is snapshot:
                await asyncio.sleep(0.01)
        assert done == {"decoded": 1, "translated": 1, "encoded": 1}
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def test_the_manifests_are_what_they_seem() -> None:
    documents: list[dict[str, Any]] = list(yaml.safe_load_all(manifests(0)))
    assert len(documents) == 2 * PER_FILE
    assert len({(d["kind"], d["metadata"]["name"]) for d in documents}) == 2 * PER_FILE
