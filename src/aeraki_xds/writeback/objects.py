"""The objects of a cluster that may be ours: how they are named, read, marked and told apart.

In: JSON of the API server. Out: `Existing`, and the bodies of what is written. Who owns an object
is said by two labels: `manager: Aeraki`, as Aeraki writes it, and `aeraki.io/instance`, which tells
two installations in one cluster apart (specification, R-10).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import orjson

from aeraki_xds.translate.output import ISTIO, MANAGER

INSTANCE: Final = "aeraki.io/instance"
"""The label that says which installation wrote an object."""

VIRTUAL_SERVICE: Final = "VirtualService"
ENVOY_FILTER: Final = "EnvoyFilter"
PLURALS: Final = {VIRTUAL_SERVICE: "virtualservices", ENVOY_FILTER: "envoyfilters"}
"""The kinds that are written, in the order of writing: the listener before what patches it."""

_OURS: Final = "aeraki-"
"""How the names of all that Aeraki ever wrote begin (specification, Appendix A)."""


class ObjectId(NamedTuple):
    """Which object."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        """`Kind/namespace/name`, as `validate` and the logs print it."""
        return f"{self.kind}/{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """An object as it is to be; equal versions are equal bodies."""

    id: ObjectId
    version: str
    body: bytes = field(repr=False)  # there may be passwords in it


@dataclass(frozen=True, slots=True, kw_only=True)
class Existing:
    """An object as the API server has it, without its managed fields."""

    id: ObjectId
    uid: str
    resource_version: str
    labels: Mapping[str, str]
    body: bytes = field(repr=False)

    @classmethod
    def of(cls, kind: str, raw: dict[str, Any]) -> Existing:
        """Read an object; items of a list do not say their kind. Raises KeyError for what is no
        object."""
        metadata = raw["metadata"]
        metadata.pop("managedFields", None)
        return cls(
            id=ObjectId(kind, metadata["namespace"], metadata["name"]),
            uid=metadata["uid"],
            resource_version=metadata["resourceVersion"],
            labels=metadata.get("labels") or {},
            body=orjson.dumps(raw),
        )

    @property
    def is_managed(self) -> bool:
        """Whether an Aeraki wrote it, whichever."""
        return self.labels.get("manager") == MANAGER


@dataclass(frozen=True, slots=True, kw_only=True)
class Install:
    """Whose objects are ours.

    `adopts`: what has no instance label may be of the Aeraki whose place we take. In our root
    namespace it is, for that Aeraki held the lock there that is now ours. Elsewhere (`exportTo`,
    gateways, namespace scope) it is where we want such an object, or did: an Aeraki of another root
    namespace may write there too, and what it wants cannot be known here.
    """

    instance: str
    root_namespace: str
    adopts: bool

    def owns(self, found: Existing, *, was_wanted: bool) -> bool:
        """Whether an object may be altered and deleted; `was_wanted`: by us, now or before."""
        if not found.is_managed or not found.id.name.startswith(_OURS):
            return False
        instance = found.labels.get(INSTANCE)
        if instance is not None:
            return instance == self.instance
        return self.adopts and (was_wanted or found.id.namespace == self.root_namespace)


def created(wanted: Wanted, install: Install, version: str) -> bytes:
    """The body of a creation, for a served version of the API."""
    body = orjson.loads(wanted.body)
    _mark(body["metadata"], install)
    return _dumped(body, version)


def updated(wanted: Wanted, found: Existing, install: Install, version: str) -> bytes:
    """The body of an update: our spec and labels, and everything else as it is.

    The spec is replaced as a whole, on condition that the object is as it was read. A server-side
    apply would leave what others have put into it, and what Aeraki once did: to the API server its
    updates are another manager's. One label left in a selector takes the filter from its proxies.
    """
    body = orjson.loads(found.body)
    body |= {"kind": wanted.id.kind, "spec": orjson.loads(wanted.body)["spec"]}
    _mark(body["metadata"], install)
    return _dumped(body, version)


def _mark(metadata: dict[str, Any], install: Install) -> None:
    ours = {"manager": MANAGER, INSTANCE: install.instance}
    metadata["labels"] = (metadata.get("labels") or {}) | ours


def _dumped(body: dict[str, Any], version: str) -> bytes:
    group, _, _ = ISTIO.partition("/")
    body["apiVersion"] = f"{group}/{version}"
    return orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
