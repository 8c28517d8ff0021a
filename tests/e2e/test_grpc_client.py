"""gRPC's own xDS client, which is stricter than Envoy: it asks for everything by name, from the
listener to the endpoints, keeps one subscription per type, and has timers of its own.

The server is used as a library, on resources of the official classes; two real gRPC servers answer.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2,
)
from grpclib.const import Cardinality, Handler
from grpclib.encoding.base import CodecBase
from grpclib.server import Server, Stream

from aeraki_xds.demo.http import Address
from aeraki_xds.demo.process import leashed, stop_process
from aeraki_xds.xds import Hub, Name, Node, Peer, Resource, ResourceId, Scope, TypeUrl
from aeraki_xds.xds.wire import XdsServer
from tests.e2e.conftest import LIMIT_S
from tests.e2e.grpc_calls import METHOD
from tests.recording.kinds import CLUSTER, ENDPOINTS, HTTP_ROUTES, LISTENER
from tests.recording.recording import Asked, Told
from tests.recording.relayed import CheckedRelay, recorded

pytestmark = pytest.mark.e2e

SCOPE: Final = Scope("test")
TARGET: Final = "greeter"
CALLS: Final = Path(__file__).with_name("grpc_calls.py")


# --- what is served -------------------------------------------------------------------------------


def listener(name: str, *, routes_from: str) -> Resource:
    """An API listener: what a client takes instead of a socket."""
    manager = http_connection_manager_pb2.HttpConnectionManager()
    manager.rds.route_config_name = routes_from
    manager.rds.config_source.ads.SetInParent()
    manager.http_filters.add(name="router").typed_config.Pack(router_pb2.Router())
    made = listener_pb2.Listener(name=name)
    made.api_listener.api_listener.Pack(manager)
    return _resource(LISTENER, name, made)


def routes(name: str, *, to: str, regex: str = "") -> Resource:
    """Everything to one cluster; with `regex` first a route that matches it."""
    made = route_pb2.RouteConfiguration(name=name)
    host = made.virtual_hosts.add(name="all", domains=["*"])
    if regex:
        special = host.routes.add()
        special.match.safe_regex.regex = regex
        special.route.cluster = to
    route = host.routes.add()
    route.match.prefix = ""
    route.route.cluster = to
    return _resource(HTTP_ROUTES, name, made)


def cluster(name: str) -> Resource:
    """A cluster that takes its endpoints from the server."""
    made = cluster_pb2.Cluster(name=name, type=cluster_pb2.Cluster.EDS)
    made.eds_cluster_config.eds_config.ads.SetInParent()
    needs = (ResourceId(TypeUrl(ENDPOINTS), Name(name)),)
    return _resource(CLUSTER, name, made, needs)


def endpoints(name: str, port: int) -> Resource:
    """One endpoint on loopback, in a locality with a weight: gRPC leaves out those without."""
    made = endpoint_pb2.ClusterLoadAssignment(cluster_name=name)
    locality = made.endpoints.add()
    locality.locality.region = "here"
    locality.load_balancing_weight.value = 1
    address = locality.lb_endpoints.add().endpoint.address.socket_address
    address.address, address.port_value = "127.0.0.1", port
    return _resource(ENDPOINTS, name, made)


def _resource(
    type_url: str, name: str, message: Any, needs: tuple[ResourceId, ...] = ()
) -> Resource:
    body = message.SerializeToString(deterministic=True)
    return Resource.of(TypeUrl(type_url), Name(name), body, needs)


# --- who takes part -------------------------------------------------------------------------------


class _Bytes(CodecBase):
    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:
        return bytes(message)

    def decode(self, data: bytes, message_type: Any) -> bytes:
        return data


class Greeter:
    """A gRPC service that answers every call with its version."""

    def __init__(self, version: str) -> None:
        self._version = version

    async def _greet(self, stream: Stream[bytes, bytes]) -> None:
        await stream.recv_message()
        await stream.send_message(self._version.encode())

    def __mapping__(self) -> dict[str, Handler]:
        return {METHOD: Handler(self._greet, Cardinality.UNARY_UNARY, bytes, bytes)}


@asynccontextmanager
async def greeting(version: str) -> AsyncIterator[int]:
    """A server of one version; yields its port."""
    server = Server([Greeter(version)], codec=_Bytes())
    listening = socket.create_server(("127.0.0.1", 0))
    await server.start(sock=listening)
    try:
        yield listening.getsockname()[1]
    finally:
        server.close()


class Caller:
    """The client program: what it was answered, in order, repetitions left out."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.outcomes: list[str] = []

    @classmethod
    @asynccontextmanager
    async def run(cls, xds: Address) -> AsyncIterator[Caller]:
        config = {
            "xds_servers": [
                {
                    "server_uri": f"{xds.host}:{xds.port}",
                    "channel_creds": [{"type": "insecure"}],
                    "server_features": ["xds_v3"],
                }
            ],
            "node": {"id": "grpc-1"},
        }
        process = await asyncio.create_subprocess_exec(
            *leashed([sys.executable, str(CALLS), f"xds:///{TARGET}"]),
            env={**os.environ, "GRPC_XDS_BOOTSTRAP_CONFIG": json.dumps(config)},
            stdin=PIPE,
            stdout=PIPE,
            start_new_session=True,
        )
        try:
            yield cls(process)
        finally:
            await stop_process(process)

    async def next(self) -> str:
        """The next outcome that differs from the one before."""
        assert self._process.stdout is not None
        async with asyncio.timeout(LIMIT_S):
            line = (await self._process.stdout.readline()).decode().strip()
        self.outcomes.append(line)
        return line

    async def until(self, outcome: str) -> None:
        """Wait for an outcome, whatever comes before it."""
        while await self.next() != outcome:
            assert self.outcomes[-1], "the client program has ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeters:
    """Two versions of a service, a server for what clients ask, and a client to come."""

    hub: Hub
    relay: CheckedRelay
    v1: int
    v2: int

    def publish(self, *resources: Resource) -> None:
        self.hub.publish(SCOPE, {resource.id: resource for resource in resources})

    def publish_all(self, *, to: int) -> None:
        """The whole chain, from the name that is called to an endpoint."""
        self.publish(listener(TARGET, routes_from="r"), routes("r", to="c1"), cluster("c1"))
        self.publish(endpoints("c1", to))

    def asked(self, type_url: str) -> list[tuple[str, ...]]:
        """Every list of names that was asked for, repetitions left out."""
        lists: list[tuple[str, ...]] = []
        for stream in self.relay.streams:
            for entry in stream.entries:
                if not isinstance(entry, Asked) or entry.type_url != type_url:
                    continue
                if not lists or lists[-1] != entry.names:
                    lists.append(entry.names)
        return lists

    def refusals(self) -> list[str]:
        return [
            entry.error
            for stream in self.relay.streams
            for entry in stream.entries
            if isinstance(entry, Asked) and entry.error is not None
        ]

    def told(self, type_url: str) -> int:
        return sum(
            isinstance(entry, Told) and entry.type_url == type_url
            for stream in self.relay.streams
            for entry in stream.entries
        )


@asynccontextmanager
async def greeters() -> AsyncIterator[Greeters]:
    def admit(node: Node, peer: Peer, **_: object) -> tuple[Scope, ...]:
        return (SCOPE,)

    async with AsyncExitStack() as stack:
        v1 = await stack.enter_async_context(greeting("v1"))
        v2 = await stack.enter_async_context(greeting("v2"))
        hub = Hub(clock=time.time)
        server = XdsServer(hub=hub, admit=admit)
        address = await server.start("127.0.0.1", 0)
        stack.push_async_callback(server.close)
        relay = await stack.enter_async_context(recorded(Address(*address)))
        made = Greeters(hub=hub, relay=relay, v1=v1, v2=v2)
        made.publish()
        yield made


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not holds():
            await asyncio.sleep(0.01)


# --- the tests ------------------------------------------------------------------------------------


async def test_routes_and_endpoints_move_calls_on_one_channel_without_an_error() -> None:
    async with greeters() as all_, Caller.run(all_.relay.address) as caller:
        all_.publish_all(to=all_.v1)
        assert await caller.next() == "answer v1"
        all_.publish(cluster("c2"), endpoints("c2", all_.v2), routes("r", to="c2"))
        assert await caller.next() == "answer v2"
        all_.publish(endpoints("c2", all_.v1))
        assert await caller.next() == "answer v1"
        await all_.relay.settled()
        assert all_.refusals() == []
        assert all_.asked(LISTENER) == [(TARGET,)]
        assert all_.asked(HTTP_ROUTES) == [("r",)]
        assert all_.asked(CLUSTER)[0] == ("c1",)
        assert all_.asked(CLUSTER)[-1] == ("c2",)
        assert len(all_.relay.streams) == 1


async def test_what_does_not_exist_at_first_is_sent_when_it_is_made() -> None:
    """The client waits at each step for a resource; the server remembers what was asked for."""
    async with greeters() as all_, Caller.run(all_.relay.address) as caller:
        await until(lambda: all_.asked(LISTENER) == [(TARGET,)])
        all_.publish(listener(TARGET, routes_from="r"))
        await until(lambda: all_.asked(HTTP_ROUTES) == [("r",)])
        all_.publish(routes("r", to="c1"))
        await until(lambda: all_.asked(CLUSTER) == [("c1",)])
        all_.publish(cluster("c1"))
        await until(lambda: all_.asked(ENDPOINTS) == [("c1",)])
        assert all_.told(ENDPOINTS) == 0
        all_.publish(endpoints("c1", all_.v2))
        assert await caller.next() == "answer v2"
        await all_.relay.settled()


async def test_refused_routes_are_not_repeated_and_mending_them_is_enough() -> None:
    async with greeters() as all_, Caller.run(all_.relay.address) as caller:
        all_.publish_all(to=all_.v1)
        assert await caller.next() == "answer v1"
        told = all_.told(HTTP_ROUTES)
        all_.publish(cluster("c2"), endpoints("c2", all_.v2), routes("r", to="c2", regex="("))
        await until(lambda: len(all_.refusals()) == 1)
        assert "regex" in all_.refusals()[0]
        all_.publish(endpoints("c1", all_.v2))  # the old routes are in force, and are served
        assert await caller.next() == "answer v2"
        assert all_.told(HTTP_ROUTES) == told + 1
        all_.publish(endpoints("c1", all_.v1))
        assert await caller.next() == "answer v1"
        all_.publish(routes("r", to="c2", regex="/.*"))
        assert await caller.next() == "answer v2"
        assert len(all_.refusals()) == 1
        await all_.relay.settled()


async def test_after_a_cut_the_client_comes_back_and_follows_again() -> None:
    async with greeters() as all_, Caller.run(all_.relay.address) as caller:
        all_.publish_all(to=all_.v1)
        assert await caller.next() == "answer v1"
        await all_.relay.cut()
        all_.publish(endpoints("c1", all_.v2))
        assert await caller.next() == "answer v2"
        assert len(all_.relay.streams) == 2
        await all_.relay.settled()
