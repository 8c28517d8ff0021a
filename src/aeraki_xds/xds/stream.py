"""A connected stream, and how far it is with what was changed for it.

In: what the hub has sent to it and heard of it. Out: a record that the operator's pages show, and
changes that are told when it has accepted them, or never will. Guaranteed: a change is told once of
each stream that it concerns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from aeraki_xds.xds.admission import Node, Peer
from aeraki_xds.xds.resource import Scope, TypeUrl
from aeraki_xds.xds.session import Session
from aeraki_xds.xds.tally import Change, Totals

_BEHIND: Final = 16
"""A stream that owes answers to so many changes is not waited for in those that follow: it shows as
the age of the oldest, and the others can be measured all the same."""


@dataclass(slots=True, kw_only=True)
class TypeStatus:
    """What one stream was sent of one type and what it said to it; kept up to date in place.

    `due` are the changes that concern it and that it was not sent in full yet (`due_after`: the
    response before them), `awaited` those that it was sent and has not answered. `totals` are
    shared by all streams.
    """

    sent_nonce: str = ""
    sent_version: str = ""
    sent_at: float = 0.0
    acked_nonce: str = ""
    acked_version: str = ""
    last_error: str = ""
    refused_nonce: str = ""
    nacks: int = 0
    stale: int = 0
    due: tuple[Change, ...] = ()
    due_after: str = ""
    awaited: tuple[Change, ...] = ()
    totals: Totals = field(default_factory=Totals)


@dataclass(slots=True, kw_only=True, eq=False)
class Stream:
    """A connected stream: its session, what it sees, and how to wake its writer.

    `only` is the type that its service implies, None on an aggregated one; `due` lists the types of
    which changes are due, `broad` those of which it names more than is worth an index.
    """

    number: int
    node: Node
    peer: Peer
    scopes: tuple[Scope, ...]
    session: Session
    wake: Callable[[], None]
    connected_at: float
    only: TypeUrl | None = None
    status: dict[TypeUrl, TypeStatus] = field(default_factory=dict)
    due: list[TypeStatus] = field(default_factory=list)
    broad: frozenset[TypeUrl] = frozenset()

    def status_of(self, type_url: TypeUrl) -> TypeStatus:
        """What the stream was sent of a type and what it said to it."""
        return self.status.get(type_url) or TypeStatus()


def concern(stream: Stream, type_url: TypeUrl, change: Change) -> None:
    """A change has something for a stream that subscribed to the type."""
    status = stream.status[type_url]
    due = status.due
    if (due and due[-1] is change) or len(due) + len(status.awaited) >= _BEHIND:
        return
    if not due:
        stream.due.append(status)
        status.due_after = status.sent_nonce
    status.due = (*due, change)
    change.concerns()


def said_all(stream: Stream) -> None:
    """Nothing is left to say of the changes that were due; some may have been answered already, or
    had nothing for the stream after all (a name that is parked, a change that was taken back).
    """
    for status in stream.due:
        sent = status.sent_nonce
        if sent in (status.due_after, status.refused_nonce):
            pass_over(status.due)
        else:
            status.awaited += status.due
            if sent == status.acked_nonce:
                settle(status)
        status.due = ()
    stream.due.clear()


def settle(status: TypeStatus) -> None:
    """The stream accepted all that it was sent of a type."""
    for change in status.awaited:
        change.accepted()
    status.awaited = ()


def pass_over(changes: Iterable[Change]) -> None:
    """A stream never will have these in force."""
    for change in changes:
        change.passed()
