"""Any interleaving converges: a model of proxies in both dialects against one hub.

Publications to two merged scopes, subscriptions, blocked readers, refusals, requests that cross
responses, reconnections and scopes that are forgotten and composed anew come in any order. At
every step what is written is exactly what is due (nothing superfluous, no name twice, no nonce
again), and no cluster goes under a route that had left it. Whenever everything that was said has
been heard, each proxy holds what its scopes hold of what it asked for, but for versions that it
refused itself, and who asked for the same holds the same.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import product
from typing import ClassVar, Final

import pytest
from hypothesis import HealthCheck, note, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from aeraki_xds.xds import watch
from aeraki_xds.xds.resource import (
    CLUSTER,
    ENDPOINTS,
    FULL_STATE,
    HTTP_ROUTES,
    Name,
    ResourceId,
    Scope,
)
from tests.xds.dialogue import Server
from tests.xds.model_proxy import DeltaProxy, Manners, Proxy, SotwProxy
from tests.xds.model_world import (
    BOTH,
    EDITS,
    EVERYTHING,
    FOCI,
    MOVES,
    NAMES,
    OWN,
    SENDERS,
    SHARED,
    STAR,
    SUBSCRIPTIONS,
    TRAFFIC,
    TYPES,
    Edits,
    Focus,
    Publication,
    World,
    in_words,
)

Traffic = tuple[tuple[int, int], ...]

MANNERS: Final = tuple(Manners(*each) for each in product((False, True), repeat=4))
SCOPES: Final = st.sampled_from((0, 1))
WHICH: Final = st.sampled_from((0, 1, 2))
THEN: Final = st.sampled_from(TRAFFIC)


class Conversations(RuleBasedStateMachine):
    """The interleavings. Each rule that says something lets `then` some traffic pass."""

    finished: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.server = Server()
        self.world = World(self.server)
        self.proxies: tuple[Proxy, ...] = ()
        self.mended = 0

    def scope(self, number: int) -> Scope:
        return self.focus.scopes[number % len(self.focus.scopes)]

    @initialize(
        focus=st.sampled_from(FOCI),
        manners=st.sampled_from(MANNERS),
        composed=st.booleans(),
        routes_in_delta=st.booleans(),
    )
    def connect(
        self, focus: Focus, manners: Manners, composed: bool, routes_in_delta: bool
    ) -> None:
        """Two aggregated streams, one in each dialect, and one that is for routes alone."""
        self.focus = focus
        if composed:
            self.world.publishes(SHARED, EVERYTHING)
            self.world.publishes(OWN, {})
        alone = DeltaProxy if routes_in_delta else SotwProxy
        self.proxies = (
            SotwProxy(self.world, scopes=BOTH, types=TYPES, manners=manners),
            DeltaProxy(self.world, scopes=BOTH, types=TYPES, manners=manners),
            alone(self.world, scopes=(SHARED,), types=(HTTP_ROUTES,), manners=manners),
        )
        for proxy in self.proxies:
            for type_url in proxy.types:
                if type_url != ENDPOINTS:
                    everything = {STAR} if type_url in FULL_STATE else NAMES
                    proxy.asks(type_url, frozenset(everything))

    def then(self, traffic: Traffic) -> None:
        """Some of what is due is written, some of what was written is read."""
        for proxy, (writes, reads) in zip(self.proxies, traffic, strict=True):
            while writes and proxy.is_written_to():
                writes -= 1
            while reads and proxy.reads():
                reads -= 1

    # --- what is published --------------------------------------------------------------------

    @rule(scope=SCOPES, edits=st.sampled_from(EDITS), then=THEN)
    def publish(self, scope: int, edits: Edits, then: Traffic) -> None:
        """What comes, changes or goes: whatever is drawn."""
        self.publishes(scope, self.focus.publication(edits))
        self.then(then)

    def publishes(self, scope: int, publication: Publication) -> None:
        where = self.scope(scope)
        note(f"{where}: {in_words(publication)}")
        self.world.publishes(where, publication)

    @rule(scope=SCOPES, move=st.sampled_from(MOVES), then=THEN)
    def move(self, scope: int, move: tuple[ResourceId, Name], then: Traffic) -> None:
        """One that sends goes over to another cluster, and its old one goes."""
        self.publishes(scope, self.world.move(self.scope(scope), *move))
        self.then(then)

    @rule(scope=SCOPES, edits=st.sampled_from(EDITS), then=THEN)
    def flicker(self, scope: int, edits: Edits, then: Traffic) -> None:
        """Something goes while other things change, and comes back as it was."""
        publication = self.focus.publication(edits)
        gone = next(iter(publication))
        before = self.world.texts(self.scope(scope)).get(gone)
        self.publishes(scope, {**publication, gone: None})
        self.then(then)
        self.publishes(scope, {gone: before})

    # --- what is said -------------------------------------------------------------------------

    @rule(which=WHICH, wanted=st.sampled_from(SUBSCRIPTIONS), then=THEN)
    def subscribe(self, which: int, wanted: tuple[int, frozenset[Name]], then: Traffic) -> None:
        """A list takes the place of the list before; it may be empty."""
        proxy = self.proxies[which]
        type_url, names = self.focus.subscription(*wanted)
        if type_url not in proxy.types:
            type_url = HTTP_ROUTES
        if names or proxy.may_want_nothing(type_url):
            proxy.asks(type_url, names)
            proxy.follows_its_clusters()
        self.then(then)

    @rule(which=WHICH, back=st.sampled_from((1, 2, 3)), error=st.sampled_from((None, "no")))
    def mutter(self, which: int, back: int, error: str | None) -> None:
        """A request that was answered comes again, or one with the nonce of long ago."""
        proxy = self.proxies[which]
        for type_url, taken in proxy.taken.items():
            if taken:
                proxy.mutters(type_url, taken[-back] if back <= len(taken) else "another", error)

    @rule(which=WHICH, forgotten=st.sampled_from((None, None, *BOTH)))
    def reconnect(self, which: int, forgotten: Scope | None) -> None:
        """One of them; or all, as when the control plane restarts, before a scope is composed."""
        back = [self.proxies[which]] if forgotten is None else self.proxies
        for proxy in back:
            proxy.leaves()
        if forgotten is not None:
            self.world.forgets(forgotten)
        for proxy in back:
            proxy.connects()

    # --- what crosses the wire ----------------------------------------------------------------

    @rule(then=THEN)
    def exchange(self, then: Traffic) -> None:
        """Nothing happens but what is under way."""
        self.then(then)

    @rule(which=WHICH)
    def block(self, which: int) -> None:
        """Nothing can be written any more, until it can again."""
        proxy = self.proxies[which]
        if proxy.blocked:
            proxy.unblocks()
        else:
            proxy.blocked = True

    # --- quiet --------------------------------------------------------------------------------

    @rule()
    def settle(self) -> None:
        """All that was said is heard."""
        for proxy in self.proxies:
            proxy.settles()
        composed = [each for each in self.proxies if self.world.ready(each.scopes)]
        quiet = [proxy for proxy in composed if not proxy.blocked]
        for proxy in quiet:
            proxy.holds_what_it_should()
        if len(quiet) == len(self.proxies):
            self.proxies[0].agrees_with(self.proxies[1])

    @rule()
    def recover(self) -> None:
        """What was forgotten comes as it was. Where nothing is missing, everything that could be
        refused changes for the good, and both aggregated streams ask for the same: then nothing
        is left out, and they hold the same."""
        missing = [scope for scope in BOTH if not self.world.ready((scope,))]
        for scope in missing:
            self.world.publishes(scope, self.world.former(scope))
        if not missing:
            self.mend()

    def mend(self) -> None:
        self.mended += 1
        for scope in BOTH:
            self.world.mends(scope, self.mended)
        one, other = self.proxies[:2]
        for type_url in (CLUSTER, *SENDERS):
            if one.names[type_url] or other.names[type_url]:
                other.asks(type_url, one.names[type_url])
        for proxy in self.proxies:
            proxy.unblocks()
            proxy.settles()
            proxy.kept.clear()
            proxy.holds_what_it_should()
        one.agrees_with(other)

    def teardown(self) -> None:
        if sys.exc_info()[0] is None:
            for proxy in self.proxies:
                proxy.unblocks()
            self.settle()
            for proxy in self.proxies:
                proxy.leaves()
            assert not self.server.hub.streams
            type(self).finished += 1


def conversations(examples: int, *, steps: int, number: int | None = None) -> int:
    """Run that many and say how many came to their end; with a number always the same ones."""

    class These(Conversations):
        finished = 0

    if number is not None:
        seed(number)(These)
    run_state_machine_as_test(
        These,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=False,  # shards without a number would all have the same conversations
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
    return These.finished


def judges_at_a_time(shard: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In every other shard anything may happen between the judgements of any two names."""
    if shard % 2:
        monkeypatch.setattr(watch, "SLICE", 1)


SHARDS: Final = 2
EXAMPLES: Final = 1_000
STEPS: Final = 40


@pytest.mark.parametrize("shard", range(SHARDS))
def test_any_interleaving_converges(shard: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """2,000 conversations, the same ones each time, so that no change fails by chance."""
    judges_at_a_time(shard, monkeypatch)
    assert conversations(EXAMPLES, steps=STEPS, number=shard) >= EXAMPLES


LONG_SHARDS: Final = 26
LONG_EXAMPLES: Final = 2_000
"""Of each shard: Hypothesis remembers every one, which is 200 MB for a thousand."""


@pytest.mark.long
@pytest.mark.parametrize("shard", range(LONG_SHARDS))
def test_any_interleaving_converges_however_long(
    shard: int,
    record_property: Callable[[str, object], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """52,000 conversations, other ones each time."""
    judges_at_a_time(shard, monkeypatch)
    finished = conversations(LONG_EXAMPLES, steps=STEPS)
    record_property("conversations", finished)
    print(f"shard {shard}: {finished} conversations")
    assert finished >= LONG_EXAMPLES
