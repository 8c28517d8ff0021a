"""The admin pages, asked by a real HTTP client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiohttp
import pytest

from aeraki_xds.admin.server import AdminServer
from aeraki_xds.ingest.event import Event, SourceLost, Synced, Unreadable
from aeraki_xds.mesh.problems import error
from aeraki_xds.mesh.tenancy import Tenancy
from aeraki_xds.pipeline import Pipeline, Scopes
from aeraki_xds.xds.admission import Node
from aeraki_xds.xds.resource import CLUSTER, HTTP_ROUTES
from tests.mesh.kit import refused, router, said, service, subsets
from tests.xds.dialogue import PEER, Server, SotwEnvoy

SYNCED = [Synced(source="folder")]
ROUTE = "hello.demo.svc.cluster.local_9090"
OWN_SCOPE = "ads/default/stock/-"


class Desk:
    """An operator with a browser, and the process that is looked at."""

    def __init__(self, client: aiohttp.ClientSession, pipeline: Pipeline, server: Server) -> None:
        self._client = client
        self._pipeline = pipeline
        self.server = server
        self.scopes = Scopes()

    async def get(self, path: str, *, status: int = 200) -> Any:
        """A page, as JSON."""
        async with self._client.get(path) as response:
            assert response.status == status, await response.text()
            assert response.content_type == "application/json"
            return await response.json()

    async def say(self, events: Sequence[Event]) -> None:
        """Something happens to the configuration."""
        await self._pipeline.apply(events)

    async def envoy(self) -> SotwEnvoy:
        """A proxy whose scope is composed."""
        admitted = self.scopes.admit(Node(id="envoy"), PEER, only=None)
        assert isinstance(admitted, tuple)
        envoy = SotwEnvoy(self.server, scopes=admitted)
        await self.say([])
        return envoy


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    server, scopes = Server(), Scopes()
    pipeline = Pipeline(
        hub=server.hub,
        scopes=scopes,
        sources=["folder"],
        clock=asyncio.get_running_loop().time,
        tenancy=Tenancy(),
    )
    admin = AdminServer(pipeline=pipeline, hub=server.hub)
    host, port = await admin.start("127.0.0.1", 0)
    async with aiohttp.ClientSession(f"http://{host}:{port}") as client:
        made = Desk(client, pipeline, server)
        made.scopes = scopes
        yield made
    await admin.close()


async def test_the_index_names_every_page(desk: Desk) -> None:
    paths = (await desk.get("/"))["paths"]
    assert paths == [
        "/healthz",
        "/readyz",
        "/debug/syncz",
        "/debug/resources",
        "/debug/rejections",
    ]
    await desk.say(SYNCED)
    for path in paths:
        await desk.get(path)


async def test_the_process_is_healthy_before_it_is_ready(desk: Desk) -> None:
    assert await desk.get("/healthz") == {"status": "ok"}


async def test_before_the_sync_it_is_not_ready_and_says_what_it_waits_for(desk: Desk) -> None:
    assert await desk.get("/readyz", status=503) == {
        "status": "not synced",
        "sources": {"folder": {"synced": False, "stale": ""}},
    }


async def test_readiness_latches_though_a_source_is_lost_and_the_loss_is_shown(
    desk: Desk,
) -> None:
    await desk.say(SYNCED)
    assert (await desk.get("/readyz"))["status"] == "ready"
    await desk.say([SourceLost(source="folder", reason="it is gone")])
    assert await desk.get("/readyz") == {
        "status": "ready",
        "sources": {"folder": {"synced": True, "stale": "it is gone"}},
    }


async def test_syncz_shows_what_each_stream_was_sent_and_said_to_it(desk: Desk) -> None:
    await desk.say([*said(service(), subsets()), *SYNCED])
    assert await desk.get("/debug/syncz") == {"streams": []}
    envoy = await desk.envoy()
    envoy.asks(CLUSTER)
    clusters, endpoints = desk.server.says(envoy)
    envoy.acks(clusters)
    envoy.asks(endpoints.type_url, *(resource.name for resource in endpoints.resources))
    envoy.nacks(endpoints, "I do not like it")
    (stream,) = (await desk.get("/debug/syncz"))["streams"]
    assert (stream["node"], stream["peer"], stream["dialect"]) == ("envoy", PEER.address, "sotw")
    assert stream["scopes"] == [OWN_SCOPE, "global"]
    sent_at = desk.server.hub.streams[0].status_of(CLUSTER).sent_at
    assert stream["types"][CLUSTER] == {
        "subscribed": [],
        "wildcard": True,
        "held": 3,
        "parked": [],
        "sent": {"nonce": clusters.nonce, "version": clusters.version, "at": sent_at},
        "acked": {"nonce": clusters.nonce, "version": clusters.version},
        "stale": 0,
        "nacks": 0,
        "lastError": "",
    }
    refused_type = stream["types"][endpoints.type_url]
    assert refused_type["nacks"] == 1
    assert refused_type["lastError"] == "I do not like it"
    envoy.leaves()
    assert await desk.get("/debug/syncz") == {"streams": []}


async def test_resources_are_shown_by_scope_type_and_name(desk: Desk) -> None:
    await desk.say([*said(service(), subsets()), *SYNCED])
    await desk.envoy()
    scopes = (await desk.get("/debug/resources"))["scopes"]
    assert set(scopes) == {"global", OWN_SCOPE}
    assert list(scopes["global"]) == [HTTP_ROUTES]
    shown = scopes["global"][HTTP_ROUTES][ROUTE]
    assert shown["resource"]["name"] == ROUTE
    assert len(shown["version"]) == 16
    assert len(scopes[OWN_SCOPE][CLUSTER]) == 3


async def test_resources_can_be_narrowed_down(desk: Desk) -> None:
    await desk.say([*said(service(), subsets()), *SYNCED])
    await desk.envoy()
    scopes = (await desk.get(f"/debug/resources?scope={OWN_SCOPE}&type=Cluster&name=v1"))["scopes"]
    assert list(scopes) == [OWN_SCOPE]
    assert list(scopes[OWN_SCOPE][CLUSTER]) == ["outbound|9090|v1|hello.demo.svc.cluster.local"]


async def test_a_scope_that_is_not_there_is_not_found_and_the_others_are_named(
    desk: Desk,
) -> None:
    await desk.say(SYNCED)
    answer = await desk.get("/debug/resources?scope=mine", status=404)
    assert answer == {"error": "there is no scope 'mine'; there are: global"}


async def test_before_the_sync_there_are_no_resources(desk: Desk) -> None:
    assert await desk.get("/debug/resources") == {"scopes": {}}


async def test_rejections_name_file_object_field_and_whether_an_earlier_version_is_in_force(
    desk: Desk,
) -> None:
    await desk.say(
        [
            *said(service(), router()),
            *refused(router(), origin="a.yaml"),
            *refused(router(name="new"), origin="b.yaml"),
            Unreadable(origin="c.yaml", problems=(error("", "no YAML"),)),
            *SYNCED,
        ]
    )
    assert (await desk.get("/debug/rejections"))["rejections"] == [
        {
            "file": "a.yaml",
            "object": "MetaRouter/demo/hello",
            "field": "spec.routes[0]",
            "severity": "error",
            "message": "cannot be read",
            "inForce": True,
        },
        {
            "file": "b.yaml",
            "object": "MetaRouter/demo/new",
            "field": "spec.routes[0]",
            "severity": "error",
            "message": "cannot be read",
            "inForce": False,
        },
        {
            "file": "c.yaml",
            "object": None,
            "field": "",
            "severity": "error",
            "message": "no YAML",
            "inForce": True,
        },
    ]


async def test_a_page_that_is_not_there_is_not_found(desk: Desk) -> None:
    async with desk._client.get("/metrics/none") as response:
        assert response.status == 404


async def test_the_pages_are_read_only(desk: Desk) -> None:
    async with desk._client.post("/readyz") as response:
        assert response.status == 405
