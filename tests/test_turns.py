"""Long work, and who gets a turn meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from aeraki_xds import turns
from aeraki_xds.turns import few_at_a_time, in_turns


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds, moved on by the test."""
    now = [0.0]
    monkeypatch.setattr(turns, "monotonic", lambda: now[0])
    return now


async def test_others_have_a_turn_whenever_the_work_took_long(clock: list[float]) -> None:
    log: list[str] = []
    note = log.append

    def work() -> Iterator[int]:
        for number in range(6):
            clock[0] += turns.SLICE * 0.6
            yield number

    async def other() -> None:
        while True:
            note("other")
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    async for number in in_turns(work()):
        note(str(number))
    task.cancel()
    assert log == ["0", "1", "other", "2", "3", "other", "4", "5", "other"]


async def test_short_work_is_done_in_one_go(clock: list[float]) -> None:
    others = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(others.set_result, None)
    assert [number async for number in in_turns(range(1000))] == list(range(1000))
    assert not others.done()
    await others


@pytest.mark.parametrize("length", [0, 1, 49, 50, 51, 151])
def test_a_few_at_a_time_are_all_in_the_end(length: int) -> None:
    slices = list(few_at_a_time(range(length)))
    assert [number for few in slices for number in few] == list(range(length))
    assert all(0 < len(few) <= 50 for few in slices)
