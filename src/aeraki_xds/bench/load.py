"""What a load is: how many streams, of whom, asking for what, over how many connections.

In: numbers and names. Out: the asks of any share of it, the same in every process. Plain data, for
it goes to load generators as JSON.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from enum import StrEnum

from aeraki_xds.bench.ask import Ask, envoy, node_id, path_of, small
from aeraki_xds.settings import TlsFiles
from aeraki_xds.xds import HTTP_ROUTES
from aeraki_xds.xds.session import Dialect


class Node(StrEnum):
    """What clients say of themselves in the first request of each stream."""

    ID = "id"
    SMALL = "small"
    ENVOY = "envoy"


def tls_context(files: TlsFiles) -> ssl.SSLContext:
    """For clients of a server that proves an identity and not a host name. Raises OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(files.roots)
    context.load_cert_chain(files.certificate, files.key)
    context.set_alpn_protocols(["h2"])
    return context


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """`streams` streams, `per_connection` on each connection.

    Of `services` names, `name` with `{n}` for its number, stream 0 asks for the first `names_each`,
    stream 1 for those that follow, and so on, again from the first after the last; an empty `name`
    is the wildcard. Clients are of a `namespace`, which a server may hold against their
    certificate. `deaf` of the connections never read. `at_once` connections are made at a time, all
    if it is 0; a stream that is refused is asked for again after `retry` seconds.
    """

    host: str
    port: int
    streams: int
    per_connection: int = 1
    type_url: str = HTTP_ROUTES
    name: str = ""
    services: int = 1
    names_each: int = 1
    delta: bool = False
    aggregated: bool = False
    node: Node = Node.SMALL
    namespace: str = "default"
    tls: TlsFiles | None = None
    deaf: int = 0
    at_once: int = 0
    retry: float | None = None

    @property
    def connections(self) -> int:
        """How many there are."""
        return -(-self.streams // self.per_connection)

    @property
    def reading(self) -> int:
        """How many streams are read from."""
        return max(self.streams - self.deaf * self.per_connection, 0)

    def asks(self, first: int, count: int) -> list[Ask]:
        """What `count` streams from number `first` on ask for."""
        dialect = Dialect.DELTA if self.delta else Dialect.SOTW
        path = path_of(self.type_url, dialect, aggregated=self.aggregated)
        return [
            Ask(
                path=path,
                type_url=self.type_url,
                names=self._names(number),
                node_id=node_id(number // self.per_connection, self.namespace),
                node=self._node(),
            )
            for number in range(first, first + count)
        ]

    def _node(self) -> bytes:
        match self.node:
            case Node.ID:
                return b""
            case Node.SMALL:
                return small(self.namespace)
            case Node.ENVOY:
                return envoy(self.namespace)

    def _names(self, stream: int) -> tuple[str, ...]:
        if not self.name:
            return ()
        first = stream * self.names_each
        return tuple(
            self.name.replace("{n}", str((first + number) % self.services))
            for number in range(self.names_each)
        )
