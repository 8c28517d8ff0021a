"""What is served: a named piece of configuration, encoded once, versioned by its bytes.

A resource is packed into its `Any` when it is made; every response of every stream copies these
bytes. Equal bytes have equal versions on every replica and after every restart, so a reconnecting
proxy is not sent what it already has.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final, NamedTuple, NewType

from aeraki_xds.xds.field import length_delimited, text

TypeUrl = NewType("TypeUrl", str)
Name = NewType("Name", str)
Scope = NewType("Scope", str)

_PREFIX: Final = "type.googleapis.com/"

CLUSTER: Final = TypeUrl(_PREFIX + "envoy.config.cluster.v3.Cluster")
ENDPOINTS: Final = TypeUrl(_PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment")
LISTENER: Final = TypeUrl(_PREFIX + "envoy.config.listener.v3.Listener")
HTTP_ROUTES: Final = TypeUrl(_PREFIX + "envoy.config.route.v3.RouteConfiguration")
SECRET: Final = TypeUrl(_PREFIX + "envoy.extensions.transport_sockets.tls.v3.Secret")
RUNTIME: Final = TypeUrl(_PREFIX + "envoy.service.runtime.v3.Runtime")
EXTENSION_CONFIG: Final = TypeUrl(_PREFIX + "envoy.config.core.v3.TypedExtensionConfig")
THRIFT_ROUTES: Final = TypeUrl(
    _PREFIX + "envoy.extensions.filters.network.thrift_proxy.v3.RouteConfiguration"
)

FULL_STATE: Final = frozenset({CLUSTER, LISTENER})
"""Types whose SotW response is everything there is, and that may be asked for by wildcard
(xDS protocol, "Wildcard" and "Deleting resources")."""

KEEPS_ON_REMOVAL: Final = frozenset({HTTP_ROUTES})
"""Types whose removal is never announced: MetaProtocol Proxy drops the whole delta response that
carries one, and Envoy ignores it. The mesh answers with a default route instead."""


VERSION_WIDTH: Final = 16


def version_of(digest: int) -> str:
    """A version as clients see it: hexadecimal digits, always as many."""
    return f"{digest:0{VERSION_WIDTH}x}"


class ResourceId(NamedTuple):
    """A resource's place in a scope."""

    type_url: TypeUrl
    name: Name


@dataclass(frozen=True, slots=True, eq=False)
class Resource:
    """An encoded resource. Two with equal `version` and id carry the same bytes.

    `needs` are the resources without which this one is of no use: a cluster its endpoints, a
    listener its routes. They say what has to precede what.
    """

    id: ResourceId
    packed: bytes = field(repr=False)
    digest: int
    needs: tuple[ResourceId, ...] = ()

    @classmethod
    def of(
        cls, type_url: TypeUrl, name: Name, body: bytes, needs: tuple[ResourceId, ...] = ()
    ) -> Resource:
        """Pack the encoded message `body` (its own name included) and derive its version."""
        identity = ResourceId(type_url, name)
        packed = text(1, type_url) + length_delimited(2, body)
        hashed = blake2b(length_delimited(1, name.encode()) + packed, digest_size=8)
        return cls(identity, packed, int.from_bytes(hashed.digest(), "big"), needs)

    @property
    def name(self) -> Name:
        """Its name, unique among its type in a scope."""
        return self.id.name

    @property
    def version(self) -> str:
        """Depends on nothing but name, type and bytes."""
        return version_of(self.digest)
