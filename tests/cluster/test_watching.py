"""One kind followed at a real API server: what its watches do, and what becomes of them."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest

from aeraki_xds.ingest.event import Rejected, Synced
from aeraki_xds.ingest.kubernetes.reflector import Pace
from tests.apiserver.faults import Faults, Hang
from tests.apiserver.kinds import KINDS
from tests.cluster.kit import DEFINED, Hand, following, istio_definition, until_settled
from tests.cluster.real import Real
from tests.ingest.kubernetes.kit import SOURCE, hurried, key, rule, until

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]

RULE = istio_definition(next(kind for kind in KINDS if kind.kind == "DestinationRule"))
RULES_OF_SHOP = "/apis/networking.istio.io/v1/namespaces/shop/destinationrules"


def asked(real: Real, verb: str) -> list[dict[str, Any]]:
    """What a reflector asked for: it asks for lists in pages, and for bookmarks."""
    mark = {"list": "limit=", "watch": "allowWatchBookmarks="}[verb]
    return [
        call
        for call in real.calls("admin")
        if call["verb"] == verb and "destinationrules" in call["requestURI"]
        if mark in call["requestURI"]
    ]


def hasty() -> Pace:
    """Waits take no time, and by its clock each look is 5 seconds later."""
    ticks = iter(range(0, 10**9, 5))
    return Pace(sleep=hurried, random=Random(1), clock=lambda: float(next(ticks)))


async def test_what_is_there_is_said_and_every_change_after_it(
    real: Real, hand: Hand, tmp_path: Path
) -> None:
    await hand.put(rule("one"))
    await hand.put(rule("two"))
    async with following(real, tmp_path) as heard:
        await heard.until(lambda: heard.is_synced)
        assert heard.hosts == {"one": "a", "two": "a"}
        await hand.put(rule("three"))
        await hand.put(rule("one", "b"))
        await hand.delete(rule("two"))
        await until_settled(heard, hand)
        assert heard.hosts == {"one": "b", "three": "a"}
        assert heard.deleted == [key("two")]
        wrong = rule("one")
        wrong["spec"]["host"] = 5
        await hand.put(wrong)
        await heard.until(lambda: isinstance(heard.objects[key("one")], Rejected))


async def test_a_server_that_restarts_takes_nothing_away(
    real: Real, hand: Hand, tmp_path: Path
) -> None:
    await hand.put(rule("one"))
    await hand.put(rule("two"))
    async with following(real, tmp_path) as heard:
        await heard.until(lambda: heard.is_synced)
        async with real.down():
            pass
        assert len(heard.hosts) == 2
        await hand.delete(rule("two"))
        await hand.put(rule("one", "b"))
        await until_settled(heard, hand)
        assert heard.deleted == [key("two")]


async def test_a_watch_whose_revision_is_compacted_is_followed_by_a_list(
    real: Real, hand: Hand, tmp_path: Path
) -> None:
    await hand.put(rule("one"))
    await hand.put(rule("two"))
    async with (
        Faults.started(real.url, tls=real.context) as faults,
        following(real, tmp_path, url=faults.url) as heard,
    ):
        await heard.until(lambda: heard.is_synced)
        await faults.refuse()
        faults.cut_all()
        await hand.delete(rule("two"))
        await hand.put(rule("one", "b"))
        async with real.down():
            real.compact()
        before = len(asked(real, "list"))
        await faults.accept()
        await until_settled(heard, hand)
        assert heard.deleted == [key("two")]
        assert isinstance(heard.states[-1], Synced)
        assert len(asked(real, "list")) == before + 1


async def test_a_watch_that_is_cut_goes_on_where_it_was_without_a_list(
    real: Real, hand: Hand, tmp_path: Path
) -> None:
    await hand.put(rule("one"))
    await hand.put(rule("two"))
    async with (
        Faults.started(real.url, tls=real.context) as faults,
        following(real, tmp_path, url=faults.url) as heard,
    ):
        await heard.until(lambda: heard.is_synced)
        before = len(asked(real, "list"))
        faults.cut_all()
        await hand.delete(rule("two"))
        await hand.put(rule("one", "b"))
        await until_settled(heard, hand)
        assert heard.states == [Synced(source=SOURCE)]
        assert len(asked(real, "list")) == before


async def test_a_list_in_pages_with_changes_and_a_compaction_in_its_middle_is_complete(
    real: Real, hand: Hand, tmp_path: Path
) -> None:
    for name in ("a", "b", "c", "d", "e"):
        await hand.put(rule(name))
    pace = Pace(sleep=hurried, random=Random(1), page=2)
    async with Faults.started(real.url, tls=real.context) as faults:
        faults.next(Hang(), verb="list", when=lambda call: len(asked(real, "list")) > before)
        before = len(asked(real, "list"))
        async with following(real, tmp_path, url=faults.url, pace=pace) as heard:
            await until(lambda: faults.pending == 0)  # the second page is on its way
            assert not heard.is_synced
            await hand.delete(rule("a"))
            await hand.put(rule("e", "changed"))
            real.compact()
            faults.cut_all()
            await until_settled(heard, hand)
            assert heard.hosts == {"b": "a", "c": "a", "d": "a", "e": "changed"}


async def test_a_kind_that_comes_late_is_picked_up_and_goes_with_its_objects(
    real: Real, hand: Hand, tmp_path: Path
) -> None:
    await hand.undefine(RULE)
    async with following(real, tmp_path, pace=hasty()) as heard:
        await heard.until(lambda: heard.is_synced)
        assert heard.objects == {}
        await hand.define(RULE)
        await hand.put(rule("one"))
        await until_settled(heard, hand)
        await hand.undefine(RULE)
        await heard.until(lambda: heard.is_lost)
        assert heard.deleted == [key("one")]
        await hand.define(RULE)
        await hand.put(rule("two"))
        await until_settled(heard, hand)


async def test_a_version_that_is_taken_away_is_left_for_the_next_without_a_list(
    real: Real, hand: Hand, tmp_path: Path
) -> None:
    newest, *others = RULE["spec"]["versions"]
    without = {**RULE, "spec": {**RULE["spec"], "versions": [{**newest, "served": False}, *others]}}
    await hand.put(rule("one"))
    try:
        async with following(real, tmp_path) as heard:
            await heard.until(lambda: heard.is_synced)
            path = f"{DEFINED}/{RULE['metadata']['name']}"
            await hand.client.apply(path, without, "kubectl", force="true")
            await hand.put({**rule("one", "b"), "apiVersion": "networking.istio.io/v1beta1"})
            await heard.until(lambda: heard.hosts == {"one": "b"})
            assert heard.states == [Synced(source=SOURCE)]
            await until(lambda: any("/v1beta1/" in c["requestURI"] for c in asked(real, "watch")))
    finally:
        await hand.define(RULE)


async def test_bookmarks_say_how_far_a_quiet_watch_is(hand: Hand) -> None:
    _, listed = await hand.client.get(RULES_OF_SHOP)
    since = listed["metadata"]["resourceVersion"]
    query = {"resourceVersion": since, "allowWatchBookmarks": "true", "timeoutSeconds": "8"}
    async with hand.client.watch(RULES_OF_SHOP, **query) as watch:
        await hand.put({**rule("other"), "metadata": {"name": "other", "namespace": "default"}})
        event = await watch.next()
        assert event["type"] == "BOOKMARK"
        assert int(event["object"]["metadata"]["resourceVersion"]) > int(since)
        assert event["object"]["kind"] == "DestinationRule"
        assert await watch.next() is None
