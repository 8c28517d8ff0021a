"""A process that takes commands: one line of JSON in, one line of JSON out.

In: a program and its arguments. Out: a `Child` that can be asked. Guaranteed: it is gone when its
block is left. Load generators and the servers that they are let loose on are each such a process,
so that none of them costs another anything but its share of the machine.
"""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import orjson

_LONGEST_LINE: Final = 64 << 20
"""Bytes: when each of twenty thousand streams was sent something is half a megabyte."""


class ChildEnded(RuntimeError):
    """It ended when it was asked something; what it said is on standard error."""


class Child:
    """A running process; made by `running` only."""

    def __init__(self, process: Process) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def let_go(self) -> None:
        """There will be no more commands."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    async def ended(self) -> int:
        """Its exit status, when it has ended."""
        return await self._process.wait()

    async def ask(self, do: str, **more: Any) -> dict[str, Any]:
        """Give a command and wait for the answer. Raises ChildEnded."""
        assert self._process.stdin is not None
        self._process.stdin.write(orjson.dumps({"do": do, **more}, default=str) + b"\n")
        return await self.answer()

    async def answer(self) -> dict[str, Any]:
        """The next line that it says. Raises ChildEnded."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            message = f"the process {self.pid} ended; what it said is on standard error"
            raise ChildEnded(message)
        answer: dict[str, Any] = orjson.loads(line)
        return answer


@asynccontextmanager
async def running(*command: str) -> AsyncIterator[Child]:
    """Run a program for the length of the block."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=PIPE, stdout=PIPE, limit=_LONGEST_LINE
    )
    try:
        yield Child(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
