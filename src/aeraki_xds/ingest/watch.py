"""Which watcher this machine has for a folder."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Self

import structlog

from aeraki_xds.ingest.hint import Hint, Watcher


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
