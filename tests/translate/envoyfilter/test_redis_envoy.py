"""A real Envoy asks for the passwords, and gives them, that a Secret mounted into it holds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from aeraki_xds.demo.envoy import Envoy
from aeraki_xds.translate.envoyfilter.redis_auth import SECRETS
from tests.translate.envoyfilter.kit import MENDED, Written, istio, service

pytestmark = pytest.mark.e2e

LIMIT_S: Final = 60
HOST: Final = "orders.shop.svc.cluster.local"
OBJECTS: Final = f"""
apiVersion: v1
kind: Secret
metadata: {{name: clients, namespace: shop}}
stringData: {{username: ali, password: open-sesame}}
---
apiVersion: v1
kind: Secret
metadata: {{name: servers, namespace: shop}}
stringData: {{token: jar}}
---
apiVersion: redis.aeraki.io/v1alpha1
kind: RedisService
metadata: {{name: orders, namespace: shop}}
spec:
  host: [{HOST}]
  settings: {{auth: {{secret: {{name: clients}}}}}}
---
apiVersion: redis.aeraki.io/v1alpha1
kind: RedisDestination
metadata: {{name: orders, namespace: shop}}
spec:
  host: {HOST}
  trafficPolicy: {{connectionPool: {{redis: {{auth: {{secret: {{name: servers}}}}}}}}}}
"""

Ask = Callable[..., Awaitable[str]]


async def test_passwords_in_files_are_asked_for_and_given(tmp_path: Path) -> None:
    heard: list[bytes] = []
    async with _proxied(tmp_path, heard, clients="open-sesame", servers="jar") as ask:
        assert (await ask("GET", "k")).startswith("-NOAUTH")
        assert (await ask("AUTH", "ali", "wrong")).startswith("-")
        assert not heard
        assert await ask("AUTH", "ali", "open-sesame") == "+OK"
        assert await ask("GET", "k") == "+OK"
    assert b"".join(heard).startswith(b"*2\r\n$4\r\nauth\r\n$3\r\njar\r\n")


async def test_white_space_in_a_file_is_a_part_of_the_password(tmp_path: Path) -> None:
    """Why a Secret with a newline at its end is held where files are used."""
    async with _proxied(tmp_path, [], clients="open-sesame\n", servers="jar") as ask:
        assert (await ask("AUTH", "ali", "open-sesame")).startswith("-")
        assert await ask("AUTH", "ali", "open-sesame\n") == "+OK"


@asynccontextmanager
async def _proxied(
    folder: Path, heard: list[bytes], *, clients: str, servers: str
) -> AsyncIterator[Ask]:
    """A client of an Envoy that has our filter and our cluster; `heard` is what a server hears."""
    keys = {"clients/username": "ali", "clients/password": clients, "servers/token": servers}
    for key, value in keys.items():
        file = folder / "shop" / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(value, encoding="utf-8")
    written = istio(service(port="tcp-redis"), OBJECTS, delivery=MENDED)
    async with _server(heard) as port:
        bootstrap = json.dumps(_bootstrap(written, port)).replace(SECRETS, str(folder))
        async with Envoy.run(json.loads(bootstrap), log=folder / "envoy.log") as envoy:
            await envoy.wait_live(LIMIT_S)
            address = (await envoy.listeners())["redis"]
            reader, writer = await asyncio.open_connection(*address)

            async def ask(*words: str) -> str:
                command = "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
                writer.write(f"*{len(words)}\r\n{command}".encode())
                async with asyncio.timeout(LIMIT_S):
                    return (await reader.readuntil(b"\r\n")).decode().removesuffix("\r\n")

            yield ask
            writer.close()
            await writer.wait_closed()


def _bootstrap(written: Written, port: int) -> dict[str, Any]:
    """The filter and the cluster, as they are but for what only Istio's Envoy knows, with an
    endpoint at the port."""
    (name,) = [each for each in written.names if "outbound" in each]
    value = written.patch(name)["patch"]["value"]
    cluster = dict(written.patch(name, 2)["patch"]["value"])
    del cluster["filters"], cluster["edsClusterConfig"]
    endpoint = {"endpoint": {"address": _address(port)}}
    assignment = {"cluster_name": cluster["name"], "endpoints": [{"lb_endpoints": [endpoint]}]}
    cluster |= {"type": "STATIC", "loadAssignment": assignment}
    listener = {
        "name": "redis",
        "address": _address(0),
        "filter_chains": [{"filters": [value]}],
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


@asynccontextmanager
async def _server(heard: list[bytes]) -> AsyncIterator[int]:
    """Writes down what it hears and says yes to every command."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            heard.append(data)
            writer.write(b"+OK\r\n" * data.count(b"*"))
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
