"""What went over the wire, stream by stream, decoded by the official classes.

In: the path of an RPC and the bytes of its messages, in the order in which they passed. Out: a
`Recording` of `Asked`, `Told` and `Closed` entries, plain frozen data, and a transcript for people.
Guaranteed: a request stands where it was before the server could read it, a response where it was
after the server had written it; so what a server knew when it wrote a response is some beginning of
the requests before it. Nothing here is the code under test: it must not share its mistakes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from envoy.service.discovery.v3 import discovery_pb2

from tests.recording.content import inner_name
from tests.recording.kinds import HTTP_ROUTES, WORDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request. `names` are said in SotW only; `subscribe` to `initial` in delta only."""

    type_url: str
    nonce: str = ""
    error: str | None = None
    node: str = ""
    names: tuple[str, ...] = ()
    version: str = ""
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    initial: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A resource of a response. In SotW it has no name and version of its own, unless wrapped."""

    type_url: str
    body: bytes = field(repr=False)
    name: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A response; `removed` in delta only."""

    type_url: str
    nonce: str
    version: str
    items: tuple[Item, ...]
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """The end of a stream: who ended it and, if it was told, the gRPC status."""

    by: str
    status: str = ""


Entry = Asked | Told | Closed


@dataclass(slots=True, kw_only=True, eq=False)
class StreamRecord:
    """One stream, from its first message on."""

    connection: int
    path: str
    entries: list[Entry] = field(default_factory=list)

    @property
    def delta(self) -> bool:
        """Whether the stream speaks the incremental dialect."""
        return "/Delta" in self.path

    @property
    def implied(self) -> str:
        """The type of a service that has only one; nothing on an aggregated stream."""
        return HTTP_ROUTES if ".RouteDiscoveryService/" in self.path else ""

    @property
    def open(self) -> bool:
        """Whether it had not ended when it was last looked at."""
        return not any(isinstance(entry, Closed) for entry in self.entries)

    @property
    def node(self) -> str:
        """Who is asking."""
        return next((e.node for e in self.entries if isinstance(e, Asked)), "")

    def asked(self, message: bytes) -> None:
        """Note a request. Raises DecodeError."""
        self.entries.append(_read_delta(message, self) if self.delta else _read_sotw(message, self))

    def told(self, message: bytes) -> None:
        """Note a response. Raises DecodeError."""
        self.entries.append(_read_changes(message) if self.delta else _read_state(message))

    def closed(self, by: str, status: str = "") -> None:
        """Note the end, once."""
        if self.open:
            self.entries.append(Closed(by=by, status=status))


@dataclass(slots=True, kw_only=True, eq=False)
class Recording:
    """Everything that one relay saw."""

    streams: list[StreamRecord] = field(default_factory=list)

    def stream(self, connection: int, path: str) -> StreamRecord:
        """Begin a stream."""
        made = StreamRecord(connection=connection, path=path)
        self.streams.append(made)
        return made


def transcript(stream: StreamRecord, *, around: int | None = None, reach: int = 8) -> str:
    """The entries of a stream as lines, or those around one, which is marked."""
    first = 0 if around is None else max(0, around - reach)
    last = len(stream.entries) if around is None else around + reach // 2
    lines = [f"{stream.path} of {stream.node!r} on connection {stream.connection}"]
    for index, entry in enumerate(stream.entries[first:last], first):
        sign = "!!" if index == around else "  "
        lines.append(f"{sign} {index:3} {line(entry)}")
    return "\n".join(lines)


def line(entry: Entry) -> str:
    """An entry as one line: `>` is a request, `<` a response."""
    match entry:
        case Asked():
            return " ".join((">", WORDS.get(entry.type_url, entry.type_url), *_said(entry)))
        case Told():
            names = [f"{each.name}@{each.version}" if each.version else each.name
                     for each in entry.items]  # fmt: skip
            gone = [f"-{name}" for name in entry.removed]
            head = f"< {WORDS.get(entry.type_url, entry.type_url)} {entry.version} #{entry.nonce}"
            return " ".join((head, *names, *gone))
        case Closed():
            return f"x closed by the {entry.by} {entry.status}".rstrip()


def _said(entry: Asked) -> Iterator[str]:
    if entry.nonce:
        yield f"{'NACK' if entry.error is not None else 'ACK'} #{entry.nonce}"
    yield from entry.names
    yield from (f"+{name}" for name in entry.subscribe)
    yield from (f"-{name}" for name in entry.unsubscribe)
    yield from (f"has {name}@{version}" for name, version in entry.initial.items())
    if entry.error is not None:
        yield repr(entry.error[:200])


def _read_sotw(message: bytes, stream: StreamRecord) -> Asked:
    read = discovery_pb2.DiscoveryRequest.FromString(message)
    return Asked(
        type_url=read.type_url or stream.implied,
        nonce=read.response_nonce,
        error=_error(read),
        node=read.node.id,
        names=tuple(read.resource_names),
        version=read.version_info,
    )


def _read_delta(message: bytes, stream: StreamRecord) -> Asked:
    read = discovery_pb2.DeltaDiscoveryRequest.FromString(message)
    return Asked(
        type_url=read.type_url or stream.implied,
        nonce=read.response_nonce,
        error=_error(read),
        node=read.node.id,
        subscribe=tuple(read.resource_names_subscribe),
        unsubscribe=tuple(read.resource_names_unsubscribe),
        initial=dict(read.initial_resource_versions),
    )


def _error(read: Any) -> str | None:
    return str(read.error_detail.message) if read.HasField("error_detail") else None


def _read_state(message: bytes) -> Told:
    read = discovery_pb2.DiscoveryResponse.FromString(message)
    return Told(
        type_url=read.type_url,
        nonce=read.nonce,
        version=read.version_info,
        items=tuple(_named(each.type_url, each.value) for each in read.resources),
    )


def _read_changes(message: bytes) -> Told:
    read = discovery_pb2.DeltaDiscoveryResponse.FromString(message)
    return Told(
        type_url=read.type_url,
        nonce=read.nonce,
        version=read.system_version_info,
        items=tuple(
            Item(
                type_url=each.resource.type_url,
                body=each.resource.value,
                name=each.name,
                version=each.version,
            )
            for each in read.resources
        ),
        removed=tuple(read.removed_resources),
    )


def _named(type_url: str, body: bytes) -> Item:
    """A bare resource, by the name that its own message gives it."""
    return Item(type_url=type_url, body=body, name=inner_name(type_url, body) or "")
