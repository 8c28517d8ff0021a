"""What is known of a folder of manifests: looks at files and says, as events, what that means.

In: paths to look at, or the wish to look everywhere. Out: events. Synchronous, so that it runs on
the loop for a small file and in a thread for a large one; never both at once.

Guaranteed: what cannot be read or listed changes nothing about the objects that it held; a file
that somebody is writing is left for later.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable
from pathlib import Path

from aeraki_xds.ingest.contents import Contents, Decode, read_contents, unreadable
from aeraki_xds.ingest.event import Event
from aeraki_xds.ingest.hint import Watcher
from aeraki_xds.ingest.scan import Fetched, Listing, Stamp, fetch, scan
from aeraki_xds.ingest.tree import Tree
from aeraki_xds.mesh.names import Key
from aeraki_xds.mesh.problems import Problem


class Folder:
    """The manifests below `root`; `watcher` knows which of them are being written."""

    def __init__(
        self,
        root: Path,
        *,
        decode: Decode,
        watcher: Watcher,
        quiet: float,
        limit: int,
        remembered: Collection[str] = (),
    ) -> None:
        self._root = os.fspath(root)
        self._decode = decode
        self._watcher = watcher
        self._quiet_ns = round(quiet * 1e9)
        self._limit = limit
        self._tree = Tree(remembered=remembered)
        self._stamps: dict[str, Stamp | None] = {}
        self._contents: dict[str, Contents] = {}
        self._doubtful: set[str] = set()
        self._had_any = bool(remembered)
        self._obstacle = ""
        self.is_stopping = False

    @property
    def is_doubtful(self) -> bool:
        """Whether there are files that may be half-written."""
        return bool(self._doubtful)

    @property
    def is_settled(self) -> bool:
        """Whether nothing waits for the folder to come to rest."""
        return not self._tree.waiting() and not self._doubtful

    def absence(self) -> str:
        """Why the folder is no source at present; empty if it is one."""
        if self._obstacle:
            return self._obstacle
        if self._had_any and not self._stamps:
            return f"no manifest is left in {self._root}"
        return ""

    def weight(self, paths: Collection[str]) -> int:
        """How many bytes there are to read, roughly."""
        total = 0
        for path in paths:
            try:
                total += os.stat(os.path.join(self._root, path)).st_size
            except OSError:
                continue
        return total

    def look(self, paths: Iterable[str]) -> list[Event]:
        """Read these files, whatever is known of them."""
        events: list[Event] = []
        for path in sorted(paths):
            if self.is_stopping:
                break
            found = fetch(self._root, path, limit=self._limit)
            # Asked after reading: whoever began to write meanwhile is known by now.
            if path not in self._watcher.unsettled():
                events += self._take(path, found)
        return events

    def look_everywhere(self, *, also: Iterable[str] = (), is_unsure: bool = False) -> list[Event]:
        """List all files and read those that differ from what was read last, and `also`."""
        try:
            listing = scan(self._root, self._watcher.enter)
        except OSError as reason:
            self._obstacle = f"{self._root} cannot be listed: {reason.strerror}"
            return []
        self._obstacle = ""
        self._watcher.prune()
        events: list[Event] = []
        for path, problem in listing.refused.items():
            events += self._take(path, problem)
        for path in self._stamps.keys() - listing.files.keys() - listing.refused.keys():
            if not _is_below(path, listing):
                events += self._take(path, None)
        changed = {path for path, stamp in listing.files.items() if stamp != self._stamps.get(path)}
        if is_unsure:
            young = {path for path in changed if self._is_young(listing.files[path])}
            self._doubtful |= young
            changed -= young
        return [*events, *self.look(changed | listing.files.keys() & set(also))]

    def look_again(self) -> list[Event]:
        """Read the files in doubt that nobody has touched for a while."""
        events: list[Event] = []
        for path in sorted(self._doubtful | self._watcher.appeared):
            found = fetch(self._root, path, limit=self._limit)
            if isinstance(found, Fetched) and self._is_young(found.stamp):
                continue
            self._doubtful.discard(path)
            if path in self._watcher.appeared:
                if isinstance(found, Fetched) and not found.data:
                    continue  # its writer has not written yet, and will be heard when done
                self._watcher.appeared.discard(path)
            events += self.look((path,))
        return events

    def waiting(self) -> frozenset[Key]:
        """What has vanished and has not been given up."""
        return self._tree.waiting()

    def settle(self, keys: frozenset[Key] | None = None) -> list[Event]:
        """What is gone is gone: all of it, or these keys."""
        return self._tree.settle(keys)

    def _take(self, path: str, found: Fetched | Problem | None) -> list[Event]:
        self._doubtful.discard(path)
        if found is None:
            self._stamps.pop(path, None)
            self._contents.pop(path, None)
            return self._tree.remove(path)
        self._had_any = True
        if isinstance(found, Problem):
            self._stamps[path] = None  # read again at every occasion
            return self._tree.put(path, unreadable(found))
        contents = read_contents(
            found.data, origin=path, decode=self._decode, earlier=self._contents.get(path)
        )
        self._contents[path] = contents
        self._stamps[path] = found.stamp
        return self._tree.put(path, contents)

    def _is_young(self, stamp: Stamp) -> bool:
        return 0 <= time.time_ns() - stamp.modified_ns < self._quiet_ns


def _is_below(path: str, listing: Listing) -> bool:
    """Whether a path lies in a folder that is there and could not be listed."""
    return any(path.startswith(name) for name in listing.refused if name.endswith("/"))
