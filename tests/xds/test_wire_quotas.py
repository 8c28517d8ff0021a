"""Caps of an identity: what is above is refused and says so; every account is empty in the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from hypothesis import given, settings
from hypothesis import strategies as st

from aeraki_xds.bench import frames
from aeraki_xds.xds import HTTP_ROUTES
from aeraki_xds.xds.field import length_delimited, text
from aeraki_xds.xds.wire.counts import ConnectionRefusal, Counts, StreamRefusal
from aeraki_xds.xds.wire.limits import Limits
from aeraki_xds.xds.wire.quotas import Account, Quotas, Taken, identity_at
from tests.xds.test_wire_limits import PATH, PATIENT, Peer, Site, serving

NODE: Final = length_delimited(2, text(1, "peer"))
HOST: Final = "127.0.0.1"
WORKLOAD: Final = "spiffe://cluster.local/ns/demo/sa/web"


def accounts(site: Site) -> dict[str, Account]:
    return site.server._server._quotas.accounts


def taken(site: Site, what: Taken) -> int:
    account = accounts(site).get(HOST)
    return account.taken[what] if account is not None else 0


def request(*names: str, nonce: str = "") -> bytes:
    return NODE + b"".join(text(3, name) for name in names) + text(4, HTTP_ROUTES) + text(5, nonce)


# --- the accounts -------------------------------------------------------------------------------


def small(**caps: int) -> tuple[Quotas, Counts]:
    counts = Counts()
    return Quotas(limits=Limits(**caps), counts=counts), counts


def test_a_refusal_names_the_identity_and_the_cap_and_takes_nothing() -> None:
    quotas, counts = small(names_per_identity=5)
    account = quotas.of(WORKLOAD)
    account.take(Taken.NAMES, 3)
    with pytest.raises(GRPCError) as refused:
        account.take(Taken.NAMES, 3)
    assert refused.value.status is Status.RESOURCE_EXHAUSTED
    assert refused.value.message == (f"{WORKLOAD} is at its cap: 5 names, of all streams together")
    account.take(Taken.NAMES, 2)
    assert counts.streams_refused[StreamRefusal.IDENTITY_NAMES] == 1
    assert sum(counts.streams_refused.values()) == 1


def test_an_account_is_there_while_anything_is_taken() -> None:
    quotas, _ = small()
    account = quotas.of(WORKLOAD)
    account.take(Taken.CONNECTIONS)
    account.take(Taken.BYTES, 10)
    account.give_back(Taken.CONNECTIONS)
    assert quotas.of(WORKLOAD) is account
    account.give_back(Taken.BYTES, 10)
    assert quotas.accounts == {}


def test_a_cap_is_said_once_and_counted_each_time(capsys: pytest.CaptureFixture[str]) -> None:
    quotas, counts = small(connections_per_identity=1)
    account = quotas.of(HOST)
    account.take(Taken.CONNECTIONS)
    for _ in range(3):
        with pytest.raises(GRPCError):
            account.take(Taken.CONNECTIONS)
    assert counts.connections_refused[ConnectionRefusal.IDENTITY_CONNECTIONS] == 3
    assert capsys.readouterr().out.count("127.0.0.1 is at its cap: 1 connections") == 1


class Transport:
    """What a connection knows of its peer."""

    def __init__(self, peername: object = None, *uris: str) -> None:
        self._known: dict[str, Any] = {"peername": peername}
        if uris:
            self._known["peercert"] = {"subjectAltName": tuple(("URI", uri) for uri in uris)}

    def get_extra_info(self, name: str) -> Any:
        return self._known.get(name)


@pytest.mark.parametrize(
    ("transport", "identity"),
    [
        (Transport((HOST, 4000), WORKLOAD), WORKLOAD),
        (Transport((HOST, 4000)), HOST),
        (Transport(("::1", 4000, 0, 0)), "::1"),
        (Transport((HOST, 4000), "spiffe://cluster.local/elsewhere"), HOST),
        (Transport(""), "the unix socket"),
    ],
)
def test_an_identity_is_what_the_certificate_proves_or_the_host(
    transport: Any, identity: str
) -> None:
    assert identity_at(transport) == identity


# --- on the wire --------------------------------------------------------------------------------


async def test_connections_over_the_cap_are_closed_until_there_is_room() -> None:
    limits = replace(PATIENT, connections_per_identity=4)
    async with serving(limits) as site, site.good_clients():
        first = await site.peer()
        await first.greets()
        await first.asks(1)
        await first.hears(frames.DATA, 1)
        await (await site.peer()).is_cut_off()
        refused = site.server.counts.connections_refused
        assert refused[ConnectionRefusal.IDENTITY_CONNECTIONS] == 1
        first.writer.close()
        await site.until(lambda: taken(site, Taken.CONNECTIONS) == 3)
        another = await site.peer()
        await another.greets()
        await another.asks(1)
        await another.hears(frames.DATA, 1)


async def test_streams_over_the_cap_are_refused_until_there_is_room() -> None:
    async with serving(replace(PATIENT, streams_per_identity=4)) as site, site.good_clients():
        one, other = await site.peer(), await site.peer()
        for peer in (one, other):
            await peer.greets()
        await one.asks(1)
        await one.hears(frames.DATA, 1)
        await other.asks(1)
        status = await other.is_ended(1)
        assert status["grpc-status"] == str(Status.RESOURCE_EXHAUSTED.value)
        assert status["grpc-message"] == "127.0.0.1 is at its cap: 4 streams"
        await one.says(frames.frame(frames.RST_STREAM, 0, 1, bytes(4)))
        await site.until(lambda: taken(site, Taken.STREAMS) == 3)
        await other.asks(3)
        await other.hears(frames.DATA, 3)


async def test_names_of_all_streams_count_together() -> None:
    limits = replace(PATIENT, names_per_identity=7)
    async with serving(limits) as site, site.good_clients():  # who name one each
        peer = await site.peer()
        await peer.greets()
        for stream_id, names in ((1, ("r", "a", "b")), (3, ("r", "c"))):
            await peer.says(
                frames.call(stream_id, PATH, "server"),
                frames.message(stream_id, request(*names)),
            )
        status = await peer.is_ended(3)
        assert status["grpc-message"] == (
            "127.0.0.1 is at its cap: 7 names, of all streams together"
        )
        await peer.hears(frames.DATA, 1)
        assert taken(site, Taken.NAMES) == 6
        await peer.says(frames.message(1, request("r", nonce="00000001")))
        await site.until(lambda: taken(site, Taken.NAMES) == 4)


async def test_bytes_that_have_begun_to_come_count_together() -> None:
    limits = replace(PATIENT, bytes_per_identity=10_000)
    async with serving(limits) as site, site.good_clients():
        peer = await site.peer()
        await peer.greets()
        begun = (9_000).to_bytes(5, "big") + bytes(5_500)
        for stream_id in (1, 3):
            await peer.says(
                frames.call(stream_id, PATH, "server"),
                frames.frame(frames.DATA, 0, stream_id, begun),
            )
        status = await peer.is_ended(3)
        assert status["grpc-message"] == (
            "127.0.0.1 is at its cap: 10000 bytes of requests that are not handled yet"
        )
        assert taken(site, Taken.BYTES) == len(begun)
        await peer.says(frames.frame(frames.RST_STREAM, 0, 1, bytes(4)))
        await site.until(lambda: taken(site, Taken.BYTES) == 0)


# --- exact, whatever happens --------------------------------------------------------------------

LARGE: Final = request(*(f"name-{number}" for number in range(9_000)))
"""So large that it is decoded in slices."""


def in_frames(stream_id: int, message: bytes) -> bytes:
    data = len(message).to_bytes(5, "big") + message
    return b"".join(
        frames.frame(frames.DATA, 0, stream_id, data[at : at + 16_384])
        for at in range(0, len(data), 16_384)
    )


WORDS: Final[dict[str, Callable[[int], bytes]]] = {
    "asks": lambda n: in_frames(n, request("r", "a")),
    "asks for less": lambda n: in_frames(n, request("r", nonce="00000001")),
    "asks for much": lambda n: in_frames(n, LARGE),
    "asks for much in time": lambda n: in_frames(n, LARGE) + in_frames(n, request("r")),
    "asks for too much": lambda n: in_frames(n, LARGE + text(3, "more") * 3_000),
    "begins to ask": lambda n: frames.frame(frames.DATA, 0, n, b"\0\0\0\1\0half"),
    "asks by the piece": lambda n: b"".join(
        frames.frame(frames.DATA, 0, n, piece) for piece in (b"\0\0\0\0", b"\1", b"\xff")
    ),
    "is malformed": lambda n: frames.message(n, b"\xff\xff"),
    "is much and malformed": lambda n: in_frames(n, LARGE + b"\xff"),
    "names no node": lambda n: frames.message(n, text(4, HTTP_ROUTES)),
    "claims too much": lambda n: frames.frame(frames.DATA, 0, n, b"\0\xff\xff\xff\xff"),
    "ends": lambda n: frames.frame(frames.DATA, frames.END_STREAM, n, b""),
    "resets": lambda n: frames.frame(frames.RST_STREAM, 0, n, bytes(4)),
}

STEPS: Final = st.lists(
    st.tuples(
        st.sampled_from((0, 1)),
        st.sampled_from(("opens", "opens and resets", "waits", "hangs up", "aborts", *WORDS)),
    ),
    max_size=14,
)


class Talker:
    """A client that does as it is told, and does not mind what it is told in turn."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.stream = -1

    def does(self, step: str) -> None:
        match step:
            case "opens" | "opens and resets":
                self.stream += 2
                reset = WORDS["resets"](self.stream) if step == "opens and resets" else b""
                self.peer.writer.write(frames.call(self.stream, PATH, "server") + reset)
            case "hangs up":
                self.peer.writer.close()
            case "aborts":
                self.peer.writer.transport.abort()
            case _ if self.stream > 0:
                self.peer.writer.write(WORDS[step](self.stream))


async def play(steps: list[tuple[int, str]]) -> None:
    limits = replace(
        PATIENT,
        names=10_000,
        connections_per_identity=3,
        streams_per_identity=3,
        names_per_identity=15_000,
        bytes_per_identity=300_000,
    )
    async with serving(limits) as site:
        talkers = [Talker(await site.peer()) for _ in range(2)]
        for talker in talkers:
            await talker.peer.greets()
            talker.does("opens")
        for which, step in steps:
            if step == "waits":
                await asyncio.sleep(0.002)
            else:
                with suppress(ConnectionError):
                    talkers[which].does(step)
        await site.until(lambda: taken(site, Taken.CONNECTIONS) <= 2)
        for talker in talkers:
            talker.peer.writer.close()
        await site.until(lambda: accounts(site) == {})
        assert site.hub.streams == ()
        assert site.server.counts.write_failures == 0


@settings(deadline=None, max_examples=150)
@given(steps=STEPS)
def test_every_account_is_empty_in_the_end(steps: list[tuple[int, str]]) -> None:
    asyncio.run(play(steps))


@pytest.mark.parametrize("word", [*WORDS, "opens and resets", "hangs up", "aborts"])
@pytest.mark.parametrize("then", ["waits", "resets", "ends", "hangs up", "aborts"])
def test_every_account_is_empty_after_any_ending(word: str, then: str) -> None:
    asyncio.run(play([(0, word), (0, "waits"), (0, then), (1, word), (1, then)]))


async def test_a_stream_that_is_reset_at_once_is_not_counted_on() -> None:
    """And the connection goes on."""
    async with serving(replace(PATIENT, streams_per_identity=1)) as site:
        peer = await site.peer()
        await peer.greets()
        await site.until(lambda: site.server.connections == 1)
        (connection,) = site.server._server.connections
        for number, stream_id in enumerate((1, 3, 5), start=1):
            await peer.says(
                frames.call(stream_id, PATH, "server")
                + frames.frame(frames.DATA, 0, stream_id, b"\0\0\0\1\0half")
                + frames.frame(frames.RST_STREAM, 0, stream_id, bytes(4))
            )
            while connection.connection.streams_failed < number:
                await asyncio.sleep(0)
            await site.until(lambda: not connection._streams)
            assert taken(site, Taken.STREAMS) == taken(site, Taken.BYTES) == 0
        await peer.asks(7)
        await peer.hears(frames.DATA, 7)
