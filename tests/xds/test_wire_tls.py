"""Mutual TLS: who gets through a handshake, and what it is made with when files are replaced.

Most handshakes here are made in memory, on the context that a loop would be given; that both loops
use it as we think is shown over sockets.
"""

from __future__ import annotations

import asyncio
import os
import re
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
import uvloop
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from structlog.testing import capture_logs

from aeraki_xds.settings import TlsFiles
from aeraki_xds.xds.admission import Peer
from aeraki_xds.xds.identity import SpiffeId
from aeraki_xds.xds.wire.tls import Expiry, OtherEnd, ServerTls, UnusableFilesError, peer_of
from tests.pki import DAY, Authority, Workload, replace
from tests.virtual_time import at, virtual_time

WEB: Final = "spiffe://cluster.local/ns/shop/sa/web"
OURS: Final = "spiffe://cluster.local/ns/istio-system/sa/aeraki"
OURS_NEXT: Final = "spiffe://cluster.local/ns/istio-system/sa/aeraki-next"

LIMIT_S: Final = 10.0
"""Seconds that a handshake may take on a busy machine before the test fails."""

BOTH_LOOPS: Final = pytest.mark.parametrize(
    "loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
Loop = Callable[[], asyncio.AbstractEventLoop]


@pytest.fixture(scope="module")
def mesh() -> Authority:
    return Authority("root").intermediate("intermediate")


@pytest.fixture(scope="module")
def elsewhere() -> Authority:
    return Authority("another root").intermediate("another intermediate")


@pytest.fixture
def files(tmp_path: Path, mesh: Authority) -> TlsFiles:
    """Our own certificate."""
    return mesh.workload(OURS).write(tmp_path / "ours")


def serve_with(files: TlsFiles) -> ServerTls:
    return ServerTls(certificate=files.certificate, key=files.key, roots=files.roots)


def client(workload: Workload | None, tmp_path: Path, *, trusts: Authority) -> ssl.SSLContext:
    """What a proxy connects with: the server has to be of the mesh, its name is not looked at."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=trusts.roots.decode())
    context.set_alpn_protocols(["h2"])
    if workload is not None:
        written = workload.write(tmp_path / "client")
        context.load_cert_chain(written.certificate, written.key)
    return context


class Shake:
    """A handshake in memory, and the two ends after it."""

    def __init__(
        self,
        server: ssl.SSLContext,
        client: ssl.SSLContext,
        session: ssl.SSLSession | None = None,
    ) -> None:
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.server = server.wrap_bio(to_server, to_client, server_side=True)
        self.client = client.wrap_bio(to_client, to_server, session=session)
        waiting = [self.client, self.server]
        for _ in range(10):
            for end in tuple(waiting):
                with suppress(ssl.SSLWantReadError):
                    end.do_handshake()
                    waiting.remove(end)
        assert not waiting
        assert self.says("hello") == "hello"

    def says(self, words: str) -> str:
        """What the server reads when the client writes; and the client reads what there is."""
        self.client.write(words.encode())
        with suppress(ssl.SSLWantReadError):
            self.client.read()  # tickets, if there were any
        return self.server.read(100).decode()

    @property
    def proxy_sees(self) -> str:
        """Who the server is to the client."""
        return uri_of(self.client.getpeercert())

    @property
    def we_see(self) -> str:
        """Who the client is to the server."""
        return uri_of(self.server.getpeercert())


def uri_of(certificate: Mapping[str, Any] | None) -> str:
    assert certificate
    (name,) = certificate["subjectAltName"]
    return str(name[1])


# --- who gets through -------------------------------------------------------------------------


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_proxy_of_the_mesh_gets_through_and_both_ends_know_each_other(
    tmp_path: Path, mesh: Authority, files: TlsFiles, version: ssl.TLSVersion
) -> None:
    proxy = client(mesh.workload(WEB), tmp_path, trusts=mesh)
    proxy.minimum_version = proxy.maximum_version = version
    made = Shake(serve_with(files).context, proxy)
    assert (made.proxy_sees, made.we_see) == (OURS, WEB)
    assert made.client.version() == version.name.replace("v1_", "v1.")
    assert made.server.selected_alpn_protocol() == "h2"
    cipher = made.server.cipher()
    assert cipher is not None
    assert cipher[0].startswith(("ECDHE", "TLS_AES", "TLS_CHACHA20"))


def test_a_proxy_without_a_certificate_does_not_get_through(
    tmp_path: Path, mesh: Authority, files: TlsFiles
) -> None:
    with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        Shake(serve_with(files).context, client(None, tmp_path, trusts=mesh))


def test_a_proxy_of_another_mesh_does_not_get_through(
    tmp_path: Path, mesh: Authority, elsewhere: Authority, files: TlsFiles
) -> None:
    proxy = client(elsewhere.workload(WEB), tmp_path, trusts=mesh)
    with pytest.raises(ssl.SSLCertVerificationError):
        Shake(serve_with(files).context, proxy)


def test_a_certificate_does_not_get_through_before_or_after_its_time(
    tmp_path: Path, mesh: Authority, files: TlsFiles
) -> None:
    now = datetime.now(UTC)
    expired = mesh.workload(WEB, not_before=now - DAY, not_after=now - timedelta(seconds=1))
    early = mesh.workload(WEB, not_before=now + DAY / 2)
    for workload, words in ((expired, "certificate has expired"), (early, "not yet valid")):
        with pytest.raises(ssl.SSLCertVerificationError, match=words):
            Shake(serve_with(files).context, client(workload, tmp_path, trusts=mesh))


def test_tls_1_1_is_not_spoken(files: TlsFiles) -> None:
    assert serve_with(files).newest().minimum_version is ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_no_ticket_is_given_that_would_outlive_what_was_verified(
    tmp_path: Path, mesh: Authority, files: TlsFiles, version: ssl.TLSVersion
) -> None:
    proxy = client(mesh.workload(WEB), tmp_path, trusts=mesh)
    proxy.minimum_version = proxy.maximum_version = version
    session = Shake(serve_with(files).context, proxy).client.session
    assert session is None or not session.has_ticket


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_no_session_is_resumed_under_new_roots(
    tmp_path: Path, mesh: Authority, elsewhere: Authority, files: TlsFiles, version: ssl.TLSVersion
) -> None:
    tls = serve_with(files)
    proxy = client(mesh.workload(WEB), tmp_path, trusts=mesh)
    proxy.minimum_version = proxy.maximum_version = version
    session = Shake(tls.context, proxy).client.session
    replace(files.roots, elsewhere.roots)
    with pytest.raises(ssl.SSLCertVerificationError):
        Shake(tls.context, proxy, session)


def test_a_session_that_is_resumed_has_its_identity_and_its_end_still(
    tmp_path: Path, mesh: Authority, files: TlsFiles
) -> None:
    tls = serve_with(files)
    proxy = client(mesh.workload(WEB), tmp_path, trusts=mesh)
    proxy.maximum_version = ssl.TLSVersion.TLSv1_2
    first = Shake(tls.context, proxy)
    again = Shake(tls.context, proxy, first.client.session)
    assert again.server.session_reused
    assert again.server.getpeercert() == first.server.getpeercert()
    assert again.we_see == WEB


def test_an_intermediate_among_the_roots_is_trusted_by_itself(
    tmp_path: Path, mesh: Authority
) -> None:
    files = mesh.workload(OURS, roots=mesh.pem).write(tmp_path / "ours")
    proxy = client(mesh.workload(WEB), tmp_path, trusts=mesh)
    assert Shake(serve_with(files).context, proxy).we_see == WEB


def test_comments_in_the_roots_may_be_in_any_language(tmp_path: Path, mesh: Authority) -> None:
    roots = "# für jeden\n".encode() + mesh.roots
    files = mesh.workload(OURS, roots=roots).write(tmp_path / "ours")
    proxy = client(mesh.workload(WEB), tmp_path, trusts=mesh)
    assert Shake(serve_with(files).context, proxy).we_see == WEB


# --- rotation ---------------------------------------------------------------------------------


def test_the_next_handshake_is_made_with_a_new_certificate_and_old_connections_go_on(
    tmp_path: Path, mesh: Authority, files: TlsFiles
) -> None:
    tls = serve_with(files)
    proxy = client(mesh.workload(WEB), tmp_path, trusts=mesh)
    before = Shake(tls.context, proxy)
    mesh.workload(OURS_NEXT).write(files.key.parent)
    after = Shake(tls.context, proxy)
    assert (before.proxy_sees, after.proxy_sees) == (OURS, OURS_NEXT)
    assert before.says("still here") == "still here"


def test_roots_come_and_go_and_old_connections_go_on(
    tmp_path: Path, mesh: Authority, elsewhere: Authority, files: TlsFiles
) -> None:
    tls = serve_with(files)
    old = client(mesh.workload(WEB), tmp_path, trusts=mesh)
    new = client(elsewhere.workload(WEB), tmp_path, trusts=mesh)
    before = Shake(tls.context, old)
    with pytest.raises(ssl.SSLCertVerificationError):
        Shake(tls.context, new)
    replace(files.roots, mesh.roots + elsewhere.roots)
    assert Shake(tls.context, old).we_see == WEB
    assert Shake(tls.context, new).we_see == WEB
    replace(files.roots, elsewhere.roots)
    assert Shake(tls.context, new).we_see == WEB
    with pytest.raises(ssl.SSLCertVerificationError):
        Shake(tls.context, old)
    assert before.says("still here") == "still here"


def test_a_change_is_seen_that_no_time_and_no_size_tells(
    tmp_path: Path, mesh: Authority, files: TlsFiles
) -> None:
    tls = serve_with(files)
    for path in (files.certificate, files.key):
        path.write_bytes(path.read_bytes() + b"\n" * 99)
        os.utime(path, (0, 0))
    tls.newest()
    fresh = mesh.workload(OURS_NEXT)
    for path, content in ((files.certificate, fresh.chain), (files.key, fresh.key)):
        before = path.stat()
        path.write_bytes(content.ljust(before.st_size, b"\n"))
        os.utime(path, (0, 0))
        after = path.stat()
        assert (after.st_ino, after.st_size, after.st_mtime_ns) == (
            before.st_ino,
            before.st_size,
            before.st_mtime_ns,
        )
    proxy = client(mesh.workload(WEB), tmp_path, trusts=mesh)
    assert Shake(tls.context, proxy).proxy_sees == OURS_NEXT


def test_a_mounted_secret_is_replaced_as_kubernetes_does_it(
    tmp_path: Path, mesh: Authority
) -> None:
    mount = tmp_path / "mount"
    mesh.workload(OURS).write(mount / "..1")
    mesh.workload(OURS_NEXT).write(mount / "..2")
    (mount / "..data").symlink_to("..1")
    for name in ("cert-chain.pem", "key.pem", "root-cert.pem"):
        (mount / name).symlink_to(Path("..data") / name)
    tls = serve_with(TlsFiles.within(mount))
    proxy = client(mesh.workload(WEB), tmp_path, trusts=mesh)
    assert Shake(tls.context, proxy).proxy_sees == OURS
    (mount / "..new").symlink_to("..2")
    (mount / "..new").replace(mount / "..data")
    assert Shake(tls.context, proxy).proxy_sees == OURS_NEXT


def test_files_that_did_not_change_are_not_loaded_again(files: TlsFiles) -> None:
    tls = serve_with(files)
    with capture_logs() as logs:
        assert tls.newest() is tls.newest()
    assert logs == []


def halved(files: TlsFiles) -> None:
    content = files.certificate.read_bytes()
    files.certificate.write_bytes(content[: len(content) // 4])


def of_another_key(files: TlsFiles) -> None:
    files.key.write_bytes(Authority("any").workload(OURS).key)


def halved_key(files: TlsFiles) -> None:
    content = files.key.read_bytes()
    files.key.write_bytes(content[: len(content) // 2])


def without_key(files: TlsFiles) -> None:
    files.key.unlink()


def without_roots(files: TlsFiles) -> None:
    files.roots.write_bytes(b"")


def halved_roots(files: TlsFiles) -> None:
    content = files.roots.read_bytes()
    files.roots.write_bytes(content + content[: len(content) // 2])


def folder_for_roots(files: TlsFiles) -> None:
    files.roots.unlink()
    files.roots.mkdir()


def encrypted_key(files: TlsFiles) -> None:
    files.key.write_bytes(ENCRYPTED_KEY)


ENCRYPTED_KEY: Final = b"""-----BEGIN EC PRIVATE KEY-----
Proc-Type: 4,ENCRYPTED
DEK-Info: AES-128-CBC,00112233445566778899AABBCCDDEEFF

AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
-----END EC PRIVATE KEY-----
"""

SPOILT: Final[list[tuple[Callable[[TlsFiles], None], str]]] = [
    (halved, "cert-chain.pem and .*key.pem cannot be used"),
    (of_another_key, "cert-chain.pem and .*key.pem cannot be used: key values mismatch"),
    (halved_key, "cert-chain.pem and .*key.pem cannot be used"),
    (encrypted_key, "cert-chain.pem and .*key.pem cannot be used: the key is encrypted"),
    (without_key, "key.pem cannot be read: No such file"),
    (without_roots, "root-cert.pem cannot be used"),
    (halved_roots, "root-cert.pem cannot be used"),
    (folder_for_roots, "root-cert.pem cannot be read: Is a directory"),
]
EVERY_WAY: Final = pytest.mark.parametrize(("spoil", "words"), SPOILT)


@EVERY_WAY
def test_with_files_that_are_unusable_nothing_is_served_and_the_file_is_named(
    files: TlsFiles, spoil: Callable[[TlsFiles], None], words: str
) -> None:
    spoil(files)
    with pytest.raises(UnusableFilesError, match=words):
        serve_with(files)


@EVERY_WAY
def test_files_that_become_unusable_are_said_once_and_the_last_good_ones_serve_on(
    tmp_path: Path,
    mesh: Authority,
    files: TlsFiles,
    spoil: Callable[[TlsFiles], None],
    words: str,
) -> None:
    tls = serve_with(files)
    proxy = client(mesh.workload(WEB), tmp_path, trusts=mesh)
    good = {path: path.read_bytes() for path in (files.certificate, files.key, files.roots)}
    spoil(files)
    with capture_logs() as logs:
        for _ in range(3):
            made = Shake(tls.context, proxy)
            assert (made.proxy_sees, made.we_see) == (OURS, WEB)
    (said,) = logs
    assert said["log_level"] == "warning"
    assert re.search(words, said["error"])
    for path in good:
        if path.is_dir():
            path.rmdir()
    mesh.workload(OURS_NEXT).write(files.key.parent)
    assert Shake(tls.context, proxy).proxy_sees == OURS_NEXT


def test_each_change_that_is_unusable_is_said_even_in_the_same_words(files: TlsFiles) -> None:
    tls = serve_with(files)
    with capture_logs() as logs:
        for _ in range(2):
            of_another_key(files)
            tls.newest()
            tls.newest()
    assert [each["log_level"] for each in logs] == ["warning", "warning"]


def test_a_file_that_is_away_for_a_moment_is_missed_each_time_and_nothing_is_loaded_again(
    files: TlsFiles,
) -> None:
    tls = serve_with(files)
    before = tls.newest()
    content = files.key.read_bytes()
    with capture_logs() as logs:
        for _ in range(2):
            files.key.unlink()
            assert tls.newest() is tls.newest() is before
            files.key.write_bytes(content)
            assert tls.newest() is before
    assert [each["log_level"] for each in logs] == ["warning", "warning"]


def test_a_certificate_that_comes_before_its_key_waits_for_it(
    tmp_path: Path, mesh: Authority, files: TlsFiles
) -> None:
    tls = serve_with(files)
    proxy = client(mesh.workload(WEB), tmp_path, trusts=mesh)
    fresh = mesh.workload(OURS_NEXT)
    replace(files.certificate, fresh.chain)
    assert Shake(tls.context, proxy).proxy_sees == OURS
    replace(files.key, fresh.key)
    assert Shake(tls.context, proxy).proxy_sees == OURS_NEXT


def test_no_line_of_a_key_is_ever_said(files: TlsFiles) -> None:
    secrets = files.key.read_text().split()
    tls = serve_with(files)
    with capture_logs() as logs:
        for content in (b"no certificate", files.key.read_bytes()):
            files.certificate.write_bytes(content)
            tls.newest()
        halved_key(files)
        tls.newest()
    said = repr(logs) + repr(vars(tls))
    assert len(logs) == 3
    assert [secret for secret in secrets if len(secret) > 20 and secret in said] == []


# --- on a loop --------------------------------------------------------------------------------


class Echo(asyncio.Protocol):
    """Says back what it is told, and remembers its peers."""

    def __init__(self, peers: list[Peer]) -> None:
        self._peers = peers

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        certificate = transport.get_extra_info("peercert")
        self._peers.append(peer_of(certificate, address="somewhere"))

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)


class Connected:
    """A client's connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def echoes(self, words: bytes) -> bool:
        """Whether the server answers. TLS 1.3 tells a client late that it is refused."""
        self._writer.write(words)
        async with asyncio.timeout(LIMIT_S):
            return await self._reader.read(100) == words

    @property
    def server(self) -> str:
        return uri_of(self._writer.get_extra_info("peercert"))

    async def close(self) -> None:
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()


class Listening:
    """A server on a loop, and its clients."""

    def __init__(self, port: int, peers: list[Peer]) -> None:
        self.peers = peers
        self._port = port

    @asynccontextmanager
    async def connected(self, tls: ssl.SSLContext | None) -> AsyncIterator[Connected]:
        async with asyncio.timeout(LIMIT_S):
            made = Connected(*await asyncio.open_connection("127.0.0.1", self._port, ssl=tls))
        try:
            yield made
        finally:
            await made.close()

    async def refuses(self, tls: ssl.SSLContext | None) -> bool:
        """Whether this client is not let in; nobody has met it then."""
        met = len(self.peers)
        try:
            async with self.connected(tls) as proxy:
                refused = not await proxy.echoes(b"let me in")
        except (ssl.SSLError, ConnectionError):
            refused = True
        return refused and len(self.peers) == met


@asynccontextmanager
async def listening(tls: ServerTls) -> AsyncIterator[Listening]:
    peers: list[Peer] = []
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Echo(peers), "127.0.0.1", 0, ssl=tls.context)
    try:
        yield Listening(server.sockets[0].getsockname()[1], peers)
    finally:
        server.close()
        await server.wait_closed()


@BOTH_LOOPS
def test_both_loops_let_the_mesh_in_and_nobody_else(
    tmp_path: Path, mesh: Authority, elsewhere: Authority, files: TlsFiles, loop: Loop
) -> None:
    async def scenario() -> None:
        now = datetime.now(UTC).replace(microsecond=0)
        workload = mesh.workload(WEB, not_after=now + DAY / 2)
        expired = mesh.workload(WEB, not_after=now - timedelta(seconds=1))
        async with listening(serve_with(files)) as server:
            assert await server.refuses(client(None, tmp_path, trusts=mesh))
            assert await server.refuses(client(expired, tmp_path, trusts=mesh))
            assert await server.refuses(client(elsewhere.workload(WEB), tmp_path, trusts=mesh))
            async with server.connected(client(workload, tmp_path, trusts=mesh)) as proxy:
                assert await proxy.echoes(b"hello")
                assert proxy.server == OURS
            assert server.peers == [
                Peer(
                    address="somewhere",
                    identity=SpiffeId.parse(WEB),
                    expires_at=(now + DAY / 2).timestamp(),
                )
            ]

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(scenario())


@BOTH_LOOPS
def test_both_loops_rotate_certificate_and_roots_without_a_restart(
    tmp_path: Path, mesh: Authority, elsewhere: Authority, files: TlsFiles, loop: Loop
) -> None:
    async def scenario() -> None:
        old = client(mesh.workload(WEB), tmp_path, trusts=mesh)
        new = client(elsewhere.workload(WEB), tmp_path, trusts=elsewhere)
        async with (
            listening(serve_with(files)) as server,
            server.connected(old) as before,
        ):
            assert await before.echoes(b"hello")
            assert await server.refuses(new)
            elsewhere.workload(OURS_NEXT).write(files.key.parent)
            async with server.connected(new) as after:
                assert await after.echoes(b"hello")
                assert (before.server, after.server) == (OURS, OURS_NEXT)
            assert await server.refuses(old)
            assert await before.echoes(b"still here")

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(scenario())


# --- what a certificate means -----------------------------------------------------------------

WHY: Final = "the client's certificate has ended: connect again with a new one"
END: Final = 1_000_000.0
CERTIFICATE: Final[dict[str, object]] = {
    "subjectAltName": (("URI", WEB),),
    "notAfter": "Jan 12 13:46:40 1970 GMT",
}


def test_a_peer_in_plaintext_has_an_address_and_nothing_more() -> None:
    assert peer_of(None, address="10.0.0.1:4000") == Peer(address="10.0.0.1:4000")


def test_a_peer_with_a_certificate_is_who_it_says_until_its_end() -> None:
    def peer(now: float) -> Peer:
        return peer_of(CERTIFICATE, address="10.0.0.1:4000", clock=lambda: now)

    assert peer(END - 0.1) == Peer(
        address="10.0.0.1:4000", identity=SpiffeId.parse(WEB), expires_at=END
    )
    for now in (END, END + 1):
        with pytest.raises(GRPCError, match=WHY) as ended:
            peer(now)
        assert ended.value.status is Status.UNAUTHENTICATED


@pytest.mark.parametrize(
    ("certificate", "words"),
    [
        ({}, "names no URIs"),
        (CERTIFICATE | {"subjectAltName": (("DNS", "web.shop"),)}, "names no URIs"),
        (CERTIFICATE | {"subjectAltName": (("URI", WEB), ("URI", OURS))}, "names 2 URIs"),
        (CERTIFICATE | {"subjectAltName": (("URI", "spiffe://x"),)}, "'spiffe://x' is not"),
        (CERTIFICATE | {"notAfter": "never"}, "which is no time"),
    ],
)
def test_a_certificate_that_says_not_who_holds_it_is_denied(
    certificate: dict[str, object], words: str
) -> None:
    with pytest.raises(GRPCError, match=words) as denied:
        peer_of(certificate, address="10.0.0.1:4000", clock=lambda: 0.0)
    assert denied.value.status is Status.PERMISSION_DENIED


class Asked(asyncio.BaseTransport):
    """Counts how often it was asked for the certificate."""

    count = 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        self.count += name == "peercert"
        return {"peercert": CERTIFICATE, "peername": ("10.0.0.1", 4000)}.get(name, default)


def test_streams_of_a_connection_have_one_peer_until_its_certificate_ends() -> None:
    now, transport = END - 1, Asked()
    end = OtherEnd(transport, clock=lambda: now)
    first = end.peer()
    assert first == peer_of(CERTIFICATE, address="10.0.0.1:4000", clock=lambda: now)
    assert end.peer() is first
    assert transport.count == 1
    now = END
    with pytest.raises(GRPCError, match=WHY):
        end.peer()


# --- its end ----------------------------------------------------------------------------------


class Transport(asyncio.BaseTransport):
    """As TLS makes it."""

    def __init__(self, certificate: Mapping[str, object] | None) -> None:
        super().__init__({} if certificate is None else {"peercert": certificate})


class Ending:
    """Remembers when a connection was ended, and why."""

    def __init__(self, certificate: Mapping[str, object] | None, *, starts: float) -> None:
        """The wall clock shows `starts` when the loop's shows 0."""
        self.ends: list[tuple[float, str]] = []
        self.ahead = starts
        self._loop = asyncio.get_running_loop()
        self.expiry = Expiry(Transport(certificate), self._end, clock=self._clock)

    def _clock(self) -> float:
        return self._loop.time() + self.ahead

    def _end(self, reason: str) -> None:
        self.ends.append((round(self._clock(), 3), reason))


@virtual_time
async def test_a_connection_ends_when_its_certificate_does_and_not_before() -> None:
    ending = Ending(CERTIFICATE, starts=END - 100_000)
    await at(99_999.99)
    assert ending.ends == []
    await at(200_000)
    assert ending.ends == [(END, WHY)]


@virtual_time
async def test_a_certificate_that_has_ended_already_ends_the_connection_once_it_is_made() -> None:
    ending = Ending(CERTIFICATE, starts=END)
    assert ending.ends == []
    await at(1)
    assert ending.ends == [(END, WHY)]


@virtual_time
async def test_a_wall_clock_that_is_set_forward_ends_it_within_a_minute() -> None:
    ending = Ending(CERTIFICATE, starts=END - 100_000)
    await at(1_000, lambda: setattr(ending, "ahead", END))
    await at(1_060)
    assert len(ending.ends) == 1


@virtual_time
async def test_a_wall_clock_that_is_set_back_lets_it_live_longer() -> None:
    ending = Ending(CERTIFICATE, starts=END - 100)
    await at(50, lambda: setattr(ending, "ahead", END - 200))
    await at(199)
    assert ending.ends == []
    await at(201)
    assert ending.ends == [(END, WHY)]


@virtual_time
async def test_a_connection_that_is_gone_is_not_ended() -> None:
    ending = Ending(CERTIFICATE, starts=END - 100)
    await at(50, ending.expiry.cancel)
    await at(1_000)
    assert ending.ends == []


@virtual_time
async def test_plaintext_and_certificates_without_a_readable_end_have_none_here() -> None:
    endings = [
        Ending(certificate, starts=END)
        for certificate in (None, {}, CERTIFICATE | {"notAfter": "never"})
    ]
    await at(1_000)
    for ending in endings:
        assert ending.ends == []
        ending.expiry.cancel()
