"""How a command that serves runs: on uvloop, until a signal ends it cleanly."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")

_SWITCH_S: Final = 0.001
"""For which a thread may keep the interpreter (Python: 5 ms). Files are read in threads, and the
loop asks for the interpreter again after each system call."""


def run_until_signalled(main: Callable[[], Coroutine[Any, Any, T]]) -> T | None:
    """Run a coroutine on uvloop; SIGTERM and SIGINT cancel it, and it ends cleanly."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if sys.platform != "win32":
        import uvloop

        _allow_many_files()
        factory = uvloop.new_event_loop
    sys.setswitchinterval(_SWITCH_S)
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(_cancelled_by_signals(main()))


def _allow_many_files() -> None:
    """Every proxy is a file descriptor, and shells and unit files allow a thousand if nobody says
    anything: take what the hard limit allows.
    """
    import resource

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with contextlib.suppress(OSError, ValueError):  # macOS has a limit below its hard one
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _cancelled_by_signals(main: Coroutine[Any, Any, T]) -> T | None:
    task = asyncio.ensure_future(main)
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):  # Windows
            loop.add_signal_handler(each, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        return None
