"""Work that is done a slice at a time, so that a large request holds nobody up.

Such work is a generator: it stops after each slice of a few milliseconds at most, and returns its
result. Whoever has it goes on when it has a turn, or at once where nobody waits.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

Result = TypeVar("Result")

Sliced = Generator[None, None, Result]


def at_once(work: Sliced[Result]) -> Result:
    """Do all of it now. Raises what it raises."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: Result = end.value
            return result
