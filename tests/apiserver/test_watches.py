"""Watches of the API server, as "Kubernetes API Concepts" has them."""

from __future__ import annotations

import time

import pytest

from tests.apiserver.kit import (
    SHOP,
    Client,
    reason_of,
    router,
    service,
    until,
)
from tests.apiserver.server import ApiServer


async def test_a_watch_tells_each_change_once_and_in_order(api: ApiServer, client: Client) -> None:
    """ "Efficient detection of changes": list, then watch from the list's resourceVersion."""
    api.put(service("a"))
    _, listed = await client.get(SHOP)
    api.put(service("b"))
    api.put(service("elsewhere", namespace="attic"))
    async with client.watch(SHOP, resourceVersion=listed["metadata"]["resourceVersion"]) as events:
        assert await events.names(1) == ["ADDED b"]
        api.put(service("b", port=81))
        api.put(router())
        api.delete("Service", "shop", "a")
        modified, deleted = await events.next(), await events.next()
    assert modified["type"] == "MODIFIED"
    assert (modified["object"]["kind"], modified["object"]["apiVersion"]) == ("Service", "v1")
    assert modified["object"]["spec"] == {"ports": [{"port": 81}]}
    assert deleted["type"] == "DELETED"
    assert deleted["object"]["metadata"]["resourceVersion"] == str(api.revision)


@pytest.mark.parametrize("start", [{}, {"resourceVersion": "0"}])
async def test_a_watch_from_nowhere_begins_with_what_there_is(
    start: dict[str, object], api: ApiServer, client: Client
) -> None:
    """ "Semantics for watch": unset and "0" get state, and start there."""
    api.put(service("a"))
    api.put(service("a", port=81))
    async with client.watch(SHOP, **start) as events:
        first = await events.next()
        assert (first["type"], first["object"]["spec"]["ports"][0]["port"]) == ("ADDED", 81)
        api.put(service("b"))
        assert await events.names(1) == ["ADDED b"]


async def test_what_enters_and_leaves_a_selector_is_added_and_deleted(
    api: ApiServer, client: Client
) -> None:
    async with client.watch(SHOP, labelSelector="app=a") as events:
        await until(lambda: api.watches("Service"))
        api.put(service("s"))
        api.put(service("s", labels={"app": "a"}))
        api.put(service("s", labels={"app": "a"}, port=81))
        api.put(service("s", labels={"app": "b"}))
        api.delete("Service", "shop", "s")
        api.put(service("end", labels={"app": "a"}))
        assert await events.names(4) == ["ADDED s", "MODIFIED s", "DELETED s", "ADDED end"]


async def test_a_watch_from_a_compacted_revision_is_gone(api: ApiServer, client: Client) -> None:
    """ "410 Gone responses": in the stream, or as the answer."""
    start = api.revision
    api.put(service())
    api.compact()
    async with client.watch(SHOP, resourceVersion=start) as events:
        event = await events.next()
        assert (event["type"], event["object"]["code"]) == ("ERROR", 410)
        assert event["object"]["reason"] == "Expired"
        assert await events.next() is None
    api.gone_as_event = False
    answer = await client.get(SHOP, watch=1, resourceVersion=start)
    assert reason_of(answer) == (410, "Expired")


async def test_compaction_does_not_disturb_open_watches(api: ApiServer, client: Client) -> None:
    async with client.watch(SHOP) as events:
        await until(lambda: api.watches("Service"))
        api.put(service("a"))
        api.compact()
        api.put(service("b"))
        assert await events.names(2) == ["ADDED a", "ADDED b"]
        api.expire_watches()
        assert (await events.next())["object"]["code"] == 410


async def test_a_bookmark_comes_after_all_that_it_covers(api: ApiServer, client: Client) -> None:
    """ "Watch bookmarks": only a kind and a resourceVersion, if the client allows them."""
    async with (
        client.watch(SHOP, allowWatchBookmarks="true") as marked,
        client.watch(SHOP) as plain,
    ):
        await until(lambda: api.watches("Service") == 2)
        api.put(service("a"))
        api.bookmark()
        api.put(service("b"))
        api.put(router())
        assert await marked.names(2) == ["ADDED a", "ADDED b"]
        assert await marked.next() == {
            "type": "BOOKMARK",
            "object": {
                "kind": "Service",
                "apiVersion": "v1",
                "metadata": {"resourceVersion": str(api.revision)},
            },
        }
        api.end_watches()
        assert await plain.names(2) == ["ADDED a", "ADDED b"]
        assert await plain.next() is None


async def test_bookmarks_come_by_themselves(api: ApiServer, client: Client) -> None:
    api.bookmark_every = 0.02
    async with client.watch(SHOP, allowWatchBookmarks="1") as events:
        assert (await events.next())["type"] == "BOOKMARK"
        api.put(service())
        while (event := await events.next())["type"] == "BOOKMARK":
            pass
        assert event["type"] == "ADDED"


async def test_a_watch_ends_in_order_when_its_time_is_over(api: ApiServer, client: Client) -> None:
    started = time.monotonic()
    async with client.watch(SHOP, timeoutSeconds=1) as events:
        assert await events.next() is None
    assert time.monotonic() - started > 0.9
    assert api.watches("Service") == 0


async def test_a_watch_is_forgotten_when_its_client_leaves(api: ApiServer, client: Client) -> None:
    async with client.watch(SHOP):
        await until(lambda: api.watches("Service"))
    await until(lambda: not api.watches("Service"))


async def test_a_watch_with_initial_events_is_refused(client: Client) -> None:
    """ "Streaming lists", on a server without that feature."""
    answer = await client.get(SHOP, watch=1, sendInitialEvents="true")
    assert reason_of(answer) == (422, "Invalid")
