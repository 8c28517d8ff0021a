"""Batches: a lone change goes at once, a burst goes together, and no one waits longer than the cap.

Times are virtual seconds.
"""

from __future__ import annotations

import asyncio

from aeraki_xds.ingest.event import Event, Synced
from aeraki_xds.pipeline.coalesce import CAP, QUIET, Inbox
from tests.virtual_time import at, time_of, virtual_time


def said(*names: str) -> list[Event]:
    return [Synced(source=name) for name in names]


def an_inbox() -> Inbox:
    return Inbox(clock=asyncio.get_running_loop().time, quiet=0.02, cap=0.1)


@virtual_time
async def test_the_first_change_after_quiet_goes_at_once() -> None:
    inbox = an_inbox()
    await at(5, lambda: inbox.put(said("a")))
    assert await inbox.take() == said("a")
    assert await time_of(asyncio.sleep(0)) == 5


@virtual_time
async def test_a_change_goes_at_once_to_one_who_waits_already() -> None:
    inbox = an_inbox()
    taking = asyncio.create_task(inbox.take())
    await at(5, lambda: inbox.put(said("a")))
    assert await time_of(taking) == 5


@virtual_time
async def test_lone_changes_each_go_at_once() -> None:
    inbox = an_inbox()
    for second in (1, 2, 3):
        await at(second, lambda: inbox.put(said("a")))
        assert await time_of(inbox.take()) == second


@virtual_time
async def test_one_batch_of_a_source_stays_one_batch() -> None:
    inbox = an_inbox()
    inbox.put(said("a", "b", "c"))
    assert await inbox.take() == said("a", "b", "c")


@virtual_time
async def test_a_burst_goes_together_when_it_is_over() -> None:
    inbox = an_inbox()
    inbox.put(said("first"))
    assert await inbox.take() == said("first")
    for moment in (0.005, 0.015, 0.030):
        await at(moment, lambda: inbox.put(said("more")))
    assert await inbox.take() == said("more", "more", "more")
    assert await time_of(asyncio.sleep(0)) == 0.050


@virtual_time
async def test_a_change_during_the_wait_moves_the_end_of_the_burst() -> None:
    inbox = an_inbox()
    inbox.put(said("first"))
    await inbox.take()
    await at(0.010, lambda: inbox.put(said("a")))
    taking = asyncio.create_task(inbox.take())
    await at(0.025, lambda: inbox.put(said("b")))
    assert await time_of(taking) == 0.045
    assert taking.result() == said("a", "b")


@virtual_time
async def test_a_burst_that_does_not_end_goes_at_the_cap() -> None:
    inbox = an_inbox()
    inbox.put(said("first"))
    await inbox.take()
    taking = asyncio.create_task(inbox.take())
    for hundredth in range(1, 30):
        await at(hundredth / 100, lambda: inbox.put(said("more")))
        if taking.done():
            break
    assert await time_of(taking) == 0.11  # the first one that waited came at 0.01
    assert 10 <= len(taking.result()) <= 11


@virtual_time
async def test_the_order_in_which_things_were_said_is_kept() -> None:
    inbox = an_inbox()
    for name in "abcde":
        inbox.put(said(name))
    assert await inbox.take() == said(*"abcde")


@virtual_time
async def test_nothing_said_is_no_batch_and_no_sign_of_life() -> None:
    inbox = an_inbox()
    inbox.put([])
    taking = asyncio.create_task(inbox.take())
    await at(1)
    assert not taking.done()
    inbox.put(said("a"))
    assert await time_of(taking) == 1


@virtual_time
async def test_what_waited_while_the_reader_was_busy_goes_at_once() -> None:
    inbox = an_inbox()
    inbox.put(said("first"))
    await inbox.take()
    await at(0.010, lambda: inbox.put(said("a")))
    await at(3)
    assert await inbox.take() == said("a")
    assert await time_of(asyncio.sleep(0)) == 3


@virtual_time
async def test_a_reader_that_gives_up_loses_nothing() -> None:
    inbox = an_inbox()
    inbox.put(said("first"))
    await inbox.take()
    await at(0.001, lambda: inbox.put(said("a")))
    taking = asyncio.create_task(inbox.take())
    await at(0.002, taking.cancel)
    assert await inbox.take() == said("a")


def test_nobody_notices_the_delays() -> None:
    assert QUIET <= CAP <= 0.1
