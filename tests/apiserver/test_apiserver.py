"""The API server of our tests keeps the rules of the real one: discovery, who may, what was asked.

The rules are those of the Kubernetes documentation, above all "Kubernetes API Concepts"; a test
names the part that it is about.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from kubernetes_asyncio import client as official
from kubernetes_asyncio import config, watch

from tests.apiserver.kinds import KINDS, Call, custom
from tests.apiserver.kit import (
    ROUTERS,
    SERVICES,
    SHOP,
    Client,
    client_of,
    reason_of,
    router,
    service,
    until,
)
from tests.apiserver.server import ApiServer

ISTIO = "/apis/networking.istio.io"


# --- discovery, and kinds that come and go ------------------------------------------------------


async def test_discovery_names_groups_versions_and_resources(client: Client) -> None:
    """ "The Kubernetes API": the unaggregated discovery documents."""
    _, groups = await client.get("/apis")
    istio = next(group for group in groups["groups"] if group["name"] == "networking.istio.io")
    assert [one["version"] for one in istio["versions"]] == ["v1", "v1beta1", "v1alpha3"]
    assert istio["preferredVersion"]["groupVersion"] == "networking.istio.io/v1"
    _, group = await client.get(ISTIO)
    assert (group["kind"], group["versions"]) == ("APIGroup", istio["versions"])
    _, listed = await client.get(f"{ISTIO}/v1")
    kinds = {one["name"]: (one["kind"], one["namespaced"]) for one in listed["resources"]}
    assert kinds["virtualservices"] == ("VirtualService", True)
    assert kinds["virtualservices/status"] == ("VirtualService", True)
    assert "envoyfilters" not in kinds, "it has no v1"
    assert (await client.get("/api"))[1]["versions"] == ["v1"]
    _, core = await client.get("/api/v1")
    assert {"services", "secrets", "namespaces"} <= {one["name"] for one in core["resources"]}


async def test_what_a_group_does_not_serve_is_not_found_in_its_own_words(client: Client) -> None:
    """Built-in groups answer with a Status, those of custom resources not at all."""
    answer = await client.get("/api/v1/nonsense")
    assert reason_of(answer) == (404, "NotFound")
    custom = ROUTERS.replace("metarouters", "nonsense")
    assert await client.get(custom) == (404, "404 page not found\n")


async def test_a_kind_can_come_late(api: ApiServer, client: Client) -> None:
    late = custom("late.example", "v1", "Late", "latecomers")
    path = "/apis/late.example/v1/latecomers"
    assert await client.get(path) == (404, "404 page not found\n")
    assert (await client.get("/apis/late.example"))[0] == 404
    api.register(late)
    assert await client.names(path) == []
    assert (await client.get("/apis/late.example/v1"))[0] == 200


async def test_a_kind_that_is_removed_takes_its_objects_and_ends_its_watches(
    api: ApiServer, client: Client
) -> None:
    api.put(router())
    async with (
        client.watch(ROUTERS, resourceVersion=api.revision) as routers,
        client.watch(SERVICES, resourceVersion=api.revision) as services,
    ):
        await until(lambda: api.watches("MetaRouter") and api.watches("Service"))
        api.unregister("MetaRouter")
        assert await routers.names(1) == ["DELETED cart"]
        assert await routers.next() is None
        api.put(service())
        assert await services.names(1) == ["ADDED cart"]
    assert await client.get(ROUTERS) == (404, "404 page not found\n")


async def test_a_version_that_is_removed_ends_its_watches_only(
    api: ApiServer, client: Client
) -> None:
    (kind,) = [kind for kind in KINDS if kind.kind == "ServiceEntry"]
    async with (
        client.watch(f"{ISTIO}/v1/serviceentries") as new,
        client.watch(f"{ISTIO}/v1alpha3/serviceentries") as old,
    ):
        await until(lambda: api.watches("ServiceEntry") == 2)
        api.register(replace(kind, versions=("v1", "v1beta1")))
        assert await old.next() is None
        api.put({"kind": "ServiceEntry", "metadata": {"name": "se"}, "spec": {}})
        assert await new.names(1) == ["ADDED se"]
    assert (await client.get(f"{ISTIO}/v1alpha3/serviceentries"))[0] == 404
    assert await client.names(f"{ISTIO}/v1beta1/serviceentries") == ["se"]


async def test_every_version_shows_the_same_object(api: ApiServer, client: Client) -> None:
    """ "API versioning": one stored object, read at any version that is served."""
    api.put({"kind": "Gateway", "metadata": {"name": "g", "namespace": "shop"}, "spec": {}})
    shown = [
        (await client.get(f"{ISTIO}/{version}/namespaces/shop/gateways/g"))[1]
        for version in ("v1", "v1beta1", "v1alpha3")
    ]
    assert [one.pop("apiVersion").rpartition("/")[2] for one in shown] == [
        "v1",
        "v1beta1",
        "v1alpha3",
    ]
    assert shown[0] == shown[1] == shown[2]


# --- who may, and what was asked ----------------------------------------------------------------


async def test_tokens_are_asked_for_and_can_be_rotated(api: ApiServer, client: Client) -> None:
    async with client_of(api.url, token="first") as known:
        api.tokens = {"first"}
        assert await known.names(SHOP) == []
        assert reason_of(await client.get(SHOP)) == (401, "Unauthorized")
        api.tokens = {"second"}
        assert reason_of(await known.get(SHOP)) == (401, "Unauthorized")
        assert reason_of(await known.get("/apis")) == (401, "Unauthorized")


async def test_rules_say_who_may_do_what(api: ApiServer, client: Client) -> None:
    """ "Authorization": the attributes of a request; a selector of one name is that name."""
    allowed = {
        ("list", "", "secrets", "shop", "certs"),
        ("get", "metaprotocol.aeraki.io", "metarouters", "shop", "cart"),
        ("patch", "metaprotocol.aeraki.io", "metarouters", "shop", "cart"),
        ("update", "metaprotocol.aeraki.io", "metarouters/status", "shop", "cart"),
    }
    made = api.put(router())
    api.allowed = lambda *asked: asked in allowed
    secrets = "/api/v1/namespaces/shop/secrets"
    assert await client.names(secrets, fieldSelector="metadata.name=certs") == []
    answer = await client.get(secrets)
    assert reason_of(answer) == (403, "Forbidden")
    assert answer[1]["message"] == (
        'secrets is forbidden: User "test" cannot list resource "secrets" in API group "" '
        'in the namespace "shop"'
    )
    assert (await client.get(f"{ROUTERS}/cart"))[0] == 200
    assert (await client.ask("PUT", f"{ROUTERS}/cart/status", made))[0] == 200
    assert reason_of(await client.ask("PUT", f"{ROUTERS}/cart", made)) == (403, "Forbidden")
    assert reason_of(await client.get(SERVICES, watch=1)) == (403, "Forbidden")


async def test_an_apply_that_creates_has_to_be_allowed_to_create(
    api: ApiServer, client: Client
) -> None:
    api.put(router("there"))
    api.allowed = lambda verb, *_: verb == "patch"
    there = await client.apply(f"{ROUTERS}/there", router("there"), "us")
    assert there[0] == 200
    assert reason_of(await client.apply(f"{ROUTERS}/cart", router(), "us")) == (403, "Forbidden")


async def test_every_call_is_noted(api: ApiServer, client: Client) -> None:
    made = (await client.ask("POST", ROUTERS, router()))[1]
    path = f"{ROUTERS}/cart"
    await client.get(path)
    await client.get(SERVICES)
    await client.get(f"{SHOP}/none")
    await client.ask("PUT", f"{path}/status", made)
    await client.apply(path, router(), "us", force="true")
    await client.ask("DELETE", path)
    async with client.watch(SHOP):
        pass
    names = ("verb", "group", "resource", "subresource", "namespace", "name", "status", "manager")
    ours, cart = "metaprotocol.aeraki.io", ("shop", "cart")
    assert [tuple(getattr(call, name) for name in names) for call in api.calls] == [
        ("create", ours, "metarouters", "", *("shop", ""), 201, ""),
        ("get", ours, "metarouters", "", *cart, 200, ""),
        ("list", "", "services", "", "", "", 200, ""),
        ("get", "", "services", "", "shop", "none", 404, ""),
        ("update", ours, "metarouters", "status", *cart, 200, ""),
        ("patch", ours, "metarouters", "", *cart, 200, "us"),
        ("delete", ours, "metarouters", "", *cart, 200, ""),
        ("watch", "", "services", "", "shop", "", 200, ""),
    ]
    await client.get("/apis")
    assert api.calls[-1] == Call(verb="get", path="/apis", status=200)


# --- the client that the product uses -----------------------------------------------------------


async def test_the_official_client_lists_writes_and_watches(api: ApiServer, tmp_path: Path) -> None:
    """With a kubeconfig; it writes `watch=True`, which the real server takes for true."""
    api.tokens = {"secret"}
    file = api.kubeconfig(tmp_path / "kubeconfig", token="secret")
    configuration = official.Configuration()
    await config.load_kube_config(str(file), client_configuration=configuration)
    async with official.ApiClient(configuration) as connection:
        core = official.CoreV1Api(connection)
        manifest = official.V1ConfigMap(
            api_version="v1", kind="ConfigMap", metadata=official.V1ObjectMeta(name="c")
        )
        made = await core.create_namespaced_config_map("shop", manifest)
        assert made.metadata.uid
        listed = await core.list_config_map_for_all_namespaces()
        assert [item.metadata.name for item in listed.items] == ["c"]
        api.delete("ConfigMap", "shop", "c")
        since = listed.metadata.resource_version
        async with watch.Watch().stream(
            core.list_config_map_for_all_namespaces, resource_version=since, timeout_seconds=10
        ) as events:
            event = await anext(events)
        assert (event["type"], event["object"].metadata.name) == ("DELETED", "c")
        with pytest.raises(official.ApiException, match="NotFound"):
            await core.read_namespaced_config_map("c", "shop")


async def test_a_server_that_stops_ends_its_watches_in_order() -> None:
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(ApiServer.started())
        async with client_of(api.url) as client, client.watch(SHOP) as events:
            await until(lambda: api.watches("Service"))
            await stack.aclose()
            assert await events.next() is None
