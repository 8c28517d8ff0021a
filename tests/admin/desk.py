"""An operator with a browser, and the process that is looked at: what the tests of admin share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import aiohttp

from aeraki_xds.admin.server import AdminServer
from aeraki_xds.ingest.event import Event, Synced
from aeraki_xds.mesh.tenancy import Tenancy
from aeraki_xds.pipeline import Pipeline, Scopes
from aeraki_xds.xds.admission import Node, Peer
from aeraki_xds.xds.resource import Scope, TypeUrl
from aeraki_xds.xds.session import Dialect
from aeraki_xds.xds.stream import Stream
from aeraki_xds.xds.wire import XdsServer
from aeraki_xds.xds.wire.health import Readiness
from tests.xds.dialogue import GLOBAL, PEER, Server, SotwEnvoy

SYNCED = [Synced(source="folder")]
OWN_SCOPE = "ads/default/stock/-"


class Desk:
    """An operator with a browser, and the process that is looked at."""

    def __init__(
        self,
        client: aiohttp.ClientSession,
        pipeline: Pipeline,
        server: Server,
        readiness: Readiness,
        xds: XdsServer,
        admin: AdminServer,
    ) -> None:
        self.admin = admin
        self.client = client
        self.pipeline = pipeline
        self.server = server
        self.readiness = readiness
        self.xds = xds
        self.scopes = Scopes()

    async def get(self, path: str, *, status: int = 200) -> Any:
        """A page, as JSON."""
        async with self.client.get(path) as response:
            assert response.status == status, await response.text()
            assert response.content_type == "application/json"
            return await response.json()

    async def text(self, path: str, *, accept: str = "*/*") -> str:
        """A page, as it is."""
        async with self.client.get(path, headers={"Accept": accept}) as response:
            assert response.status == 200, await response.text()
            return await response.text()

    async def metrics(self) -> dict[str, float]:
        """What is exported: `name{labels}` → value."""
        lines = (await self.text("/metrics")).splitlines()
        samples = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in samples}

    async def say(self, events: Sequence[Event]) -> None:
        """Something happens to the configuration."""
        await self.pipeline.apply(events)

    def opens(
        self,
        metadata: Mapping[str, object],
        *,
        node: str = "envoy",
        address: str = PEER.address,
        only: TypeUrl | None = None,
        scopes: tuple[Scope, ...] = (GLOBAL,),
    ) -> Stream:
        """A stream of a proxy that says of itself what the test likes."""
        return self.server.hub.open(
            node=Node(id=node, metadata=metadata, user_agent=node),
            peer=Peer(address=address),
            scopes=scopes,
            dialect=Dialect.SOTW,
            wake=lambda: None,
            only=only,
        )

    async def envoy(self, node: str = "envoy") -> SotwEnvoy:
        """A proxy whose scope is composed."""
        admitted = self.scopes.admit(Node(id=node), PEER, only=None)
        assert isinstance(admitted, tuple)
        envoy = SotwEnvoy(self.server, node=node, scopes=admitted)
        await self.say([])
        return envoy


@asynccontextmanager
async def opened() -> AsyncIterator[Desk]:
    """A server that is listened to."""
    server, scopes = Server(), Scopes()
    pipeline = Pipeline(
        hub=server.hub,
        scopes=scopes,
        sources=["folder"],
        clock=asyncio.get_running_loop().time,
        tenancy=Tenancy(),
    )
    readiness = Readiness()
    server.hub.on_serving = partial(readiness.set, True)
    xds = XdsServer(hub=server.hub, admit=scopes.admit)
    admin = AdminServer(pipeline=pipeline, hub=server.hub, xds=xds, readiness=readiness)
    host, port = await admin.start("127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession(f"http://{host}:{port}") as client:
            made = Desk(client, pipeline, server, readiness, xds, admin)
            made.scopes = scopes
            yield made
    finally:
        await admin.close()
