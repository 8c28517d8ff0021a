"""What drills find can be bad: the verdicts, on numbers that are. The drills are not run here."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from drills import table
from drills.table import rehearse, row
from drills.verdict import LATE_S, Fact, Finding, Lag, Ratio, no_errors, percentile

from aeraki_xds.admin.lag import LagMeter
from tests.admin.desk import opened

NAME = "aeraki_xds_event_loop_lag_seconds"


def page(counts: dict[str, int]) -> str:
    """A page of /metrics with this histogram, of `counts` in each bucket."""
    total = 0
    rows = ["# TYPE aeraki_xds_scopes gauge", "aeraki_xds_scopes 3.0", f"# TYPE {NAME} histogram"]
    for bound, count in counts.items():
        total += count
        rows.append(f'{NAME}_bucket{{le="{bound}"}} {total}.0')
    return "\n".join([*rows, f"{NAME}_count {total}.0", f"{NAME}_sum 1.5"])


def lag(early: int, late: int) -> Lag:
    return Lag.parse(page({"0.025": early, "0.05": 0, "0.1": late, "+Inf": 0}))


@pytest.mark.parametrize(
    ("early", "late", "good"),
    [(999, 1, True), (998, 1, False), (99, 0, True), (1_997, 3, False), (9_990, 10, True)],
)
def test_one_measurement_in_a_thousand_may_be_late(early: int, late: int, *, good: bool) -> None:
    assert lag(early, late).fact().good is good


def test_a_loop_that_nobody_measured_was_not_in_time() -> None:
    assert not lag(0, 0).fact().good


def test_what_is_on_the_bound_is_in_time_and_what_is_above_it_is_not() -> None:
    assert Lag.parse(page({"0.05": 10, "0.1": 0, "+Inf": 0})).late == 0
    assert Lag.parse(page({"0.05": 10, "0.1": 2, "+Inf": 1})).late == 3


def test_what_was_measured_before_is_not_counted_and_two_servers_are_counted_together() -> None:
    whole = (lag(100, 5) - lag(90, 5)) + lag(40, 1)
    assert (whole.measured, whole.late) == (51, 1)


def test_how_late_most_of_them_were_is_told_by_the_bucket() -> None:
    told = lag(999, 1).fact().told
    assert told == "loop lag: 1 of 1000 above 50 ms; p99.9 ≤ 25 ms, max ≤ 100 ms"
    assert "p99.9 ≤ 100 ms" in lag(998, 2).fact().told


def test_a_histogram_without_the_bound_that_decides_is_no_measurement() -> None:
    with pytest.raises(ValueError, match="no bound at 0"):
        Lag.parse(page({"0.1": 10, "+Inf": 0}))
    with pytest.raises(ValueError, match="no bound at 0"):
        Lag.parse("aeraki_xds_scopes 3.0")


async def test_the_page_of_a_server_has_the_bound_that_decides() -> None:
    async with opened() as desk:
        assert LATE_S in Lag.parse(await desk.text("/metrics")).bounds


async def test_a_meter_that_was_kept_waiting_is_bad() -> None:
    meter = LagMeter(clock=asyncio.get_running_loop().time)
    meter.seconds.observe(0.001)
    bounds = (*meter.seconds.bounds, float("inf"))
    assert Lag.of(bounds, meter.seconds.counts).fact().good
    meter.seconds.observe(0.051)
    assert not Lag.of(bounds, meter.seconds.counts).fact().good


def test_others_may_wait_a_fifth_longer_by_the_median_of_the_pairs() -> None:
    assert Ratio(without=(1.0, 1.0, 1.0), beside=(1.2, 1.2, 9.0)).fact("pings").good
    bad = Ratio(without=(1.0, 2.0, 1.0), beside=(1.3, 2.6, 0.1)).fact("pings")
    assert not bad.good
    assert bad.told.startswith("pings: the others' 99th percentile × 1.30 (1300 ms, 3 pairs)")


def test_a_percentile_is_a_value_that_was_measured() -> None:
    assert percentile(range(1, 101), 0.99) == 100
    assert percentile([3.0], 0.99) == 3.0
    with pytest.raises(ValueError, match="nothing was measured"):
        percentile([], 0.99)


def test_a_call_that_failed_is_bad_and_is_shown() -> None:
    assert no_errors([]).good
    failed = no_errors(["sayHello: timed out"])
    assert not failed.good
    assert failed.told == "1 failed calls: sayHello: timed out"


# --- the table ----------------------------------------------------------------------------------


async def fine(_work: Path) -> Finding:
    """Nothing happens."""
    return Finding(facts=(Fact(told="as it was"),))


async def slow(_work: Path) -> Finding:
    """Something is slow."""
    return Finding(facts=(Fact(told="0 failed calls"), Fact(told="late", good=False)))


async def broken(_work: Path) -> Finding:
    """The drill itself does not work."""
    message = "no port\nto be had"
    raise OSError(message)


async def endless(_work: Path) -> Finding:
    """It is never over."""
    return await asyncio.Future()


async def test_a_drill_that_is_never_over_is_bad(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "LIMIT_S", 0.05)
    async with asyncio.timeout(10.0):
        assert not await rehearse({"endless": endless}, ["endless"])
    assert "BAD TimeoutError: not over within 0.05 s" in capsys.readouterr().out


def test_what_is_bad_is_marked_in_its_row() -> None:
    found = Finding(facts=(Fact(told="0 failed calls"), Fact(told="late", good=False)))
    first, good, bad = row("slow", slow, found, 1.0).splitlines()
    assert first == "BAD slow      Something is slow. (1 s)"
    assert (good.split(), bad.split()) == (["0", "failed", "calls"], ["BAD", "late"])


async def test_a_drill_that_fails_is_bad_and_the_others_are_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    drills = {"broken": broken, "slow": slow, "fine": fine}
    assert not await rehearse(drills, list(drills))
    told = capsys.readouterr().out
    assert "BAD OSError: no port to be had" in told
    assert "ok  fine" in told
    assert told.splitlines()[-1] == "3 drills in 0 s, BAD: broken, slow"


async def test_all_good_is_said_only_when_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert await rehearse({"broken": broken, "fine": fine}, ["fine"])
    assert capsys.readouterr().out.splitlines()[-1] == "1 drills in 0 s, all good"
