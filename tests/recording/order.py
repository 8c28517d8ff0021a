"""Make before break (statement 45), as far as a client's side of the wire shows it.

In: one aggregated stream whose client takes all clusters. Out: violations. Two things would cut
calls, and both are seen only by what comes later:

- routes, or a listener, that send to a cluster which comes only after them;
- a cluster that goes while routes or a listener in use send to it, which then are changed or go.

A reference that stays dangling is no matter of order. Routes count while a listener that the client
holds asks for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tests.recording.content import clusters_in, routes_in
from tests.recording.kinds import CLUSTER, HTTP_ROUTES, LISTENER, THRIFT_ROUTES
from tests.recording.recording import Asked, StreamRecord, Told
from tests.recording.rules import Rule, Violation

_SENDERS = (LISTENER, HTTP_ROUTES, THRIFT_ROUTES)
Sender = tuple[str, str]


@dataclass(slots=True)
class _Client:
    """What a client holds as far as it was told; `held` are bodies by type and name."""

    delta: bool
    held: dict[str, dict[str, bytes]] = field(default_factory=dict)
    clusters_came: bool = False
    early: dict[str, int] = field(default_factory=dict)
    bereft: dict[Sender, tuple[str, int]] = field(default_factory=dict)

    def of(self, type_url: str) -> dict[str, bytes]:
        return self.held.setdefault(type_url, {})

    def in_use(self) -> Iterator[tuple[Sender, bytes]]:
        """Listeners, and the routes that they ask for."""
        listeners = self.of(LISTENER)
        wanted = {name for body in listeners.values() for name in routes_in(body)}
        yield from (((LISTENER, name), body) for name, body in listeners.items())
        for type_url in (HTTP_ROUTES, THRIFT_ROUTES):
            for name, body in self.of(type_url).items():
                if name in wanted:
                    yield (type_url, name), body

    def take(self, told: Told) -> set[str]:
        """Take a response in; returns the names that it took away."""
        held = self.of(told.type_url)
        before = set(held)
        if not self.delta and told.type_url in (CLUSTER, LISTENER):
            held.clear()
        for name in told.removed:
            held.pop(name, None)
        held.update({item.name: item.body for item in told.items})
        return before - set(held)


def check_order(stream: StreamRecord) -> Iterator[Violation]:
    """One stream; nothing where clusters are asked for by name, or not at all."""
    if not _takes_all_clusters(stream):
        return
    client = _Client(delta=stream.delta)
    for index, entry in enumerate(stream.entries):
        if not isinstance(entry, Told):
            continue
        gone = client.take(entry)
        if entry.type_url == CLUSTER:
            yield from _clusters(client, stream, index, gone)
        elif entry.type_url in _SENDERS:
            yield from _senders(client, stream, index, entry, gone)


def _takes_all_clusters(stream: StreamRecord) -> bool:
    first = next(
        (e for e in stream.entries if isinstance(e, Asked) and e.type_url == CLUSTER), None
    )
    named = () if first is None else (*first.names, *first.subscribe)
    return first is not None and not stream.implied and (not named or "*" in named)


def _clusters(
    client: _Client, stream: StreamRecord, index: int, gone: set[str]
) -> Iterator[Violation]:
    for name in client.of(CLUSTER):
        at = client.early.pop(name, None)
        if at is not None:
            what = f"entry {at} sends to {name} already"
            yield Violation(Rule.MAKE_FIRST, stream, index, what)
    for sender, body in client.in_use():
        for name in clusters_in(sender[0], body) & gone:
            client.bereft[sender] = (name, index)
    client.clusters_came = True


def _senders(
    client: _Client, stream: StreamRecord, index: int, told: Told, gone: set[str]
) -> Iterator[Violation]:
    now: Mapping[str, bytes] = {item.name: item.body for item in told.items}
    for (type_url, name), (cluster, at) in list(client.bereft.items()):
        if type_url != told.type_url or not (name in now or name in gone):
            continue
        if name in gone or cluster not in clusters_in(type_url, now[name]):
            what = f"{name} stops sending to {cluster}, which went in entry {at}"
            yield Violation(Rule.BREAK_LAST, stream, index, what)
        del client.bereft[type_url, name]
    if client.clusters_came:
        for body in now.values():
            for cluster in clusters_in(told.type_url, body) - set(client.of(CLUSTER)):
                client.early.setdefault(cluster, index)
