"""deploy/rbac.yaml grants what a server does in a cluster, to the verb and the name: each of its
calls, and nothing that none of them needs.

The tests' API server enforces the rules while real processes go through what they do in their
lives, so a rule that lacks shows as a 403, and as something that never happens.
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from aeraki_xds.xds import CLUSTER
from tests.apiserver.faults import Delay, Faults
from tests.apiserver.kinds import Call
from tests.apiserver.server import ApiServer
from tests.deploy.admission import DEPLOY
from tests.deploy.rbac import Document, allows
from tests.e2e.replica import Replica, proxy, replica, until
from tests.xds.test_wire_server import SOTW_ADS

pytestmark = pytest.mark.e2e

EXAMPLES: Final = Path(__file__).parents[2] / "examples"
ROOT: Final = "istio-system"
STORE: Final = "config-store"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """One verb on one resource; `namespace` and `name` are empty for all."""

    verb: str
    group: str
    resource: str
    namespace: str
    name: str

    def covers(self, call: Call) -> bool:
        """Whether it allows a call."""
        return (
            (self.verb, self.group, self.resource) == (call.verb, call.group, call.resource)
            and self.namespace in {"", call.namespace}
            and self.name in {"", call.name}
        )

    def __str__(self) -> str:
        resource = f"{self.resource}.{self.group}".rstrip(".")
        return f"{self.verb} {resource} {self.namespace}/{self.name}"


def documents(*files: str) -> list[Document]:
    found: list[Document] = []
    for file in files:
        found += yaml.safe_load_all((DEPLOY / file).read_text())
    return found


def grants(rules: Sequence[Document]) -> Iterator[Grant]:
    """What roles grant, one by one."""
    for role in rules:
        for rule in role.get("rules", ()):
            names = rule.get("resourceNames", [""])
            each = itertools.product(rule["verbs"], rule["apiGroups"], rule["resources"], names)
            for verb, group, resource, name in each:
                namespace = role["metadata"].get("namespace", "")
                yield Grant(
                    verb=verb, group=group, resource=resource, namespace=namespace, name=name
                )


def unused(rules: Sequence[Document], calls: Sequence[Call]) -> list[str]:
    """What is granted and nobody needs. To get adds nothing for who may list."""
    every = list(grants(rules))
    lists = {replace(each, verb="get") for each in every if each.verb == "list"}
    return [str(each) for each in every if each not in lists and not any(map(each.covers, calls))]


def may(rules: Sequence[Document], call: Call) -> bool:
    """Whether RBAC allows a call; discovery is everybody's (`system:discovery`)."""
    return not call.resource or allows(
        rules, call.verb, call.group, call.resource, call.subresource, call.namespace, call.name
    )


def secrets(namespace: str, verbs: list[str], *names: str) -> list[Document]:
    """A Role such as that of examples/secrets.yaml, for other Secrets."""
    role, binding = documents("examples/secrets.yaml")
    metadata = {"name": "aeraki-secrets", "namespace": namespace}
    rule = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [*names], "verbs": verbs}
    return [
        {**role, "metadata": metadata, "rules": [rule]},
        {**binding, "metadata": metadata},
    ]


RULES: Final = [
    *documents("rbac.yaml", "examples/secrets.yaml"),
    *secrets("cache", ["get", "list", "watch"], "sessions-clients", "sessions-servers"),
    *secrets(ROOT, ["get"], STORE),  # for --config-store-secret
]


def manifest(kind: str, name: str, namespace: str, **content: Any) -> Document:
    return {"kind": kind, "metadata": {"name": name, "namespace": namespace}, **content}


def everything(api: ApiServer) -> None:
    """All examples, a mesh config, and a password that is granted."""
    for path in sorted(EXAMPLES.glob("*/*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            api.put(document)
    api.put(manifest("ConfigMap", "istio", ROOT, data={"mesh": "accessLogFile: /dev/stdout\n"}))
    api.put(manifest("Service", "sessions", "shop", spec=redis_service()))
    password = base64.b64encode(b"example").decode()
    api.put(manifest("Secret", "sessions", "shop", data={"password": password}))
    auth = {"auth": {"secret": {"name": "sessions"}}}
    spec = {
        "host": "sessions.shop.svc.cluster.local",
        "trafficPolicy": {"connectionPool": {"redis": auth}},
    }
    api.put(manifest("RedisDestination", "sessions", "shop", spec=spec))


def redis_service() -> Document:
    return {"clusterIP": "10.96.77.7", "ports": [{"port": 6379, "name": "tcp-redis"}]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """A cluster that enforces the rules, and a server that leads in it."""

    api: ApiServer
    faults: Faults
    kubeconfig: Path
    work: Path
    server: Replica

    def count(self, verb: str, plural: str) -> int:
        """How many calls of a verb went well."""
        return sum(
            (call.verb, call.resource) == (verb, plural) and call.status < 300
            for call in self.api.calls
        )

    async def does(self, verb: str, plural: str, *, times: int = 1) -> None:
        """Wait until it was done so often."""
        await until(lambda: self.count(verb, plural) >= times)


@asynccontextmanager
async def enforced(work: Path) -> AsyncIterator[Life]:
    def allowed(verb: str, group: str, resource: str, namespace: str, name: str) -> bool:
        plural, _, below = resource.partition("/")
        return allows(RULES, verb, group, plural, below, namespace, name)

    async with ApiServer.started(allowed=allowed) as api, Faults.started(api.url) as faults:
        everything(api)
        kubeconfig = api.kubeconfig(work / "kubeconfig", url=faults.url)
        async with replica(kubeconfig, log=work / "log") as server:
            await server.logged("leader")
            await server.is_ready()
            yield Life(api=api, faults=faults, kubeconfig=kubeconfig, work=work, server=server)


async def is_edited(life: Life) -> None:
    """Filters and routes are written, altered and deleted."""
    api = life.api
    await life.does("create", "envoyfilters", times=20)
    await life.does("create", "virtualservices")
    router = api.get("MetaRouter", ROOT, "quotes")
    assert router is not None
    router["spec"]["routes"] = router["spec"]["routes"][1:]
    bucket = {"maxTokens": 1, "tokensPerFill": 1, "fillInterval": "1s"}
    router["spec"]["localRateLimit"] = {"tokenBucket": bucket}
    api.put(router)
    await life.does("update", "envoyfilters")
    (routes,) = ours(api, "VirtualService")
    api.put({**routes, "spec": {**routes["spec"], "hosts": ["mistaken.example"]}})
    await life.does("update", "virtualservices")
    api.delete("MetaRouter", ROOT, "quotes")
    await life.does("delete", "virtualservices")
    await life.does("delete", "envoyfilters")


async def somebody_is_faster(life: Life) -> None:
    """An object is edited while its update is on its way: it is read again."""
    found = next(each for each in ours(life.api, "EnvoyFilter") if "inbound" in str(each))
    place = found["metadata"]["namespace"], found["metadata"]["name"]
    life.faults.next(Delay(seconds=2), verb="update", resource="envoyfilters")
    life.api.put({**found, "spec": {"configPatches": []}})
    await until(lambda: not life.faults.pending)
    life.api.put({**found, "spec": {"configPatches": [], "priority": 7}})
    await life.does("get", "envoyfilters")
    await until(lambda: (life.api.get("EnvoyFilter", *place) or {})["spec"] == found["spec"])


async def an_envoy_asks(life: Life) -> None:
    """A stock Envoy is told endpoints, so these are read."""
    async with proxy(life.server, SOTW_ADS) as client:
        await client.ask(CLUSTER, node="sidecar~10.0.0.1~client-1.market~market.svc.cluster.local")
        assert (await client.hear()).resources


async def others_come(life: Life) -> None:
    """One that reads by way of the config store and only serves, and two that only print."""
    config = base64.b64encode(life.kubeconfig.read_bytes()).decode()
    life.api.put(manifest("Secret", STORE, ROOT, data={"kubeconfig.admin": config}))
    for name, options in {
        "stored": ["--config-store-secret", STORE, "--no-master"],
        "shadow": ["--shadow"],
        "mended": ["--shadow", "--profile", "current"],
    }.items():
        async with replica(life.kubeconfig, *options, log=life.work / name) as other:
            await other.is_ready()
            if name == "mended":
                await other.logged("shadow")


async def watches_end(life: Life) -> None:
    """As they do every few minutes."""
    before = life.count("watch", "services")
    life.api.end_watches()
    await life.does("watch", "services", times=before + 1)


def ours(api: ApiServer, kind: str) -> list[Document]:
    return [
        each
        for each in api.objects(kind)
        if each["metadata"].get("labels", {}).get("manager") == "Aeraki"
    ]


async def test_the_rules_allow_what_the_server_does_in_its_life_and_nothing_more(
    tmp_path: Path,
) -> None:
    async with enforced(tmp_path) as life:
        await is_edited(life)
        await somebody_is_faster(life)
        await an_envoy_asks(life)
        await others_come(life)
        await watches_end(life)
    calls = life.api.calls
    assert {f"{call.verb} {call.path}" for call in calls if not may(RULES, call)} == set()
    assert {call.path for call in calls if call.status in {401, 403}} == set()
    assert unused(RULES, calls) == []
