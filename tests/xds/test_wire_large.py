"""Large requests: the right result for their stream, in turns between which others have theirs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import count, pairwise
from time import monotonic, process_time
from typing import Any, Final

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from aeraki_xds.bench import frames
from aeraki_xds.xds import Hub
from aeraki_xds.xds.admission import Peer
from aeraki_xds.xds.field import MalformedError, length_delimited, text
from aeraki_xds.xds.resource import CLUSTER, ENDPOINTS, HTTP_ROUTES, TypeUrl
from aeraki_xds.xds.session import Dialect
from aeraki_xds.xds.wire import envelope
from aeraki_xds.xds.wire.bodies import Bodies
from aeraki_xds.xds.wire.conversation import Conversation
from aeraki_xds.xds.wire.counts import Counts, StreamRefusal
from aeraki_xds.xds.wire.drain import Drain
from aeraki_xds.xds.wire.envelope import (
    TooManyError,
    delta_in_slices,
    read_delta,
    read_sotw,
    sotw_in_slices,
)
from aeraki_xds.xds.wire.exchange import Exchange
from aeraki_xds.xds.wire.limits import DEFAULT_LIMITS, Limits
from aeraki_xds.xds.wire.methods import Method
from aeraki_xds.xds.wire.quotas import Quotas, Taken
from aeraki_xds.xds.wire.slices import at_once
from tests.xds.dialogue import GLOBAL, resource
from tests.xds.test_wire_acks import Outbox
from tests.xds.test_wire_limits import PATIENT, serving

NODE: Final = text(1, "peer")
LOW: Final = Limits(names=3_000, initial_versions=3_000)
SOTW: Final = length_delimited(2, NODE)
DELTA: Final = length_delimited(1, NODE)


def names(number: int, *, field: int = 3) -> bytes:
    return b"".join(text(field, f"name-{each}") for each in range(number))


def versions(number: int) -> bytes:
    return b"".join(
        length_delimited(5, text(1, f"outbound|80||service-{each}.of.a.mesh") + text(2, "1" * 16))
        for each in range(number)
    )


class Stream:
    """A conversation, whose client reads all that is written."""

    def __init__(self, dialect: Dialect, limits: Limits = DEFAULT_LIMITS) -> None:
        counts = Counts()
        quotas = Quotas(limits=limits, counts=counts)
        outbox: Any = Outbox()
        self.counts = counts
        self.account = quotas.of("peer")
        self.account.take(Taken.CONNECTIONS)
        self.hub = Hub(clock=lambda: 0.0)
        self.hub.publish(GLOBAL, {})
        clock = count(0.0, 0.001).__next__  # each turn is of one slice
        self.drain = Drain(loop=asyncio.get_running_loop(), counts=counts, clock=clock)
        self.ordinary = 0
        self.written = outbox.written
        self.ends: list[GRPCError | None] = []
        self.conversation = Conversation(
            exchange=Exchange(
                hub=self.hub,
                admit=lambda node, peer, *, only: (GLOBAL,),
                drain=self.drain,
                bodies=Bodies(),
                limits=limits,
                counts=counts,
            ),
            method=Method(dialect=dialect, only=None),
            peer=Peer(address="-"),
            account=self.account,
            outbox=outbox,
            end=self.ends.append,
        )

    def turns(self) -> list[float]:
        """Give it turns while it wants any: how much of the processor each took, in seconds."""
        taken = []
        while self.drain._queue or self.drain._large:
            began = process_time()
            if self.drain._queue:
                self.ordinary += 1
                self.drain._run()
            else:
                self.drain._run_large()
            taken.append(process_time() - began)
        return taken

    def turn_apart(self) -> None:
        """Give it one turn of those apart, which it waits for."""
        assert self.conversation in self.drain._large
        self.drain._run_large()

    def subscribed(self, type_url: TypeUrl) -> int:
        (stream,) = self.hub.streams
        return len(stream.session.watches[type_url].subscription.names)

    def end(self) -> str:
        """How the stream has ended."""
        (failure,) = self.ends
        return getattr(failure, "message", "OK")


REQUESTS: Final = {
    "SotW": (Dialect.SOTW, SOTW + names(40_000) + text(4, ENDPOINTS)),
    "delta": (Dialect.DELTA, DELTA + text(2, ENDPOINTS) + names(40_000)),
    "delta, anew": (Dialect.DELTA, DELTA + text(2, CLUSTER) + versions(200_000)),
}


@pytest.mark.parametrize("kind", REQUESTS)
async def test_a_large_request_is_handled_in_many_short_turns(kind: str) -> None:
    dialect, request = REQUESTS[kind]
    stream = Stream(dialect)
    stream.conversation.receive(request)
    taken = stream.turns()
    assert len(taken) > 60
    assert max(taken) < sum(taken) / 4, "no turn takes more than its share"
    assert stream.ordinary < 15, "its turns are apart, but for the last ten thousand names"
    assert stream.account.taken[Taken.BYTES] == 0
    if kind == "delta, anew":
        assert b"service-199999.of" in b"".join(stream.written), "it is said to be gone"
    else:
        assert stream.subscribed(ENDPOINTS) == stream.account.taken[Taken.NAMES] == 40_000


async def test_others_have_their_turn_between_any_two_of_a_large_request() -> None:
    class Other:
        waiting = False
        turns = 0

        def write(self) -> None:
            self.turns += 1
            if stream.conversation._work is not None:
                stream.drain.add(self)

        def finish(self, failure: object) -> None:
            raise AssertionError(failure)

    stream, other = Stream(Dialect.DELTA), Other()
    stream.conversation.receive(DELTA + text(2, CLUSTER) + versions(6_000))
    stream.drain.add(other)
    began, sizes = monotonic(), set()
    while stream.conversation._work is not None:
        sizes.add(len(stream.conversation._brought or ()))
        await asyncio.sleep(0)
    assert len(sizes) > 8
    assert other.turns > len(sizes)
    assert monotonic() - began > 0.08, "and a rest"


async def test_a_request_of_every_day_has_turns_like_any_stream() -> None:
    stream = Stream(Dialect.DELTA)
    stream.conversation.receive(DELTA + text(2, ENDPOINTS) + names(9_000))
    assert len(stream.turns()) == stream.ordinary > 2


@pytest.mark.parametrize("words", [versions(30_000), names(40_000, field=4)])
async def test_a_stream_that_has_caught_up_has_turns_like_any_other(words: bytes) -> None:
    stream = Stream(Dialect.DELTA)
    stream.conversation.receive(DELTA + text(2, CLUSTER) + words)
    stream.turns()
    before = stream.ordinary
    stream.conversation.wake()
    assert len(stream.turns()) == 1
    assert stream.ordinary == before + 1


async def test_a_huge_request_has_its_turns_apart_whatever_is_judged_meanwhile() -> None:
    stream = Stream(Dialect.DELTA)
    stream.conversation.receive(DELTA + text(2, ENDPOINTS) + names(9_000))
    stream.conversation.receive(text(2, HTTP_ROUTES) + names(40_000))
    while len(stream.conversation._behind) == 2:
        stream.drain._run()
    stream.drain._run()
    while stream.conversation._work is not None:
        stream.turn_apart()
    assert stream.subscribed(HTTP_ROUTES) == 40_000


async def test_what_a_type_brings_along_that_had_begun_is_freed_in_turns() -> None:
    stream = Stream(Dialect.DELTA)
    stream.conversation.receive(DELTA + text(2, CLUSTER))
    stream.turns()
    stream.conversation.receive(text(2, CLUSTER) + versions(40_000))
    while not (brought := stream.conversation._brought) or stream.conversation._work is None:
        stream.turn_apart()
    sizes = [len(brought)]
    while stream.drain._large:
        stream.turn_apart()
        sizes.append(len(brought))
    freed = [before - after for before, after in pairwise(sizes) if after < before]
    assert len(freed) > 30
    assert max(freed) <= 1_000
    assert sizes[-1] == 0
    assert stream.hub.streams[0].session.watches[CLUSTER].sent == {}


@pytest.mark.parametrize("begun", [True, False], ids=["taken", "in the midst"])
async def test_what_a_stream_leaves_behind_is_freed_in_turns(begun: bool) -> None:
    stream = Stream(Dialect.DELTA)
    stream.conversation.receive(DELTA + text(2, CLUSTER) + versions(50_000))
    held: Any = None
    while not held or (len(held) < 50_000 if begun else len(held) < 20_000):
        stream.turn_apart()
        held = stream.conversation._brought or held
        if begun and stream.hub.streams:
            held = stream.hub.streams[0].session.watches[CLUSTER].sent
    assert (stream.conversation._work is None) == begun
    stream.conversation.close()
    assert len(held) >= 20_000, "nothing is freed at once"
    assert len(stream.turns()) > 15
    assert held == {}


async def test_what_comes_behind_a_large_request_is_handled_behind_it() -> None:
    stream = Stream(Dialect.SOTW)
    stream.conversation.receive(SOTW + names(20_000) + text(4, HTTP_ROUTES))
    stream.conversation.receive(names(3) + text(4, HTTP_ROUTES))
    stream.conversation.receive(names(2) + text(4, HTTP_ROUTES))
    assert stream.hub.streams == ()
    stream.turns()
    assert stream.subscribed(HTTP_ROUTES) == 2
    assert stream.account.taken[Taken.BYTES] == 0


async def test_a_large_request_is_not_cut_short_by_the_end_of_the_stream() -> None:
    stream = Stream(Dialect.SOTW)
    stream.conversation.receive(SOTW + names(20_000) + text(4, HTTP_ROUTES) + b"\xff")
    stream.conversation.finish(None)
    stream.turns()
    assert stream.end().startswith("malformed request")


async def test_the_end_of_the_stream_is_the_end_when_a_large_request_is_handled() -> None:
    stream = Stream(Dialect.SOTW)
    stream.conversation.receive(SOTW + names(20_000) + text(4, HTTP_ROUTES))
    stream.conversation.finish(None)
    assert stream.ends == []
    stream.turns()
    assert stream.end() == "OK"


async def test_a_stream_that_closes_in_the_midst_of_a_large_request_lets_go_of_it() -> None:
    stream = Stream(Dialect.SOTW)
    stream.conversation.receive(SOTW + names(20_000) + text(4, HTTP_ROUTES))
    stream.conversation.receive(names(3) + text(4, HTTP_ROUTES))
    stream.drain._run()
    stream.conversation.close()
    assert stream.account.taken == {**dict.fromkeys(Taken, 0), Taken.CONNECTIONS: 1}
    stream.turns()
    assert stream.hub.streams == ()


async def test_the_acks_of_a_large_subscription_are_understood() -> None:
    """They are not recognised by their bytes; and neither is one of what it replaced."""
    stream = Stream(Dialect.SOTW)
    stream.hub.publish(GLOBAL, {each.id: each for each in (resource(ENDPOINTS, "name-0"),)})
    small, large = names(1) + text(4, ENDPOINTS), names(20_000) + text(4, ENDPOINTS)
    nonce = text(5, "00000001")
    for request in (SOTW + small, text(1, "1" * 16) + large + nonce):
        stream.conversation.receive(request)
        stream.turns()
    (of,) = (each.status[ENDPOINTS] for each in stream.hub.streams)
    assert of.acked_nonce == "00000001"
    assert stream.subscribed(ENDPOINTS) == 20_000
    stream.conversation.receive(text(1, "1" * 16) + small + nonce)
    stream.turns()
    assert stream.subscribed(ENDPOINTS) == 1


# --- decoding -----------------------------------------------------------------------------------


def test_a_request_means_the_same_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    error = length_delimited(6, text(1, "unknown") + text(2, "first") + text(2, "no"))
    sotw = SOTW + names(50) + text(4, "t") + text(5, "7") + error
    error = length_delimited(7, text(2, "no"))
    delta = DELTA + names(50) + names(9, field=4) + versions(30) + text(2, "t") + error
    at_once = read_sotw(sotw), read_delta(delta)
    monkeypatch.setattr(envelope, "_SLICE", 100)
    assert (read_sotw(sotw), read_delta(delta)) == at_once
    assert len(list(delta_in_slices(delta))) > 40


@pytest.mark.parametrize(
    ("request_of", "what"),
    [
        (lambda n: sotw_in_slices(names(n) + b"\xff", limits=LOW), "a subscription to more than"),
        (lambda n: delta_in_slices(names(n) + b"\xff", limits=LOW), "a subscription to more than"),
        (
            lambda n: delta_in_slices(names(n, field=4) + b"\xff", limits=LOW),
            "a subscription to more than",
        ),
        (
            lambda n: delta_in_slices(versions(n) + b"\xff", limits=LOW),
            "more than 3000 initial_resource_versions",
        ),
    ],
    ids=["SotW", "subscribe", "unsubscribe", "initial versions"],
)
def test_what_is_too_much_is_refused_before_the_rest_is_decoded(request_of: Any, what: str) -> None:
    with pytest.raises(MalformedError):
        at_once(request_of(3_000))
    with pytest.raises(TooManyError, match=what):
        at_once(request_of(60_000))


@pytest.mark.parametrize(
    "work",
    [
        sotw_in_slices(names(4), limits=Limits(names=3)),
        delta_in_slices(names(4), limits=Limits(names=3)),
        delta_in_slices(names(4, field=4), limits=Limits(names=3)),
        delta_in_slices(versions(4), limits=Limits(initial_versions=3)),
    ],
    ids=["SotW", "subscribe", "unsubscribe", "initial versions"],
)
def test_what_is_too_much_is_refused_however_short_it_is(work: Any) -> None:
    with pytest.raises(TooManyError):
        at_once(work)


def test_a_long_error_is_kept_in_part() -> None:
    kept = read_sotw(length_delimited(6, text(2, "é" * 100_000)))[0].error
    assert kept == "é" * (64 << 10)


def test_an_entry_of_initial_versions_has_a_sane_length() -> None:
    with pytest.raises(MalformedError, match="an entry of initial_resource_versions of 20"):
        read_delta(length_delimited(5, text(1, "n" * 20_000)))


# --- on the wire --------------------------------------------------------------------------------


async def test_who_names_too_many_is_refused_and_counted() -> None:
    stream = Stream(Dialect.DELTA, replace(DEFAULT_LIMITS, names=1_000))
    stream.conversation.receive(DELTA + text(2, CLUSTER) + names(30_000))
    stream.turns()
    assert stream.end() == "a subscription to more than 1000 names of one type"
    assert stream.counts.streams_refused[StreamRefusal.NAMES] == 1
    assert stream.hub.streams == ()


async def test_a_node_that_is_too_large_is_refused() -> None:
    async with serving(PATIENT) as site, site.good_clients():
        peer = await site.peer()
        await peer.greets()
        node = length_delimited(2, text(1, "peer") + text(9, "x" * 300_000))
        data = node + text(3, "r") + text(4, HTTP_ROUTES)
        message = len(data).to_bytes(5, "big") + data
        await peer.says(
            frames.call(1, "/envoy.service.route.v3.RouteDiscoveryService/StreamRoutes", "server")
        )
        for at in range(0, len(message), 16_384):
            await peer.says(frames.frame(frames.DATA, 0, 1, message[at : at + 16_384]))
        status = await peer.is_ended(1)
        assert status["grpc-status"] == str(Status.RESOURCE_EXHAUSTED.value)
        assert status["grpc-message"] == "a node of 300010 bytes: 262144 is the most"
