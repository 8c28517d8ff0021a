"""A cluster that fails a real server: what it goes on serving, what it writes, and what it says.

Between the server and the tests' API server there is a proxy that breaks the way; proxies of the
mesh are clients that speak gRPC.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from grpclib.const import Status

from aeraki_xds.ingest.kubernetes.kinds import EVERYWHERE
from aeraki_xds.xds import HTTP_ROUTES
from tests.apiserver.faults import Faults
from tests.apiserver.kinds import KINDS
from tests.apiserver.server import ApiServer
from tests.e2e.replica import Replica, proxy, replica, until
from tests.xds.test_wire_server import Talk

pytestmark = pytest.mark.e2e

ROOT: Final = "istio-system"
LEASE_S: Final = 30.0
LATE_S: Final = 90.0  # for what takes a lease, or a pause between tries
MANY: Final = 30

Json = dict[str, Any]


def host(n: int) -> str:
    return f"s{n}.shop.svc.cluster.local"


def service(n: int) -> Json:
    spec = {
        "clusterIP": f"10.1.2.{n + 1}",
        "selector": {"app": f"s{n}"},
        "ports": [{"port": 9090, "name": "tcp-metaprotocol-thrift"}],
    }
    return {"kind": "Service", "metadata": {"name": f"s{n}", "namespace": "shop"}, "spec": spec}


def router(n: int, *, name: str = "all", limit: int = 1) -> Json:
    bucket = {"maxTokens": limit, "tokensPerFill": limit, "fillInterval": "1s"}
    spec = {
        "hosts": [host(n)],
        "routes": [{"name": name, "route": [{"destination": {"host": host(n)}}]}],
        "localRateLimit": {"tokenBucket": bucket},
    }
    metadata = {"name": f"s{n}", "namespace": "shop"}
    return {"kind": "MetaRouter", "metadata": metadata, "spec": spec}


def filters(api: ApiServer) -> dict[str, Json]:
    return {each["metadata"]["name"]: each["spec"] for each in api.objects("EnvoyFilter")}


def inbound(n: int) -> str:
    return f"aeraki-inbound-{host(n)}-9090"


def deletions(api: ApiServer) -> int:
    return sum(call.verb == "delete" for call in api.calls)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A cluster, the way to it, and where a server finds it."""

    api: ApiServer
    faults: Faults
    config: Path

    async def goes(self) -> None:
        """Nobody reaches the API server any more."""
        await self.faults.refuse()
        self.faults.cut_all()

    def two_each(self, count: int) -> bool:
        """Whether so many services have their two filters."""
        return len(filters(self.api)) == 2 * count


@asynccontextmanager
async def cluster(work: Path, *manifests: Json, **options: Any) -> AsyncIterator[Place]:
    async with ApiServer.started(**options) as api, Faults.started(api.url) as faults:
        for each in manifests:
            api.put(each)
        config = api.kubeconfig(work / "kubeconfig", url=faults.url)
        yield Place(api=api, faults=faults, config=config)


async def hears_of(talk: Talk, n: int) -> str:
    """Ask for the routes of a service and accept them; returns their bytes."""
    name = f"{host(n)}_9090"
    await talk.ask(HTTP_ROUTES, name, node="client")
    answer = await talk.hear()
    accepted = {"version_info": answer.version_info, "response_nonce": answer.nonce}
    await talk.ask(HTTP_ROUTES, name, **accepted)
    return said(answer)


def said(answer: Any) -> str:
    (resource,) = answer.resources
    return str(resource)


def sources(page: Json, *, stale: bool) -> bool:
    """Whether each source that is always read is stale, or none is."""
    always = [f"kubernetes/{watched}" for watched in EVERYWHERE]
    return all(bool(page["sources"][name]["stale"]) is stale for name in always)


async def test_before_the_api_server_is_there_nothing_is_served_and_what_lacks_is_named(
    tmp_path: Path,
) -> None:
    async with cluster(tmp_path, service(1), router(1)) as place:
        await place.goes()
        async with replica(place.config, log=tmp_path / "log") as server:
            await until(lambda: len(server.lines("cluster failing")) > len(EVERYWHERE))
            status, page = await server.says("/readyz")
            assert (status, page["status"]) == (503, "not synced")
            assert {"kubernetes/Service", "kubernetes/MetaRouter"} < page["sources"].keys()
            assert {each["synced"] for each in page["sources"].values()} == {False}
            async with proxy(server) as early:
                await early.ask(HTTP_ROUTES, f"{host(1)}_9090", node="client")
                assert (await early.ended_with())[0] is Status.UNAVAILABLE
            await place.faults.accept()
            await server.is_ready()
            async with proxy(server) as client:
                assert host(1) in await hears_of(client, 1)
            await until(lambda: place.two_each(1))


@pytest.mark.long
async def test_an_api_server_that_goes_takes_nothing_away_and_is_followed_when_it_is_back(
    tmp_path: Path,
) -> None:
    both = [each for n in range(MANY) for each in (service(n), router(n))]
    async with (
        cluster(tmp_path, *both) as place,
        replica(place.config, log=tmp_path / "log") as server,
    ):
        await server.is_ready()
        await until(lambda: place.two_each(MANY))
        before = filters(place.api)
        async with proxy(server) as client, proxy(server) as late:
            held = await hears_of(client, 1)
            await place.goes()
            place.api.delete("Service", "shop", "s0")
            place.api.put(router(1, name="news"))
            page = await server.until(
                "/readyz", lambda _, page: sources(page, stale=True), within_s=LATE_S
            )
            assert page["status"] == "ready"
            assert await hears_of(late, 1) == held
            assert filters(place.api) == before

            await place.faults.accept()
            answer = await asyncio.wait_for(client.grpc.recv_message(), LATE_S)
            assert "news" in said(answer)
            await server.until(
                "/readyz", lambda _, page: sources(page, stale=False), within_s=LATE_S
            )
            await until(lambda: place.two_each(MANY - 1), within_s=LATE_S)
        assert deletions(place.api) == 2


@pytest.mark.long
async def test_a_kind_that_the_cluster_learns_late_is_followed_from_then_on(
    tmp_path: Path,
) -> None:
    (late,) = (kind for kind in KINDS if kind.kind == "MetaRouter")
    kinds = [kind for kind in KINDS if kind is not late]
    async with (
        cluster(tmp_path, service(1), kinds=kinds) as place,
        replica(place.config, log=tmp_path / "log") as server,
    ):
        await server.is_ready()
        assert (await server.logged("cluster lacks"))["what"] == "MetaRouter"
        await until(lambda: place.two_each(1))
        plain = filters(place.api)[inbound(1)]
        async with proxy(server) as client:
            assert "late-route" not in await hears_of(client, 1)
            place.api.register(late)
            place.api.put(router(1, name="late-route"))
            answer = await asyncio.wait_for(client.grpc.recv_message(), LATE_S)
            assert "late-route" in said(answer)
        await until(lambda: filters(place.api)[inbound(1)] != plain)
    assert deletions(place.api) == 0


async def who_leads(servers: Iterable[Replica]) -> tuple[Replica, Replica]:
    """The one of two that leads, and the other."""
    one, other = servers
    await until(lambda: bool(one.lines("leader") or other.lines("leader")))
    return (one, other) if one.lines("leader") else (other, one)


@asynccontextmanager
async def two(work: Path) -> AsyncIterator[tuple[Place, Replica, Replica]]:
    """A cluster, the server that leads in it, and another."""
    async with (
        cluster(work, service(1)) as place,
        replica(place.config, "--server-id", "one", log=work / "one") as one,
        replica(place.config, "--server-id", "two", log=work / "two") as other,
    ):
        for server in (one, other):
            await server.is_ready()
        leader, waiting = await who_leads((one, other))
        await until(lambda: place.two_each(1))
        yield place, leader, waiting


async def test_a_leader_that_ends_in_order_is_followed_at_once(tmp_path: Path) -> None:
    async with two(tmp_path) as (place, leader, waiting):
        leader.process.terminate()
        await leader.process.wait()
        place.api.put(service(2))
        began = time.monotonic()
        await until(lambda: place.two_each(2))
        assert waiting.lines("leader")
        assert time.monotonic() - began < LEASE_S


@pytest.mark.long
async def test_a_leader_that_is_killed_is_followed_after_its_lease_and_not_before(
    tmp_path: Path,
) -> None:
    async with two(tmp_path) as (place, leader, waiting):
        leader.process.kill()
        await leader.process.wait()
        began = time.monotonic()
        place.api.put(service(2))
        await until(lambda: place.two_each(2), within_s=LATE_S)
        took = time.monotonic() - began
        print(f"another wrote {took:.1f} s after the leader was killed")
        assert waiting.lines("leader")
        # It renews four times in a lease, so most of one is left at any time.
        assert took > LEASE_S / 3
        created = [call for call in place.api.calls if call.verb == "create"]
        assert sum(call.resource == "envoyfilters" for call in created) == 4


async def test_a_mass_deletion_waits_until_its_digest_is_confirmed(tmp_path: Path) -> None:
    gone = 12
    async with cluster(tmp_path, *map(service, range(MANY))) as place:
        async with replica(place.config, log=tmp_path / "first") as server:
            await server.logged("leader")
            await until(lambda: place.two_each(MANY))
            for n in range(gone):
                place.api.delete("Service", "shop", f"s{n}")
            waits = await server.logged("deletions wait for confirmation")
            assert waits["count"] == 2 * gone
            _, page = await server.says("/debug/rejections")
            assert page["writing"]["digest"] == waits["digest"]
            assert len(page["writing"]["waiting"]) == 2 * gone
            place.api.put(service(MANY))  # what is not deleted is not held up
            await until(lambda: place.two_each(MANY + 1))
        assert deletions(place.api) == 0

        confirm = ("--confirm-deletions", waits["digest"])
        async with replica(place.config, *confirm, log=tmp_path / "second") as server:
            await server.logged("deletions confirmed")
            await until(lambda: place.two_each(MANY + 1 - gone))
        assert deletions(place.api) == 2 * gone
        left = {inbound(n) for n in range(gone, MANY + 1)}
        assert {name for name in filters(place.api) if "inbound" in name} == left
