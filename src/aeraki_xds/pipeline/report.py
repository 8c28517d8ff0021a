"""What is wrong with the configuration, in one list, whoever found it.

In: rejections of the store, unreadable files, findings of translation. Out: `Entry`s sorted by
origin and object, for the log, `/debug/rejections`, `validate` and `translate`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from aeraki_xds.ingest.event import Unreadable
from aeraki_xds.mesh.names import Key
from aeraki_xds.mesh.problems import Finding, Problem, Severity
from aeraki_xds.mesh.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One problem, with the file and the object it is about.

    `in_force`: the object that the problem is about is used, in an earlier version if this one
    cannot be.
    """

    origin: str
    key: Key | None
    problem: Problem
    in_force: bool = True

    def __str__(self) -> str:
        """`file: Kind/namespace/name: field path: message`, the contract of `validate`."""
        subject = f"{self.key}: " if self.key else ""
        return f"{self.origin}: {subject}{self.problem}"

    @property
    def is_error(self) -> bool:
        """Whether it must be mended."""
        return self.problem.severity is Severity.ERROR


def entries(
    store: Store, unreadable: Iterable[Unreadable], findings: Iterable[Finding]
) -> list[Entry]:
    """Everything that is wrong now, each thing once."""
    found = [
        Entry(origin=said.origin, key=None, problem=problem)
        for said in unreadable
        for problem in said.problems
    ]
    for key, rejected in store.rejected.items():
        found += (
            Entry(origin=rejected.origin, key=key, problem=p, in_force=key in store.objects)
            for p in rejected.problems
        )
    for key, accepted in store.accepted.items():
        if key not in store.rejected:
            found += (Entry(origin=accepted.origin, key=key, problem=p) for p in accepted.problems)
    for finding in findings:
        origin = store.accepted[finding.key].origin if finding.key in store.accepted else ""
        found.append(Entry(origin=origin, key=finding.key, problem=finding.problem))
    return sorted(dict.fromkeys(found), key=str)
