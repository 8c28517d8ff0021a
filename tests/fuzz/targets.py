"""What is fuzzed: whatever bytes come to a reader, to a stream, to a connection.

In: bytes, of which the first few say how they are cut. Out: nothing, or an AssertionError, or the
exception that nobody caught. Every target is a coroutine function, for streams and connections
belong to a loop; the loop has virtual time, so no timer fires. Seeds are what real clients say.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, cast

import structlog
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2

from aeraki_xds.bench import frames
from aeraki_xds.xds import Hub, Scope
from aeraki_xds.xds.resource import CLUSTER, HTTP_ROUTES
from aeraki_xds.xds.session import Dialect
from aeraki_xds.xds.wire import XdsServer
from aeraki_xds.xds.wire.connection import Connection
from aeraki_xds.xds.wire.inbox import LARGEST_MESSAGE, PREFIX_SIZE, Inbox
from tests.fuzz.agreement import READERS
from tests.xds.dialogue import cluster, endpoints, routes
from tests.xds.test_wire_acks import Side
from tests.xds.test_wire_connection import PATH, Server, Slow, Transport
from tests.xds.test_wire_inbox import account, made

ADS: Final = "/envoy.service.discovery.v3.AggregatedDiscoveryService"
SOTW_ADS: Final = f"{ADS}/StreamAggregatedResources"
DELTA_ADS: Final = f"{ADS}/DeltaAggregatedResources"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Something that takes any bytes, and bytes that take it far."""

    play: Callable[[bytes], Coroutine[Any, Any, None]]
    seeds: Callable[[], list[bytes]]


@contextmanager
def no_errors_logged() -> Iterator[None]:
    """What we log is kept quiet, and none of it is an error."""
    with structlog.testing.capture_logs() as logs:
        yield
    assert {entry["log_level"] for entry in logs} <= {"info", "warning"}, logs


# --- readers ------------------------------------------------------------------------------------


async def readers(data: bytes) -> None:
    """Every reader of protobuf agrees with the official classes."""
    for agree in READERS:
        agree(data)


def requests() -> list[bytes]:
    """What proxies send: first requests, ACKs, refusals, in both dialects."""
    node = base_pb2.Node(id="sidecar~10.0.0.1~a.b~b.svc.cluster.local", cluster="a.b")
    node.user_agent_name = "envoy"
    node.metadata.update({"NAMESPACE": "b", "LABELS": {"app": "a"}, "PORTS": [80, None, True]})
    node.extensions.add(name="envoy.filters.network.thrift_proxy")
    version, nonce = "0123456789abcdef", "00000001"
    error: Any = {"code": 13, "message": "no such filter"}
    sotw, delta = discovery_pb2.DiscoveryRequest, discovery_pb2.DeltaDiscoveryRequest
    made: list[Any] = [
        sotw(node=node, type_url=CLUSTER),
        sotw(version_info=version, type_url=CLUSTER, response_nonce=nonce),
        sotw(node=node, resource_names=["r", "s"], type_url=HTTP_ROUTES),
        sotw(type_url=CLUSTER, response_nonce=nonce, error_detail=error),
        delta(node=node, type_url=CLUSTER, initial_resource_versions={"a": version}),
        delta(type_url=CLUSTER, response_nonce=nonce),
        delta(node=node, type_url=HTTP_ROUTES, resource_names_subscribe=["r", "*"]),
        delta(type_url=HTTP_ROUTES, resource_names_unsubscribe=["r"], response_nonce=nonce),
        delta(type_url=CLUSTER, response_nonce=nonce, error_detail=error),
    ]
    return [node.SerializeToString(), *(each.SerializeToString() for each in made)]


# --- one stream ---------------------------------------------------------------------------------


async def stream(data: bytes) -> None:
    """A stream of any bytes: messages do not depend on cuts, nor what is served on the shortcut for
    ACKs; and it ends by a status or goes on.
    """
    with no_errors_logged():
        _stream(data)


def _stream(data: bytes) -> None:
    head, payload = data[:2].ljust(2, b"\0"), data[2:]
    dialect = Dialect.DELTA if head[0] & 1 else Dialect.SOTW
    only = HTTP_ROUTES if head[0] & 2 else None
    halved, heard, _ = made()
    quick, thorough = (Side(dialect, blind=blind, only=only) for blind in (False, True))
    inboxes = {side: Inbox(side.conversation, account=account()) for side in (quick, thorough)}
    for number, piece in enumerate(pieces(payload, head[1])):
        half = len(piece) // 2
        for inbox in (halved, inboxes[thorough]):
            inbox.feed(piece[:half])
            inbox.feed(piece[half:])
        inboxes[quick].feed(piece)
        news = routes("r", str(number)), cluster("a", str(number)), endpoints("a")
        for side in inboxes:
            side.drain._run()
            side.publish(*news)
            side.drain._run()
        assert quick.state() == thorough.state()
    assert (heard.messages, heard.ends) == messages_of(payload)
    for side in inboxes:
        assert len(side.ends) <= 1
        side.conversation.close()
        assert side.hub.streams == ()


def pieces(data: bytes, stride: int) -> Iterator[bytes]:
    """The data cut evenly, into at most 17."""
    size = max(stride * 4 + 1, len(data) // 16)
    return (data[at : at + size] for at in range(0, len(data), size))


def messages_of(data: bytes) -> tuple[list[bytes], list[str]]:
    """What a stream of these bytes says and how it is ended by us, taken as a whole."""
    messages: list[bytes] = []
    while len(data) >= PREFIX_SIZE:
        size = int.from_bytes(data[1:PREFIX_SIZE], "big")
        if data[0]:
            return messages, ["UNIMPLEMENTED: compressed messages are not supported"]
        if size > LARGEST_MESSAGE:
            limit = f"a request of {size} bytes: {LARGEST_MESSAGE} is the most"
            return messages, [f"RESOURCE_EXHAUSTED: {limit}"]
        if len(data) < PREFIX_SIZE + size:
            break
        messages.append(data[PREFIX_SIZE : PREFIX_SIZE + size])
        data = data[PREFIX_SIZE + size :]
    return messages, []


def conversations() -> list[bytes]:
    """Streams of these requests, in both dialects, on ADS and on a service of one type."""
    _, *said = (len(each).to_bytes(5, "big") + each for each in requests())
    sotw, delta = b"".join(said[:4]), b"".join(said[4:])
    heads = (bytes((kind, stride)) for kind in range(4) for stride in (4, 255))
    return [head + (delta if head[0] & 1 else sotw) for head in heads]


# --- one connection -----------------------------------------------------------------------------


class Reader(Server):
    """Reads every stream of which the path is served, and lets the others be."""

    def __init__(self, kind: type[Connection]) -> None:
        super().__init__(kind)
        self.h2.config.header_encoding = "latin-1"  # as the server has it


async def shortcut(data: bytes) -> None:
    """A connection hears and answers the same with the way past h2 as without; but what came in one
    read with the bytes that end a connection may have been heard or not: h2 forgets it.
    """
    with no_errors_logged():
        _shortcut(data)


def _shortcut(data: bytes) -> None:
    readers = Reader(Connection), Reader(Slow)
    for piece in (frames.greeting(), *pieces(data[1:], data[0] if data else 0)):
        for reader in readers:
            if not reader.transport.closed:
                reader.reads(piece)
        quick, thorough = (reader.state() for reader in readers)
        assert quick["closed"] == thorough["closed"]
        if all(quick["closed"]):
            break
        assert quick == thorough
    for reader in readers:
        reader.connection.connection_lost(None)


class Port:
    """A server without sockets, and a neighbour on it that has to be served whatever comes."""

    def __init__(self) -> None:
        self.hub = Hub(clock=lambda: 0.0)
        scope = Scope("everyone")
        self.server = XdsServer(hub=self.hub, admit=lambda node, peer, *, only: (scope,))
        self.scope = scope
        self.published = 0
        self.faults: list[str] = []
        self._publish()
        self.neighbour, self.heard = self.connect()
        self.neighbour.data_received(
            frames.greeting()
            + frames.call(1, SOTW_ADS, "server")
            + frames.message(1, requests()[3])
        )

    def connect(self) -> tuple[Connection, Transport]:
        made, transport = self.server._server.connection(), Transport()
        made.connection_made(cast("asyncio.Transport", transport))
        return made, transport

    def _publish(self) -> None:
        self.published += 1
        self.hub.publish(self.scope, {(r := routes("r", str(self.published))).id: r})

    async def settled(self) -> None:
        """Give tasks and callbacks all the turns that they may need."""
        for _ in range(12):
            await asyncio.sleep(0)
        while any(each._behind for each in self.server._server.connections):
            await asyncio.sleep(0)

    async def attacked_with(self, data: list[bytes]) -> None:
        attacker, transport = self.connect()
        for piece in data:
            if transport.closed:
                break
            attacker.data_received(piece)
            await self.settled()
        assert len(transport.written) <= 100 * sum(map(len, data)) + 10_000
        attacker.connection_lost(None)
        await self.settled()

    async def serves_the_neighbour(self) -> None:
        """And holds nothing of anybody else."""
        self.heard.written.clear()
        self._publish()
        await self.settled()
        assert str(self.published).encode() in bytes(self.heard.written)
        size = len(self.heard.written)
        self.neighbour.data_received(frames.opened(0, size) + frames.opened(1, size))
        assert not self.heard.closed
        assert len(self.hub.streams) == self.server._streams == 1
        assert self.server.connections == 1
        faults, self.faults[:] = list(self.faults), []
        assert faults == []


class _Faults(logging.Handler):
    """What grpclib and asyncio log as errors."""

    def __init__(self, into: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._into = into

    def emit(self, record: logging.LogRecord) -> None:
        self._into.append(self.format(record))


async def connection(data: bytes) -> None:
    """Whatever comes behind a greeting, the neighbour is served, and nothing is left of it."""
    loop = asyncio.get_running_loop()
    if (port := _PORTS.get(loop)) is None:
        _PORTS.clear()
        port = _PORTS[loop] = Port()
        logging.getLogger().addHandler(_Faults(port.faults))
        await port.settled()
    with no_errors_logged():
        await port.attacked_with([frames.greeting(), *pieces(data[1:], data[0] if data else 0)])
        await port.serves_the_neighbour()


_PORTS: Final[dict[asyncio.AbstractEventLoop, Port]] = {}


def connections(sotw_path: str, delta_path: str) -> list[bytes]:
    """What clients write: calls, requests, pings, windows, resets, and the end of a stream."""
    _, *said = requests()
    sotw, delta = said[:4], said[4:]
    calls = frames.call(1, sotw_path, "server") + frames.call(3, delta_path, "server")
    talk = [frames.message(1, each) for each in sotw] + [frames.message(3, each) for each in delta]
    rest = b"".join(
        (
            frames.frame(frames.SETTINGS, frames.ACK, 0, b""),
            frames.frame(frames.SETTINGS, 0, 0, b"\0\4\0\1\0\0"),
            frames.frame(frames.PING, 0, 0, b"12345678"),
            frames.opened(0, 100) + frames.opened(3, 100),
            frames.frame(0x77, 0xFF, 0, b"who knows"),
            frames.frame(frames.DATA, 0x8, 1, b"\1\0\0\0\0\3ask\0"),
            frames.frame(frames.RST_STREAM, 0, 1, bytes(4)),
            frames.frame(frames.DATA, frames.END_STREAM, 3, b""),
            frames.call(5, f"{ADS}/Nothing", "server"),
            frames.frame(frames.HEADERS, 0, 7, b"\x83\x86") + frames.frame(9, 4, 7, b"\x84"),
            call_with(9, sotw_path, (b"x-bin", b"YQ"), (b"grpc-timeout", b"10S"), (b"x", b"\xe9")),
            call_with(11, sotw_path, (b"x-bin", b"Y"), (b"grpc-timeout", b"9" * 100 + b"S")),
            frames.frame(frames.HEADERS, 0x4, 13, b"\x81" + call_with(13, sotw_path)[11:]),
            frames.frame(frames.GOAWAY, 0, 0, bytes(8)),
        )
    )
    return [bytes((stride,)) + calls + b"".join(talk) + rest for stride in (2, 30, 255)]


def call_with(stream_id: int, path: str, *headers: tuple[bytes, bytes]) -> bytes:
    """The headers of a gRPC call, and others."""
    plain = frames.call(stream_id, path, "server")[frames.HEAD_SIZE :]
    more = (b"\x00" + b"".join(bytes((len(s),)) + s for s in each) for each in headers)
    return frames.frame(frames.HEADERS, 0x4, stream_id, plain + b"".join(more))


TARGETS: Final[Mapping[str, Target]] = {
    "readers": Target(play=readers, seeds=requests),
    "stream": Target(play=stream, seeds=conversations),
    "shortcut": Target(play=shortcut, seeds=lambda: connections(PATH, PATH)),
    "connection": Target(play=connection, seeds=lambda: connections(SOTW_ADS, DELTA_ADS)),
}
