"""Server-side apply, as "Server-Side Apply" of the Kubernetes documentation has it."""

from __future__ import annotations

from typing import Any

from tests.apiserver.kinds import JsonObject
from tests.apiserver.kit import APPLY, MERGE, ROUTERS, Client, router
from tests.apiserver.server import ApiServer

CART = f"{ROUTERS}/cart"


def wants(spec: JsonObject, **metadata: Any) -> JsonObject:
    made = router()
    return made | {"metadata": made["metadata"] | metadata, "spec": spec}


def owned(shown: JsonObject) -> dict[tuple[str, str], JsonObject]:
    """managedFields: manager and operation → fields."""
    entries = shown["metadata"]["managedFields"]
    return {(entry["manager"], entry["operation"]): entry["fieldsV1"] for entry in entries}


async def test_an_apply_creates_and_then_updates(api: ApiServer, client: Client) -> None:
    code, made = await client.apply(CART, wants({"hosts": ["a"]}, labels={"app": "x"}), "us")
    assert (code, made["spec"]) == (201, {"hosts": ["a"]})
    (entry,) = made["metadata"]["managedFields"]
    assert entry.pop("time")
    assert entry == {
        "manager": "us",
        "operation": "Apply",
        "apiVersion": "metaprotocol.aeraki.io/v1alpha1",
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:metadata": {"f:labels": {"f:app": {}}}, "f:spec": {"f:hosts": {}}},
    }
    code, shown = await client.apply(CART, wants({"hosts": ["b"]}, labels={"app": "x"}), "us")
    assert (code, shown["spec"], shown["metadata"]["generation"]) == (200, {"hosts": ["b"]}, 2)


async def test_an_apply_that_changes_nothing_is_no_change(api: ApiServer, client: Client) -> None:
    _, made = await client.apply(CART, wants({"hosts": ["a"]}), "us")
    assert await client.apply(CART, wants({"hosts": ["a"]}), "us") == (200, made)


async def test_a_field_that_its_only_manager_no_longer_applies_is_removed(
    client: Client,
) -> None:
    full = wants({"hosts": ["a"], "routes": []}, labels={"x": "y"}, annotations={"a.b/c": "d"})
    await client.apply(CART, full, "us")
    _, shown = await client.apply(CART, wants({"hosts": ["a"]}), "us")
    assert shown["spec"] == {"hosts": ["a"]}
    assert shown["metadata"].keys().isdisjoint({"labels", "annotations"})


async def test_a_field_that_another_manager_has_too_stays(client: Client) -> None:
    """ "Sharing managers": the same value is no conflict."""
    await client.apply(CART, wants({"hosts": ["a"], "routes": []}), "us")
    code, _ = await client.apply(CART, wants({"routes": []}), "them")
    assert code == 200
    _, shown = await client.apply(CART, wants({"hosts": ["a"]}), "us")
    assert shown["spec"] == {"hosts": ["a"], "routes": []}
    assert owned(shown) == {
        ("us", "Apply"): {"f:spec": {"f:hosts": {}}},
        ("them", "Apply"): {"f:spec": {"f:routes": {}}},
    }


async def test_a_conflict_names_manager_and_field(api: ApiServer, client: Client) -> None:
    _, made = await client.apply(CART, wants({"hosts": ["a"]}, labels={"a/b": "x"}), "us")
    code, status = await client.apply(CART, wants({"hosts": ["b"]}), "them")
    assert (code, status["reason"]) == (409, "Conflict")
    assert status["message"] == 'Apply failed with 1 conflict: conflict with "us": .spec.hosts'
    assert status["details"]["causes"] == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "us"', "field": ".spec.hosts"}
    ]
    _, status = await client.apply(CART, wants({"hosts": ["b"]}, labels={"a/b": "y"}), "them")
    fields = {cause["field"] for cause in status["details"]["causes"]}
    assert fields == {".spec.hosts", ".metadata.labels.a/b"}
    assert api.get("MetaRouter", "shop", "cart") == made


async def test_force_takes_the_fields_over(client: Client) -> None:
    await client.apply(CART, wants({"hosts": ["a"], "routes": []}), "us")
    code, shown = await client.apply(CART, wants({"hosts": ["b"]}), "them", force="true")
    assert (code, shown["spec"]["hosts"]) == (200, ["b"])
    assert owned(shown) == {
        ("us", "Apply"): {"f:spec": {"f:routes": {}}},
        ("them", "Apply"): {"f:spec": {"f:hosts": {}}},
    }


async def test_an_update_takes_what_it_changes_and_no_more(client: Client) -> None:
    """ "Managers": who updates owns what he changed; to apply it then is a conflict."""
    await client.apply(CART, wants({"hosts": ["a"], "routes": []}), "us")
    patch = {"spec": {"hosts": ["b"], "limit": 1}}
    _, shown = await client.ask("PATCH", CART, patch, media=MERGE, fieldManager="hand")
    assert owned(shown) == {
        ("us", "Apply"): {"f:spec": {"f:routes": {}}},
        ("hand", "Update"): {"f:spec": {"f:hosts": {}, "f:limit": {}}},
    }
    code, status = await client.apply(CART, wants({"hosts": ["a"], "routes": []}), "us")
    assert code == 409
    (cause,) = status["details"]["causes"]
    assert cause["message"].startswith('conflict with "hand" using metaprotocol.aeraki.io/v1alpha1')


async def test_what_is_removed_by_an_update_is_nobodys(client: Client) -> None:
    await client.apply(CART, wants({"hosts": ["a"], "routes": []}), "us")
    patch = {"spec": {"routes": None}}
    _, shown = await client.ask("PATCH", CART, patch, media=MERGE, fieldManager="hand")
    assert owned(shown) == {("us", "Apply"): {"f:spec": {"f:hosts": {}}}}


async def test_a_status_is_applied_apart(client: Client) -> None:
    both = wants({"hosts": ["a"]}) | {"status": {"phase": "Ready"}}
    _, shown = await client.apply(CART, both, "us")
    assert "status" not in shown
    _, shown = await client.apply(f"{CART}/status", both | {"spec": {"hosts": ["b"]}}, "us")
    assert (shown["spec"], shown["status"]) == ({"hosts": ["a"]}, {"phase": "Ready"})
    main, status = shown["metadata"]["managedFields"]
    assert (main["fieldsV1"], "subresource" in main) == ({"f:spec": {"f:hosts": {}}}, False)
    assert status["fieldsV1"] == {"f:status": {"f:phase": {}}}
    assert status["subresource"] == "status"
    code, _ = await client.apply(f"{ROUTERS}/none/status", router("none"), "us")
    assert code == 404


async def test_an_apply_says_who_applies_and_not_who_owns(client: Client) -> None:
    code, status = await client.ask("PATCH", CART, router(), media=APPLY)
    assert (code, status["reason"]) == (422, "Invalid")
    assert "fieldManager" in status["message"]
    _, made = await client.apply(CART, router(), "us")
    code, status = await client.apply(CART, made, "us")
    assert (code, status["message"]) == (400, "metadata.managedFields must be nil")


async def test_an_apply_may_insist_on_a_revision(client: Client) -> None:
    _, made = await client.apply(CART, wants({"hosts": ["a"]}), "us")
    revision = made["metadata"]["resourceVersion"]
    code, _ = await client.apply(CART, wants({"hosts": ["b"]}, resourceVersion=revision), "us")
    assert code == 200
    code, status = await client.apply(CART, wants({"hosts": ["c"]}, resourceVersion=revision), "us")
    assert (code, status["reason"]) == (409, "Conflict")


async def test_a_body_may_be_yaml(client: Client) -> None:
    text = """
        apiVersion: metaprotocol.aeraki.io/v1alpha1
        kind: MetaRouter
        metadata: {name: cart}
        spec: {hosts: [a]}
    """
    async with client.session.patch(
        CART, data=text.encode(), headers={"Content-Type": APPLY}, params={"fieldManager": "us"}
    ) as response:
        assert response.status == 201
        assert (await response.json())["spec"] == {"hosts": ["a"]}
