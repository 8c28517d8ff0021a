"""Slow, silent and hostile peers: each is cut off for itself, and its neighbours are served on.

The peers are written in raw HTTP/2 frames, for no client library would behave so badly.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Final

import pytest
from grpclib.const import Status
from h2.connection import H2Connection
from hpack import Decoder
from hypothesis import given, settings
from hypothesis import strategies as st

from aeraki_xds.bench import frames
from aeraki_xds.bench.ask import Ask
from aeraki_xds.bench.client import Clients, LostError
from aeraki_xds.xds import HTTP_ROUTES, Hub, Resource, Scope
from aeraki_xds.xds.field import length_delimited, text
from aeraki_xds.xds.wire import XdsServer, connection
from aeraki_xds.xds.wire.connection import Connection
from aeraki_xds.xds.wire.conversation import Conversation
from aeraki_xds.xds.wire.inbox import Inbox
from aeraki_xds.xds.wire.limits import Limits
from tests.xds.dialogue import routes

PATIENCE: Final = 10.0
EVERYONE: Final = Scope("everyone")
ADS_PATH: Final = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
PATH: Final = "/envoy.service.route.v3.RouteDiscoveryService/StreamRoutes"
ASK: Final = Ask(path=PATH, type_url=HTTP_ROUTES, names=("r",))
PATIENT: Final = Limits(keepalive_time=60, first_stream=60)


class Peer:
    """A client that does what it is told to, frame by frame."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.heard: list[tuple[int, int, int, bytes]] = []
        self.headers = Decoder()
        self.rest = b""

    async def says(self, *data: bytes) -> None:
        """Write; a peer that was cut off need not notice."""
        with suppress(ConnectionError):
            self.writer.write(b"".join(data))
            await self.writer.drain()

    async def greets(self, *, window: int = frames.WINDOW) -> None:
        await self.says(frames.greeting(window=window))

    async def asks(self, stream_id: int = 1, *, name: str = "r") -> None:
        node = length_delimited(2, text(1, "peer"))
        subscription = text(3, name) + text(4, HTTP_ROUTES)
        await self.says(
            frames.call(stream_id, PATH, "server"),
            frames.message(stream_id, node + subscription),
        )

    async def hears(self, kind: int, stream_id: int | None = None) -> bytes:
        """Read up to a frame of a kind, and give its payload."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for index, (of, _flags, on, payload) in enumerate(self.heard):
                    if of == kind and stream_id in (on, None):
                        del self.heard[index]
                        return payload
                await self.reads_more()

    async def is_ended(self, stream_id: int) -> dict[str, str]:
        """Read up to the trailers of a stream."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for index, (of, flags, on, payload) in enumerate(self.heard):
                    if of == frames.HEADERS and on == stream_id and flags & frames.END_STREAM:
                        del self.heard[index]
                        found: dict[str, str] = json.loads(payload)
                        return found
                await self.reads_more()

    async def reads_more(self) -> None:
        more = await self.reader.read(1 << 20)
        assert more, "the server closed the connection"
        data = self.rest + more
        taken = 0
        for kind, flags, stream_id, start, stop in frames.read(data):
            payload = data[start:stop]
            if kind == frames.HEADERS:  # in the order in which they come, for they are compressed
                payload = json.dumps(dict(self.headers.decode(payload))).encode()
            self.heard.append((kind, flags, stream_id, payload))
            taken = stop
        self.rest = data[taken:]

    async def is_cut_off(self) -> None:
        """Read on until there is nothing more."""
        async with asyncio.timeout(PATIENCE):
            with suppress(ConnectionError):
                while await self.reader.read(1 << 20):
                    pass


class Site:
    """A server with a hub, and its peers."""

    def __init__(self, server: XdsServer, hub: Hub, host: str, port: int) -> None:
        self.server = server
        self.hub = hub
        self.host = host
        self.port = port
        self.peers: list[Peer] = []

    def publish(self, *resources: Resource) -> None:
        self.hub.publish(EVERYONE, {each.id: each for each in resources})

    async def peer(self) -> Peer:
        made = Peer(*await asyncio.open_connection(self.host, self.port))
        self.peers.append(made)
        return made

    @asynccontextmanager
    async def good_clients(self, count: int = 3) -> AsyncIterator[Clients]:
        """Clients that behave, and are served to the end."""
        clients = Clients(host=self.host, port=self.port)
        async with asyncio.timeout(PATIENCE):
            await clients.connect([ASK] * count)
        try:
            yield clients
            clients.begin_round()
            self.publish(routes("r", "the end"))
            async with asyncio.timeout(PATIENCE):
                await clients.delivered()
        finally:
            clients.close()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.002)


@asynccontextmanager
async def serving(limits: Limits = PATIENT) -> AsyncIterator[Site]:
    hub = Hub(clock=lambda: 0.0)
    server = XdsServer(hub=hub, admit=lambda node, peer, *, only: (EVERYONE,), limits=limits)
    site = Site(server, hub, *await server.start("127.0.0.1", 0))
    site.publish(routes("r"))
    try:
        yield site
    finally:
        for peer in site.peers:
            peer.writer.close()
        await server.close()
        for peer in site.peers:
            with suppress(ConnectionError):
                await peer.writer.wait_closed()


# --- readers that stall -------------------------------------------------------------------------


async def test_a_client_whose_window_stays_shut_has_its_stream_ended() -> None:
    async with serving(replace(PATIENT, send_deadline=0.2)) as site, site.good_clients():
        site.publish(routes("large", "x" * 100_000))
        peer = await site.peer()
        await peer.greets(window=65_535)
        await peer.asks(name="large")
        status = await peer.is_ended(1)
        assert status["grpc-message"] == "nothing was read for 0.2 seconds"
        await site.until(lambda: len(site.hub.streams) == 3)
        await peer.asks(3)  # its connection is as good as before, but for the window
        await site.until(lambda: len(site.hub.streams) == 4)


async def test_a_client_that_does_not_read_from_its_socket_loses_the_connection() -> None:
    async with serving(replace(PATIENT, send_deadline=0.2)) as site, site.good_clients():
        site.publish(routes("huge", "x" * 30_000_000))
        peer = await site.peer()
        await peer.greets()
        await peer.asks(name="huge")
        await site.until(lambda: len(site.hub.streams) == 4)
        await site.until(lambda: len(site.hub.streams) == 3)
        await peer.is_cut_off()


async def test_a_client_that_reads_slowly_is_given_the_time_it_needs() -> None:
    async with serving(replace(PATIENT, send_deadline=0.3)) as site:
        site.publish(routes("large", "x" * 300_000))
        peer = await site.peer()
        await peer.greets(window=65_535)
        await peer.asks(name="large")
        received = 0
        loop = asyncio.get_running_loop()
        start = loop.time()
        while received < 300_000:
            received += len(await peer.hears(frames.DATA, 1))
            if (
                loop.time() - start > received / 300_000
            ):  # a second in all, longer than the deadline
                await peer.says(frames.opened(0, 20_000), frames.opened(1, 20_000))
            else:
                await asyncio.sleep(0.05)
                await peer.says(frames.opened(0, 20_000), frames.opened(1, 20_000))
        assert loop.time() - start > 0.3
        assert len(site.hub.streams) == 1


# --- connections --------------------------------------------------------------------------------


async def test_a_peer_that_answers_no_ping_is_cut_off_and_one_that_does_is_not() -> None:
    limits = replace(PATIENT, keepalive_time=0.1, keepalive_timeout=0.3)
    async with serving(limits) as site, site.good_clients(2):  # they answer
        dead = await site.peer()
        await dead.greets()
        await dead.asks()
        await site.until(lambda: len(site.hub.streams) == 3)
        await dead.hears(frames.PING)
        await dead.is_cut_off()
        await site.until(lambda: len(site.hub.streams) == 2)


async def test_an_old_connection_ends_its_streams_and_then_itself() -> None:
    async with serving(replace(PATIENT, max_age=0.3, age_jitter=0.0)) as site:
        peer = await site.peer()
        await peer.greets()
        await peer.asks(1)
        await peer.asks(3)
        for stream_id in (1, 3):
            status = await peer.is_ended(stream_id)
            assert status["grpc-message"] == "this connection has reached its age: connect again"
        assert await peer.hears(frames.GOAWAY)
        await peer.is_cut_off()
        assert site.hub.streams == ()


async def test_a_stream_that_is_opened_on_a_retired_connection_is_not_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "_STEP", 5.0)  # it is closed later, not before we have asked
    async with serving(replace(PATIENT, max_age=0.2, age_jitter=0.0)) as site:
        site.publish(routes("large", "x" * 100_000))
        peer = await site.peer()
        await peer.greets(window=65_535)
        await peer.asks(name="large")
        await peer.is_ended(1)
        await peer.asks(3)
        status = await peer.is_ended(3)
        assert status["grpc-status"] == str(Status.UNAVAILABLE.value)


@pytest.mark.parametrize("end", ["close", "reset", "cut off"])
async def test_a_connection_that_is_gone_is_freed_without_the_collector(end: str) -> None:
    async with serving() as site:
        gc.collect()
        kinds = (Connection, Conversation, Inbox, H2Connection)
        others = {id(each): each for each in gc.get_objects() if isinstance(each, kinds)}
        gc.disable()
        try:
            for _ in range(3):
                peer = await site.peer()
                await peer.greets()
                await peer.asks()
                await peer.hears(frames.DATA, 1)
                match end:
                    case "close":
                        peer.writer.close()
                    case "reset":
                        peer.writer.transport.abort()
                    case _:
                        await peer.says(frames.frame(frames.DATA, 0, 0, b"of no stream"))
            await site.until(lambda: not site.server._server.connections)
            await site.until(
                lambda: all(
                    id(each) in others for each in gc.get_objects() if isinstance(each, kinds)
                )
            )
        finally:
            gc.enable()


async def test_ages_differ_so_that_not_everybody_comes_back_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        drawn.append((low, high))
        return -1.0

    monkeypatch.setattr(random, "uniform", uniform)
    async with serving(replace(PATIENT, max_age=20.0, age_jitter=0.99)) as site:
        peer = await site.peer()
        await peer.greets()
        await peer.asks()
        await peer.is_ended(1)  # after a fifth of a second
        assert drawn == [(-1, 1)]


async def test_a_connection_on_which_nobody_asks_is_closed() -> None:
    async with serving(replace(PATIENT, first_stream=0.1)) as site, site.good_clients(1):
        silent, greeting = await site.peer(), await site.peer()
        await greeting.greets()
        await silent.is_cut_off()
        await greeting.is_cut_off()


async def test_streams_over_the_limit_are_told_to_come_back() -> None:
    async with serving(replace(PATIENT, streams=2)) as site:
        peer = await site.peer()
        await peer.greets()
        for stream_id in (1, 3, 5):
            await peer.asks(stream_id)
        status = await peer.is_ended(5)
        assert status["grpc-status"] == str(Status.RESOURCE_EXHAUSTED.value)
        await peer.says(frames.frame(frames.RST_STREAM, 0, 1, bytes(4)))
        await site.until(lambda: len(site.hub.streams) == 1)
        await peer.asks(7)
        await peer.hears(frames.DATA, 7)


async def test_a_connection_has_so_many_streams_and_no_more() -> None:
    limits = replace(PATIENT, streams_per_connection=2)
    async with serving(limits) as site, site.good_clients():
        peer = await site.peer()
        await peer.greets()
        while b"\x00\x03\x00\x00\x00\x02" not in await peer.hears(frames.SETTINGS):
            pass  # it is told
        await peer.says(*[frames.frame(frames.SETTINGS, frames.ACK, 0, b"")] * 3)
        for stream_id in (1, 3):
            await peer.asks(stream_id)
            await peer.hears(frames.DATA, stream_id)
        await peer.asks(5)
        await peer.is_cut_off()
        await site.until(lambda: len(site.hub.streams) == 3)


async def test_a_stream_has_so_many_types_and_no_more() -> None:
    async with serving(replace(PATIENT, types=2)) as site, site.good_clients():
        peer = await site.peer()
        await peer.greets()
        await peer.says(frames.call(1, ADS_PATH, "server"))
        for number in range(3):
            node = length_delimited(2, text(1, "peer"))
            await peer.says(frames.message(1, node + text(4, f"type.googleapis.com/t{number}")))
        status = await peer.is_ended(1)
        assert status["grpc-status"] == str(Status.RESOURCE_EXHAUSTED.value)
        assert status["grpc-message"] == "more than 2 types on one stream"
        await site.until(lambda: len(site.hub.streams) == 3)


async def test_a_subscription_to_too_many_names_is_refused() -> None:
    async with serving(replace(PATIENT, names=3)) as site, site.good_clients():
        peer = await site.peer()
        await peer.greets()
        await peer.asks(1)
        await peer.hears(frames.DATA, 1)
        names = b"".join(text(3, f"r{number}") for number in range(4))
        await peer.says(frames.message(1, names + text(4, HTTP_ROUTES) + text(5, "00000001")))
        status = await peer.is_ended(1)
        assert status["grpc-status"] == str(Status.RESOURCE_EXHAUSTED.value)
        await site.until(lambda: len(site.hub.streams) == 3)


# --- floods -------------------------------------------------------------------------------------


def rapid_reset(number: int) -> bytes:
    stream_id = 2 * number + 1
    reset = frames.frame(frames.RST_STREAM, 0, stream_id, bytes(4))
    return frames.call(stream_id, PATH, "server") + reset


FLOODS: Final[dict[str, Callable[[int], bytes]]] = {
    "pings": lambda _n: frames.frame(frames.PING, 0, 0, bytes(8)),
    "settings": lambda _n: frames.frame(frames.SETTINGS, 0, 0, b""),
    "unknown frames": lambda _n: frames.frame(0x77, 0, 0, b""),
    "acknowledged settings": lambda _n: frames.frame(frames.SETTINGS, frames.ACK, 0, b""),
    "answers to no ping": lambda _n: frames.frame(frames.PING, frames.ACK, 0, bytes(8)),
    "windows opened by a byte": lambda _n: frames.opened(0, 1),
    "windows of a stream opened by a byte": lambda _n: frames.opened(1, 1),
    "resets of one stream": lambda _n: frames.frame(frames.RST_STREAM, 0, 1, bytes(4)),
    "alternative services": lambda _n: frames.frame(0xA, 0, 0, b"\0\0"),
    "padded empty data": lambda _n: frames.frame(frames.DATA, 8, 1, b"\1\0"),
    "priorities": lambda n: frames.frame(2, 0, 2 * n + 1, b"\0\0\0\0\1"),
    "empty data": lambda _n: frames.frame(frames.DATA, 0, 1, b""),
    "rapid reset": rapid_reset,
}


@pytest.mark.parametrize("kind", FLOODS)
async def test_a_flood_ends_its_own_connection_only(kind: str) -> None:
    flood = FLOODS[kind]
    async with serving() as site, site.good_clients():
        peer = await site.peer()
        await peer.greets()
        await peer.asks(1)
        await peer.hears(frames.DATA, 1)
        await peer.says(*(flood(number) for number in range(1, 4_000)))
        await peer.is_cut_off()
        await site.until(lambda: len(site.hub.streams) == 3)


async def test_the_pings_and_resets_of_a_lively_client_are_none() -> None:
    async with serving() as site:
        peer = await site.peer()
        await peer.greets()
        for number in range(150):
            await peer.says(FLOODS["pings"](0), rapid_reset(number))
        await peer.asks(1_001)
        await peer.hears(frames.DATA, 1_001)


# --- what is not HTTP/2 -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x55" * 500,
        frames.greeting()[:24] + b"\xff" * 100,
        frames.greeting() + frames.frame(frames.HEADERS, 0x4, 1, b"\xff\xff\xff\xff"),
        frames.greeting()
        + frames.frame(frames.HEADERS, 0, 1, b"\x82")
        + frames.frame(9, 0, 1, b"x") * 100,
    ],
    ids=["HTTP/1", "TLS", "no frames", "no headers", "continuations"],
)
async def test_what_is_not_http2_is_cut_off(data: bytes) -> None:
    async with serving() as site, site.good_clients(1):
        peer = await site.peer()
        await peer.says(data)
        await peer.is_cut_off()


@settings(max_examples=60, deadline=None)
@given(
    data=st.lists(
        st.binary(max_size=60)
        | st.builds(
            frames.frame,
            st.integers(0, 12),
            st.integers(0, 255),
            st.integers(0, 5),
            st.binary(max_size=40),
        )
        | st.builds(frames.message, st.just(1), st.binary(max_size=60)),
        max_size=8,
    )
)
def test_whatever_a_peer_sends_the_others_are_served(data: list[bytes]) -> None:
    async def attack() -> None:
        async with serving() as site, site.good_clients(1):
            peer = await site.peer()
            await peer.greets()
            await peer.asks()
            await peer.says(*data)
            peer.writer.write_eof()
            await peer.is_cut_off()
            await site.until(lambda: len(site.hub.streams) == 1)

    asyncio.run(attack())


async def test_a_client_of_the_harness_notices_that_it_was_cut_off() -> None:
    async with serving(replace(PATIENT, max_age=0.2)) as site:
        clients = Clients(host=site.host, port=site.port)
        await clients.connect([ASK])
        clients.begin_round()
        with pytest.raises(LostError):
            async with asyncio.timeout(PATIENCE):
                await clients.delivered()
        clients.close()
