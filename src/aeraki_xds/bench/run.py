"""One load against any server, as `aeraki-xds bench` runs it.

In: a load, a command that changes what the server serves, the id of its process if it runs here.
Out: figures. Guaranteed: without a command nothing is changed, and without a process id nothing is
said of what the server's side costs.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic_ns
from typing import Final

from aeraki_xds.bench import process
from aeraki_xds.bench.fleet import fleet
from aeraki_xds.bench.load import Load
from aeraki_xds.bench.rounds import WARM_UP, Figures, Rounds

ROUND: Final = "AERAKI_BENCH_ROUND"
"""The environment variable that tells a command the number of its call."""

_QUIET_S: Final = 0.02
_IDLE_SHARE: Final = 0.02
"""A server that takes less than this share of a core for so long has handled what came."""


class ChangeFailedError(Exception):
    """The command that changes what is served has failed."""


@dataclass(slots=True, kw_only=True)
class Outsider:
    """A server that one can only look at, and somebody's command that makes it change."""

    command: str = ""
    pid: int | None = None
    calls: int = 0

    async def expect(self, *, acks: int) -> None:
        """It does not count."""

    async def publish(self, *, acks: int) -> int:
        """Run the command; the time counts from there. Raises ChangeFailedError."""
        self.calls += 1
        environment = {**os.environ, ROUND: str(self.calls)}
        at_ns = monotonic_ns()
        changing = await asyncio.create_subprocess_shell(self.command, env=environment)
        if await changing.wait() != 0:
            message = f"{self.command!r} ended with status {changing.returncode}"
            raise ChangeFailedError(message)
        return at_ns

    async def acked(self) -> int | None:
        """Wait until the server has nothing to do, if one can see that."""
        while self.pid is not None:
            before = process.cpu_s(self.pid)
            await asyncio.sleep(_QUIET_S)
            if process.cpu_s(self.pid) - before < _QUIET_S * _IDLE_SHARE:
                break
        return None

    async def cpu_s(self) -> float | None:
        """From outside."""
        return process.cpu_s(self.pid) if self.pid is not None else None

    async def memory_kb(self) -> float | None:
        """From outside."""
        return process.resident_kb(self.pid) if self.pid is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A load and what is done with it. `patience` is how many seconds anything may take."""

    load: Load
    target: Outsider
    rounds: int
    processes: int
    patience: float = 60.0


async def run(plan: Run, *, say: Callable[[str], None]) -> Figures:
    """Connect, then change as often as there are rounds; `say` is told how far it is. Raises
    LostError, ChangeFailedError, OSError.
    """
    async with fleet(plan.load, processes=plan.processes, patience=plan.patience) as generators:
        rounds = Rounds(fleet=generators, target=plan.target)
        await rounds.connect(
            lambda count: say(f"{count:,} of {plan.load.reading:,} streams served")
        )
        if plan.target.command:
            every = plan.rounds + WARM_UP
            await rounds.run(
                plan.rounds, progress=lambda n: say(f"round {n + WARM_UP + 1} of {every}")
            )
        return rounds.figures


def running_here(pid: int) -> bool:
    """Whether there is such a process."""
    return Path(f"/proc/{pid}").is_dir()
