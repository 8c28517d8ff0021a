"""What translation hands on: drafts, what is withheld, and what it found wrong.

A *draft* is a message with the name and type under which it is served, or a Kubernetes object to be
written. A *withheld* name is one about which nothing may be said now (design §6: unresolvable
reference, held router): whatever was served under it stays, and what that needs stays with it. Of a
host that is *held* everything stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec
import orjson

from aeraki_xds.encode import Message, encode, type_url
from aeraki_xds.mesh.names import Key
from aeraki_xds.mesh.problems import Finding, Problem


class DraftId(NamedTuple):
    """Type URL and name of a resource."""

    type_url: str
    name: str


ISTIO: Final = "networking.istio.io/v1alpha3"
MANAGER: Final = "Aeraki"
"""Label `manager` of what is written, and the field manager (specification, Appendix A)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A Kubernetes object of Istio's that is ours to write; `spec` is plain JSON."""

    kind: str
    namespace: str
    name: str
    spec: Mapping[str, object] = field(repr=False)  # there may be passwords in it

    @property
    def id(self) -> DraftId:
        """API version with kind, and `namespace/name`."""
        return DraftId(f"{ISTIO}/{self.kind}", f"{self.namespace}/{self.name}")

    def encoded(self) -> bytes:
        """The whole object as JSON with sorted keys: equal objects are equal bytes."""
        metadata = {"name": self.name, "namespace": self.namespace, "labels": {"manager": MANAGER}}
        whole = {"apiVersion": ISTIO, "kind": self.kind, "metadata": metadata, "spec": self.spec}
        return orjson.dumps(whole, option=orjson.OPT_SORT_KEYS)


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A resource before it is encoded.

    `needs` must be served for this one to be of use: a cluster its endpoints, a listener its
    routes, a route its clusters.
    """

    id: DraftId
    message: Message | Manifest
    needs: tuple[DraftId, ...] = ()

    @classmethod
    def of(cls, name: str, message: Message, needs: Iterable[DraftId] = ()) -> Draft:
        """A draft of a message under a name."""
        return cls(
            id=DraftId(type_url(message), name), message=message, needs=tuple(sorted(set(needs)))
        )

    @classmethod
    def to_write(cls, manifest: Manifest) -> Draft:
        """A draft of a Kubernetes object."""
        return cls(id=manifest.id, message=manifest)

    def encoded(self) -> bytes:
        """Its bytes, as they are served or written."""
        message = self.message
        return message.encoded() if isinstance(message, Manifest) else encode(message)


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one host gives to one way of delivery.

    `age` sorts hosts that claim one name (a listener's socket): the lowest has it. `held`: nothing
    of it is decided, everything that there was stays.
    """

    age: tuple[str, ...] = ()
    drafts: tuple[Draft, ...] = ()
    withheld: frozenset[DraftId] = frozenset()
    findings: tuple[Finding, ...] = ()
    held: bool = False

    def __add__(self, other: Output) -> Output:
        return Output(
            age=self.age or other.age,
            drafts=self.drafts + other.drafts,
            withheld=self.withheld | other.withheld,
            findings=self.findings + other.findings,
            held=self.held or other.held,
        )


def found(key: Key, problems: Iterable[Problem]) -> tuple[Finding, ...]:
    """Findings about one object."""
    return tuple(Finding(key=key, problem=problem) for problem in problems)
