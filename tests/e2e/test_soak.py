"""Five minutes of edits and of an API server that fails, over ten thousand objects: at the end
everything is as after a fresh start, and memory is what it was after the first minute.

The seed decides what is done; `AERAKI_SOAK_SEED` names another one. Figures are printed
(`make test-long ARGS="-s -k soak"`).
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson
import pytest

from aeraki_xds.mesh.tenancy import Tenancy, TenancyMode
from aeraki_xds.pipeline.offline import translate
from aeraki_xds.pipeline.scopes import for_istio
from aeraki_xds.translate.envoyfilter.profile import AERAKI_1_4, EnvoyFilters
from tests.apiserver.faults import Answer, Cut, Delay, Duplicate, Fault, Faults, Reorder, Truncate
from tests.apiserver.server import ApiServer
from tests.e2e.replica import Replica, replica
from tests.translate.golden import events_of

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.xdist_group("soak")]

SEED: Final = int(os.environ.get("AERAKI_SOAK_SEED", "7"))
SERVICES: Final = 4_000
ROUTED: Final = 3_000
"""So many of them have a router and subsets."""
NAMESPACES: Final = 25
CHURN_S: Final = 300.0
MINUTE_S: Final = 60.0
SETTLE_S: Final = 180.0  # a kind that is asked for in vain is tried every 30 s
GROWTH: Final = 1.15
ROOT: Final = "istio-system"
INPUTS: Final = ("Service", "MetaRouter", "DestinationRule")

Json = dict[str, Any]


def place(n: int) -> tuple[str, str]:
    """Namespace and name of a service and of what is about it."""
    return f"shop-{n % NAMESPACES}", f"s{n}"


def host(n: int) -> str:
    namespace, name = place(n)
    return f"{name}.{namespace}.svc.cluster.local"


def manifest(kind: str, n: int, spec: Json) -> Json:
    namespace, name = place(n)
    return {"kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def service(n: int, *, port: int = 9090) -> Json:
    spec = {
        "clusterIP": f"10.{100 + n // 250}.7.{n % 250}",
        "selector": {"app": f"s{n}"},
        "ports": [{"port": port, "name": "tcp-metaprotocol-thrift"}],
    }
    return manifest("Service", n, spec)


def subsets(n: int, *versions: str) -> Json:
    each = [{"name": version, "labels": {"version": version}} for version in versions]
    return manifest("DestinationRule", n, {"host": host(n), "subsets": each})


def router(n: int, *, subset: str = "v1", limit: int = 0) -> Json:
    route: Json = {"route": [{"destination": {"host": host(n), "subset": subset}}], "name": "all"}
    spec: Json = {"hosts": [host(n)], "routes": [route]}
    if limit:
        bucket = {"maxTokens": limit, "tokensPerFill": limit, "fillInterval": "1s"}
        spec["localRateLimit"] = {"tokenBucket": bucket}
    return manifest("MetaRouter", n, spec)


def desired(documents: Iterable[Json]) -> list[Json]:
    """The EnvoyFilters that follow from manifests, as the command line prints them."""
    offline = translate(
        events_of(documents),
        [for_istio(EnvoyFilters.of(AERAKI_1_4))],
        tenancy=Tenancy(mode=TenancyMode.WARN),
    )
    return [each for objects in offline.scopes[0].values() for each in objects.values()]


@dataclass(slots=True, kw_only=True)
class Churn:
    """What people do to a cluster, and what becomes of the way to its API server."""

    api: ApiServer
    faults: Faults
    edits: random.Random
    troubles: random.Random
    is_over: bool = False
    done: Counter[str] = field(default_factory=Counter)

    def edit(self) -> None:
        """Something is edited, well or badly; deleted, or made anew; or somebody is mistaken."""
        n = self.edits.randrange(ROUTED)
        actions: dict[Callable[[int], None], int] = {
            self.limited: 30,
            self.rerouted: 20,
            self.broken: 5,
            self.subsets_changed: 10,
            self.router_gone: 5,
            self.service_moved: 5,
            self.service_gone: 5,
            self.filter_edited: 5,
            self.filter_gone: 5,
        }
        (action,) = self.edits.choices([*actions], [*actions.values()])
        action(n)
        self.done[action.__name__] += 1

    def limited(self, n: int) -> None:
        self.api.put(service(n))
        self.api.put(router(n, limit=self.edits.randrange(1, 100)))

    def rerouted(self, n: int) -> None:
        self.api.put(router(n, subset=self.edits.choice(["v1", "v2"])))

    def broken(self, n: int) -> None:
        spec = {"hosts": [host(n)], "routes": [{"route": [{"weight": -1}]}]}
        self.api.put(manifest("MetaRouter", n, spec))

    def subsets_changed(self, n: int) -> None:
        self.api.put(subsets(n, *self.edits.choice([("v1", "v2"), ("v1",), ("v1", "v2", "v3")])))

    def router_gone(self, n: int) -> None:
        self._delete("MetaRouter", *place(n))

    def service_moved(self, n: int) -> None:
        self.api.put(service(n, port=self.edits.choice([9090, 9091])))

    def service_gone(self, n: int) -> None:
        self._delete("Service", *place(n))

    def filter_edited(self, n: int) -> None:
        name = f"aeraki-inbound-{host(n)}-9090"
        found = self.api.get("EnvoyFilter", ROOT, name)
        if found is not None:
            self.api.put({**found, "spec": {"configPatches": []}})

    def filter_gone(self, n: int) -> None:
        self._delete("EnvoyFilter", ROOT, f"aeraki-inbound-{host(n)}-9090")

    def _delete(self, kind: str, namespace: str, name: str) -> None:
        if self.api.get(kind, namespace, name) is not None:
            self.api.delete(kind, namespace, name)

    async def trouble(self) -> None:
        """Something goes wrong between the server and the API server."""
        kinds: list[tuple[Fault, str | None, int]] = [
            (Answer(status=429, retry_after=1), None, 3),
            (Answer(status=500), None, 5),
            (Answer(status=503), "list", 5),
            (Cut(at="request"), None, 3),
            (Cut(at="headers"), "update", 3),
            (Cut(at="headers"), "create", 1),
            (Cut(at="body", bytes=20_000), "list", 2),
            (Delay(seconds=1), "update", 3),
            (Truncate(events=3, torn=True), "watch", 3),
            (Truncate(events=2), "watch", 3),
            (Duplicate(event=2), "watch", 2),
            (Reorder(event=2), "watch", 1),
        ]
        fault, verb, times = self.troubles.choice(kinds)
        self.faults.next(fault, times=times, verb=verb, when=lambda _: not self.is_over)
        match self.troubles.choice(["cut", "end", "expire", "compact", "away", "nothing"]):
            case "cut":
                self.faults.cut_all()
            case "end":
                self.api.end_watches()
            case "expire":
                self.api.expire_watches()
            case "compact":
                self.api.compact()
                self.faults.cut_all()
            case "away":
                await self.faults.refuse()
                self.faults.cut_all()
                try:
                    await asyncio.sleep(self.troubles.uniform(1, 25))
                finally:
                    await self.faults.accept()
        self.done[type(fault).__name__] += 1


async def churned(churn: Churn, server: Replica) -> list[tuple[float, float]]:
    """Everything goes on at once for five minutes; returns when how much memory was in use."""
    began, memory = time.monotonic(), list[tuple[float, float]]()

    async def edits() -> None:
        while True:
            churn.edit()
            await asyncio.sleep(churn.edits.expovariate(20))

    async def troubles() -> None:
        while True:
            await asyncio.sleep(churn.troubles.uniform(1, 6))
            await churn.trouble()

    tasks = [asyncio.create_task(edits()), asyncio.create_task(troubles())]
    try:
        while (now := time.monotonic() - began) < CHURN_S:
            memory.append((now, server.resident()))
            await asyncio.wait(tasks, timeout=1, return_when=asyncio.FIRST_COMPLETED)
            assert not any(task.done() for task in tasks), [task for task in tasks if task.done()]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    churn.is_over = True
    return memory


async def routes(server: Replica) -> Json:
    """Every route of MetaRDS by name: its version, which is a digest of its bytes, and itself."""
    found: Json = {}
    offset, truncated = 0, True
    while truncated:
        _, page = await server.says(f"/debug/resources?scope=global&limit=1000&offset={offset}")
        for of_type in page["scopes"]["global"].values():
            found |= of_type
        offset, truncated = offset + 1000, page["truncated"]
    return found


async def rejected(server: Replica) -> set[str]:
    """`s7.shop-7`: what there is something wrong with."""
    found: set[str] = set()
    offset, truncated = 0, True
    while truncated:
        _, page = await server.says(f"/debug/rejections?limit=1000&offset={offset}")
        for each in (each for each in page["rejections"] if each["severity"] == "error"):
            _, namespace, name = each["object"].split("/")
            found.add(f"{name}.{namespace}")
        offset, truncated = offset + 1000, page["truncated"]
    return found


def filters(api: ApiServer) -> dict[str, bytes]:
    """By `namespace/name`, their specs."""
    return {name_of(each): spec_of(each) for each in api.objects("EnvoyFilter")}


def name_of(manifest: Json) -> str:
    return f"{manifest['metadata']['namespace']}/{manifest['metadata']['name']}"


def spec_of(manifest: Json) -> bytes:
    return orjson.dumps(manifest["spec"], option=orjson.OPT_SORT_KEYS)


def is_about(name: str, hosts: set[str]) -> bool:
    """Whether a route or filter is about one of the hosts: `…s7.shop-7.svc.cluster.local…`."""
    return name.partition(".svc.")[0].rpartition("bound-")[2] in hosts


def differing(one: Mapping[str, Any], other: Mapping[str, Any], bad: set[str]) -> list[str]:
    """The names under which two hold something else, hosts apart with which something is wrong."""
    names = (name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
    return sorted(name for name in names if not is_about(name, bad))


async def until_as_wanted(api: ApiServer, *, but_for: Replica | None = None) -> None:
    """Wait until the EnvoyFilters are what the objects mean, but for what a server rejects."""
    stored = (each for kind in INPUTS for each in api.objects(kind))
    wanted = {name_of(each): spec_of(each) for each in desired(stored)}
    deadline = time.monotonic() + SETTLE_S
    bad = await rejected(but_for) if but_for else set[str]()
    while other := differing(wanted, filters(api), bad):
        assert time.monotonic() < deadline, (len(other), other[:10])
        await asyncio.sleep(1)
        bad = await rejected(but_for) if but_for else bad


async def until_as_fresh(server: Replica, fresh: Replica, bad: set[str]) -> None:
    """Wait until the routes are those that a server serves that has just read everything."""
    deadline = time.monotonic() + SETTLE_S
    while other := differing(await routes(server), await routes(fresh), bad):
        assert time.monotonic() < deadline, (len(other), other[:10])
        await asyncio.sleep(1)


async def test_after_five_minutes_of_edits_and_faults_all_is_as_after_a_fresh_start(
    tmp_path: Path,
) -> None:
    begin = [service(n) for n in range(SERVICES)]
    begin += [each for n in range(ROUTED) for each in (subsets(n, "v1", "v2"), router(n))]
    async with ApiServer.started() as api, Faults.started(api.url) as faults:
        for each in begin:
            api.put(each)
        stored = [each for kind in INPUTS for each in api.objects(kind)]
        for each in desired(stored):
            api.put(each, manager="Aeraki")
        dice = random.Random(SEED), random.Random(SEED + 1)
        churn = Churn(api=api, faults=faults, edits=dice[0], troubles=dice[1])
        config = api.kubeconfig(tmp_path / "kubeconfig", url=faults.url)
        async with replica(config, log=tmp_path / "log") as server:
            await server.is_ready(within_s=SETTLE_S)
            await server.logged("leader")
            memory = await churned(churn, server)
            since = time.monotonic()
            await until_as_wanted(api, but_for=server)
            same_in = time.monotonic() - since
            async with replica(config, "--no-master", log=tmp_path / "fresh") as fresh:
                await fresh.is_ready(within_s=SETTLE_S)
                bad = await rejected(server) | await rejected(fresh)
                await until_as_fresh(server, fresh, bad)
                for each in begin:  # and when all is mended, nothing is apart
                    api.put(each)
                await until_as_wanted(api)
                await until_as_fresh(server, fresh, set())
        first = statistics.median(mib for at, mib in memory if MINUTE_S <= at < MINUTE_S + 10)
        last = statistics.median(mib for at, mib in memory if at > CHURN_S - MINUTE_S)
        print(f"seed {SEED}: {dict(churn.done)}, {len(bad)} hosts rejected")
        print(f"same as wanted {same_in:.1f} s after the last fault")
        print(f"memory {first:.0f} MiB after a minute, {last:.0f} MiB in the last one")
        assert last <= GROWTH * first, memory[:: len(memory) // 20]
