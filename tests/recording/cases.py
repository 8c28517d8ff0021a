"""How cases are noted: short conversations whose names say what happens in them.

A module of cases has one `Cases`; `breaks` notes a conversation with the rule that it breaks,
`keeps` one that is right.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.recording.kinds import CLUSTER, HTTP_ROUTES
from tests.recording.kit import RDS, Delta, Sotw, cluster, routes
from tests.recording.rules import Rule

Talks = Sotw | tuple[Sotw, ...]
Made = Callable[[], Talks]


class Cases:
    """What is wrong, by rule, and what is right."""

    def __init__(self) -> None:
        self.wrong: list[tuple[Rule, Made]] = []
        self.right: list[Made] = []

    def breaks(self, rule: Rule) -> Callable[[Made], Made]:
        """This conversation breaks one rule."""

        def note(made: Made) -> Made:
            self.wrong.append((rule, made))
            return made

        return note

    def keeps(self, made: Made) -> Made:
        """This conversation is right."""
        self.right.append(made)
        return made


def has_all_clusters(*, delta: bool = False, node: str = "n") -> Sotw:
    talk = (Delta if delta else Sotw)(node=node)
    talk.asks(CLUSTER)
    talk.tells(CLUSTER, cluster("a"))
    talk.acks(CLUSTER)
    return talk


def has_routes(*, delta: bool = False) -> Sotw:
    talk = (Delta if delta else Sotw)(f"{RDS}{'Delta' if delta else 'Stream'}Routes")
    talk.asks(HTTP_ROUTES, "r")
    talk.tells(HTTP_ROUTES, routes("r"))
    talk.acks(HTTP_ROUTES)
    return talk
