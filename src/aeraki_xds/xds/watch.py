"""One type on one stream: what both dialects share.

In: names that may have changed. Out, from the dialect's own class: the resources that are due,
judged when a response is about to be written. Names are collected, the world is never rescanned.
Guaranteed: one call judges a bounded number of names, so that a large subscription holds up nobody.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, Final

from aeraki_xds.xds.resource import Name, Resource, TypeUrl
from aeraki_xds.xds.snapshot import Content, View
from aeraki_xds.xds.subscription import Subscription

_BEFORE_A_NAME: Final = " ,\n\t"

SLICE: Final = 1000
"""Names that are judged at a time: some milliseconds."""

Leftover = dict[Name, Any] | set[Name] | list[Name]
"""What can be emptied an entry at a time."""


def blamed(names: Iterable[Name], error: str) -> set[Name]:
    """Which listeners or clusters of a response a client means with its error.

    Of these Envoy takes the good ones and names the others ("Error
    adding/updating cluster(s) a: …, b: …"); who names none has refused all.
    """
    everyone = set(names)
    return {name for name in everyone if _is_named(name, error)} or everyone


def _is_named(name: Name, error: str) -> bool:
    """Whether an error names a resource in full: 127.0.0.1_80 is not meant by 127.0.0.1_8080."""
    at = error.find(f"{name}:")
    while at > 0 and error[at - 1] not in _BEFORE_A_NAME:
        at = error.find(f"{name}:", at + 1)
    return at >= 0


class Watch(ABC):
    """A type's subscription and what may be due of it.

    `nonce` is that of the newest response, `dirty` are the names to be judged (and there are some
    as long as there are any for later); `owes_first_answer`, whether even an empty response is due;
    `leaving` those that were judged to be gone and are said to
    be when there is nothing else to say. What is known of a name that was sent differs between the
    dialects, so they keep it.
    """

    __slots__ = (
        "_due", "_forced", "_in_slices", "_later", "_started", "_view", "dirty", "leaving", "nonce",
        "owes_first_answer", "subscription", "type_url",
    )  # fmt: skip

    def __init__(self, *, type_url: TypeUrl, view: View) -> None:
        self.type_url: Final = type_url
        self.subscription: Final = Subscription(type_url)
        self.nonce = ""
        self.owes_first_answer = False
        self._view = view
        self._started = False
        self.dirty: set[Name] = set()
        self._later: list[Name] = []
        self.leaving: set[Name] = set()
        self._due: dict[Name, Resource] = {}
        self._forced: set[Name] = set()
        self._in_slices = False

    @property
    def backlog(self) -> int:
        """How many names are to be judged, or to be said to be gone."""
        return len(self.dirty) + len(self._later) + len(self.leaving)

    def mark(self, names: Iterable[Name]) -> None:
        """These names changed in the snapshot; the answer is judged when it is written."""
        self.dirty.update(names)

    def refresh(self) -> None:
        """Judge every wanted and every held name again: a scope was composed."""
        self._reconsider()
        self.dirty.update(self.subscription.names, self._held_names())
        if self.subscription.wildcard:
            self.dirty.update(self._view.all(self.type_url))

    def force(self, names: Iterable[Name]) -> None:
        """Send these at the next chance, asked for or not, whatever was sent before."""
        self._forced.update(names)
        self.dirty.update(names)

    def _some(self) -> Iterable[Name]:
        """Names to judge now, taken off those that are dirty. What was judged before counts no
        longer for a name that became dirty again.
        """
        if len(self.dirty) > SLICE:
            self._in_slices = True
            return [self.dirty.pop() for _ in range(SLICE)]
        dirty, self.dirty = self.dirty, set()
        if self._later:
            self._in_slices = True
            self._bring_forward()
        return dirty

    def _judge_later(self, names: Iterable[Name]) -> None:
        """These become dirty a slice at a time: a set of them all would take long to make."""
        self._later.extend(names)
        self._bring_forward()

    def _bring_forward(self) -> None:
        self.dirty.update(self._later[-SLICE:])
        del self._later[-SLICE:]

    def leftovers(self) -> Iterable[Leftover]:
        """What may hold a lot of names; who has done with the watch can empty it."""
        return self.dirty, self._later, self.leaving, self._due, self._forced

    def _judge_forced_again(self) -> None:
        """Before anything is said of what was judged in slices: who changes what is forced and not
        asked for marks it for nobody.
        """
        if self._in_slices:
            self._in_slices = bool(self.dirty)
            for name in self._forced - self.dirty:
                self._judge(name)

    def _reconsider(self) -> None:
        """What names were judged by is no longer so: judge them again."""
        self.dirty.update(self._due, self.leaving)
        self._due.clear()
        self.leaving.clear()

    @abstractmethod
    def _judge(self, name: Name) -> None:
        """Decide whether a name is due, leaving or nothing of these."""

    @abstractmethod
    def _held_names(self) -> Iterable[Name]:
        """What the client holds, as far as we know."""

    @abstractmethod
    def updates(self) -> Content | None:
        """What is new or changed. None while names are dirty: not all was judged, call again."""

    @abstractmethod
    def removals(self) -> Content | None:
        """What is gone; to be called when no name is dirty."""
