"""The proxy does to a client what it was told, and nothing else."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator

import aiohttp
import orjson
import pytest
from yarl import URL

from tests.apiserver.faults import Answer, Cut, Delay, Duplicate, Faults, Hang, Reorder, Truncate
from tests.apiserver.kit import PATIENCE, ROUTERS, SHOP, Client, client_of, router, service, until
from tests.apiserver.server import ApiServer


@pytest.fixture
async def faults(api: ApiServer) -> AsyncIterator[Faults]:
    async with Faults.started(api.url) as started:
        yield started


@pytest.fixture
async def client(faults: Faults) -> AsyncIterator[Client]:
    """One behind the proxy."""
    async with client_of(faults.url) as made:
        yield made


async def raw(faults: Faults, path: str) -> tuple[bytes, bytes]:
    """The head and the body of an answer, to the end of the connection, as they came."""
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", URL(faults.url).port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        head, body = await reader.readuntil(b"\r\n\r\n"), await reader.read()
        writer.close()
    return head, body


async def test_without_faults_everything_passes_unchanged(
    api: ApiServer, faults: Faults, client: Client
) -> None:
    async with client_of(api.url) as direct:
        code, made = await client.ask("POST", ROUTERS, router())
        assert (code, made) == (201, api.get("MetaRouter", "shop", "cart"))
        for path in (f"{ROUTERS}/cart", f"{ROUTERS}/none", ROUTERS, "/apis", "/nothing"):
            assert await client.get(path) == await direct.get(path)
        assert await client.names(SHOP, labelSelector="a in (b,c)", limit=1) == []
        async with client.watch(SHOP, allowWatchBookmarks=True) as events:
            api.put(service("big", annotations={"a": "x" * 300_000}))
            assert await events.names(1) == ["ADDED big"]
            api.end_watches()
            assert await events.next() is None
    assert api.calls[0].manager == ""
    assert faults.connections == 1, "connections are kept"


async def test_a_fault_strikes_what_it_matches_as_often_as_told(
    faults: Faults, client: Client
) -> None:
    faults.next(Answer(status=503), times=2, verb="list", resource="services")
    faults.next(Answer(status=500), when=lambda call: call.name == "cart")
    assert await client.names(ROUTERS) == []
    assert (await client.get(f"{SHOP}/other"))[0] == 404
    assert [(await client.get(SHOP))[0] for _ in range(3)] == [503, 503, 200]
    assert faults.pending == 1
    assert [(await client.get(f"{SHOP}/cart"))[0] for _ in range(2)] == [500, 404]
    assert faults.pending == 0


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (429, "TooManyRequests"),
        (500, "InternalError"),
        (503, "ServiceUnavailable"),
        (504, "Timeout"),
    ],
)
async def test_an_answer_of_the_proxy_is_a_status(
    status: int, reason: str, api: ApiServer, faults: Faults, client: Client
) -> None:
    faults.next(Answer(status=status, retry_after=7))
    async with client.session.get(SHOP) as response:
        assert (response.status, response.headers["Retry-After"]) == (status, "7")
        body = orjson.loads(await response.read())
    assert (body["kind"], body["code"], body["reason"]) == ("Status", status, reason)
    assert api.calls == []


async def test_a_request_can_be_lost_before_the_server_hears_of_it(
    api: ApiServer, faults: Faults, client: Client
) -> None:
    faults.next(Cut(at="request"))
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await client.ask("POST", ROUTERS, router())
    assert api.calls == []


async def test_an_answer_can_be_lost_after_the_server_did_it(
    api: ApiServer, faults: Faults, client: Client
) -> None:
    faults.next(Cut(at="headers"))
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await client.ask("POST", ROUTERS, router())
    assert [call.status for call in api.calls] == [201]
    assert api.get("MetaRouter", "shop", "cart")


@pytest.mark.parametrize("kept", [0, 1, 100])
async def test_a_body_can_break_off(kept: int, api: ApiServer, faults: Faults) -> None:
    api.put(service())
    faults.next(Cut(at="body", bytes=kept))
    head, body = await raw(faults, SHOP)
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert len(body) == kept
    assert b"\r\nContent-Length: %d\r\n" % len((await raw(faults, SHOP))[1]) in head


async def test_an_answer_can_be_late(faults: Faults, client: Client) -> None:
    faults.next(Delay(seconds=0.3))
    started = time.monotonic()
    assert await client.names(SHOP) == []
    assert time.monotonic() - started >= 0.3


async def test_a_request_can_hang_until_the_client_gives_up(
    api: ApiServer, faults: Faults, client: Client
) -> None:
    faults.next(Hang())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.get(SHOP), 0.3)
    assert api.calls == []
    await until(lambda: not faults.connections)


@pytest.mark.parametrize("passed", [2, 3])
async def test_a_watch_can_end_after_so_many_events(
    passed: int, api: ApiServer, faults: Faults, client: Client
) -> None:
    """Whether or not another follows."""
    for name in "abc":
        api.put(service(name))
    faults.next(Truncate(events=passed), verb="watch")
    async with client.watch(SHOP) as events:
        assert await events.names(passed) == ["ADDED a", "ADDED b", "ADDED c"][:passed]
        assert await events.next() is None
    await until(lambda: not api.watches("Service"))


async def test_a_watch_can_end_in_the_midst_of_a_line(api: ApiServer, faults: Faults) -> None:
    for name in "ab":
        api.put(service(name))
    faults.next(Truncate(events=1, torn=True))
    _, body = await raw(faults, f"{SHOP}?watch=1")
    whole, torn = body.split(b"}\n\r\n")
    assert b'"name":"a"' in whole
    assert b'{"type":"ADDED"' in torn
    assert torn.endswith(b"\r\n"), "the chunk is whole, the line is not"
    assert b"\n0\r\n" not in torn, "nor is the body"


async def test_an_event_can_come_twice(api: ApiServer, faults: Faults, client: Client) -> None:
    for name in "abc":
        api.put(service(name))
    faults.next(Duplicate(event=2))
    async with client.watch(SHOP) as events:
        assert await events.names(4) == ["ADDED a", "ADDED b", "ADDED b", "ADDED c"]


async def test_two_events_can_change_places(api: ApiServer, faults: Faults, client: Client) -> None:
    for name in "abc":
        api.put(service(name))
    faults.next(Reorder(event=1))
    async with client.watch(SHOP) as events:
        assert await events.names(3) == ["ADDED b", "ADDED a", "ADDED c"]


async def test_all_connections_can_be_cut_at_once(
    api: ApiServer, faults: Faults, client: Client
) -> None:
    async with client.watch(SHOP) as one, client.watch(ROUTERS) as other:
        await until(lambda: api.watches("Service") and api.watches("MetaRouter"))
        faults.cut_all()
        for events in (one, other):
            with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ClientOSError)):
                await events.next()
        await until(lambda: not api.watches("Service") and not api.watches("MetaRouter"))
    assert await client.names(SHOP) == [], "new ones are as good as ever"


async def test_connections_can_be_refused_and_accepted_again(
    faults: Faults, client: Client
) -> None:
    url = faults.url
    await faults.refuse()
    with pytest.raises(aiohttp.ClientConnectorError):
        await client.get(SHOP)
    await faults.accept()
    assert faults.url == url
    assert await client.names(SHOP) == []


async def test_a_client_that_leaves_is_not_waited_for(
    api: ApiServer, faults: Faults, client: Client
) -> None:
    async with client.watch(SHOP):
        await until(lambda: api.watches("Service"))
    await until(lambda: not api.watches("Service"))
    assert faults.connections == 0


async def test_nor_is_one_that_resets_its_connection(api: ApiServer, faults: Faults) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", URL(faults.url).port)
    writer.write(f"GET {SHOP}?watch=true HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    await until(lambda: api.watches("Service"))
    at_once = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
    writer.transport.abort()
    await until(lambda: not api.watches("Service"))
    assert faults.connections == 0
