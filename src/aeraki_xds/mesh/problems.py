"""What is wrong with an object, as data: which field, how bad, and what to do about it.

One shape for every place that reports: the log, `aeraki-xds validate`, `/debug/rejections`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from aeraki_xds.mesh.names import Key


class Severity(StrEnum):
    """Whether the object can be used in spite of the problem."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong with one field.

    `field` is a path from the object's root (`spec.routes[0].route[1].weight`), empty for the
    object as a whole; `message` says what is wrong and, where it is not plain, what to write.
    """

    field: str
    message: str
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        """`field: message`, with warnings marked."""
        mark = "warning: " if self.severity is Severity.WARNING else ""
        where = f"{self.field}: " if self.field else ""
        return f"{where}{mark}{self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A problem that shows only when objects are put together: a subset that nobody declares."""

    key: Key
    problem: Problem


def error(field: str, message: str) -> Problem:
    """A problem that keeps its object from being used."""
    return Problem(field=field, message=message)


def warning(field: str, message: str) -> Problem:
    """A problem that the object survives."""
    return Problem(field=field, message=message, severity=Severity.WARNING)


def has_errors(problems: tuple[Problem, ...] | list[Problem]) -> bool:
    """Whether any of them keeps the object from being used."""
    return any(problem.severity is Severity.ERROR for problem in problems)
