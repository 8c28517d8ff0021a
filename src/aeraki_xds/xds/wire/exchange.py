"""What the conversations of a server share, and how one of them becomes a stream of the hub.

In: the raw node of a first request, and its peer. Out: an open stream, or the status with which it
is refused, counted. Guaranteed: nobody is a stream before `admit` has said what it may see.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import structlog
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from aeraki_xds.xds.admission import Admit, Node, Peer, Refusal, RefusalReason
from aeraki_xds.xds.field import MalformedError
from aeraki_xds.xds.hub import Hub
from aeraki_xds.xds.stream import Stream
from aeraki_xds.xds.wire.bodies import Bodies
from aeraki_xds.xds.wire.counts import Counts, StreamRefusal
from aeraki_xds.xds.wire.drain import Drain
from aeraki_xds.xds.wire.limits import Limits
from aeraki_xds.xds.wire.methods import Method
from aeraki_xds.xds.wire.node import Nodes

_STATUS: Final = {
    RefusalReason.INVALID: Status.INVALID_ARGUMENT,
    RefusalReason.DENIED: Status.PERMISSION_DENIED,
    RefusalReason.OVERLOADED: Status.RESOURCE_EXHAUSTED,
}

_REFUSALS: Final = {
    RefusalReason.INVALID: StreamRefusal.INVALID,
    RefusalReason.DENIED: StreamRefusal.DENIED,
    RefusalReason.OVERLOADED: StreamRefusal.OVERLOADED,
}

_LARGEST_NODE: Final = 256 << 10
"""Bytes: a stock Envoy's is 61 KB, and it is decoded in one go."""

_LOG: Final = structlog.get_logger("aeraki_xds.xds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One server's."""

    hub: Hub
    admit: Admit
    drain: Drain
    bodies: Bodies
    limits: Limits
    counts: Counts
    nodes: Nodes = field(default_factory=Nodes)

    def open(
        self, raw: memoryview | None, *, peer: Peer, method: Method, wake: Callable[[], None]
    ) -> Stream:
        """Admit a stream. Raises GRPCError."""
        known, whole = self._node(raw)
        scopes = self.admit(whole, peer, only=method.only)
        if isinstance(scopes, Refusal):
            self.counts.streams_refused[_REFUSALS[scopes.reason]] += 1
            raise GRPCError(_STATUS[scopes.reason], scopes.message)
        stream = self.hub.open(
            node=known,  # what the extensions decide is decided
            peer=peer,
            scopes=scopes,
            dialect=method.dialect,
            wake=wake,
            only=method.only,
        )
        dialect = method.dialect.value
        _LOG.info("stream opened", **named(stream), dialect=dialect, scopes=list(scopes))
        return stream

    def _node(self, raw: memoryview | None) -> tuple[Node, Node]:
        """A node to be kept, and with its extensions."""
        data = raw or memoryview(b"")
        if len(data) > _LARGEST_NODE:
            message = f"a node of {len(data)} bytes: {_LARGEST_NODE} is the most"
            raise GRPCError(Status.RESOURCE_EXHAUSTED, message)
        try:
            known = self.nodes.read(data)
        except MalformedError as failure:
            raise GRPCError(Status.INVALID_ARGUMENT, str(failure)) from failure
        if not known.id:
            raise GRPCError(Status.INVALID_ARGUMENT, "the first request names no node.id")
        return known, known.whole(data)


def named(stream: Stream) -> dict[str, object]:
    """A stream, in a log."""
    return {"stream": stream.number, "node": stream.node.id, "peer": stream.peer.address}
