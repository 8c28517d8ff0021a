"""The state of a folder: which file claims which object, and what a change of a file means. Pure.

In: the contents of one file at a time, in any order. Out: the events that follow. Guaranteed:

1. A file is taken whole or not at all: while it is not legible, all that it claimed stays in
   force, and the reasons are said of the file.
2. Additions and changes go at once. What vanishes is only remembered, until the caller knows that
   the folder has come to rest (`settle`): an object that moves between files is never deleted,
   and an editor that removes and writes anew deletes nothing.
3. Where two claim one object, the first in order of path, then of document, is in force, and the
   file of the other says so. When the first goes, the second takes over (at rest: the first may
   be about to come back).
4. What has not changed is not said again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from aeraki_xds.ingest.contents import Claim, Contents
from aeraki_xds.ingest.event import Delete, Event, Unreadable
from aeraki_xds.mesh.names import Key
from aeraki_xds.mesh.problems import Problem, error, has_errors

_BLANK: Final = error(
    "", "the file has become empty; what it held stays in force until the file is removed"
)


class _Place(NamedTuple):
    """Where a claim stands; places sort as their claims take precedence."""

    path: str
    nth: int


@dataclass(slots=True)
class _File:
    claims: tuple[Claim, ...] = ()
    problems: tuple[Problem, ...] = ()
    said: tuple[Problem, ...] = ()
    """The problems that were last said of it, those of its copies included."""


class Tree:
    """The files of one folder and what was said about them. Paths are relative, with slashes.

    `remembered` are the files that held objects when somebody else last read the folder.
    """

    def __init__(self, *, remembered: Iterable[str] = ()) -> None:
        self._remembered = set(remembered)
        self._files: dict[str, _File] = {}
        self._places: dict[Key, set[_Place]] = {}
        self._in_force: dict[Key, _Place] = {}
        self._said: dict[Key, Claim] = {}
        self._waiting: dict[Key, None] = {}

    def waiting(self) -> frozenset[Key]:
        """The objects that have vanished, or lost the file that was in force, and not settled."""
        return frozenset(self._waiting)

    def put(self, path: str, contents: Contents) -> list[Event]:
        """The file is there and says this."""
        file = self._files.setdefault(path, _File())
        file.problems = contents.problems
        if contents.is_blank and (file.claims or path in self._remembered):
            file.problems = (_BLANK,)
        elif contents.is_legible:
            self._remembered.discard(path)
            return self._replace(path, file, contents.claims)
        return [*self._notes({path})]

    def remove(self, path: str) -> list[Event]:
        """The file is gone."""
        self._remembered.discard(path)
        file = self._files.get(path)
        if file is None:
            return []
        file.problems = ()
        events = self._replace(path, file, ())
        del self._files[path]
        return events

    def settle(self, keys: frozenset[Key] | None = None) -> list[Event]:
        """The folder is at rest: what has vanished until now (of `keys`, if given) is gone."""
        due = [key for key in self._waiting if keys is None or key in keys]
        events: list[Event] = []
        concerned: set[str] = set()
        for key in due:
            del self._waiting[key]
            if key in self._places:
                events += self._enforce(key, min(self._places[key]), concerned)
            else:
                del self._in_force[key]
                del self._said[key]
                events.append(Delete(key=key))
        return [*events, *self._notes(concerned)]

    def _replace(self, path: str, file: _File, claims: tuple[Claim, ...]) -> list[Event]:
        touched = dict.fromkeys(claim.key for claim in (*file.claims, *claims))
        for index, claim in enumerate(file.claims):
            self._unplace(claim.key, _Place(path, index))
        file.claims = claims
        for index, claim in enumerate(claims):
            self._places.setdefault(claim.key, set()).add(_Place(path, index))
        events: list[Event] = []
        concerned = {path}
        for key in touched:
            events += self._judge(key, path, concerned)
        return [*events, *self._notes(concerned)]

    def _unplace(self, key: Key, place: _Place) -> None:
        places = self._places[key]
        places.discard(place)
        if not places:
            del self._places[key]

    def _judge(self, key: Key, path: str, concerned: set[str]) -> Iterator[Event]:
        """Who has the say about a key, now that the file at `path` has spoken."""
        places = self._places.get(key)
        if places is None:
            self._waiting[key] = None
            return
        first = min(places)
        before = self._in_force.get(key)
        if first.path != path and before is not None and before not in places:
            self._waiting[key] = None
            return
        self._waiting.pop(key, None)
        yield from self._enforce(key, first, concerned)

    def _enforce(self, key: Key, place: _Place, concerned: set[str]) -> Iterator[Event]:
        self._in_force[key] = place
        concerned.update(other.path for other in self._places[key])
        claim = self._files[place.path].claims[place.nth]
        if claim != self._said.get(key):
            self._said[key] = claim
            yield claim

    def _notes(self, paths: Iterable[str]) -> Iterator[Event]:
        """What is wrong with files, where it differs from what was said of them last."""
        for path in sorted(paths):
            file = self._files.get(path)
            if file is None:
                continue
            problems = (*file.problems, *self._copies(path, file))
            if problems != file.said:
                file.said = problems
                hides = has_errors(file.problems) and not file.claims
                yield Unreadable(origin=path, problems=problems, hides=hides)

    def _copies(self, path: str, file: _File) -> Iterator[Problem]:
        for index, claim in enumerate(file.claims):
            first = self._in_force[claim.key]
            if first != (path, index):
                message = f"{claim.key} is also defined in {first.path}; this copy is not used"
                yield error("", message)
