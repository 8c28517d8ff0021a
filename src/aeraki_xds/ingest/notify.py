"""Hints from watchfiles, where there is no inotify: something below the root has changed.

In: what the operating system reports. Out: hints that ask for everything to be looked at, and warn
that files may be half-written: elsewhere nobody tells when a file is closed, so a file is taken
when it has not been modified for a moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Final, Self

from watchfiles import awatch

from aeraki_xds.ingest.hint import Hint

_DEBOUNCE_MS: Final = 50
_STEP_MS: Final = 10
_CHECK_MS: Final = 1000
"""How often it is checked whether the root is still the folder that is watched."""


class NotifyWatcher:
    """Watches the root with watchfiles, and again when the root is replaced."""

    def __init__(self, root: Path) -> None:
        self.appeared: set[str] = set()
        self.is_blind = True  # a root that is put in place is not reported
        self._root = root
        self._stop = asyncio.Event()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._follow())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        if self._task is not None:
            await self._task

    def enter(self, folder: str | None, real: str) -> None:
        """The root is watched with all that is below it."""

    def prune(self) -> None:
        """Nothing was entered."""

    async def hint(self, seconds: float | None) -> Hint | None:
        """Something has changed, or nothing did for so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return None
        self._changed.clear()
        return Hint(is_active=True, must_rescan=True, is_unsure=True)

    def unsettled(self) -> AbstractSet[str]:
        """Writers cannot be seen."""
        return frozenset()

    async def _follow(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(OSError):
                await self._follow_one(_identity(self._root))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CHECK_MS / 1000):
                    await self._stop.wait()

    async def _follow_one(self, watched: tuple[int, int]) -> None:
        """Watch the root until it is another folder."""
        changes = awatch(
            self._root,
            watch_filter=None,
            debounce=_DEBOUNCE_MS,
            step=_STEP_MS,
            stop_event=self._stop,
            rust_timeout=_CHECK_MS,
            yield_on_timeout=True,
        )
        async with contextlib.aclosing(changes):
            async for change in changes:
                if change:
                    self._changed.set()
                if _identity(self._root) != watched:
                    return


def _identity(root: Path) -> tuple[int, int]:
    seen = os.stat(root)
    return seen.st_dev, seen.st_ino
