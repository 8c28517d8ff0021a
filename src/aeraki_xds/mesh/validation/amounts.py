"""How much: shares, counts and spans of time; the rules that the kinds share.

Each function looks at one value and yields what is wrong with it under the field that it is given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aeraki_xds.mesh.objects import Duration
from aeraki_xds.mesh.problems import Problem, error

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

WHOLE: Final = 100  # per cent

MAX_UINT32: Final = 2**32 - 1
"""What protobuf's uint32 holds; a larger number could not be written into a message."""

_MILLISECOND: Final = Duration.parse("1ms")


def percentage(value: float, field: str) -> Iterator[Problem]:
    """A share of which there is some."""
    if not 0 < value <= WHOLE:  # written so that NaN, which YAML can hold, fails
        yield error(field, f"must be more than 0 and at most {WHOLE}, is {value:g}")


def count(number: int, field: str, *, least: int = 0) -> Sequence[Problem]:
    """A number of things, as protobuf can hold it."""
    if least <= number <= MAX_UINT32:
        return ()
    return (error(field, f"must be from {least} to {MAX_UINT32}, is {number}"),)


def timeout(span: Duration, field: str) -> Iterator[Problem]:
    """A span that something may take: Envoy counts milliseconds, and within 0 nothing is done."""
    if span < _MILLISECOND:
        yield error(field, f"must be at least 1ms, is {span.nanoseconds / 1e6:g}ms")
