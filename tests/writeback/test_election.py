"""Who writes: never two at a time, whatever becomes of requests, clocks and processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aeraki_xds.ingest.kubernetes.client import Cluster
from aeraki_xds.writeback.election import ANNOTATION, LOCK, Election, Timing
from tests.apiserver.faults import Faults, Hang
from tests.apiserver.kit import until
from tests.apiserver.server import ApiServer
from tests.virtual_time import at, virtual_time
from tests.writeback.lock import NAMESPACE, Lock, Trip

NOON = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)


def elector(lock: Lock, identity: str = "one", *, speed: float = 1.0, **more: Any) -> Election:
    """An elector whose clock is off, and may be fast or slow."""
    loop = asyncio.get_running_loop()
    return Election(
        lock,
        namespace=NAMESPACE,
        identity=identity,
        clock=lambda: 1000.0 + loop.time() * speed,
        now=more.pop("now", lambda: NOON),
        **more,
    )


def held_by_a_go_version(renewed: str = "2026-01-02T11:59:00Z", seconds: int = 30) -> str:
    """The annotation as Go marshals it."""
    return (
        '{"holderIdentity":"Aeraki-go","holderKey":"","leaseDurationSeconds":'
        f'{seconds},"acquireTime":"2026-01-01T00:00:00Z","renewTime":"{renewed}",'
        '"leaderTransitions":4}'
    )


@asynccontextmanager
async def all_of(*electors: Election) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for each in electors:
            await stack.enter_async_context(each.running())
        yield


# --- the record ---------------------------------------------------------------------------------


@virtual_time
async def test_the_record_is_written_as_go_writes_it() -> None:
    lock = Lock()
    async with elector(lock).running():
        await at(1)
        assert lock.map is not None
        assert lock.map["metadata"]["annotations"][ANNOTATION] == (
            '{"holderIdentity":"one","holderKey":"","leaseDurationSeconds":30,'
            '"acquireTime":"2026-01-02T12:00:00Z","renewTime":"2026-01-02T12:00:00Z",'
            '"leaderTransitions":0}'
        )


@virtual_time
async def test_a_renewal_moves_only_its_own_time() -> None:
    lock = Lock()
    times = iter([NOON, NOON.replace(minute=1), NOON.replace(minute=2)])
    async with elector(lock, now=lambda: next(times)).running():
        await at(8)
        assert lock.record["acquireTime"] == "2026-01-02T12:00:00Z"
        assert lock.record["renewTime"] == "2026-01-02T12:01:00Z"
        assert lock.record["leaderTransitions"] == 0


@virtual_time
async def test_who_takes_over_counts_a_transition() -> None:
    lock = Lock()
    lock.put(held_by_a_go_version())
    async with elector(lock).running():
        await at(60)
        assert (lock.record["holderIdentity"], lock.record["leaderTransitions"]) == ("one", 5)


@virtual_time
async def test_at_the_end_the_lock_is_nobodys_and_free_at_once() -> None:
    lock = Lock()
    first = elector(lock)
    async with first.running():
        await at(1)
        assert first.is_leader()
    assert not first.is_leader()
    assert lock.record["holderIdentity"] == ""
    second = elector(lock, "two")
    async with second.running():
        await at(1.1)
        assert second.is_leader()


@virtual_time
async def test_who_does_not_hold_the_lock_does_not_release_it() -> None:
    lock = Lock()
    lock.put(held_by_a_go_version())
    async with elector(lock).running():
        await at(1)
    assert lock.record["holderIdentity"] == "Aeraki-go"
    assert not lock.writes


# --- whose it is --------------------------------------------------------------------------------


@pytest.mark.parametrize("renewed", ["1999-01-01T00:00:00Z", "2999-01-01T00:00:00Z", "soon"])
def test_what_time_others_think_it_is_does_not_matter(renewed: str) -> None:
    @virtual_time
    async def test() -> None:
        lock = Lock()
        lock.put(held_by_a_go_version(renewed))
        one = elector(lock)
        async with one.running():
            await at(29)
            assert (one.is_leader(), one.holder) == (False, "Aeraki-go")
            await at(45)
            assert one.is_leader()

    test()


@virtual_time
async def test_a_holder_that_renews_keeps_the_lock() -> None:
    lock = Lock()
    one = elector(lock)
    async with one.running():
        lock.put(held_by_a_go_version())
        for minute in range(10):
            await at(minute * 20.0)
            lock.put(held_by_a_go_version(f"2026-01-02T12:{minute:02}:00Z"))
            assert not one.is_leader() or minute == 0
    assert lock.record["holderIdentity"] == "Aeraki-go"


@virtual_time
async def test_a_holder_that_asks_for_a_longer_lease_has_it() -> None:
    lock = Lock()
    lock.put(held_by_a_go_version(seconds=90))
    one = elector(lock)
    async with one.running():
        await at(89)
        assert not one.is_leader()
        await at(105)
        assert one.is_leader()


@pytest.mark.parametrize(
    "garbage", ["{", "[]", "3", '{"holderIdentity": 1, "leaseDurationSeconds": "x"}']
)
def test_a_record_that_cannot_be_read_is_somebodys_for_a_lease(garbage: str) -> None:
    @virtual_time
    async def test() -> None:
        lock = Lock()
        lock.put(garbage)
        one = elector(lock)
        async with one.running():
            await at(29)
            assert not one.is_leader()
            await at(45)
            assert one.is_leader()

    test()


@virtual_time
async def test_a_namesake_that_is_started_again_waits_like_anybody() -> None:
    """It may still be running: of two with one identity only one may lead."""
    lock = Lock()
    first, second = elector(lock), elector(lock)
    async with all_of(first, second):
        for moment in range(100):
            await at(moment + 0.5)
            assert (first.is_leader(), second.is_leader()) == (True, False)


@virtual_time
async def test_of_namesakes_that_write_the_same_record_at_once_one_leads() -> None:
    lock, slow = Lock(), [Trip(there=0.1)] * 2
    first = elector(lock.behind([*slow, *[Trip(lost=True)] * 9]))
    second = elector(lock.behind(slow))
    async with all_of(first, second):
        for moment in range(1, 29):
            await at(moment)
            assert (first.is_leader(), second.is_leader()) == (moment <= 13, False)


@virtual_time
async def test_a_wall_clock_that_stands_still_does_not_look_like_a_holder_that_does() -> None:
    lock = Lock()
    first, second = elector(lock, now=lambda: NOON), elector(lock, "two")
    async with all_of(first, second):
        for moment in range(100):
            await at(moment + 0.5)
            assert (first.is_leader(), second.is_leader()) == (True, False)


@virtual_time
async def test_a_lock_that_somebody_deletes_is_not_free_before_its_holder_knows() -> None:
    lock = Lock()
    first = elector(lock)
    second = elector(lock, "two")
    async with all_of(first, second):
        for moment in range(1, 800):
            await at(moment / 4)
            if moment % 200 == 75:
                lock.map = None
            assert (first.is_leader(), second.is_leader()) == (True, False)


@virtual_time
async def test_a_renewal_whose_answer_was_lost_is_still_ours() -> None:
    fine, lost = Trip(), Trip(answer_lost=True)
    lock = Lock([fine, fine, fine, lost])
    one = elector(lock)
    async with one.running():
        for moment in range(120):
            await at(moment / 4 + 0.1)
            assert one.is_leader()


# --- how long it is led -------------------------------------------------------------------------


@virtual_time
async def test_leading_ends_at_the_deadline_whatever_the_renewer_does() -> None:
    lock = Lock([Trip(), Trip(), *[Trip(lost=True)] * 100])
    one = elector(lock)
    async with one.running():
        await at(12.9)
        assert one.is_leader()
        await at(13.1)
        assert not one.is_leader()


@virtual_time
async def test_leading_counts_from_when_the_renewal_was_sent() -> None:
    lock = Lock([Trip(), Trip(there=1, back=2), *[Trip(lost=True)] * 100])
    one = elector(lock)
    async with one.running():
        await at(3.1)
        assert one.is_leader()
        await at(13.1)
        assert not one.is_leader()


@virtual_time
async def test_one_request_that_hangs_costs_nobody_the_lock() -> None:
    lock = Lock([Trip(), Trip(), Trip(lost=True)])
    one = elector(lock)
    async with one.running():
        for moment in range(1, 200):
            await at(moment / 4)
            assert one.is_leader()


@virtual_time
async def test_winning_and_losing_are_told() -> None:
    lock = Lock()
    one = elector(lock)
    async with one.running():
        await one.changed()
        assert one.is_leader()
        lock.put(held_by_a_go_version())
        await one.changed()
        assert not one.is_leader()


@virtual_time
async def test_who_wins_again_what_ran_out_is_told() -> None:
    lock = Lock([Trip(), Trip(), *[Trip(lost=True)] * 3])
    one = elector(lock)
    async with one.running():
        await one.changed()
        await at(13.5)
        assert not one.is_leader()
        await one.changed()
        assert one.is_leader()


_TRIPS = st.builds(
    Trip,
    there=st.sampled_from([0.0, 0.5, 3.0, 3.6, 8.0, 29.0]),
    back=st.sampled_from([0.0, 0.5, 3.0, 20.0]),
    lost=st.booleans(),
    answer_lost=st.booleans(),
)


@settings(max_examples=60, deadline=None)
@given(
    trips=st.tuples(*[st.lists(st.tuples(_TRIPS, st.integers(1, 6)), max_size=15)] * 3),
    speeds=st.tuples(*[st.sampled_from([0.8, 1.0, 1.3])] * 3),
    stopped=st.integers(0, 100),
)
@virtual_time
async def test_two_never_lead_at_the_same_time(
    trips: tuple[list[tuple[Trip, int]], ...], speeds: tuple[float, ...], stopped: int
) -> None:
    """Requests late, lost, or landing long after they were given up; fast and slow clocks; one that
    comes to its end and is started again under the same name."""
    lock = Lock()
    ways = [lock.behind(trip for trip, times in each for _ in range(times)) for each in trips]
    electors = [
        elector(way, str(n), speed=speed)
        for n, (way, speed) in enumerate(zip(ways, speeds, strict=True))
    ]

    def check() -> None:
        leading = [each.identity for each in electors if each.is_leader()]
        assert len(leading) <= 1, leading

    lock.on_landing = check
    async with AsyncExitStack() as stack:
        mortal = asyncio.create_task(electors[0].run())
        for each in electors[1:]:
            await stack.enter_async_context(each.running())
        for moment in range(2000):
            await at(moment / 8)
            check()
            if moment == stopped:
                mortal.cancel()
                await asyncio.wait([mortal])
                electors.append(elector(lock, "0"))
                await stack.enter_async_context(electors[-1].running())
        async with asyncio.timeout(200):
            while not any(each.is_leader() for each in electors):
                await asyncio.sleep(1)
                check()


# --- over real sockets --------------------------------------------------------------------------

QUICK = Timing(lease=3.0, renew_deadline=1.5, retry=0.5, margin=0.3)


async def test_the_lock_passes_on_over_real_sockets_and_never_to_two(tmp_path: Path) -> None:
    async with (
        ApiServer.started() as api,
        Faults.started(api.url) as faults,
        Cluster.of_kubeconfig(api.kubeconfig(tmp_path / "a", url=faults.url)) as behind,
        Cluster.of_kubeconfig(api.kubeconfig(tmp_path / "b")) as before,
    ):
        first = Election(behind, namespace=NAMESPACE, identity="first", timing=QUICK)
        second = Election(before, namespace=NAMESPACE, identity="second", timing=QUICK)
        both: list[str] = []
        watching = asyncio.create_task(_note_two(first, second, both))
        async with first.running():
            await until(first.is_leader)
            async with second.running():
                await until(lambda: second.holder == "first")
                faults.next(Hang(), times=3)
                await until(lambda: not faults.pending or not first.is_leader())
                await faults.refuse()
                await until(second.is_leader)
                assert first.error
                await faults.accept()
                await until(lambda: first.holder == "second")
            await until(first.is_leader)
        watching.cancel()
        found = api.get("ConfigMap", NAMESPACE, LOCK)
        assert found is not None
        record = orjson.loads(found["metadata"]["annotations"][ANNOTATION])
        assert (record["holderIdentity"], record["leaderTransitions"]) == ("", 2)
        assert not both


async def _note_two(first: Election, second: Election, both: list[str]) -> None:
    while True:
        if first.is_leader() and second.is_leader():
            both.append("both")
        await asyncio.sleep(0.002)
