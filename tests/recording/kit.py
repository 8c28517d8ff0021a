"""Recordings made by hand, line by line, of resources that Envoy would take.

    talk = Sotw()
    talk.asks(CLUSTER)
    talk.tells(CLUSTER, cluster("a"))
    talk.acks(CLUSTER)

Unless told otherwise a client repeats its names and the last nonce, and a server counts its nonces
and makes its versions from content.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, Final

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2,
)

from tests.recording.kinds import CLUSTER, ENDPOINTS, HTTP_ROUTES, LISTENER, PREFIX
from tests.recording.recording import Asked, Item, Recording, StreamRecord, Told

ADS: Final = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"
RDS: Final = "/envoy.service.route.v3.RouteDiscoveryService/"


def cluster(name: str, seconds: int = 1, *, eds: bool = False) -> Item:
    """Its connect timeout tells contents apart; with `eds` its endpoints come from the server."""
    made = cluster_pb2.Cluster(name=name)
    made.connect_timeout.FromSeconds(seconds)
    made.type = cluster_pb2.Cluster.EDS if eds else cluster_pb2.Cluster.STATIC
    return _item(CLUSTER, name, made)


def endpoints(name: str, port: int = 1) -> Item:
    """One endpoint on loopback."""
    made = endpoint_pb2.ClusterLoadAssignment(cluster_name=name)
    address = made.endpoints.add().lb_endpoints.add().endpoint.address.socket_address
    address.address, address.port_value = "127.0.0.1", port
    return _item(ENDPOINTS, name, made)


def listener(name: str, routes_from: str = "r", prefix: str = "p") -> Item:
    """A listener for HTTP whose routes come from the server; its stat prefix is its content."""
    manager = http_connection_manager_pb2.HttpConnectionManager(stat_prefix=prefix)
    manager.rds.route_config_name = routes_from
    made = listener_pb2.Listener(name=name)
    made.filter_chains.add().filters.add(name="hcm").typed_config.Pack(manager)
    return _item(LISTENER, name, made)


def routes(name: str, to: str = "a") -> Item:
    """HTTP routes that send everything to one cluster."""
    made = route_pb2.RouteConfiguration(name=name)
    route = made.virtual_hosts.add(name="all", domains=["*"]).routes.add()
    route.match.prefix = "/"
    route.route.cluster = to
    return _item(HTTP_ROUTES, name, made)


def _item(type_url: str, name: str, message: Any) -> Item:
    assert type_url == PREFIX + message.DESCRIPTOR.full_name
    body = message.SerializeToString(deterministic=True)
    return Item(type_url=type_url, body=body, name=name, version=_digest(body))


def _digest(body: bytes) -> str:
    return blake2b(body, digest_size=4).hexdigest()


@dataclass(slots=True, kw_only=True)
class _Client:
    names: tuple[str, ...] = ()
    nonce: str = ""


class Sotw:
    """A conversation in the state-of-the-world dialect."""

    dialect = "Stream"

    def __init__(self, path: str = "", *, node: str = "n") -> None:
        self.stream = StreamRecord(
            connection=1, path=path or f"{ADS}{self.dialect}AggregatedResources"
        )
        self._node = node
        self._told = 0
        self._types: dict[str, _Client] = {}

    def asks(self, type_url: str, *names: str, nonce: str | None = None, **more: Any) -> None:
        """Ask for these names."""
        client = self._of(type_url)
        client.names = names
        self._says(Asked(type_url=type_url, names=names, nonce=self._nonce(client, nonce), **more))

    def acks(self, type_url: str) -> None:
        """Accept the newest response."""
        self.asks(type_url, *self._of(type_url).names)

    def nacks(self, type_url: str, error: str = "no") -> None:
        """Refuse the newest response."""
        self.asks(type_url, *self._of(type_url).names, error=error)

    def tells(
        self,
        type_url: str,
        *items: Item,
        removed: tuple[str, ...] = (),
        nonce: str | None = None,
        version: str | None = None,
    ) -> str:
        """Respond; returns the nonce."""
        self._told += 1
        nonce = f"{self._told:04}" if nonce is None else nonce
        if version is None:
            version = _digest(b"".join(item.body for item in items))
        told = Told(
            type_url=type_url,
            nonce=nonce,
            version=version,
            items=tuple(map(self._plain, items)),
            removed=removed,
        )
        self.stream.entries.append(told)
        self._of(type_url).nonce = nonce
        return nonce

    def _plain(self, item: Item) -> Item:
        return replace(item, version="")

    def _of(self, type_url: str) -> _Client:
        return self._types.setdefault(type_url, _Client())

    def _nonce(self, client: _Client, nonce: str | None) -> str:
        return client.nonce if nonce is None else nonce

    def _says(self, asked: Asked) -> None:
        first = not any(isinstance(entry, Asked) for entry in self.stream.entries)
        self.stream.entries.append(replace(asked, node=self._node) if first else asked)


class Delta(Sotw):
    """A conversation in the incremental dialect."""

    dialect = "Delta"

    def asks(self, type_url: str, *names: str, nonce: str | None = None, **more: Any) -> None:
        """Subscribe to names; `drops` are names no longer wanted, `has` versions brought along."""
        drops: tuple[str, ...] = more.pop("drops", ())
        has: Mapping[str, str] = more.pop("has", {})
        asked = Asked(
            type_url=type_url,
            subscribe=names,
            unsubscribe=drops,
            initial=has,
            nonce=nonce or "",
            **more,
        )
        self._says(asked)

    def acks(self, type_url: str) -> None:
        self.asks(type_url, nonce=self._of(type_url).nonce)

    def nacks(self, type_url: str, error: str = "no") -> None:
        self.asks(type_url, nonce=self._of(type_url).nonce, error=error)

    def _plain(self, item: Item) -> Item:
        return item


def recording(*talks: Sotw) -> Recording:
    """Conversations that one relay saw."""
    return Recording(streams=[talk.stream for talk in talks])
