"""The process: sources, pipeline, xDS server and admin page under one task group.

In: settings. Out: a running server, until cancelled. Everything is made here and handed down by
constructor; a part that fails ends the whole, with its error.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

from aeraki_xds.admin.server import AdminServer
from aeraki_xds.errors import ConfigurationError, ListenError
from aeraki_xds.ingest.decode import decode
from aeraki_xds.ingest.event import Source
from aeraki_xds.ingest.files import FileSource
from aeraki_xds.mesh.names import Namespace
from aeraki_xds.pipeline import Pipeline, Scopes
from aeraki_xds.settings import Address, ServeSettings
from aeraki_xds.xds import Hub, Peer
from aeraki_xds.xds.wire import ServerTls, XdsServer
from aeraki_xds.xds.wire.csds import CLIENT_STATUS, ClientStatus
from aeraki_xds.xds.wire.health import DISCOVERY_SERVICES, HEALTH, Health, Readiness
from aeraki_xds.xds.wire.reflection import Descriptors, Reflection
from aeraki_xds.xds.wire.tls import UnusableFilesError


async def serve(settings: ServeSettings, *, announce: Callable[[str], None]) -> None:
    """Run until cancelled. `announce` is given one line with the real addresses, once both ports
    are open: `serving xds=HOST:PORT admin=HOST:PORT`.
    """
    source = FileSource(root=settings.config_dir, decode=decode)
    readiness = Readiness()
    hub = Hub(clock=time.time, on_serving=partial(readiness.set, True))
    scopes = Scopes(trust_domains=settings.trust_domains)
    pipeline = Pipeline(
        hub=hub,
        scopes=scopes,
        sources=[source.name],
        clock=asyncio.get_running_loop().time,
        tenancy=settings.tenancy,
    )
    allowed = partial(_is_operator, root=settings.tenancy.root)
    xds = XdsServer(
        hub=hub,
        admit=scopes.admit,
        services=(
            Health(readiness=readiness),
            ClientStatus(hub=hub, allowed=allowed),
            Reflection(
                services=(*DISCOVERY_SERVICES, HEALTH, CLIENT_STATUS),
                allowed=allowed,
                descriptors=Descriptors.of_all_services(),
            ),
        ),
    )
    admin = AdminServer(pipeline=pipeline, hub=hub)
    async with (
        _listening(xds, settings.xds_address, "xDS", tls=_context(settings)) as xds_address,
        _listening(admin, settings.admin_address, "admin") as admin_address,
    ):
        announce(f"serving xds={xds_address} admin={admin_address}")
        try:
            await _work([source], pipeline)
        finally:
            readiness.drain()


def _context(settings: ServeSettings) -> ssl.SSLContext | None:
    """What xDS is served with. Raises ConfigurationError naming the file."""
    files = settings.tls
    if files is None:
        return None
    try:
        served = ServerTls(certificate=files.certificate, key=files.key, roots=files.roots)
    except UnusableFilesError as failure:
        raise ConfigurationError(str(failure)) from failure
    return served.context


def _is_operator(peer: Peer, *, root: Namespace) -> bool:
    """Who may ask about others: workloads of the root namespace; in plaintext, this machine."""
    if peer.identity is not None:
        return peer.identity.namespace == root
    host = peer.address.rpartition(":")[0].strip("[]")
    return peer.address == "unix" or Address(host=host, port=0).is_loopback


async def _work(sources: Sequence[Source], pipeline: Pipeline) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(pipeline.run())
        for source in sources:
            tasks.create_task(source.run(pipeline.inbox.put))


@asynccontextmanager
async def _listening(
    server: XdsServer | AdminServer,
    address: Address,
    what: str,
    *,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Address]:
    try:
        if isinstance(server, XdsServer):
            host, port = await server.start(address.host, address.port, tls=tls)
        else:
            host, port = await server.start(address.host, address.port)
    except OSError as failure:
        message = f"cannot serve {what} on {address}: {failure.strerror or failure}"
        raise ListenError(message) from failure
    try:
        yield Address(host=host, port=port)
    finally:
        await server.close()
