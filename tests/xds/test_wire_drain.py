"""Turns for streams, and the bodies that they share."""

from __future__ import annotations

import asyncio
from itertools import count

import pytest
from grpclib.exceptions import GRPCError

from aeraki_xds.xds.message import Response
from aeraki_xds.xds.resource import CLUSTER, LISTENER, Name
from aeraki_xds.xds.session import Dialect
from aeraki_xds.xds.wire.bodies import Bodies, nonce_tail
from aeraki_xds.xds.wire.counts import Counts
from aeraki_xds.xds.wire.drain import Drain
from tests.xds.dialogue import cluster


class Writer:
    """A stream that notes its turns."""

    def __init__(self, turns: list[str], name: str = "", fault: Exception | None = None) -> None:
        self.waiting = False
        self.end: GRPCError | None = None
        self._turns = turns
        self._name = name
        self._fault = fault

    def write(self) -> None:
        self._turns.append(self._name)
        if self._fault is not None:
            raise self._fault

    def finish(self, failure: GRPCError | None) -> None:
        self.end = failure


async def test_a_stream_has_one_turn_however_often_it_is_woken() -> None:
    turns: list[str] = []
    drain = Drain(loop=asyncio.get_running_loop(), counts=Counts())
    one, two = Writer(turns, "one"), Writer(turns, "two")
    for writer in (one, two, one, one):
        drain.add(writer)
    assert turns == [], "nothing is written from within what woke it"
    await asyncio.sleep(0)
    assert turns == ["one", "two"]
    drain.add(one)
    await asyncio.sleep(0)
    assert turns == ["one", "two", "one"]


async def test_the_loop_has_its_turn_every_few_milliseconds() -> None:
    turns: list[str] = []
    clock = count(0.0, 0.001)  # each stream takes a millisecond
    drain = Drain(loop=asyncio.get_running_loop(), counts=Counts(), clock=lambda: next(clock))
    for number in range(12):
        drain.add(Writer(turns, f"{number}"))
    lengths = []
    while len(turns) < 12:
        await asyncio.sleep(0)
        lengths.append(len(turns))
    assert lengths == [5, 10, 12]


async def test_one_streams_fault_ends_it_and_no_other(caplog: pytest.LogCaptureFixture) -> None:
    turns: list[str] = []
    counts = Counts()
    drain = Drain(loop=asyncio.get_running_loop(), counts=counts)
    good, bad = Writer(turns, "good"), Writer(turns, "bad", RuntimeError("ours"))
    drain.add(bad)
    drain.add(good)
    while drain._queue:  # writing the traceback may take more than one turn
        await asyncio.sleep(0)
    assert turns == ["bad", "good"]
    assert counts.write_failures == 1
    assert bad.end is not None
    assert good.end is None


class Large(Writer):
    """A stream that has so many turns' worth to do, each of which takes a millisecond."""

    def __init__(self, drain: Drain, clock: Clock, turns: list[str], name: str, left: int) -> None:
        super().__init__(turns, name)
        self._drain = drain
        self._clock = clock
        self.left = left

    def write(self) -> None:
        super().write()
        self._clock.now += 0.001
        self.left -= 1
        if self.left:
            self._drain.add_large(self)


class Clock:
    """Shows what it was set to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(("takes", "busy"), [(0.0004, False), (0.0006, True)])
async def test_large_work_rests_while_the_loop_has_other_work(takes: float, busy: bool) -> None:
    loop, turns, clock = asyncio.get_running_loop(), [""], Clock()
    drain = Drain(loop=loop, counts=Counts(), clock=clock)
    large = Large(drain, clock, turns, "large", 5)
    others = 0

    def other() -> None:
        nonlocal others
        others += 1
        clock.now += takes
        if large.left:
            loop.call_soon(other)

    began = loop.time()
    drain.add_large(large)
    other()
    while large.left:
        await asyncio.sleep(0)
    if busy:
        assert loop.time() - began >= 5 * 0.01 - 0.001
        assert others > 10
    else:
        assert others <= 7, "at full speed"


async def test_streams_that_have_something_to_write_are_other_work() -> None:
    loop, turns, clock = asyncio.get_running_loop(), [""], Clock()
    drain = Drain(loop=loop, counts=Counts(), clock=clock)
    large = Large(drain, clock, turns, "large", 3)

    class Other(Writer):
        def write(self) -> None:
            super().write()
            if large.left:
                drain.add(self)

    began = loop.time()
    drain.add_large(large)
    drain.add(Other(turns, "other"))
    while large.left:
        await asyncio.sleep(0)
    assert loop.time() - began >= 3 * 0.01 - 0.001
    assert "large large" not in " ".join(turns)


async def test_large_work_is_done_one_stream_after_the_other() -> None:
    loop, turns, clock = asyncio.get_running_loop(), [""], Clock()
    drain = Drain(loop=loop, counts=Counts(), clock=clock)
    some = [Large(drain, clock, turns, name, 3) for name in ("a", "b", "c")]
    for each in some:
        drain.add_large(each)
        drain.add_large(each)
        drain.add(each)
    while any(each.left for each in some):
        await asyncio.sleep(0)
    assert "".join(turns) == "aaabbbccc"
    assert not drain._large


async def test_a_fault_in_large_work_ends_that_stream_and_no_other() -> None:
    turns: list[str] = []
    counts, clock = Counts(), Clock()
    drain = Drain(loop=asyncio.get_running_loop(), counts=counts, clock=clock)
    bad, good = Writer(turns, "bad", RuntimeError("ours")), Writer(turns, "good")
    drain.add_large(bad)
    drain.add_large(good)
    while drain._large:
        await asyncio.sleep(0)
    assert turns == ["bad", "good"]
    assert counts.write_failures == 1
    assert bad.end is not None
    assert good.end is None


def response(*texts: str, nonce: str = "00000001", removed: tuple[Name, ...] = ()) -> Response:
    made = tuple(cluster(f"c{number}", text) for number, text in enumerate(texts))
    return Response(type_url=CLUSTER, version="v", nonce=nonce, resources=made, removed=removed)


def test_streams_share_a_body_whatever_their_nonces_are() -> None:
    bodies = Bodies()
    first = response("1", "2")
    second = first._replace(nonce="000000ff")
    assert bodies.of(Dialect.SOTW, first) is bodies.of(Dialect.SOTW, second)
    assert bodies.of(Dialect.DELTA, first) is bodies.of(Dialect.DELTA, second)
    assert bodies.of(Dialect.SOTW, first) != bodies.of(Dialect.DELTA, first)


def test_the_length_in_front_of_a_body_counts_the_nonce_behind_it() -> None:
    made = response("1")
    whole = Bodies().of(Dialect.SOTW, made) + nonce_tail(made.nonce)
    assert whole[0] == 0
    assert int.from_bytes(whole[1:5], "big") == len(whole) - 5


BASE = response("1")


@pytest.mark.parametrize(
    "other",
    [
        BASE._replace(version="w"),
        BASE._replace(type_url=LISTENER),
        BASE._replace(resources=response("2").resources),
        BASE._replace(resources=(*BASE.resources, *response("1", "2").resources[1:])),
        BASE._replace(removed=(Name("gone"),)),
    ],
    ids=["version", "type", "content", "one more", "one removed"],
)
def test_what_differs_is_not_shared(other: Response) -> None:
    bodies = Bodies()
    assert bodies.of(Dialect.DELTA, BASE) != bodies.of(Dialect.DELTA, other)


def test_the_oldest_bodies_are_forgotten_when_there_are_too_many() -> None:
    bodies = Bodies(largest=2_500)
    first, *others = (response("x" * 900 + str(number)) for number in range(4))
    body = bodies.of(Dialect.SOTW, first)
    assert bodies.of(Dialect.SOTW, first) is body
    for other in others:
        bodies.of(Dialect.SOTW, other)
    assert bodies.of(Dialect.SOTW, first) is not body
    assert len(bodies._known) == 2
    assert bodies._size == sum(map(len, bodies._known.values())) <= 2_500
