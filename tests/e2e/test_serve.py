"""`aeraki-xds serve` as it is started: what it answers beside discovery, and mutual TLS."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from envoy.service.status.v3 import csds_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from aeraki_xds.demo.envoy import Envoy
from aeraki_xds.demo.http import Address
from aeraki_xds.demo.process import python_module
from aeraki_xds.translate.bootstrap import BootstrapSettings, MutualTls, bootstrap
from tests.e2e.conftest import LIMIT_S
from tests.pki import Authority

pytestmark = pytest.mark.e2e

EXAMPLE = Path(__file__).parents[2] / "examples" / "thrift-canary"
OURS = "spiffe://cluster.local/ns/istio-system/sa/aeraki"
WEB = "spiffe://cluster.local/ns/shop/sa/web"
NODE = "sidecar~127.0.0.1~web-1.shop~shop.svc.cluster.local"
ADS = "envoy.service.discovery.v3.AggregatedDiscoveryService"


@asynccontextmanager
async def serving(*arguments: str) -> AsyncIterator[Address]:
    """A process on the example."""
    command = ["serve", "--config-dir", str(EXAMPLE), "--log-level", "error", *arguments]
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
