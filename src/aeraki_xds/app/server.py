"""Configuration, pipeline, xDS server and admin page under one task group.

In: settings. Out: a running server, until cancelled. A part that fails ends the whole, with its
error. The end is graceful: not ready, then no new connections, then streams are told to go
elsewhere, and last the admin page.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from aeraki_xds.admin.server import AdminServer
from aeraki_xds.app.configuration import Configuration, opened
from aeraki_xds.errors import ConfigurationError, ListenError
from aeraki_xds.garbage import no_full_collections, now_and_then
from aeraki_xds.mesh.names import Namespace
from aeraki_xds.pipeline import Pipeline, Scopes
from aeraki_xds.pipeline.last_good import LastGood
from aeraki_xds.settings import Address, ClusterSettings, ServeSettings, UnixAddress
from aeraki_xds.state import State
from aeraki_xds.xds import Hub, Peer
from aeraki_xds.xds.wire import ServerTls, XdsServer
from aeraki_xds.xds.wire.csds import CLIENT_STATUS, ClientStatus
from aeraki_xds.xds.wire.health import DISCOVERY_SERVICES, HEALTH, Health, Readiness
from aeraki_xds.xds.wire.reflection import Descriptors, Reflection
from aeraki_xds.xds.wire.tls import UnusableFilesError

_LOG: Final = structlog.get_logger("aeraki_xds.app")


async def serve(settings: ServeSettings, *, announce: Callable[[str], None]) -> None:
    """Run until cancelled. `announce` is given one line with the real addresses, once the ports are
    open: `serving xds=HOST:PORT admin=HOST:PORT`, and `probes=HOST:PORT` where these have one.
    """
    async with opened(settings) as configuration:
        await _serve(settings, configuration, announce)
    _LOG.info("stopped")


async def _serve(
    settings: ServeSettings, configuration: Configuration, announce: Callable[[str], None]
) -> None:
    readiness = Readiness()
    hub = Hub(clock=time.time, on_serving=partial(readiness.set, True))
    scopes = Scopes(trust_domains=settings.trust_domains, istio=configuration.istio)
    pipeline = Pipeline(
        hub=hub,
        scopes=scopes,
        sources=configuration.names,
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
    with no_full_collections():
        async with (
            _opened(settings.state_dir) as state,
            # Up for longer: while streams are ended it says that we are not ready.
            _administered(
                AdminServer(
                    pipeline=pipeline,
                    hub=hub,
                    xds=xds,
                    readiness=readiness,
                    state=state,
                    written=lambda: configuration.written,
                ),
                settings,
            ) as said_of_admin,
            _serving(xds, settings) as xds_address,
        ):
            announce(f"serving xds={xds_address} {said_of_admin}")
            try:
                await _work(configuration, pipeline, state)
            finally:
                readiness.drain()
                _LOG.info("draining", streams=len(hub.streams), grace_period=settings.grace_period)


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


def _opened(folder: Path | None) -> AbstractAsyncContextManager[State | None]:
    return State.opened(folder) if folder is not None else nullcontext()


async def _work(configuration: Configuration, pipeline: Pipeline, state: State | None) -> None:
    """Source and pipeline go on from what the state holds, and the state follows them."""
    last_good = state.take() if state is not None else LastGood()
    configuration.remember(last_good)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(now_and_then())
        tasks.create_task(configuration.tend(pipeline))
        tasks.create_task(configuration.run(pipeline.inbox.put))
        if state is not None:
            await pipeline.restore(last_good)
            pipeline.on_changed = state.note
            tasks.create_task(state.run())
        del last_good  # it may be large
        tasks.create_task(pipeline.run())


@asynccontextmanager
async def _serving(
    server: XdsServer, settings: ServeSettings
) -> AsyncIterator[Address | UnixAddress]:
    address, tls = settings.xds_address, _context(settings)
    bound: Address | UnixAddress
    with _named("xDS", address):
        match address:
            case Address():
                host, port = await server.start(address.host, address.port, tls=tls)
                bound = Address(host=host, port=port)
            case UnixAddress():
                await server.start_unix(address.path, tls=tls)
                bound = address
    try:
        yield bound
    finally:
        await server.close(grace=settings.grace_period)


@asynccontextmanager
async def _administered(server: AdminServer, settings: ServeSettings) -> AsyncIterator[str]:
    """What is said of the addresses: each with what it is for."""
    source, said = settings.source, []
    starts = [("admin", server.start, settings.admin_address)]
    if isinstance(source, ClusterSettings) and source.probe_address is not None:
        starts.append(("probes", server.start_probes, source.probe_address))
    try:
        for what, start, address in starts:
            with _named(what, address):
                host, port = await start(address.host, address.port)
            said.append(f"{what}={Address(host=host, port=port)}")
        yield " ".join(said)
    finally:
        await server.close()


@contextmanager
def _named(what: str, address: Address | UnixAddress) -> Iterator[None]:
    """Says what could not be served where."""
    try:
        yield
    except OSError as failure:
        message = f"cannot serve {what} on {address}: {failure.strerror or failure}"
        raise ListenError(message) from failure
