"""What is in a folder, and the bytes of its files: every question that is asked of a file system.

In: paths. Out: what is there, or a problem; a name that means nothing to us is passed over.

Guaranteed: nothing but regular files is ever opened (a FIFO would never answer), nothing outside of
the root is read through a symbolic link, and no more than the limit is read of any file. Hidden
names are skipped; what a visible symbolic link points to may well be hidden, which is how
Kubernetes mounts a ConfigMap (`mesh.yaml → ..data/mesh.yaml`, `..data → ..2026_01_01`).
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from aeraki_xds.mesh.problems import Problem, error

MAX_BYTES: Final = 8 * 1024 * 1024
"""A file beyond this is a mistake: Kubernetes stores no object of more than 1.5 MiB."""

Enter = Callable[[str | None, str], None]
"""Called with a folder's path (None if it only holds what links point to) before it is listed."""

_SUFFIXES: Final = (".yaml", ".yml", ".json")
_GONE: Final = frozenset({errno.ENOENT, errno.ENOTDIR})
_OUTSIDE: Final = error("", "is a symbolic link out of the folder; it is not followed")
_DANGLING: Final = error("", "is a symbolic link to nothing")


class Stamp(NamedTuple):
    """Equal stamps: the same bytes, as far as can be told without reading them."""

    modified_ns: int
    size: int
    inode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """The bytes of a file, and its stamp from before they were read."""

    data: bytes
    stamp: Stamp


@dataclass(slots=True, kw_only=True)
class Listing:
    """The manifests below a root."""

    files: dict[str, Stamp] = field(default_factory=dict)
    refused: dict[str, Problem] = field(default_factory=dict)
    """Names that will not be opened, and folders that cannot be listed (they end with `/`)."""


def is_manifest(name: str) -> bool:
    """Whether a file of this name, without its folder, is ours to read."""
    return name.endswith(_SUFFIXES) and not is_hidden(name)


def is_hidden(name: str) -> bool:
    """Whether a name is skipped: editors and ConfigMap mounts keep their own things there."""
    return name.startswith(".")


def scan(root: str, enter: Enter) -> Listing:
    """List every manifest. Raises OSError if the root itself cannot be listed."""
    walk = _Walk(os.path.realpath(root, strict=True), enter)
    walk.run()
    return walk.listing


def fetch(root: str, path: str, *, limit: int = MAX_BYTES) -> Fetched | Problem | None:
    """The bytes of the file at `path` below `root`; None if it is gone."""
    try:
        real_root = os.path.realpath(root, strict=True)
        target = _locate(real_root, os.path.join(real_root, path))
        return _read(target, limit) if isinstance(target, str) else target
    except OSError as reason:
        return _judged(reason)


def fetch_outright(path: str, *, limit: int = MAX_BYTES) -> Fetched | Problem | None:
    """The bytes of a file that was named by hand: links may lead anywhere."""
    try:
        return _read(os.path.realpath(path, strict=True), limit)
    except OSError as reason:
        return _judged(reason)


class _Walk:
    """One listing. Links to folders come last, so that a folder is listed under its real name."""

    def __init__(self, root: str, enter: Enter) -> None:
        self.listing = Listing()
        self._root = root
        self._enter = enter
        self._folders: deque[tuple[str, str]] = deque()
        self._linked: deque[tuple[str, str]] = deque()
        self._seen: set[tuple[int, int]] = set()

    def run(self) -> None:
        """List all. Raises OSError if the root cannot be listed."""
        self._list("", self._root)
        while pending := self._folders or self._linked:
            prefix, real = pending.popleft()
            try:
                self._list(prefix, real)
            except OSError as reason:
                if (problem := _judged(reason)) is not None:
                    self.listing.refused[prefix] = problem

    def _list(self, prefix: str, real: str) -> None:
        seen = os.stat(real)
        if (seen.st_dev, seen.st_ino) in self._seen:
            return
        self._enter(prefix, real)
        with os.scandir(real) as entries:
            names = sorted((entry.name, entry.is_symlink(), _is_folder(entry)) for entry in entries)
        self._seen.add((seen.st_dev, seen.st_ino))
        for name, is_link, is_folder in names:
            if is_hidden(name):
                continue
            if is_folder:
                self._folders.append((f"{prefix}{name}/", os.path.join(real, name)))
            elif is_link:
                self._link(prefix + name, os.path.join(real, name))
            elif is_manifest(name):
                self._file(prefix + name, os.path.join(real, name))

    def _link(self, path: str, real: str) -> None:
        try:
            target = _locate(self._root, real)
        except OSError as reason:
            target = _judged(reason)
        if isinstance(target, str):
            if os.path.isdir(target):
                self._linked.append((f"{path}/", target))
            elif is_manifest(path.rpartition("/")[2]):
                self._enter(None, os.path.dirname(target))
                self._file(path, target)
            return
        if target is _DANGLING:
            self._await(os.path.dirname(os.path.realpath(real)))
        if target is not None and (is_manifest(os.path.basename(real)) or os.path.isdir(real)):
            self.listing.refused[path] = target

    def _await(self, folder: str) -> None:
        """Enter the folder, or the nearest above it, in which a link's target is to appear."""
        while _is_within(self._root, folder) and not os.path.isdir(folder):
            folder = os.path.dirname(folder)
        if _is_within(self._root, folder):
            self._enter(None, folder)

    def _file(self, path: str, real: str) -> None:
        problem: Problem | None
        try:
            seen = os.lstat(real)
            problem = _unfit(path, seen)
        except OSError as reason:
            if (problem := _judged(reason)) is None:
                return
        if problem is None:
            self.listing.files[path] = _stamp(seen)
        else:
            self.listing.refused[path.encode(errors="replace").decode()] = problem


def _locate(root: str, path: str) -> str | Problem | None:
    """Where a path really leads. Raises OSError."""
    try:
        target = os.path.realpath(path, strict=True)
    except FileNotFoundError:
        return _DANGLING if os.path.lexists(path) else None
    return target if _is_within(root, target) else _OUTSIDE


def _is_within(root: str, path: str) -> bool:
    return path == root or path.startswith(root.rstrip(os.sep) + os.sep)


def _read(path: str, limit: int) -> Fetched | Problem:
    """The bytes of a file that is no link. Raises OSError."""
    if (problem := _unfit(path, os.lstat(path))) is not None:
        return problem
    # Between lstat and open the file may have become a FIFO or a link: neither does harm so.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        seen = os.fstat(descriptor)
        if (problem := _unfit(path, seen)) is not None:
            return problem
        # No more than it has: to ask for the limit takes, and clears, as much memory each time.
        data = file.read(min(seen.st_size, limit) + 1)
        if len(data) > seen.st_size:  # it grows
            data += file.read(limit + 1 - len(data))
    if len(data) > limit:
        return error("", f"is larger than {limit:,} bytes; split it")
    return Fetched(data=data, stamp=_stamp(seen))


def _unfit(path: str, seen: os.stat_result) -> Problem | None:
    if not stat.S_ISREG(seen.st_mode):
        return error("", "is not a regular file; it is not opened")
    try:
        path.encode()
    except UnicodeEncodeError:
        return error("", "has a name that is not UTF-8")
    return None


def _judged(reason: OSError) -> Problem | None:
    """None for what is simply not there (any more)."""
    return None if reason.errno in _GONE else error("", f"cannot be read: {reason.strerror}")


def _stamp(seen: os.stat_result) -> Stamp:
    return Stamp(seen.st_mtime_ns, seen.st_size, seen.st_ino)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False
