"""What a connection may make h2 do, frame by frame, in virtual seconds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aeraki_xds.bench import frames
from aeraki_xds.xds.wire.budget import Budget
from aeraki_xds.xds.wire.limits import Limits

LIMITS = replace(Limits(), frames=10, frames_per_second=2.0)
PREFACE = frames.greeting()[:24]
PING = frames.frame(frames.PING, 0, 0, bytes(8))


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def begun(clock: Clock | None = None) -> Budget:
    """A budget of a connection whose preface has come."""
    budget = Budget(limits=LIMITS, clock=clock or Clock())
    assert budget.allows(PREFACE, sent=0)
    return budget


def test_so_many_frames_may_come_at_once_and_no_more() -> None:
    assert begun().allows(PING * 10, sent=0)
    assert not begun().allows(PING * 11, sent=0)


def test_more_may_come_as_time_goes_by_but_not_all_at_once() -> None:
    clock = Clock()
    budget = begun(clock)
    assert budget.allows(PING * 10, sent=0)
    clock.now += 2.0
    assert budget.allows(PING * 4, sent=0)
    assert not budget.allows(PING, sent=0)
    clock.now += 3600.0
    assert not budget.allows(PING * 11, sent=0)


def test_a_client_may_answer_to_what_it_is_sent() -> None:
    budget = begun()
    window = frames.opened(0, 500)
    for responses in range(1, 200):
        assert budget.allows(window * 3, sent=400 * responses)
    assert not budget.allows(window * 30, sent=400 * 200)


@pytest.mark.parametrize(("size", "free"), [(0, False), (255, False), (256, True), (16_384, True)])
def test_data_is_free_unless_it_may_be_all_padding(size: int, free: bool) -> None:
    data = frames.frame(frames.DATA, 0, 1, bytes(size))
    assert begun().allows(data * 50, sent=0) is free


@given(st.lists(st.integers(1, 80)), st.lists(st.sampled_from([0, 3, 300, 20_000]), max_size=12))
def test_however_the_bytes_are_split_the_frames_are_counted_once(
    cuts: list[int], sizes: list[int]
) -> None:
    data = PREFACE + b"".join(frames.frame(frames.SETTINGS, 0, 0, bytes(size)) for size in sizes)
    budget = Budget(limits=LIMITS, clock=Clock())
    at, allowed = 0, True
    for cut in (*cuts, len(data)):
        allowed = allowed and budget.allows(data[at : at + cut], sent=0)
        at += cut
    assert allowed is (len(sizes) <= 10)
