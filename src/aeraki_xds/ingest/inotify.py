"""Hints from inotify (Linux): which files were closed after writing, moved, linked or removed.

In: the kernel's queue. Out: hints. Guaranteed: a file that is open for writing since it is watched
is never ready; whatever happened before a drain of the queue is known after it. Nothing is awaited
between reading the queue and keeping what was read, so cancellation loses no event.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Final, NamedTuple, Self

from asyncinotify import Event, Inotify, Mask

from aeraki_xds.ingest.hint import Hint
from aeraki_xds.ingest.scan import is_hidden, is_manifest

# Plain integers: IntFlag arithmetic costs more than all the rest of handling an event.
_CREATED: Final = int(Mask.CREATE)
_MOVED_IN: Final = int(Mask.MOVED_TO)
_WRITTEN: Final = int(Mask.MODIFY)
_CLOSED: Final = int(Mask.CLOSE_WRITE)
_TOUCHED: Final = int(Mask.ATTRIB)
_GONE: Final = int(Mask.DELETE | Mask.MOVED_FROM)
_IS_FOLDER: Final = int(Mask.ISDIR)
_FORGOTTEN: Final = int(Mask.IGNORED)
_OVERFLOW: Final = int(Mask.Q_OVERFLOW)
_NAMES: Final = Mask.CREATE | Mask.MOVED_TO | Mask.MOVED_FROM | Mask.DELETE
_SELF: Final = Mask.DELETE_SELF | Mask.MOVE_SELF
# One inode has one watch and one mask, whatever the names that lead to it: masks are added up.
_ADDED: Final = Mask.ONLYDIR | Mask.MASK_ADD
_BESIDE: Final = _NAMES | _SELF | _ADDED
_INSIDE: Final = _BESIDE | Mask.MODIFY | Mask.CLOSE_WRITE | Mask.ATTRIB

_VANISHED: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP})
"""Why a folder cannot be watched that has nothing to do with watching: the listing will tell."""


class _Folder(NamedTuple):
    prefix: str | None
    real: str


class InotifyWatcher:
    """Watches with one inotify instance. Raises OSError if there is none to be had."""

    def __init__(self, root: Path) -> None:
        self.appeared: set[str] = set()
        self.is_blind = False
        self._above, self._root_name = os.path.split(os.path.abspath(root))
        self._above_wd = -1
        self._folders: dict[int, _Folder] = {}
        self._entered: set[int] = set()
        self._visible: frozenset[str | None] = frozenset()
        self._writing: set[str] = set()
        self._ready: set[str] = set()
        self._is_active = self._must_rescan = self._is_unsure = False
        self._inotify = Inotify(cache_size=256, sync_timeout=0)
        self._watch_above()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._inotify.close()

    def enter(self, folder: str | None, real: str) -> None:
        """Watch a folder; one that is visible under a name is not hidden by being a link's."""
        wd = self._add(real, _INSIDE)
        if wd < 0 or (folder is None and wd in self._entered):
            return
        self._folders[wd] = _Folder(folder, real)
        self._entered.add(wd)

    def prune(self) -> None:
        """Stop watching the folders that were not entered since the last time."""
        stale = self._folders.keys() - self._entered
        for watch in self._inotify.watches:
            if watch.wd in stale and watch.wd != self._above_wd:
                self._inotify.rm_watch(watch)
        for wd in stale:
            del self._folders[wd]
        self._entered.clear()
        self._visible = frozenset(folder.prefix for folder in self._folders.values())
        self._watch_above()

    async def hint(self, seconds: float | None) -> Hint | None:
        """What the queue says; hints that were kept back by `unsettled` come at once."""
        if not self._has_news() and not await self._is_readable(seconds):
            return None
        self._drain()
        said = Hint(
            ready=frozenset(self._ready - self._writing - self.appeared),
            is_active=self._is_active,
            must_rescan=self._must_rescan,
            is_unsure=self._is_unsure,
        )
        self._ready = set()
        self._is_active = self._must_rescan = self._is_unsure = False
        return said

    def unsettled(self) -> AbstractSet[str]:
        """Read the queue, too: it tells of a writer before his first byte can be read."""
        self._drain()
        return self._ready | self._writing | self.appeared

    def _has_news(self) -> bool:
        return bool(self._ready) or self._is_active or self._must_rescan

    async def _is_readable(self, seconds: float | None) -> bool:
        loop = asyncio.get_running_loop()
        readable = loop.create_future()
        loop.add_reader(self._inotify.fd, _wake, readable)
        try:
            async with asyncio.timeout(seconds):
                await readable
        except TimeoutError:
            return False
        finally:
            loop.remove_reader(self._inotify.fd)
        return True

    def _drain(self) -> None:
        while (event := self._inotify.sync_get()) is not None:
            self._note(event)

    def _note(self, event: Event) -> None:
        bits, watch = int(event.mask), event.watch
        if bits & _OVERFLOW:
            self._writing.clear()
            self.appeared.clear()
            self._doubt(is_unsure=True)
        elif watch is None:
            return  # of a folder that is no longer watched
        elif bits & _FORGOTTEN:
            self._folders.pop(watch.wd, None)
            self._entered.discard(watch.wd)
        elif event.name is None:
            self._doubt()  # the folder itself was moved, removed or opened up
        else:
            self._note_name(watch.wd, os.fspath(event.name), bits)

    def _note_name(self, wd: int, name: str, bits: int) -> None:
        if wd == self._above_wd and name == self._root_name and not bits & (_WRITTEN | _CLOSED):
            self._doubt(is_unsure=bool(bits & _CREATED))
        folder = self._folders.get(wd)
        if folder is None:
            return
        if folder.prefix is None:
            if not bits & _WRITTEN:
                self._doubt()
            return
        path = folder.prefix + name
        if bits & _IS_FOLDER:
            self._note_folder(path, name, bits)
        elif bits & (_CREATED | _MOVED_IN) and os.path.islink(os.path.join(folder.real, name)):
            self._doubt()
        elif name.startswith("..") or path + "/" in self._visible:
            self._doubt()  # what other names lead through
        elif is_manifest(name):
            self._note_manifest(path, os.path.join(folder.real, name), bits)

    def _note_folder(self, path: str, name: str, bits: int) -> None:
        if bits & _GONE:
            inside = path + "/"
            self._writing = {at for at in self._writing if not at.startswith(inside)}
            self.appeared = {at for at in self.appeared if not at.startswith(inside)}
        # A hidden folder matters to the links that lead into it.
        self._doubt(is_unsure=bool(bits & _CREATED) and not is_hidden(name))

    def _note_manifest(self, path: str, real: str, bits: int) -> None:
        self._is_active = True
        if bits & _WRITTEN:
            self.appeared.discard(path)
            self._writing.add(path)
        elif bits & _CREATED and _link_count(real) < 2:
            self.appeared.add(path)
        else:
            # Closed, moved here, linked or gone: whoever was writing has finished. A touched file
            # (permissions, most of all) may still have a writer.
            if not bits & _TOUCHED:
                self._writing.discard(path)
                self.appeared.discard(path)
            self._ready.add(path)

    def _doubt(self, *, is_unsure: bool = False) -> None:
        self._is_active = self._must_rescan = True
        self._is_unsure |= is_unsure

    def _watch_above(self) -> None:
        """The root's own folder tells when the root, or a link of its name, is put in place."""
        self._above_wd = self._add(self._above, _BESIDE)

    def _add(self, real: str, mask: Mask) -> int:
        try:
            return self._inotify.add_watch(real, mask).wd
        except OSError as reason:
            # Most likely fs.inotify.max_user_watches.
            self.is_blind |= reason.errno not in _VANISHED
            return -1


def _wake(readable: asyncio.Future[None]) -> None:
    if not readable.done():
        readable.set_result(None)


def _link_count(path: str) -> int:
    try:
        return os.lstat(path).st_nlink
    except OSError:
        return 0
