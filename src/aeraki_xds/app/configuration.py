"""Where the configuration is, and what else has to be done there.

In: settings. Out: a source for the pipeline, and the work that follows from what the pipeline makes
of it: nothing for a folder, EnvoyFilters for a cluster.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from aeraki_xds.ingest.decode import decode
from aeraki_xds.ingest.event import Emit
from aeraki_xds.ingest.files import FileSource
from aeraki_xds.pipeline import Pipeline
from aeraki_xds.pipeline.last_good import LastGood
from aeraki_xds.pipeline.written import WriteState
from aeraki_xds.settings import ClusterSettings, ServeSettings
from aeraki_xds.translate.envoyfilter.profile import EnvoyFilters


class Configuration(Protocol):
    """A source, and who tends it. `names` are those that say `Synced`; `istio` is how EnvoyFilters
    are made, and `written` how the writing of them goes, if they are."""

    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def istio(self) -> EnvoyFilters | None: ...
    @property
    def written(self) -> WriteState | None: ...

    async def run(self, emit: Emit) -> None:
        """Say what the configuration is until cancelled."""

    async def tend(self, pipeline: Pipeline) -> None:
        """Do what follows from it until cancelled."""

    def remember(self, last_good: LastGood) -> None:
        """What was in force before a restart."""


class Folder:
    """A folder of manifests."""

    istio = None
    written = None

    def __init__(self, root: Path) -> None:
        self._source = FileSource(root=root, decode=decode)
        self.names = (self._source.name,)

    async def run(self, emit: Emit) -> None:
        """Watch it."""
        await self._source.run(emit)

    async def tend(self, pipeline: Pipeline) -> None:
        """There is nothing to do."""

    def remember(self, last_good: LastGood) -> None:
        """Which files there were."""
        self._source.remembered = last_good.origins


@asynccontextmanager
async def opened(settings: ServeSettings) -> AsyncIterator[Configuration]:
    """The configuration that the settings name. Raises ConfigurationError."""
    match settings.source:
        case Path():
            yield Folder(settings.source)
        case ClusterSettings():
            from aeraki_xds.app.cluster import Cluster

            async with Cluster.opened(settings.source, settings.tenancy) as cluster:
                yield cluster
