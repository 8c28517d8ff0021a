"""What /metrics says after things have happened."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from aeraki_xds.admin.lag import LagMeter
from aeraki_xds.ingest.event import SourceLost, Unreadable
from aeraki_xds.mesh.problems import error
from aeraki_xds.mesh.tenancy import Tenancy
from aeraki_xds.pipeline import Pipeline, Scopes
from aeraki_xds.xds.resource import CLUSTER, HTTP_ROUTES, TypeUrl
from aeraki_xds.xds.wire.counts import ConnectionRefusal, StreamRefusal
from tests.admin.desk import SYNCED, Desk, opened
from tests.mesh.kit import router, said, service, subsets
from tests.virtual_time import VirtualLoop, at, virtual_time
from tests.xds.dialogue import DeltaEnvoy, Envoy, Server, SotwEnvoy, cluster, routes

DIALECTS = [SotwEnvoy, DeltaEnvoy]
ROUTE = "hello.demo.svc.cluster.local_9090"


async def value(desk: Desk, name: str) -> float:
    return (await desk.metrics())[f"aeraki_xds_{name}"]


async def test_connected_streams_are_counted_by_dialect_and_service(desk: Desk) -> None:
    assert await value(desk, 'connected{dialect="sotw",service="ads"}') == 0
    for _ in range(2):
        SotwEnvoy(desk.server)
    leaver = DeltaEnvoy(desk.server)
    desk.opens({}, only=HTTP_ROUTES)
    assert await value(desk, 'connected{dialect="sotw",service="ads"}') == 2
    assert await value(desk, 'connected{dialect="delta",service="ads"}') == 1
    assert await value(desk, 'connected{dialect="sotw",service="rds"}') == 1
    leaver.leaves()
    assert 'aeraki_xds_connected{dialect="delta",service="ads"}' not in await desk.metrics()


async def test_what_is_refused_is_counted_by_reason_from_the_start(desk: Desk) -> None:
    assert await value(desk, 'connections_refused_total{reason="handshake"}') == 0
    assert await value(desk, 'streams_refused_total{reason="denied"}') == 0
    counts = desk.xds.counts
    counts.connections_refused[ConnectionRefusal.HANDSHAKE] += 2
    counts.streams_refused[StreamRefusal.DENIED] += 3
    counts.write_failures += 4
    assert await value(desk, 'connections_refused_total{reason="handshake"}') == 2
    assert await value(desk, 'streams_refused_total{reason="denied"}') == 3
    assert await value(desk, "write_failures_total") == 4
    assert await value(desk, "connections") == 0


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_what_is_said_is_counted_by_type(desk: Desk, dialect: type[Envoy]) -> None:
    server = desk.server
    server.publishes(routes("r"), routes("s"))
    envoy = dialect(server)
    envoy.asks(HTTP_ROUTES, "r", "s")
    first = server.says_next(envoy)
    size = sum(len(each.packed) for each in first.resources)
    assert len(first.resources) == 2
    assert await value(desk, 'pushes_total{type="rds"}') == 1
    assert await value(desk, 'push_bytes_total{type="rds"}') == size
    assert await value(desk, 'acks_total{type="rds"}') == 0
    envoy.acks(first)
    server.publishes(routes("r", "22"))
    second = server.says_next(envoy)
    assert await value(desk, 'pushes_total{type="rds"}') == 2
    assert await value(desk, 'push_bytes_total{type="rds"}') == size + len(
        second.resources[0].packed
    )
    envoy.nacks(second, "no")
    assert await value(desk, 'acks_total{type="rds"}') == 1
    assert await value(desk, 'nacks_total{type="rds"}') == 1
    assert await value(desk, 'pushes_total{type="cds"}') == 0


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_plain_ack_is_counted_once_though_it_is_said_twice(
    desk: Desk, dialect: type[Envoy]
) -> None:
    server = desk.server
    server.publishes(routes("r"))
    envoy = dialect(server)
    envoy.asks(HTTP_ROUTES, "r")
    sent = server.says_next(envoy)
    assert server.hub.accept(envoy.stream, HTTP_ROUTES, sent.nonce)
    assert server.hub.accept(envoy.stream, HTTP_ROUTES, sent.nonce)
    assert await value(desk, 'acks_total{type="rds"}') == 1


async def test_a_stale_request_is_counted(desk: Desk) -> None:
    desk.server.publishes(routes("r"))
    envoy = SotwEnvoy(desk.server)
    envoy.asks(HTTP_ROUTES, "r")
    desk.server.says(envoy)
    envoy.asks(HTTP_ROUTES, "r", nonce="of old")
    assert await value(desk, 'stale_total{type="rds"}') == 1


async def test_counts_outlive_their_streams_and_are_shared_by_all(desk: Desk) -> None:
    desk.server.publishes(cluster("a"), cluster("b"))
    for _ in range(3):
        envoy = SotwEnvoy(desk.server)
        envoy.asks(CLUSTER)
        clusters = desk.server.says_next(envoy)
        envoy.leaves()
    size = sum(len(each.packed) for each in clusters.resources)
    assert await value(desk, 'pushes_total{type="cds"}') == 3
    assert await value(desk, 'push_bytes_total{type="cds"}') == 3 * size
    desk.server.publishes(cluster("c", "larger"))
    envoy = SotwEnvoy(desk.server)
    envoy.asks(CLUSTER)
    larger = sum(len(each.packed) for each in desk.server.says_next(envoy).resources)
    assert await value(desk, 'push_bytes_total{type="cds"}') == 3 * size + larger


async def test_a_type_that_we_do_not_know_is_counted_as_other(desk: Desk) -> None:
    envoy = SotwEnvoy(desk.server)
    envoy.asks(TypeUrl("my/own"), "r")
    desk.server.publishes(*(routes("r"),))
    envoy.asks(TypeUrl("my/own"), "r", nonce="of old")
    assert await value(desk, 'stale_total{type="other"}') == 1


async def test_what_is_served_and_what_is_wrong_is_counted(desk: Desk) -> None:
    assert await value(desk, "scopes") == 0
    await desk.say([*said(service(), subsets()), *SYNCED])
    await desk.envoy()
    assert await value(desk, "scopes") == 2
    assert await value(desk, 'resources{type="cds"}') == 3
    assert await value(desk, 'resources{type="rds"}') == 1
    assert await value(desk, 'resources{type="other"}') == 0
    assert await value(desk, 'rejections{severity="error"}') == 0
    await desk.say([Unreadable(origin="a.yaml", problems=(error("", "no YAML"),))])
    assert await value(desk, 'rejections{severity="error"}') == 1
    assert await value(desk, 'rejections{severity="warning"}') == 0


async def test_a_lost_source_says_since_when_until_it_is_back(desk: Desk) -> None:
    name = 'source_stale_since_seconds{source="folder"}'
    await desk.say(SYNCED)
    assert await value(desk, name) == 0
    await desk.say([SourceLost(source="folder", reason="gone")])
    desk.server.now += 5
    await desk.say([SourceLost(source="folder", reason="still gone")])
    assert await value(desk, name) == 1000.0
    await desk.say(SYNCED)
    assert await value(desk, name) == 0


async def test_a_change_is_measured_when_its_last_proxy_has_it(desk: Desk) -> None:
    await desk.say([*said(service(), subsets(), router("hello", "hello/v1")), *SYNCED])
    envoys = [await desk.envoy() for _ in range(2)]
    for envoy in envoys:
        envoy.asks(HTTP_ROUTES, ROUTE)
        for response in desk.server.says(envoy):
            envoy.acks(response)
    assert await value(desk, "convergence_seconds_count") == 0
    await desk.say(said(router("hello", "hello/v2")))
    first, last = (desk.server.says(envoy) for envoy in envoys)
    assert [response.type_url for response in first] == [HTTP_ROUTES]
    for response in first:
        envoys[0].acks(response)
    assert await value(desk, "convergence_seconds_count") == 0
    assert await value(desk, "convergence_under_way") == 1
    assert await value(desk, "convergence_oldest_seconds") > 0
    for response in last:
        envoys[1].acks(response)
    assert await value(desk, "convergence_seconds_count") == 1
    assert await value(desk, "convergence_under_way") == 0
    assert await value(desk, "convergence_oldest_seconds") == 0


@virtual_time
async def test_a_change_begins_with_its_source_s_event_and_not_with_the_batch() -> None:
    loop = asyncio.get_running_loop()
    server, scopes = Server(), Scopes()
    pipeline = Pipeline(
        hub=server.hub, scopes=scopes, sources=["folder"], clock=loop.time, tenancy=Tenancy()
    )
    running = asyncio.create_task(pipeline.run())
    pipeline.inbox.put([*said(service(), subsets(), router("hello", "hello/v1")), *SYNCED])
    await at(1)
    envoy = SotwEnvoy(server)
    envoy.asks(HTTP_ROUTES, ROUTE)
    envoy.acks(server.says_next(envoy))
    pipeline.inbox.put(said(service()))  # changes nothing, but it begins a burst
    for version in ("v2", "v1", "v2"):
        await asyncio.sleep(0.008)
        pipeline.inbox.put(said(router("hello", f"hello/{version}")))
    await at(2)
    for response in server.says(envoy):
        envoy.acks(response)
    measured = pipeline.convergence.seconds
    assert sum(measured.counts) == 1
    assert measured.total == pytest.approx(2 - 1.008)
    running.cancel()


async def test_a_histogram_is_exported_cumulatively(desk: Desk) -> None:
    for seconds in (0.001, 0.002, 99.0):
        desk.pipeline.convergence.seconds.observe(seconds)
    exported = await desk.metrics()
    prefix = "aeraki_xds_convergence_seconds"
    assert exported[f'{prefix}_bucket{{le="0.001"}}'] == 1
    assert exported[f'{prefix}_bucket{{le="0.0025"}}'] == 2
    assert exported[f'{prefix}_bucket{{le="30.0"}}'] == 2
    assert exported[f'{prefix}_bucket{{le="+Inf"}}'] == 3
    assert exported[f"{prefix}_count"] == 3
    assert exported[f"{prefix}_sum"] == pytest.approx(99.003)


async def test_the_process_is_measured_too(desk: Desk) -> None:
    exported = await desk.metrics()
    assert exported["process_resident_memory_bytes"] > 0
    assert any(name.startswith("python_gc_collections_total") for name in exported)


async def test_two_servers_in_one_process_have_their_own_numbers(desk: Desk) -> None:
    async with opened() as other:
        SotwEnvoy(other.server)
        assert await value(desk, 'connected{dialect="sotw",service="ads"}') == 0
        assert await value(other, 'connected{dialect="sotw",service="ads"}') == 1


# --- lag --------------------------------------------------------------------------------------


@virtual_time
async def test_a_loop_at_rest_is_never_late_and_is_asked_fifty_times_a_second() -> None:
    loop = asyncio.get_running_loop()
    meter = LagMeter(clock=loop.time)
    measuring = asyncio.create_task(meter.run())
    await asyncio.sleep(10.01)
    measuring.cancel()
    assert sum(meter.seconds.counts) == meter.seconds.counts[0] == 500
    assert meter.seconds.total == pytest.approx(0, abs=1e-9)


@virtual_time
async def test_who_blocks_the_loop_is_measured() -> None:
    loop = cast("VirtualLoop", asyncio.get_running_loop())
    meter = LagMeter(clock=loop.time)
    measuring = asyncio.create_task(meter.run())

    def block() -> None:
        loop._virtual.now += 0.75

    loop.call_later(0.05, block)
    await asyncio.sleep(0.85)
    measuring.cancel()
    assert meter.seconds.total == pytest.approx(0.74)
    assert max(n for n, count in enumerate(meter.seconds.counts) if count) == (
        meter.seconds.bounds.index(1.0)
    )
