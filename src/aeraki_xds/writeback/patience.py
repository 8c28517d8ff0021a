"""When an object may be written again: later each time that it does not stay as we wrote it.

In: what became of each attempt. Out: whether the next is due. An object that is refused is tried
again with growing pauses; so is one that somebody else keeps changing back, for each round would
make istiod push listeners.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from aeraki_xds.writeback.objects import ObjectId

FIRST: Final = 1.0
"""Seconds until the second attempt; each further pause is twice as long."""
SLOW: Final = 30.0
"""… where somebody has to do something first: to make a namespace, say."""
LONGEST: Final = 300.0
"""Seconds between two attempts, at most. What stays as it is for so long is forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """The last attempt to write an object in a version. `reason` is empty if it succeeded."""

    version: str
    count: int
    due: float
    reason: str = ""


class Patience:
    """All attempts that matter. `clock` gives monotonic seconds."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._attempts: dict[ObjectId, Attempt] = {}

    @property
    def failures(self) -> dict[ObjectId, Attempt]:
        """What could not be written, and why."""
        return {each: attempt for each, attempt in self._attempts.items() if attempt.reason}

    def is_due(self, identity: ObjectId, version: str) -> bool:
        """Whether to try now. Another version is tried at once."""
        attempt = self._attempts.get(identity)
        return attempt is None or attempt.version != version or self._clock() >= attempt.due

    def tried(self, identity: ObjectId, version: str) -> None:
        """It was written, or somebody else was faster."""
        self._note(identity, version, "", FIRST)

    def failed(self, identity: ObjectId, version: str, reason: str, first: float = FIRST) -> None:
        """It was not."""
        self._note(identity, version, reason, first)

    def keep(self, pending: Collection[ObjectId]) -> None:
        """Forget the failures of what is not pending any more, and what is long ago."""
        now = self._clock()
        self._attempts = {
            each: attempt
            for each, attempt in self._attempts.items()
            if (each in pending if attempt.reason else now < attempt.due + LONGEST)
        }

    def next_due(self, pending: Collection[ObjectId]) -> float | None:
        """When the first of these is due, by the clock; None if none has to wait."""
        waiting = [self._attempts[each].due for each in pending if each in self._attempts]
        return min(waiting, default=None)

    def _note(self, identity: ObjectId, version: str, reason: str, first: float) -> None:
        before = self._attempts.get(identity)
        count = before.count + 1 if before and before.version == version else 1
        pause = min(first * 2 ** min(count - 1, 16), LONGEST) * random.uniform(0.8, 1.0)
        due = self._clock() + pause
        self._attempts[identity] = Attempt(version=version, count=count, due=due, reason=reason)
