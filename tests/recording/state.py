"""What a server knows of one type on one stream, when it has read some of the requests.

In: requests, in their order. Out: states, immutable, so that several worlds can be followed: each
assumes another number of requests read. Guaranteed: `idle` says so only of a request that changes
nothing whenever it is read, so no world is lost by reading it at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from tests.recording.kinds import ENDPOINTS, FULL_STATE
from tests.recording.recording import Asked

STAR: Final = "*"
Token = bytes | str
"""What tells one content of a name from another: its bytes in SotW, its version in delta."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A type on a stream. `asked` were named and not answered since; `sent` is what the client has
    as far as it was told; `last` what the newest response held; `known` what it brought along.
    """

    type_url: str
    started: bool = False
    answered: bool = False
    names: frozenset[str] = frozenset()
    wildcard: bool = False
    legacy: bool = True
    nonce: str = ""
    version: str = ""
    asked: frozenset[str] = frozenset()
    sent: Mapping[str, Token] = field(default_factory=dict)
    last: Mapping[str, Token] = field(default_factory=dict)
    refused: Mapping[str, Token] = field(default_factory=dict)
    known: frozenset[str] = frozenset()

    def wants(self, name: str) -> bool:
        """Whether a resource of that name is asked for."""
        return self.wildcard or name in self.names


def idle(state: State, request: Asked, *, delta: bool) -> bool:
    """Whether a request changes nothing, now and at any later moment.

    A SotW request with an outdated nonce is never fresh again; one that repeats the names only
    accepts. In delta the lists count whatever the nonce says.
    """
    if not state.started:
        return False
    outdated = request.nonce != state.nonce
    if delta:
        listed = request.subscribe or request.unsubscribe
        return not listed and (request.error is None or outdated)
    repeats = frozenset(request.names) - {STAR} == state.names
    star = _wildcard(state, frozenset(request.names)) == state.wildcard
    return outdated or (repeats and star and request.error is None)


def read(state: State, request: Asked, *, delta: bool) -> State:
    """The state when this request has been read, too."""
    if delta:
        return _read_delta(state, request)
    if state.started:
        if request.nonce != state.nonce:
            return state
        if request.error is not None:
            state = _refuse(state, request.error)
    return _replaced(state, frozenset(request.names))


def _wildcard(state: State, names: frozenset[str]) -> bool:
    """`*`, or the empty list as long as no name was given; for listeners and clusters only."""
    legacy = state.legacy and not names
    return state.type_url in FULL_STATE and (STAR in names or legacy)


def _replaced(state: State, names: frozenset[str]) -> State:
    """SotW: the list is the subscription."""
    wanted = names - {STAR}
    added, removed = wanted - state.names, state.names - wanted
    wildcard = _wildcard(state, names)
    asked = state.asked | added
    if wildcard and not state.wildcard:
        asked |= {STAR}
    after = replace(
        state,
        started=True,
        names=wanted,
        wildcard=wildcard,
        legacy=state.legacy and not names,
        asked=asked - removed,
    )
    return _forgotten(after)


def _read_delta(state: State, request: Asked) -> State:
    first = not state.started
    if request.error is not None and request.nonce == state.nonce and not first:
        state = _refuse(state, request.error)
    if first:
        known = dict(request.initial)
        state = replace(state, sent={**state.sent, **known}, known=frozenset(known))
    plus, minus = frozenset(request.subscribe), frozenset(request.unsubscribe)
    wildcard = state.wildcard
    may = state.type_url in FULL_STATE
    if STAR in plus or (first and not plus and not minus):
        wildcard = may
    if STAR in minus:
        wildcard = False
    # Versions that are brought along spare an answer, but a cluster that warms waits for endpoints.
    spared = state.known if first and state.type_url != ENDPOINTS else frozenset()
    asked = (state.asked | (plus - spared - {STAR})) - (minus - {STAR})
    if wildcard:
        asked |= minus & state.names  # the client dropped it, and the wildcard still wants it
    if first and wildcard and not request.initial:
        asked |= {STAR}
    after = replace(
        state,
        started=True,
        names=(state.names | plus) - minus - {STAR},
        wildcard=wildcard,
        asked=asked,
    )
    return _forgotten(after)


def _forgotten(state: State) -> State:
    """Without what nobody asks for any more. A wildcard may be answered even then, by nothing."""
    lost = {n for n in (*state.sent, *state.refused, *state.asked) if not state.wants(n)}
    if not lost:
        return state
    lost.discard(STAR)
    return replace(
        state,
        sent=_but(state.sent, lost),
        refused=_but(state.refused, lost),
        asked=state.asked - lost,
    )


def _but(held: Mapping[str, Token], lost: set[str]) -> Mapping[str, Token]:
    return {name: token for name, token in held.items() if name not in lost}


def _refuse(state: State, error: str) -> State:
    """The newest response was refused: all of it, or the listeners or clusters that are named."""
    named = {name for name in state.last if name in error} if state.type_url in FULL_STATE else ()
    culprits = named or state.last
    return replace(
        state, refused={**state.refused, **{name: state.last[name] for name in culprits}}
    )
