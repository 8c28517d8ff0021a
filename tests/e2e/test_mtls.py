"""Mutual TLS with a real Envoy: who is served, who is refused on either side, and rotation.

The server is in this process, for the certificates and the moments at which they end are the
test's; its `admit` is the real one.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from envoy.service.discovery.v3 import discovery_pb2
from grpclib.client import Channel
from grpclib.client import Stream as ClientStream
from grpclib.const import Cardinality, Status
from grpclib.exceptions import StreamTerminatedError

from aeraki_xds._proto.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType
from aeraki_xds.demo.envoy import Envoy
from aeraki_xds.demo.http import Address
from aeraki_xds.pipeline.scopes import PUBLIC, Scopes
from aeraki_xds.settings import TlsFiles
from aeraki_xds.translate.bootstrap import BootstrapSettings, MutualTls, bootstrap, secrets
from aeraki_xds.xds import CLUSTER, Hub, Name, Node, Peer, Refusal, Resource, Scope, TypeUrl
from aeraki_xds.xds.identity import SpiffeId
from aeraki_xds.xds.wire import XdsServer
from aeraki_xds.xds.wire.tls import ServerTls
from tests.e2e.conftest import LIMIT_S
from tests.pki import Authority, Workload
from tests.xds.test_wire_server import SOTW_ADS, Talk
from tests.xds.test_wire_tls import BOTH_LOOPS, Loop

WEB: Final = "spiffe://cluster.local/ns/shop/sa/web"
OURS: Final = "spiffe://cluster.local/ns/istio-system/sa/aeraki"
IMPOSTOR: Final = "spiffe://cluster.local/ns/istio-system/sa/aeraki-2"

NODE: Final = "sidecar~127.0.0.1~web-1.shop~shop.svc.cluster.local"
SHOP: Final = Scope("ads/shop/stock/-")
FOR_SHOP_ONLY: Final = Scope("restricted/shop")
XDS: Final = "cluster.aeraki-xds"


@pytest.fixture(scope="module")
def mesh() -> Authority:
    return Authority("root").intermediate("intermediate")


@pytest.fixture(scope="module")
def next_mesh() -> Authority:
    return Authority("next root").intermediate("next intermediate")


class Plane:
    """A server of the mesh with one cluster, `hello`, for proxies of the namespace `shop`."""

    def __init__(self) -> None:
        self.hub = Hub(clock=time.time)
        self.admitted = 0
        self.address = Address("", 0)
        self._scopes = Scopes()

    def admit(self, node: Node, peer: Peer, *, only: TypeUrl | None) -> tuple[Scope, ...] | Refusal:
        """What `serve` does, counted."""
        admitted = self._scopes.admit(node, peer, only=only)
        self.admitted += not isinstance(admitted, Refusal)
        return admitted

    def publish(self, *, seconds: int) -> None:
        """The cluster's connect timeout tells its versions apart."""
        message = Cluster(
            name="hello",
            type=ClusterDiscoveryType.STATIC,
            connect_timeout=timedelta(seconds=seconds),
        )
        hello = Resource.of(CLUSTER, Name("hello"), bytes(message))
        self.hub.publish(SHOP, {hello.id: hello})
        for scope in (FOR_SHOP_ONLY, PUBLIC):
            self.hub.publish(scope, {})

    @classmethod
    @asynccontextmanager
    async def serving(cls, files: TlsFiles) -> AsyncIterator[Plane]:
        plane = cls()
        tls = ServerTls(certificate=files.certificate, key=files.key, roots=files.roots)
        xds = XdsServer(hub=plane.hub, admit=plane.admit)
        plane.address = Address(*await xds.start("127.0.0.1", 0, tls=tls.context))
        plane.publish(seconds=1)
        try:
            yield plane
        finally:
            await xds.close()


def proxy_of(
    plane: Plane, files: TlsFiles, *, secrets_dir: Path | None = None, delta: bool = False
) -> dict[str, object]:
    """What `aeraki-xds bootstrap --mtls` prints, with a free admin port."""
    tls = MutualTls(
        certificate=str(files.certificate),
        key=str(files.key),
        root=str(files.roots),
        server_name=OURS,
        secrets_dir=None if secrets_dir is None else str(secrets_dir),
    )
    if secrets_dir is not None:
        secrets_dir.mkdir(exist_ok=True)
        for name, content in secrets(tls).items():
            (secrets_dir / name).write_text(json.dumps(content))
    settings = BootstrapSettings(
        node_id=NODE,
        cluster="web",
        metadata={"NAMESPACE": "shop", "SERVICE_ACCOUNT": "web"},
        xds_host=plane.address.host,
        xds_port=plane.address.port,
        admin_port=0,
        delta=delta,
        tls=tls,
    )
    return bootstrap(settings)


async def holds(envoy: Envoy, *, seconds: int) -> None:
    """Wait until Envoy has the cluster in this version."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            dumps = await envoy.config_dump("dynamic_active_clusters")
            held = {dump["cluster"]["name"]: dump["cluster"]["connect_timeout"] for dump in dumps}
            if held == {"hello": f"{seconds}s"}:
                return
            await asyncio.sleep(0.01)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            await asyncio.sleep(0.01)


async def counted(envoy: Envoy, counter: str, *, at_least: int = 1) -> None:
    """Wait until Envoy has counted this."""
    async with asyncio.timeout(LIMIT_S):
        while int((await envoy.stats(f"^{counter}$")).get(counter, 0)) < at_least:
            await asyncio.sleep(0.01)


# --- a real Envoy -----------------------------------------------------------------------------


@pytest.mark.e2e
@pytest.mark.parametrize("with_secrets", [False, True], ids=["files", "secrets"])
async def test_an_envoy_of_the_mesh_is_served_and_known_by_name(
    tmp_path: Path, mesh: Authority, *, delta: bool, with_secrets: bool
) -> None:
    web = mesh.workload(WEB).write(tmp_path / "web")
    secrets_dir = tmp_path / "secrets" if with_secrets else None
    async with Plane.serving(mesh.workload(OURS).write(tmp_path / "ours")) as plane:
        proxy = proxy_of(plane, web, secrets_dir=secrets_dir, delta=delta)
        async with Envoy.run(proxy, log=tmp_path / "envoy.log") as envoy:
            await holds(envoy, seconds=1)
            (stream,) = plane.hub.streams
            assert stream.peer.identity == SpiffeId.parse(WEB)
            assert stream.scopes == (SHOP, FOR_SHOP_ONLY, PUBLIC)


@pytest.mark.e2e
@pytest.mark.parametrize("with_secrets", [False, True], ids=["files", "secrets"])
async def test_envoy_refuses_an_impostor_whose_certificate_the_mesh_has_signed(
    tmp_path: Path, mesh: Authority, *, with_secrets: bool
) -> None:
    web = mesh.workload(WEB).write(tmp_path / "web")
    secrets_dir = tmp_path / "secrets" if with_secrets else None
    async with Plane.serving(mesh.workload(IMPOSTOR).write(tmp_path / "impostor")) as plane:
        proxy = proxy_of(plane, web, secrets_dir=secrets_dir)
        async with Envoy.run(proxy, log=tmp_path / "envoy.log") as envoy:
            await counted(envoy, f"{XDS}.ssl.fail_verify_san")
            assert await envoy.config_dump("dynamic_active_clusters") == []
            assert plane.hub.streams == ()
            assert (await envoy.stats(f"{XDS}.ssl.handshake"))[f"{XDS}.ssl.handshake"] == 0


@pytest.mark.e2e
async def test_certificate_and_roots_are_replaced_while_old_streams_go_on(
    tmp_path: Path, mesh: Authority, next_mesh: Authority
) -> None:
    web = mesh.workload(WEB).write(tmp_path / "web")
    web_next = next_mesh.workload(WEB).write(tmp_path / "web-next")
    ours = mesh.workload(OURS).write(tmp_path / "ours")
    async with AsyncExitStack() as stack:
        plane = await stack.enter_async_context(Plane.serving(ours))
        old = await stack.enter_async_context(
            Envoy.run(proxy_of(plane, web), log=tmp_path / "old.log")
        )
        await holds(old, seconds=1)
        (first,) = plane.hub.streams
        next_mesh.workload(OURS).write(tmp_path / "ours")
        new = await stack.enter_async_context(
            Envoy.run(proxy_of(plane, web_next), log=tmp_path / "new.log")
        )
        await holds(new, seconds=1)
        plane.publish(seconds=2)
        await holds(old, seconds=2)
        await holds(new, seconds=2)
        assert first in plane.hub.streams
        assert len(plane.hub.streams) == 2
        late = await stack.enter_async_context(
            Envoy.run(proxy_of(plane, web), log=tmp_path / "late.log")
        )
        await counted(late, f"{XDS}.ssl.fail_verify_error")
        assert len(plane.hub.streams) == 2


@pytest.mark.e2e
async def test_a_stream_ends_with_its_certificate_and_envoy_comes_back_with_the_next_one(
    tmp_path: Path, mesh: Authority
) -> None:
    brief, ends_at = ending_soon(mesh)
    web = brief.write(tmp_path / "web")
    async with Plane.serving(mesh.workload(OURS).write(tmp_path / "ours")) as plane:
        proxy = proxy_of(plane, web, secrets_dir=tmp_path / "secrets")
        async with Envoy.run(proxy, log=tmp_path / "envoy.log") as envoy:
            await holds(envoy, seconds=1)
            (first,) = plane.hub.streams
            assert first.peer.expires_at == ends_at
            mesh.workload(WEB).write(tmp_path / "web")
            plane.publish(seconds=2)
            await holds(envoy, seconds=2)
            assert plane.hub.streams == (first,)
            await until(lambda: first not in plane.hub.streams)
            assert ends_at <= time.time()
            await until(lambda: len(plane.hub.streams) == 1)
            (second,) = plane.hub.streams
            assert second.peer.expires_at is not None
            assert second.peer.expires_at > ends_at + 3600
            plane.publish(seconds=3)
            await holds(envoy, seconds=3)


@pytest.mark.e2e
async def test_an_envoy_whose_certificate_has_ended_is_served_no_more_though_tls_lets_it_in(
    tmp_path: Path, mesh: Authority
) -> None:
    brief, _ = ending_soon(mesh)
    web = brief.write(tmp_path / "web")
    async with (
        Plane.serving(mesh.workload(OURS).write(tmp_path / "ours")) as plane,
        Envoy.run(proxy_of(plane, web), log=tmp_path / "envoy.log") as envoy,
    ):
        await holds(envoy, seconds=1)
        await until(lambda: plane.hub.streams == ())
        plane.publish(seconds=2)
        await counted(envoy, f"{XDS}.ssl.session_reused", at_least=2)
        assert plane.admitted == 1
        await holds(envoy, seconds=1)


def ending_soon(mesh: Authority) -> tuple[Workload, float]:
    """Of WEB, with the moment at which it ends: whole seconds, and enough to connect before."""
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=5)
    return mesh.workload(WEB, not_after=ends), ends.timestamp()


# --- any client -------------------------------------------------------------------------------


@asynccontextmanager
async def talking(
    to: Address,
    tmp_path: Path,
    workload: Workload | None,
    *,
    trusts: Authority,
    method: str = SOTW_ADS,
) -> AsyncIterator[Talk]:
    """A stream of anyone, with a certificate or without. Raises OSError if it is not let in."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname = False
    tls.load_verify_locations(cadata=trusts.roots.decode())
    tls.set_alpn_protocols(["h2"])
    if workload is not None:
        files = workload.write(tmp_path / "anyone")
        tls.load_cert_chain(files.certificate, files.key)
    channel = Channel(to.host, to.port, ssl=tls)
    request, response = discovery_pb2.DiscoveryRequest, discovery_pb2.DiscoveryResponse
    grpc: ClientStream[Any, Any] = channel.request(
        method, Cardinality.STREAM_STREAM, request, response
    )
    await grpc.__aenter__()
    talk = Talk(grpc, delta=False)
    try:
        await grpc.send_request()
        yield talk
    finally:
        await talk.leave()
        channel.close()
        await asyncio.sleep(0)  # transports close in the loop's next turn


@pytest.fixture
async def plane(tmp_path: Path, mesh: Authority) -> AsyncIterator[Plane]:
    async with Plane.serving(mesh.workload(OURS).write(tmp_path / "ours")) as made:
        yield made


@pytest.mark.parametrize("who", ["nobody", "expired", "stranger"])
async def test_who_has_no_valid_certificate_of_the_mesh_cannot_say_a_word(
    tmp_path: Path, mesh: Authority, next_mesh: Authority, plane: Plane, who: str
) -> None:
    now = datetime.now(UTC)
    workload = {
        "nobody": None,
        "expired": mesh.workload(WEB, not_after=now - timedelta(seconds=1)),
        "stranger": next_mesh.workload(WEB),
    }[who]
    # TLS 1.3 lets a client speak before it is refused: it is told by the first answer.
    with pytest.raises((OSError, StreamTerminatedError)):  # noqa: PT012
        async with talking(plane.address, tmp_path, workload, trusts=mesh) as client:
            await client.ask(CLUSTER, node=NODE)
            await client.hear()
    assert plane.hub.streams == ()


OF_WEB: Final = f"the certificate is of {WEB}"


@pytest.mark.parametrize(
    ("certificate", "node", "message"),
    [
        (
            WEB,
            {"id": "sidecar~10.0.0.1~db-1.lab~lab.svc.cluster.local"},
            f"{OF_WEB}, the node says namespace lab",
        ),
        (
            WEB,
            {"id": NODE, "metadata": {"NAMESPACE": "lab"}},
            f"{OF_WEB}, the node says namespace lab",
        ),
        (
            WEB,
            {"id": NODE, "metadata": {"SERVICE_ACCOUNT": "db"}},
            f"{OF_WEB}, the node says service account db",
        ),
        (
            "spiffe://elsewhere.org/ns/shop/sa/web",
            {"id": NODE},
            "the certificate is of spiffe://elsewhere.org/ns/shop/sa/web, "
            "the trust domain here is cluster.local",
        ),
        (
            "https://shop.example/web",
            {"id": NODE},
            "'https://shop.example/web' is not spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT",
        ),
    ],
)
async def test_who_is_not_what_the_node_claims_is_denied_and_told_why(
    tmp_path: Path,
    mesh: Authority,
    plane: Plane,
    certificate: str,
    node: dict[str, Any],
    message: str,
) -> None:
    async with talking(plane.address, tmp_path, mesh.workload(certificate), trusts=mesh) as client:
        await client.ask(CLUSTER, node=node)
        assert await client.ended_with() == (Status.PERMISSION_DENIED, message)
    assert plane.hub.streams == ()


@BOTH_LOOPS
def test_a_client_is_served_until_its_certificate_ends_and_told_why(
    tmp_path: Path, mesh: Authority, loop: Loop
) -> None:
    async def scenario() -> None:
        workload, ends_at = ending_soon(mesh)
        async with (
            Plane.serving(mesh.workload(OURS).write(tmp_path / "ours")) as plane,
            talking(plane.address, tmp_path, workload, trusts=mesh) as client,
        ):
            await client.ask(CLUSTER, node=NODE)
            assert len((await client.hear()).resources) == 1
            await until(lambda: not plane.hub.streams)
            assert ends_at <= time.time()
            assert await client.ended_with() == (
                Status.UNAVAILABLE,
                "the client's certificate has ended: connect again with a new one",
            )

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(scenario())
