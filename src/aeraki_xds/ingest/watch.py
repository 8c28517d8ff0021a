"""Hints that a folder has changed: what a watcher is, and which one this machine has.

A hint is never evidence. It says where to look; what is there is found out by looking, so a hint
too many costs time only, and wherever a watcher is in doubt it asks for everything to be looked at.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Set as AbstractSet
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import structlog


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """What to look at; all of it empty for a change that is none of our business."""

    ready: frozenset[str] = frozenset()
    """Files that were written, moved or removed, and that nobody is writing to."""
    is_active: bool = False
    """Whether anything happened to a manifest, if only that somebody is writing it."""
    must_rescan: bool = False
    is_unsure: bool = False
    """Whether a rescan may meet files that somebody has only begun to write."""


class Watcher(AbstractAsyncContextManager["Watcher"], Protocol):
    """Watches a root and the folders below it that it is shown, while its context lasts."""

    appeared: set[str]
    """Files that were created and not opened since: a writer about to write, or a hard link."""
    is_blind: bool
    """Whether changes may go unnoticed, so that somebody must look from time to time."""

    def enter(self, folder: str | None, real: str) -> None:
        """Watch a folder from now on: its path ends with `/`, but that of the root is empty.

        None is a folder that only holds what symbolic links point to.
        """

    def prune(self) -> None:
        """Forget the folders that were not entered since the last time."""

    async def hint(self, seconds: float | None) -> Hint | None:
        """What has changed since the last hint; None if nothing does for so many seconds."""

    def unsettled(self) -> AbstractSet[str]:
        """Files that, as of now, are being written or have changed since the last hint."""


def open_watcher(root: Path) -> Watcher:
    """The best watcher that this machine has for a root, which need not exist."""
    if sys.platform != "linux":
        from aeraki_xds.ingest.notify import NotifyWatcher

        return NotifyWatcher(root)
    from aeraki_xds.ingest.inotify import InotifyWatcher

    try:
        return InotifyWatcher(root)
    except OSError as reason:
        log = structlog.get_logger("ingest")
        log.warning("files.polled", root=str(root), reason=f"inotify: {reason.strerror}")
        return BlindWatcher()


class BlindWatcher:
    """Sees nothing: for a machine that has run out of inotify instances."""

    def __init__(self) -> None:
        self.appeared: set[str] = set()
        self.is_blind = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    def enter(self, folder: str | None, real: str) -> None:
        """Nothing to watch with."""

    def prune(self) -> None:
        """Nothing to forget."""

    async def hint(self, seconds: float | None) -> Hint | None:
        """Nothing happens, as far as can be seen."""
        if seconds is None:
            await asyncio.get_running_loop().create_future()
        else:
            await asyncio.sleep(seconds)
        return None

    def unsettled(self) -> AbstractSet[str]:
        """Nobody is seen writing."""
        return frozenset()
