"""What would be written, for who wants to see it first: `--shadow`.

In: the same plans as the writer's. Out: a line for each object when that is news, with the fields
that differ; never a value, for there may be passwords. Guaranteed: nothing is written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Final

from aeraki_xds.writeback.plan import Plan
from aeraki_xds.writeback.planner import Planner

_SHOWN: Final = 5
"""So many fields of an object are named."""


class Printer:
    """Prints by `say`, which is given one line at a time."""

    def __init__(self, planner: Planner, say: Callable[[str], object]) -> None:
        self._planner = planner
        self._say = say
        self._said: frozenset[str] = frozenset()

    async def run(self) -> None:
        """Print until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._planner.run())
            tasks.create_task(self._print())

    async def _print(self) -> None:
        while True:
            await self._planner.news()
            if self._planner.is_complete:
                self._tell(await self._planner.plan())

    def _tell(self, plan: Plan) -> None:
        lines = list(lines_of(plan))
        for line in lines:
            if line not in self._said:
                self._say(line)
        self._said = frozenset(lines)


def lines_of(plan: Plan) -> Iterator[str]:
    """A plan as lines: `+` new, `~` differs, `-` goes, `?` would have to be confirmed, `!` is
    somebody else's."""
    for step in plan.applies:
        if step.found is None:
            yield f"+ {step.wanted.id}"
        else:
            yield f"~ {step.wanted.id}: {_fields(step.differ)}"
    for found in plan.deletes:
        yield f"- {found.id}"
    for waiting in plan.waiting:
        yield f"? {waiting}: one of {len(plan.waiting)} deletions, to be confirmed"
    for conflict in plan.conflicts:
        yield f"! {conflict}: somebody else's"
    for unclaimed in plan.unclaimed:
        yield f"! {unclaimed}: nobody asks for it; it may be another installation's"


def _fields(paths: tuple[str, ...]) -> str:
    named = ", ".join(paths[:_SHOWN])
    more = len(paths) - _SHOWN
    return f"{named}, and {more} more" if more > 0 else named
