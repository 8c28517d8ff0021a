"""A writer at work on the test API server, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aeraki_xds.ingest.kubernetes.client import Cluster
from aeraki_xds.pipeline.desired import Desired
from aeraki_xds.writeback.objects import Install
from aeraki_xds.writeback.pace import Rate
from aeraki_xds.writeback.planner import Planner
from aeraki_xds.writeback.writer import Writer
from tests.apiserver.kinds import Call
from tests.apiserver.kit import until
from tests.apiserver.server import ApiServer
from tests.writeback.kit import OURS, Json, want

WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
FAST = Rate(per_second=10_000, burst=10_000)


@dataclass(slots=True, kw_only=True)
class Chosen:
    """A leader by decree, and as long as it `holds` the lock."""

    leads: bool = True
    holds: Callable[[], bool] = lambda: True
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def is_leader(self) -> bool:
        return self.leads and self.holds()

    def set(self, *, leads: bool) -> None:
        self.leads = leads
        self._changed.set()

    async def changed(self) -> None:
        await self._changed.wait()
        self._changed.clear()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A writer and all that it works on."""

    api: ApiServer
    desired: Desired
    leader: Chosen
    planner: Planner
    writer: Writer

    def want(self, *manifests: Json, standing: tuple[str, ...] = (), complete: bool = True) -> None:
        want(self.desired, *manifests, standing=standing, complete=complete)

    @property
    def writes(self) -> list[Call]:
        return writes_of(self.api)

    @contextlib.contextmanager
    def before_a_write(self) -> Iterator[None]:
        """What happens meanwhile happens after the writer decided to write, and before it does."""
        turn, gate = self.writer._pace.turn, asyncio.Event()
        self.writer._pace.turn = gate.wait  # type: ignore[assignment, method-assign]
        try:
            yield
        finally:
            self.writer._pace.turn = turn  # type: ignore[method-assign]
            gate.set()

    async def replanned(self) -> None:
        """Wait until the writer has thought about it once more."""
        self.planner.work.set()
        await until(lambda: not self.planner.work.is_set())
        await until(lambda: not self.writer.is_busy)

    async def done(self) -> None:
        """Wait until everything that can be written is."""
        await until(lambda: self.is_settled)

    @property
    def is_settled(self) -> bool:
        return (
            self.planner.is_complete
            and not self.planner.work.is_set()
            and set(self.planner.wanted) == {_id(each) for each in self.desired.objects}
            and not self.writer.is_busy
            and self.writer.state.pending == 0
        )


def _id(identity: tuple[str, str]) -> tuple[str, str, str]:
    kind, (namespace, _, name) = identity[0].rpartition("/")[2], identity[1].partition("/")
    return kind, namespace, name


def writes_of(api: ApiServer) -> list[Call]:
    """What somebody altered through HTTP, in order."""
    return [call for call in api.calls if call.verb in WRITES]


@asynccontextmanager
async def at_work(
    api: ApiServer,
    folder: Path,
    *manifests: Json,
    url: str = "",
    install: Install = OURS,
    leads: bool = True,
    complete: bool = True,
    rate: Rate = FAST,
    clock: Callable[[], float] | None = None,
) -> AsyncIterator[Bench]:
    """A writer for which these objects are wanted, until it is killed."""
    desired, leader = Desired(), Chosen(leads=leads)
    want(desired, *manifests, complete=complete)
    config = api.kubeconfig(folder / "kubeconfig", url=url or api.url)
    async with Cluster.of_kubeconfig(config) as cluster:
        planner = Planner(cluster, desired, install, any_order=install.adopts)
        more = {} if clock is None else {"clock": clock}
        writer = Writer(cluster, planner, leader, rate=rate, **more)
        task = asyncio.create_task(writer.run())
        try:
            yield Bench(api=api, desired=desired, leader=leader, planner=planner, writer=writer)
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
