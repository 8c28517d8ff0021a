"""What a request asks of a page, and the bounds within which it is answered.

In: the query string. Out: a `Query`, or a `PageError` that says what to write instead. Guaranteed:
a page holds at most `limit` entries and `names` names in each of their lists, and says when there
is more: nobody can make the process build a page without end, and nothing is left out in silence.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from itertools import islice
from typing import Final, TypeVar

from aeraki_xds.telemetry import shown

T = TypeVar("T")

TEXT: Final = 256
"""Characters shown of a name: a node's id, a resource, a type."""

MESSAGE: Final = 1024
"""Characters shown of a sentence: why a proxy refused, what is wrong with a file."""

ENTRIES: Final = 500
NAMES: Final = 100
MOST: Final = 10_000
"""What `limit` and `names` are unless told, and the most that they can be."""

_PARAMETERS: Final = ("limit", "name", "names", "offset", "pretty", "proxyID", "scope", "type")


class PageError(Exception):
    """A request that cannot be answered, with its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which entries are wanted. `scope`, `type` and `name` are of /debug/resources only."""

    limit: int = ENTRIES
    offset: int = 0
    names: int = NAMES
    proxy: str = ""
    scope: str = ""
    type: str = ""
    name: str = ""
    pretty: bool = False

    @classmethod
    def parse(cls, said: Mapping[str, str]) -> Query:
        """Read a query string. Raises PageError."""
        for parameter in said:
            if parameter not in _PARAMETERS:
                message = f"there is no parameter {shown(parameter, TEXT)!r}; there are: "
                raise PageError(400, message + ", ".join(_PARAMETERS))
        return cls(
            limit=_number(said, "limit", ENTRIES),
            offset=_number(said, "offset", 0, most=None),
            names=_number(said, "names", NAMES),
            proxy=said.get("proxyID", ""),
            scope=said.get("scope", ""),
            type=said.get("type", ""),
            name=said.get("name", ""),
            pretty=said.get("pretty", "false").lower() not in ("false", "0"),
        )

    def page(self, entries: Sequence[T]) -> Sequence[T]:
        """Those entries that are on the page."""
        return entries[self.offset : self.offset + self.limit]

    def paged(self, key: str, shown_here: Sequence[object], total: int) -> dict[str, object]:
        """A page as it is sent: its entries, how many there are in all, whether more follow."""
        return {
            key: shown_here,
            "total": total,
            "offset": self.offset,
            "truncated": self.offset + len(shown_here) < total,
        }

    def listed(self, names: Collection[str]) -> list[str]:
        """The first of many names, for eyes."""
        return [shown(name, TEXT) for name in nsmallest(self.names, names)]

    def first(self, things: Iterable[T]) -> list[T]:
        """As many things as names are shown."""
        return list(islice(things, self.names))


def _number(said: Mapping[str, str], name: str, default: int, *, most: int | None = MOST) -> int:
    text = said.get(name)
    if text is None:
        return default
    if text.isascii() and text.isdecimal() and len(text) < 10 and int(text) <= (most or 10**9):
        return int(text)
    bound = f" up to {most}" if most else ""
    raise PageError(400, f"{name} is {shown(text, TEXT)!r}: write a whole number{bound}")
