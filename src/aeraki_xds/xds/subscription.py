"""Which names a stream wants of one type; the same rules for both dialects.

Wildcard has two spellings (xDS protocol, "How the client specifies what resources to return"):
the name `*`, and the legacy one, an empty list before any name was ever given. Both mean something
only for listeners and clusters; elsewhere they ask for nothing, so no one can list other people's
routes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from aeraki_xds.xds.resource import FULL_STATE, Name, TypeUrl

WILDCARD: Final = Name("*")


class Subscription:
    """Names and wildcard of one type on one stream."""

    __slots__ = ("_legacy", "_may_wildcard", "names", "wildcard")

    def __init__(self, type_url: TypeUrl) -> None:
        self.names: frozenset[Name] = frozenset()
        self.wildcard = False
        self._may_wildcard = type_url in FULL_STATE
        self._legacy = self._may_wildcard

    def wants(self, name: Name) -> bool:
        """Whether a resource of that name concerns the stream."""
        return self.wildcard or name in self.names

    def replace(self, names: Iterable[Name]) -> tuple[frozenset[Name], frozenset[Name]]:
        """SotW: the list is the subscription. Returns the names (added, removed).

        An empty list is the legacy wildcard until a name was given, and nothing from then on
        (statements 23 to 25).
        """
        wanted = frozenset(names)
        if wanted:
            self._legacy = False
        self.wildcard = self._may_wildcard and (WILDCARD in wanted or self._legacy)
        return self._set(wanted)

    def update(
        self, subscribe: Iterable[Name], unsubscribe: Iterable[Name], *, first: bool
    ) -> tuple[frozenset[Name], frozenset[Name]]:
        """Delta: add and take away. Returns the names (added, removed).

        Two empty lists in the first request are the legacy wildcard, later no change
        (statements 33, 34, 38).
        """
        plus, minus = frozenset(subscribe), frozenset(unsubscribe)
        if (first and not plus and not minus) or WILDCARD in plus:
            self.wildcard = self._may_wildcard
        if WILDCARD in minus:
            self.wildcard = False
        wanted = self.names | plus if self.names else plus
        return self._set(wanted - minus if minus else wanted)

    def _set(self, names: frozenset[Name]) -> tuple[frozenset[Name], frozenset[Name]]:
        # There may be a hundred thousand: nothing is copied that stays as it is.
        if WILDCARD in names:
            names -= {WILDCARD}
        before, self.names = self.names, names
        added = names - before if before else names
        return added, before - names if before else before
