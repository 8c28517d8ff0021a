"""`aeraki-xds serve` as it is started: what it answers beside discovery, and mutual TLS."""

from __future__ import annotations

import asyncio
import json
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
from envoy.config.route.v3 import route_pb2
from envoy.service.status.v3 import csds_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from grpclib.exceptions import GRPCError, StreamTerminatedError

from aeraki_xds.demo.envoy import Envoy
from aeraki_xds.demo.http import Address, fetch
from aeraki_xds.demo.process import exited, python_module
from aeraki_xds.translate.bootstrap import BootstrapSettings, MutualTls, bootstrap
from aeraki_xds.xds import HTTP_ROUTES
from tests.e2e.conftest import LIMIT_S
from tests.e2e.test_mtls import talking
from tests.pki import Authority
from tests.xds.test_wire_server import SOTW_ADS, STREAM_ROUTES

pytestmark = pytest.mark.e2e

EXAMPLE = Path(__file__).parents[2] / "examples" / "thrift-canary"
OURS = "spiffe://cluster.local/ns/istio-system/sa/aeraki"
WEB = "spiffe://cluster.local/ns/shop/sa/web"
NODE = "sidecar~127.0.0.1~web-1.shop~shop.svc.cluster.local"
ADS = "envoy.service.discovery.v3.AggregatedDiscoveryService"


@asynccontextmanager
async def serving(*arguments: str, folder: Path = EXAMPLE) -> AsyncIterator[Address]:
    """A process on the example, or another folder."""
    command = ["serve", "--config-dir", str(folder), "--log-level", "error", *arguments]
    command += ["--xds-address", "127.0.0.1:0", "--admin-address", "127.0.0.1:0"]
    async with python_module("aeraki_xds", *command, announces="serving ") as (_, line):
        told = dict(word.partition("=")[::2] for word in line.split()[1:])
        yield Address.parse(told["xds"])


def asked(address: Address) -> dict[str, Any]:
    """What official clients are told; they block."""
    with grpc.insecure_channel(f"{address.host}:{address.port}") as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        fetch = channel.unary_unary(
            "/envoy.service.status.v3.ClientStatusDiscoveryService/FetchClientStatus",
            request_serializer=csds_pb2.ClientStatusRequest.SerializeToString,
            response_deserializer=csds_pb2.ClientStatusResponse.FromString,
        )
        health = check(health_pb2.HealthCheckRequest(service=ADS), timeout=LIMIT_S)
        while health.status != health_pb2.HealthCheckResponse.SERVING:
            health = check(health_pb2.HealthCheckRequest(service=ADS), timeout=LIMIT_S)
        services = ProtoReflectionDescriptorDatabase(channel).get_services()
        clients = fetch(csds_pb2.ClientStatusRequest(), timeout=LIMIT_S).config
        return {"services": services, "clients": [each.node.id for each in clients]}


async def test_health_reflection_and_client_status_are_served(tmp_path: Path) -> None:
    async with serving() as xds:
        settings = BootstrapSettings(
            node_id=NODE, cluster="web", xds_host=xds.host, xds_port=xds.port, admin_port=0
        )
        async with Envoy.run(bootstrap(settings), log=tmp_path / "envoy.log") as envoy:
            await envoy.wait_live(LIMIT_S)
            told = await asyncio.to_thread(asked, xds)
    assert ADS in told["services"]
    assert "grpc.health.v1.Health" in told["services"]
    assert told["clients"] == [NODE]


async def test_an_envoy_is_served_over_mutual_tls(tmp_path: Path) -> None:
    mesh = Authority("root")
    ours, web = tmp_path / "ours", tmp_path / "web"
    for folder, identity in ((ours, OURS), (web, WEB)):
        folder.mkdir()
        mesh.workload(identity).write(folder)
    async with serving("--tls-dir", str(ours)) as xds:
        settings = BootstrapSettings(
            node_id=NODE,
            cluster="web",
            xds_host=xds.host,
            xds_port=xds.port,
            admin_port=0,
            tls=MutualTls(
                certificate=str(web / "cert-chain.pem"),
                key=str(web / "key.pem"),
                root=str(web / "root-cert.pem"),
                server_name=OURS,
            ),
        )
        async with Envoy.run(bootstrap(settings), log=tmp_path / "envoy.log") as envoy:
            await envoy.wait_live(LIMIT_S)
            stats = await envoy.stats("cluster_manager.cds.update_success|ssl.handshake")
            assert stats["cluster_manager.cds.update_success"] == 1
            assert stats["cluster.aeraki-xds.ssl.handshake"] == 1


PRIVATE: Final = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: s{n}, namespace: bank}}
spec:
  hosts: [s{n}.bank.svc.cluster.local]
  addresses: [127.30.{high}.{low}]
  ports: [{{number: 9090, name: tcp-metaprotocol-thrift}}]
  exportTo: ["{to}"]
  resolution: STATIC
"""


@pytest.mark.parametrize("method", [STREAM_ROUTES, SOTW_ADS])
async def test_who_asks_for_a_thousand_names_of_another_namespace_learns_none(
    tmp_path: Path, method: str
) -> None:
    count = 1_000
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "bank.yaml").write_text(
        "---\n".join(
            PRIVATE.format(n=n, high=n // 250, low=n % 250 + 1, to="." if n < count else "*")
            for n in range(count + 1)
        )
    )
    names = [f"s{n}.bank.svc.cluster.local_9090" for n in range(count + 1)]
    mesh = Authority("root")
    mesh.workload(OURS).write(tmp_path / "ours")

    async def learns(xds: Address, namespace: str) -> set[str]:
        identity = mesh.workload(f"spiffe://cluster.local/ns/{namespace}/sa/any")
        who = {"id": "any", "metadata": {"NAMESPACE": namespace}}
        async with talking(xds, tmp_path, identity, trusts=mesh, method=method) as client:
            await client.ask(HTTP_ROUTES, *names, node=who)
            response = await client.hear()
            routes = (route_pb2.RouteConfiguration.FromString(a.value) for a in response.resources)
            return {route.name for route in routes}

    async def once_synced(xds: Address, namespace: str) -> set[str]:
        async with asyncio.timeout(LIMIT_S):
            while True:
                with suppress(GRPCError, StreamTerminatedError):
                    return await learns(xds, namespace)

    async with serving("--tls-dir", str(tmp_path / "ours"), folder=folder) as xds:
        assert await once_synced(xds, "shop") == {names[count]}
        assert await learns(xds, "bank") == set(names)


async def test_an_envoy_is_served_over_a_unix_socket_that_is_its_owners_alone(
    tmp_path: Path,
) -> None:
    path = tmp_path / "xds.sock"
    command = ["serve", "--config-dir", str(EXAMPLE), "--log-level", "error"]
    command += ["--xds-address", f"unix:{path}", "--admin-address", "127.0.0.1:0"]
    async with python_module("aeraki_xds", *command, announces="serving ") as (process, line):
        assert f"xds=unix:{path}" in line
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        proxy = printed_bootstrap("--xds-address", f"unix:{path}")
        async with Envoy.run(proxy, log=tmp_path / "envoy.log") as envoy:
            await envoy.wait_live(LIMIT_S)
            stats = await envoy.stats("cluster_manager.cds.update_success")
            assert stats["cluster_manager.cds.update_success"] == 1
        process.send_signal(signal.SIGTERM)
        assert await exited(process, within_s=LIMIT_S)
        assert not path.exists()


async def test_what_bootstrap_prints_takes_new_certificates_without_a_restart(
    tmp_path: Path,
) -> None:
    mesh = Authority("root")
    ours, web = tmp_path / "ours", tmp_path / "web"
    mesh.workload(OURS).write(ours)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    mesh.workload(WEB, not_after=tomorrow).write(web)
    async with serving("--tls-dir", str(ours)) as xds:
        certificates = ["--mtls", "--certs-dir", str(web), "--secrets-dir", str(tmp_path / "sds")]
        proxy = printed_bootstrap("--xds-address", f"{xds.host}:{xds.port}", *certificates)
        async with Envoy.run(proxy, log=tmp_path / "envoy.log") as envoy:
            await envoy.wait_live(LIMIT_S)
            stats = await envoy.stats("cluster_manager.cds.update_success")
            assert stats["cluster_manager.cds.update_success"] == 1
            mesh.workload(WEB, not_after=tomorrow + timedelta(days=30)).write(web)
            async with asyncio.timeout(LIMIT_S):
                while await newest_end(envoy) < tomorrow + timedelta(days=29):
                    await asyncio.sleep(0.05)


async def newest_end(envoy: Envoy) -> datetime:
    """When the certificate ends that the proxy took last."""
    _, body = await asyncio.to_thread(fetch, envoy.admin, "/certs")
    chains = (chain for each in json.loads(body)["certificates"] for chain in each["cert_chain"])
    return max(datetime.fromisoformat(chain["expiration_time"]) for chain in chains)


def printed_bootstrap(*arguments: str) -> dict[str, Any]:
    """What the command prints for an Envoy with a free admin port."""
    command = [sys.executable, "-m", "aeraki_xds", "bootstrap", "--node", NODE, "-o", "json"]
    command += ["--proxy-admin", "127.0.0.1:0", *arguments]
    done = subprocess.run(command, capture_output=True, check=True, timeout=LIMIT_S)
    made: dict[str, Any] = json.loads(done.stdout)
    return made


def test_certificates_that_are_not_there_are_named(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "aeraki_xds", "serve", "--config-dir", str(EXAMPLE)]
    command += ["--tls-dir", str(tmp_path), "--xds-address", "127.0.0.1:0"]
    done = subprocess.run(
        [*command, "--admin-address", "127.0.0.1:0"],
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    assert done.returncode != 0
    assert str(tmp_path / "cert-chain.pem") in done.stderr
    assert "Traceback" not in done.stderr
    assert json.dumps(done.stdout) == '""'
