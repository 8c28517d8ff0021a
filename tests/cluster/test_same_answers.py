"""The API server of the tests against a real one: the same questions, the same answers.

What two servers cannot have in common (uids, times, revisions, tokens of pages) is numbered in the
order in which it appears, so that what is equal in one conversation is equal in the other. Of a
refusal code and reason are compared, of managedFields who owns which field: their order, the marks
of structs, and what is deeper than a field of the spec are not.
Custom resources without a schema, ConfigMaps and Leases are asked about: the rest has defaults,
which the tests' server leaves out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from itertools import zip_longest
from typing import Any, Final

import pytest

from tests.apiserver.kit import APPLY, MERGE, Client, client_of
from tests.apiserver.server import ApiServer
from tests.cluster.kit import Hand, namespace
from tests.cluster.real import Real

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]

RULES: Final = "/apis/networking.istio.io/v1/namespaces/shop/destinationrules"
MAPS: Final = "/api/v1/namespaces/shop/configmaps"
LEASES: Final = "/apis/coordination.k8s.io/v1/namespaces/shop/leases"
CART: Final = f"{RULES}/cart"

_NUMBERED: Final = frozenset({"uid", "resourceVersion", "continue"})
_STRUCTS: Final = {("f:spec",), ("f:metadata", "f:labels")}
_TIMES: Final = frozenset({"time", "creationTimestamp"})


class Conversation:
    """Asks one of the servers, and keeps what was said in a form that can be compared."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._seen: dict[str, str] = {}
        self.said: list[tuple[str, object, Any]] = []

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        media: str = "application/json",
        **query: object,
    ) -> Any:
        """Ask, and note question and answer; answers the body as it is."""
        status, answer = await self._client.ask(method, path, body, media=media, **query)
        self._note(f"{len(self.said)}: {method} {path}", status, answer)
        return answer

    async def watch(self, count: int, path: str, **query: object) -> None:
        """Note the first events of a watch; bookmarks come when they like."""
        async with self._client.watch(path, **query) as watch:
            while count:
                event = await watch.next()
                if event["type"] != "BOOKMARK":
                    self._note(f"WATCH {path}", event["type"], event["object"])
                    count -= 1

    def _note(self, question: str, status: object, answer: Any) -> None:
        self.said.append((question, status, self._shown(answer)))

    def _shown(self, value: Any, field: str = "") -> Any:
        if isinstance(value, dict) and value.get("status") == "Failure":
            return {name: value.get(name) for name in ("kind", "code", "reason")}
        if isinstance(value, dict):
            shown = {name: self._shown(value[name], name) for name in sorted(value)}
            return {name: each for name, each in shown.items() if (name, each) != ("continue", "")}
        if field == "managedFields":
            return owners(value)
        if isinstance(value, list):
            return [self._shown(each, field) for each in value]
        if isinstance(value, str):
            if field in _TIMES:
                return "a time"
            if field in _NUMBERED and value:
                self._seen.setdefault(value, f"<{field} {len(self._seen)}>")
                return self._seen[value]
        return value


def owners(entries: list[dict[str, Any]]) -> dict[str, str]:
    """Who owns which fields: of managedFields what a client can rely on."""
    found = {}
    for entry in entries:
        paths = leaves(entry["fieldsV1"])
        owned = {path[: 3 if path[0] == "f:metadata" else 2] for path in paths} - _STRUCTS
        if owned:
            who = [entry[name] for name in ("manager", "operation", "apiVersion", "fieldsType")]
            who.append(entry.get("subresource", ""))
            found[" ".join(who)] = str(sorted(owned))
    return found


def leaves(fields: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """The paths of single fields; `.` stands for the struct around them."""
    for name, below in fields.items():
        if name != ".":
            yield from ((name, *path) for path in leaves(below) if below)
            if not below:
                yield (name,)


def rule(name: str = "cart", host: object = "a", **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": name, "namespace": "shop", **metadata},
        "spec": {"host": host},
    }


def config_map(name: str = "lock", **annotations: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "shop", "annotations": annotations},
    }


def lease(holder: str) -> dict[str, Any]:
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "lock", "namespace": "shop"},
        "spec": {"holderIdentity": holder},
    }


async def creations(c: Conversation) -> None:
    await c.ask("GET", CART)
    await c.ask("POST", RULES, rule(labels={"a": "b"}), fieldManager="us")
    await c.ask("POST", RULES, rule(), fieldManager="us")
    await c.ask("GET", CART)
    await c.ask("POST", RULES, rule("other", namespace="attic"))
    await c.ask("POST", RULES, rule("other", resourceVersion="7"))
    await c.ask("POST", RULES, config_map())
    await c.ask("POST", RULES.replace("shop", "nowhere"), rule(namespace="nowhere"))
    await c.ask("POST", RULES, rule("Bad_Name"))
    await c.ask("POST", MAPS, config_map(note="x"), fieldManager="us")
    await c.ask("POST", MAPS, config_map(note="y"), fieldManager="us")
    await c.ask("POST", LEASES, lease("us"), fieldManager="us")


async def updates(c: Conversation) -> None:
    made = await c.ask("POST", RULES, rule() | {"status": {}}, fieldManager="us")
    changed = made | {"spec": {"host": "b"}}
    await c.ask("PUT", CART, changed, fieldManager="us")
    await c.ask("PUT", CART, changed, fieldManager="us")
    await c.ask("PUT", CART, rule(host="c"), fieldManager="us")
    await c.ask("PUT", f"{RULES}/none", rule("none"), fieldManager="us")
    now = await c.ask("GET", CART)
    await c.ask("PUT", CART, now, fieldManager="us")
    await c.ask("PUT", CART, now | {"metadata": now["metadata"] | {"uid": "other"}})
    await c.ask("PUT", CART, now | {"metadata": now["metadata"] | {"name": "b"}})
    labelled = now["metadata"] | {"labels": {"x": "y"}}
    await c.ask("PUT", CART, now | {"metadata": labelled}, fieldManager="them")
    made = await c.ask("POST", MAPS, config_map(note="x"), fieldManager="us")
    await c.ask("PUT", f"{MAPS}/lock", config_map(note="y"), fieldManager="us")
    await c.ask("PUT", f"{MAPS}/lock", made, fieldManager="us")
    made = await c.ask("POST", LEASES, lease("us"), fieldManager="us")
    await c.ask("PUT", f"{LEASES}/lock", lease("them"), fieldManager="them")
    await c.ask("PUT", f"{LEASES}/lock", made | {"spec": {"holderIdentity": "them"}})
    await c.ask("PUT", f"{LEASES}/lock", made, fieldManager="us")


async def statuses(c: Conversation) -> None:
    made = await c.ask("POST", RULES, rule(), fieldManager="us")
    told = made | {"spec": {"host": "no"}, "status": {"phase": "Ready"}}
    shown = await c.ask("PUT", f"{CART}/status", told, fieldManager="them")
    await c.ask("PUT", CART, shown | {"spec": {"host": "b"}, "status": {}}, fieldManager="us")
    await c.ask("GET", f"{CART}/status")


async def patches(c: Conversation) -> None:
    made = await c.ask("POST", RULES, rule(host={"a": 1, "b": 2}), fieldManager="us")
    await c.ask(
        "PATCH", CART, {"spec": {"host": {"a": None, "c": 3}}}, media=MERGE, fieldManager="us"
    )
    await c.ask("PATCH", CART, {"spec": {"host": {"c": 3}}}, media=MERGE, fieldManager="us")
    stale = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}, "spec": {}}
    await c.ask("PATCH", CART, stale, media=MERGE, fieldManager="us")
    await c.ask("PATCH", f"{RULES}/none", {}, media=MERGE)
    await c.ask("PATCH", CART, {}, media="text/plain")


async def applies(c: Conversation) -> None:
    async def apply(body: object, manager: str, **query: object) -> None:
        await c.ask("PATCH", CART, body, media=APPLY, fieldManager=manager, **query)

    await apply(rule(labels={"a": "b"}), "us")
    await apply(rule(labels={"a": "b"}), "us")
    await apply(rule(), "us")
    await apply(rule(host="b"), "them")
    await apply(rule(host="b"), "them", force="true")
    await apply(rule(host="b"), "us")
    await c.ask("PATCH", CART, rule(), media=APPLY)
    await c.ask("PATCH", CART, {"spec": {"host": "z"}}, media=MERGE, fieldManager="hand")
    await apply(rule(host="y"), "us")


async def deletions(c: Conversation) -> None:
    made = await c.ask("POST", RULES, rule())
    await c.ask("DELETE", CART, {"preconditions": {"uid": "other"}})
    await c.ask("DELETE", CART, {"preconditions": {"resourceVersion": "1"}})
    right = {name: made["metadata"][name] for name in ("uid", "resourceVersion")}
    await c.ask("DELETE", CART, {"preconditions": right})
    await c.ask("DELETE", CART)
    await c.ask("POST", MAPS, config_map(note="x"))
    await c.ask("DELETE", f"{MAPS}/lock")


async def lists(c: Conversation) -> None:
    for n in range(5):
        await c.ask("POST", RULES, rule(f"r{n}", labels={"n": str(n)}), fieldManager="us")
    await c.ask("GET", RULES)
    page = await c.ask("GET", RULES, limit=2)
    page = await c.ask("GET", RULES, limit=2, **{"continue": page["metadata"]["continue"]})
    await c.ask("DELETE", f"{RULES}/r4")
    await c.ask("GET", RULES, limit=2, **{"continue": page["metadata"]["continue"]})
    await c.ask("GET", RULES, labelSelector="n in (1,2)")
    await c.ask("GET", RULES, labelSelector="n!=1,n")
    await c.ask("GET", RULES, fieldSelector="metadata.name=r3")
    await c.ask("GET", RULES, fieldSelector="spec.host=a")
    await c.ask("GET", RULES, labelSelector="n in (")
    await c.ask("GET", RULES, **{"continue": "nonsense"})
    await c.ask("GET", RULES.replace("v1/", "v1beta1/"), limit=1)
    await c.ask("POST", MAPS, config_map(note="x"))
    await c.ask("GET", MAPS)


async def watches(c: Conversation) -> None:
    listed = await c.ask("GET", RULES)
    since = listed["metadata"]["resourceVersion"]
    await c.ask("POST", RULES, rule(labels={"in": "1"}), fieldManager="us")
    await c.ask("PATCH", CART, {"metadata": {"labels": {"in": "2"}}}, media=MERGE)
    await c.ask("PATCH", CART, {"metadata": {"labels": {"in": "1"}}}, media=MERGE)
    await c.ask("DELETE", CART)
    await c.watch(4, RULES, resourceVersion=since)
    await c.watch(4, RULES, resourceVersion=since, labelSelector="in=1")


async def strangers(c: Conversation) -> None:
    for path in ("/apis/none.example/v1", "/apis/networking.istio.io/v7", "/api/v1/nonsense"):
        await c.ask("GET", path)
    await c.ask("GET", "/apis/networking.istio.io/v1/namespaces/shop/nonsense")
    await c.ask("POST", RULES, [])
    await c.ask("POST", RULES, rule(), media="text/plain")


@pytest.mark.parametrize(
    "talk",
    [creations, updates, statuses, patches, applies, deletions, lists, watches, strangers],
    ids=lambda talk: str(talk.__name__),
)
async def test_both_servers_answer_alike(
    real: Real, hand: Hand, talk: Callable[[Conversation], Awaitable[None]]
) -> None:
    for path in (f"{MAPS}/lock", f"{LEASES}/lock"):
        await hand.client.ask("DELETE", path)
    async with ApiServer.started(strict_namespaces=True) as api, client_of(api.url) as client:
        for name in ("shop", "default"):
            api.put(namespace(name))
        ours, theirs = Conversation(client), Conversation(hand.client)
        await talk(ours)
        await talk(theirs)
    found = list(differences(ours.said, theirs.said))
    assert not found, "\n".join(found)


def differences(ours: Any, theirs: Any, path: str = "") -> Iterator[str]:
    """Where two values differ, ours first; without what neither has."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name in sorted(ours.keys() | theirs.keys()):
            yield from differences(ours.get(name), theirs.get(name), f"{path}.{name}")
    elif isinstance(ours, list | tuple) and isinstance(theirs, type(ours)):
        question = f"{ours[0]}: " if isinstance(ours, tuple) and ours[0] == theirs[0] else path
        for n, (mine, right) in enumerate(zip_longest(ours, theirs)):
            yield from differences(
                mine, right, f"{question}[{n}]" if question == path else question
            )
    elif ours != theirs:
        yield f"{path}: {ours!r} is {theirs!r}"
