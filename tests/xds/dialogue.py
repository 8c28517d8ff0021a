"""A kit for tests that read like conversations: a hub with its fake Envoys, and no socket.

An Envoy `asks`, `acks` and `nacks` as a real one would: it repeats its names, remembers the last
nonce that it took in and the last version that it accepted. The server `publishes` and `says`;
`line` writes a response down as one line: `CDS a=1 b=2 -c` is a cluster a whose body is "1", b
whose body is "2", and the removal of c.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from aeraki_xds.xds.admission import Node, Peer
from aeraki_xds.xds.field import scan
from aeraki_xds.xds.hub import Hub, Published
from aeraki_xds.xds.message import DeltaRequest, Event, Request, Response, SotwRequest
from aeraki_xds.xds.resource import (
    CLUSTER,
    ENDPOINTS,
    HTTP_ROUTES,
    LISTENER,
    THRIFT_ROUTES,
    Name,
    Resource,
    ResourceId,
    Scope,
    TypeUrl,
)
from aeraki_xds.xds.session import Dialect
from aeraki_xds.xds.stream import Stream, TypeStatus

GLOBAL: Final = Scope("global")
WORDS: Final = {
    CLUSTER: "CDS",
    ENDPOINTS: "EDS",
    LISTENER: "LDS",
    HTTP_ROUTES: "RDS",
    THRIFT_ROUTES: "TRDS",
}
ENDLESS: Final = 1000
"""So many responses are due to no one: the server repeats itself."""

PEER: Final = Peer(address="127.0.0.1:40000")


def resource(
    type_url: TypeUrl, name: str, body: str = "1", *, needs: tuple[ResourceId, ...] = ()
) -> Resource:
    """A resource of any type whose encoded message is the text `body`."""
    return Resource.of(type_url, Name(name), body.encode(), needs)


def cluster(name: str, body: str = "1") -> Resource:
    """An EDS cluster: it needs the endpoints of its own name."""
    return resource(CLUSTER, name, body, needs=(ResourceId(ENDPOINTS, Name(name)),))


def endpoints(name: str, body: str = "1") -> Resource:
    """The endpoints of a cluster."""
    return resource(ENDPOINTS, name, body)


def listener(name: str, body: str = "1") -> Resource:
    """A listener."""
    return resource(LISTENER, name, body)


def routes(name: str, body: str = "1") -> Resource:
    """HTTP routes, of the type that MetaProtocol Proxy reads too."""
    return resource(HTTP_ROUTES, name, body)


def thrift_routes(name: str, body: str = "1") -> Resource:
    """Thrift routes."""
    return resource(THRIFT_ROUTES, name, body)


def body(of: Resource) -> str:
    """The text that a resource was made from."""
    return next(str(value, "utf-8") for number, _, value in scan(of.packed) if number == 2)


def line(response: Response) -> str:
    """A response as one line, in the order in which its resources are written."""
    held = [f"{each.name}={body(each)}" for each in response.resources]
    gone = [f"-{name}" for name in response.removed]
    return " ".join((WORDS[response.type_url], *held, *gone))


def lines(responses: Iterable[Response]) -> list[str]:
    """Responses as lines."""
    return [line(response) for response in responses]


class Server:
    """A hub, and what it told the application about its scopes."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.wanted: list[Scope] = []
        self.idle: list[Scope] = []
        self.hub = Hub(
            clock=lambda: self.now, on_wanted=self.wanted.append, on_idle=self.idle.append
        )

    def publishes(
        self, *resources: Resource, without: Iterable[Resource] = (), scope: Scope = GLOBAL
    ) -> Published:
        """Add or change resources, and remove those of `without`, in one publication."""
        changes: dict[ResourceId, Resource | None] = {each.id: None for each in without}
        changes.update({each.id: each for each in resources})
        return self.hub.publish(scope, changes)

    def says(self, to: Envoy) -> list[Response]:
        """Everything that is due to an Envoy, in the order in which it is written."""
        said: list[Response] = []
        session, quiet = to.stream.session, False
        while (response := self.hub.next(to.stream)) is not None or session.unfinished:
            assert not quiet, "a writer would have stopped before"
            quiet = session.quiet
            if response is not None:
                said.append(response)
            assert len(said) < ENDLESS, "the server does not fall silent"
        return said

    def says_next(self, to: Envoy) -> Response:
        """One response to a slow reader; there has to be one."""
        response = self.hub.next(to.stream)
        assert response is not None
        return response


class Envoy:
    """What both dialects have in common: a stream, what woke it, what was said on it."""

    dialect: Dialect

    def __init__(
        self, server: Server, *, node: str = "envoy", scopes: tuple[Scope, ...] = (GLOBAL,)
    ) -> None:
        self.server = server
        self.woken = 0
        self.nonce: dict[TypeUrl, str] = {}
        self.stream: Stream = server.hub.open(
            node=Node(id=node), peer=PEER, scopes=scopes, dialect=self.dialect, wake=self._wake
        )

    def _wake(self) -> None:
        self.woken += 1

    def asks(self, type_url: TypeUrl, *names: str) -> tuple[Event, ...]:
        """Subscribe: the whole list in SotW, what is added in delta."""
        raise NotImplementedError

    def acks(self, response: Response) -> tuple[Event, ...]:
        """Accept a response."""
        raise NotImplementedError

    def nacks(self, response: Response, error: str) -> tuple[Event, ...]:
        """Refuse a response."""
        raise NotImplementedError

    def leaves(self) -> None:
        """End the stream."""
        self.server.hub.close(self.stream)

    def status(self, type_url: TypeUrl) -> TypeStatus:
        """What the hub shows of one type of this stream."""
        return self.stream.status[type_url]

    def _sends(self, request: Request) -> tuple[Event, ...]:
        return self.server.hub.receive(self.stream, request)


class SotwEnvoy(Envoy):
    """An Envoy on a state-of-the-world stream: each request repeats the whole list."""

    dialect = Dialect.SOTW

    def __init__(
        self, server: Server, *, node: str = "envoy", scopes: tuple[Scope, ...] = (GLOBAL,)
    ) -> None:
        super().__init__(server, node=node, scopes=scopes)
        self.names: dict[TypeUrl, tuple[Name, ...]] = {}
        self.version: dict[TypeUrl, str] = {}

    def asks(
        self,
        type_url: TypeUrl,
        *names: str,
        nonce: str | None = None,
        version: str | None = None,
        error: str | None = None,
    ) -> tuple[Event, ...]:
        """Ask for exactly these names, with the last nonce that was taken in unless told."""
        self.names[type_url] = tuple(Name(name) for name in names)
        return self._sends(
            SotwRequest(
                type_url=type_url,
                names=self.names[type_url],
                nonce=self.nonce.get(type_url, "") if nonce is None else nonce,
                version=self.version.get(type_url, "") if version is None else version,
                error=error,
            )
        )

    def acks(self, response: Response) -> tuple[Event, ...]:
        self.nonce[response.type_url] = response.nonce
        self.version[response.type_url] = response.version
        return self.asks(response.type_url, *self.names.get(response.type_url, ()))

    def nacks(self, response: Response, error: str) -> tuple[Event, ...]:
        self.nonce[response.type_url] = response.nonce
        names = self.names.get(response.type_url, ())
        return self.asks(response.type_url, *names, error=error)


class DeltaEnvoy(Envoy):
    """An Envoy on an incremental stream: each request says what changes."""

    dialect = Dialect.DELTA

    def asks(
        self,
        type_url: TypeUrl,
        *names: str,
        drops: tuple[str, ...] = (),
        has: Mapping[str, str] | None = None,
        nonce: str = "",
        error: str | None = None,
    ) -> tuple[Event, ...]:
        """Subscribe to these names, unsubscribe from `drops`; `has` are versions kept from an
        earlier stream."""
        return self._sends(
            DeltaRequest(
                type_url=type_url,
                subscribe=tuple(Name(name) for name in names),
                unsubscribe=tuple(Name(name) for name in drops),
                initial_versions={Name(name): known for name, known in (has or {}).items()},
                nonce=nonce,
                error=error,
            )
        )

    def drops(self, type_url: TypeUrl, *names: str) -> tuple[Event, ...]:
        """Unsubscribe."""
        return self.asks(type_url, drops=names)

    def acks(self, response: Response) -> tuple[Event, ...]:
        return self.asks(response.type_url, nonce=response.nonce)

    def nacks(self, response: Response, error: str) -> tuple[Event, ...]:
        return self.asks(response.type_url, nonce=response.nonce, error=error)
