"""What a server has to know after a restart to go on as before it, and when it may let go of it.

In: events, and what was in force before. Out: `LastGood`, the whole; `Changes`, what a batch
changed of it; `Unconfirmed`, what of it no source has spoken of since the restart.
Plain values: where and how they are kept is nobody's business here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from aeraki_xds.ingest.event import Delete, Event, Rejected, Unreadable, Upsert
from aeraki_xds.mesh.names import Host, Key, Kind
from aeraki_xds.mesh.store import Store
from aeraki_xds.translate.compose import Recipe
from aeraki_xds.translate.envoyfilter.profile import EnvoyFilters
from aeraki_xds.xds.resource import Resource

Kept = tuple[Resource, ...]
"""What is in force of a host although it cannot be composed now."""


class Standing(NamedTuple):
    """What was last said of an object: the version in force, and the rejection beside it."""

    accepted: Upsert | None = None
    rejected: Rejected | None = None

    @property
    def origin(self) -> str:
        """The file that has the say about it."""
        said = self.rejected or self.accepted
        return said.origin if said else ""

    @property
    def is_anything(self) -> bool:
        """Whether the object is known at all."""
        return self.accepted is not None or self.rejected is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class LastGood:
    """All that is in force; `kept` has an entry for each recipe in use.

    Of what is not `whole` a part was lost: it may hold things back, but is not to be served before
    the sources are read, for proxies would lose what is missing.
    """

    objects: Mapping[Key, Standing] = field(default_factory=dict)
    files: Mapping[str, Unreadable] = field(default_factory=dict)
    kept: Mapping[Recipe, Mapping[Host, Kept]] = field(default_factory=dict)
    whole: bool = True

    @property
    def origins(self) -> frozenset[str]:
        """The files that hold objects."""
        return frozenset(standing.origin for standing in self.objects.values())

    @property
    def may_be_served(self) -> bool:
        """Whether proxies would lose nothing by it."""
        return self.whole and bool(self.objects)


@dataclass(slots=True, kw_only=True)
class Changes:
    """The places that changed and what is there now; None, False or no resources: nothing."""

    objects: dict[Key, Standing | None] = field(default_factory=dict)
    files: dict[str, Unreadable | None] = field(default_factory=dict)
    recipes: dict[Recipe, bool] = field(default_factory=dict)
    kept: dict[tuple[Recipe, Host], Kept] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.objects or self.files or self.recipes or self.kept)

    def then(self, later: Changes) -> Changes:
        """Both, where the later one has the last word."""
        return Changes(
            objects=self.objects | later.objects,
            files=self.files | later.files,
            recipes=self.recipes | later.recipes,
            kept={k: v for k, v in self.kept.items() if k[0] not in later.recipes} | later.kept,
        )


class Touched:
    """What was spoken of since this was last asked; `recipes` are those in use then.

    Nothing is remembered of a Secret: what changed may be written to a disk, and a Secret belongs
    on none that its owner did not choose. Its source says it again. Nor of EnvoyFilters, which may
    hold what a Secret says: the cluster itself keeps these. `forgotten` are all such kinds.
    """

    def __init__(self) -> None:
        self.recipes: set[Recipe] = set()
        self.forgotten = {Kind.SECRET}
        self._objects: set[Key] = set()
        self._files: set[str] = set()

    def hear(self, event: Event) -> None:
        """A source speaks of an object or of a file."""
        match event:
            case Upsert() | Rejected() | Delete():
                if event.key.kind not in self.forgotten:
                    self._objects.add(event.key)
            case Unreadable():
                self._files.add(event.origin)
            case _:
                pass

    def objects(self, store: Store) -> Iterator[tuple[Key, Standing | None]]:
        """What became of the objects, one by one."""
        objects, self._objects = self._objects, set()
        for key in objects:
            standing = Standing(store.accepted.get(key), store.rejected.get(key))
            yield key, standing if standing.is_anything else None

    def changes(
        self, unreadable: Mapping[str, Unreadable], kept: Mapping[Recipe, Mapping[Host, Kept]]
    ) -> Changes:
        """What became of the rest, with what changed of what is kept in the recipes in use."""
        files, self._files = self._files, set()
        kept = {recipe: of for recipe, of in kept.items() if not isinstance(recipe, EnvoyFilters)}
        before, self.recipes = self.recipes, set(kept)
        return Changes(
            files={origin: unreadable.get(origin) for origin in files},
            recipes={recipe: recipe in kept for recipe in before ^ self.recipes},
            kept={(recipe, host): each for recipe, of in kept.items() for host, each in of.items()},
        )


class Unconfirmed:
    """What was restored and no source has spoken of yet: it stays until the sources are at rest.

    What stands in a file that cannot be read now is that file's last good, and stays with it.
    """

    def __init__(self, last_good: LastGood) -> None:
        self._objects = {key: standing.origin for key, standing in last_good.objects.items()}
        self._files = set(last_good.files)
        self._heard_of_any = False

    @property
    def is_all(self) -> bool:
        """Whether there are objects and the sources spoke of nothing, neither these nor others."""
        return bool(self._objects) and not self._heard_of_any

    def __bool__(self) -> bool:
        return bool(self._objects or self._files)

    def hear(self, event: Event) -> None:
        """A source speaks of an object or of a file."""
        match event:
            case Upsert() | Rejected() | Delete():
                self._objects.pop(event.key, None)
                self._heard_of_any = True
            case Unreadable():
                self._files.discard(event.origin)
                self._heard_of_any = True
            case _:
                pass

    def stands_on(self, file: Unreadable) -> bool:
        """Whether objects of a file that hides are known after all, from before the restart."""
        return any(_is_of(origin, file) for origin in self._objects.values())

    def let_go(self, unreadable: Mapping[str, Unreadable]) -> list[Delete | Unreadable]:
        """The sources have said all that there is: what they did not speak of is gone."""
        hiding = [file for file in unreadable.values() if file.hides]
        gone = [
            key
            for key, origin in self._objects.items()
            if not any(_is_of(origin, file) for file in hiding)
        ]
        events: list[Delete | Unreadable] = [Delete(key=key) for key in gone]
        events += (Unreadable(origin=origin, problems=()) for origin in sorted(self._files))
        for key in gone:
            del self._objects[key]
        self._files.clear()
        return events


def _is_of(origin: str, file: Unreadable) -> bool:
    """Whether an object of this origin is in the file, or below it: a folder ends with a slash."""
    return origin == file.origin or (file.origin.endswith("/") and origin.startswith(file.origin))
