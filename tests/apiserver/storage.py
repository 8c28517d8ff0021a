"""What the API server remembers: every state of every object, by one counter, until compacted.

In: changes, one at a time. Out: consistent snapshots of any revision since the last compaction,
and each change once, in order, to each watcher. An object is encoded when it is written and never
again: a state has no `apiVersion` and no `kind`, which are put before it for who asks.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from operator import attrgetter
from typing import Any

import orjson

from tests.apiserver.kinds import JsonObject, Kind

Key = tuple[str, str]  # namespace (empty for what has none), name


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """An object as it was from one revision on."""

    value: JsonObject
    encoded: bytes  # without the first brace

    @classmethod
    def of(cls, value: JsonObject, revision: int) -> State:
        """This value, stamped with a revision."""
        value = {**value, "metadata": {**value["metadata"], "resourceVersion": str(revision)}}
        return cls(value=value, encoded=orjson.dumps(value)[1:])

    @property
    def metadata(self) -> dict[str, Any]:
        metadata: dict[str, Any] = self.value["metadata"]
        return metadata

    def json(self, kind: Kind, version: str) -> bytes:
        """The whole object, read at a version of its API."""
        api_version = kind.api_version(version)
        return f'{{"apiVersion":"{api_version}","kind":"{kind.kind}",'.encode() + self.encoded


Selects = Callable[[State], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A key's step from one state to the next; None is absence."""

    revision: int
    kind: str  # its id
    key: Key
    before: State | None
    after: State | None

    def seen(self, selects: Selects) -> tuple[str, State] | None:
        """The event for a watcher who sees only what a selector admits."""
        before = self.before if self.before and selects(self.before) else None
        if self.after and selects(self.after):
            return ("MODIFIED" if before else "ADDED"), self.after
        return ("DELETED", State.of(before.value, self.revision)) if before else None


Snapshot = list[tuple[Key, State]]


class Signal(Enum):
    """What a watcher is told beside changes."""

    BOOKMARK = auto()
    EXPIRED = auto()
    END = auto()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Watcher:
    """An open watch."""

    kind: str  # its id
    version: str
    queue: asyncio.Queue[Change | Signal] = field(default_factory=asyncio.Queue)


class Compacted(Exception):
    """A revision is asked for that is no longer remembered."""


class Storage:
    """All of it, in memory."""

    def __init__(self) -> None:
        self.revision = 1
        self.compacted = 0
        self.watchers: set[Watcher] = set()
        self._log: list[Change] = []
        self._histories: dict[str, dict[Key, list[Change]]] = {}
        self._snapshots: dict[str, tuple[int, Snapshot]] = {}  # the last one: pages are of one

    def get(self, kind: Kind, key: Key) -> State | None:
        """The newest state."""
        history = self._histories.get(kind.id, {}).get(key)
        return history[-1].after if history else None

    def commit(self, kind: Kind, key: Key, value: JsonObject | None) -> State | None:
        """Write one object, or remove it; whoever watches is told."""
        self.revision += 1
        change = Change(
            revision=self.revision,
            kind=kind.id,
            key=key,
            before=self.get(kind, key),
            after=None if value is None else State.of(value, self.revision),
        )
        self._histories.setdefault(kind.id, {}).setdefault(key, []).append(change)
        self._log.append(change)
        for watcher in self.watchers:
            if watcher.kind == kind.id:
                watcher.queue.put_nowait(change)
        return change.after

    def snapshot(self, kind: Kind, revision: int) -> Snapshot:
        """What there was at a revision, by namespace and name. Compacted if it is too old."""
        self._check(revision)
        taken, found = self._snapshots.get(kind.id, (0, []))
        if taken == revision:
            return found
        found = []
        for key, history in sorted(self._histories.get(kind.id, {}).items()):
            at = bisect_right(history, revision, key=attrgetter("revision"))
            if at and (state := history[at - 1].after):
                found.append((key, state))
        self._snapshots[kind.id] = revision, found
        return found

    def since(self, kind: Kind, revision: int) -> list[Change]:
        """What changed after a revision. Compacted if it is too old."""
        self._check(revision)
        start = bisect_right(self._log, revision, key=attrgetter("revision"))
        return [change for change in self._log[start:] if change.kind == kind.id]

    def compact(self, before: int) -> None:
        """Forget how things were before a revision. Open watches are none the worse."""
        self.compacted = before
        self._log = [change for change in self._log if change.revision >= before]
        for histories in self._histories.values():
            for key, history in list(histories.items()):
                at = bisect_right(history, before, key=attrgetter("revision"))
                del history[: max(at - 1, 0)]
                if len(history) == 1 and history[0].after is None and history[0].revision < before:
                    del histories[key]

    @contextmanager
    def watching(self, kind: Kind, version: str) -> Iterator[Watcher]:
        """Be told of changes from now on."""
        watcher = Watcher(kind=kind.id, version=version)
        self.watchers.add(watcher)
        try:
            yield watcher
        finally:
            self.watchers.discard(watcher)

    def _check(self, revision: int) -> None:
        if revision < self.compacted:
            raise Compacted
