"""Numbers to reach: what was found, whether that is enough, and by how much it is not.

In: a figure, or none where the peer that it is a ratio to was not there. Out: a row. Nothing is
measured here. A bar that nobody measured is not reached.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """`what` is to be at most `most`, in `unit`. `left` says what stands between, where it is known
    that something does; `note` what the figure is made of.
    """

    what: str
    found: float | None
    most: float
    unit: str = "×"
    note: str = ""
    left: str = ""

    @property
    def met(self) -> bool:
        """Whether it is reached."""
        return self.found is not None and self.found <= self.most

    def row(self) -> str:
        """A line, and one more that says why not."""
        found = "—" if self.found is None else f"{self.found:,.2f}"
        line = f"{self._verdict():9}{self.what:62}{found:>9} {self.unit:3} ≤ {self.most:,g}"
        lines = [f"{line}   {self.note}".rstrip()]
        if not self.met and self.left:
            lines.append(f"{'':9}what is left: {self.left}")
        return "\n".join(lines)

    def _verdict(self) -> str:
        if self.found is None:
            return "no peer"
        return "met" if self.met else f"+{(self.found / self.most - 1) * 100:.0f} %"


def table(bars: Sequence[Bar]) -> str:
    """All of them, and how many are met."""
    met = sum(bar.met for bar in bars)
    return "\n".join([*(bar.row() for bar in bars), f"{met} of {len(bars)} bars are met"])


def grid(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns as wide as what is in them: the first to the left, the others to the right."""
    lines = [header, *rows]
    widths = [max(len(line[at]) for line in lines) for at in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
