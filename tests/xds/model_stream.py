"""What is due on one stream: the accounts of all its types, and which of them goes first.

A response has to be exactly what is due first, and a silent stream has to owe nothing. That is how
the model knows a superfluous response, a missing one, and one that came in the wrong order.
"""

from __future__ import annotations

from collections.abc import Mapping

from aeraki_xds.xds.message import DeltaRequest, Event, Response, SotwRequest
from aeraki_xds.xds.resource import CLUSTER, ENDPOINTS, Name, Resource, Scope, TypeUrl
from aeraki_xds.xds.watch import Watch
from tests.xds.model_account import FIRST, Account, DeltaAccount, Due, SotwAccount
from tests.xds.model_world import Content, World


class Accounts:
    """All types of one stream: who goes first, and what a cluster brings along."""

    def __init__(self, world: World, scopes: tuple[Scope, ...], *, delta: bool) -> None:
        self.world = world
        self.scopes = scopes
        self.of: dict[TypeUrl, Account] = {}
        self.nonces: set[str] = set()
        self._make = DeltaAccount if delta else SotwAccount

    def hears(self, request: SotwRequest | DeltaRequest) -> list[Event]:
        """A request is read: what it means."""
        account = self._account(request.type_url)
        match account, request:
            case SotwAccount(), SotwRequest():
                return account.hears(request)
            case DeltaAccount(), DeltaRequest():
                return account.hears(request)
        raise TypeError

    def silent(self) -> None:
        """Nothing is written: nothing may be due."""
        if self.world.ready(self.scopes):
            owing = {type_url: due for type_url in self.of if (due := self._due(type_url))}
            assert not owing, f"was never written: {owing}"
            self._endpoints_were_judged()

    def waits(self, watches: Mapping[TypeUrl, Watch]) -> None:
        """Nothing is written yet, for not all is judged; but endpoints may be by now."""
        if not any(watches[each].dirty for each in (CLUSTER, ENDPOINTS) if each in watches):
            self._endpoints_were_judged()

    def writes(self, response: Response) -> None:
        """A response is written: it has to be what is due first."""
        assert self.world.ready(self.scopes), "a scope that is not there yet was not silent"
        assert response.nonce not in self.nonces, "a nonce came twice"
        self.nonces.add(response.nonce)
        type_url = response.type_url
        listed = [each.name for each in response.resources] + list(response.removed)
        assert len(listed) == len(set(listed)), "a name occurs twice"
        assert self._is_version(response)
        dues = {of: due for of in self.of if (due := self._due(of))}
        assert type_url in dues, f"nothing was due, but it said {listed}"
        due = dues[type_url]
        first = min(each.rank for each in dues.values())
        assert due.rank == first, f"came before {[t for t in dues if dues[t].rank == first]}"
        said = {each.name: each.digest for each in response.resources}
        assert said == {name: each.digest for name, each in due.resources.items()}
        assert set(response.removed) == due.removed
        self._notes(response, due)

    def _is_version(self, response: Response) -> bool:
        """Of what a full state says, else of all that there is of the type."""
        account = self.of[response.type_url]
        full_state = isinstance(account, SotwAccount) and account.full_state
        there_is = self._current(response.type_url).values()
        meant = response.resources if full_state else there_is
        digests = tuple(sorted(each.digest for each in meant))
        return self.world.is_version(response.type_url, response.version, digests)

    def _notes(self, response: Response, due: Due) -> None:
        account = self.of[response.type_url]
        before = dict(account.told)
        account.writes(due, self._current(account.type_url))
        account.nonce = response.nonce
        if account.type_url != CLUSTER or due.rank != FIRST[CLUSTER]:
            self._endpoints_were_judged()
        if account.type_url == CLUSTER:
            self._brings_endpoints(account, before, due.resources)

    def _brings_endpoints(
        self, clusters: Account, before: Mapping[Name, int], written: Mapping[Name, Resource]
    ) -> None:
        """Of each cluster that is new or changed; in delta there is no other in a response."""
        sotw = isinstance(clusters, SotwAccount)
        wanted = {
            need.name
            for name, each in written.items()
            if not (sotw and before.get(name) == each.digest)
            for need in each.needs
        }
        if not clusters.wildcard:
            endpoints = self.of.get(ENDPOINTS)
            wanted &= endpoints.names if endpoints else set()
        if wanted:
            self._account(ENDPOINTS).forced |= wanted

    def _endpoints_were_judged(self) -> None:
        if ENDPOINTS in self.of:
            self.of[ENDPOINTS].gives_up_forcing(self._current(ENDPOINTS))

    def _account(self, type_url: TypeUrl) -> Account:
        if type_url not in self.of:
            self.of[type_url] = self._make(type_url)
        return self.of[type_url]

    def _current(self, type_url: TypeUrl) -> Content:
        return self.world.seen_by(self.scopes)[type_url]

    def _due(self, type_url: TypeUrl) -> Due | None:
        account, current = self.of[type_url], self._current(type_url)
        return account.update(current) or account.removal(current)
