"""What the demo shows on the terminal, line by line, also readable in a log file.

In: facts. Out: lines on standard output. Nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.rule import Rule
from rich.table import Table

_WIDTH: Final = 40
_COLOURS: Final = {"v1": "blue", "v2": "green"}


class View:
    """Prints the story."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)

    def title(self, text: str, subtitle: str) -> None:
        """The head of the demo."""
        self._console.print(Rule(f"[bold]{text}"))
        self._console.print(f"[dim]{subtitle}")

    def chapter(self, text: str) -> None:
        """What happens next."""
        self._console.print(f"\n[bold cyan]▸ {text}")

    def note(self, text: str) -> None:
        """A fact, quietly."""
        self._console.print(f"  [dim]{escape(text)}")

    def split(self, label: str, split: Mapping[str, float]) -> None:
        """Who answered, as a bar and in per cent."""
        cells = ""
        for version, share in split.items():
            colour = _COLOURS.get(version, "white")
            cells += f"[{colour}]{'█' * round(share * _WIDTH)}[/]"
        shares = "  ".join(f"{version} {share:5.1%}" for version, share in split.items())
        self._console.print(f"  {label:<12} {cells}  {shares}")

    def latency(self, text: str, milliseconds: float) -> None:
        """How long something took."""
        self._console.print(f"  {text}: [bold]{milliseconds:.1f} ms")

    def refused(self, line: str) -> None:
        """A problem as `validate` would print it."""
        self._console.print(f"  [red]refused:[/] {escape(line)}", soft_wrap=True)

    def contrast(self, rows: list[tuple[str, str, str]]) -> None:
        """The two ways beside each other."""
        table = Table("", "routes by TRDS (aeraki-xds)", "routes in the listener", box=None)
        for row in rows:
            table.add_row(*row)
        self._console.print(table)

    def check(self, text: str, *, holds: bool) -> None:
        """One line of the verdict."""
        mark = "[green]✔[/]" if holds else "[bold red]✘[/]"
        self._console.print(f"  {mark} {text}")

    def verdict(self, *, success: bool) -> None:
        """The last line."""
        text = "[bold green]It holds." if success else "[bold red]It does not hold."
        self._console.print(Rule(text))

    def error(self, text: str) -> None:
        """Why the demo could not go on."""
        self._console.print(f"[bold red]The demo stopped:[/] {escape(text)}", soft_wrap=True)
