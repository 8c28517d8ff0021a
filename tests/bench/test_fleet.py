"""Load generators in processes of their own, against a server of this one; and the figures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from time import monotonic_ns, thread_time

import pytest

from aeraki_xds.bench.client import LostError, stamp
from aeraki_xds.bench.fleet import Delivered, Fleet, fleet
from aeraki_xds.bench.load import Load, Node
from aeraki_xds.bench.process import cpu_s, resident_kb
from aeraki_xds.bench.report import as_json, table
from aeraki_xds.bench.rounds import Cost, Figures, Rounds, Timed, percentile
from aeraki_xds.settings import TlsFiles
from aeraki_xds.xds import HTTP_ROUTES, Hub, Resource, Scope
from aeraki_xds.xds.wire import ServerTls, XdsServer
from tests.pki import Authority
from tests.xds.dialogue import routes

EVERYONE = Scope("everyone")
PATIENCE = 20.0


class Served:
    """A server of this process; as `Rounds` sees it, too."""

    def __init__(self, hub: Hub, load: Load) -> None:
        self.hub = hub
        self.load = load
        self.expected: list[int] = []
        self._round = 0

    def publish_all(self, *resources: Resource) -> None:
        self.hub.publish(EVERYONE, {each.id: each for each in resources})

    async def expect(self, *, acks: int) -> None:
        self.expected.append(acks)

    async def publish(self, *, acks: int) -> int:
        self.expected.append(acks)
        self._round += 1
        at_ns = monotonic_ns()
        self.publish_all(routes("svc-0", f"round {self._round}"))
        return at_ns

    async def acked(self) -> int | None:
        while not all(
            status.acked_nonce == status.sent_nonce
            for stream in self.hub.streams
            for status in stream.status.values()
        ):
            await asyncio.sleep(0.001)
        return monotonic_ns()

    async def cpu_s(self) -> float | None:
        return thread_time()

    async def memory_kb(self) -> float | None:
        return 1000.0 + 10 * len(self.hub.streams)


@asynccontextmanager
async def serving(load: Load, tls: TlsFiles | None = None) -> AsyncIterator[Served]:
    hub = Hub(clock=lambda: 0.0)
    server = XdsServer(hub=hub, admit=lambda node, peer, *, only: (EVERYONE,))
    context = None
    if tls is not None:
        context = ServerTls(certificate=tls.certificate, key=tls.key, roots=tls.roots).context
    host, port = await server.start("127.0.0.1", 0, tls=context)
    served = Served(hub, replace(load, host=host, port=port))
    served.publish_all(*(routes(f"svc-{n}") for n in range(load.services)))
    try:
        async with asyncio.timeout(60):
            yield served
    finally:
        await server.close()


@asynccontextmanager
async def loaded(load: Load, *, processes: int = 1) -> AsyncIterator[tuple[Served, Fleet]]:
    async with (
        serving(load) as served,
        fleet(served.load, processes=processes, patience=PATIENCE) as made,
    ):
        yield served, made


LOAD = Load(host="", port=0, streams=12, name="svc-{n}", services=3, node=Node.ID)


@pytest.mark.parametrize("processes", [1, 3])
async def test_every_stream_of_every_process_is_served(processes: int) -> None:
    async with loaded(replace(LOAD, per_connection=2), processes=processes) as (served, made):
        seen: list[int] = []
        delivered, refused = await made.connect(seen.append)
        assert (delivered.responses, refused) == (12, 0)
        assert len(delivered.moments_ns) == 12
        assert seen[-1] == 12
        assert len(served.hub.streams) == 12
        assert len({stream.node.id for stream in served.hub.streams}) == 6


async def test_a_round_is_over_when_those_who_ask_for_the_name_have_it() -> None:
    async with loaded(LOAD, processes=2) as (served, made):
        await made.connect()
        assert await made.begin("svc-1") == 4
        served.publish_all(routes("svc-1", "changed"))
        delivered = await made.delivered()
        assert delivered.responses == len(delivered.moments_ns) == 4
        assert delivered.began_ns < delivered.moments_ns[0] <= delivered.moments_ns[-1]
        assert delivered.bytes_received > 4 * 20


async def test_who_does_not_ask_for_it_is_sent_nothing() -> None:
    async with loaded(LOAD) as (served, made):
        await made.connect()
        assert await made.begin("svc-7") == 0
        served.publish_all(routes("svc-7"))
        async with fleet(replace(served.load, streams=1, services=1)) as another:
            await another.connect()  # by now the others would have it
        counted = await made.count()
        assert (counted.responses, counted.bytes_received) == (0, 0)


@pytest.mark.parametrize("delta", [True, False])
async def test_large_nodes_wait_for_the_servers_windows(*, delta: bool) -> None:
    load = replace(LOAD, streams=9, per_connection=9, node=Node.ENVOY, delta=delta)
    async with loaded(load) as (served, made):
        delivered, _ = await made.connect()
        assert delivered.responses == 9
        await served.acked()
        assert {len(stream.node.extensions_digest) for stream in served.hub.streams} == {16}


async def test_acks_that_are_held_back_go_out_when_they_are_released() -> None:
    async with loaded(LOAD) as (served, made):
        await made.connect()
        await served.acked()
        await made.hold_acks()
        await made.begin("svc-0")
        await served.publish(acks=4)
        await made.delivered()
        waiting = [stream.status_of(HTTP_ROUTES) for stream in served.hub.streams]
        assert sum(status.acked_nonce != status.sent_nonce for status in waiting) == 4
        await made.release_acks()
        await served.acked()


async def test_who_is_deaf_asks_and_is_not_waited_for() -> None:
    async with loaded(replace(LOAD, deaf=3), processes=2) as (served, made):
        delivered, _ = await made.connect()
        assert delivered.responses == 9
        while len(served.hub.streams) < 12:
            await asyncio.sleep(0.001)
        assert sum([await made.begin(f"svc-{n}") for n in range(3)]) == 9


async def test_a_response_says_how_old_it_is() -> None:
    async with loaded(replace(LOAD, services=1)) as (served, made):
        await made.connect()
        assert await made.ages_ns() == []
        await made.begin()
        served.publish_all(routes("svc-0", stamp(monotonic_ns() - 5_000_000_000)))
        await made.delivered()
        ages = await made.ages_ns()
        assert len(ages) == 12
        assert all(5e9 < age < 60e9 for age in ages)


async def test_mutual_tls_is_spoken_with_the_files_of_the_load(tmp_path: Path) -> None:
    mesh = Authority("root")
    ours, theirs = (
        mesh.workload(f"spiffe://cluster.local/ns/a/sa/{who}").write(tmp_path / who)
        for who in ("ours", "theirs")
    )
    load = replace(LOAD, tls=theirs)
    async with serving(load, tls=ours) as served, fleet(served.load) as made:
        await made.connect()
        identities = {str(stream.peer.identity) for stream in served.hub.streams}
        assert identities == {"spiffe://cluster.local/ns/a/sa/theirs"}


async def test_nobody_there_is_an_error() -> None:
    async with fleet(replace(LOAD, host="127.0.0.1", port=1)) as made:
        with pytest.raises(LostError, match="Connection refused"):
            await made.connect()


async def test_a_round_that_does_not_end_is_an_error_that_says_how_far_it_came() -> None:
    async with serving(LOAD) as served, fleet(served.load, patience=0.5) as made:
        await made.connect()
        await made.begin()
        served.publish_all(routes("svc-1", "changed"))
        with pytest.raises(LostError, match=r"^4 responses have come in 0\.5 s"):
            await made.delivered()


async def test_a_stream_that_is_never_served_is_an_error() -> None:
    async with (
        serving(LOAD) as served,
        fleet(replace(served.load, services=4), patience=0.5) as made,
    ):
        with pytest.raises(LostError, match="9 of 12 streams were served"):
            await made.connect()


# --- rounds -------------------------------------------------------------------------------------


async def test_rounds_are_timed_and_what_they_cost_the_server_is_known() -> None:
    async with loaded(replace(LOAD, services=1)) as (served, made):
        rounds = Rounds(fleet=made, target=served)
        await rounds.connect()
        await rounds.run(3)
        found = rounds.figures
        assert served.expected == [12] * (1 + 2 * (3 + 2))
        assert (found.streams, found.connections, found.kb_grown) == (12, 12, 120.0)
        assert len(found.timed) == len(found.costs) == 3
        for timed in found.timed:
            assert 0 < timed.first <= timed.half <= timed.p99 <= timed.last < timed.acked
        assert all(cost.send_us > 0 < cost.ack_us for cost in found.costs)
        assert "send, CPU a stream" in table(found)
        assert b'"harness_bound"' in as_json(made.load, found)


async def test_only_those_concerned_share_the_cost() -> None:
    async with loaded(LOAD) as (served, made):
        rounds = Rounds(fleet=made, target=served, name="svc-0")
        await rounds.connect()
        await rounds.run(1)
        assert served.expected == [12] + [4] * 6


def delivered(*moments_ms: float, busy_s: float = 0.0) -> Delivered:
    return Delivered(
        began_ns=0, moments_ns=[int(ms * 1e6) for ms in moments_ms], last_ack_ns=9_000_000,
        responses=len(moments_ms), bytes_received=0, busy_s=busy_s,
    )  # fmt: skip


def test_times_count_from_the_change() -> None:
    timed = Timed.of(delivered(2, 3, 4, 6), at_ns=1_000_000, acked_ns=None)
    assert (timed.first, timed.half, timed.p99, timed.last, timed.acked) == (1, 2, 5, 5, 8)
    told = Timed.of(delivered(2, 3, 4, 6), at_ns=1_000_000, acked_ns=11_000_000)
    assert told.acked == 10


def test_a_harness_that_is_busy_all_the_time_says_so() -> None:
    figures = Figures(streams=1, connections=1, costs=[Cost(send_us=1, ack_us=1)])
    for busy_s, bound in ((0.0085, False), (0.0095, True)):
        figures.timed = [Timed.of(delivered(10, busy_s=busy_s), at_ns=0, acked_ns=None)]
        assert figures.harness_bound is bound
        assert ("The harness took 95% of a core" in table(figures)) is bound


def test_a_percentile_is_a_value_that_not_more_than_its_share_are_below() -> None:
    assert [percentile(range(1, 101), share) for share in (0.5, 0.99, 0.999, 1.0)] == [
        50,
        99,
        100,
        100,
    ]
    assert percentile([3.0], 0.5) == 3.0


async def test_a_process_is_seen_from_outside() -> None:
    child = await asyncio.create_subprocess_exec("sh", "-c", "i=0; while :; do i=$((i+1)); done")
    try:
        before = cpu_s(child.pid)
        async with asyncio.timeout(PATIENCE):
            while cpu_s(child.pid) < before + 0.02:
                await asyncio.sleep(0.001)
        assert 100 < resident_kb(child.pid) < 100_000
    finally:
        child.kill()
        await child.wait()
    with pytest.raises(OSError):  # noqa: PT011
        cpu_s(child.pid)
