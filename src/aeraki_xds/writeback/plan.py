"""What is to be written, from what is wanted and what is there. Pure.

In: the wanted objects, those that may be ours, and what deletions are confirmed. Out: a `Plan`,
with the reason of each step. Rules: what is equal is not written; what is not ours is a conflict; a
host that stands on its last good output loses nothing; a mass deletion waits until somebody
confirms it (specification, M-7 and M-8, R-10).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

import orjson

from aeraki_xds.mesh.names import Host
from aeraki_xds.writeback.compare import differences
from aeraki_xds.writeback.objects import PLURALS, Existing, Install, ObjectId, Wanted

MANY: Final = 10
"""So many deletions need no confirmation…"""
MANY_PERCENT: Final = 20
"""… nor does this part of all that is ours."""

_OF_A_HOST: Final = ("aeraki-outbound-", "aeraki-inbound-")
_OF_GATEWAYS: Final = ("aeraki-gateway-outbound-", "aeraki-vs-")
_CERTAIN: Final = 240
"""What remains of a name whose end is a digest, because it would be too long."""

_ORDER: Final = {kind: n for n, kind in enumerate(PLURALS)}

Compare = Callable[[Wanted, Existing], tuple[str, ...]]
"""The paths of the fields in which they differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Apply:
    """An object to be created, or where it is `found`, updated in the fields that `differ`."""

    wanted: Wanted
    found: Existing | None = None
    differ: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What a plan is made of.

    `complete`: everything that is wanted is known. `was_wanted`: what we asked for at some time
    since we started. `confirmed`: deletions that somebody agreed to. `lately`: how many objects
    were deleted in the last minutes, for a mass deletion may come in small parts.
    """

    wanted: Mapping[ObjectId, Wanted]
    existing: Mapping[ObjectId, Existing]
    install: Install
    complete: bool = True
    standing: frozenset[Host] = frozenset()
    was_wanted: frozenset[ObjectId] | set[ObjectId] = frozenset()
    confirmed: frozenset[ObjectId] = frozenset()
    lately: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The steps, in the order in which they are to be taken: first what is new or differs, then
    what goes.

    `waiting` are deletions that have to be confirmed, by `digest`. `conflicts` are wanted objects
    whose place somebody else's has; `unclaimed` are Aeraki's objects that nobody asks for and that
    may be another installation's.
    """

    applies: tuple[Apply, ...] = ()
    deletes: tuple[Existing, ...] = ()
    waiting: tuple[ObjectId, ...] = ()
    conflicts: tuple[ObjectId, ...] = ()
    unclaimed: tuple[ObjectId, ...] = ()

    @property
    def digest(self) -> str:
        """Names the list of deletions that wait; empty if none do."""
        return digest_of(self.waiting) if self.waiting else ""


def compared(wanted: Wanted, found: Existing, *, any_order: bool) -> tuple[str, ...]:
    """Where the spec that is there differs. With `any_order` matchers may be in any (M-13)."""
    one, other = orjson.loads(wanted.body)["spec"], orjson.loads(found.body).get("spec")
    return tuple(differences(one, other, "spec", any_order=any_order))


def plan_of(inputs: Inputs, compare: Compare) -> Plan:
    """Decide."""
    if not inputs.complete:
        return Plan()
    install, existing = inputs.install, inputs.existing
    applies: list[Apply] = []
    conflicts: list[ObjectId] = []
    for identity, wanted in inputs.wanted.items():
        found = existing.get(identity)
        if found is None:
            applies.append(Apply(wanted=wanted))
        elif not install.owns(found, was_wanted=True):
            conflicts.append(identity)
        elif differ := compare(wanted, found):
            applies.append(Apply(wanted=wanted, found=found, differ=differ))
    gone, unclaimed = _unwanted(inputs)
    deletes, waiting = _confirmed(inputs, gone)
    return Plan(
        applies=tuple(sorted(applies, key=lambda each: _rank(each.wanted.id))),
        deletes=tuple(existing[each] for each in deletes),
        waiting=waiting,
        conflicts=tuple(sorted(conflicts)),
        unclaimed=unclaimed,
    )


def digest_of(objects: Iterable[ObjectId]) -> str:
    """A short name of a list of objects, whatever its order."""
    listed = "\n".join(sorted(map(str, objects)))
    return blake2b(listed.encode(), digest_size=6).hexdigest()


def _unwanted(inputs: Inputs) -> tuple[list[ObjectId], tuple[ObjectId, ...]]:
    """What of ours nobody asks for any more, filters before their listeners; and what may be
    ours."""
    stays = protected(inputs.standing)
    gone: list[ObjectId] = []
    unclaimed: list[ObjectId] = []
    for identity in sorted(inputs.existing.keys() - inputs.wanted.keys(), key=_rank):
        found = inputs.existing[identity]
        if inputs.install.owns(found, was_wanted=identity in inputs.was_wanted):
            if not identity.name.startswith(stays):
                gone.append(identity)
        elif inputs.install.owns(found, was_wanted=True):
            unclaimed.append(identity)
    return gone[::-1], tuple(unclaimed)


def _confirmed(inputs: Inputs, gone: list[ObjectId]) -> tuple[list[ObjectId], tuple[ObjectId, ...]]:
    """Which deletions may go on, and which wait. Of those that are too many none goes on."""
    unasked = [each for each in gone if each not in inputs.confirmed]
    count = len(unasked) + inputs.lately
    staying = (found for each, found in inputs.existing.items() if each in inputs.wanted)
    ours = len(gone) + inputs.lately
    ours += sum(inputs.install.owns(found, was_wanted=True) for found in staying)
    if count <= MANY or count * 100 <= ours * MANY_PERCENT:
        return gone, ()
    return [each for each in gone if each in inputs.confirmed], tuple(sorted(unasked))


def protected(standing: Iterable[Host]) -> tuple[str, ...]:
    """How the names of objects begin that have to stay. Too many rather than too few: a host may be
    spelled short or in capitals (`placing.object_name`)."""
    spelled = {name for host in standing for name in (host, re.sub(r"\.[^.]+\.svc\..*", "", host))}
    names = [
        re.sub(r"[^a-z0-9.-]", "-", f"{prefix}{host}-".lower())[:_CERTAIN]
        for prefix in _OF_A_HOST
        for host in spelled
    ]
    return (*names, *(_OF_GATEWAYS if names else ()))


def _rank(identity: ObjectId) -> tuple[int, ObjectId]:
    return _ORDER[identity.kind], identity
