"""Hints that a folder has changed, and what a watcher is.

A hint is never evidence. It says where to look; what is there is found out by looking, so a hint
too many costs time only, and wherever a watcher is in doubt it asks for everything to be looked at.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol


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
