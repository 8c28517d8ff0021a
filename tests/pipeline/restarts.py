"""A pipeline that dies and comes back: what one life kept is what the next one is given.

What is kept goes through real rows, as it would on its way to a disk and back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aeraki_xds.ingest.event import Event
from aeraki_xds.mesh.tenancy import Tenancy
from aeraki_xds.pipeline import Pipeline, Scopes
from aeraki_xds.pipeline.last_good import Changes, LastGood
from aeraki_xds.state.records import Row, removals, restored, rows
from aeraki_xds.xds.admission import Node
from aeraki_xds.xds.resource import ResourceId, Scope, TypeUrl
from tests.xds.dialogue import PEER, Server, SotwEnvoy


class Disk:
    """Rows without a file."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], Row] = {}
        self.told = 0

    def note(self, changes: Changes) -> None:
        """Write what changed."""
        self.told += 1
        for place in removals(changes):
            gone = [at for at in self.rows if place in (at, (at[0], None))]
            for at in gone:
                del self.rows[at]
        self.rows.update({(row.what, row.name): row for row in rows(changes)})

    def spoil(self, text: str) -> None:
        """Damage the bodies of the rows whose name contains a text."""
        spoilt = {at: row for at, row in self.rows.items() if text in row.name}
        assert spoilt
        self.rows.update({at: _spoilt(row) for at, row in spoilt.items()})

    @property
    def last_good(self) -> LastGood:
        """What the next life is given."""
        return restored(self.rows.values()).last_good


def _spoilt(row: Row) -> Row:
    """The row with another body that still is JSON."""
    return row._replace(body=row.body.replace(b"hello", b"other", 1))


class Life:
    """One process: a pipeline with a hub, and the hand that feeds it."""

    def __init__(self, disk: Disk, *, sources: Sequence[str] = ("folder",)) -> None:
        self.server = Server()
        self.scopes = Scopes()
        self.pipeline = Pipeline(
            hub=self.server.hub,
            scopes=self.scopes,
            sources=sources,
            clock=asyncio.get_running_loop().time,
            tenancy=Tenancy(),
        )
        self.pipeline.on_changed = disk.note

    async def say(self, *events: Event) -> None:
        """Say something and let it take its way."""
        self.pipeline.inbox.put(events)
        await asyncio.sleep(0.2)

    def envoy(self, **metadata: object) -> SotwEnvoy:
        """A stock Envoy on an aggregated stream."""
        admitted = self.scopes.admit(Node(id="envoy", metadata=metadata), PEER, only=None)
        assert isinstance(admitted, tuple)
        return SotwEnvoy(self.server, scopes=admitted)

    @property
    def serves(self) -> bool:
        """Whether anything is published."""
        return self.server.hub.serving

    def names(self, scope: Scope, type_url: TypeUrl) -> set[str]:
        """What a scope holds of a type."""
        return {identity.name for identity in self.holds(scope) if identity.type_url == type_url}

    def holds(self, scope: Scope) -> dict[ResourceId, str]:
        """Everything that a scope holds, by version."""
        snapshot = self.server.hub.snapshot(scope)
        assert snapshot is not None
        return {
            ResourceId(type_url, name): resource.version
            for type_url, collection in snapshot.collections.items()
            for name, resource in collection.resources.items()
        }

    @property
    def problems(self) -> list[str]:
        """What the report says."""
        return [str(entry) for entry in self.pipeline.report]


@asynccontextmanager
async def life(
    disk: Disk, *events: Event, sources: Sequence[str] = ("folder",), whole: bool = True
) -> AsyncIterator[Life]:
    """A process that goes on from the disk and was told these events; dead at the end."""
    begun = Life(disk, sources=sources)
    last_good = disk.last_good
    assert last_good.whole is whole
    await begun.pipeline.restore(last_good)
    async with asyncio.TaskGroup() as tasks:
        work = tasks.create_task(begun.pipeline.run())
        try:
            if events:
                await begun.say(*events)
            yield begun
        finally:
            work.cancel()
