"""What is set aside when a collection takes long, and what is freed all the same."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from aeraki_xds.garbage import short_collections


class Thing:
    """Something that can be in a cycle."""

    other: Thing | None = None


class Clock:
    """A collection takes `step` seconds."""

    def __init__(self, step: float) -> None:
        self.step = step
        self.now = 0.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@pytest.fixture(autouse=True)
def nothing_stays_aside() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_what_survives_a_long_collection_is_not_looked_at_again() -> None:
    with short_collections(clock=Clock(1.0)):
        before = gc.get_freeze_count()
        held = [Thing() for _ in range(1000)]
        gc.collect()
        assert gc.get_freeze_count() >= before + len(held)
        assert not any(each is held for each in gc.get_objects())


def test_what_survives_a_short_one_is() -> None:
    with short_collections(clock=Clock(0.001)):
        held = [Thing() for _ in range(1000)]
        gc.collect()
        assert any(each is held for each in gc.get_objects())


def test_what_was_set_aside_is_freed_when_nobody_refers_to_it() -> None:
    with short_collections(clock=Clock(1.0)):
        thing = Thing()
        gc.collect()
        seen = weakref.ref(thing)
        del thing
        assert seen() is None


def test_garbage_that_comes_later_is_collected() -> None:
    with short_collections(clock=Clock(1.0)):
        gc.collect()
        thing = Thing()
        thing.other = thing
        seen = weakref.ref(thing)
        del thing
        gc.collect()
        assert seen() is None


def test_afterwards_everything_is_as_it_was() -> None:
    before = gc.get_threshold(), list(gc.callbacks)
    with short_collections():
        assert gc.get_threshold() != before[0]
    assert (gc.get_threshold(), list(gc.callbacks)) == before
