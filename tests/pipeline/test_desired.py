"""What is to be written into a cluster, as the pipeline hands it over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import yaml

from aeraki_xds.ingest.event import Event, SourceLost, Synced
from aeraki_xds.mesh.change import Delete
from aeraki_xds.mesh.tenancy import Tenancy
from aeraki_xds.pipeline import Pipeline, Scopes
from aeraki_xds.pipeline.desired import Desired
from aeraki_xds.pipeline.scopes import GLOBAL, ISTIO
from aeraki_xds.xds.hub import Hub
from tests.pipeline.test_envoyfilters import broken
from tests.translate.envoyfilter.kit import LIKE_AERAKI, entry, router, service
from tests.translate.golden import events_of

LIMIT = "localRateLimit: {tokenBucket: {maxTokens: 1, tokensPerFill: 1, fillInterval: 1s}}"
SYNCED = Synced(source="cluster")
HOST = "orders.shop.svc.cluster.local"
SECONDS = 10


def said(*manifests: str) -> list[Event]:
    documents = [each for text in manifests for each in yaml.safe_load_all(text)]
    return list(events_of(documents))


class Cluster:
    """A pipeline for Istio, fed by hand."""

    def __init__(self) -> None:
        self.hub = Hub(clock=lambda: 0.0)
        self.pipeline = Pipeline(
            hub=self.hub,
            scopes=Scopes(istio=LIKE_AERAKI),
            sources=["cluster"],
            clock=asyncio.get_running_loop().time,
            tenancy=Tenancy(),
        )

    @property
    def desired(self) -> Desired:
        return self.pipeline.desired

    @property
    def names(self) -> list[str]:
        return sorted(identity.name for identity in self.desired.objects)

    async def hears(self, events: Sequence[Event]) -> None:
        """Something is said, and changes what is desired."""
        self.pipeline.inbox.put(events)
        async with asyncio.timeout(SECONDS):
            await self.desired.changed()


@asynccontextmanager
async def cluster() -> AsyncIterator[Cluster]:
    made = Cluster()
    task = asyncio.ensure_future(made.pipeline.run())
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


BOTH = [
    f"istio-system/aeraki-inbound-{HOST}-9090",
    f"istio-system/aeraki-outbound-{HOST}-10.0.0.1-9090",
]


async def test_nothing_is_desired_before_every_source_has_said_what_it_has() -> None:
    async with cluster() as istio:
        istio.pipeline.inbox.put(said(service()))
        await asyncio.sleep(0.1)
        assert (istio.desired.complete, istio.names) == (False, [])
        await istio.hears([SYNCED])
        assert istio.desired.complete
        assert istio.names == BOTH


async def test_it_follows_what_the_mesh_says() -> None:
    async with cluster() as istio:
        await istio.hears([*said(service()), SYNCED])
        before = dict(istio.desired.objects)
        await istio.hears(said(router(LIMIT)))
        changed = [i.name for i, r in istio.desired.objects.items() if before[i] is not r]
        assert changed == BOTH[:1]
        await istio.hears(
            [Delete(key=event.key) for event in events_of([yaml.safe_load(service())])]
        )
        assert istio.names == []


async def test_it_says_whose_objects_stand_although_nobody_can_decide_about_them() -> None:
    async with cluster() as istio:
        await istio.hears([*said(service(), broken(router(LIMIT))), SYNCED])
        assert istio.names == []
        assert istio.desired.standing == {HOST}
        await istio.hears(said(router(LIMIT)))
        assert istio.names == BOTH
        assert istio.desired.standing == frozenset()


async def test_a_source_that_is_lost_takes_nothing_away() -> None:
    async with cluster() as istio:
        await istio.hears([*said(service()), SYNCED])
        istio.pipeline.inbox.put([SourceLost(source="cluster", reason="gone")])
        await istio.hears(said(entry("other.example")))
        assert set(BOTH) < set(istio.names)
        assert istio.desired.complete


async def test_no_stream_can_see_it() -> None:
    """There may be passwords in it."""
    async with cluster() as istio:
        await istio.hears([*said(service()), SYNCED])
        async with asyncio.timeout(SECONDS):
            while istio.hub.snapshot(GLOBAL) is None:
                await asyncio.sleep(0.01)
        assert istio.hub.snapshot(ISTIO) is None


async def test_without_istio_nothing_is_desired() -> None:
    async with cluster() as istio:
        plain = Pipeline(
            hub=istio.hub,
            scopes=Scopes(),
            sources=["cluster"],
            clock=asyncio.get_running_loop().time,
            tenancy=Tenancy(),
        )
        await plain.apply([*said(service()), SYNCED])
        assert plain.desired.objects == {}
