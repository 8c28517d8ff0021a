"""How fast is written, in virtual seconds."""

from __future__ import annotations

import asyncio

from aeraki_xds.writeback.pace import Pace, Rate
from tests.virtual_time import at, time_of, virtual_time


def a_pace() -> Pace:
    return Pace(Rate(per_second=10, burst=2), clock=asyncio.get_running_loop().time)


@virtual_time
async def test_a_few_go_at_once_and_then_so_many_a_second() -> None:
    pace = a_pace()
    assert [await time_of(pace.turn()) for _ in range(5)] == [0, 0, 0.1, 0.2, 0.3]


@virtual_time
async def test_who_was_quiet_may_write_a_few_at_once_again_and_no_more() -> None:
    pace = a_pace()
    for _ in range(4):
        await pace.turn()
    await at(10)
    assert [await time_of(pace.turn()) for _ in range(3)] == [10, 10, 10.1]


@virtual_time
async def test_a_pause_lasts_as_long_as_it_was_asked_for() -> None:
    pace = a_pace()
    assert not pace.wait
    pace.pause(2)
    await at(0.5)
    assert pace.wait == 1.5
    await at(2)
    assert not pace.wait
