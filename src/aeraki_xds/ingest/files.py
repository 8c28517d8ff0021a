"""A folder of manifests as a source, and a one-shot reading of paths for the command line.

In: a root, and a decoder for one document. Out: batches of events (`event.Source`): everything
that is there in one batch that ends with `Synced`, then every change. A change goes out as soon as
the file is closed; what vanishes, only when the folder has been quiet for a moment (`tree`).

Guaranteed: a root that is missing, or that has lost all its manifests, is a lost source and
deletes nothing. The source lives as long as `run`; cancellation is its only end, and leaves
neither descriptors nor threads at work.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from aeraki_xds.errors import ConfigurationError
from aeraki_xds.ingest.contents import Contents, Decode, read_contents, unreadable
from aeraki_xds.ingest.event import Emit, Event, Rejected, SourceLost, Synced
from aeraki_xds.ingest.folder import Folder
from aeraki_xds.ingest.hint import Hint, Watcher
from aeraki_xds.ingest.scan import MAX_BYTES, Fetched, fetch, fetch_outright, scan
from aeraki_xds.ingest.tree import Tree
from aeraki_xds.ingest.watch import open_watcher
from aeraki_xds.mesh.names import Key
from aeraki_xds.mesh.problems import Problem

QUIET: Final = 0.25
"""Seconds without a change after which what is gone is gone."""

PATIENCE: Final = 20
"""A folder that never comes to rest counts as quiet after so many quiet periods: otherwise one
busy writer would keep everyone else's deletions waiting."""

POLL: Final = 1.0
"""Seconds between two looks at a root that is missing or cannot be watched."""

INLINE_BYTES: Final = 64 * 1024
"""Reading more than this takes long enough (10 ms) to be worth a thread."""

INLINE_FILES: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pace:
    quiet: float
    poll: float


class FileSource:
    """Says what the manifests below `root` are, until it is cancelled.

    `remembered` are the files that held objects before a restart: that they are empty now, or that
    the folder is, is not believed.
    """

    def __init__(
        self,
        *,
        root: Path,
        decode: Decode,
        quiet: float = QUIET,
        poll: float = POLL,
        limit: int = MAX_BYTES,
        watch: Callable[[Path], Watcher] = open_watcher,
        remembered: Collection[str] = (),
    ) -> None:
        self.name = str(root)
        self._root = root
        self._decode = decode
        self._pace = _Pace(quiet=quiet, poll=poll)
        self._limit = limit
        self._watch = watch
        self.remembered = remembered

    async def run(self, emit: Emit) -> None:
        """Emit everything that exists and `Synced`, then every change; each call is one batch."""
        async with self._watch(self._root) as watcher:
            folder = Folder(
                self._root,
                decode=self._decode,
                watcher=watcher,
                quiet=self._pace.quiet,
                limit=self._limit,
                remembered=self.remembered,
            )
            await _Following(self.name, folder, watcher, emit, self._pace).run()


class _Following:
    """One run: when to look, when the folder is at rest, and what to say of the source itself."""

    def __init__(
        self, name: str, folder: Folder, watcher: Watcher, emit: Emit, pace: _Pace
    ) -> None:
        self._name = name
        self._folder = folder
        self._watcher = watcher
        self._emit = emit
        self._pace = pace
        self._clock = asyncio.get_running_loop().time
        self._lost: str | None = ""  # why, as last said; empty before anything was said
        self._rests_at: float | None = None
        self._rests_by: float | None = None
        self._overdue: frozenset[Key] = frozenset()

    async def run(self) -> None:
        """Follow the folder until cancelled."""
        events = await self._apart(self._folder.look_everywhere)
        if self._watcher.unsettled():
            self._stir()  # somebody is at it: what there is to say is not complete
            self._say(events)
        else:
            self._conclude(events)
        while True:
            hint = await self._watcher.hint(self._seconds_left())
            if hint is not None:
                await self._heed(hint)
            elif self._rests_at is None:
                await self._poll()
            if self._rests_at is not None and self._clock() >= self._rests_at:
                await self._rest()

    async def _heed(self, hint: Hint) -> None:
        if hint.is_active:
            self._stir()
        if hint.must_rescan:
            self._say(await self._look_everywhere(hint))
        elif hint.ready:
            self._say(await self._look(hint.ready))

    async def _poll(self) -> None:
        events = await self._look_everywhere(Hint(is_unsure=True))
        has_turned = bool(self._folder.absence()) == (self._lost is None)
        if events or has_turned or not self._folder.is_settled:
            self._stir()
        self._say(events)

    async def _rest(self) -> None:
        """Nothing has happened for a while: look at what was in doubt, then take stock."""
        is_busy = self._rests_by is not None and self._clock() >= self._rests_by
        self._rests_at = None
        events: list[Event] = []
        if self._folder.is_doubtful or self._watcher.appeared:
            events = await self._apart(self._folder.look_again)
        if is_busy:
            self._conclude(events, gone=self._overdue)
            self._overdue = self._folder.waiting()
            self._stir()
        elif self._folder.is_doubtful:
            self._say(events)
            self._stir()
        else:
            self._conclude(events)
            self._overdue = frozenset()

    def _conclude(self, events: list[Event], *, gone: frozenset[Key] | None = None) -> None:
        self._rests_by = None
        absence = self._folder.absence()
        if absence:
            if absence != self._lost:
                events.append(SourceLost(source=self._name, reason=absence))
            self._lost = absence
        else:
            events += self._folder.settle(gone)
            if self._lost is not None:
                events.append(Synced(source=self._name))
            self._lost = None
        self._say(events)

    def _say(self, events: Sequence[Event]) -> None:
        if events:
            self._emit(events)

    def _stir(self) -> None:
        now = self._clock()
        if self._rests_by is None:
            self._rests_by = now + PATIENCE * self._pace.quiet
        self._rests_at = min(now + self._pace.quiet, self._rests_by)

    def _seconds_left(self) -> float | None:
        if self._rests_at is not None:
            return max(0.0, self._rests_at - self._clock())
        return self._pace.poll if self._lost is not None or self._watcher.is_blind else None

    async def _look(self, paths: frozenset[str]) -> list[Event]:
        if len(paths) <= INLINE_FILES and self._folder.weight(paths) <= INLINE_BYTES:
            return self._folder.look(paths)
        return await self._apart(partial(self._folder.look, paths))

    async def _look_everywhere(self, hint: Hint) -> list[Event]:
        look = partial(self._folder.look_everywhere, also=hint.ready, is_unsure=hint.is_unsure)
        return await self._apart(look)

    async def _apart(self, look: Callable[[], list[Event]]) -> list[Event]:
        """Look in a thread. If that is cancelled, nothing of the thread is left behind."""
        looking = asyncio.ensure_future(asyncio.to_thread(look))
        try:
            return await asyncio.shield(looking)
        except asyncio.CancelledError:
            self._folder.is_stopping = True
            await asyncio.wait((looking,))
            raise


def read_paths(paths: Sequence[Path], decode: Decode, *, limit: int = MAX_BYTES) -> list[Event]:
    """What the files and folders say, once. Raises ConfigurationError for a path that is not there.

    Of a file that is not legible as a whole its rejected objects are said, too: here the reader
    wants to see everything at once.
    """
    found: dict[str, Fetched | Problem] = {}
    seen: set[str] = set()
    for origin, real, file in _files(paths, limit):
        if real not in seen:
            seen.add(real)
            found[origin] = file
    tree = Tree()
    events: list[Event] = []
    for origin in sorted(found):
        contents = _contents(origin, found[origin], decode)
        events += tree.put(origin, contents)
        if not contents.is_legible:
            events += (claim for claim in contents.claims if isinstance(claim, Rejected))
    return events


def _files(paths: Iterable[Path], limit: int) -> Iterator[tuple[str, str, Fetched | Problem]]:
    for path in paths:
        root = os.fspath(path)
        if os.path.isdir(root):
            yield from _folder(root, limit)
            continue
        file = fetch_outright(root, limit=limit)
        if file is None:
            raise ConfigurationError(f"{root}: no such file or folder")
        yield root, os.path.realpath(root), file


def _folder(root: str, limit: int) -> Iterator[tuple[str, str, Fetched | Problem]]:
    try:
        listing = scan(root, lambda _folder, _real: None)
    except OSError as reason:
        raise ConfigurationError(f"{root}: {reason.strerror}") from reason
    for name in listing.files:
        file = fetch(root, name, limit=limit)
        if file is not None:
            origin = os.path.join(root, name)
            yield origin, os.path.realpath(origin), file
    for name, problem in listing.refused.items():
        origin = os.path.join(root, name)
        yield origin, origin, problem


def _contents(origin: str, file: Fetched | Problem, decode: Decode) -> Contents:
    if isinstance(file, Problem):
        return unreadable(file)
    return read_contents(file.data, origin=origin, decode=decode)
