"""A strict fake of MetaProtocol Proxy's route client, for its C++ build cannot be had here.

In: the address of a server and the names of route resources, one per listener. Out: subscriptions
that say which configuration is in force and what the real client would have complained about. What
is imitated is the data plane's `RdsRouteConfigSubscription`:

- each listener has a stream of its own, on a connection of its own (its bootstrap allows one
  request per connection), and all bear one node id, in every request;
- a stream asks for one name. An update is accepted only if it holds exactly one resource, of
  exactly that name; anything else is refused;
- a delta response that removes something is dropped, with the resources in it;
- a listener waits for its first routes, but not for ever: after `init_limit_s`, or a refusal, it
  opens without any;
- a stream that ends is opened again, with the version that is in force.

Every refusal and dropped response is a fault: the server has to spare this client all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final, Self

from envoy.config.route.v3 import route_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import DecodeError
from grpclib.client import Channel
from grpclib.client import Stream as GrpcStream
from grpclib.const import Cardinality
from grpclib.encoding.base import CodecBase
from grpclib.exceptions import GRPCError, StreamTerminatedError

from aeraki_xds.demo.http import Address

TYPE_URL: Final = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
_SERVICE: Final = "/envoy.service.route.v3.RouteDiscoveryService/"
_SOTW: Final = (
    "StreamRoutes",
    discovery_pb2.DiscoveryRequest,
    discovery_pb2.DiscoveryResponse,
)
_DELTA: Final = (
    "DeltaRoutes",
    discovery_pb2.DeltaDiscoveryRequest,
    discovery_pb2.DeltaDiscoveryResponse,
)
_INTERNAL: Final = 13
_BACK_OFF_S: Final = 0.1
_PATIENCE_S: Final = 30.0


class _Protobuf(CodecBase):
    """Messages of the official classes."""

    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:
        encoded: bytes = message.SerializeToString()
        return encoded

    def decode(self, data: bytes, message_type: Any) -> Any:
        return message_type.FromString(data)


class _RefusedError(Exception):
    """What the real client throws, or returns as an error, and so refuses."""


class RouteSubscription:
    """The routes of one listener. `routes` are in force; None means that there are none."""

    def __init__(self, name: str, *, node_id: str, delta: bool) -> None:
        self.name = name
        self.routes: Any = None
        self.version = ""
        self.updates = 0
        self.streams = 0
        self.faults: list[str] = []
        self.opened_without_routes = False
        self._node_id = node_id
        self._delta = delta
        self._changed = asyncio.Event()

    @property
    def clusters(self) -> list[str]:
        """Where calls go, in the order of the routes."""
        if self.routes is None:
            return []
        return [
            cluster
            for host in self.routes.virtual_hosts
            for route in host.routes
            for cluster in (
                [each.name for each in route.route.weighted_clusters.clusters]
                or [route.route.cluster]
            )
        ]

    async def until(self, holds: Callable[[RouteSubscription], bool]) -> None:
        """Wait until something is so. Raises AssertionError with what is so instead."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                while not holds(self):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            message = f"{self.name} sends to {self.clusters}, faults: {self.faults}"
            raise AssertionError(message) from None

    async def run(self, server: Address) -> None:
        """Keep a stream open, until cancelled."""
        while True:
            with contextlib.suppress(GRPCError, StreamTerminatedError, OSError):
                await self._stream(server)
            await asyncio.sleep(_BACK_OFF_S)  # the real one's is jittered, 0.1 to 1 s

    async def give_up_waiting(self, init_limit_s: float) -> None:
        """The listener opens after this time, come what may."""
        await asyncio.sleep(init_limit_s)
        if self.routes is None:
            self._open_without()

    def _open_without(self) -> None:
        self.opened_without_routes = True
        self._changed.set()

    async def _stream(self, server: Address) -> None:
        path, request, response = _DELTA if self._delta else _SOTW
        channel = Channel(server.host, server.port, codec=_Protobuf())
        try:
            async with channel.request(
                _SERVICE + path, Cardinality.STREAM_STREAM, request, response
            ) as stream:
                await stream.send_message(self._first())
                self.streams += 1
                self._changed.set()
                while (message := await stream.recv_message()) is not None:
                    await self._take(stream, message)
        finally:
            channel.close()

    def _first(self) -> Any:
        if not self._delta:
            return self._request(version_info=self.version)
        request = self._request(resource_names_subscribe=[self.name])
        if self.version:
            request.initial_resource_versions[self.name] = self.version
        return request

    def _request(self, **fields: Any) -> Any:
        if self._delta:
            request = discovery_pb2.DeltaDiscoveryRequest(type_url=TYPE_URL, **fields)
        else:
            request = discovery_pb2.DiscoveryRequest(
                type_url=TYPE_URL, resource_names=[self.name], **fields
            )
        request.node.id = self._node_id
        request.node.cluster = "metaprotocol"
        return request

    async def _take(self, stream: GrpcStream[Any, Any], response: Any) -> None:
        request = self._request(response_nonce=response.nonce)
        try:
            self._accept(response)
        except _RefusedError as refusal:
            self.faults.append(str(refusal))
            request.error_detail.code = _INTERNAL
            request.error_detail.message = str(refusal)
            if self.routes is None:
                self._open_without()
        if not self._delta:
            request.version_info = self.version
        await stream.send_message(request)
        self._changed.set()

    def _accept(self, response: Any) -> None:
        if self._delta and response.removed_resources:
            # Logged and returned early: the resources beside it are lost, and it is an ACK.
            self.faults.append(f"removal of {list(response.removed_resources)}: dropped")
            return
        if len(response.resources) != 1:
            message = f"Unexpected RDS resource length: {len(response.resources)}"
            raise _RefusedError(message)
        (resource,) = response.resources
        packed = resource.resource if self._delta else resource
        try:
            routes = route_pb2.RouteConfiguration.FromString(packed.value)
        except DecodeError:
            message = "Unable to unpack"
            raise _RefusedError(message) from None
        if packed.type_url != TYPE_URL or routes.name != self.name:
            message = f"Unexpected RDS configuration (expecting {self.name}): {routes.name}"
            raise _RefusedError(message)
        self.routes = routes
        self.version = resource.version if self._delta else response.version_info
        self.updates += 1


class MetaProtocolProxy:
    """A sidecar with some listeners; made by `MetaProtocolProxy.run` only."""

    def __init__(self, subscriptions: Sequence[RouteSubscription]) -> None:
        self.subscriptions = {each.name: each for each in subscriptions}

    @classmethod
    @contextlib.asynccontextmanager
    async def run(
        cls,
        server: Address,
        *names: str,
        delta: bool,
        node_id: str = "sidecar~127.0.0.1~client-1.demo~demo.svc.cluster.local",
        init_limit_s: float = 15.0,
    ) -> AsyncIterator[Self]:
        """Subscribe each listener for the length of the block."""
        made = [RouteSubscription(name, node_id=node_id, delta=delta) for name in names]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each.run(server)) for each in made]
            tasks += [group.create_task(each.give_up_waiting(init_limit_s)) for each in made]
            try:
                yield cls(made)
            finally:
                for task in tasks:
                    task.cancel()

    def __getitem__(self, name: str) -> RouteSubscription:
        return self.subscriptions[name]

    def assert_content(self) -> None:
        """Every listener has had its routes in time, and nothing was refused or dropped."""
        for each in self.subscriptions.values():
            assert each.faults == []
            assert each.routes is not None
            assert not each.opened_without_routes
