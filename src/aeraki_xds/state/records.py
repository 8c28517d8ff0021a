"""One row for each thing that is in force or stands beside it, and back. Pure.

In: `Changes`. Out: rows to write and rows to remove; of rows read, a `LastGood`. Guaranteed: a row
that is not what was written, or that this version cannot read, is never taken for something else
and never passed over: an object becomes a rejection of its key that holds its hosts, and the whole
is said to be less than whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import msgspec
import structlog

from aeraki_xds.ingest.event import Unreadable
from aeraki_xds.mesh.change import Rejected, Upsert
from aeraki_xds.mesh.names import Host, Key, Kind, Namespace
from aeraki_xds.mesh.objects import OBJECT_TYPES, Duration, Password
from aeraki_xds.mesh.problems import Problem, error
from aeraki_xds.mesh.tenancy import hosts_named
from aeraki_xds.pipeline.last_good import Changes, Kept, LastGood, Standing
from aeraki_xds.translate.compose import Ads, MetaRds, Recipe
from aeraki_xds.translate.envoyfilter.profile import EnvoyFilters
from aeraki_xds.translate.listeners import Variant
from aeraki_xds.xds.resource import Name, Resource, ResourceId, TypeUrl

VERSION: Final = 1
"""Of what the rows mean. Raise it when a version of before could be read as something else."""

_OBJECT: Final = "object"
_FILE: Final = "file"
_RECIPE: Final = "recipe"
_KEPT: Final = "kept "  # and the recipe

_TYPES: Final = {kind: type_ for (_, kind), type_ in OBJECT_TYPES.items()}
_log = structlog.get_logger("aeraki_xds.state")


class Place(NamedTuple):
    """What kind of thing, and which; None is all of the kind."""

    what: str
    name: str | None


class Row(NamedTuple):
    """A thing as it is kept. `about` says of an object whose `body` cannot be read what to hold;
    `digest` is of all that is before it.
    """

    what: str
    name: str
    about: str
    body: bytes
    digest: bytes

    @classmethod
    def of(cls, what: str, name: str, body: bytes, about: str = "") -> Row:
        """A row that proves itself."""
        return cls(what, name, about, body, _digest(what, name, about, body))

    @property
    def is_sound(self) -> bool:
        """Whether it is what was written. Raises TypeError if a column has another type."""
        return self.digest == _digest(self.what, self.name, self.about, self.body)


@dataclass(slots=True, kw_only=True)
class Found:
    """What was read; to write `mended` and to remove the rows with the digests in `garbage` brings
    the rows up to it.
    """

    last_good: LastGood
    mended: Changes = field(default_factory=Changes)
    garbage: list[bytes] = field(default_factory=list)


class _Accepted(msgspec.Struct, frozen=True, kw_only=True):
    origin: str
    problems: tuple[Problem, ...]
    item: msgspec.Raw


class _Rejected(msgspec.Struct, frozen=True, kw_only=True):
    origin: str
    problems: tuple[Problem, ...]
    hosts: tuple[str, ...]


class _Standing(msgspec.Struct, frozen=True, kw_only=True):
    accepted: _Accepted | None
    rejected: _Rejected | None


class _Resource(msgspec.Struct, frozen=True, kw_only=True):
    type_url: str
    name: str
    packed: bytes
    digest: int
    needs: tuple[tuple[str, str], ...]


class _MetaRds(msgspec.Struct, frozen=True, kw_only=True, tag="metards"):
    pass


class _Ads(msgspec.Struct, frozen=True, kw_only=True, tag="ads"):
    bind: str
    extensions: tuple[str, ...] | None


def removals(changes: Changes) -> Iterator[Place]:
    """What is there no more; a recipe takes with it what is kept of it."""
    yield from (
        Place(_OBJECT, _text(key)) for key, standing in changes.objects.items() if standing is None
    )
    yield from (Place(_FILE, _text(name)) for name, said in changes.files.items() if said is None)
    for recipe, is_used in changes.recipes.items():
        yield Place(_KEPT + _recipe_text(recipe), None)
        if not is_used:
            yield Place(_RECIPE, _recipe_text(recipe))
    for (recipe, host), kept in changes.kept.items():
        if not kept:
            yield Place(_KEPT + _recipe_text(recipe), _text(host))


def rows(changes: Changes) -> Iterator[Row]:
    """What is there now."""
    for key, standing in changes.objects.items():
        if standing is not None:
            body = _body(str(key), _standing(standing))
            yield Row.of(_OBJECT, _text(key), body, _about(standing))
    for name, said in changes.files.items():
        if said is not None:
            yield Row.of(_FILE, _text(name), _body(name, said))
    for recipe, is_used in changes.recipes.items():
        if is_used:
            yield Row.of(_RECIPE, _recipe_text(recipe), b"")
    for (recipe, host), kept in changes.kept.items():
        if kept:
            body = _body(host, [_resource(each) for each in kept])
            yield Row.of(_KEPT + _recipe_text(recipe), _text(host), body)


def restored(found: Iterable[Row]) -> Found:
    """What the rows say. Each that cannot be read is logged."""
    objects: dict[Key, Standing] = {}
    files: dict[str, Unreadable] = {}
    kept: dict[Recipe, dict[Host, Kept]] = {}
    mended = Changes()
    garbage: list[bytes] = []
    for row in found:
        try:
            _read(row, objects, files, kept)
        except (ValueError, TypeError, KeyError, msgspec.MsgspecError) as reason:
            _log.warning("cannot be restored", what=row.what, name=row.name, reason=str(reason))
            key = _key_of(row)
            if key is None:
                garbage.append(row.digest)
            else:
                objects[key] = mended.objects[key] = _held(key, row)
    whole = not mended and not garbage
    last_good = LastGood(objects=objects, files=files, kept=kept, whole=whole)
    return Found(last_good=last_good, mended=mended, garbage=garbage)


def _read(
    row: Row,
    objects: dict[Key, Standing],
    files: dict[str, Unreadable],
    kept: dict[Recipe, dict[Host, Kept]],
) -> None:
    """Put what a row says in its place. Raises ValueError, TypeError, KeyError, MsgspecError."""
    if not row.is_sound:
        message = "it is not what was written"
        raise ValueError(message)
    if row.what == _OBJECT:
        key = Key(*json.loads(row.name))
        objects[key] = _standing_of(key, _decoder(_Standing).decode(row.body))
    elif row.what == _FILE:
        said: Unreadable = _decoder(Unreadable).decode(row.body)
        files[said.origin] = said
    elif row.what == _RECIPE:
        kept.setdefault(_recipe_of(row.name), {})
    elif row.what.startswith(_KEPT):
        resources: tuple[_Resource, ...] = _decoder(tuple[_Resource, ...]).decode(row.body)
        of = kept.setdefault(_recipe_of(row.what.removeprefix(_KEPT)), {})
        of[Host(json.loads(row.name))] = tuple(map(_resource_of, resources))
    else:
        message = "it is of no known kind"
        raise ValueError(message)


def _held(key: Key, row: Row) -> Standing:
    """An object of which only the name is known, and with luck its file and its hosts."""
    origin, hosts = "", frozenset[str]()
    try:
        origin, named = json.loads(row.about)
        hosts = frozenset(map(str, named))
    except (ValueError, TypeError):
        pass
    message = "its last good version, from before the restart, cannot be read; its hosts are held"
    problems = (error("", message),)
    return Standing(rejected=Rejected(key=key, origin=str(origin), problems=problems, hosts=hosts))


def _key_of(row: Row) -> Key | None:
    try:
        kind, namespace, name = json.loads(row.name) if row.what == _OBJECT else "---"
        return Key(Kind(kind), Namespace(str(namespace)), str(name))
    except (ValueError, TypeError):
        return None


def _standing(said: Standing) -> dict[str, object]:
    """What `_Standing` reads."""
    accepted, rejected = said.accepted, said.rejected
    return {
        "accepted": accepted
        and {"origin": accepted.origin, "problems": accepted.problems, "item": accepted.item},
        "rejected": rejected
        and {
            "origin": rejected.origin,
            "problems": rejected.problems,
            "hosts": sorted(rejected.hosts),
        },
    }


def _standing_of(key: Key, kept: _Standing) -> Standing:
    accepted, rejected = kept.accepted, kept.rejected
    key = Key(Kind(key.kind), key.namespace, key.name)
    return Standing(
        accepted=Upsert(
            key=key,
            item=_decoder(_TYPES[key.kind]).decode(accepted.item),
            origin=accepted.origin,
            problems=accepted.problems,
        )
        if accepted
        else None,
        rejected=Rejected(
            key=key,
            origin=rejected.origin,
            problems=rejected.problems,
            hosts=frozenset(rejected.hosts),
        )
        if rejected
        else None,
    )


def _about(said: Standing) -> str:
    """The file of an object, and the hosts that it names."""
    hosts = set(said.rejected.hosts) if said.rejected else set()
    if said.accepted:
        hosts.update(host for _, host in hosts_named(said.accepted.item))
    return json.dumps([said.origin, sorted(hosts)])


def _resource(of: Resource) -> _Resource:
    return _Resource(
        type_url=of.id.type_url, name=of.name, packed=of.packed, digest=of.digest, needs=of.needs
    )


def _resource_of(kept: _Resource) -> Resource:
    needs = tuple(ResourceId(TypeUrl(type_url), Name(name)) for type_url, name in kept.needs)
    identity = ResourceId(TypeUrl(kept.type_url), Name(kept.name))
    return Resource(identity, kept.packed, kept.digest, needs)


def _recipe_text(recipe: Recipe) -> str:
    match recipe:
        case MetaRds():
            return msgspec.json.encode(_MetaRds()).decode()
        case Ads(variant=variant):
            has = variant.extensions
            extensions = None if has is None else tuple(sorted(has))
            return msgspec.json.encode(_Ads(bind=variant.bind, extensions=extensions)).decode()
        case EnvoyFilters():  # `Touched` says nothing of them
            message = "EnvoyFilters are kept by the cluster that they are in"
            raise TypeError(message)


def _recipe_of(text: str) -> Recipe:
    kept = _decoder(_MetaRds | _Ads).decode(text)
    if isinstance(kept, _MetaRds):
        return MetaRds()
    extensions = None if kept.extensions is None else frozenset(kept.extensions)
    return Ads(variant=Variant(bind=kept.bind, extensions=extensions))


def _text(name: object) -> str:
    """A name as ASCII: a manifest may hold halves of surrogate pairs, which SQLite refuses."""
    return json.dumps(name)


def _body(name: str, value: object) -> bytes:
    """A body; an empty one, which cannot be read, of what cannot be written."""
    try:
        return _ENCODER.encode(value)
    except (ValueError, TypeError) as reason:
        _log.warning("cannot be kept for a restart", name=name, reason=str(reason))
        return b""


def _digest(what: str, name: str, about: str, body: bytes) -> bytes:
    head = "\0".join((what, name, about)).encode(errors="replace")
    return blake2b(head + b"\0" + body, digest_size=8).digest()


def _plain(value: object) -> object:
    if isinstance(value, Duration):
        return value.nanoseconds
    if isinstance(value, Password):  # the file is for its owner alone
        return value.reveal()
    raise TypeError(type(value).__name__)


def _custom(type_: type, value: Any) -> object:
    if type_ is object:  # a field that is only passed on
        return value
    if type_ is Duration and isinstance(value, int):
        return Duration(value)
    if type_ is Password and isinstance(value, str):
        return Password(value)
    raise TypeError(type_.__name__)


_ENCODER: Final = msgspec.json.Encoder(enc_hook=_plain, order="deterministic")


@cache
def _decoder(type_: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(type_, dec_hook=_custom)
