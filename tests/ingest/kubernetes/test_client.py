"""One connection to an API server: what comes out, every error, and credentials that change."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from kubernetes_asyncio.config import incluster_config

from aeraki_xds.errors import ConfigurationError
from aeraki_xds.ingest.kubernetes.client import ApiError, Cluster, Unreachable, refusal_of
from tests.apiserver.faults import Answer, Cut, Delay, Faults, Hang
from tests.apiserver.server import ApiServer
from tests.ingest.kubernetes.kit import PATIENCE, rule, until

RULES = "/apis/networking.istio.io/v1/destinationrules"
SHOP = "/apis/networking.istio.io/v1/namespaces/shop/destinationrules"


def cluster_of(api: ApiServer, folder: Path, *, token: str = "t", url: str = "") -> Cluster:
    """A client with a kubeconfig file."""
    path = folder / "kubeconfig"
    api.kubeconfig(path, token=token, url=url or api.url)
    return Cluster.of_kubeconfig(path)


# --- what comes out -------------------------------------------------------------------------------


async def test_bodies_go_in_and_come_out_as_they_are(tmp_path: Path) -> None:
    async with ApiServer.started() as api, cluster_of(api, tmp_path) as cluster:
        one = rule("one", "ä")
        created = orjson.loads(await cluster.send("POST", SHOP, orjson.dumps(one)))
        assert orjson.loads(await cluster.get(f"{SHOP}/one")) == created
        assert created["spec"] == {"host": "ä"}
        listed = orjson.loads(await cluster.get(RULES, {"fieldSelector": "metadata.name=two"}))
        assert listed["items"] == []
        applied = await cluster.send(
            "PATCH",
            f"{SHOP}/one",
            orjson.dumps(rule("one", "b")),
            content_type="application/apply-patch+yaml",
            query={"fieldManager": "Aeraki", "force": "true"},
        )
        assert orjson.loads(applied)["spec"] == {"host": "b"}
        uid = {"preconditions": {"uid": created["metadata"]["uid"]}}
        await cluster.send("DELETE", f"{SHOP}/one", orjson.dumps(uid))
        assert api.objects("DestinationRule") == []


async def test_lines_of_a_watch_come_one_by_one_and_end_with_the_watch(tmp_path: Path) -> None:
    async with ApiServer.started() as api, cluster_of(api, tmp_path) as cluster:
        api.put(rule("one"))
        query = {"watch": "1", "resourceVersion": "0"}
        async with cluster.lines(RULES, query, idle=PATIENCE) as lines:
            first = orjson.loads(await anext(lines))
            assert first["object"]["metadata"]["name"] == "one"
            api.put(rule("two"))
            second = orjson.loads(await anext(lines))
            assert second["object"]["metadata"]["name"] == "two"
            api.end_watches()
            assert [line async for line in lines] == []


async def test_a_line_may_be_longer_than_any_buffer_and_lines_that_come_together_are_one_burst(
    tmp_path: Path,
) -> None:
    async with ApiServer.started() as api, cluster_of(api, tmp_path) as cluster:
        api.put(rule("large", "x" * (12 << 20)))
        for number in range(50):
            api.put(rule(f"small{number}"))
        query = {"watch": "1", "resourceVersion": "0"}
        async with cluster.bursts(RULES, query, idle=PATIENCE) as bursts:
            lines: list[bytes] = []
            count = 0
            async for burst in bursts:
                assert burst
                count += 1
                lines += burst
                if len(lines) == 51:
                    break
        hosts = [orjson.loads(line)["object"]["spec"]["host"] for line in lines]
        assert sorted(map(len, hosts)) == [1] * 50 + [12 << 20]
        assert count <= 51


async def test_a_watch_that_is_left_is_closed(tmp_path: Path) -> None:
    async with ApiServer.started() as api, cluster_of(api, tmp_path) as cluster:
        async with cluster.lines(RULES, {"watch": "1"}, idle=PATIENCE):
            await until(lambda: api.watches("DestinationRule") == 1)
        await until(lambda: api.watches("DestinationRule") == 0)


async def test_watches_never_wait_for_one_another(tmp_path: Path) -> None:
    async with (
        ApiServer.started() as api,
        cluster_of(api, tmp_path) as cluster,
        contextlib.AsyncExitStack() as stack,
    ):
        for _ in range(110):
            watch = cluster.lines(RULES, {"watch": "1"}, idle=PATIENCE)
            await stack.enter_async_context(watch)
        await cluster.get(RULES)


# --- errors -----------------------------------------------------------------------------------


async def test_a_refusal_is_what_the_status_says(tmp_path: Path) -> None:
    async with (
        ApiServer.started() as api,
        Faults.started(api.url) as faults,
        cluster_of(api, tmp_path, url=faults.url) as cluster,
    ):
        with pytest.raises(ApiError, match=r"^404 NotFound: destinationrules") as found:
            await cluster.get(f"{SHOP}/one")
        assert (found.value.status, found.value.reason) == (404, "NotFound")
        assert found.value.retry_after is None
        faults.next(Answer(status=429, retry_after=7))
        with pytest.raises(ApiError, match=r"^429 TooManyRequests") as found:
            await cluster.get(RULES)
        assert found.value.retry_after == 7
        faults.next(Answer(status=503))
        with pytest.raises(ApiError) as found:
            async with cluster.lines(RULES, {"watch": "1"}, idle=PATIENCE):
                pass
        assert found.value.status == 503


async def test_a_path_that_nobody_serves_is_refused_though_it_has_no_status(
    tmp_path: Path,
) -> None:
    async with ApiServer.started() as api, cluster_of(api, tmp_path) as cluster:
        with pytest.raises(ApiError, match="404 refused: 404 page not found"):
            await cluster.get("/apis/nowhere.io/v1")


@pytest.mark.parametrize(
    ("status", "seconds"),
    [
        ({"code": 429, "details": {"retryAfterSeconds": 3}}, 3),
        ({"code": 410, "details": None}, None),
        (
            {"code": "410", "reason": None, "message": 5, "details": {"retryAfterSeconds": "x"}},
            None,
        ),
        ({}, None),
    ],
)
def test_a_status_may_say_little(status: Mapping[str, object], seconds: float | None) -> None:
    assert refusal_of(status).retry_after == seconds


async def test_every_way_of_not_being_reached_is_one_error(tmp_path: Path) -> None:
    async with (
        ApiServer.started() as api,
        Faults.started(api.url) as faults,
        cluster_of(api, tmp_path, url=faults.url) as cluster,
    ):
        # A client may try a GET once more by itself when a connection that was kept is gone.
        faults.next(Cut(at="request"), times=2)
        with pytest.raises(Unreachable):
            await cluster.get(RULES)
        faults.next(Cut(at="body", bytes=10), times=2)
        with pytest.raises(Unreachable):
            await cluster.get(RULES)
        await faults.refuse()
        faults.cut_all()
        await until(lambda: faults.connections == 0)
        with pytest.raises(Unreachable, match="Cannot connect"):
            await cluster.get(RULES)


async def test_a_watch_that_breaks_off_says_so_after_what_came(tmp_path: Path) -> None:
    async with (
        ApiServer.started() as api,
        Faults.started(api.url) as faults,
        cluster_of(api, tmp_path, url=faults.url) as cluster,
    ):
        api.put(rule("one"))
        for fault in (Cut(at="body", bytes=100), Cut(at="body", bytes=10**6)):
            faults.next(fault)
            query = {"watch": "1", "resourceVersion": "0"}
            async with cluster.lines(RULES, query, idle=PATIENCE) as lines:
                if fault.bytes > 1000:
                    await anext(lines)
                    faults.cut_all()
                with pytest.raises(Unreachable):
                    await anext(lines)


async def test_an_answer_that_ends_well_in_the_middle_of_a_line_is_no_whole_one(
    tmp_path: Path,
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{}\n{"a":')
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with (
        ApiServer.started() as api,
        cluster_of(api, tmp_path, url=f"http://{host}:{port}") as cluster,
        cluster.lines(RULES, idle=PATIENCE) as lines,
    ):
        assert await anext(lines) == b"{}"
        with pytest.raises(Unreachable, match="in the middle of a line"):
            await anext(lines)
    server.close()


async def test_silence_has_a_limit_in_a_watch_and_before_it(tmp_path: Path) -> None:
    async with (
        ApiServer.started() as api,
        Faults.started(api.url) as faults,
        cluster_of(api, tmp_path, url=faults.url) as cluster,
    ):
        async with cluster.lines(RULES, {"watch": "1"}, idle=0.2) as lines:
            with pytest.raises(Unreachable, match="no answer in time"):
                await anext(lines)
        faults.next(Hang())
        with pytest.raises(Unreachable, match="no answer in time"):
            async with cluster.lines(RULES, {"watch": "1"}, idle=0.2):
                pass


# --- credentials --------------------------------------------------------------------------------


async def test_credentials_that_expired_are_read_again_before_anybody_notices(
    tmp_path: Path,
) -> None:
    async with (
        ApiServer.started(tokens={"old"}) as api,
        cluster_of(api, tmp_path, token="old") as cluster,
        cluster.lines(RULES, {"watch": "1", "resourceVersion": "0"}, idle=PATIENCE) as lines,
    ):
        api.tokens = {"new"}
        with pytest.raises(ApiError, match="401 Unauthorized") as found:
            await cluster.get(RULES)
        assert "old" not in str(found.value)
        api.kubeconfig(tmp_path / "kubeconfig", token="new")
        await asyncio.gather(*(cluster.get(RULES) for _ in range(5)))
        async with cluster.lines(RULES, {"watch": "1"}, idle=PATIENCE):
            pass
        api.put(rule("one"))
        assert await anext(lines)  # what was under way goes on
    statuses = [call.status for call in api.calls]
    assert statuses.count(401) <= 1 + 5


async def test_a_kubeconfig_that_is_broken_for_a_moment_is_an_error_of_that_moment(
    tmp_path: Path,
) -> None:
    async with (
        ApiServer.started(tokens={"old"}) as api,
        cluster_of(api, tmp_path, token="old") as cluster,
    ):
        api.tokens = {"new"}
        (tmp_path / "kubeconfig").write_text("clusters: [")
        with pytest.raises(Unreachable, match="kubeconfig"):
            await cluster.get(RULES)
        api.kubeconfig(tmp_path / "kubeconfig", token="new")
        await cluster.get(RULES)


async def test_a_token_may_be_in_a_file_that_ends_with_a_line_end(tmp_path: Path) -> None:
    async with ApiServer.started(tokens={"secret"}) as api:
        (tmp_path / "token").write_text("secret\n")
        path = tmp_path / "kubeconfig"
        api.kubeconfig(path)
        config = yaml.safe_load(path.read_text())
        config["users"][0]["user"] = {"tokenFile": str(tmp_path / "token")}
        path.write_text(yaml.safe_dump(config))
        async with Cluster.of_kubeconfig(path) as cluster:
            await cluster.get(RULES)


async def test_a_kubeconfig_may_be_a_text_and_have_several_contexts(tmp_path: Path) -> None:
    async with ApiServer.started(tokens={"t"}) as api:
        path = tmp_path / "kubeconfig"
        api.kubeconfig(path, token="t")
        async with Cluster.of_kubeconfig_text(path.read_bytes()) as cluster:
            await cluster.get(RULES)
        config = yaml.safe_load(path.read_text())
        config["contexts"].append({**config["contexts"][0], "name": "other"})
        config["current-context"] = "nowhere"
        path.write_text(yaml.safe_dump(config))
        async with Cluster.of_kubeconfig(path, "other") as cluster:
            await cluster.get(RULES)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "clusters: [", "a: b", "current-context: x\ncontexts: []\nclusters: []\n"],
)
async def test_what_is_no_kubeconfig_is_said_with_its_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=str(path)):
        await Cluster.of_kubeconfig(path).__aenter__()
    with pytest.raises(ConfigurationError, match="kubeconfig: "):
        await Cluster.of_kubeconfig_text(text.encode()).__aenter__()


async def test_outside_of_a_cluster_there_is_no_service_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ConfigurationError, match="service account: Service host/port is not set"):
        await Cluster.in_cluster().__aenter__()
    with pytest.raises(ConfigurationError, match="nothing-here"):
        await Cluster.of_kubeconfig(tmp_path / "nothing-here").__aenter__()


def write_certificate(certificate: Path, key: Path) -> None:
    """One for `localhost` that vouches for itself, strictly in the form of RFC 5280."""
    private = ec.generate_private_key(ec.SECP256R1())
    public = private.public_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now, day = datetime.now(UTC), timedelta(days=1)
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False
    )
    signed = (
        x509.CertificateBuilder(
            name, name, public, x509.random_serial_number(), now - day, now + day
        )
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                key_cert_sign=True,
                crl_sign=True,
                encipher_only=False,
                decipher_only=False,
                **usage,
            ),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        .sign(private, hashes.SHA256())
    )
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


@contextlib.asynccontextmanager
async def in_a_pod(
    api: ApiServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Path]:
    """TLS in front of a server, and what a pod has to find it; gives the file of the token."""
    certificate, token = folder / "ca.crt", folder / "token"
    write_certificate(certificate, folder / "key.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, folder / "key.pem")
    target = urlsplit(api.url)

    async def copy(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                to.write(data)
        to.close()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, on = await asyncio.open_connection(target.hostname, target.port)
        await asyncio.gather(copy(reader, on), copy(back, writer))

    server = await asyncio.start_server(pass_on, "localhost", 0, ssl=context)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "localhost")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.sockets[0].getsockname()[1]))
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(certificate))
    try:
        yield token
    finally:
        server.close()


async def test_in_a_pod_a_token_that_was_rotated_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        ApiServer.started(tokens={"old"}) as api,
        in_a_pod(api, tmp_path, monkeypatch) as token,
    ):
        token.write_text("old\n")
        async with Cluster.in_cluster() as cluster:
            await cluster.get(RULES)
            api.tokens = {"new"}
            token.write_text("new\n")
            await cluster.get(RULES)
            assert [call.status for call in api.calls] == [200, 401, 200]


async def test_certificates_that_cannot_be_read_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ApiServer.started() as api, in_a_pod(api, tmp_path, monkeypatch) as token:
        token.write_text("t")
        (tmp_path / "ca.crt").write_text("no certificate")
        with pytest.raises(ConfigurationError, match="certificates of the API server: "):
            await Cluster.in_cluster().__aenter__()


def test_the_command_line_does_not_load_the_client_of_kubernetes() -> None:
    code = "import sys, aeraki_xds.cli; print('kubernetes_asyncio' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"


async def test_an_answer_that_is_slow_is_waited_for(tmp_path: Path) -> None:
    async with (
        ApiServer.started() as api,
        Faults.started(api.url) as faults,
        cluster_of(api, tmp_path, url=faults.url) as cluster,
    ):
        faults.next(Delay(seconds=0.3))
        assert orjson.loads(await cluster.get(RULES))["items"] == []
