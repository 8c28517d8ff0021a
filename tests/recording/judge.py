"""Whether a response is right in one world: a server that has read just these requests.

In: a `World` and a response. Out: the faults, and the world after it; it goes on even after a
fault, so that one mistake is reported once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from tests.recording import state as states
from tests.recording.content import endpoints_of
from tests.recording.kinds import CLUSTER, ENDPOINTS, FULL_STATE, HTTP_ROUTES
from tests.recording.recording import Asked, Told
from tests.recording.rules import Expectation, Fault, Rule
from tests.recording.state import STAR, State, Token


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A server after `requests` of the recorded requests.

    `warming` are endpoints that may come unasked; `due` are (cluster, endpoints) that have to come
    before anything but clusters. `lag` says by how much the server was behind at its responses,
    the last ones above all; it only ranks the worlds.
    """

    delta: bool
    requests: int = 0
    types: Mapping[str, State] = field(default_factory=dict)
    warming: frozenset[str] = frozenset()
    due: frozenset[tuple[str, str]] = frozenset()
    lag: float = field(default=0.0, compare=False)

    def of(self, type_url: str) -> State:
        """The state of a type."""
        return self.types.get(type_url) or State(type_url=type_url)

    def behind(self, recorded: int) -> World:
        """The world, ranked when it wrote a response after so many requests had been recorded."""
        return replace(self, lag=self.lag / 2 + recorded - self.requests)

    def idle(self, request: Asked) -> bool:
        """Whether reading this request next changes nothing, now or later."""
        return states.idle(self.of(request.type_url), request, delta=self.delta)

    def read(self, request: Asked) -> World:
        """The world in which the next request has been read."""
        after = states.read(self.of(request.type_url), request, delta=self.delta)
        types = {**self.types, request.type_url: after}
        return replace(self, requests=self.requests + 1, types=types)


def judge(world: World, told: Told, expected: Expectation) -> tuple[list[Fault], World]:
    """What is wrong with a response in this world, and the world after it."""
    before = world.of(told.type_url)
    tokens: dict[str, Token] = {
        each.name: each.version if world.delta else each.body for each in told.items
    }
    faults = list(_unasked(world, before, tokens, told))
    if world.delta:
        faults += _changes(world, before, tokens, told)
        if expected.there_and_back:
            named = before.known & before.names & set(tokens)
            faults = [each for each in faults if each[0] is not Rule.SPARED or not named]
    elif told.type_url in FULL_STATE:
        faults += _full_state(before, tokens, told)
    else:
        faults += _partial(world, before, tokens)
    if world.due and told.type_url not in (CLUSTER, ENDPOINTS):
        names = sorted(name for _, name in world.due)
        faults.append((Rule.ENDPOINTS_FOLLOW, f"before the endpoints {names} came"))
        world = replace(world, due=frozenset())
    if told.type_url == CLUSTER:
        world = _warmed(world, before, tokens, told, expected)
    if told.type_url == ENDPOINTS:
        answered = {*tokens, *told.removed}
        due = frozenset(pair for pair in world.due if pair[1] not in answered)
        world = replace(world, warming=world.warming - answered, due=due)
    after = _after(world, before, tokens, told)
    return faults, replace(world, types={**world.types, told.type_url: after})


def owed(world: World, expected: Expectation) -> Iterator[Fault]:
    """What a server that has read everything still has to say."""
    for state in world.types.values():
        here = frozenset() if world.delta else frozenset(state.sent) | {STAR}
        absent = {name for type_url, name in expected.absent if type_url == state.type_url}
        missing = {each for each in state.asked if state.wants(each)} - here - absent
        if missing:
            yield Rule.ANSWERED, f"no answer for {sorted(missing)} of {state.type_url}"
    if world.due:
        yield Rule.ENDPOINTS_FOLLOW, f"{sorted(name for _, name in world.due)} never came"


def _unasked(
    world: World, state: State, tokens: Mapping[str, Token], told: Told
) -> Iterator[Fault]:
    """Only what is asked for, but for endpoints of clusters that warm."""
    warming = world.warming if told.type_url == ENDPOINTS else frozenset()
    if not state.started and not (warming and tokens):
        yield Rule.TYPE, "nobody asked for this type"
        return
    stray = {name for name in (*tokens, *told.removed) if not state.wants(name)} - warming
    if stray:
        yield Rule.SUBSCRIBED, f"nobody asked for {sorted(stray)}"


def _again(world: World, state: State, tokens: Mapping[str, Token]) -> Iterator[Fault]:
    """Resources that the client was sent at this very content, and that nothing calls for."""
    forced = world.warming if state.type_url == ENDPOINTS else frozenset()
    again = {name for name, token in tokens.items() if state.sent.get(name) == token}
    again -= state.asked | forced
    for name in sorted(again):
        if state.refused.get(name) == tokens[name]:
            yield Rule.PARKED, f"{name} was refused as it is"
        elif name in state.known:
            yield Rule.SPARED, f"the client said that it has {name} so"
        else:
            yield Rule.SILENCE, f"{name} was sent before and did not change"


def _partial(world: World, state: State, tokens: Mapping[str, Token]) -> Iterator[Fault]:
    """SotW of a type that is asked for by name: what changed, or is asked for, and nothing else."""
    yield from _again(world, state, tokens)
    if not tokens:
        yield Rule.SILENCE, "an empty response says nothing"


def _full_state(state: State, tokens: Mapping[str, Token], told: Told) -> Iterator[Fault]:
    """SotW of listeners and clusters: the whole list, when it differs from the last one."""
    changed = {name for name, token in tokens.items() if state.sent.get(name) != token}
    gone = set(state.sent) - set(tokens)
    called = STAR in state.asked or bool(state.asked & set(tokens))
    refused = {name for name in tokens if state.refused.get(name) == tokens[name]}
    if state.answered and not called and not gone:
        if refused and changed <= refused:
            yield Rule.PARKED, f"nothing is new but what was refused: {sorted(refused)}"
        elif not changed:
            yield Rule.SILENCE, "this very list was sent before"
    fresh = changed - state.asked - set(state.refused)
    if state.version == told.version and fresh and not called:
        yield Rule.VERSION, f"{sorted(fresh)} changed, and the version did not"


def _changes(
    world: World, state: State, tokens: Mapping[str, Token], told: Told
) -> Iterator[Fault]:
    """Delta: what changed, is asked for or is gone."""
    yield from _again(world, state, tokens)
    if not tokens and not told.removed and (state.answered or STAR not in state.asked):
        yield Rule.SILENCE, "an empty response says nothing"
    if told.type_url == HTTP_ROUTES and told.removed:
        yield Rule.KEEPS_ROUTES, f"{sorted(told.removed)} removed"
    held = {*state.sent, *state.asked, *state.known}
    if told.type_url == ENDPOINTS:
        held |= world.warming
    never = set(told.removed) - held
    if never:
        yield Rule.REMOVED, f"the client neither has nor asks for {sorted(never)}"


def _warmed(
    world: World, state: State, tokens: Mapping[str, Token], told: Told, expected: Expectation
) -> World:
    """After clusters: the endpoints of those that are new or changed. A client that names its
    clusters is sent those only that it asks for.
    """
    warming, due = set(world.warming), set(world.due)
    asked_for = world.of(ENDPOINTS).names
    for item in told.items:
        needs = endpoints_of(item.body)
        if needs is None or not (state.wildcard or needs in asked_for):
            continue
        changed = state.sent.get(item.name) != tokens[item.name]
        if changed or world.delta or state.asked & {item.name, STAR}:
            warming.add(needs)
        # In SotW the place of what was refused may be taken by what the client has anyway.
        stands_in = not world.delta and item.name in state.refused
        if changed and not stands_in and (ENDPOINTS, needs) not in expected.absent:
            due.add((item.name, needs))
    gone = set(told.removed) if world.delta else set(state.sent) - set(tokens)
    due = {pair for pair in due if pair[0] not in gone}
    return replace(world, warming=frozenset(warming), due=frozenset(due))


def _after(world: World, state: State, tokens: Mapping[str, Token], told: Told) -> State:
    gone = set(told.removed)
    full = not world.delta and told.type_url in FULL_STATE
    kept = {} if full else {n: token for n, token in state.sent.items() if n not in gone}
    sent = {**kept, **tokens}
    refused = {
        name: token for name, token in state.refused.items() if sent.get(name, token) == token
    }
    return replace(
        state,
        answered=True,
        nonce=told.nonce,
        version=told.version,
        asked=state.asked - set(tokens) - gone - {STAR},
        sent=sent,
        last=tokens,
        refused={name: token for name, token in refused.items() if name not in gone},
        known=state.known - set(tokens) - gone,
    )
