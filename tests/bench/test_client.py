"""The load harness: it says what a proxy would say, and notices when it is not served."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pytest

from aeraki_xds.bench import frames
from aeraki_xds.bench.ask import Ask
from aeraki_xds.bench.client import Clients, LostError
from aeraki_xds.xds import CLUSTER, HTTP_ROUTES, Hub, Resource, Scope
from aeraki_xds.xds.wire import ServerTls, XdsServer
from aeraki_xds.xds.wire.limits import Limits
from tests.pki import Authority
from tests.xds.dialogue import routes

PATIENCE: Final = 10.0
EVERYONE: Final = Scope("everyone")
STREAM_ROUTES: Final = "/envoy.service.route.v3.RouteDiscoveryService/StreamRoutes"
ASK: Final = Ask(path=STREAM_ROUTES, type_url=HTTP_ROUTES, names=("r",))


@dataclass
class Bench:
    hub: Hub
    server: XdsServer
    clients: Clients

    def publish(self, *resources: Resource) -> None:
        self.hub.publish(EVERYONE, {each.id: each for each in resources})

    async def connect(self, count: int, ask: Ask = ASK) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.clients.connect([ask] * count, at_once=7)

    async def delivered(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.clients.delivered()

    async def until_acked(self, count: int) -> None:
        """As many streams have accepted the newest response."""
        async with asyncio.timeout(PATIENCE):
            while self.acked() != count:
                await asyncio.sleep(0.001)

    def acked(self) -> int:
        seen = [stream.status_of(HTTP_ROUTES) for stream in self.hub.streams]
        return sum(status.acked_nonce == status.sent_nonce != "" for status in seen)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    hub = Hub(clock=lambda: 0.0)
    server = XdsServer(hub=hub, admit=lambda node, peer, *, only: (EVERYONE,))
    host, port = await server.start("127.0.0.1", 0)
    made = Bench(hub=hub, server=server, clients=Clients(host=host, port=port))
    made.publish(routes("r"))
    try:
        yield made
    finally:
        made.clients.close()
        await server.close()


async def test_every_stream_is_sent_each_change_and_takes_it(bench: Bench) -> None:
    await bench.connect(20)
    await bench.until_acked(20)
    assert {stream.node.id for stream in bench.hub.streams} == {f"bench-{n}" for n in range(20)}
    for text in "abc":
        bench.clients.begin_round()
        bench.publish(routes("r", text))
        await bench.delivered()
        await bench.until_acked(20)
    assert bench.clients.responses == 80
    assert all(stream.status_of(HTTP_ROUTES).nacks == 0 for stream in bench.hub.streams)


async def test_acks_may_be_held_back(bench: Bench) -> None:
    await bench.connect(5)
    await bench.until_acked(5)
    bench.clients.hold_acks = True
    bench.clients.begin_round()
    bench.publish(routes("r", "2"))
    await bench.delivered()
    assert bench.acked() == 0
    bench.clients.release_acks()
    await bench.until_acked(5)


async def test_a_response_may_come_in_many_frames_and_reads(bench: Bench) -> None:
    await bench.connect(2)
    bench.clients.begin_round()
    bench.publish(routes("r", "x" * 300_000))
    await bench.delivered()
    await bench.until_acked(2)
    assert bench.clients.bytes_received > 600_000


async def test_windows_are_given_back_before_they_run_out(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "WINDOW", 100_000)
    monkeypatch.setattr(frames, "greeting", lambda: GREETING(window=100_000))
    await bench.connect(2)
    for number in range(8):
        bench.clients.begin_round()
        bench.publish(routes("r", f"{number}" + "x" * 40_000))
        await bench.delivered()


GREETING: Final = frames.greeting


async def test_a_stream_that_the_server_ends_is_an_error(bench: Bench) -> None:
    wrong = Ask(path=STREAM_ROUTES, type_url=CLUSTER, names=("r",))
    with pytest.raises(LostError, match="bench-0: the server ended the stream"):
        await bench.connect(1, wrong)


async def test_a_connection_that_the_server_closes_is_an_error(bench: Bench) -> None:
    await bench.connect(3)
    bench.clients.begin_round()
    await bench.server.close()
    with pytest.raises(LostError):
        await bench.delivered()


async def test_a_client_answers_pings_and_settings() -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ping = frames.frame(frames.PING, 0, 0, b"12345678")
        settings = frames.frame(frames.SETTINGS, 0, 0, b"")
        writer.write(settings[:4])
        await writer.drain()
        writer.write(settings[4:] + ping)
        while data := await reader.read(1 << 16):
            heard.put_nowait(data)
        writer.close()
        await writer.wait_closed()
        gone.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    clients = Clients(host=host, port=port)
    connecting = asyncio.ensure_future(clients.connect([ASK]))
    said = b""
    async with asyncio.timeout(PATIENCE):
        while frames.frame(frames.PING, frames.ACK, 0, b"12345678") not in said:
            said += await heard.get()
    assert frames.frame(frames.SETTINGS, frames.ACK, 0, b"") in said
    connecting.cancel()
    clients.close()
    await gone.wait()
    server.close()


async def test_who_is_refused_asks_again_until_there_is_room() -> None:
    hub = Hub(clock=lambda: 0.0)
    server = XdsServer(
        hub=hub, admit=lambda node, peer, *, only: (EVERYONE,), limits=Limits(streams=2)
    )
    host, port = await server.start("127.0.0.1", 0)
    made = routes("r")
    hub.publish(EVERYONE, {made.id: made})
    clients = Clients(host=host, port=port, retry=0.01)
    try:
        async with asyncio.timeout(PATIENCE):
            connecting = asyncio.ensure_future(clients.connect([ASK] * 5))
            while clients.refused < 6:  # each of three more than once
                await asyncio.sleep(0.001)
            assert clients.responses == 2
            clients.leave()
            await connecting
            while server.connections:
                await asyncio.sleep(0.001)
        assert clients.responses == 5
    finally:
        clients.close()
        await server.close()


async def test_a_client_may_say_who_it_is(bench: Bench) -> None:
    await bench.connect(2, replace(ASK, node_id="sidecar~1"))
    assert {stream.node.id for stream in bench.hub.streams} == {"sidecar~1"}


async def test_when_each_stream_was_sent_its_response_is_known(bench: Bench) -> None:
    await bench.connect(3)
    bench.clients.begin_round()
    began = time.monotonic_ns()
    bench.publish(routes("r", "2"))
    await bench.delivered()
    assert len(bench.clients.deliveries_ns) == 3
    assert began < min(bench.clients.deliveries_ns) <= max(bench.clients.deliveries_ns)
    assert max(bench.clients.deliveries_ns) < time.monotonic_ns()


@pytest.mark.parametrize("trusted", [True, False])
async def test_clients_may_speak_tls(tmp_path: Path, *, trusted: bool) -> None:
    mesh = Authority("root")
    ours = mesh.workload("spiffe://cluster.local/ns/a/sa/ours").write(tmp_path / "ours")
    theirs = mesh.workload("spiffe://cluster.local/ns/a/sa/theirs").write(tmp_path / "theirs")
    hub = Hub(clock=lambda: 0.0)
    server = XdsServer(hub=hub, admit=lambda node, peer, *, only: (EVERYONE,))
    served = ServerTls(certificate=ours.certificate, key=ours.key, roots=ours.roots)
    host, port = await server.start("127.0.0.1", 0, tls=served.context)
    made = routes("r")
    hub.publish(EVERYONE, {made.id: made})
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname = False
    tls.load_verify_locations(theirs.roots)
    tls.set_alpn_protocols(["h2"])
    if trusted:
        tls.load_cert_chain(theirs.certificate, theirs.key)
    clients = Clients(host=host, port=port, tls=tls)
    try:
        async with asyncio.timeout(PATIENCE):
            if trusted:
                await clients.connect([ASK] * 2)
                identities = {str(stream.peer.identity) for stream in hub.streams}
                assert identities == {"spiffe://cluster.local/ns/a/sa/theirs"}
            else:
                with pytest.raises(OSError):  # noqa: PT011 (TLS 1.3: a reset or an alert)
                    await clients.connect([ASK] * 2)
    finally:
        clients.close()
        await server.close()
