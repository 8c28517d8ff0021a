"""Child processes that cannot outlive us.

In: a command. Out: a process in a group of its own, and the first line that it says. Guaranteed:
it is gone and reaped when its block is left, whether by its end, an error, a cancellation or
Ctrl-C; on Linux the kernel kills it when this process dies in a way that no `finally` sees.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Sequence
from typing import Final

START_LIMIT_S: Final = 30.0  # to the first line; takes 0.3 s, but not on a loaded machine
STOP_GRACE_S: Final = 5.0  # between SIGTERM and SIGKILL; all of ours take milliseconds

# `prctl(PR_SET_PDEATHSIG)` outlives `execv`, so a short-lived interpreter can set it for the child.
# (A `preexec_fn` would run Python between fork and exec of a process that has threads.) The check
# after it closes the gap: a parent that died before the call sends no signal.
_LEASH: Final = """\
import ctypes, os, signal, sys
parent, command = int(sys.argv[1]), sys.argv[2:]
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != parent:
    sys.exit("the process that wanted this one is gone")
os.execv(command[0], command)
"""


class NotStartedError(RuntimeError):
    """A child ended, or said nothing, before it was up; carries what it wrote to stderr."""


def leashed(command: Sequence[str]) -> list[str]:
    """The command, killed by the kernel together with us where the kernel can do that."""
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-I", "-S", "-c", _LEASH, str(os.getpid()), *command]


@contextlib.asynccontextmanager
async def python_module(
    module: str, *arguments: str, announces: str
) -> AsyncIterator[tuple[Process, str]]:
    """Run `python -m module …` and yield it with its first line, which begins with `announces`."""
    with tempfile.TemporaryFile() as errors:
        process = await asyncio.create_subprocess_exec(
            *leashed([sys.executable, "-m", module, *arguments]),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
        try:
            line = await _first_line(process)
            if not line.startswith(announces):
                errors.seek(0)
                reason = errors.read().decode(errors="replace").strip()
                message = f"python -m {module} did not start:\n{reason}"
                raise NotStartedError(message)
            yield process, line.strip()
        finally:
            await stop_process(process)


async def _first_line(process: Process) -> str:
    assert process.stdout is not None  # it was started with a pipe
    try:
        async with asyncio.timeout(START_LIMIT_S):
            return (await process.stdout.readline()).decode()
    except TimeoutError:
        return ""


async def stop_process(process: Process, *, grace_s: float = STOP_GRACE_S) -> None:
    """SIGTERM to the process group, SIGKILL after `grace_s`; returns when it has been reaped.

    For a child started with `start_new_session`. If the wait is cancelled the child is killed at
    once, so a second Ctrl-C hurries this up but leaves nothing behind either.
    """
    try:
        _signal_group(process, signal.SIGTERM)
        await exited(process, within_s=grace_s)
    finally:
        _signal_group(process, signal.SIGKILL)
        await process.wait()


def _signal_group(process: Process, number: signal.Signals) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):  # dead, its status is on its way to us
            os.killpg(process.pid, number)


async def exited(process: Process, *, within_s: float) -> bool:
    """Whether a process has ended, or does so within `within_s` seconds."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await process.wait()
    return process.returncode is not None
