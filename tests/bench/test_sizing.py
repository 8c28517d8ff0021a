"""How many replicas a fleet needs, worked out from what one stream costs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scenarios.sizing import STREAMS, Size, Units, table

UNITS = Units(push_us=50, sidecar_us=5_000, sidecar_kb=200, base_mb=60, service_kb=10)


def test_there_are_always_two() -> None:
    size = Size.of(1_000, UNITS)
    assert size.replicas == 2
    assert size.memory_mb == pytest.approx(60 + (1_000 * 200 + 100 * 10) / 1024)
    assert size.everybody_s == pytest.approx(500 * STREAMS * 50e-6)
    assert size.recovery_s == pytest.approx(500 * 5e-3)


def test_no_replica_has_more_streams_than_it_takes_even_when_one_is_lost() -> None:
    cheap = replace(UNITS, push_us=1, sidecar_us=1)
    assert Size.of(5_000, cheap).replicas == 2
    assert Size.of(5_001, cheap).replicas == 3
    assert Size.of(100_000, cheap).replicas == 21


def test_a_change_for_everybody_is_to_be_there_in_time() -> None:
    slow = replace(UNITS, push_us=100, sidecar_us=1)
    assert Size.of(10_000, slow).replicas == 10


def test_the_others_take_the_proxies_of_one_that_is_lost_in_time() -> None:
    dear = replace(UNITS, push_us=1, sidecar_us=20_000)
    size = Size.of(5_000, dear)
    assert size.replicas == 3
    assert size.recovery_s <= 30


def test_the_table_has_a_row_for_each_fleet_and_says_what_it_is_made_of() -> None:
    printed = table(UNITS, (1_000, 100_000))
    assert [line.split()[0] for line in printed.splitlines()[1:3]] == ["1,000", "100,000"]
    assert "50 µs a push with its ACK, 5.0 ms to let a sidecar in" in printed
