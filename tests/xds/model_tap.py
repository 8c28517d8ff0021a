"""Between a proxy of the model and the hub: every request is read by the stream's account too.

The account has to agree on what a request means. A plain ACK, which says nothing new, may take the
short way into the hub: then it has to mean the same.
"""

from __future__ import annotations

from aeraki_xds.xds.message import Acked, DeltaRequest, Event, Nacked, Request, SotwRequest, Stale
from aeraki_xds.xds.resource import Name, Scope, TypeUrl
from tests.xds.dialogue import DeltaEnvoy, Envoy, Server, SotwEnvoy
from tests.xds.model_stream import Accounts


def is_stale(event: Event) -> bool:
    """Whether the server did not read a request, but for its (un)subscriptions in delta."""
    return isinstance(event, Stale) or (isinstance(event, Nacked) and event.stale)


class Tapped(Envoy):
    """What both dialects have in common."""

    def __init__(
        self, server: Server, scopes: tuple[Scope, ...], accounts: Accounts, *, briefly: bool
    ) -> None:
        super().__init__(server, scopes=scopes)
        self.accounts = accounts
        self.briefly = briefly
        self.listed: dict[TypeUrl, tuple[Name, ...]] = {}
        """The names of the last request that was read, of each type."""

    def _says_nothing_new(self, request: Request) -> bool:
        raise NotImplementedError

    def _sends(self, request: Request) -> tuple[Event, ...]:
        expected = self.accounts.hears(request)
        if self._is_accepted_briefly(request):
            assert all(isinstance(event, Acked) for event in expected), "it was no plain ACK"
            return self._checked(tuple(expected))
        events = super()._sends(request)
        assert list(events) == expected
        if isinstance(request, DeltaRequest):
            self.listed[request.type_url] = ()
        elif not any(is_stale(event) for event in events):
            self.listed[request.type_url] = request.names
        return self._checked(events)

    def _is_accepted_briefly(self, request: Request) -> bool:
        plain = request.type_url in self.listed and self._says_nothing_new(request)
        hub = self.server.hub
        return self.briefly and plain and hub.accept(self.stream, request.type_url, request.nonce)

    def _checked(self, events: tuple[Event, ...]) -> tuple[Event, ...]:
        for event in events:
            if isinstance(event, Acked):
                assert self.status(event.type_url).acked_nonce == event.nonce
        return events


class TappedSotw(Tapped, SotwEnvoy):
    """State of the world: an ACK repeats the list."""

    def _says_nothing_new(self, request: Request) -> bool:
        assert isinstance(request, SotwRequest)
        return request.error is None and request.names == self.listed[request.type_url]


class TappedDelta(Tapped, DeltaEnvoy):
    """Incremental: an ACK has no lists."""

    def _says_nothing_new(self, request: Request) -> bool:
        assert isinstance(request, DeltaRequest)
        lists = (request.subscribe, request.unsubscribe, request.initial_versions)
        return request.error is None and bool(request.nonce) and not any(lists)
