"""What the tests of clusters share: manifests, what was heard of a source, and both in real HTTP.

Every wait is for a condition and bounded; nothing sleeps and hopes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

from aeraki_xds.ingest.event import Delete, Event, Rejected, SourceLost, Synced, Upsert
from aeraki_xds.ingest.kubernetes.client import Cluster
from aeraki_xds.ingest.kubernetes.kinds import Watched
from aeraki_xds.ingest.kubernetes.reflector import Pace, Reflector
from aeraki_xds.ingest.kubernetes.replica import Replica
from aeraki_xds.mesh.names import Key, Kind, Namespace
from aeraki_xds.mesh.objects import DestinationRule
from tests.apiserver.faults import Faults
from tests.apiserver.server import ApiServer

PATIENCE = 30.0
"""Seconds that a condition may take to come true on a machine that is busy with other tests."""

RULES = Watched(kind=Kind.DESTINATION_RULE)
"""A kind without much ado: its objects say one word, the host."""

SOURCE = "kubernetes/DestinationRule"


def key(name: str, namespace: str = "shop") -> Key:
    """The key of the object that `rule` writes down."""
    return Key(Kind.DESTINATION_RULE, Namespace(namespace), name)


def rule(name: str, host: str = "a", **metadata: str) -> dict[str, Any]:
    """A DestinationRule in namespace `shop`."""
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": name, "namespace": "shop", **metadata},
        "spec": {"host": host},
    }


class Heard:
    """Listens to a source, and holds what a consumer would."""

    def __init__(self) -> None:
        self.batches: list[list[Event]] = []
        self.objects: dict[Key, Upsert | Rejected] = {}
        self.deleted: list[Key] = []
        self.states: list[Synced | SourceLost] = []
        self._news = asyncio.Event()

    def __call__(self, events: Sequence[Event]) -> None:
        assert events, "an empty batch says nothing"
        self.batches.append(list(events))
        for event in events:
            match event:
                case Upsert() | Rejected():
                    self.objects[event.key] = event
                case Delete():
                    self.objects.pop(event.key, None)
                    self.deleted.append(event.key)
                case Synced() | SourceLost():
                    self.states.append(event)
                case _:
                    raise AssertionError(event)
        self._news.set()

    @property
    def hosts(self) -> dict[str, str]:
        """Name → host of the rules that are there."""
        return {
            each.key.name: each.item.spec.host
            for each in self.objects.values()
            if isinstance(each, Upsert) and isinstance(each.item, DestinationRule)
        }

    @property
    def is_synced(self) -> bool:
        """Whether that is what the source said last of itself."""
        return bool(self.states) and isinstance(self.states[-1], Synced)

    @property
    def is_lost(self) -> bool:
        """Whether that is what the source said last of itself."""
        return bool(self.states) and isinstance(self.states[-1], SourceLost)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until it is true after something was heard."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._news.clear()
                await self._news.wait()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that nobody announces."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.005)


async def hurried(_seconds: float) -> None:
    """A sleep for tests that are not about waiting: as short as it can be without a busy loop."""
    await asyncio.sleep(0.01)


@asynccontextmanager
async def following(
    url_of: ApiServer | Faults,
    folder: Path,
    *,
    api: ApiServer,
    watched: Watched = RULES,
    pace: Pace | None = None,
) -> AsyncIterator[Heard]:
    """A reflector at work, through real HTTP; its waits take no time."""
    path = folder / "kubeconfig"
    api.kubeconfig(path, url=url_of.url)
    async with reflecting(path, watched, pace) as heard:
        yield heard


@asynccontextmanager
async def reflecting(
    path: Path, watched: Watched = RULES, pace: Pace | None = None
) -> AsyncIterator[Heard]:
    """A reflector at work in the cluster of a kubeconfig."""
    heard = Heard()
    async with Cluster.of_kubeconfig(path) as cluster:
        reflector = Reflector(
            connection=cluster,
            replica=Replica(watched, source=f"kubernetes/{watched.kind}", random=Random(1)),
            emit=heard,
            pace=pace or Pace(sleep=hurried, random=Random(1)),
        )
        task = asyncio.create_task(reflector.run())
        try:
            yield heard
        finally:
            assert not task.done(), task
            task.cancel()
            await asyncio.wait((task,))
