"""Where publications meet streams: one reference swap, then exactly those concerned are woken.

In: `publish` (what changed in a scope), `receive` (what a stream asked). Out: calls of a stream's
`wake`. Guaranteed: a change costs O(subscribers of the changed names), a look at each stream that
names many, and nothing to the others; nothing is served before `publish` was first called for every
scope of a stream.

What happens is counted as it happens (`tally`), for the operator's pages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Final, TypeVar
from weakref import WeakValueDictionary

from aeraki_xds.xds.admission import Node, Peer
from aeraki_xds.xds.message import Acked, Event, Nacked, Request, Response, Stale, Subscribed
from aeraki_xds.xds.resource import Name, Resource, ResourceId, Scope, TypeUrl
from aeraki_xds.xds.session import Dialect, Session
from aeraki_xds.xds.snapshot import Changed, Snapshot, View
from aeraki_xds.xds.stream import Stream, TypeStatus, concern, pass_over, said_all, settle
from aeraki_xds.xds.tally import Change, Tally

Key = TypeVar("Key")

_BROAD: Final = 1000
"""A stream that names more of a type is asked at each change of the type whether it is concerned,
for as long as it lasts: to index a hundred thousand names would take half a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What a publication did: the names that changed and the number of streams woken."""

    scope: Scope
    changed: Changed
    woken: int


def _ignore(*_scope: Scope) -> None:
    pass


class Hub:
    """All scopes and all streams. `clock` gives seconds since the epoch, for status only.

    `on_wanted` is called when a stream asks for a scope that was never published, `on_idle` when
    the last stream of a scope is gone, `on_serving` at the first publication of all.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        on_wanted: Callable[[Scope], None] = _ignore,
        on_idle: Callable[[Scope], None] = _ignore,
        on_serving: Callable[[], None] = _ignore,
    ) -> None:
        self.on_wanted = on_wanted
        self.on_idle = on_idle
        self.on_serving = on_serving
        self.serving = False
        self.tally: Final = Tally()
        self._clock = clock
        self._numbers = count(1)
        self._snapshots: dict[Scope, Snapshot] = {}
        self._views: WeakValueDictionary[tuple[Scope, ...], View] = WeakValueDictionary()
        self._streams: dict[Scope, set[Stream]] = {}
        self._named: dict[ResourceId, set[Stream]] = {}
        self._wildcard: dict[tuple[Scope, TypeUrl], set[Stream]] = {}
        self._broad: dict[tuple[Scope, TypeUrl], set[Stream]] = {}

    @property
    def scopes(self) -> Iterable[Scope]:
        """Scopes that have a stream."""
        return tuple(self._streams)

    @property
    def published(self) -> list[Scope]:
        """Scopes that hold a snapshot."""
        return sorted(self._snapshots)

    @property
    def streams(self) -> tuple[Stream, ...]:
        """Every connected stream, oldest first."""
        found = {stream for streams in self._streams.values() for stream in streams}
        return tuple(sorted(found, key=lambda stream: stream.number))

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._clock()

    def snapshot(self, scope: Scope) -> Snapshot | None:
        """What a scope holds now; None before its first publication."""
        return self._snapshots.get(scope)

    def open(
        self,
        *,
        node: Node,
        peer: Peer,
        scopes: tuple[Scope, ...],
        dialect: Dialect,
        wake: Callable[[], None],
        only: TypeUrl | None = None,
    ) -> Stream:
        """Register a stream. Every `open` is followed by one `close`."""
        view = self._views.get(scopes)
        if view is None:
            view = self._views[scopes] = View(self._snapshots.get(scope) for scope in scopes)
        stream = Stream(
            number=next(self._numbers),
            node=node,
            peer=peer,
            scopes=scopes,
            session=Session(dialect=dialect, view=view),
            wake=wake,
            connected_at=self._clock(),
            only=only,
        )
        for scope in scopes:
            self._streams.setdefault(scope, set()).add(stream)
            if scope not in self._snapshots:
                self.on_wanted(scope)
        return stream

    def close(self, stream: Stream) -> None:
        """Forget a stream and everything that it watched; its siblings keep theirs."""
        for watch in stream.session.watches.values():
            if watch.type_url not in stream.broad:
                self._unwatch(stream, watch.type_url, watch.subscription.names)
            for scope in stream.scopes:
                _discard(self._wildcard, (scope, watch.type_url), stream)
                _discard(self._broad, (scope, watch.type_url), stream)
        for scope in stream.scopes:
            _discard(self._streams, scope, stream)
            if scope not in self._streams:
                self.on_idle(scope)
        for status in stream.status.values():
            pass_over(status.due + status.awaited)
            status.due = status.awaited = ()

    def accept(self, stream: Stream, type_url: TypeUrl, nonce: str) -> bool:
        """Take a plain ACK, one that says nothing but which response was accepted: the same as to
        `receive` it, but that no request has to be made. False when it has to be received.

        Nobody is woken: nothing ever waits for an ACK.
        """
        watch = stream.session.watches.get(type_url)
        taken = watch.accept(nonce) if watch is not None else None
        if taken:
            status = stream.status[type_url]
            status.acked_nonce, status.acked_version = nonce, status.sent_version
            status.totals.acks += 1
            if status.awaited:
                settle(status)
        return taken is not None

    def receive(self, stream: Stream, request: Request) -> tuple[Event, ...]:
        """Take a stream's request; its writer is woken when an answer may be due."""
        events = stream.session.receive(request)
        for event in events:
            self._note(stream, event)
        stream.wake()
        return events

    def next(self, stream: Stream) -> Response | None:
        """The stream's next response, noted as sent."""
        response = stream.session.next()
        if response is not None:
            type_url, version, nonce, resources, _ = response
            status = stream.status.get(type_url) or self._status(stream, type_url)
            status.sent_nonce, status.sent_version = nonce, version
            status.sent_at = self._clock()
            status.totals.pushed(resources)
        elif stream.due and not stream.session.unfinished:
            said_all(stream)
        return response

    def all_said(self, stream: Stream) -> None:
        """Where the session is `quiet`, in place of asking for the next response."""
        if stream.due:
            said_all(stream)

    def publish(
        self,
        scope: Scope,
        changes: Mapping[ResourceId, Resource | None],
        change: Change | None = None,
    ) -> Published:
        """Apply changes (None removes) to a scope and wake the streams that they concern.

        The first publication of a scope, an empty one too, makes it ready. `change` is what they
        are part of, if somebody measures how long it takes.
        """
        before = self._snapshots.get(scope) or Snapshot()
        return self.put(scope, *before.changed_by(changes), change)

    def put(
        self, scope: Scope, snapshot: Snapshot, changed: Changed, change: Change | None = None
    ) -> Published:
        """As `publish`, where somebody else has made the next snapshot of the scope's own: many
        changes are better taken in by `Snapshot.steps`.
        """
        before = self._snapshots.get(scope)
        self._snapshots[scope] = snapshot
        if not self.serving:
            self.serving = True
            self.on_serving()
        self._swap(scope)
        if before is None:
            concerned = set(self._streams.get(scope, ()))
            for stream in concerned:
                stream.session.refresh()
        else:
            concerned = self._mark(scope, changed, change)
        for stream in concerned:
            stream.wake()
        return Published(scope=scope, changed=changed, woken=len(concerned))

    def drop(self, scope: Scope) -> None:
        """Forget an idle scope's snapshot."""
        if scope not in self._streams:
            self._snapshots.pop(scope, None)
            self._swap(scope)

    def _swap(self, scope: Scope) -> None:
        for scopes, view in self._views.items():
            if scope in scopes:
                view.show(self._snapshots.get(each) for each in scopes)

    def _mark(self, scope: Scope, changed: Changed, change: Change | None) -> set[Stream]:
        concerned: set[Stream] = set()
        for type_url, names in changed.items():
            everyone = self._wildcard.get((scope, type_url), set())
            for stream in self._broad.get((scope, type_url), set()) - everyone:
                wanted = names & stream.session.watches[type_url].subscription.names
                if wanted:
                    stream.session.mark(type_url, wanted)
                    concerned.add(stream)
                    if change is not None:
                        concern(stream, type_url, change)
            for stream in everyone:
                stream.session.mark(type_url, names)
                if change is not None:
                    concern(stream, type_url, change)
            concerned |= everyone
            for name in names:
                marked = (name,)
                for stream in self._named.get(ResourceId(type_url, name), ()):
                    if scope in stream.scopes and stream not in everyone:
                        stream.session.watches[type_url].mark(marked)
                        concerned.add(stream)
                        if change is not None:
                            concern(stream, type_url, change)
        return concerned

    def _note(self, stream: Stream, event: Event) -> None:
        status = self._status(stream, event.type_url)
        match event:
            case Subscribed():
                self._watch(stream, event)
            case Acked():
                status.acked_nonce, status.acked_version = event.nonce, status.sent_version
                status.totals.acks += 1
                settle(status)
            case Nacked():
                status.last_error = event.error
                status.nacks += 1
                status.totals.nacks += 1
                if not event.stale:
                    status.refused_nonce = event.nonce
                    pass_over(status.awaited)
                    status.awaited = ()
            case Stale():
                status.stale += 1
                status.totals.stale += 1

    def _status(self, stream: Stream, type_url: TypeUrl) -> TypeStatus:
        """The record of a type, made when there is something to write into it."""
        status = stream.status.get(type_url)
        if status is None:
            status = stream.status[type_url] = TypeStatus(totals=self.tally.of(type_url))
        return status

    def _watch(self, stream: Stream, event: Subscribed) -> None:
        if event.type_url not in stream.broad:
            self._index(stream, event)
        for scope in stream.scopes:
            if event.wildcard:
                self._wildcard.setdefault((scope, event.type_url), set()).add(stream)
            else:
                _discard(self._wildcard, (scope, event.type_url), stream)

    def _index(self, stream: Stream, event: Subscribed) -> None:
        type_url = event.type_url
        names = stream.session.watches[type_url].subscription.names
        if len(names) <= _BROAD:
            for name in event.added:
                self._named.setdefault(ResourceId(type_url, name), set()).add(stream)
            self._unwatch(stream, type_url, event.removed)
            return
        if names is not event.added:
            self._unwatch(stream, type_url, (names - event.added) | event.removed)
        stream.broad |= {type_url}
        for scope in stream.scopes:
            self._broad.setdefault((scope, type_url), set()).add(stream)

    def _unwatch(self, stream: Stream, type_url: TypeUrl, names: Iterable[Name]) -> None:
        for name in names:
            _discard(self._named, ResourceId(type_url, name), stream)


def _discard(index: dict[Key, set[Stream]], key: Key, stream: Stream) -> None:
    """Take a stream out of an index and drop the entry that became empty."""
    members = index.get(key)
    if members is not None:
        members.discard(stream)
        if not members:
            del index[key]
