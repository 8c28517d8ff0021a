"""When the collector looks at what, and what is freed all the same."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from aeraki_xds import garbage
from aeraki_xds.garbage import (
    free_bytes,
    give_back,
    no_full_collections,
    now_and_then,
    set_aside,
)
from tests.virtual_time import virtual_time


class Thing:
    """Something that can be in a cycle."""

    other: Thing | None = None


def cycle() -> weakref.ref[Thing]:
    """Garbage that only the collector finds."""
    thing = Thing()
    thing.other = thing
    return weakref.ref(thing)


@pytest.fixture(autouse=True)
def nothing_stays_aside() -> Iterator[None]:
    yield
    gc.unfreeze()


def collections_of_all() -> int:
    return int(gc.get_stats()[2]["collections"])


def test_however_much_is_made_nothing_looks_at_everything() -> None:
    with no_full_collections():
        before = collections_of_all()
        held = [[n] for n in range(300_000)]
        assert collections_of_all() == before
    assert len(held) == 300_000


def test_without_it_python_would() -> None:
    before = collections_of_all()
    held = [[n] for n in range(300_000)]
    assert collections_of_all() > before
    assert len(held) == 300_000


def test_short_lived_cycles_are_found_all_the_same() -> None:
    with no_full_collections():
        seen = cycle()
        held = [[n] for n in range(20_000)]
        assert seen() is None
    assert len(held) == 20_000


def test_what_is_set_aside_is_not_looked_at_and_freed_when_nobody_refers_to_it() -> None:
    things = [Thing() for _ in range(100)]
    seen = [weakref.ref(thing) for thing in things]
    set_aside()
    assert not any(isinstance(each, Thing) for each in gc.get_objects())
    del things
    assert not any(each() for each in seen)


def test_memory_of_c_that_is_free_is_known_and_given_back() -> None:
    """Each block lies below one that is taken, which is how glibc comes to keep it."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.free.argtypes = [ctypes.c_void_p]
    before = free_bytes()
    blocks = [(libc.malloc(100_000), libc.malloc(8_000)) for _ in range(1_000)]
    for large, _ in blocks:
        ctypes.memset(large, 1, 100_000)
    for large, _ in blocks:
        libc.free(large)
    try:
        assert free_bytes() - before > 50_000_000
        held = resident()
        give_back()
        assert held - resident() > 0
    finally:
        for _, small in blocks:
            libc.free(small)


def resident() -> int:
    """Bytes of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def test_it_is_given_back_when_it_is_much(monkeypatch: pytest.MonkeyPatch) -> None:
    free, given = [0], asyncio.Event()
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(garbage, "_LOOK", 0.001)
    monkeypatch.setattr(garbage, "free_bytes", lambda: free[0])
    monkeypatch.setattr(garbage, "give_back", lambda: loop.call_soon_threadsafe(given.set))
    task = asyncio.create_task(now_and_then())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(given.wait(), 0.1)
    free[0] = 1 << 30
    await asyncio.wait_for(given.wait(), 10.0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@virtual_time
async def test_once_an_hour_what_nobody_found_is_collected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(garbage, "free_bytes", lambda: 0)  # there are no threads in virtual time
    gc.disable()
    try:
        seen = cycle()
        task = asyncio.create_task(now_and_then())
        await asyncio.sleep(3599)
        assert seen() is not None
        await asyncio.sleep(2)
        assert seen() is None
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    finally:
        gc.enable()


def test_afterwards_thresholds_are_what_they_were() -> None:
    before = gc.get_threshold()
    with no_full_collections():
        assert gc.get_threshold() != before
    assert gc.get_threshold() == before
