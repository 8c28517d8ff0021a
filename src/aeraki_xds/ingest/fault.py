"""Where a text stops being a manifest, and why: what the YAML and JSON readers say when they stop.

One fault a document is enough: behind the first nothing can be told for sure.
"""

from __future__ import annotations

from dataclasses import dataclass

from aeraki_xds.mesh.problems import Problem, error


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A position, counted from 0 within the text that was read, and what is wrong there."""

    line: int
    column: int
    message: str

    def problem(self, *, first_line: int = 0) -> Problem:
        """The problem to report, for a text that begins on `first_line` of its file."""
        line, column = first_line + self.line + 1, self.column + 1
        return error("", f"line {line}, column {column}: {self.message}")


class Misfit(Exception):
    """Carries a fault out of a reader; no caller of this package sees it."""

    def __init__(self, line: int, column: int, message: str) -> None:
        super().__init__(message)
        self.fault = Fault(line=line, column=column, message=message)


def position(text: bytes, offset: int) -> tuple[int, int]:
    """Line and column, from 0, of a byte; columns count characters."""
    start = text.rfind(b"\n", 0, offset) + 1
    return text.count(b"\n", 0, offset), len(text[start:offset].decode(errors="replace"))
