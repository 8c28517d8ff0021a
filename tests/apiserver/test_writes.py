"""Writes to the API server, as "Kubernetes API Concepts" and "API Conventions" have them."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.apiserver.kit import (
    MERGE,
    ROUTERS,
    SHOP,
    Client,
    reason_of,
    router,
    service,
)
from tests.apiserver.refusal import Refusal
from tests.apiserver.server import ApiServer


async def test_what_is_created_is_given_an_identity(api: ApiServer, client: Client) -> None:
    """ "Objects In Kubernetes" and "API Conventions": metadata that the server sets."""
    code, made = await client.ask("POST", ROUTERS, router(status={"no": "status"}))
    metadata = made["metadata"]
    assert (code, metadata["resourceVersion"]) == (201, str(api.revision))
    assert (len(metadata["uid"]), metadata["generation"]) == (36, 1)
    assert time.strptime(metadata["creationTimestamp"], "%Y-%m-%dT%H:%M:%SZ")
    assert "status" not in made, "only the subresource writes it"
    assert await client.get(f"{ROUTERS}/cart") == (200, made)
    assert api.get("MetaRouter", "shop", "cart") == made
    answer = await client.ask("POST", ROUTERS, router())
    assert reason_of(answer) == (409, "AlreadyExists")
    assert answer[1]["message"] == 'metarouters.metaprotocol.aeraki.io "cart" already exists'
    assert answer[1]["details"] == {
        "name": "cart",
        "group": "metaprotocol.aeraki.io",
        "kind": "metarouters",
    }


async def test_a_name_is_one_that_can_be_in_dns(client: Client) -> None:
    answer = await client.ask("POST", ROUTERS, router("Bad_Name"))
    assert reason_of(answer) == (422, "Invalid")
    assert (await client.ask("POST", ROUTERS, router("a-1.b")))[0] == 201


async def test_a_name_that_nobody_has_is_not_found(client: Client) -> None:
    for method, body in (("GET", None), ("PUT", service()), ("DELETE", None)):
        answer = await client.ask(method, f"{SHOP}/cart", body)
        assert reason_of(answer) == (404, "NotFound")
        assert answer[1]["message"] == 'services "cart" not found'
    assert (await client.ask("PATCH", f"{SHOP}/cart", {}, media=MERGE))[0] == 404


async def test_an_update_is_of_the_object_as_it_is(api: ApiServer, client: Client) -> None:
    """ "Resource versions": optimistic concurrency."""
    path = f"{ROUTERS}/cart"
    old = api.put(router())
    code, new = await client.ask("PUT", path, old | {"spec": {"hosts": ["b"]}})
    assert code == 200
    assert new["metadata"]["generation"] == 2
    assert new["metadata"]["uid"] == old["metadata"]["uid"]
    answer = await client.ask("PUT", path, old | {"spec": {"hosts": ["c"]}})
    assert reason_of(answer) == (409, "Conflict")
    assert "the object has been modified" in answer[1]["message"]
    assert reason_of(await client.ask("PUT", path, router())) == (422, "Invalid")
    other = new | {"metadata": new["metadata"] | {"uid": "other"}}
    assert reason_of(await client.ask("PUT", path, other)) == (409, "Conflict")
    assert api.get("MetaRouter", "shop", "cart") == new


async def test_built_in_kinds_are_updated_unconditionally(api: ApiServer, client: Client) -> None:
    api.put(service())
    code, new = await client.ask("PUT", f"{SHOP}/cart", service(port=81))
    assert (code, new["spec"]["ports"][0]["port"]) == (200, 81)
    assert "generation" not in new["metadata"]


async def test_a_write_that_changes_nothing_is_no_change(api: ApiServer, client: Client) -> None:
    made = api.put(router())
    async with client.watch(ROUTERS, resourceVersion=api.revision) as events:
        path = f"{ROUTERS}/cart"
        assert await client.ask("PUT", path, made) == (200, made)
        patch = {"spec": {"hosts": ["cart"]}}
        assert await client.ask("PATCH", path, patch, media=MERGE) == (200, made)
        api.put(router())
        api.put(router("next"))
        assert await events.names(1) == ["ADDED next"]


async def test_a_status_is_written_apart(api: ApiServer, client: Client) -> None:
    """ "Custom Resources", status subresource: neither writes what is the other's."""
    made = api.put(router())
    path = f"{ROUTERS}/cart"
    told = made | {"spec": {"hosts": ["no"]}, "status": {"phase": "Ready"}}
    code, shown = await client.ask("PUT", f"{path}/status", told)
    assert (code, shown["spec"], shown["status"]) == (200, made["spec"], {"phase": "Ready"})
    assert shown["metadata"]["generation"] == 1
    _, shown = await client.ask("PUT", path, shown | {"spec": {"hosts": ["b"]}, "status": {}})
    assert (shown["spec"], shown["status"]) == ({"hosts": ["b"]}, {"phase": "Ready"})
    assert shown["metadata"]["generation"] == 2
    assert (await client.get(f"{path}/status"))[0] == 200
    secrets = "/api/v1/namespaces/shop/secrets"
    assert (await client.get(f"{secrets}/x/status"))[0] == 404


async def test_labels_do_not_count_as_a_generation(api: ApiServer, client: Client) -> None:
    api.put(router())
    patch = {"metadata": {"labels": {"a": "b"}}}
    _, shown = await client.ask("PATCH", f"{ROUTERS}/cart", patch, media=MERGE)
    assert (shown["metadata"]["labels"], shown["metadata"]["generation"]) == ({"a": "b"}, 1)


async def test_a_merge_patch_merges(api: ApiServer, client: Client) -> None:
    """RFC 7396; with a resourceVersion it is as careful as an update."""
    path = f"{ROUTERS}/cart"
    made = api.put(router(spec={"hosts": ["a"], "limit": {"rate": 1, "unit": "s"}}))
    patch: dict[str, Any] = {"spec": {"limit": {"unit": None, "burst": 2}}}
    code, shown = await client.ask("PATCH", path, patch, media=MERGE)
    assert (code, shown["spec"]) == (200, {"hosts": ["a"], "limit": {"rate": 1, "burst": 2}})
    stale = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}}
    answer = await client.ask("PATCH", path, patch | stale | {"spec": {}}, media=MERGE)
    assert reason_of(answer) == (409, "Conflict")
    answer = await client.ask("PATCH", path, [], media="application/json-patch+json")
    assert reason_of(answer) == (415, "UnsupportedMediaType")


async def test_a_deletion_can_have_conditions(api: ApiServer, client: Client) -> None:
    """DeleteOptions, preconditions."""
    made = api.put(service())
    path = f"{SHOP}/cart"
    for wrong in ({"uid": "other"}, {"resourceVersion": "1"}):
        answer = await client.ask("DELETE", path, {"preconditions": wrong})
        assert reason_of(answer) == (409, "Conflict")
        assert "Precondition failed" in answer[1]["message"]
    right = {name: made["metadata"][name] for name in ("uid", "resourceVersion")}
    code, status = await client.ask("DELETE", path, {"preconditions": right})
    assert (code, status["status"]) == (200, "Success")
    assert status["details"] == {"name": "cart", "kind": "services", "uid": right["uid"]}
    assert api.get("Service", "shop", "cart") is None
    with pytest.raises(Refusal, match="not found"):
        api.delete("Service", "shop", "cart")


async def test_a_body_is_about_what_the_url_names(api: ApiServer, client: Client) -> None:
    api.put(service("a"))
    wrong: list[tuple[str, str, object]] = [
        ("PUT", f"{SHOP}/a", service("b")),
        ("POST", SHOP, service("b", namespace="attic")),
        ("POST", SHOP, router()),
        ("POST", SHOP, []),
    ]
    for method, path, body in wrong:
        assert reason_of(await client.ask(method, path, body)) == (400, "BadRequest")
    code, _ = await client.ask("POST", SHOP, service("b", resourceVersion="7"))
    assert code == 500
    assert reason_of(await client.ask("POST", f"{SHOP}/a", service("a")))[0] == 405
    assert reason_of(await client.ask("DELETE", SHOP))[0] == 405
    assert reason_of(await client.ask("POST", SHOP, service("b"), media="text/plain"))[0] == 415
    dry = await client.ask("POST", SHOP, service("b"), dryRun="All")
    assert reason_of(dry) == (400, "BadRequest")
    assert [one["metadata"]["name"] for one in api.objects("Service")] == ["a"]


async def test_namespaces_come_on_demand_or_have_to_be_there(
    api: ApiServer, client: Client
) -> None:
    assert (await client.ask("POST", SHOP, service()))[0] == 201
    assert await client.names("/api/v1/namespaces") == ["default", "shop"]
    api.strict_namespaces = True
    elsewhere = SHOP.replace("shop", "attic")
    answer = await client.ask("POST", elsewhere, service(namespace="attic"))
    assert reason_of(answer) == (404, "NotFound")
    assert answer[1]["message"] == 'namespaces "attic" not found'


async def test_a_namespace_goes_with_what_is_in_it(api: ApiServer, client: Client) -> None:
    api.put(service())
    api.put(router())
    api.put(service("kept", namespace="attic"))
    assert (await client.ask("DELETE", "/api/v1/namespaces/shop"))[0] == 200
    assert [one["metadata"]["name"] for one in api.objects("Service")] == ["kept"]
    assert api.objects("MetaRouter") == []
