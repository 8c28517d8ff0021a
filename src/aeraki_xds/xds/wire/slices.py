"""Work that is done a slice at a time, so that a large request holds nobody up.

Such work is a generator: it stops after each slice of a few milliseconds at most, and returns its
result. Whoever has it goes on when it has a turn, or at once where nobody waits.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Final, TypeVar

Result = TypeVar("Result")

Sliced = Generator[None, None, Result]

_FEW: Final = 1000
"""Entries that are freed at a time."""


def at_once(work: Sliced[Result]) -> Result:
    """Do all of it now. Raises what it raises."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: Result = end.value
            return result


def emptied(*containers: dict[Any, Any] | set[Any] | list[Any]) -> Sliced[None]:
    """Let go of what they hold, a few entries at a time: two hundred thousand that die at once stop
    the loop for some ten milliseconds.
    """
    for container in containers:
        take = container.popitem if isinstance(container, dict) else container.pop
        while container:
            for _ in range(min(len(container), _FEW)):
                take()
            yield
