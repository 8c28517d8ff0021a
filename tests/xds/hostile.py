"""A server among friends: whoever attacks it, the neighbours are served, with TLS or without.

In: whether there is TLS. Out: a site, whose peers write raw frames. Guaranteed: when the block ends
every neighbour was served a publication made after the attack, on its first stream, and the server
has no other stream left.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from aeraki_xds.bench import frames
from aeraki_xds.xds import Hub
from aeraki_xds.xds.wire import XdsServer
from aeraki_xds.xds.wire.limits import Limits
from aeraki_xds.xds.wire.tls import ServerTls
from tests.pki import Authority
from tests.xds.dialogue import routes
from tests.xds.test_wire_limits import EVERYONE, PATIENT, Peer, Site


class Hosts(Site):
    """A site that may ask for certificates."""

    def __init__(self, server: XdsServer, hub: Hub, host: str, port: int, *, tls: bool) -> None:
        super().__init__(server, hub, host, port)
        self._tls = tls
        self._news = 0

    async def peer(self) -> Peer:
        """Somebody who got through the handshake, if there is one."""
        context = contexts()[1] if self._tls else None
        made = Peer(*await asyncio.open_connection(self.host, self.port, ssl=context))
        self.peers.append(made)
        return made

    async def served(self) -> Peer:
        """Somebody with a stream, number 1, who was served."""
        made = await self.peer()
        await made.greets()
        await made.asks(1)
        await made.hears(frames.DATA, 1)
        return made

    @asynccontextmanager
    async def neighbours(self, *more: Peer, count: int = 2) -> AsyncIterator[None]:
        """Who is served before and after; `more` likewise, on their stream 1."""
        everyone = [*more, *[await self.served() for _ in range(count)]]
        yield
        await self.until(lambda: len(self.hub.streams) == len(everyone))
        await self.serves(*everyone)

    async def serves(self, *peers: Peer) -> None:
        """Publish something new, and see each of them be sent it on its stream 1. Meanwhile the
        server, which is on the same loop, has read whatever was written to it before.
        """
        self._news += 1
        news = f"news {self._news}."
        self.publish(routes("r", news))
        for peer in peers:
            while news.encode() not in await peer.hears(frames.DATA, 1):
                pass  # what it was sent before


@cache
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's and that of a proxy of its mesh."""
    mesh = Authority("root")
    with TemporaryDirectory() as folder:
        ours = mesh.workload("spiffe://cluster.local/ns/istio-system/sa/aeraki").write(
            Path(folder, "ours")
        )
        server = ServerTls(certificate=ours.certificate, key=ours.key, roots=ours.roots).context
        web = mesh.workload("spiffe://cluster.local/ns/shop/sa/web").write(Path(folder, "web"))
        proxy = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        proxy.check_hostname = False
        proxy.load_verify_locations(cadata=mesh.roots.decode())
        proxy.set_alpn_protocols(["h2"])
        proxy.load_cert_chain(web.certificate, web.key)
    return server, proxy


@asynccontextmanager
async def among_friends(*, tls: bool = False, limits: Limits = PATIENT) -> AsyncIterator[Hosts]:
    """A server that publishes one route configuration, `r`."""
    hub = Hub(clock=lambda: 0.0)
    server = XdsServer(hub=hub, admit=lambda node, peer, *, only: (EVERYONE,), limits=limits)
    host, port = await server.start("127.0.0.1", 0, tls=contexts()[0] if tls else None)
    site = Hosts(server, hub, host, port, tls=tls)
    site.publish(routes("r"))
    async with AsyncExitStack() as after:
        after.push_async_callback(server.close)
        try:
            yield site
        finally:
            for peer in site.peers:
                peer.writer.close()
                with suppress(ConnectionError, ssl.SSLError):
                    await peer.writer.wait_closed()
