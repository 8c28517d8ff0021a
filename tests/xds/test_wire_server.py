"""The gRPC server, asked by a real client over loopback; messages are the official classes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import grpclib
import pytest
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import json_format
from grpclib.client import Channel
from grpclib.client import Stream as ClientStream
from grpclib.config import Configuration
from grpclib.const import Cardinality, Status
from grpclib.encoding.base import CodecBase
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError

from aeraki_xds.xds.admission import Node, Peer, Refusal, RefusalReason
from aeraki_xds.xds.field import length_delimited
from aeraki_xds.xds.hub import Hub
from aeraki_xds.xds.resource import (
    CLUSTER,
    ENDPOINTS,
    EXTENSION_CONFIG,
    HTTP_ROUTES,
    LISTENER,
    RUNTIME,
    SECRET,
    THRIFT_ROUTES,
    Name,
    Resource,
    ResourceId,
    Scope,
    TypeUrl,
)
from aeraki_xds.xds.wire import XdsServer
from aeraki_xds.xds.wire.gate import unix_socket
from tests.xds.dialogue import GLOBAL, cluster, endpoints, resource, routes

ADS: Final = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"
RDS: Final = "/envoy.service.route.v3.RouteDiscoveryService/"
SOTW_ADS: Final = ADS + "StreamAggregatedResources"
DELTA_ADS: Final = ADS + "DeltaAggregatedResources"
STREAM_ROUTES: Final = RDS + "StreamRoutes"
DELTA_ROUTES: Final = RDS + "DeltaRoutes"
ALL_METHODS: Final = (SOTW_ADS, DELTA_ADS, STREAM_ROUTES, DELTA_ROUTES)

PATIENCE: Final = 5.0
"""Seconds that an answer may take on a busy machine before the test fails."""


class _Bytes(CodecBase):
    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:
        return message if isinstance(message, bytes) else message.SerializeToString()

    def decode(self, data: bytes, message_type: Any) -> Any:
        return message_type.FromString(data)


class Talk:
    """One stream of a client."""

    def __init__(self, grpc: ClientStream[Any, Any], *, delta: bool) -> None:
        self.grpc = grpc
        self.over = False
        self._delta = delta

    async def ask(
        self,
        type_url: str = "",
        *names: str,
        node: str | dict[str, Any] = "",
        **fields: Any,
    ) -> None:
        """Send a request that names resources."""
        if self._delta:
            request = discovery_pb2.DeltaDiscoveryRequest(
                type_url=type_url, resource_names_subscribe=names
            )
        else:
            request = discovery_pb2.DiscoveryRequest(type_url=type_url, resource_names=names)
        if node:
            fields["node"] = {"id": node} if isinstance(node, str) else node
        json_format.ParseDict(fields, request)
        await self.grpc.send_message(request)

    async def hear(self) -> Any:
        """The next response; there has to be one."""
        async with asyncio.timeout(PATIENCE):
            response = await self.grpc.recv_message()
        assert response is not None
        return response

    async def ended_with(self) -> tuple[Status, str]:
        """How the server ends the stream, which it has to do without another response."""
        reset = StreamTerminatedError("the server ended the stream")
        try:
            with suppress(StreamTerminatedError):  # a reset comes behind the status
                async with asyncio.timeout(PATIENCE):
                    response = await self.grpc.recv_message()
                assert response is None, response
            self.over = True
            # After a reset grpclib's exit looks for the status that came before it.
            await self.grpc.__aexit__(type(reset), reset, None)
        except GRPCError as failure:
            return failure.status, failure.message or ""
        return Status.OK, ""

    async def leave(self) -> None:
        """Give the stream up, if it did not end before."""
        if not self.over:
            self.over = True
            with suppress(ProtocolError, GRPCError, StreamTerminatedError):
                await self.grpc.cancel()  # without it grpclib's exit would wait for a status
            with suppress(ProtocolError, GRPCError, StreamTerminatedError):
                await self.grpc.__aexit__(None, None, None)


class Wire:
    """A server with its hub, and clients of it."""

    def __init__(self, hub: Hub, host: str, port: int) -> None:
        self.hub = hub
        self.host = host
        self.port = port
        self.admitted: list[tuple[Node, Peer, TypeUrl | None]] = []
        self.refusal: Refusal | None = None
        self.left = asyncio.Event()

    def publish(self, *resources: Resource, gone: tuple[ResourceId, ...] = ()) -> None:
        """One publication."""
        changes: dict[ResourceId, Resource | None] = dict.fromkeys(gone)
        changes.update({each.id: each for each in resources})
        self.hub.publish(GLOBAL, changes)

    def channel(self, config: Configuration | None = None) -> Channel:
        """A connection."""
        return Channel(self.host, self.port, codec=_Bytes(), config=config)

    @asynccontextmanager
    async def talk(self, method: str, channel: Channel | None = None) -> AsyncIterator[Talk]:
        """A stream, on a connection of its own unless told otherwise."""
        delta = "Delta" in method
        request, reply = (
            (discovery_pb2.DeltaDiscoveryRequest, discovery_pb2.DeltaDiscoveryResponse)
            if delta
            else (discovery_pb2.DiscoveryRequest, discovery_pb2.DiscoveryResponse)
        )
        connection = channel or self.channel()
        grpc: ClientStream[Any, Any] = connection.request(
            method, Cardinality.STREAM_STREAM, request, reply
        )
        await grpc.__aenter__()
        talk = Talk(grpc, delta=delta)
        try:
            await grpc.send_request()
            yield talk
        finally:
            await talk.leave()
            if channel is None:
                connection.close()
            await asyncio.sleep(0)  # transports close in the loop's next turn

    async def until(self, condition: Callable[[], bool]) -> None:
        """Give the loop turns until something is so."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.001)


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    hub = Hub(clock=lambda: 0.0)

    def admit(node: Node, peer: Peer, *, only: TypeUrl | None) -> tuple[Scope, ...] | Refusal:
        made.admitted.append((node, peer, only))
        return made.refusal or (GLOBAL,)

    server = XdsServer(hub=hub, admit=admit)
    host, port = await server.start("127.0.0.1", 0)
    made = Wire(hub, host, port)
    made.publish()
    try:
        yield made
    finally:
        await server.close()


def bodies(response: Any) -> list[bytes]:
    """The encoded messages of a response of either dialect."""
    return [getattr(each, "resource", each).value for each in response.resources]


# --- the four methods -------------------------------------------------------------------------


async def test_sotw_ads_answers_acks_and_changes(wire: Wire) -> None:
    wire.publish(cluster("c"), endpoints("c"))
    async with wire.talk(SOTW_ADS) as envoy:
        await envoy.ask(CLUSTER, node="envoy")
        first = await envoy.hear()
        assert first.type_url == CLUSTER
        assert [any_.type_url for any_ in first.resources] == [CLUSTER]
        assert bodies(first) == [b"1"]
        unasked = await envoy.hear()
        assert unasked.type_url == ENDPOINTS
        await envoy.ask(CLUSTER, response_nonce=first.nonce, version_info=first.version_info)
        wire.publish(cluster("c", "2"))
        second = await envoy.hear()
        assert bodies(second) == [b"2"]
        assert second.nonce != first.nonce
        assert second.version_info != first.version_info


async def test_delta_ads_answers_changes_and_removals(wire: Wire) -> None:
    one, two = cluster("one"), cluster("two")
    wire.publish(one, two)
    async with wire.talk(DELTA_ADS) as envoy:
        await envoy.ask(CLUSTER, node="envoy")
        first = await envoy.hear()
        assert [(each.name, each.version) for each in first.resources] == [
            ("one", one.version),
            ("two", two.version),
        ]
        await envoy.ask(CLUSTER, response_nonce=first.nonce)
        wire.publish(cluster("two", "2"))
        second = await envoy.hear()
        assert [each.name for each in second.resources] == ["two"]
        assert list(second.removed_resources) == []
        wire.publish(gone=(one.id,))
        third = await envoy.hear()
        assert list(third.removed_resources) == ["one"]


@pytest.mark.parametrize("method", [STREAM_ROUTES, DELTA_ROUTES])
async def test_01_the_route_service_implies_its_type(wire: Wire, method: str) -> None:
    wire.publish(routes("r"))
    async with wire.talk(method) as sidecar:
        await sidecar.ask("", "r", node="sidecar")
        response = await sidecar.hear()
        assert response.type_url == HTTP_ROUTES
        assert bodies(response) == [b"1"]
        wire.publish(routes("r", "2"))
        assert bodies(await sidecar.hear()) == [b"2"]
    assert wire.admitted[0][2] == HTTP_ROUTES


@pytest.mark.parametrize("method", [STREAM_ROUTES, DELTA_ROUTES])
async def test_01_the_route_service_may_be_told_its_own_type(wire: Wire, method: str) -> None:
    wire.publish(routes("r"))
    async with wire.talk(method) as sidecar:
        await sidecar.ask(HTTP_ROUTES, "r", node="sidecar")
        assert bodies(await sidecar.hear()) == [b"1"]


@pytest.mark.parametrize("method", [STREAM_ROUTES, DELTA_ROUTES])
async def test_01_the_route_service_serves_no_other_type(wire: Wire, method: str) -> None:
    async with wire.talk(method) as sidecar:
        await sidecar.ask(CLUSTER, node="sidecar")
        status, message = await sidecar.ended_with()
    assert status is Status.INVALID_ARGUMENT
    assert message == f"this service serves {HTTP_ROUTES}, not {CLUSTER}"


SERVICES: Final = {
    "discovery.v3.AggregatedDiscoveryService": ("AggregatedResources", None),
    "listener.v3.ListenerDiscoveryService": ("Listeners", LISTENER),
    "route.v3.RouteDiscoveryService": ("Routes", HTTP_ROUTES),
    "cluster.v3.ClusterDiscoveryService": ("Clusters", CLUSTER),
    "endpoint.v3.EndpointDiscoveryService": ("Endpoints", ENDPOINTS),
    "secret.v3.SecretDiscoveryService": ("Secrets", SECRET),
    "runtime.v3.RuntimeDiscoveryService": ("Runtime", RUNTIME),
    "extension.v3.ExtensionConfigDiscoveryService": ("ExtensionConfigs", EXTENSION_CONFIG),
}


@pytest.mark.parametrize("verb", ["Stream", "Delta"])
@pytest.mark.parametrize("service", SERVICES)
async def test_01_every_service_serves_its_own_type(wire: Wire, service: str, verb: str) -> None:
    what, only = SERVICES[service]
    type_url = only or CLUSTER
    wire.publish(resource(type_url, Name("mine")), resource(THRIFT_ROUTES, Name("mine")))
    async with wire.talk(f"/envoy.service.{service}/{verb}{what}") as envoy:
        await envoy.ask("" if only else CLUSTER, "mine", node="envoy")
        response = await envoy.hear()
        assert response.type_url == type_url
        assert bodies(response) == [b"1"]
        wire.publish(resource(type_url, Name("mine"), "2"))
        assert bodies(await envoy.hear()) == [b"2"]
    assert wire.admitted[0][2] == only


@pytest.mark.parametrize("service", SERVICES)
async def test_51_rest_polling_is_not_served(wire: Wire, service: str) -> None:
    path = f"/envoy.service.{service}/Fetch{SERVICES[service][0]}"
    async with wire.talk(path) as envoy:
        assert await envoy.ended_with() == (Status.UNIMPLEMENTED, f"{path} is not served")


@pytest.mark.parametrize("method", [SOTW_ADS, DELTA_ADS])
async def test_32_50_54_a_client_that_announces_more_is_sent_no_more(
    wire: Wire, method: str
) -> None:
    features = ["xds.config.resource-in-sotw", "xds.config.supports-resource-ttl"]
    wire.publish(routes("r"))
    async with wire.talk(method) as envoy:
        node = {"id": "envoy", "clientFeatures": features}
        await envoy.ask(HTTP_ROUTES, "r", "absent", node=node)
        response = await envoy.hear()
        assert bodies(response) == [b"1"]
        assert not response.resource_errors
        (sent,) = response.resources
        if method == SOTW_ADS:
            assert sent.type_url == HTTP_ROUTES
        else:
            assert not sent.HasField("ttl")
            assert not sent.aliases


# --- the first request ------------------------------------------------------------------------


async def test_a_stream_is_admitted_with_its_node_and_peer(wire: Wire) -> None:
    async with wire.talk(SOTW_ADS) as envoy:
        fields = {"cluster": "web", "metadata": {"NAMESPACE": "shop", "LIST": [1, None, True]}}
        await envoy.ask(CLUSTER, node={"id": "envoy", **fields})
        await wire.until(lambda: bool(wire.admitted))
    ((node, peer, only),) = wire.admitted
    assert (node.id, node.cluster) == ("envoy", "web")
    assert node.metadata == {"NAMESPACE": "shop", "LIST": [1, None, True]}
    assert peer.address.startswith("127.0.0.1:")
    assert only is None


@pytest.mark.parametrize("method", ALL_METHODS)
async def test_before_the_sync_a_stream_is_told_to_come_back(method: str) -> None:
    hub = Hub(clock=lambda: 0.0)
    server = XdsServer(hub=hub, admit=lambda node, peer, *, only: (GLOBAL,))
    host, port = await server.start("127.0.0.1", 0)
    early = Wire(hub, host, port)
    async with early.talk(method) as envoy:
        status, message = await envoy.ended_with()
    assert (status, message) == (Status.UNAVAILABLE, "the configuration is not synced yet")
    early.publish(routes("r"))
    async with early.talk(method) as envoy:
        await envoy.ask(HTTP_ROUTES, "r", node="envoy")
        assert bodies(await envoy.hear()) == [b"1"]
    await server.close()


@pytest.mark.parametrize("method", ALL_METHODS)
async def test_02_a_first_request_without_a_node_id_is_invalid(wire: Wire, method: str) -> None:
    async with wire.talk(method) as envoy:
        await envoy.ask(HTTP_ROUTES, "r")
        status, message = await envoy.ended_with()
    assert (status, message) == (Status.INVALID_ARGUMENT, "the first request names no node.id")
    assert wire.hub.streams == ()


async def test_02_only_the_first_request_needs_the_node(wire: Wire) -> None:
    wire.publish(routes("r"), cluster("c"))
    async with wire.talk(SOTW_ADS) as envoy:
        await envoy.ask(HTTP_ROUTES, "r", node="envoy")
        await envoy.hear()
        await envoy.ask(CLUSTER)
        assert (await envoy.hear()).type_url == CLUSTER
    assert len(wire.admitted) == 1


@pytest.mark.parametrize("method", [SOTW_ADS, DELTA_ADS])
async def test_01_a_request_on_an_aggregated_stream_names_its_type(wire: Wire, method: str) -> None:
    async with wire.talk(method) as envoy:
        await envoy.ask("", "r", node="envoy")
        assert (await envoy.ended_with())[0] is Status.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (RefusalReason.INVALID, Status.INVALID_ARGUMENT),
        (RefusalReason.DENIED, Status.PERMISSION_DENIED),
        (RefusalReason.OVERLOADED, Status.RESOURCE_EXHAUSTED),
    ],
)
async def test_a_refusal_ends_the_stream_with_its_status_and_message(
    wire: Wire, reason: RefusalReason, status: Status
) -> None:
    wire.refusal = Refusal(reason=reason, message="not you")
    async with wire.talk(SOTW_ADS) as envoy:
        await envoy.ask(CLUSTER, node="envoy")
        assert await envoy.ended_with() == (status, "not you")
    assert wire.hub.streams == ()


# --- what is not understood -------------------------------------------------------------------


@pytest.mark.parametrize("method", ALL_METHODS)
@pytest.mark.parametrize(
    "garbage",
    [b"\xff", b"\x22\x7fshort", b"\x0a\x02\xff\xfe\x12\x02\xff\xfe"],
    ids=["no field", "cut off", "no text"],
)
async def test_malformed_bytes_are_invalid_at_once(wire: Wire, method: str, garbage: bytes) -> None:
    async with wire.talk(method) as envoy:
        await envoy.grpc.send_message(garbage)
        assert (await envoy.ended_with())[0] is Status.INVALID_ARGUMENT


async def test_malformed_bytes_later_end_their_own_stream_only(wire: Wire) -> None:
    wire.publish(routes("r"))
    channel = wire.channel()
    async with wire.talk(SOTW_ADS, channel) as good, wire.talk(SOTW_ADS, channel) as bad:
        for envoy in (good, bad):
            await envoy.ask(HTTP_ROUTES, "r", node="envoy")
            await envoy.hear()
        await bad.grpc.send_message(b"\xff")
        status, message = await bad.ended_with()
        assert status is Status.INVALID_ARGUMENT
        assert message.startswith("malformed request")
        wire.publish(routes("r", "2"))
        assert bodies(await good.hear()) == [b"2"]
        assert len(wire.hub.streams) == 1
    channel.close()


async def test_metadata_that_nests_without_end_is_invalid(wire: Wire) -> None:
    value = b""
    for _ in range(200):
        value = length_delimited(6, length_delimited(1, value))  # a list in a list
    entry = length_delimited(1, b"deep") + length_delimited(2, value)
    node = length_delimited(1, b"envoy") + length_delimited(3, length_delimited(1, entry))
    async with wire.talk(SOTW_ADS) as envoy:
        request = length_delimited(2, node) + length_delimited(4, CLUSTER.encode())
        await envoy.grpc.send_message(request)
        status, message = await envoy.ended_with()
    assert status is Status.INVALID_ARGUMENT
    assert "nests deeper" in message


# --- streams among each other -----------------------------------------------------------------


async def test_04_two_streams_of_one_node_are_independent(wire: Wire) -> None:
    wire.publish(routes("a"), routes("b"))
    channel = wire.channel()
    async with wire.talk(STREAM_ROUTES, channel) as one:
        async with wire.talk(STREAM_ROUTES, channel) as two:
            await one.ask("", "a", node="sidecar")
            await two.ask("", "b", node="sidecar")
            assert bodies(await one.hear()) == bodies(await two.hear()) == [b"1"]
            assert len(wire.hub.streams) == 2
            await two.grpc.end()
            assert (await two.ended_with())[0] is Status.OK
        await wire.until(lambda: len(wire.hub.streams) == 1)
        wire.publish(routes("a", "2"), routes("b", "2"))
        assert bodies(await one.hear()) == [b"2"]
    channel.close()


async def test_a_change_wakes_only_those_who_asked_for_it(wire: Wire) -> None:
    wire.publish(routes("a"), routes("b"))
    async with wire.talk(STREAM_ROUTES) as one, wire.talk(STREAM_ROUTES) as two:
        await one.ask("", "a", node="one")
        await two.ask("", "b", node="two")
        await one.hear()
        await two.hear()
        wire.publish(routes("a", "2"))
        await one.hear()
        wire.publish(routes("b", "3"))
        assert bodies(await two.hear()) == [b"3"]


@pytest.mark.parametrize("method", ALL_METHODS)
async def test_53_a_client_that_has_said_all_it_had_to_is_let_go_with_ok(
    wire: Wire, method: str
) -> None:
    wire.publish(routes("r"))
    async with wire.talk(method) as envoy:
        await envoy.ask(HTTP_ROUTES, "r", node="envoy")
        await envoy.hear()
        await envoy.grpc.end()
        assert await envoy.ended_with() == (Status.OK, "")
    await wire.until(lambda: wire.hub.streams == ())


async def test_53_a_client_that_says_nothing_at_all_is_let_go_with_ok(wire: Wire) -> None:
    async with wire.talk(SOTW_ADS) as envoy:
        await envoy.grpc.end()
        assert await envoy.ended_with() == (Status.OK, "")


async def test_53_a_client_that_resets_its_stream_is_forgotten(wire: Wire) -> None:
    async with wire.talk(SOTW_ADS) as envoy:
        await envoy.ask(CLUSTER, node="envoy")
        await wire.until(lambda: len(wire.hub.streams) == 1)
        await envoy.leave()
        await wire.until(lambda: wire.hub.streams == ())


async def test_53_a_client_whose_connection_breaks_is_forgotten(wire: Wire) -> None:
    channel = wire.channel()
    async with wire.talk(SOTW_ADS, channel) as envoy:
        await envoy.ask(CLUSTER, node="envoy")
        await wire.until(lambda: len(wire.hub.streams) == 1)
        channel.close()
        await wire.until(lambda: wire.hub.streams == ())


SMALL_WINDOW: Final = Configuration(
    http2_stream_window_size=65_535, http2_connection_window_size=4 << 20
)


async def test_18_a_client_that_never_reads_delays_no_other_and_is_sent_the_latest(
    wire: Wire,
) -> None:
    def big(letter: str) -> Resource:
        return routes("r", letter * 300_000)

    channel = wire.channel(SMALL_WINDOW)
    async with (
        wire.talk(STREAM_ROUTES, channel) as idle,
        wire.talk(STREAM_ROUTES, channel) as neighbour,
        wire.talk(STREAM_ROUTES) as other,
    ):
        wire.publish(big("a"))
        for talk in (idle, neighbour, other):
            await talk.ask("", "r", node="sidecar")
        for letter in "bcd":
            assert bodies(await neighbour.hear()) == bodies(await other.hear())
            wire.publish(big(letter))
        for talk in (neighbour, other):
            assert bodies(await talk.hear()) == [b"d" * 300_000]
        # What it did not read went out when it was due; of the rest it is sent only the latest.
        heard = [bodies(await idle.hear())[0][:1], bodies(await idle.hear())[0][:1]]
        assert heard == [b"a", b"d"]
    channel.close()


# --- the server's own life --------------------------------------------------------------------


async def test_closing_the_server_ends_every_stream_and_frees_the_port() -> None:
    hub = Hub(clock=lambda: 0.0)
    server = XdsServer(hub=hub, admit=lambda node, peer, *, only: (GLOBAL,))
    host, port = await server.start("127.0.0.1", 0)
    made = Wire(hub, host, port)
    made.publish(routes("r"))
    async with made.talk(SOTW_ADS) as one, made.talk(DELTA_ADS) as two:
        for talk in (one, two):
            await talk.ask(HTTP_ROUTES, "r", node="envoy")
            await talk.hear()
        async with asyncio.timeout(PATIENCE):
            await server.close()
        assert hub.streams == ()
        for talk in (one, two):
            expected = (Status.UNAVAILABLE, "the server is shutting down")
            assert await talk.ended_with() == expected
    with socket.create_server((host, port)):
        pass


async def test_closing_while_clients_reset_their_streams_is_quiet(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A stream that its client has reset has no end left to be told, though it was to be told."""
    hub = Hub(clock=lambda: 0.0)
    server = XdsServer(hub=hub, admit=lambda node, peer, *, only: (GLOBAL,))
    made = Wire(hub, *await server.start("127.0.0.1", 0))
    made.publish(routes("r"))
    async with made.talk(SOTW_ADS) as one:
        await one.ask(HTTP_ROUTES, "r", node="envoy")
        await one.hear()
        (connection,) = server._server.connections
        closing = asyncio.create_task(server.close())
        await asyncio.sleep(0)  # the end is on its way
        connection._streams.forget(1)
        async with asyncio.timeout(PATIENCE):
            await closing
        await one.leave()
    assert hub.streams == ()
    assert caplog.records == []


async def test_closing_a_server_without_streams_takes_no_time() -> None:
    server = XdsServer(hub=Hub(clock=lambda: 0.0), admit=lambda node, peer, *, only: (GLOBAL,))
    await server.start("127.0.0.1", 0)
    async with asyncio.timeout(PATIENCE):
        await server.close()


async def test_a_taken_port_is_an_os_error(wire: Wire) -> None:
    second = XdsServer(hub=wire.hub, admit=lambda node, peer, *, only: (GLOBAL,))
    with pytest.raises(OSError, match="in use"):
        await second.start(wire.host, wire.port)


async def test_the_server_listens_on_ipv6_too() -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    hub = Hub(clock=lambda: 0.0)
    server = XdsServer(hub=hub, admit=lambda node, peer, *, only: (GLOBAL,))
    try:
        host, port = await server.start("::1", 0)
    except OSError:
        pytest.skip("no IPv6 loopback here")
    six = Wire(hub, host, port)
    six.publish(routes("r"))
    async with six.talk(STREAM_ROUTES) as sidecar:
        await sidecar.ask("", "r", node="sidecar")
        assert bodies(await sidecar.hear()) == [b"1"]
    await server.close()


async def test_the_server_listens_on_a_socket_of_the_file_system_too(tmp_path: Path) -> None:
    path = tmp_path / "xds.sock"
    for _ in range(2):  # the second finds what the first has left
        hub = Hub(clock=lambda: 0.0)
        server = XdsServer(hub=hub, admit=lambda node, peer, *, only: (GLOBAL,))
        await server.start_unix(path)
        assert mode(path) == 0o600
        local = Wire(hub, "", 0)
        local.publish(routes("r"))
        channel = Channel(path=str(path), codec=_Bytes())
        async with local.talk(STREAM_ROUTES, channel) as sidecar:
            await sidecar.ask("", "r", node="sidecar")
            assert bodies(await sidecar.hear()) == [b"1"]
            (stream,) = hub.streams
            assert stream.peer.address == "unix"
        channel.close()
        await server.close()


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_file_that_is_no_socket_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "xds.sock"
    path.write_text("precious")
    with pytest.raises(OSError, match="in use"):
        unix_socket(path)
    assert path.read_text() == "precious"


def test_the_client_of_these_tests_is_of_the_same_library() -> None:
    assert grpclib.__version__.startswith("0.4.")
    assert TypeUrl(HTTP_ROUTES).endswith("RouteConfiguration")
