"""Drills run one after the other, and the table that says what they found.

In: drills by name. Out: a row each, as soon as it is known, and whether all are good. Guaranteed: a
drill that fails is BAD and says why, and the others are run all the same.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from drills.verdict import Fact, Finding

LIMIT_S: Final = 180.0
"""For one drill; each takes a minute at the most where all is well."""

Drill = Callable[[Path], Awaitable[Finding]]
"""Does something bad in a folder of its own; its docstring says what."""


async def rehearse(drills: Mapping[str, Drill], names: Sequence[str]) -> bool:
    """Run the drills of these names, print the table, and say whether all was good."""
    began = time.monotonic()
    bad: list[str] = []
    for name in names:
        print(f"{name} …", file=sys.stderr, flush=True)
        started = time.monotonic()
        found = await _run(drills[name])
        if not found.good:
            bad.append(name)
        print(row(name, drills[name], found, time.monotonic() - started), flush=True)
    verdict = f"BAD: {', '.join(bad)}" if bad else "all good"
    print(f"{len(names)} drills in {time.monotonic() - began:.0f} s, {verdict}", flush=True)
    return not bad


def row(name: str, drill: Drill, found: Finding, took: float) -> str:
    """What happened, and below it what was measured, the bad of it marked."""
    told = " ".join((drill.__doc__ or "").split())
    lines = [f"{'ok' if found.good else 'BAD':4}{name:10}{told} ({took:.0f} s)"]
    lines += [f"{'' if fact.good else 'BAD':>13} {fact.told}" for fact in found.facts]
    return "\n".join(lines)


async def _run(drill: Drill) -> Finding:
    with tempfile.TemporaryDirectory(prefix="drill-") as work:
        try:
            async with asyncio.timeout(LIMIT_S):
                return await drill(Path(work))
        except Exception as failure:  # noqa: BLE001 (whatever it is, it is this drill's finding)
            reason = " ".join(str(failure).split()) or f"not over within {LIMIT_S:g} s"
            return Finding(facts=(Fact(told=f"{type(failure).__name__}: {reason}", good=False),))
