"""Numbers to reach: what is met says so, what is not says by how much and why."""

from __future__ import annotations

from scenarios.bars import Bar, grid, table
from scenarios.bench import ratio


def test_a_bar_is_met_up_to_its_number() -> None:
    assert Bar(what="send", found=3.0, most=3).met
    assert Bar(what="send", found=3.0, most=3).row().startswith("met ")
    assert not Bar(what="send", found=3.01, most=3).met


def test_a_bar_that_is_not_met_says_by_how_much_and_what_is_left() -> None:
    row, why = Bar(what="send", found=4.5, most=3, left="the kernel").row().splitlines()
    assert row.startswith("+50 % ")
    assert why.strip() == "what is left: the kernel"


def test_one_that_is_met_needs_no_excuse() -> None:
    assert len(Bar(what="send", found=1.0, most=3, left="the kernel").row().splitlines()) == 1


def test_without_its_peer_a_bar_is_not_met() -> None:
    missing = Bar(what="send", found=ratio([], []), most=3)
    assert not missing.met
    assert missing.row().startswith("no peer")
    assert table([missing]).endswith("0 of 1 bars are met")


def test_a_ratio_is_the_median_of_the_runs_ratios() -> None:
    assert ratio([1.0, 4.0, 9.0], [1.0, 2.0, 3.0]) == 2.0


def test_a_grid_is_as_wide_as_what_is_in_it() -> None:
    assert grid(["", "ours"], [["send", "1"]]).splitlines() == ["      ours", "send     1"]
