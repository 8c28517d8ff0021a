"""What the model publishes: small texts under few names, in two scopes, and who names whom.

A text says what matters to a client: `bad …` is refused by it, `… to n1` sends traffic to the
cluster n1, and a cluster that is `static` needs no endpoints. Everything that a rule may draw is
listed here beforehand, the simple before the complicated: one draw is one choice, and shrinks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from random import Random
from typing import Final, TypeVar

from aeraki_xds.xds.resource import (
    CLUSTER,
    ENDPOINTS,
    HTTP_ROUTES,
    LISTENER,
    THRIFT_ROUTES,
    Name,
    Resource,
    ResourceId,
    Scope,
    TypeUrl,
)
from tests.xds.dialogue import WORDS, Server, cluster, resource

OWN: Final = Scope("own")
SHARED: Final = Scope("shared")
BOTH: Final = (OWN, SHARED)
TYPES: Final = (CLUSTER, ENDPOINTS, LISTENER, HTTP_ROUTES, THRIFT_ROUTES)
SENDERS: Final = (LISTENER, HTTP_ROUTES, THRIFT_ROUTES)
"""Types that name clusters."""

NAMES: Final = (Name("n1"), Name("n10"), Name("n2"))
STAR: Final = Name("*")

Publication = Mapping[ResourceId, str | None]
"""Texts under their names; None removes."""

Content = Mapping[Name, Resource]

Edits = tuple[tuple[int, int, int], ...]
"""Numbers of a type, a name and a text each."""

_PLAIN: Final = ("1", "2", "bad", "bad 2", None)
_TEXTS: Final[Mapping[TypeUrl, tuple[str | None, ...]]] = {
    CLUSTER: (*_PLAIN, "static"),
    ENDPOINTS: _PLAIN,
    **dict.fromkeys(SENDERS, ("to n1", "to n10", "to n2", "bad to n1", "bad to n10", None)),
}
_MOST_TEXTS: Final = max(len(texts) for texts in _TEXTS.values())


@dataclass(frozen=True)
class Focus:
    """What one conversation is about. A few names of a few types, changed over and over, meet each
    other as all of them never would; what is out of focus is there and stays as it is.

    Rules draw numbers; these say which they are.
    """

    types: tuple[TypeUrl, ...]
    names: tuple[Name, ...]
    scopes: tuple[Scope, ...]

    def publication(self, edits: Edits) -> Publication:
        """Which texts under which names."""
        return dict(self._edit(*edit) for edit in edits)

    def _edit(self, kind: int, name: int, text: int) -> tuple[ResourceId, str | None]:
        type_url = _one(self.types, kind)
        return ResourceId(type_url, _one(self.names, name)), _one(_TEXTS[type_url], text)

    def subscription(self, kind: int, names: frozenset[Name]) -> tuple[TypeUrl, frozenset[Name]]:
        """Which names of which type; the endpoints follow the clusters."""
        types = [type_url for type_url in self.types if type_url != ENDPOINTS]
        return _one(types, kind), names & {*self.names, STAR}


T = TypeVar("T")


def _one(of: Sequence[T], number: int) -> T:
    return of[number % len(of)]


def _foci() -> list[Focus]:
    kinds = (
        (CLUSTER, ENDPOINTS),
        (CLUSTER, HTTP_ROUTES),
        (CLUSTER, ENDPOINTS, LISTENER, THRIFT_ROUTES),
        TYPES,
    )
    names = (NAMES[:1], NAMES[:2], NAMES)
    return [Focus(*focus) for focus in product(kinds, names, ((SHARED,), BOTH))]


def _edits() -> list[Edits]:
    """Every single edit; then, of those of several, a thousand that stand for the others."""
    every = list(product(range(len(TYPES)), range(len(NAMES)), range(_MOST_TEXTS)))
    chance = Random(0)
    several = [tuple(chance.choices(every, k=2 + number // 300)) for number in range(900)]
    return [(edit,) for edit in every] + several


def _subscriptions() -> list[tuple[int, frozenset[Name]]]:
    choices = [names for size in range(5) for names in combinations((*NAMES, STAR), size)]
    choices += [(), (STAR,)] * 4  # nothing and everything, oftener than chance has it
    return [(kind, frozenset(names)) for names in choices for kind in range(len(SENDERS) + 1)]


def _traffic() -> list[tuple[tuple[int, int], ...]]:
    """How many responses each of three proxies is written, and how many it then reads."""
    chance = Random(0)
    amounts = [(writes, reads) for writes in range(5) for reads in range(4)]
    quiet = ((0, 0),) * 3
    return [quiet, *(tuple(chance.choices(amounts, k=3)) for _ in range(300))]


FOCI: Final = tuple(_foci())
EDITS: Final = tuple(_edits())
MOVES: Final = tuple(product((ResourceId(t, n) for t in SENDERS for n in NAMES), NAMES))
"""Who goes over to which cluster."""

TRAFFIC: Final = tuple(_traffic())
SUBSCRIPTIONS: Final = tuple(_subscriptions())
EVERYTHING: Final[Publication] = {
    ResourceId(type_url, name): _TEXTS[type_url][0] for type_url in TYPES for name in NAMES
}


def in_words(publication: Publication) -> str:
    """A publication as one line."""
    return " ".join(
        f"{WORDS[type_url]} -{name}" if text is None else f"{WORDS[type_url]} {name}={text!r}"
        for (type_url, name), text in publication.items()
    )


def refusable(text: str) -> bool:
    """Whether a client refuses a resource that says so."""
    return text.startswith("bad")


def target(text: str) -> Name | None:
    """The cluster to which a resource sends."""
    _, to, name = text.rpartition("to ")
    return Name(name.partition(" ")[0]) if to else None


class World:
    """What was published, beside the hub that was told it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.scopes: dict[Scope, dict[ResourceId, Resource]] = {}
        self._texts: dict[int, str] = {}
        self._former: dict[Scope, Publication] = {}
        self._meanings: dict[tuple[TypeUrl, str], tuple[int, ...]] = {}
        self._versions: dict[tuple[TypeUrl, tuple[int, ...]], str] = {}
        self._views: dict[tuple[Scope, ...], dict[TypeUrl, dict[Name, Resource]]] = {}

    def publishes(self, scope: Scope, publication: Publication) -> None:
        """One publication; the first of a scope composes it."""
        held = self.scopes.setdefault(scope, {})
        added, without = [], []
        for identity, text in publication.items():
            made = self._made(identity, text or "")
            if text is None:
                without.append(made)
                held.pop(identity, None)
            else:
                held[identity] = made
                added.append(made)
        self._views.clear()
        self.server.publishes(*added, without=without, scope=scope)

    def _made(self, identity: ResourceId, text: str) -> Resource:
        """A new object each time: equal bytes have to be told by their version."""
        if identity.type_url == CLUSTER and text != "static":
            made = cluster(identity.name, text)
        else:
            made = resource(identity.type_url, identity.name, text)
        self._texts[made.digest] = text
        return made

    def texts(self, scope: Scope) -> Publication:
        """What a scope holds."""
        held = self.scopes.get(scope, {})
        return {identity: self.text(each) for identity, each in held.items()}

    def move(self, scope: Scope, sender: ResourceId, to: Name) -> Publication:
        """One that sends goes over to a cluster, which comes with its endpoints; the one that it
        left goes with its own, in the same publication."""
        before = self.scopes.get(scope, {}).get(sender)
        left = target(self.text(before)) if before else None
        gone: Publication = {
            ResourceId(type_url, left): None for type_url in (CLUSTER, ENDPOINTS) if left
        }
        come = {sender: f"to {to}", ResourceId(CLUSTER, to): "1", ResourceId(ENDPOINTS, to): "1"}
        return {**gone, **come}

    def mends(self, scope: Scope, number: int) -> None:
        """Everything that is there becomes good, and other than it ever was."""
        self.publishes(
            scope,
            {
                identity: f"to {NAMES[number % 3]} {number}"
                if identity.type_url in SENDERS
                else f"mended {number}"
                for identity in self.scopes[scope]
            },
        )

    def former(self, scope: Scope) -> Publication:
        """What a scope held when it was forgotten."""
        return self._former.get(scope, {})

    def forgets(self, scope: Scope) -> None:
        """Drop a scope that has no stream."""
        self._former[scope] = self.texts(scope) or self.former(scope)
        self.scopes.pop(scope, None)
        self._views.clear()
        self.server.hub.drop(scope)

    def ready(self, scopes: Iterable[Scope]) -> bool:
        """Whether all these scopes are composed."""
        return all(scope in self.scopes for scope in scopes)

    def seen_by(self, scopes: tuple[Scope, ...]) -> Mapping[TypeUrl, Content]:
        """What a stream of these scopes sees, by type; the first scope that holds a name wins."""
        view = self._views.get(scopes)
        if view is None:
            view = self._views[scopes] = {type_url: {} for type_url in TYPES}
            for scope in reversed(scopes):
                for identity, each in self.scopes.get(scope, {}).items():
                    view[identity.type_url][identity.name] = each
        return view

    def is_version(self, type_url: TypeUrl, version: str, digests: tuple[int, ...]) -> bool:
        """Whether a version has always meant these bytes, and these bytes that version."""
        meant = self._meanings.setdefault((type_url, version), digests)
        known = self._versions.setdefault((type_url, digests), version)
        return meant == digests and known == version

    def text(self, of: Resource) -> str:
        """What a resource was made from."""
        return self._texts[of.digest]
