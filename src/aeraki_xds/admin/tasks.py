"""What the process is doing: its asyncio tasks, and where each of them waits.

In: the running loop. Out: a page as plain data: names of tasks, functions and lines, never the
value of a variable (one may be a key or a token).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, Final

from aeraki_xds.admin.query import TEXT, Query
from aeraki_xds.telemetry import shown
from aeraki_xds.turns import in_turns

_DEPTH: Final = 8
"""Frames shown of a task, innermost last."""


async def tasks(query: Query) -> object:
    """The tasks by coroutine and name, and how many there are of each coroutine."""
    named = sorted((_coroutine(task), task.get_name(), task) for task in asyncio.all_tasks())
    counts = Counter(coroutine for coroutine, _, _ in named)
    entries = [
        {
            "name": shown(name, TEXT),
            "coroutine": coroutine,
            "cancelling": task.cancelling() > 0,
            "stack": _stack(task.get_coro()),
        }
        async for coroutine, name, task in in_turns(query.page(named))
    ]
    page = query.paged("tasks", entries, len(named))
    return {**page, "byCoroutine": dict(counts.most_common(query.names))}


def _coroutine(task: asyncio.Task[Any]) -> str:
    return shown(getattr(task.get_coro(), "__qualname__", "?"), TEXT)


def _stack(awaited: Any) -> list[str]:
    """From the task's own coroutine to what it waits for, the last few."""
    frames: list[str] = []
    seen = 0
    while awaited is not None and seen < 100:
        kind = next(
            (kind for kind in ("cr", "gi", "ag") if hasattr(awaited, f"{kind}_frame")), None
        )
        if kind is None:
            break
        frame = getattr(awaited, f"{kind}_frame")
        if frame is not None:
            module = frame.f_globals.get("__name__", "?")
            frames.append(f"{module}:{frame.f_code.co_name}:{frame.f_lineno}")
        awaited = getattr(awaited, "gi_yieldfrom" if kind == "gi" else f"{kind}_await", None)
        seen += 1
    return frames[-_DEPTH:]
