"""What a peer may call itself and say to us, and that no page is longer, other or worse for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest
import yarl

from aeraki_xds.ingest.event import SourceLost, Unreadable
from aeraki_xds.mesh.problems import error
from aeraki_xds.xds.message import SotwRequest
from aeraki_xds.xds.resource import LISTENER, Name, Scope, TypeUrl
from tests.admin.desk import SYNCED, Desk
from tests.xds.dialogue import GLOBAL, listener

TEXTS: Final = {
    "markup": "<script>alert(1)</script>",
    "line ends": "a\nb\r\nc\u2028d\x00e",
    "escape sequences": "\x1b[2J\x1b]0;owned\x07\x9b31m",
    "reversed writing": "safe\u202egnp.exe\u200b",
    "half a surrogate pair": "a\ud800b\udfff",
    "100 KB": "x" * 100_000,
    "100 KB of controls": "\x01" * 100_000,
    "quotes": "\"'\\\\&quot;{{7*7}}",
}
PAGES: Final = (
    "/debug",
    "/debug/adsz",
    "/debug/connections",
    "/debug/rejections",
    "/debug/resources",
    "/debug/syncz",
    "/debug/tasks",
    "/readyz",
)


def converse(desk: Desk, text: str) -> None:
    """A proxy that puts a text wherever a proxy can put one."""
    scope = Scope(f"ads/{text}/stock/-")
    desk.server.hub.publish(scope, {})
    desk.server.publishes(listener("l"))
    stream = desk.opens(
        dict.fromkeys(("NAMESPACE", "CLUSTER_ID", text), text),
        node=text,
        address=text,
        scopes=(scope, GLOBAL),
    )
    hub = desk.server.hub
    for type_url in (LISTENER, TypeUrl(text)):
        hub.receive(stream, SotwRequest(type_url=type_url, names=(Name(text), Name("*"))))
    response = hub.next(stream)
    assert response is not None
    hub.receive(stream, SotwRequest(type_url=LISTENER, names=(), nonce=response.nonce, error=text))


def strings(value: Any) -> Iterator[str]:
    """Every text of a JSON document, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, held in value.items():
            yield key
            yield from strings(held)
    elif isinstance(value, list):
        for held in value:
            yield from strings(held)


@pytest.mark.parametrize("what", TEXTS)
async def test_whatever_a_peer_says_every_page_is_short_and_prints(desk: Desk, what: str) -> None:
    text = TEXTS[what]
    await desk.say(
        [
            SourceLost(source="folder", reason=text),
            Unreadable(origin=text[:200], problems=(error(text, text),)),
            *SYNCED[:0],
        ]
    )
    converse(desk, text)
    for page in PAGES:
        async with desk.client.get(page) as response:
            raw = (await response.read()).decode("utf-8")
        assert len(raw) < 32_000, page
        assert "<" not in raw
        assert raw.replace("\n", "").isprintable()
        assert page in ("/debug",) or raw.count("\n") == 1
        for shown in strings(json.loads(raw)):
            assert shown.isprintable()
            assert len(shown) <= 1024


@pytest.mark.parametrize("what", TEXTS)
async def test_no_label_of_a_metric_is_a_peer_s_text(desk: Desk, what: str) -> None:
    await desk.say(SYNCED)
    usual = {name.split("{")[0]: 0 for name in await desk.metrics()}
    before = set(await desk.metrics())
    converse(desk, TEXTS[what])
    after = set(await desk.metrics())
    assert {name.split("{")[0] for name in after} == set(usual)
    assert after - before <= {'aeraki_xds_connected{dialect="sotw",service="ads"}'}
    assert (await desk.metrics())['aeraki_xds_nacks_total{type="lds"}'] == 1


async def test_what_is_asked_for_in_vain_is_said_back_short_and_printable(desk: Desk) -> None:
    for text in TEXTS.values():
        sendable = text.encode("utf-8", "replace").decode()[:1500]
        for path, status in (
            ("/debug/resources?scope=", 404),
            ("/debug/syncz?proxyID=", 404),
            ("/debug/syncz?limit=", 400),
            ("/debug/", 404),
        ):
            url = yarl.URL(path + yarl.URL.build(path="/" + sendable).raw_path[1:], encoded=True)
            if "?" in path:
                base, _, key = path.partition("?")
                url = yarl.URL(base).with_query({key.rstrip("="): sendable})
            async with desk.client.get(url) as response:
                assert response.status == status
                said = json.loads(await response.read())["error"]
            assert len(said) < 400
            assert said.isprintable()


async def test_a_proxy_is_found_by_its_escaped_name_as_well(desk: Desk) -> None:
    for node in ("a\nb", "x" * 1000):
        desk.opens({}, node=node)
    for stream in (await desk.get("/debug/syncz"))["streams"]:
        url = yarl.URL("/debug/syncz").with_query(proxyID=stream["node"])
        async with desk.client.get(url) as response:
            found = await response.json()
        assert [each["node"] for each in found["streams"]] == [stream["node"]]


async def test_a_peer_that_asks_for_many_types_is_counted_as_one_kind_and_cut(desk: Desk) -> None:
    stream = desk.opens({})
    for number in range(1000):
        desk.server.hub.receive(stream, SotwRequest(type_url=TypeUrl(f"t{number}"), names=()))
    (shown,) = (await desk.get("/debug/syncz"))["streams"]
    assert (len(shown["types"]), shown["truncated"]) == (100, True)
    assert set(desk.server.hub.tally.by_type) == {
        *("cds", "eds", "lds", "rds", "trds", "sds", "rtds", "ecds", "other")
    }
