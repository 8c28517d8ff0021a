"""One manifest in, what it says about one object out; pure, so any source can use it.

In: a mapping as YAML or JSON gives it, and where it came from. Out: the object with its warnings
(`Upsert`), the object with what is wrong with it (`Rejected`), a mapping that does not say which
object it is (`Unidentified`), or None for the kinds that are other people's. Guaranteed: no plain
data makes this raise, and every fault is reported at once, each under its own field path.

The order is who, then shape, then meaning: `mesh.validation` sees only objects of the right shape,
and a rejected object still has a name and, as far as they can be read, its hosts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeGuard

from aeraki_xds.ingest import core_group, shape
from aeraki_xds.mesh import validation
from aeraki_xds.mesh.change import Rejected, Upsert
from aeraki_xds.mesh.names import Key, Kind, Namespace
from aeraki_xds.mesh.objects import CLUSTER_SCOPED, OBJECT_TYPES, MeshObject
from aeraki_xds.mesh.problems import Problem, error, has_errors
from aeraki_xds.mesh.validation import names

ISTIO_GROUP: Final = "networking.istio.io"
KUBERNETES_GROUP: Final = ""
DISCOVERY_GROUP: Final = "discovery.k8s.io"
AERAKI_GROUPS: Final = ("metaprotocol.aeraki.io", "redis.aeraki.io", "dubbo.aeraki.io")

VERSIONS: Final[dict[str, tuple[str, ...]]] = {
    KUBERNETES_GROUP: ("v1",),
    DISCOVERY_GROUP: ("v1",),
    ISTIO_GROUP: ("v1", "v1beta1", "v1alpha3"),
    **dict.fromkeys(AERAKI_GROUPS, ("v1alpha1",)),
}
"""The versions that are read, newest first; the fields are the same in all of a group."""

_OURS: Final[Mapping[tuple[str, str], Kind]] = {
    (group, kind.value): kind for group, kind in OBJECT_TYPES
}
"""The kinds that are read, by the words of a manifest."""

_TOP_LEVEL: Final = ("apiVersion", "kind", "metadata", "spec", "status")
_DEFAULT_NAMESPACE: Final = "default"
_PARTS: Final = ("spec", "data", "stringData")
"""Where the kinds hold what they are about."""

_OTHER_PARTS: Final[dict[Kind, tuple[str, ...]]] = {
    Kind.ENDPOINT_SLICE: ("addressType", "endpoints", "ports"),
    Kind.POD: (),
}
"""Where these do."""

_CONFIDENTIAL: Final = frozenset({Kind.SECRET, Kind.REDIS_SERVICE, Kind.REDIS_DESTINATION})
"""Kinds that hold passwords: tools put copies of the whole object in its annotations (kubectl's
last-applied-configuration).
"""

_UNANNOTATED: Final = _CONFIDENTIAL | {Kind.ENDPOINT_SLICE, Kind.POD}
"""Kinds of which annotations are not kept: nothing reads these. Those of slices and Pods change
with every heartbeat of somebody's.
"""


@dataclass(frozen=True, slots=True)
class Unidentified:
    """No object can be told from the mapping; `problems` may hold warnings only."""

    problems: tuple[Problem, ...]


def decode(
    document: Mapping[str, object], *, origin: str
) -> Upsert | Rejected | Unidentified | None:
    """What one manifest says."""
    claim = _claim(document)
    if not isinstance(claim, _Claim):
        return claim
    key = _key(document.get("metadata"), claim.kind)
    if not isinstance(key, Key):
        return Unidentified(key)
    problems = _version(claim)
    if not problems:  # another version's fields may have other meanings: do not guess at them
        item, faults = _read(_that_is_read(document, key), claim)
        problems = [*_top_level(document, claim), *faults]
        meant = list(validation.check(item)) if item is not None else []
        if has_errors(faults):  # of an object that is not whole, warnings say more about the hole
            meant = [p for p in meant if has_errors([p]) and not shape.follows_from(p, faults)]
        problems += meant
        if item is not None and not has_errors(problems):
            return Upsert(key=key, item=item, origin=origin, problems=tuple(problems))
    hosts = _hosts(document.get("spec"))
    return Rejected(key=key, origin=origin, problems=tuple(problems), hosts=hosts)


class _Claim(NamedTuple):
    """A manifest that says it is one of ours."""

    group: str
    version: str
    kind: Kind


def _claim(document: Mapping[str, object]) -> _Claim | Unidentified | None:
    """Whose manifest this is. A foreign kind is nobody's business here, not even its name."""
    api_version, kind = document.get("apiVersion"), document.get("kind")
    if not _is_name(api_version) or not _is_name(kind):
        faults = [*_name(api_version, "apiVersion"), *_name(kind, "kind")]
        metadata = document.get("metadata")
        name = metadata.get("name") if isinstance(metadata, Mapping) else None
        return Unidentified((*faults, *_name(name, "metadata.name")))
    group, _, version = api_version.rpartition("/")
    ours = _OURS.get((group, kind))
    if ours is Kind.CONFIG_MAP and not core_group.holds_mesh_config(document):
        return None
    if ours is not None:
        return _Claim(group, version, ours)
    return _stranger(group, kind, tuple(name for of, name in _OURS if of == group))


def _stranger(group: str, kind: str, known: tuple[str, ...]) -> Unidentified | None:
    """A kind that is not ours, unless it was meant to be: then nobody else would tell the user."""
    home = next((of for of in AERAKI_GROUPS if (of, kind) in OBJECT_TYPES), None)
    if home is not None and group in VERSIONS:
        wanted = _api_version(home, VERSIONS[home][0])
        return Unidentified((error("apiVersion", f"must be {wanted} for a {kind}"),))
    if group in AERAKI_GROUPS:
        return _misspelt("kind", kind, known)
    if group.endswith("aeraki.io"):
        return _misspelt("apiVersion", group, (*AERAKI_GROUPS, ISTIO_GROUP))
    # Istio has kinds that we do not know, so only a difference in case is surely a typo.
    if group == ISTIO_GROUP and kind.casefold() in (name.casefold() for name in known):
        return _misspelt("kind", kind, known)
    return None


def _misspelt(field: str, word: str, known: tuple[str, ...]) -> Unidentified:
    hint = shape.did_you_mean(word, known)
    return Unidentified((error(field, f"unknown: {word!r}{hint} (known: {', '.join(known)})"),))


def _key(metadata: object, kind: Kind) -> Key | tuple[Problem, ...]:
    """The identity of an object of ours. Kubernetes' default namespace stands for none."""
    if not isinstance(metadata, Mapping):
        if metadata is None:
            return tuple(_name(None, "metadata.name"))
        return (error("metadata", shape.must_be("an object", metadata)),)
    name, namespace = metadata.get("name"), metadata.get("namespace")
    if kind in CLUSTER_SCOPED:
        namespace = ""
    elif namespace is None or namespace == "":
        namespace = _DEFAULT_NAMESPACE
    if _is_name(name) and isinstance(namespace, str):
        return Key(kind, Namespace(namespace), name)
    wrong = () if isinstance(namespace, str) else _name(namespace, "metadata.namespace")
    return (*_name(name, "metadata.name"), *wrong)


def _is_name(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and value != ""


def _name(value: object, field: str) -> list[Problem]:
    """What keeps a value from naming something."""
    if value is None or value == "":
        return [error(field, "is missing: without it the object cannot be told from others")]
    return [] if isinstance(value, str) else [error(field, shape.must_be("a string", value))]


def _version(claim: _Claim) -> list[Problem]:
    known = VERSIONS[claim.group]
    if claim.version in known:
        return []
    wanted = ", ".join(_api_version(claim.group, version) for version in known)
    return [error("apiVersion", f"version {claim.version!r} is unknown; write one of {wanted}")]


def _api_version(group: str, version: str) -> str:
    return f"{group}/{version}" if group else version


def _read(
    document: Mapping[str, object], claim: _Claim
) -> tuple[MeshObject | None, tuple[Problem, ...]]:
    """The object, as far as it has the shape, and what does not fit."""
    match claim.kind:
        case Kind.SECRET:
            return core_group.secret(document)
        case Kind.CONFIG_MAP:
            return core_group.mesh_config(document)
        case _:
            return shape.read(document, OBJECT_TYPES[claim.group, claim.kind])


def _top_level(document: Mapping[str, object], claim: _Claim) -> list[Problem]:
    """As Aeraki's webhook: fields put beside `spec` would silently mean nothing."""
    if claim.group not in AERAKI_GROUPS:
        return []
    known = ", ".join(_TOP_LEVEL)
    return [
        error(str(name), f"unknown field `{name}`; did you mean it inside `spec`? (known: {known})")
        for name in document
        if name not in _TOP_LEVEL
    ]


def _that_is_read(document: Mapping[str, object], key: Key) -> dict[str, object]:
    """The parts that are read, with the namespace that the key has."""
    metadata = document["metadata"]
    assert isinstance(metadata, Mapping)  # a key was made of it
    named = {**metadata, "namespace": key.namespace}
    if key.kind in _UNANNOTATED:
        named.pop("annotations", None)
    parts = _OTHER_PARTS.get(key.kind, _PARTS)
    return {"metadata": named, **{part: document[part] for part in parts if part in document}}


def _hosts(spec: object) -> frozenset[str]:
    """The hosts that a document names, whatever its kind calls them.

    None if one of them cannot be a host: which one was meant, nobody knows.
    """
    if not isinstance(spec, Mapping):
        return frozenset()
    found: list[object] = []
    for value in (spec.get("hosts"), spec.get("host")):
        if value is not None:
            found += value if isinstance(value, (list, tuple)) else [value]
    hosts = [name for name in found if isinstance(name, str) and not [*names.host(name, "")]]
    return frozenset(hosts) if len(hosts) == len(found) else frozenset()
