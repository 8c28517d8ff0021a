"""What no client should send, on the wire: each ends with its status, and no one else notices.

Beside the attacker there are neighbours, on other connections and, where only a stream is to end,
on another stream of the same one; all are served to the end.
"""

from __future__ import annotations

import asyncio
import ssl
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import Final

import pytest
from grpclib.const import Status

from aeraki_xds._proto.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType
from aeraki_xds.bench import frames
from aeraki_xds.demo.envoy import Envoy
from aeraki_xds.demo.http import Address
from aeraki_xds.xds import HTTP_ROUTES, Hub, Name, Node, Resource, Scope
from aeraki_xds.xds.field import length_delimited, text
from aeraki_xds.xds.resource import CLUSTER, TypeUrl
from aeraki_xds.xds.wire import XdsServer
from aeraki_xds.xds.wire.inbox import LARGEST_MESSAGE
from tests.e2e.conftest import proxy_bootstrap
from tests.xds.dialogue import GLOBAL, resource
from tests.xds.hostile import among_friends, contexts
from tests.xds.test_wire_limits import PATH, Peer
from tests.xds.test_wire_server import DELTA_ADS, Wire

BOTH_PORTS: Final = pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
NODE: Final = text(1, "peer")
TYPE: Final = text(4, HTTP_ROUTES)


def headers(**changes: str) -> bytes:
    """A header block of a gRPC call, but for what is changed; what is empty is left out."""
    said = {
        ":method": "POST",
        ":scheme": "http",
        ":path": PATH,
        ":authority": "server",
        "content-type": "application/grpc",
        "te": "trailers",
    } | {name.replace("_", "-"): value for name, value in changes.items()}
    return b"".join(b"\0" + literal(name) + literal(value) for name, value in said.items() if value)


def literal(value: str) -> bytes:
    assert len(value) < 127
    return bytes((len(value),)) + value.encode()


def payload(data: bytes, flags: int = 0) -> bytes:
    return frames.frame(frames.DATA, flags, 3, data)


def opening(stream_id: int, block: bytes) -> bytes:
    return frames.frame(frames.HEADERS, 0x4, stream_id, block)


# --- one stream ends ----------------------------------------------------------------------------


@BOTH_PORTS
@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (headers(**{":method": "GET"}), {":status": "405"}),
        (headers(**{":method": "OPTIONS"}), {":status": "405"}),
        (headers(**{":path": "/"}), {"grpc-status": str(Status.UNIMPLEMENTED.value)}),
        (headers(content_type="application/json"), {":status": "415"}),
        (headers(content_type="application/grpc+json"), {":status": "415"}),
        (headers(content_type=""), {":status": "415"}),
        (headers(te=""), {":status": "400"}),
        (headers(grpc_timeout="soon"), {"grpc-status": str(Status.UNKNOWN.value)}),
    ],
    ids=[
        "GET", "OPTIONS", "another path", "JSON", "gRPC of JSON", "no content type", "no trailers",
        "no timeout",
    ],
)  # fmt: skip
async def test_a_call_that_is_none_ends_with_its_status(
    block: bytes, expected: dict[str, str], *, tls: bool
) -> None:
    async with among_friends(tls=tls) as site:
        peer = await site.served()
        async with site.neighbours(peer):
            await peer.says(opening(3, block))
            assert expected.items() <= (await peer.is_ended(3)).items()


@BOTH_PORTS
@pytest.mark.parametrize(
    ("data", "status"),
    [
        (frames.message(3, b"\xff"), Status.INVALID_ARGUMENT),
        (frames.message(3, TYPE), Status.INVALID_ARGUMENT),
        (frames.message(3, length_delimited(2, b"") + TYPE), Status.INVALID_ARGUMENT),
        (frames.message(3, length_delimited(2, b"\xff") + TYPE), Status.INVALID_ARGUMENT),
        (frames.message(3, length_delimited(2, NODE) + text(4, "t")), Status.INVALID_ARGUMENT),
        (payload(b"\1\0\0\0\3zip"), Status.UNIMPLEMENTED),
        (payload((LARGEST_MESSAGE + 1).to_bytes(5, "big")), Status.RESOURCE_EXHAUSTED),
        (payload(b"\0\xff\xff\xff\xff"), Status.RESOURCE_EXHAUSTED),
        (payload(b"\0\0\0\0\5cut", frames.END_STREAM), Status.INVALID_ARGUMENT),
    ],
    ids=[
        "malformed", "no node", "an empty node", "a malformed node", "an unknown type",
        "compressed", "too large", "4 GiB", "cut off",
    ],
)  # fmt: skip
async def test_a_request_that_cannot_be_served_ends_its_stream_with_its_status(
    data: bytes, status: Status, *, tls: bool
) -> None:
    async with among_friends(tls=tls) as site:
        peer = await site.served()
        async with site.neighbours(peer):
            await peer.says(frames.call(3, PATH, "server"), data)
            assert (await peer.is_ended(3))["grpc-status"] == str(status.value)


async def test_unknown_frames_are_ignored_wherever_they_come() -> None:
    async with among_friends() as site:
        peer = await site.served()
        async with site.neighbours(peer):
            for kind in (0x0B, 0x77, 0xFF):
                await peer.says(*(frames.frame(kind, 0xFF, n, b"who knows") for n in (0, 1, 9)))
            await peer.says(frames.frame(frames.PING, 0, 0, b"are you?"))
            while await peer.hears(frames.PING) != b"are you?":
                pass


# --- one connection ends ------------------------------------------------------------------------

UPGRADE: Final = (
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\n"
    b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
)


@BOTH_PORTS
@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        UPGRADE,
        b"\r\n" * 1000,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x55" * 500,
        frames.greeting()[:24] + b"\xff" * 100,
        frames.greeting() + frames.frame(frames.HEADERS, 0x4, 1, b"\xff\xff\xff\xff"),
        frames.greeting() + frames.frame(frames.DATA, 0, 0, b"of no stream"),
        frames.greeting() + frames.frame(frames.WINDOW_UPDATE, 0, 0, bytes(4)),
        frames.greeting() + frames.frame(frames.SETTINGS, 0, 0, b"\0\4\xff\xff\xff\xff"),
        frames.greeting() + frames.frame(5, 0x4, 1, b"\0\0\0\2\x82"),
    ],
    ids=[
        "HTTP/1.1", "HTTP/1.0", "an upgrade", "nothing", "TLS", "no frames", "no headers",
        "data of no stream", "a window of 0", "a window of 4 GiB", "a push",
    ],
)  # fmt: skip
async def test_what_is_not_http2_ends_its_own_connection(data: bytes, *, tls: bool) -> None:
    async with among_friends(tls=tls) as site, site.neighbours():
        peer = await site.peer()
        await peer.says(data)
        await peer.is_cut_off()


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n\r\n", UPGRADE, frames.greeting(), b"\0" * 99]
)
async def test_what_is_not_encrypted_gets_no_answer_where_tls_is_spoken(data: bytes) -> None:
    async with among_friends(tls=True) as site, site.neighbours():
        reader, writer = await asyncio.open_connection(site.host, site.port)
        peer = Peer(reader, writer)
        site.peers.append(peer)
        await peer.says(data)
        async with asyncio.timeout(10):
            heard = await reader.read()
        assert len(heard) <= 7, "a TLS alert, or nothing"


async def test_a_tls_client_is_turned_away_where_none_is_spoken() -> None:
    async with among_friends() as site, site.neighbours():
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection(site.host, site.port, ssl=contexts()[1])


# --- floods -------------------------------------------------------------------------------------


def continuations(size: int) -> Iterator[bytes]:
    """A header block that does not end."""
    yield frames.frame(frames.HEADERS, 0, 3, headers())
    yield from repeat(frames.frame(9, 0, 3, b"\0\1a\x64" + b"x" * size))


def resets() -> Iterator[bytes]:
    """A call, taken back, over and over."""
    for stream_id in range(3, 1 << 20, 2):
        reset = frames.frame(frames.RST_STREAM, 0, stream_id, bytes(4))
        yield frames.call(stream_id, PATH, "server") + reset


FLOODS: Final[dict[str, Callable[[], Iterator[bytes]]]] = {
    "continuations": lambda: continuations(100),
    "large continuations": lambda: continuations(16_000),
    "empty continuations": lambda: chain(
        (frames.frame(frames.HEADERS, 0, 3, b""),), repeat(frames.frame(9, 0, 3, b""))
    ),
    "rapid reset": resets,
    "settings": lambda: repeat(frames.frame(frames.SETTINGS, 0, 0, b"")),
    "settings of many entries": lambda: repeat(
        frames.frame(frames.SETTINGS, 0, 0, b"\0\4\0\1\0\0" * 2_000)
    ),
    "pings": lambda: repeat(frames.frame(frames.PING, 0, 0, bytes(8))),
}


@BOTH_PORTS
@pytest.mark.parametrize("kind", FLOODS)
async def test_a_flood_ends_its_own_connection_only(kind: str, *, tls: bool) -> None:
    async with among_friends(tls=tls) as site, site.neighbours():
        peer = await site.served()
        flood = FLOODS[kind]()
        for _ in range(100):
            await peer.says(b"".join(next(flood) for _ in range(100)))
            if peer.writer.is_closing():
                break
        await peer.is_cut_off()


# --- large, and allowed -------------------------------------------------------------------------


def in_frames(stream_id: int, body: bytes) -> Iterator[bytes]:
    """One gRPC message in as many frames as it takes."""
    whole = len(body).to_bytes(5, "big") + body
    for at in range(0, len(whole), 16_384):
        yield frames.frame(frames.DATA, 0, stream_id, whole[at : at + 16_384])


@BOTH_PORTS
async def test_nodes_of_61_kb_are_served_and_not_kept(*, tls: bool) -> None:
    streams = 100
    extension = text(1, "envoy.filters.network.of.some.kind") + text(2, "envoy.filters.network")
    node = NODE + length_delimited(9, extension) * 1040
    assert len(node) > 61_000
    async with among_friends(tls=tls) as site, site.neighbours():
        peer = await site.peer()
        await peer.greets()
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        for stream_id in range(1, 2 * streams, 2):
            body = length_delimited(2, node) + text(3, "r") + text(4, HTTP_ROUTES)
            await peer.says(frames.call(stream_id, PATH, "server"), *in_frames(stream_id, body))
            await peer.hears(frames.DATA, stream_id)
        kept = (tracemalloc.get_traced_memory()[0] - before) / streams
        tracemalloc.stop()
        assert kept < len(node) / 2
        opened = [stream for stream in site.hub.streams if stream.node.id == "peer"]
        assert {stream.node.extensions for stream in opened} == {b""}
        assert len({stream.node.extensions_digest for stream in opened}) == 2  # the neighbours' too
        peer.writer.close()


@pytest.mark.e2e
@pytest.mark.parametrize("delta", [False, True], ids=["sotw", "delta"])
async def test_a_real_envoy_sends_such_a_node(tmp_path: Path, *, delta: bool) -> None:
    nodes: list[Node] = []

    def admit(node: Node, peer: object, *, only: TypeUrl | None) -> tuple[Scope, ...]:
        nodes.append(node)
        return (GLOBAL,)

    hub = Hub(clock=lambda: 0.0)
    cluster = Cluster(name="c", type=ClusterDiscoveryType.STATIC)
    served = Resource.of(CLUSTER, Name("c"), bytes(cluster))
    hub.publish(GLOBAL, {served.id: served})
    server = XdsServer(hub=hub, admit=admit)
    host, port = await server.start("127.0.0.1", 0)
    bootstrap = proxy_bootstrap(Address(host, port), delta=delta)
    try:
        async with Envoy.run(bootstrap, log=tmp_path / "envoy.log"), asyncio.timeout(30):
            while not [each for each in hub.streams if each.status_of(CLUSTER).acked_nonce]:
                await asyncio.sleep(0.01)
            assert len(nodes[0].extensions) > 50_000
            assert {stream.node.extensions for stream in hub.streams} == {b""}
    finally:
        await server.close()


async def test_a_first_delta_request_of_16_mb_is_answered_with_what_differs() -> None:
    ours = [resource(CLUSTER, f"of-ours-{number}") for number in range(1_000)]
    had = {str(each.name): each.version for each in ours[5:]}
    had |= {str(each.name): "older" for each in ours[5:15]}
    others = [
        f"outbound|80|{number:06}|of.a.mesh.that.has.gone.svc.local" for number in range(220_000)
    ]
    body = (
        length_delimited(1, NODE)
        + text(2, CLUSTER)
        + b"".join(
            length_delimited(5, text(1, name) + text(2, version))
            for name, version in (had | dict.fromkeys(others, "0123456789abcdef")).items()
        )
    )
    assert len(body) > 16_000_000
    hub = Hub(clock=lambda: 0.0)
    server = XdsServer(hub=hub, admit=lambda node, peer, *, only: (GLOBAL,))
    wire = Wire(hub, *await server.start("127.0.0.1", 0))
    wire.publish(*ours)
    async with wire.talk(DELTA_ADS) as neighbour, wire.talk(DELTA_ADS) as envoy:
        await neighbour.ask(CLUSTER, "of-ours-1", node="neighbour")
        await neighbour.hear()
        sent: list[str] = []
        gone: list[str] = []
        async with asyncio.timeout(60):
            await envoy.grpc.send_message(body)
            while len(gone) < len(others):
                response = await envoy.hear()
                sent += (each.name for each in response.resources)
                gone += response.removed_resources
        assert sorted(sent) == sorted(each.name for each in ours[:15])
        assert sorted(gone) == others
        wire.publish(resource(CLUSTER, "of-ours-1", "2"))
        for talk in (neighbour, envoy):
            assert [each.name for each in (await talk.hear()).resources] == ["of-ours-1"]
    await server.close()
