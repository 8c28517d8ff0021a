"""What the naive servers serve: what one writes first, on the official protobuf classes.

In: requests, changes. Out: responses, each made for its stream anew. Guaranteed: a stream is woken
by changes of what it asked for and by no others; the rest, encoding once for example, is what the
comparison is about. `on_grpclib` and `on_grpcio` carry it: a task reads and a task writes for each
stream.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from envoy.service.discovery.v3 import discovery_pb2

from aeraki_xds.settings import TlsFiles
from aeraki_xds.xds import HTTP_ROUTES
from peers.commands import Acks, Answer, Command, resource_of

_ROUTES: Final = "/envoy.service.route.v3.RouteDiscoveryService/"
_AGGREGATED: Final = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"
METHODS: Final = {
    _ROUTES + "StreamRoutes": False,
    _ROUTES + "DeltaRoutes": True,
    _AGGREGATED + "StreamAggregatedResources": False,
    _AGGREGATED + "DeltaAggregatedResources": True,
}
"""The RPCs, and whether each is of the delta kind."""

Message = Any  # the official classes have no types


def messages(delta: bool) -> tuple[Message, Message]:
    """The classes of the requests and of the responses."""
    if delta:
        return discovery_pb2.DeltaDiscoveryRequest, discovery_pb2.DeltaDiscoveryResponse
    return discovery_pb2.DiscoveryRequest, discovery_pb2.DiscoveryResponse


class Table:
    """Resources, each with the version at which it was changed, and who asks for them."""

    def __init__(self) -> None:
        self.acks: Final = Acks()
        self.version = 0
        self.resources: dict[str, tuple[int, Message]] = {}
        self.conversations: set[Conversation] = set()

    def fill(self, bodies: Mapping[str, bytes]) -> None:
        """Hold these and no others."""
        self.resources.clear()
        for name, body in bodies.items():
            self._publish(name, body)

    def change(self, command: Command) -> Callable[[], Answer]:
        """Read a command to publish; what is returned does it."""
        return partial(self._publish, *resource_of(command))

    def _publish(self, name: str, body: bytes) -> Answer:
        self.version += 1
        resource = discovery_pb2.DiscoveryResponse().resources.add()
        resource.type_url, resource.value = HTTP_ROUTES, body
        self.resources[name] = (self.version, resource)
        for conversation in self.conversations:
            if name in conversation.names:
                conversation.changed.set()
        return {}

    def tell(self) -> Answer:
        """How many streams there are."""
        return {"streams": len(self.conversations)}


class Conversation:
    """One stream. When `changed` is set, a response may be due."""

    def __init__(self, table: Table, *, delta: bool) -> None:
        self.changed: Final = asyncio.Event()
        self.names: set[str] = set()
        self._table = table
        self._delta = delta
        self._sent: dict[str, int] = {}
        self._nonce = 0
        table.conversations.add(self)

    def close(self) -> None:
        """It is over."""
        self._table.conversations.discard(self)

    def hear(self, request: Message) -> None:
        """Take a request."""
        if request.type_url in (HTTP_ROUTES, ""):
            before = self.names
            if self._delta:
                gone = set(request.resource_names_unsubscribe)
                self.names = before - gone | set(request.resource_names_subscribe)
            else:
                self.names = set(request.resource_names)
            if self.names != before:
                self.changed.set()
        if request.response_nonce and not request.HasField("error_detail"):
            self._table.acks.count()

    def response(self) -> Message | None:
        """The next one, if it is due."""
        self.changed.clear()
        held = self._table.resources
        wanted = {name: held[name] for name in self.names if name in held}
        versions = {name: version for name, (version, _) in wanted.items()}
        if versions == self._sent:
            return None
        known, self._sent = self._sent, versions
        self._nonce += 1
        if self._delta:
            return discovery_pb2.DeltaDiscoveryResponse(
                system_version_info=str(self._table.version),
                type_url=HTTP_ROUTES,
                nonce=str(self._nonce),
                resources=[
                    discovery_pb2.Resource(name=name, version=str(version), resource=resource)
                    for name, (version, resource) in wanted.items()
                    if known.get(name) != version
                ],
            )
        return discovery_pb2.DiscoveryResponse(
            version_info=str(self._table.version),
            type_url=HTTP_ROUTES,
            nonce=str(self._nonce),
            resources=[resource for _, resource in wanted.values()],
        )


def mutual_tls(files: TlsFiles) -> ssl.SSLContext:
    """What Python serves with: who has no certificate of the roots is refused."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    context.load_verify_locations(files.roots)
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(["h2"])
    return context
