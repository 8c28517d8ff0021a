"""From a batch of events to publications: store, graph, compose, ledger, hub, in that order.

In: batches of the inbox; scopes that streams want. Out: `hub.publish`, and the state that the
admin pages show. Guaranteed: nothing is published before every source is synced; a host that
cannot be composed keeps its last good output; only affected hosts are composed, each once per
recipe whatever the number of scopes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from aeraki_xds.ingest.event import Event, SourceLost, Synced, Unreadable
from aeraki_xds.mesh.change import Delete, ObjectEvent, Rejected, Upsert
from aeraki_xds.mesh.graph import Graph
from aeraki_xds.mesh.names import Host, Key
from aeraki_xds.mesh.problems import Finding
from aeraki_xds.mesh.store import Store
from aeraki_xds.mesh.tenancy import Tenancy
from aeraki_xds.pipeline.coalesce import Inbox
from aeraki_xds.pipeline.composer import Composer, conflicts
from aeraki_xds.pipeline.ledger import Ledger
from aeraki_xds.pipeline.report import Entry, entries
from aeraki_xds.pipeline.scopes import GLOBAL, Scopes
from aeraki_xds.translate.compose import Recipe
from aeraki_xds.xds.hub import Hub
from aeraki_xds.xds.resource import Scope
from aeraki_xds.xds.tally import Change, Convergence

_SLICE: Final = 0.005
"""Seconds of composing after which the loop gets its turn."""

_IDLE: Final = 60.0
"""Seconds for which a scope outlives its last stream: a restarting proxy finds it composed."""


@dataclass(slots=True, kw_only=True)
class SourceState:
    """What is known of a source; `stale` says why it is lost, empty while it is not, and
    `stale_since` the moment, in seconds since the epoch.
    """

    synced: bool = False
    stale: str = ""
    stale_since: float = 0.0


class Pipeline:
    """The one writer of store, graph and hub. `sources` are the names that must say `Synced`."""

    def __init__(
        self,
        *,
        hub: Hub,
        scopes: Scopes,
        sources: Iterable[str],
        clock: Callable[[], float],
        tenancy: Tenancy,
    ) -> None:
        self.store: Final = Store()
        self.graph: Final = Graph(tenancy=tenancy)
        self.inbox: Final = Inbox(clock=clock)
        self.convergence: Final = Convergence(clock=clock)
        self.sources: Final = {name: SourceState() for name in sources}
        self.unreadable: dict[str, Unreadable] = {}
        self._hub = hub
        self._scopes = scopes
        self._clock = clock
        self._composers: dict[Recipe, Composer] = {}
        self._ledgers: dict[Scope, Ledger] = {}
        self._wanted: set[Scope] = {GLOBAL}
        self._expired: set[Scope] = set()
        self._expiries: dict[Scope, asyncio.TimerHandle] = {}
        self._work = asyncio.Event()
        self._turn = asyncio.Lock()
        self._log = structlog.get_logger("aeraki_xds.pipeline")
        hub.on_wanted = self._want
        hub.on_idle = self._expire_later

    @property
    def synced(self) -> bool:
        """Whether every source has said all that it had at start."""
        return all(source.synced for source in self.sources.values())

    @property
    def report(self) -> list[Entry]:
        """Everything that is wrong with the configuration now."""
        findings = [f for found in self.graph.verdicts.values() for f in found]
        findings += (f for composer in self._composers.values() for f in composer.findings)
        for ledger in self._ledgers.values():
            findings += conflicts(self.graph, ledger)
        return entries(self.store, self.unreadable.values(), findings)

    async def run(self) -> None:
        """Apply batches and open scopes until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._apply_batches())
            tasks.create_task(self._tend_scopes())

    async def apply(self, events: Iterable[Event], *, since: float | None = None) -> None:
        """Take one batch to its publications; its first event was said at `since`, or just now."""
        async with self._turn:
            started = self._clock()
            changes = self.store.apply(self._note(events))
            verdicts = {change.key: self.graph.verdicts.get(change.key, ()) for change in changes}
            affected = self.graph.update(changes) | self._look()
            self._log_verdicts(verdicts)
            if not self.synced:
                return
            change = self.convergence.begin(started if since is None else since)
            woken = await self._recompose(affected, change)
            change.published()
            await self._open_wanted()
            self._log.info(
                "configuration applied",
                objects=len(changes),
                hosts=len(affected),
                streams_woken=woken,
                milliseconds=round((self._clock() - started) * 1000, 1),
            )

    def _look(self) -> frozenset[Host]:
        """Whether something hides what it is about; every host is affected when that changes."""
        blind = self.store.hides_a_router() or any(u.hides for u in self.unreadable.values())
        if blind == self.graph.blind:
            return frozenset()
        self.graph.blind = blind
        return self.graph.hosts

    def _log_verdicts(self, before: Mapping[Key, tuple[Finding, ...]]) -> None:
        """What a change made wrong, once."""
        for key, known in before.items():
            for finding in self.graph.verdicts.get(key, ()):
                if finding not in known:
                    self._log.warning("found", object=str(key), problem=str(finding.problem))

    async def _apply_batches(self) -> None:
        while True:
            events = await self.inbox.take()
            await self.apply(events, since=self.inbox.first_at)

    async def _tend_scopes(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            async with self._turn:
                self._close_expired()
                if self.synced:
                    await self._open_wanted()

    def _note(self, events: Iterable[Event]) -> list[ObjectEvent]:
        """Keep what is said of files and sources, and pass on what is said of objects."""
        about_objects: list[ObjectEvent] = []
        for event in events:
            match event:
                case Synced():
                    self.sources[event.source] = SourceState(synced=True)
                    self._log.info("source synced", source=event.source)
                case SourceLost():
                    state = self.sources[event.source]
                    state.stale_since = state.stale_since or self._hub.now()
                    state.stale = event.reason
                    self._log.error("source lost", source=event.source, reason=event.reason)
                case Unreadable():
                    self.unreadable[event.origin] = event
                    if not event.problems:
                        del self.unreadable[event.origin]
                    for problem in event.problems:
                        self._log.warning("unreadable", file=event.origin, problem=str(problem))
                case Rejected():
                    kept = event.key in self.store.objects
                    for problem in event.problems:
                        self._log.warning(
                            "rejected",
                            file=event.origin,
                            object=str(event.key),
                            problem=str(problem),
                            last_good_kept=kept,
                        )
                    about_objects.append(event)
                case Upsert():
                    for problem in event.problems:
                        self._log.warning("found", object=str(event.key), problem=str(problem))
                    about_objects.append(event)
                case Delete():
                    about_objects.append(event)
        return about_objects

    async def _recompose(self, hosts: frozenset[Host], change: Change) -> int:
        """Compose the hosts for every recipe in use and publish; returns the streams woken."""
        settled = {
            recipe: await self._compose(composer, hosts)
            for recipe, composer in self._composers.items()
        }
        woken = 0
        for scope, ledger in self._ledgers.items():
            changed = settled[self._scopes.specs[scope].recipe]
            woken += self._publish(scope, ledger, changed | hosts, change)
        return woken

    async def _compose(self, composer: Composer, hosts: Iterable[Host]) -> frozenset[Host]:
        """Compose hosts one by one, giving the loop its turn between them; returns whose claims
        may differ."""
        since = self._clock()
        for host in sorted(hosts):
            composer.compose(host)
            if self._clock() - since > _SLICE:
                await asyncio.sleep(0)
                since = self._clock()
        return composer.settle()

    def _publish(
        self, scope: Scope, ledger: Ledger, hosts: Iterable[Host], change: Change | None = None
    ) -> int:
        spec = self._scopes.specs[scope]
        composer = self._composers[spec.recipe]
        for host in hosts:
            composer.hand_over(host, spec, ledger)
        return self._hub.publish(scope, ledger.settle(), change).woken

    def _want(self, scope: Scope) -> None:
        self._wanted.add(scope)
        self._work.set()

    async def _open_wanted(self) -> None:
        """Compose scopes that a stream waits for; until then its sessions are silent."""
        while self._wanted:
            scope = self._wanted.pop()
            if scope in self._ledgers:
                continue
            recipe = self._scopes.specs[scope].recipe
            hosts = self.graph.hosts
            if recipe not in self._composers:
                composer = Composer(graph=self.graph, recipe=recipe)
                await self._compose(composer, hosts)
                self._composers[recipe] = composer
            ledger = self._ledgers[scope] = Ledger()
            self._publish(scope, ledger, hosts)
            self._log.info("scope composed", scope=scope, resources=len(ledger.in_force))

    def _expire_later(self, scope: Scope) -> None:
        """The minute begins anew with each last stream."""
        if scope == GLOBAL:
            return
        if scope in self._expiries:
            self._expiries[scope].cancel()
        loop = asyncio.get_running_loop()
        self._expiries[scope] = loop.call_later(_IDLE, self._expire, scope)

    def _expire(self, scope: Scope) -> None:
        del self._expiries[scope]
        self._expired.add(scope)
        self._work.set()

    def _close_expired(self) -> None:
        for scope in self._expired.difference(self._hub.scopes):
            self._ledgers.pop(scope, None)
            self._hub.drop(scope)
        self._expired.clear()
        used = {self._scopes.specs[scope].recipe for scope in self._ledgers}
        for recipe in self._composers.keys() - used:
            del self._composers[recipe]
