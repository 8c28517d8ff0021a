"""From a batch of events to publications: store, graph, compose, ledger, hub, in that order.

In: batches of the inbox; scopes that streams want; what was in force before a restart. Out:
`hub.put`, what changed of what is in force, and the state that the admin pages show.
Guaranteed: nothing is published before every source is synced, or is lost while there is something
to go on with (`last_good`); a host that cannot be composed keeps its last good output; only
affected hosts are composed, each once per recipe whatever the number of scopes.

It is one thing, if a long one: a single task changes all of this state in an order that matters.
What stands alone is beside it (composer, ledger, sources, coalesce).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Final

import structlog

from aeraki_xds.garbage import set_aside
from aeraki_xds.ingest.event import Event, SourceLost, Synced, Unreadable
from aeraki_xds.mesh.change import Delete, ObjectEvent, Rejected, Upsert
from aeraki_xds.mesh.graph import Graph
from aeraki_xds.mesh.names import Host, Key, Kind
from aeraki_xds.mesh.problems import Finding
from aeraki_xds.mesh.store import Store
from aeraki_xds.mesh.tenancy import Tenancy
from aeraki_xds.pipeline.coalesce import Inbox
from aeraki_xds.pipeline.composer import Composer, Work, conflicts
from aeraki_xds.pipeline.desired import Desired
from aeraki_xds.pipeline.last_good import Changes, LastGood, Touched, Unconfirmed
from aeraki_xds.pipeline.ledger import Ledger
from aeraki_xds.pipeline.report import Entry, entries
from aeraki_xds.pipeline.scopes import GLOBAL, GLOBAL_SPEC, ISTIO, Scopes
from aeraki_xds.pipeline.sources import Sources
from aeraki_xds.translate.compose import Recipe
from aeraki_xds.turns import few_at_a_time, in_turns
from aeraki_xds.xds.hub import Hub
from aeraki_xds.xds.resource import Resource, ResourceId, Scope
from aeraki_xds.xds.snapshot import Changed, Snapshot
from aeraki_xds.xds.tally import Change, Convergence

Resources = dict[ResourceId, Resource | None]
"""What a scope's snapshot is changed by."""

Publication = Callable[[Change | None], int]
"""Puts changes in force and returns the streams woken."""

_MANY: Final = 1_000
"""Hosts that make a difference to the garbage collector."""

_IDLE: Final = 60.0
"""Seconds for which a scope outlives its last stream: a restarting proxy finds it composed."""

GRACE: Final = 5.0
"""Seconds for which a source that says nothing is waited for when there is something to serve."""

REST: Final = 1.0
"""Seconds without a change after which what was restored and is not there is gone."""


class Pipeline:
    """The one writer of store, graph and hub. `sources` are the names that must say `Synced`.

    `on_changed` is told, after each batch, what it changed of what is in force; `on_taken` is
    called when a batch is in store and graph, served yet or not, and when `recipes` may differ. A
    scope whose recipe `may_open` does not allow yet stays silent until it does, asked again then.
    """

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
        self.sources: Final = Sources(sources)
        self.desired: Final = Desired()
        self.work: Final = Work()
        self.unreadable: dict[str, Unreadable] = {}
        self.touched: Final = Touched()
        self.on_changed: Callable[[Changes], None] | None = None
        self.on_taken: Callable[[], None] = lambda: None
        self.may_open: Callable[[Recipe], bool] = lambda _recipe: True
        self._hub = hub
        self._scopes = scopes
        self._clock = clock
        self._serves = False
        self._may_go_on = False
        self._unconfirmed = Unconfirmed(LastGood())
        self._restless = False
        self._due: frozenset[Host] = frozenset()
        self._reserved: set[Recipe] = set()
        self._composers: dict[Recipe, Composer] = {}
        self._ledgers: dict[Scope, Ledger] = {}
        self._wanted: set[Scope] = {GLOBAL, ISTIO} & scopes.specs.keys()
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
        return self.sources.are_synced

    @property
    def recipes(self) -> frozenset[Recipe]:
        """Those in use, and those that a stream waits for."""
        return frozenset(self._composers).union(self._scopes.specs[s].recipe for s in self._wanted)

    @property
    def report(self) -> list[Entry]:
        """Everything that is wrong with the configuration now."""
        findings = [f for found in self.graph.verdicts.values() for f in found]
        findings += (f for composer in self._composers.values() for f in composer.findings)
        for ledger in self._ledgers.values():
            findings += conflicts(self.graph, ledger)
        return entries(self.store, self.unreadable.values(), findings)

    async def restore(self, last_good: LastGood) -> None:
        """Go on from what was in force before a restart. To be called once, before all else.

        It is composed for every recipe that was in use: so whatever a source says next, even that
        a reference is broken, finds a last good output to leave in force.
        """
        self._unconfirmed = Unconfirmed(last_good)
        self._may_go_on = last_good.may_be_served
        self.unreadable.update(last_good.files)
        standing = last_good.objects.values()
        said = [event for each in standing for event in (each.accepted, each.rejected) if event]
        await self._take(said)
        self._look()
        for recipe in {GLOBAL_SPEC.recipe, *last_good.kept}:
            kept = last_good.kept.get(recipe, {})
            composer = Composer(graph=self.graph, recipe=recipe, kept=kept, work=self.work)
            await self._compose(composer, self.graph.hosts | kept.keys())
            self._composers[recipe] = composer
        self.touched.recipes = set(last_good.kept)
        self._reserved = set(self._composers)

    async def run(self) -> None:
        """Apply batches and open scopes until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._wait_no_longer())
            tasks.create_task(self._apply_batches())
            tasks.create_task(self._tend_scopes())

    async def apply(
        self, events: Iterable[Event], *, since: float | None = None, at_rest: bool = False
    ) -> None:
        """Take one batch to its publications; its first event was said at `since`, or just now.

        `at_rest`: there was none for a while.
        """
        async with self._turn:
            started = self._clock()
            said = list(events)
            about_objects: list[ObjectEvent] = []
            async for few in in_turns(few_at_a_time(said)):
                about_objects += self._note(few)
            if self._unconfirmed and self.synced:
                at_rest = at_rest or any(isinstance(event, Synced) for event in said)
                news = self.sources.confirm(self._unconfirmed, self.unreadable, at_rest=at_rest)
                about_objects += self._note(news)
            changes, touched = await self._take(about_objects)
            self.on_taken()
            self._due |= touched | self._look()
            if not self._is_serving():
                return
            affected, self._due = self._due, frozenset()
            change = self.convergence.begin(started if since is None else since)
            woken = await self._recompose(affected, change)
            change.published()
            await self._open_wanted()
            if len(affected) > _MANY:
                set_aside()
            await self._tell()
            self._log.info(
                "configuration applied",
                objects=changes,
                hosts=len(affected),
                streams_woken=woken,
                milliseconds=round((self._clock() - started) * 1000, 1),
            )

    async def _take(self, events: Sequence[ObjectEvent]) -> tuple[int, frozenset[Host]]:
        """What is said of objects, to store and graph; how many changed, and the hosts touched."""
        before: dict[Key, tuple[Finding, ...]] = {}
        touched: set[Host] = set()
        async for few in in_turns(few_at_a_time(events)):
            changes = self.store.apply(few)
            for change in changes:
                before.setdefault(change.key, self.graph.verdicts.get(change.key, ()))
            touched |= self.graph.update(changes)
        self._log_verdicts(before)
        return len(before), frozenset(touched)

    def _look(self) -> frozenset[Host]:
        """Whether something hides what it is about; every host is affected when that changes."""
        files_hide = any(
            file.hides and not self._unconfirmed.stands_on(file)
            for file in self.unreadable.values()
        )
        blind = frozenset(Kind) if files_hide else self.store.hidden_kinds()
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
            taken, events = self.inbox.first_at, []
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REST if self._restless else None):
                    events = await self.inbox.take()
            if events:
                await self.apply(events, since=self.inbox.first_at)
                self._restless = bool(self._unconfirmed) and self.synced
            elif self.inbox.first_at == taken:  # nothing is about to be said either
                self._restless = False
                await self.apply((), at_rest=True)

    async def _wait_no_longer(self) -> None:
        """A source may hang without a word."""
        if self._may_go_on:
            await asyncio.sleep(GRACE)
            if not self.sources.are_known:
                await self.apply(self.sources.give_up())

    def _is_serving(self) -> bool:
        """Whether what is in the store is in force. It stays so."""
        if not self._serves:
            complete = self.synced and not self._unconfirmed.is_all
            self._serves = complete or (self._may_go_on and self.sources.are_known)
            if self._serves and self._reserved:
                asyncio.get_running_loop().call_later(_IDLE, self._release)
        return self._serves

    async def _tell(self) -> None:
        """Say what changed of what is in force since this was last called, if anybody listens."""
        if self.on_changed is None:
            return
        kept = {recipe: composer.news() for recipe, composer in self._composers.items()}
        changes = self.touched.changes(self.unreadable, kept)
        async for key, standing in in_turns(self.touched.objects(self.store)):
            changes.objects[key] = standing
        if changes:
            self.on_changed(changes)

    async def _tend_scopes(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            async with self._turn:
                self._close_expired()
                self.on_taken()
                if self._serves:
                    await self._open_wanted()
                    await self._tell()

    def _note(self, events: Iterable[Event]) -> list[ObjectEvent]:
        """Keep what is said of files and sources, and pass on what is said of objects."""
        about_objects: list[ObjectEvent] = []
        for event in events:
            self._unconfirmed.hear(event)
            if self.on_changed is not None:
                self.touched.hear(event)
            match event:
                case Synced():
                    self.sources.hear(event)
                    self._log.info("source synced", source=event.source)
                case SourceLost():
                    self.sources.hear(event, now=self._hub.now())
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
        """Compose the hosts for every recipe in use and publish; returns the streams woken.

        All scopes change in one turn of the loop: a proxy sees several of them as one.
        """
        settled = {
            recipe: await self._compose(composer, hosts)
            for recipe, composer in self._composers.items()
        }
        publications = [
            await self._made_ready(
                scope, await self._settle(scope, settled[self._scopes.specs[scope].recipe] | hosts)
            )
            for scope in self._ledgers
        ]
        await asyncio.sleep(0)
        return sum(publish(change) for publish in publications)

    async def _made_ready(self, scope: Scope, changes: Resources) -> Publication:
        """What puts changes in force, at once: it is made ready in turns, for they may be many."""
        if scope == ISTIO:
            return partial(self._desire, changes)
        before = self._hub.snapshot(scope) or Snapshot()
        made: deque[tuple[Snapshot, Changed]] = deque(maxlen=1)
        async for step in in_turns(before.steps(changes)):
            made.append(step)
        return lambda change: self._hub.put(scope, *made[0], change).woken

    def _desire(self, changes: Resources, _change: Change | None) -> int:
        standing = self._composers[self._scopes.specs[ISTIO].recipe].standing
        self.desired.take(changes, standing=standing, complete=self.synced)
        return 0

    async def _compose(self, composer: Composer, hosts: Iterable[Host]) -> frozenset[Host]:
        """Compose hosts one by one; returns whose claims may differ."""
        async for host in in_turns(sorted(hosts)):
            composer.compose(host)
        return frozenset([host async for host in in_turns(composer.steps())])

    async def _settle(self, scope: Scope, hosts: Iterable[Host]) -> Resources:
        """Hand the claims of hosts to a scope's ledger; returns what that changes."""
        spec, ledger = self._scopes.specs[scope], self._ledgers[scope]
        composer = self._composers[spec.recipe]
        async for host in in_turns(hosts):
            composer.hand_over(host, spec, ledger)
        return dict([step async for step in in_turns(ledger.steps()) if step is not None])

    def _want(self, scope: Scope) -> None:
        self._wanted.add(scope)
        self._work.set()

    async def _open_wanted(self) -> None:
        """Compose scopes that a stream waits for; until then its sessions are silent."""
        specs = self._scopes.specs
        while scope := next((s for s in self._wanted if self.may_open(specs[s].recipe)), None):
            self._wanted.discard(scope)
            recipe = specs[scope].recipe
            if scope in self._ledgers:
                continue
            hosts = self.graph.hosts
            if recipe not in self._composers:
                composer = Composer(graph=self.graph, recipe=recipe, work=self.work)
                await self._compose(composer, hosts)
                self._composers[recipe] = composer
            ledger = self._ledgers[scope] = Ledger()
            publish = await self._made_ready(scope, await self._settle(scope, hosts))
            await asyncio.sleep(0)  # to tell many streams is a turn's work by itself
            publish(None)
            await asyncio.sleep(0)
            if len(hosts) > _MANY:
                set_aside()
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

    def _release(self) -> None:
        """Who was connected before the restart has had the time to come back."""
        self._reserved.clear()
        self._work.set()

    def _close_expired(self) -> None:
        for scope in self._expired.difference(self._hub.scopes):
            self._wanted.discard(scope)
            self._ledgers.pop(scope, None)
            self._hub.drop(scope)
            self._scopes.forget(scope)
        self._expired.clear()
        used = {self._scopes.specs[scope].recipe for scope in self._ledgers}
        for recipe in self._composers.keys() - used - self._reserved:
            del self._composers[recipe]
