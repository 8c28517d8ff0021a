"""Every server that we are compared with does what it is told, and serves what xDS promises.

Those in Go are built by the first test that needs them, in less than a minute.
"""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
import sys
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic_ns
from typing import Any, Final

import grpc.aio
import pytest
from envoy.config.route.v3 import route_pb2
from envoy.service.discovery.v3 import discovery_pb2
from peers import catalogue
from peers.catalogue import GO, NoPeerError, available, peer

from aeraki_xds.bench.ask import Ask
from aeraki_xds.bench.child import Child, ChildEnded
from aeraki_xds.bench.client import Clients
from aeraki_xds.settings import TlsFiles
from aeraki_xds.xds import HTTP_ROUTES
from tests.pki import Authority

PATIENCE: Final = 20.0
SERVERS: Final = ("ours", "grpclib", "grpcio")
ROUTES: Final = "/envoy.service.route.v3.RouteDiscoveryService/"
AGGREGATED: Final = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"
SOTW: Final = (ROUTES + "StreamRoutes", AGGREGATED + "StreamAggregatedResources")
DELTA: Final = (ROUTES + "DeltaRoutes", AGGREGATED + "DeltaAggregatedResources")

built = pytest.mark.xdist_group("go-control-plane")
"""One worker builds, and the others have something else to do."""

every_server = pytest.mark.parametrize(
    "name", [*SERVERS, *(pytest.param(name, marks=built) for name in GO)]
)
every_program = pytest.mark.parametrize(
    "name", [*SERVERS, "floor", pytest.param("go-linear", marks=built)]
)


@pytest.fixture(autouse=True)
def can_be_had(request: pytest.FixtureRequest) -> None:
    """A peer in Go needs a toolchain, if nobody has built it yet."""
    if "name" not in request.fixturenames:
        return
    reason = available(request.getfixturevalue("name"))
    if reason is not None:
        pytest.skip(reason)


@dataclass(frozen=True, slots=True)
class Mesh:
    """Certificates of the server and of its clients."""

    server: TlsFiles
    client: TlsFiles

    def context(self, *, trusted: bool = True) -> ssl.SSLContext:
        """What a client connects with."""
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        made.check_hostname = False
        made.load_verify_locations(self.client.roots)
        made.set_alpn_protocols(["h2"])
        if trusted:
            made.load_cert_chain(self.client.certificate, self.client.key)
        return made


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    root, folder = Authority("root"), tmp_path_factory.mktemp("certificates")
    server = root.workload("spiffe://cluster.local/ns/istio-system/sa/server")
    client = root.workload("spiffe://cluster.local/ns/default/sa/client")
    return Mesh(server.write(folder / "server"), client.write(folder / "client"))


@pytest.fixture(params=[False, True], ids=["plaintext", "mTLS"])
def security(request: pytest.FixtureRequest, mesh: Mesh) -> Mesh | None:
    return mesh if request.param else None


@dataclass(frozen=True, slots=True)
class Served:
    """A server with three resources."""

    child: Child
    port: int

    async def publish(self, name: str, word: str, *, acks: int) -> int:
        answer = await self.child.ask("publish", name=name, rest=rest(word), acks=acks)
        return int(answer["at_ns"])

    async def acked(self) -> int:
        async with asyncio.timeout(PATIENCE):
            return int((await self.child.ask("acked"))["at_ns"])

    async def until_streams(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while (await self.child.ask("tell"))["streams"] != count:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(name: str, tls: TlsFiles | None = None) -> AsyncIterator[Served]:
    async with peer(name, tls=tls) as child, asyncio.timeout(3 * PATIENCE):
        served = Served(child, (await child.answer())["port"])
        assert await child.ask("fill", count=3, rest=rest("first")) == {}
        yield served


def rest(word: str) -> str:
    """All of a route configuration but its name."""
    made = route_pb2.RouteConfiguration()
    made.virtual_hosts.add(name=word, domains=["*"])
    return b64encode(made.SerializeToString()).decode()


def asking(*names: str) -> Ask:
    return Ask(path=SOTW[0], type_url=HTTP_ROUTES, names=names)


@every_server
async def test_a_change_reaches_everybody_and_their_acks_are_counted(
    name: str, security: Mesh | None
) -> None:
    async with serving(name, security.server if security else None) as served:
        tls = security.context() if security else None
        clients = Clients(host="127.0.0.1", port=served.port, tls=tls)
        try:
            await served.child.ask("expect", acks=20)
            await clients.connect([asking("bench-0")] * 20)
            await served.acked()
            await served.until_streams(20)
            for word in ("second", "third"):
                clients.begin_round()
                asked = monotonic_ns()
                at = await served.publish("bench-0", word, acks=20)
                await clients.delivered()
                assert asked < at < min(clients.deliveries_ns)
                assert clients.deliveries_ns[0] < await served.acked() < monotonic_ns()
            assert clients.responses == 60
        finally:
            clients.close()
        await served.until_streams(0)


@every_server
async def test_who_asked_for_something_else_is_left_alone(name: str) -> None:
    async with serving(name) as served:
        clients = Clients(host="127.0.0.1", port=served.port)
        # A snapshot has one version for all: whoever watches the type is sent what it asked for.
        concerned = 3 if name == "go-snapshot" else 2
        try:
            await served.child.ask("expect", acks=3)
            await clients.connect([asking("bench-0"), asking("bench-1"), asking("bench-0")])
            await served.acked()
            await served.publish("bench-0", "second", acks=concerned)
            await served.acked()
            assert clients.responses == 3 + concerned
        finally:
            clients.close()


@every_server
@pytest.mark.parametrize("path", SOTW)
async def test_resources_are_what_they_were_published_as(name: str, path: str) -> None:
    async with serving(name) as served, calling(served, path, delta=False) as call:
        await call.ask(discovery_pb2.DiscoveryRequest(resource_names=["bench-1", "bench-2"]))
        first = await call.hear()
        assert sorted(named(each) for each in first.resources) == ["bench-1", "bench-2"]
        assert {words(each) for each in first.resources} == {"first"}
        await served.child.ask("expect", acks=1)
        await call.ask(
            discovery_pb2.DiscoveryRequest(
                resource_names=["bench-1", "bench-2"],
                version_info=first.version_info,
                response_nonce=first.nonce,
            )
        )
        await served.acked()
        await served.publish("bench-2", "second", acks=0)
        changed = {named(each): words(each) for each in (await call.hear()).resources}
        assert changed["bench-2"] == "second"


@every_server
@pytest.mark.parametrize("path", DELTA)
async def test_a_delta_stream_is_sent_what_changed(name: str, path: str) -> None:
    async with serving(name) as served, calling(served, path, delta=True) as call:
        both = ["bench-0", "bench-1"]
        await call.ask(discovery_pb2.DeltaDiscoveryRequest(resource_names_subscribe=both))
        first = await call.hear()
        assert sorted(each.name for each in first.resources) == both
        await served.child.ask("expect", acks=1)
        await call.ask(discovery_pb2.DeltaDiscoveryRequest(response_nonce=first.nonce))
        await served.acked()
        await served.publish("bench-1", "second", acks=1)
        second = await call.hear()
        assert [words(each.resource) for each in second.resources] == ["second"]
        await call.ask(discovery_pb2.DeltaDiscoveryRequest(response_nonce=second.nonce))
        await served.acked()


@every_server
async def test_a_refusal_is_no_ack(name: str) -> None:
    async with serving(name) as served, calling(served, SOTW[0], delta=False) as call:
        request = discovery_pb2.DiscoveryRequest(resource_names=["bench-0"])
        await call.ask(request)
        response = await call.hear()
        await served.child.ask("expect", acks=1)
        waiting = asyncio.ensure_future(served.acked())
        request.response_nonce = response.nonce
        request.error_detail.message = "no"
        await call.ask(request)
        done, _ = await asyncio.wait([waiting], timeout=0.3)
        assert not done
        waiting.cancel()


@every_server
async def test_who_proves_no_identity_is_refused(name: str, mesh: Mesh) -> None:
    async with serving(name, mesh.server) as served:
        stranger = mesh.context(trusted=False)
        clients = Clients(host="127.0.0.1", port=served.port, tls=stranger)
        with pytest.raises(OSError):  # noqa: PT011 (TLS 1.3: a reset, an end or an alert)
            await clients.connect([asking("bench-0")])
        clients.close()
        await served.until_streams(0)


@every_program
async def test_a_server_says_what_it_costs(name: str) -> None:
    async with serving(name) as served:
        before = (await served.child.ask("cpu"))["cpu_s"]
        memory = await served.child.ask("memory")
        assert min(memory["rss_kb"], memory["found_kb"]) > 5_000
        assert before < (await served.child.ask("cpu"))["cpu_s"] < before + PATIENCE
        assert (await served.child.ask("tell"))["streams"] == 0
        assert await served.acked() < monotonic_ns()
        began = monotonic_ns()
        await served.child.ask("expect", acks=0)
        assert began < await served.acked()


@every_program
async def test_a_server_that_is_told_nonsense_ends_and_says_why(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    async with serving(name) as served:
        with pytest.raises(ChildEnded):
            await served.child.ask("dance")
        assert await served.child.ended() != 0
    assert "dance" in capfd.readouterr().err


@every_program
async def test_a_server_ends_with_its_input_even_while_it_waits(name: str) -> None:
    async with serving(name) as served:
        await served.child.ask("expect", acks=1)
        waiting = asyncio.ensure_future(served.child.ask("acked"))
        await asyncio.sleep(0)  # it is asked
        served.child.let_go()
        assert await served.child.ended() == 0
        with pytest.raises(ChildEnded):
            await waiting


async def test_the_floor_sends_bytes_to_every_socket() -> None:
    async with serving("floor") as served:
        lines = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(3)]
        await served.until_streams(3)
        told = await served.child.ask("publish", size=1_000, acks=0)
        assert 0 < told["cpu_s"] < 1
        for reader, writer in lines:
            assert await reader.readexactly(1_000) == bytes(1_000)
            writer.close()


async def test_the_floor_does_not_wait_for_who_does_not_read() -> None:
    async with serving("floor") as served:
        _, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1)
        await served.until_streams(1)
        with pytest.raises(ChildEnded):
            await served.child.ask("publish", size=64 << 20, acks=0)
        writer.close()


async def test_a_peer_that_cannot_be_built_here_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    reason = available("go-linear")
    assert reason is not None
    assert "`make go-tools` fetches one" in reason
    assert available("ours") is None
    with pytest.raises(NoPeerError, match="go-linear: no Go"):
        async with peer("go-linear"):
            pass


def test_a_build_that_fails_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compiler = tmp_path / "bin" / "go"
    compiler.parent.mkdir()
    compiler.write_text(
        f"#!{sys.executable}\n"
        "import pathlib, sys\n"
        "half = pathlib.Path(sys.argv[sys.argv.index('-o') + 1])\n"
        "half.parent.mkdir(parents=True, exist_ok=True)\n"
        "half.write_text('half of it')\n"
        "sys.exit('out of memory')\n"
    )
    compiler.chmod(0o755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(subprocess.CalledProcessError):
        catalogue.MODULE.build(compiler)
    assert list((tmp_path / "cache" / "aeraki-xds").iterdir()) == []


def test_what_was_built_of_other_sources_is_not_taken(tmp_path: Path) -> None:
    folder = shutil.copytree(catalogue.MODULE.folder, tmp_path / "module")
    copied = replace(catalogue.MODULE, folder=folder)
    assert copied.built == catalogue.MODULE.built
    with (folder / "main.go").open("a") as source:
        source.write("// changed\n")
    assert copied.built != catalogue.MODULE.built


class Call:
    """One stream of grpcio's, with the official classes."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def ask(self, request: Any) -> None:
        request.node.id, request.type_url = "test", HTTP_ROUTES
        await self._stream.write(request)

    async def hear(self) -> Any:
        async with asyncio.timeout(PATIENCE):
            return await self._stream.read()


@asynccontextmanager
async def calling(served: Served, path: str, *, delta: bool) -> AsyncIterator[Call]:
    kind = "Delta" if delta else ""
    request = getattr(discovery_pb2, f"{kind}DiscoveryRequest")
    response = getattr(discovery_pb2, f"{kind}DiscoveryResponse")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{served.port}") as channel:
        call = channel.stream_stream(path, request.SerializeToString, response.FromString)
        stream = call()
        yield Call(stream)
        stream.cancel()


def _route(packed: Any) -> route_pb2.RouteConfiguration:
    assert packed.type_url == HTTP_ROUTES
    return route_pb2.RouteConfiguration.FromString(packed.value)


def named(packed: Any) -> str:
    return str(_route(packed).name)


def words(packed: Any) -> str:
    return str(_route(packed).virtual_hosts[0].name)
