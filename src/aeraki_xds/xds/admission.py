"""Who connects, and what it is allowed to see.

The application hands the server one function, `Admit`: from a node and its peer to the scopes that
the stream sees, or a refusal. What a scope is made of (namespace, capabilities, bind address) is
the application's business; here it is an opaque key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from aeraki_xds.xds.identity import SpiffeId
from aeraki_xds.xds.resource import Scope, TypeUrl


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """`envoy.config.core.v3.Node`, as far as it decides anything.

    `metadata` is plain JSON. `extensions` are the raw encoded entries of the node's extension
    list, about 61 KB in a stock Envoy and the same for every proxy of one build: decode them once
    per `extensions_digest`.
    """

    id: str
    cluster: str = ""
    metadata: Mapping[str, object] = field(default_factory=dict)
    user_agent: str = ""
    extensions: bytes = field(default=b"", repr=False)
    extensions_digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """The other end of the connection. `identity` is what its certificate proves, until
    `expires_at` (seconds since 1970); both are None in plaintext.
    """

    address: str
    identity: SpiffeId | None = None
    expires_at: float | None = None


class RefusalReason(Enum):
    """Why a stream is not served; each becomes a gRPC status."""

    INVALID = "invalid"
    DENIED = "denied"
    OVERLOADED = "overloaded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A stream that is not served, and what its owner should know."""

    reason: RefusalReason
    message: str


class Admit(Protocol):
    """Decides about a stream when its first request has come."""

    def __call__(
        self, node: Node, peer: Peer, *, only: TypeUrl | None
    ) -> tuple[Scope, ...] | Refusal:
        """The scopes of the stream, most specific first. `only`: the type of the service that it
        is a stream of, None on an aggregated one (ADS).
        """
