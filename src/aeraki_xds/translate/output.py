"""What translation hands on: drafts, what is withheld, and what it found wrong.

A *draft* is a message with the name and type under which it is served. A *withheld* name is one
about which nothing may be said now (design §6: unresolvable reference, held router): whatever was
served under it stays, and what that needs stays with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from aeraki_xds.encode import Message, type_url
from aeraki_xds.mesh.names import Key
from aeraki_xds.mesh.problems import Finding, Problem


class DraftId(NamedTuple):
    """Type URL and name of a resource."""

    type_url: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A resource before it is encoded.

    `needs` must be served for this one to be of use: a cluster its endpoints, a listener its
    routes, a route its clusters.
    """

    id: DraftId
    message: Message
    needs: tuple[DraftId, ...] = ()

    @classmethod
    def of(cls, name: str, message: Message, needs: Iterable[DraftId] = ()) -> Draft:
        """A draft of a message under a name."""
        return cls(
            id=DraftId(type_url(message), name), message=message, needs=tuple(sorted(set(needs)))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Everything that one host gives to one way of delivery.

    `age` sorts hosts that claim one name (a listener's socket): the lowest has it.
    """

    age: tuple[str, ...] = ()
    drafts: tuple[Draft, ...] = ()
    withheld: frozenset[DraftId] = frozenset()
    findings: tuple[Finding, ...] = ()

    def __add__(self, other: Output) -> Output:
        return Output(
            age=self.age or other.age,
            drafts=self.drafts + other.drafts,
            withheld=self.withheld | other.withheld,
            findings=self.findings + other.findings,
        )


def found(key: Key, problems: Iterable[Problem]) -> tuple[Finding, ...]:
    """Findings about one object."""
    return tuple(Finding(key=key, problem=problem) for problem in problems)
