"""Lists of the API server, as "Kubernetes API Concepts" has them."""

from __future__ import annotations

import pytest

from tests.apiserver.kit import (
    ROUTERS,
    SERVICES,
    SHOP,
    Client,
    reason_of,
    router,
    service,
)
from tests.apiserver.server import ApiServer


async def test_a_list_is_of_one_namespace_or_of_all(api: ApiServer, client: Client) -> None:
    api.put(service("b"))
    api.put(service("a"))
    api.put(service("z", namespace="attic"))
    assert await client.names(SERVICES) == ["z", "a", "b"]
    assert await client.names(SHOP) == ["a", "b"]
    _, listed = await client.get(SHOP)
    assert listed["kind"] == "ServiceList"
    assert listed["metadata"] == {"resourceVersion": str(api.revision)}


async def test_only_custom_resources_name_their_kind_in_a_list(
    api: ApiServer, client: Client
) -> None:
    """ "Collections": the items of a built-in kind have no kind and no apiVersion."""
    api.put(service())
    api.put(router())
    (plain,) = (await client.get(SHOP))[1]["items"]
    (ours,) = (await client.get(ROUTERS))[1]["items"]
    assert plain.keys() == {"metadata", "spec"}
    assert (ours["kind"], ours["apiVersion"]) == ("MetaRouter", "metaprotocol.aeraki.io/v1alpha1")


async def test_the_pages_of_a_list_are_of_one_moment(api: ApiServer, client: Client) -> None:
    """ "Retrieving large results sets in chunks": later changes are in no page."""
    for name in "abcde":
        api.put(service(name))
    _, first = await client.get(SHOP, limit=2)
    revision = first["metadata"]["resourceVersion"]
    assert first["metadata"]["remainingItemCount"] == 3
    api.put(service("d", port=81))
    api.put(service("dd"))
    api.delete("Service", "shop", "e")
    names, ports, page = [], [], first
    while token := page["metadata"].get("continue"):
        _, page = await client.get(SHOP, limit=2, **{"continue": token})
        assert page["metadata"]["resourceVersion"] == revision
        names += [item["metadata"]["name"] for item in page["items"]]
        ports += [item["spec"]["ports"][0]["port"] for item in page["items"]]
    assert names == ["c", "d", "e"]
    assert ports == [80, 80, 80]


async def test_a_page_of_a_compacted_list_is_gone(api: ApiServer, client: Client) -> None:
    """ "410 Gone responses": the token in the answer goes on, at no one moment."""
    for name in "abc":
        api.put(service(name))
    _, first = await client.get(SHOP, limit=1)
    api.put(service("bb"))
    api.compact()
    answer = await client.get(SHOP, limit=5, **{"continue": first["metadata"]["continue"]})
    assert reason_of(answer) == (410, "Expired")
    token = answer[1]["metadata"]["continue"]
    assert await client.names(SHOP, **{"continue": token}) == ["b", "bb", "c"]


async def test_a_list_can_be_of_an_exact_revision(api: ApiServer, client: Client) -> None:
    """ "Semantics for get and list": resourceVersionMatch=Exact."""
    api.put(service("a"))
    then = api.revision
    api.put(service("b"))
    exact = {"resourceVersion": then, "resourceVersionMatch": "Exact"}
    assert await client.names(SHOP, **exact) == ["a"]
    assert await client.names(SHOP, resourceVersion=then) == ["a", "b"]
    assert await client.names(SHOP, resourceVersion=0) == ["a", "b"]
    api.compact()
    assert reason_of(await client.get(SHOP, **exact)) == (410, "Expired")
    late = await client.get(SHOP, resourceVersion=api.revision + 1)
    assert reason_of(late) == (504, "Timeout")
    assert late[1]["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("app=a", ["one"]),
        ("app==a", ["one"]),
        ("app!=a", ["three", "two"]),
        ("app in (a, b)", ["one", "two"]),
        ("app notin (a,b)", ["three"]),  # codespell:ignore notin
        ("app", ["one", "two"]),
        ("!app", ["three"]),
        ("app in (a,b),x.example/tier=back", ["two"]),
    ],
)
async def test_labels_select(
    selector: str, names: list[str], api: ApiServer, client: Client
) -> None:
    """ "Labels and Selectors"."""
    api.put(service("one", labels={"app": "a"}))
    api.put(service("two", labels={"app": "b", "x.example/tier": "back"}))
    api.put(service("three"))
    assert await client.names(SHOP, labelSelector=selector) == names


async def test_fields_select(api: ApiServer, client: Client) -> None:
    """ "Field Selectors": metadata.name and metadata.namespace, for all kinds."""
    api.put(service("a"))
    api.put(service("b", namespace="attic"))
    assert await client.names(SERVICES, fieldSelector="metadata.name=a") == ["a"]
    assert await client.names(SERVICES, fieldSelector="metadata.namespace!=shop") == ["b"]
    both = "metadata.name=a,metadata.namespace=attic"
    assert await client.names(SERVICES, fieldSelector=both) == []
    answer = await client.get(SERVICES, fieldSelector="spec.type=x")
    assert reason_of(answer) == (400, "BadRequest")
    assert reason_of(await client.get(SERVICES, labelSelector="a b")) == (400, "BadRequest")


async def test_ten_thousand_objects_are_listed_in_pages(api: ApiServer, client: Client) -> None:
    for number in range(10_000):
        api.put(service(f"s-{number:05}"))
    names, query = 0, dict[str, object](limit=500)
    while True:
        _, page = await client.get(SERVICES, **query)
        names += len(page["items"])
        if not (token := page["metadata"].get("continue")):
            break
        query["continue"] = token
    assert names == 10_000
