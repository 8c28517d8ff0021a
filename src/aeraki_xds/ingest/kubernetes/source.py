"""A Kubernetes cluster as a source: one reflector for each kind, and one for each Secret in use.

In: a connection, which Secrets are wanted, and whether anybody wants to know who serves. Out:
batches of events (`event.Source`), `Synced` and `SourceLost` for each name of `names`. Guaranteed:
`kubernetes/Secret` is synced only when somebody has said which Secrets are wanted and each of them
was looked for; the kinds that say who serves likewise (`serving`); what nobody wants any more is
forgotten.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import partial
from typing import Final

from aeraki_xds.ingest.event import Delete, Emit, Event, SourceLost, Synced
from aeraki_xds.ingest.kubernetes.kinds import EVERYWHERE, Watched, one
from aeraki_xds.ingest.kubernetes.reflector import Connection, Pace, Reflector
from aeraki_xds.ingest.kubernetes.replica import Replica
from aeraki_xds.ingest.kubernetes.serving import ENDPOINTS, Serving
from aeraki_xds.mesh.names import Key, Kind, Namespace

SECRETS: Final = "kubernetes/Secret"
"""The name under which all Secrets together are synced or lost."""

ON_REQUEST: Final = frozenset({SECRETS, *ENDPOINTS})
"""The names that say nothing before somebody has said what is wanted of them."""


def _source(watched: Watched) -> str:
    return f"kubernetes/{watched.kind}"


class KubernetesSource:
    """Says what the configuration in a cluster is, until it is cancelled."""

    def __init__(
        self,
        *,
        connection: Connection,
        root_namespace: str,
        mesh_config_name: str,
        pace: Pace | None = None,
    ) -> None:
        mesh = Key(Kind.CONFIG_MAP, Namespace(root_namespace), mesh_config_name)
        self._watched = (*EVERYWHERE, one(mesh))
        self.names: Final = (*map(_source, self._watched), *ENDPOINTS, SECRETS)
        self._connection = connection
        self._pace = pace or Pace()
        self._wanted: frozenset[Key] | None = None
        self._wants_endpoints: bool | None = None
        self._wish = asyncio.Event()

    def want_secrets(self, secrets: AbstractSet[tuple[str, str]]) -> None:
        """From now on say what is in these Secrets (namespace and name), and in no others."""
        self._wanted = frozenset(
            Key(Kind.SECRET, Namespace(namespace), name) for namespace, name in secrets
        )
        self._wish.set()

    def want_endpoints(self, wanted: bool) -> None:
        """From now on say who serves: EndpointSlices, Pods, WorkloadEntries; or say it no more."""
        if wanted is not self._wants_endpoints:
            self._wants_endpoints = wanted
            self._wish.set()

    async def run(self, emit: Emit) -> None:
        """Emit everything that exists, then every change; each call is one batch."""
        async with asyncio.TaskGroup() as tasks:

            def follow(replica: Replica, emit: Emit, name: str) -> asyncio.Task[None]:
                reflector = Reflector(
                    connection=self._connection, replica=replica, emit=emit, pace=self._pace
                )
                return tasks.create_task(reflector.run(), name=name)

            def follow_kind(watched: Watched, emit: Emit) -> asyncio.Task[None]:
                name = _source(watched)
                replica = Replica(watched, source=name, random=self._pace.random)
                return follow(replica, emit, name)

            for watched in self._watched:
                follow_kind(watched, emit)

            secrets, serving = _Secrets(emit), Serving(emit, follow_kind)
            while True:
                await self._wish.wait()
                self._wish.clear()
                if self._wants_endpoints is not None:
                    serving.want(self._wants_endpoints)
                for key in secrets.want(self._wanted) if self._wanted is not None else ():
                    replica = Replica(
                        one(key), source=SECRETS, random=self._pace.random, may_be_forbidden=True
                    )
                    watch = secrets.begin(key)
                    watch.task = follow(replica, partial(secrets.hear, watch), str(key))


@dataclass(slots=True, kw_only=True, eq=False)
class _Watch:
    """One Secret that is wanted."""

    key: Key
    task: asyncio.Task[None] | None = None
    is_wanted: bool = True
    is_known: bool = False
    was_looked_for: bool = False
    lost: str = ""


class _Secrets:
    """What the reflectors of single Secrets say, as one source."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._watches: dict[Key, _Watch] = {}
        self._is_synced: bool | None = None  # as last said

    def want(self, wanted: AbstractSet[Key]) -> list[Key]:
        """Forget those that nobody wants; returns those that nobody looks for yet."""
        events: list[Event] = []
        for key in sorted(self._watches.keys() - wanted):
            watch = self._watches.pop(key)
            watch.is_wanted = False
            if watch.task is not None:
                watch.task.cancel()
            if watch.is_known:
                events.append(Delete(key=key))
        new = sorted(wanted - self._watches.keys())
        self._say(events if new else [*events, *self._stock()])
        return new

    def begin(self, key: Key) -> _Watch:
        """Look for a Secret from now on."""
        watch = self._watches[key] = _Watch(key=key)
        return watch

    def hear(self, watch: _Watch, events: Sequence[Event]) -> None:
        """What is said of one Secret. That it is not there is said, too."""
        if not watch.is_wanted:
            return
        said: list[Event] = []
        for event in events:
            match event:
                case Synced():
                    if not (watch.is_known or watch.was_looked_for):
                        said.append(Delete(key=watch.key))
                    watch.was_looked_for, watch.lost = True, ""
                case SourceLost():
                    watch.lost = f"{watch.key}: {event.reason}"
                case _:
                    watch.is_known = not isinstance(event, Delete)
                    said.append(event)
        self._say([*said, *self._stock()])

    def _stock(self) -> list[Event]:
        """Whether all of them together are now synced, or lost."""
        watches = self._watches.values()
        lost = next((watch.lost for watch in watches if watch.lost), "")
        if lost:
            if self._is_synced is not False:
                self._is_synced = False
                return [SourceLost(source=SECRETS, reason=lost)]
        elif not self._is_synced and all(watch.was_looked_for for watch in watches):
            self._is_synced = True
            return [Synced(source=SECRETS)]
        return []

    def _say(self, events: Sequence[Event]) -> None:
        if events:
            self._emit(events)
