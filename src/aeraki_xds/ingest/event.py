"""What a source says, and the shape of a source.

`Synced` is an explicit mark in the stream: everything that existed at start has been said before
it, so readiness is data and not a guess about time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from aeraki_xds.mesh.change import Delete, ObjectEvent, Rejected, Upsert
from aeraki_xds.mesh.problems import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Synced:
    """All that existed has been said (again, after a SourceLost). `idle`: nothing was, and nothing
    will be, for nobody wants to know it."""

    source: str
    idle: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceLost:
    """The source cannot be read at all: what it said last stays in force, marked stale."""

    source: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A file in which no object can be told apart (not YAML, no kind): said of the file itself.

    The objects that the file held before stay as they are. An empty `problems` withdraws it.
    `hides`: no object of it was ever known, so nobody can tell which hosts it is about.
    """

    origin: str
    problems: tuple[Problem, ...]
    hides: bool = False


Event = Upsert | Delete | Rejected | Unreadable | Synced | SourceLost
Emit = Callable[[Sequence[Event]], None]


class Source(Protocol):
    """Something that says what the configuration is, until it is cancelled."""

    async def run(self, emit: Emit) -> None:
        """Emit everything that exists, `Synced`, then every change. Each call is one batch."""


__all__ = [
    "Delete",
    "Emit",
    "Event",
    "ObjectEvent",
    "Rejected",
    "Source",
    "SourceLost",
    "Synced",
    "Unreadable",
    "Upsert",
]
