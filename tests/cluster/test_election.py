"""The lock of the writers at a real API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import orjson
import pytest

from aeraki_xds.ingest.kubernetes.client import Cluster
from aeraki_xds.writeback.election import ANNOTATION, LOCK, Election, Timing
from tests.cluster.kit import Hand
from tests.cluster.real import Real
from tests.ingest.kubernetes.kit import until

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]

MAP = f"/api/v1/namespaces/istio-system/configmaps/{LOCK}"
QUICK = Timing(lease=6, renew_deadline=4, retry=0.5, margin=0.5)


@asynccontextmanager
async def electors(real: Real, folder: Path, *names: str) -> AsyncIterator[list[Election]]:
    """Electors that take part when they are told to; never do two of them lead."""
    async with AsyncExitStack() as stack:
        path = real.kubeconfig(folder / "kubeconfig")
        found = []
        for name in names:
            cluster = await stack.enter_async_context(Cluster.of_kubeconfig(path))
            found.append(Election(cluster, namespace="istio-system", identity=name, timing=QUICK))
        watch = asyncio.create_task(_until_two_lead(found))
        try:
            yield found
        finally:
            assert not watch.done(), "two led at the same time"
            watch.cancel()


async def _until_two_lead(electors: list[Election]) -> None:
    while sum(each.is_leader() for each in electors) < 2:
        await asyncio.sleep(0.005)


async def holder(hand: Hand) -> str:
    _, found = await hand.client.get(MAP)
    return str(orjson.loads(found["metadata"]["annotations"][ANNOTATION])["holderIdentity"])


async def test_of_two_one_leads_and_the_other_takes_over_when_it_ends(
    real: Real, hand: Hand, tmp_path: Path
) -> None:
    await hand.client.ask("DELETE", MAP)
    async with electors(real, tmp_path, "one", "two") as (one, two):
        async with AsyncExitStack() as stack:
            async with one.running():
                await until(one.is_leader)
                await stack.enter_async_context(two.running())
                await until(lambda: two.holder == "one")
                assert await holder(hand) == "one"
                assert not two.is_leader()
            await until(two.is_leader)
            assert await holder(hand) == "two"
        assert await holder(hand) == ""


async def test_who_starts_at_the_same_moment_does_not_lead_at_the_same_moment(
    real: Real, hand: Hand, tmp_path: Path
) -> None:
    """Ten race to make the ConfigMap; nine are told that it exists already."""
    await hand.client.ask("DELETE", MAP)
    names = [f"elector-{n}" for n in range(10)]
    async with electors(real, tmp_path, *names) as racing, AsyncExitStack() as stack:
        for each in racing:
            await stack.enter_async_context(each.running())
        await until(lambda: any(each.is_leader() for each in racing))
        (leading,) = [each for each in racing if each.is_leader()]
        await until(lambda: {each.holder for each in racing} == {leading.identity})
        assert {each.error for each in racing} == {""}


async def test_the_lock_outlives_a_restart_of_the_server(
    real: Real, hand: Hand, tmp_path: Path
) -> None:
    await hand.client.ask("DELETE", MAP)
    async with (
        electors(real, tmp_path, "one", "two") as (one, two),
        one.running(),
        two.running(),
    ):
        await until(lambda: one.is_leader() or two.is_leader())
        async with real.down():
            pass
        await until(lambda: one.is_leader() or two.is_leader())
        await until(lambda: not one.error and not two.error)


async def test_who_loses_the_server_stops_leading_before_another_may(
    real: Real, hand: Hand, tmp_path: Path
) -> None:
    await hand.client.ask("DELETE", MAP)
    async with electors(real, tmp_path, "one") as (one,), one.running():
        await until(one.is_leader)
        async with real.down():
            await until(lambda: not one.is_leader())
        await until(one.is_leader)
