"""Who is connected, what they watch, what they were sent and what they said to it.

In: the hub's streams, which are only read. Out: pages as plain data. All text of a peer (node id,
metadata, names and types that it asks for, why it refused) is bounded and escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import Enum
from typing import Final

from aeraki_xds.admin.query import MESSAGE, TEXT, PageError, Query
from aeraki_xds.telemetry import shown
from aeraki_xds.turns import in_turns
from aeraki_xds.xds.admission import Peer
from aeraki_xds.xds.hub import Hub
from aeraki_xds.xds.resource import TypeUrl
from aeraki_xds.xds.stream import Stream
from aeraki_xds.xds.tally import short_name

_METADATA: Final = (
    "AERAKI_BIND",
    "CLUSTER_ID",
    "INTERCEPTION_MODE",
    "ISTIO_VERSION",
    "MESH_ID",
    "NAMESPACE",
    "SERVICE_ACCOUNT",
    "WORKLOAD_NAME",
)
"""What is shown of a node's metadata: a sidecar's runs to hundreds of kilobytes."""


class State(Enum):
    """How a proxy stands with one type."""

    SYNCED = "SYNCED"
    STALE = "STALE"
    NOT_SENT = "NOT_SENT"
    ERROR = "ERROR"


def state_of(stream: Stream, type_url: TypeUrl) -> State:
    """ERROR while a version that the proxy refused is still what we would serve; STALE while it
    owes an answer or we owe it something; NOT_SENT when there was nothing to send.
    """
    watch = stream.session.watches[type_url]
    status = stream.status_of(type_url)
    if watch.parked or (status.sent_nonce and status.refused_nonce == status.sent_nonce):
        return State.ERROR
    if not status.sent_nonce:
        return State.NOT_SENT
    if status.acked_nonce != status.sent_nonce or watch.dirty:
        return State.STALE
    return State.SYNCED


def service_of(stream: Stream) -> str:
    """The discovery service of a stream: ads, or the one of a type."""
    return "ads" if stream.only is None else short_name(stream.only)


class Proxies:
    """The pages about proxies."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def adsz(self, query: Query) -> object:
        """The connected clients."""
        streams = self._matching(query)
        clients = [_client(each, query) async for each in in_turns(query.page(streams))]
        return {**query.paged("clients", clients, len(streams)), "totalClients": len(streams)}

    async def syncz(self, query: Query) -> object:
        """What each was sent, ACKed and NACKed, by type."""
        streams = self._matching(query)
        entries = [_sync(each, query) async for each in in_turns(query.page(streams))]
        return query.paged("streams", entries, len(streams))

    async def connections(self, query: Query) -> object:
        """The TCP connections, each with its streams, oldest first."""
        by_address: dict[str, list[Stream]] = {}
        for stream in self._matching(query):
            by_address.setdefault(stream.peer.address, []).append(stream)
        connections = list(by_address.items())
        entries = [
            _connection(address, held, query)
            async for address, held in in_turns(query.page(connections))
        ]
        return query.paged("connections", entries, len(connections))

    def _matching(self, query: Query) -> Sequence[Stream]:
        streams = self._hub.streams
        if not query.proxy:
            return streams
        found = [stream for stream in streams if _is_meant(stream, query.proxy)]
        if not found:
            message = f"no connected proxy has {shown(query.proxy, TEXT)!r} in its node id"
            raise PageError(404, message)
        return found


def _is_meant(stream: Stream, text: str) -> bool:
    """An operator copies what the pages show, which may be escaped."""
    return text in stream.node.id or text in shown(stream.node.id, TEXT)


def _client(stream: Stream, query: Query) -> dict[str, object]:
    metadata = stream.node.metadata
    watches = {}
    more = {}
    for type_url in query.first(sorted(stream.session.watches)):
        names = stream.session.watches[type_url].subscription.names
        watches[shown(type_url, TEXT)] = query.listed(names)
        if len(names) > query.names:
            more[shown(type_url, TEXT)] = len(names)
    client: dict[str, object] = {
        "connectionId": f"{shown(stream.node.id, TEXT)}-{stream.number}",
        "connectedAt": _moment(stream.connected_at),
        "address": shown(stream.peer.address, TEXT),
        **_proven(stream.peer),
        "dialect": stream.session.dialect.value,
        "service": service_of(stream),
        "userAgent": shown(stream.node.user_agent, TEXT),
        "metadata": {key: _plain(metadata[key]) for key in _METADATA if key in metadata},
        "watches": watches,
    }
    if more:
        client |= {"watchTotals": more, "truncated": True}
    return client


def _proven(peer: Peer) -> dict[str, object]:
    """What a peer's certificate says, if it has one."""
    if peer.identity is None or peer.expires_at is None:
        return {}
    return {
        "identity": shown(str(peer.identity), TEXT),
        "certificateEndsAt": _moment(peer.expires_at),
    }


def _connection(address: str, streams: Sequence[Stream], query: Query) -> dict[str, object]:
    return {
        "address": shown(address, TEXT),
        "connectedAt": _moment(min(stream.connected_at for stream in streams)),
        "nodes": query.listed({stream.node.id for stream in streams}),
        "streams": [
            {
                "stream": stream.number,
                "dialect": stream.session.dialect.value,
                "service": service_of(stream),
            }
            for stream in query.first(streams)
        ],
        "streamTotal": len(streams),
        "truncated": len(streams) > query.names,
    }


def _sync(stream: Stream, query: Query) -> dict[str, object]:
    watches = stream.session.watches
    return {
        "stream": stream.number,
        "node": shown(stream.node.id, TEXT),
        "userAgent": shown(stream.node.user_agent, TEXT),
        "peer": shown(stream.peer.address, TEXT),
        "dialect": stream.session.dialect.value,
        "service": service_of(stream),
        "scopes": [shown(scope, TEXT) for scope in stream.scopes],
        "connectedAt": _moment(stream.connected_at),
        "types": {
            shown(type_url, TEXT): _type(stream, type_url, query)
            for type_url in query.first(sorted(watches))
        },
        "truncated": len(watches) > query.names,
    }


def _type(stream: Stream, type_url: TypeUrl, query: Query) -> dict[str, object]:
    watch = stream.session.watches[type_url]
    status = stream.status_of(type_url)
    names = watch.subscription.names
    return {
        "state": state_of(stream, type_url).value,
        "subscribed": query.listed(names),
        "subscribedTotal": len(names),
        "wildcard": watch.subscription.wildcard,
        "held": len(watch.sent),
        "parked": query.listed(watch.parked),
        "parkedTotal": len(watch.parked),
        "sent": {
            "nonce": status.sent_nonce,
            "version": status.sent_version,
            "at": _moment(status.sent_at) if status.sent_nonce else None,
        },
        "acked": {"nonce": status.acked_nonce, "version": status.acked_version},
        "nacks": status.nacks,
        "stale": status.stale,
        "lastError": shown(status.last_error, MESSAGE),
        "truncated": max(len(names), len(watch.parked)) > query.names,
    }


def _moment(seconds: float) -> str:
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def _plain(value: object) -> object:
    """A value of somebody's metadata, if it is not a tree."""
    if isinstance(value, str):
        return shown(value, TEXT)
    return value if value is None or isinstance(value, bool | float | int) else "…"
