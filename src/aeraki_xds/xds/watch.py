"""One type on one stream: what both dialects share.

In: names that may have changed. Out, from the dialect's own class: the resources that are due,
judged when a response is about to be written. Names are collected, the world is never rescanned.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Final

from aeraki_xds.xds.resource import Name, Resource, TypeUrl
from aeraki_xds.xds.snapshot import View
from aeraki_xds.xds.subscription import Subscription

_BEFORE_A_NAME: Final = " ,\n\t"

Content = tuple[tuple[Resource, ...], tuple[Name, ...]]
"""The resources of a response, and the names that it says are gone."""


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

    `nonce` is that of the newest response, `dirty` are the names to be judged. What is known of a
    name that was sent differs between the dialects, so they keep it.
    """

    owes_first_answer = False
    """Whether even an empty response is due."""

    def __init__(self, *, type_url: TypeUrl, view: View) -> None:
        self.type_url: Final = type_url
        self.subscription: Final = Subscription(type_url)
        self.nonce = ""
        self._view = view
        self._started = False
        self.dirty: set[Name] = set()
        self._forced: set[Name] = set()

    def mark(self, names: Iterable[Name]) -> None:
        """These names changed in the snapshot; the answer is judged when it is written."""
        self.dirty.update(names)

    def refresh(self) -> None:
        """Judge every wanted and every held name again: a scope was composed."""
        self.dirty.update(self.subscription.names, self._held_names())
        if self.subscription.wildcard:
            self.dirty.update(self._view.all(self.type_url))

    def force(self, names: Iterable[Name]) -> None:
        """Send these at the next chance, asked for or not, whatever was sent before."""
        self._forced.update(names)
        self.dirty.update(names)

    @abstractmethod
    def _held_names(self) -> Iterable[Name]:
        """What the client holds, as far as we know."""

    @abstractmethod
    def updates(self) -> Content | None:
        """What is new or changed."""

    @abstractmethod
    def removals(self) -> Content | None:
        """What is gone; to be called when `updates` has nothing more."""
