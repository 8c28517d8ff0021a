"""The admin pages, asked by a real HTTP client."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from aeraki_xds.ingest.event import SourceLost, Unreadable
from aeraki_xds.mesh.problems import error
from aeraki_xds.xds.admission import Peer
from aeraki_xds.xds.identity import SpiffeId
from aeraki_xds.xds.resource import CLUSTER, ENDPOINTS, HTTP_ROUTES, LISTENER
from tests.admin.desk import OWN_SCOPE, SYNCED, Desk
from tests.mesh.kit import refused, router, said, service, subsets
from tests.xds.dialogue import PEER, DeltaEnvoy, SotwEnvoy, listener, routes

ROUTE = "hello.demo.svc.cluster.local_9090"
PAGES = [
    "/debug/adsz",
    "/debug/connections",
    "/debug/list",
    "/debug/rejections",
    "/debug/resources",
    "/debug/syncz",
    "/debug/tasks",
]
EMPTY = {"offset": 0, "total": 0, "truncated": False}


# --- the index, health ------------------------------------------------------------------------


@pytest.mark.parametrize("index", ["/", "/debug", "/debug/list"])
async def test_the_index_names_every_page(desk: Desk, index: str) -> None:
    paths = (await desk.get(index))["paths"]
    assert sorted(paths) == [*PAGES, "/healthz", "/metrics", "/ready", "/readyz"]
    await desk.say(SYNCED)
    for path in paths:
        assert await desk.text(path)


async def test_probes_have_an_address_of_their_own_where_nothing_else_is(desk: Desk) -> None:
    host, port = await desk.admin.start_probes("127.0.0.1", 0)
    async with aiohttp.ClientSession(f"http://{host}:{port}") as everyone:
        for path, status in (
            *(("/healthz", 200), ("/metrics", 200), ("/ready", 503), ("/readyz", 503)),
            *((page, 404) for page in (*PAGES, "/", "/debug")),
        ):
            async with everyone.get(path) as response:
                assert (path, response.status) == (path, status)
        await desk.say(SYNCED)
        async with everyone.get("/ready") as response:
            assert response.status == 200


async def test_a_browser_is_shown_the_index_as_links(desk: Desk) -> None:
    text = await desk.text("/debug", accept="text/html,*/*;q=0.8")
    for path in PAGES:
        assert f'<a href="{path}">' in text


async def test_no_page_may_be_taken_for_another_type_or_kept(desk: Desk) -> None:
    await desk.say(SYNCED)
    for path in (*PAGES, "/debug", "/metrics", "/readyz"):
        async with desk.client.get(path) as response:
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Content-Security-Policy"] == "default-src 'none'"
            assert response.headers["Cache-Control"] == "no-store"


async def test_the_process_is_healthy_before_it_is_ready(desk: Desk) -> None:
    assert await desk.get("/healthz") == {"status": "ok"}


async def test_before_the_sync_it_is_not_ready_and_says_what_it_waits_for(desk: Desk) -> None:
    assert await desk.get("/readyz", status=503) == {
        "status": "not synced",
        "sources": {"folder": {"synced": False, "stale": ""}},
    }


async def test_readiness_latches_though_a_source_is_lost_and_the_loss_is_shown(
    desk: Desk,
) -> None:
    await desk.say(SYNCED)
    assert (await desk.get("/readyz"))["status"] == "ready"
    await desk.say([SourceLost(source="folder", reason="it is gone")])
    assert await desk.get("/readyz") == {
        "status": "ready",
        "sources": {"folder": {"synced": True, "stale": "it is gone"}},
    }


async def test_who_is_about_to_stop_is_not_ready_any_more_and_healthy_still(desk: Desk) -> None:
    await desk.say(SYNCED)
    desk.readiness.drain()
    assert (await desk.get("/readyz", status=503))["status"] == "draining"
    assert await desk.get("/healthz") == {"status": "ok"}


# --- syncz ------------------------------------------------------------------------------------


async def test_syncz_shows_what_each_stream_was_sent_and_said_to_it(desk: Desk) -> None:
    await desk.say([*said(service(), subsets()), *SYNCED])
    assert await desk.get("/debug/syncz") == {"streams": [], **EMPTY}
    envoy = await desk.envoy()
    envoy.asks(CLUSTER)
    clusters, sent = desk.server.says(envoy)
    envoy.acks(clusters)
    envoy.asks(ENDPOINTS, *(resource.name for resource in sent.resources))
    envoy.nacks(sent, "I do not like it")
    (stream,) = (await desk.get("/debug/syncz"))["streams"]
    assert (stream["node"], stream["peer"], stream["dialect"]) == ("envoy", PEER.address, "sotw")
    assert (stream["service"], stream["connectedAt"]) == ("ads", "1970-01-01T00:16:40.000Z")
    assert stream["scopes"] == [OWN_SCOPE, "global"]
    assert stream["types"][CLUSTER] == {
        "state": "SYNCED",
        "subscribed": [],
        "subscribedTotal": 0,
        "wildcard": True,
        "held": 3,
        "parked": [],
        "parkedTotal": 0,
        "sent": {
            "nonce": clusters.nonce,
            "version": clusters.version,
            "at": "1970-01-01T00:16:40.000Z",
        },
        "acked": {"nonce": clusters.nonce, "version": clusters.version},
        "stale": 0,
        "nacks": 0,
        "lastError": "",
        "truncated": False,
    }
    refused_type = stream["types"][ENDPOINTS]
    assert (refused_type["state"], refused_type["nacks"]) == ("ERROR", 1)
    assert refused_type["lastError"] == "I do not like it"
    assert refused_type["parked"] == sorted(resource.name for resource in sent.resources)
    envoy.leaves()
    assert await desk.get("/debug/syncz") == {"streams": [], **EMPTY}


async def states(desk: Desk) -> dict[str, str]:
    (stream,) = (await desk.get("/debug/syncz"))["streams"]
    return {type_url: each["state"] for type_url, each in stream["types"].items()}


@pytest.mark.parametrize("dialect", [SotwEnvoy, DeltaEnvoy])
async def test_a_type_goes_from_not_sent_over_stale_to_synced_and_back(
    desk: Desk, dialect: type[SotwEnvoy | DeltaEnvoy]
) -> None:
    server = desk.server
    server.publishes(listener("l"))
    envoy = dialect(server)
    envoy.asks(LISTENER)
    assert await states(desk) == {LISTENER: "NOT_SENT"}
    (first,) = server.says(envoy)
    assert await states(desk) == {LISTENER: "STALE"}
    envoy.acks(first)
    assert await states(desk) == {LISTENER: "SYNCED"}
    server.publishes(listener("l", "2"))
    assert await states(desk) == {LISTENER: "STALE"}
    (second,) = server.says(envoy)
    assert await states(desk) == {LISTENER: "STALE"}
    envoy.nacks(second, "no")
    assert await states(desk) == {LISTENER: "ERROR"}
    server.publishes(listener("l", "3"))
    envoy.acks(server.says_next(envoy))
    assert await states(desk) == {LISTENER: "SYNCED"}


async def test_a_type_stays_in_error_while_something_of_it_is_parked(desk: Desk) -> None:
    server = desk.server
    server.publishes(routes("bad"), routes("good"))
    envoy = SotwEnvoy(server)
    envoy.asks(HTTP_ROUTES, "bad")
    envoy.nacks(server.says_next(envoy), "no")
    envoy.asks(HTTP_ROUTES, "bad", "good")
    envoy.acks(server.says_next(envoy))
    assert await states(desk) == {HTTP_ROUTES: "ERROR"}
    server.publishes(routes("bad", "mended"))
    envoy.acks(server.says_next(envoy))
    assert await states(desk) == {HTTP_ROUTES: "SYNCED"}


# --- adsz, connections ------------------------------------------------------------------------


async def test_adsz_shows_who_is_connected_and_what_they_watch(desk: Desk) -> None:
    first, second = SotwEnvoy(desk.server, node="a"), DeltaEnvoy(desk.server, node="b")
    first.asks(CLUSTER)
    first.asks(HTTP_ROUTES, "s", "r")
    second.asks(LISTENER, "l")
    page = await desk.get("/debug/adsz")
    assert (page["totalClients"], page["total"], page["truncated"]) == (2, 2, False)
    assert page["clients"] == [
        {
            "connectionId": "a-1",
            "connectedAt": "1970-01-01T00:16:40.000Z",
            "address": PEER.address,
            "dialect": "sotw",
            "service": "ads",
            "userAgent": "",
            "metadata": {},
            "watches": {CLUSTER: [], HTTP_ROUTES: ["r", "s"]},
        },
        {
            "connectionId": "b-2",
            "connectedAt": "1970-01-01T00:16:40.000Z",
            "address": PEER.address,
            "dialect": "delta",
            "service": "ads",
            "userAgent": "",
            "metadata": {},
            "watches": {LISTENER: ["l"]},
        },
    ]


async def test_adsz_shows_what_a_certificate_proves_and_until_when(desk: Desk) -> None:
    identity = SpiffeId(trust_domain="cluster.local", namespace="shop", service_account="web")
    stream = desk.opens({})
    stream.peer = Peer(address="10.0.0.1:4000", identity=identity, expires_at=86_400.0)
    (client,) = (await desk.get("/debug/adsz"))["clients"]
    assert client["identity"] == "spiffe://cluster.local/ns/shop/sa/web"
    assert client["certificateEndsAt"] == "1970-01-02T00:00:00.000Z"


async def test_of_a_node_s_metadata_only_what_operators_look_for_is_shown(desk: Desk) -> None:
    desk.opens({"NAMESPACE": "shop", "SECRET": "x", "MESH_ID": {"a": 1}, "CLUSTER_ID": 7.0})
    (client,) = (await desk.get("/debug/adsz"))["clients"]
    assert client["metadata"] == {"NAMESPACE": "shop", "MESH_ID": "…", "CLUSTER_ID": 7.0}


async def test_a_stream_of_one_type_s_service_says_which(desk: Desk) -> None:
    desk.opens({}, only=HTTP_ROUTES)
    for path, key in (("adsz", "clients"), ("syncz", "streams")):
        assert (await desk.get(f"/debug/{path}"))[key][0]["service"] == "rds"


async def test_connections_group_the_streams_of_one_address(desk: Desk) -> None:
    for node in ("a", "b"):
        SotwEnvoy(desk.server, node=node)
    desk.server.now += 1
    desk.opens({}, address="127.0.0.2:1", only=HTTP_ROUTES)
    page = await desk.get("/debug/connections")
    assert [each["address"] for each in page["connections"]] == [PEER.address, "127.0.0.2:1"]
    both, other = page["connections"]
    assert (both["nodes"], both["streamTotal"], both["truncated"]) == (["a", "b"], 2, False)
    assert [each["stream"] for each in both["streams"]] == [1, 2]
    assert other["streams"] == [{"stream": 3, "dialect": "sotw", "service": "rds"}]
    assert other["connectedAt"] == "1970-01-01T00:16:41.000Z"


# --- one proxy, one page ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "key"), [("adsz", "clients"), ("syncz", "streams"), ("connections", "connections")]
)
async def test_the_pages_about_proxies_can_be_narrowed_down_to_one(
    desk: Desk, path: str, key: str
) -> None:
    for number, node in enumerate(("sidecar~1", "sidecar~2")):
        desk.opens({}, node=node, address=f"10.0.0.{number}:1")
    page = await desk.get(f"/debug/{path}?proxyID=~2")
    (found,) = page[key]
    assert "sidecar~2" in str(found)
    assert page["total"] == 1
    answer = await desk.get(f"/debug/{path}?proxyID=nobody", status=404)
    assert answer == {"error": "no connected proxy has 'nobody' in its node id"}


@pytest.mark.parametrize(
    ("path", "key"), [("adsz", "clients"), ("syncz", "streams"), ("connections", "connections")]
)
async def test_a_long_list_comes_in_pages_that_say_so(desk: Desk, path: str, key: str) -> None:
    for number in range(5):
        desk.opens({}, node=f"n{number}", address=f"10.0.0.{number}:1")
    first = await desk.get(f"/debug/{path}?limit=3")
    assert (len(first[key]), first["total"], first["truncated"]) == (3, 5, True)
    rest = await desk.get(f"/debug/{path}?limit=3&offset=3")
    assert (len(rest[key]), rest["total"], rest["truncated"]) == (2, 5, False)
    assert [f"n{n}" in str(each) for n, each in enumerate(first[key] + rest[key])] == [True] * 5


async def test_a_long_list_of_names_is_cut_and_counted(desk: Desk) -> None:
    envoy = SotwEnvoy(desk.server)
    envoy.asks(HTTP_ROUTES, *(f"r{number:03}" for number in reversed(range(150))))
    (stream,) = (await desk.get("/debug/syncz"))["streams"]
    watch = stream["types"][HTTP_ROUTES]
    assert watch["subscribed"] == [f"r{number:03}" for number in range(100)]
    assert (watch["subscribedTotal"], watch["truncated"]) == (150, True)
    (client,) = (await desk.get("/debug/adsz?names=2"))["clients"]
    assert client["watches"] == {HTTP_ROUTES: ["r000", "r001"]}
    assert (client["watchTotals"], client["truncated"]) == ({HTTP_ROUTES: 150}, True)
    (client,) = (await desk.get("/debug/adsz?names=150"))["clients"]
    assert len(client["watches"][HTTP_ROUTES]) == 150
    assert "truncated" not in client


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("limit=all", "limit is 'all': write a whole number up to 10000"),
        ("limit=10001", "limit is '10001'"),
        ("limit=-1", "limit is '-1'"),
        ("limit=٣", "limit is '٣'"),
        ("offset=x", "offset is 'x': write a whole number"),
        (f"offset={'9' * 5000}", "offset is '999"),
        ("proxyId=a", "there is no parameter 'proxyId'; there are: limit, name, names, offset"),
    ],
)
async def test_a_question_that_makes_no_sense_is_answered_with_what_to_write(
    desk: Desk, query: str, words: str
) -> None:
    for page in PAGES:
        said_of_it = (await desk.get(f"{page}?{query}", status=400))["error"]
        assert said_of_it.startswith(words)
        assert len(said_of_it) < 400


async def test_pages_are_one_line_unless_they_are_to_be_pretty(desk: Desk) -> None:
    assert (await desk.text("/debug/syncz")).count("\n") == 1
    assert (await desk.text("/debug/syncz?pretty=false")).count("\n") == 1
    for query in ("pretty", "pretty=true"):
        assert (await desk.text(f"/debug/syncz?{query}")).count("\n") > 3


# --- resources, rejections --------------------------------------------------------------------


async def test_resources_are_shown_by_scope_type_and_name(desk: Desk) -> None:
    await desk.say([*said(service(), subsets()), *SYNCED])
    await desk.envoy()
    scopes = (await desk.get("/debug/resources"))["scopes"]
    assert set(scopes) == {"global", OWN_SCOPE}
    assert list(scopes["global"]) == [HTTP_ROUTES]
    shown = scopes["global"][HTTP_ROUTES][ROUTE]
    assert shown["resource"]["name"] == ROUTE
    assert len(shown["version"]) == 16
    assert len(scopes[OWN_SCOPE][CLUSTER]) == 3


async def test_resources_can_be_narrowed_down(desk: Desk) -> None:
    await desk.say([*said(service(), subsets()), *SYNCED])
    await desk.envoy()
    scopes = (await desk.get(f"/debug/resources?scope={OWN_SCOPE}&type=Cluster&name=v1"))["scopes"]
    assert list(scopes) == [OWN_SCOPE]
    assert list(scopes[OWN_SCOPE][CLUSTER]) == ["outbound|9090|v1|hello.demo.svc.cluster.local"]


async def test_a_scope_that_is_not_there_is_not_found_and_the_others_are_named(
    desk: Desk,
) -> None:
    await desk.say(SYNCED)
    answer = await desk.get("/debug/resources?scope=mine", status=404)
    assert answer == {"error": "there is no scope 'mine'; there are: global"}


async def test_before_the_sync_there_are_no_resources(desk: Desk) -> None:
    assert await desk.get("/debug/resources") == {"scopes": {}, **EMPTY}


async def test_resources_come_in_pages_over_all_scopes(desk: Desk) -> None:
    await desk.say([*said(service(), subsets()), *SYNCED])
    await desk.envoy()
    whole = await desk.get("/debug/resources")
    total = whole["total"]
    assert total > 5
    assert sum(_count(whole)) == total
    seen: dict[str, set[str]] = {}
    for offset in range(0, total, 3):
        page = await desk.get(f"/debug/resources?limit=3&offset={offset}")
        assert sum(_count(page)) == min(3, total - offset)
        assert (page["total"], page["truncated"]) == (total, offset + 3 < total)
        for scope, types in page["scopes"].items():
            for type_url, named in types.items():
                seen.setdefault(f"{scope} {type_url}", set()).update(named)
    assert sum(map(len, seen.values())) == total


def _count(page: dict[str, Any]) -> list[int]:
    return [len(named) for types in page["scopes"].values() for named in types.values()]


async def test_rejections_come_in_pages(desk: Desk) -> None:
    await desk.say(
        [Unreadable(origin=f"{n}.yaml", problems=(error("", "no YAML"),)) for n in range(3)]
    )
    page = await desk.get("/debug/rejections?limit=1&offset=1")
    assert [each["file"] for each in page["rejections"]] == ["1.yaml"]
    assert (page["total"], page["truncated"]) == (3, True)


async def test_rejections_name_file_object_field_and_whether_an_earlier_version_is_in_force(
    desk: Desk,
) -> None:
    await desk.say(
        [
            *said(service(), router()),
            *refused(router(), origin="a.yaml"),
            *refused(router(name="new"), origin="b.yaml"),
            Unreadable(origin="c.yaml", problems=(error("", "no YAML"),)),
            *SYNCED,
        ]
    )
    assert (await desk.get("/debug/rejections"))["rejections"] == [
        {
            "file": "a.yaml",
            "object": "MetaRouter/demo/hello",
            "field": "spec.routes[0]",
            "severity": "error",
            "message": "cannot be read",
            "inForce": True,
        },
        {
            "file": "b.yaml",
            "object": "MetaRouter/demo/new",
            "field": "spec.routes[0]",
            "severity": "error",
            "message": "cannot be read",
            "inForce": False,
        },
        {
            "file": "c.yaml",
            "object": None,
            "field": "",
            "severity": "error",
            "message": "no YAML",
            "inForce": True,
        },
    ]


# --- tasks ------------------------------------------------------------------------------------


async def test_tasks_are_shown_with_where_they_wait_and_without_their_values(desk: Desk) -> None:
    async def sleeper(key: str) -> None:
        await asyncio.sleep(3600)

    task = asyncio.create_task(sleeper("secret-value"), name="the sleeper")
    await asyncio.sleep(0)
    text = await desk.text("/debug/tasks")
    assert "secret-value" not in text
    assert "/" not in text.replace("application/json", "")
    page = await desk.get("/debug/tasks")
    (found,) = [each for each in page["tasks"] if each["name"] == "the sleeper"]
    assert found["coroutine"].endswith("sleeper")
    assert found["stack"][0].split(":")[1] == "sleeper"
    assert found["stack"][1].startswith("asyncio.tasks:sleep:")
    assert page["byCoroutine"][found["coroutine"]] == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_tasks_come_in_pages(desk: Desk) -> None:
    page = await desk.get("/debug/tasks?limit=1")
    assert len(page["tasks"]) == 1
    assert page["total"] > 1
    assert page["truncated"]


async def test_the_lag_is_measured_as_long_as_the_server_is_open(desk: Desk) -> None:
    named = [each["name"] for each in (await desk.get("/debug/tasks"))["tasks"]]
    assert "event loop lag" in named


# --- what there is not ------------------------------------------------------------------------


async def test_a_page_that_is_not_there_is_not_found(desk: Desk) -> None:
    answer = await desk.get("/metrics/none", status=404)
    assert answer == {"error": "there is no page '/metrics/none'; see /debug/list"}


async def test_the_pages_are_read_only(desk: Desk) -> None:
    for path in (*PAGES, "/readyz", "/metrics"):
        async with desk.client.post(path) as response:
            assert response.status == 405


async def test_the_guide_for_operators_has_every_page_and_every_metric(desk: Desk) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "operating.md").read_text(encoding="utf-8")
    for path in (await desk.get("/debug/list"))["paths"]:
        assert f"`{path}`" in guide
    lines = (await desk.text("/metrics")).splitlines()
    ours = {line.split()[2] for line in lines if line.startswith("# TYPE aeraki_xds_")}
    documented = set(re.findall(r"^\| `(aeraki_xds_\w+)", guide, re.MULTILINE))
    assert ours <= documented  # the others: tests/admin/test_writing.py
