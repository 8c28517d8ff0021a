"""The process: sources, pipeline, xDS server and admin page under one task group.

In: settings. Out: a running server, until cancelled. Everything is made here and handed down by
constructor; a part that fails ends the whole, with its error.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from aeraki_xds.admin.server import AdminServer
from aeraki_xds.errors import ListenError
from aeraki_xds.ingest.decode import decode
from aeraki_xds.ingest.event import Source
from aeraki_xds.ingest.files import FileSource
from aeraki_xds.pipeline import Pipeline, Scopes
from aeraki_xds.settings import Address, ServeSettings
from aeraki_xds.xds import Hub
from aeraki_xds.xds.wire import XdsServer


async def serve(settings: ServeSettings, *, announce: Callable[[str], None]) -> None:
    """Run until cancelled. `announce` is given one line with the real addresses, once both ports
    are open: `serving xds=HOST:PORT admin=HOST:PORT`.
    """
    source = FileSource(root=settings.config_dir, decode=decode)
    hub = Hub(clock=time.time)
    scopes = Scopes()
    pipeline = Pipeline(
        hub=hub,
        scopes=scopes,
        sources=[source.name],
        clock=asyncio.get_running_loop().time,
        tenancy=settings.tenancy,
    )
    xds = XdsServer(hub=hub, admit=scopes.admit)
    admin = AdminServer(pipeline=pipeline, hub=hub)
    async with (
        _listening(xds, settings.xds_address, "xDS") as xds_address,
        _listening(admin, settings.admin_address, "admin") as admin_address,
    ):
        announce(f"serving xds={xds_address} admin={admin_address}")
        await _work([source], pipeline)


async def _work(sources: Sequence[Source], pipeline: Pipeline) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(pipeline.run())
        for source in sources:
            tasks.create_task(source.run(pipeline.inbox.put))


@asynccontextmanager
async def _listening(
    server: XdsServer | AdminServer, address: Address, what: str
) -> AsyncIterator[Address]:
    try:
        host, port = await server.start(address.host, address.port)
    except OSError as failure:
        message = f"cannot serve {what} on {address}: {failure.strerror or failure}"
        raise ListenError(message) from failure
    try:
        yield Address(host=host, port=port)
    finally:
        await server.close()
