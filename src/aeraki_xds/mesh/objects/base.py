"""What every kind shares: metadata, durations in Go's spelling, and words that nobody may see."""

from __future__ import annotations

import re
from functools import total_ordering
from typing import Final

import msgspec

_UNIT_NANOSECONDS: Final = {
    "h": 3_600_000_000_000,
    "m": 60_000_000_000,
    "s": 1_000_000_000,
    "ms": 1_000_000,
    "us": 1_000,
    "\u00b5s": 1_000,  # the micro sign
    "\u03bcs": 1_000,  # the Greek letter, which Go takes as well
    "ns": 1,
}
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(h|ms|us|\u00b5s|\u03bcs|ns|m|s)")
_LONGEST_NANOSECONDS: Final = 2**63 - 1  # about 292 years: Go's time.Duration is an int64


@total_ordering
class Duration:
    """A span of time in whole nanoseconds, read from Go's grammar: `100ms`, `1m30s`, `0.5s`.

    proto3 JSON's `<n>s` is a subset of it (specification §1.0: users write `100ms`).
    """

    __slots__ = ("nanoseconds",)

    def __init__(self, nanoseconds: int) -> None:
        self.nanoseconds = nanoseconds

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Read a duration. Raises ValueError that quotes the text."""
        sign = -1 if text.startswith("-") else 1
        digits = text[1:] if text[:1] in ("+", "-") else text
        if digits == "0":
            return cls(0)
        total = 0.0
        end = 0
        for part in _PART.finditer(digits):
            if part.start() != end:
                break
            total += float(part[1]) * _UNIT_NANOSECONDS[part[2]]
            end = part.end()
        if not digits or end != len(digits):
            message = f"{text!r} is not a duration; write for example 100ms, 1m30s or 0.5s"
            raise ValueError(message)
        if total > _LONGEST_NANOSECONDS:
            message = f"{text!r} is longer than a duration can be (about 292 years)"
            raise ValueError(message)
        return cls(sign * round(total))

    @property
    def seconds(self) -> float:
        """The span in seconds."""
        return self.nanoseconds / 1e9

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Duration) and self.nanoseconds == other.nanoseconds

    def __lt__(self, other: Duration) -> bool:
        return self.nanoseconds < other.nanoseconds

    def __hash__(self) -> int:
        return hash(self.nanoseconds)

    def __repr__(self) -> str:
        return f"Duration({self.nanoseconds})"


class Password:
    """A word that is never printed: `reveal` is the only way to it."""

    __slots__ = ("_word",)

    def __init__(self, word: str) -> None:
        self._word = word

    def reveal(self) -> str:
        """The word itself, for the configuration of a proxy."""
        return self._word

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Password) and self._word == other._word

    def __hash__(self) -> int:
        return hash(self._word)

    def __repr__(self) -> str:
        return "Password(…)"


class Metadata(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The part of ObjectMeta that means something to us.

    resourceVersion, generation and managedFields are left out on purpose: two objects that differ
    only there are equal, and a change of them goes no further than the store.
    """

    name: str
    namespace: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    creation_timestamp: str = ""
