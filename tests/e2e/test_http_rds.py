"""MetaRDS by the transport that MetaProtocol Proxy uses, taken by the one client that can be had:
a stock Envoy's HTTP connection manager with `rds` over a config source of its own.

MetaRDS is an HTTP RouteConfiguration, so Envoy routes HTTP by it: an attribute is a header.
"""

from __future__ import annotations

import asyncio
import http.client
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from aeraki_xds.demo.control_plane import ControlPlane
from aeraki_xds.demo.envoy import Envoy
from aeraki_xds.demo.http import Address
from aeraki_xds.demo.mesh import HOST, HelloMesh, rule, to
from tests.e2e.conftest import LIMIT_S
from tests.recording.relayed import recorded

pytestmark = pytest.mark.e2e

CHANGES = 6
HTTP = "type.googleapis.com/envoy.extensions.filters"
OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


async def test_metards_is_swapped_live_under_an_http_connection_manager(
    tmp_path: Path, *, delta: bool
) -> None:
    """Over GRPC and DELTA_GRPC alike, on one kept client connection."""
    mesh = HelloMesh(tmp_path / "mesh", vip="127.20.1.3", endpoints={"v1": 1, "v2": 2})
    async with (
        _answering("v1") as v1,
        _answering("v2") as v2,
        ControlPlane.run(mesh.root) as plane,
        recorded(plane.xds) as relay,
        Envoy.run(
            _bootstrap(relay.address, mesh.port, {"v1": v1, "v2": v2}, delta=delta),
            log=tmp_path / "envoy.log",
        ) as envoy,
    ):
        await envoy.wait_live(LIMIT_S)
        address = (await envoy.listeners())["http"]
        connection = http.client.HTTPConnection(*address, timeout=LIMIT_S)
        assert await _ask(connection) == "v1"
        socket = connection.sock
        for number in range(CHANGES):
            version = "v2" if number % 2 == 0 else "v1"
            mesh.route(rule(to(version)))
            await _until_answered_by(connection, version)
        mesh.route(rule(to("v2"), method="sayBye"), rule(to("v1")))
        await _until_answered_by(connection, "v2", method="sayBye")
        assert await _ask(connection, method="sayHello") == "v1"
        assert connection.sock is socket
        connection.close()
        prefix = f"http.in.rds.{HOST}_{mesh.port}"
        stats = await envoy.stats(r"rds\.|listener_modified|listener.in.downstream_cx_total")
        assert stats[f"{prefix}.config_reload"] == CHANGES + 2
        assert stats[f"{prefix}.update_rejected"] == 0
        assert stats["listener_manager.listener_modified"] == 0
        assert stats["listener.in.downstream_cx_total"] == 1
        page = await plane.get("/debug/syncz")
        (stream,) = page["streams"]
        assert stream["scopes"] == ["global"]
        assert stream["dialect"] == ("delta" if delta else "sotw")
        await relay.settled()


async def _until_answered_by(
    connection: http.client.HTTPConnection, version: str, *, method: str = ""
) -> None:
    deadline = time.monotonic() + LIMIT_S
    while await _ask(connection, method=method) != version:
        assert time.monotonic() < deadline, f"{version} never answered"


async def _ask(connection: http.client.HTTPConnection, *, method: str = "") -> str:
    def ask() -> str:
        connection.request("GET", "/", headers={"method": method} if method else {})
        response = connection.getresponse()
        body = response.read().decode()
        return body if response.status == http.HTTPStatus.OK else f"status {response.status}"

    return await asyncio.to_thread(ask)


@asynccontextmanager
async def _answering(version: str) -> AsyncIterator[int]:
    """An HTTP server that answers every request with its version; yields its port."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(version)}\r\n\r\n"
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(f"{head}{version}".encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def _bootstrap(
    xds: Address, port: int, upstreams: dict[str, int], *, delta: bool
) -> dict[str, object]:
    """A listener whose routes come from a config source of its own, and the clusters by Istio's
    names. The source's cluster must be static; `node` has to name somebody."""
    source = {
        "api_config_source": {
            "api_type": "DELTA_GRPC" if delta else "GRPC",
            "transport_api_version": "V3",
            "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
        },
        "resource_api_version": "V3",
    }
    manager = {
        "@type": f"{HTTP}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "rds": {"route_config_name": f"{HOST}_{port}", "config_source": source},
        "http_filters": [
            {
                "name": "router",
                "typed_config": {"@type": f"{HTTP}.http.router.v3.Router"},
            }
        ],
    }
    listener = {
        "name": "http",
        "stat_prefix": "in",
        "address": _address(0),
        "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
    }
    http2 = {
        OPTIONS: {
            "@type": f"type.googleapis.com/{OPTIONS}",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }
    clusters = [
        _cluster(f"outbound|{port}|{version}|{HOST}", at) for version, at in upstreams.items()
    ]
    clusters.append({**_cluster("xds", xds.port), "typed_extension_protocol_options": http2})
    return {
        "node": {"id": "http-1", "cluster": "http"},
        "static_resources": {"listeners": [listener], "clusters": clusters},
    }


def _cluster(name: str, port: int) -> dict[str, object]:
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": _address(port)}}]}]
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": endpoints},
    }


def _address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
