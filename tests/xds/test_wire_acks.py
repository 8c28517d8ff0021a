"""The shortcut for ACKs: a request is recognised only where decoding it would have said the same.

Two conversations are told the same bytes; one of them decodes everything.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest
from envoy.service.discovery.v3 import discovery_pb2
from grpclib.exceptions import GRPCError
from hypothesis import given, settings
from hypothesis import strategies as st

from aeraki_xds.xds.admission import Peer
from aeraki_xds.xds.field import length_delimited, text
from aeraki_xds.xds.hub import Hub
from aeraki_xds.xds.message import DeltaRequest, SotwRequest
from aeraki_xds.xds.resource import CLUSTER, ENDPOINTS, HTTP_ROUTES, Name, Resource, TypeUrl
from aeraki_xds.xds.session import Dialect
from aeraki_xds.xds.stream import TypeStatus
from aeraki_xds.xds.wire.acks import Acks
from aeraki_xds.xds.wire.bodies import Bodies
from aeraki_xds.xds.wire.conversation import Conversation
from aeraki_xds.xds.wire.counts import Counts
from aeraki_xds.xds.wire.drain import Drain
from aeraki_xds.xds.wire.exchange import Exchange
from aeraki_xds.xds.wire.limits import DEFAULT_LIMITS
from aeraki_xds.xds.wire.methods import Method
from aeraki_xds.xds.wire.quotas import Quotas
from tests.xds.dialogue import GLOBAL, cluster, endpoints, routes

TYPES: Final = (CLUSTER, ENDPOINTS, HTTP_ROUTES)
LONG_NAME: Final = "r" * 300
"""Together with its type it is kept as a digest."""


class Outbox:
    """Takes everything."""

    empty = True

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def begin(self) -> None:
        pass

    def put(self, body: bytes, tail: bytes) -> bool:
        self.written.append((body + tail)[5:])
        return True


class Blind(Acks):
    """Recognises nothing."""

    def read(self, data: bytes) -> None:
        return None


class Side:
    """A hub with one conversation."""

    def __init__(self, dialect: Dialect, *, blind: bool, only: TypeUrl | None = None) -> None:
        self.hub = Hub(clock=lambda: 0.0)
        counts = Counts()
        self.drain = Drain(loop=asyncio.get_running_loop(), counts=counts)
        self.outbox = Outbox()
        self.ends: list[GRPCError | None] = []
        outbox: Any = self.outbox
        self.conversation = Conversation(
            exchange=Exchange(
                hub=self.hub,
                admit=lambda node, peer, *, only: (GLOBAL,),
                drain=self.drain,
                bodies=Bodies(),
                limits=DEFAULT_LIMITS,
                counts=counts,
            ),
            method=Method(dialect=dialect, only=only),
            peer=Peer(address="-"),
            account=Quotas(limits=DEFAULT_LIMITS, counts=counts).of("peer"),
            outbox=outbox,
            end=self.ends.append,
        )
        if blind:
            self.conversation._acks = Blind(dialect)

    def publish(self, *resources: Resource) -> None:
        self.hub.publish(GLOBAL, {each.id: each for each in resources})

    def told(self, message: bytes) -> None:
        self.conversation.receive(message)
        self.drain._run()

    def state(self) -> dict[str, Any]:
        """What the hub knows of the stream, and what was written to it."""
        return {
            "ends": [str(failure) for failure in self.ends],
            "written": self.outbox.written,
            "status": [
                {type_url: told(status) for type_url, status in stream.status.items()}
                for stream in self.hub.streams
            ],
            "watches": [
                {
                    type_url: (watch.sent, watch.parked, watch.subscription.names, watch.nonce)
                    for type_url, watch in stream.session.watches.items()
                }
                for stream in self.hub.streams
            ],
            "accepted": [
                getattr(watch, "acked", None)
                for stream in self.hub.streams
                for watch in stream.session.watches.values()
            ],
        }


def told(status: TypeStatus) -> tuple[object, ...]:
    """What was sent and said, and how many of each there were; not when."""
    totals = status.totals
    return (
        (status.sent_nonce, status.sent_version, status.acked_nonce, status.acked_version),
        (status.last_error, status.refused_nonce, status.nacks, status.stale),
        (totals.acks, totals.nacks, totals.stale, len(status.due), len(status.awaited)),
    )


def written(side: Side, dialect: Dialect) -> list[Any]:
    """What was written, in the official class."""
    sotw = discovery_pb2.DiscoveryResponse
    kind = sotw if dialect is Dialect.SOTW else discovery_pb2.DeltaDiscoveryResponse
    return [kind.FromString(each) for each in side.outbox.written]


PIECES = st.lists(
    st.tuples(st.just("publish"), st.sampled_from(TYPES), st.sampled_from(("a", LONG_NAME)))
    | st.tuples(st.just("ask"), st.sampled_from(TYPES), st.integers(0, 3), st.booleans())
    | st.tuples(
        st.just("answer"),
        st.integers(0, 5),
        st.sampled_from(("ack", "ack", "ack", "nack", "renamed", "renamed type", "swapped")),
        st.sampled_from((b"", b"node", b"n" * 200)),
    )
    | st.tuples(st.just("damaged"), st.integers(0, 5), st.integers(0, 200), st.integers(0, 255)),
    max_size=14,
)


class Client:
    """Says the same to both sides."""

    def __init__(self, dialect: Dialect, only: TypeUrl | None) -> None:
        self.dialect = dialect
        self.only = only
        self.sides = [Side(dialect, blind=blind, only=only) for blind in (False, True)]
        self.names: dict[TypeUrl, tuple[str, ...]] = {}
        self.version = 0
        first = (cluster("a"), endpoints("a"), routes("a"), routes(LONG_NAME))
        for side in self.sides:
            side.publish(*first)

    def says(self, message: bytes) -> None:
        for side in self.sides:
            side.told(message)

    def publish(self, type_url: TypeUrl, name: str) -> None:
        self.version += 1
        make = {CLUSTER: cluster, ENDPOINTS: endpoints, HTTP_ROUTES: routes}[type_url]
        made = make(name, str(self.version))
        for side in self.sides:
            side.publish(made)
            side.drain._run()

    def ask(self, type_url: TypeUrl, count: int, *, nonce: str = "", node: bytes = b"") -> bytes:
        self.names[type_url] = ("a", LONG_NAME, "gone")[:count]
        return self.request(type_url, nonce=nonce, node=node)

    def request(
        self,
        type_url: TypeUrl,
        *,
        version: str = "",
        nonce: str = "",
        node: bytes = b"",
        error: bytes = b"",
    ) -> bytes:
        raw_node = text(1, "envoy") + length_delimited(9, node) if node else b""
        known = "" if self.only else type_url
        names = self.names.get(type_url, ())
        if self.dialect is Dialect.SOTW:
            parts = (
                text(1, version),
                length_delimited(2, raw_node) if raw_node else b"",
                *(text(3, name) for name in names),
                text(4, known),
                text(5, nonce),
                length_delimited(6, error) if error else b"",
            )
        else:
            parts = (
                length_delimited(1, raw_node) if raw_node else b"",
                text(2, known),
                *(text(3, name) for name in names if not nonce),
                text(6, nonce),
                length_delimited(7, error) if error else b"",
            )
        return b"".join(parts)

    def answer(self, which: int, how: str, node: bytes) -> bytes | None:
        """A request in answer to one of the latest responses, more or less an ACK."""
        responses = written(self.sides[1], self.dialect)
        if not responses:
            return None
        response = responses[-1 - which % len(responses)]
        type_url = TypeUrl(response.type_url)
        given = {"nonce": response.nonce, "node": node}
        if self.dialect is Dialect.SOTW:
            given["version"] = response.version_info
        match how:
            case "nack":
                return self.request(type_url, **given, error=text(2, "no"))
            case "renamed":
                self.names[type_url] = (*self.names.get(type_url, ()), "another")
                return self.request(type_url, **given)
            case "renamed type" if not self.only:
                return self.request(TYPES[(TYPES.index(type_url) + 1) % 3], **given)
            case "swapped":
                whole = self.request(type_url, **given)
                tail = text(5 if self.dialect is Dialect.SOTW else 6, response.nonce)
                return tail + whole.removesuffix(tail)
        return self.request(type_url, **given)


@pytest.mark.parametrize("only", [None, HTTP_ROUTES], ids=["ads", "rds"])
@pytest.mark.parametrize("dialect", list(Dialect))
@settings(max_examples=150, deadline=None)
@given(pieces=PIECES)
def test_a_recognised_ack_does_what_its_decoding_would_have_done(
    dialect: Dialect, only: TypeUrl | None, pieces: list[Any]
) -> None:
    async def compare() -> None:
        client = Client(dialect, only)
        client.says(client.ask(only or CLUSTER, 2, node=b"first"))
        for piece in pieces:
            message: bytes | None = None
            match piece:
                case ("publish", type_url, name):
                    client.publish(type_url, name)
                case ("ask", type_url, names, late) if type_url == (only or type_url):
                    message = client.ask(type_url, names, nonce="00000001" if late else "")
                case ("answer", which, how, node):
                    message = client.answer(which, how, node)
                case ("damaged", which, at, byte):
                    message = client.answer(which, "ack", b"")
                    if message:
                        at %= len(message)
                        message = message[:at] + bytes((byte,)) + message[at + 1 :]
            if message is not None:
                client.says(message)
            quick, thorough = client.sides
            assert quick.state() == thorough.state()

    asyncio.run(compare())


# --- what is recognised -------------------------------------------------------------------------

NONCE: Final = "0000002a"
VERSION: Final = "0123456789abcdef"


def sotw_acks(*names: str) -> tuple[Acks, bytes]:
    """What has learned a subscription, and the names and type that its ACKs repeat."""
    acks = Acks(Dialect.SOTW)
    request = SotwRequest(type_url=CLUSTER, names=tuple(map(Name, names)))
    acks.learn(CLUSTER, request)
    return acks, b"".join(text(3, name) for name in names) + text(4, CLUSTER)


@pytest.mark.parametrize("names", [(), ("a",), ("a", "b", "a"), (LONG_NAME,) * 100])
@pytest.mark.parametrize("node", [b"", b"n" * 61_000])
def test_a_sotw_ack_is_recognised_by_version_names_type_and_nonce(
    names: tuple[str, ...], node: bytes
) -> None:
    acks, middle = sotw_acks(*names)
    raw_node = length_delimited(2, node) if node else b""
    assert acks.read(text(1, VERSION) + raw_node + middle + text(5, NONCE)) == (CLUSTER, NONCE)


@pytest.mark.parametrize("node", [b"", b"n" * 61_000])
def test_a_delta_ack_is_recognised_by_type_and_nonce(node: bytes) -> None:
    acks = Acks(Dialect.DELTA)
    acks.learn(CLUSTER, DeltaRequest(type_url=CLUSTER, subscribe=(Name("a"),)))
    raw_node = length_delimited(1, node) if node else b""
    assert acks.read(raw_node + text(2, CLUSTER) + text(6, NONCE)) == (CLUSTER, NONCE)
    more = text(2, CLUSTER) + text(3, "b") + text(6, NONCE)
    assert acks.read(more) is None


def test_names_that_are_no_longer_the_subscription_are_no_ack() -> None:
    acks, before = sotw_acks("a")
    acks.learn(CLUSTER, SotwRequest(type_url=CLUSTER, names=(Name("a"), Name("b"))))
    assert acks.read(text(1, VERSION) + before + text(5, NONCE)) is None


def test_types_are_told_apart() -> None:
    acks, clusters = sotw_acks("a")
    acks.learn(ENDPOINTS, SotwRequest(type_url=ENDPOINTS, names=(Name("a"),)))
    names = text(3, "a") + text(4, ENDPOINTS)
    assert acks.read(text(1, VERSION) + clusters + text(5, NONCE)) == (CLUSTER, NONCE)
    assert acks.read(text(1, VERSION) + names + text(5, NONCE)) == (ENDPOINTS, NONCE)


def test_a_type_may_be_left_out_where_the_service_implies_it() -> None:
    acks = Acks(Dialect.SOTW)
    acks.learn("", SotwRequest(type_url=HTTP_ROUTES, names=(Name("r"),)))
    ack = text(1, VERSION) + text(3, "r") + text(5, NONCE)
    assert acks.read(ack) == (HTTP_ROUTES, NONCE)


@pytest.mark.parametrize(
    "damage",
    [
        lambda ack: ack[:-1],
        lambda ack: ack[1:],
        lambda ack: ack + length_delimited(6, text(2, "refused")),
        lambda ack: b"\x0a\x10" + b"\xff" * 16 + ack[18:],
        lambda ack: ack[:-8] + b"\xff" * 8,
        lambda ack: ack[:18] + b"\x12\xff\xff" + ack[18:],
        lambda ack: ack[:18] + b"\x12" + b"\xff" * 11 + ack[18:],
        lambda ack: text(1, VERSION + "0") + ack[18:],
        lambda ack: ack[:18] + ack[-10:],
        lambda _ack: b"",
    ],
    ids=[
        "cut", "shifted", "an error", "no text", "no nonce", "a cut node", "a bad length",
        "another version", "nothing between", "nothing",
    ],
)  # fmt: skip
def test_whatever_else_is_left_to_decoding(damage: Any) -> None:
    acks, middle = sotw_acks("a")
    assert acks.read(damage(text(1, VERSION) + middle + text(5, NONCE))) is None


def test_a_node_that_runs_past_the_end_is_left_to_decoding_though_nothing_is_between() -> None:
    acks = Acks(Dialect.SOTW)
    acks.learn("", SotwRequest(type_url=HTTP_ROUTES))
    whole = text(1, VERSION) + length_delimited(2, b"node") + text(5, NONCE)
    assert acks.read(whole) == (HTTP_ROUTES, NONCE)
    assert acks.read(whole.replace(b"\x12\x04node", b"\x12\x44node")) is None


@pytest.mark.parametrize("only", [None, HTTP_ROUTES], ids=["ads", "rds"])
@pytest.mark.parametrize("dialect", list(Dialect))
async def test_the_acks_of_a_conversation_are_not_decoded(
    dialect: Dialect, only: TypeUrl | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[bytes] = []
    decode = Conversation._decode

    def noting(self: Conversation, message: bytes) -> Any:
        decoded.append(message)
        return decode(self, message)

    client = Client(dialect, only)
    client.says(client.ask(HTTP_ROUTES, 2, node=b"first"))
    monkeypatch.setattr(Conversation, "_decode", noting)
    quick = client.sides[0]
    for _ in range(3):
        ack = client.answer(0, "ack", b"again")
        assert ack is not None
        quick.told(ack)
        assert decoded == []
        (stream,) = quick.hub.streams
        assert stream.status[HTTP_ROUTES].acked_nonce == stream.status[HTTP_ROUTES].sent_nonce
        client.publish(HTTP_ROUTES, "a")
