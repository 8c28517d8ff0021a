"""How long a change takes: from its source to the last of those that it concerns."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from aeraki_xds.xds.resource import CLUSTER, ENDPOINTS, HTTP_ROUTES, LISTENER, Resource, ResourceId
from aeraki_xds.xds.tally import Change, Convergence, Histogram
from tests.xds.dialogue import (
    GLOBAL,
    DeltaEnvoy,
    Envoy,
    Server,
    SotwEnvoy,
    cluster,
    endpoints,
    lines,
    listener,
    routes,
)

DIALECTS = [SotwEnvoy, DeltaEnvoy]


class Measured(Server):
    """A server whose changes are measured, by a clock that the test moves."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0
        self.convergence = Convergence(clock=lambda: self.seconds)

    def changes(self, *resources: Resource, without: Iterable[Resource] = ()) -> Change:
        """A change that is published everywhere; it began just now."""
        change = self.convergence.begin(self.seconds)
        changes: dict[ResourceId, Resource | None] = {each.id: None for each in without}
        changes.update({each.id: each for each in resources})
        self.hub.publish(GLOBAL, changes, change)
        change.published()
        return change

    def proxy(self, dialect: type[Envoy], *names: str) -> Envoy:
        """An Envoy that has all the routes that it asked for."""
        envoy = dialect(self)
        envoy.asks(HTTP_ROUTES, *names)
        for response in self.says(envoy):
            envoy.acks(response)
        return envoy

    @property
    def took(self) -> tuple[int, float]:
        """How many changes were measured, and how long they took together."""
        return sum(self.convergence.seconds.counts), self.convergence.seconds.total


@pytest.fixture
def server() -> Measured:
    made = Measured()
    made.publishes(routes("r"), routes("s"))
    return made


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_change_ends_with_the_last_ack_of_those_concerned(
    server: Measured, dialect: type[Envoy]
) -> None:
    first, last, other = (server.proxy(dialect, name) for name in ("r", "r", "s"))
    server.changes(routes("r", "2"))
    (of_first,), (of_last,) = server.says(first), server.says(last)
    assert server.says(other) == []
    server.seconds = 1.0
    first.acks(of_first)
    assert (server.took, server.convergence.under_way) == ((0, 0.0), 1)
    assert server.convergence.oldest == 1.0
    server.seconds = 3.0
    last.acks(of_last)
    assert (server.took, server.convergence.under_way) == ((1, 3.0), 0)
    assert server.convergence.oldest == 0.0


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_plain_ack_ends_it_as_well(server: Measured, dialect: type[Envoy]) -> None:
    envoy = server.proxy(dialect, "r")
    server.changes(routes("r", "2"))
    (sent,) = server.says(envoy)
    server.seconds = 2.0
    assert server.hub.accept(envoy.stream, HTTP_ROUTES, sent.nonce)
    assert server.took == (1, 2.0)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_ack_of_what_was_sent_before_the_change_does_not_end_it(
    server: Measured, dialect: type[Envoy]
) -> None:
    envoy = server.proxy(dialect, "r")
    server.publishes(routes("r", "2"))
    (before,) = server.says(envoy)
    server.changes(routes("r", "3"))
    envoy.acks(before)
    assert server.took == (0, 0.0)
    (after,) = server.says(envoy)
    server.seconds = 1.0
    envoy.acks(after)
    assert server.took == (1, 1.0)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_slow_reader_ends_each_of_the_changes_that_it_was_sent_as_one(
    server: Measured, dialect: type[Envoy]
) -> None:
    envoy = server.proxy(dialect, "r", "s")
    server.changes(routes("r", "2"))
    server.seconds = 1.0
    server.changes(routes("s", "2"))
    (both,) = server.says(envoy)
    assert lines([both]) == ["RDS r=2 s=2"]
    server.seconds = 3.0
    envoy.acks(both)
    assert server.took == (2, 3.0 + 2.0)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_ack_of_the_newest_response_ends_what_the_ones_before_it_carried(
    server: Measured, dialect: type[Envoy]
) -> None:
    envoy = server.proxy(dialect, "r", "s")
    server.changes(routes("r", "2"))
    (first,) = server.says(envoy)
    server.changes(routes("s", "2"))
    (second,) = server.says(envoy)
    envoy.acks(first)
    assert server.took == (0, 0.0)
    envoy.acks(second)
    assert server.took[0] == 2


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_change_waits_for_every_type_that_it_touches(
    server: Measured, dialect: type[Envoy]
) -> None:
    envoy = dialect(server)
    envoy.asks(LISTENER)
    envoy.asks(HTTP_ROUTES, "r")
    for response in server.says(envoy):
        envoy.acks(response)
    server.changes(listener("l"), routes("r", "2"))
    lds, rds = server.says(envoy)
    envoy.acks(rds)
    assert server.convergence.under_way == 1
    envoy.acks(lds)
    assert server.took[0] == 1


def test_a_change_waits_for_the_response_that_takes_away_too(server: Measured) -> None:
    server.publishes(cluster("a"), endpoints("a"), cluster("b"), endpoints("b"))
    envoy = SotwEnvoy(server)
    envoy.asks(CLUSTER)
    envoy.asks(ENDPOINTS, "a", "b")
    for response in server.says(envoy):
        envoy.acks(response)
    server.changes(cluster("a", "2"), without=[cluster("b")])
    sent = []
    while (response_or_none := server.hub.next(envoy.stream)) is not None:
        sent.append(response_or_none)
        if response_or_none.type_url == CLUSTER:
            envoy.acks(response_or_none)
    of_clusters = [line for line in lines(sent) if line.startswith("CDS")]
    assert of_clusters == ["CDS a=2 b=1", "CDS a=2"]
    assert server.took[0] == 1  # at the second, not before


def test_a_reader_that_is_stopped_in_between_ends_nothing_by_its_first_ack(
    server: Measured,
) -> None:
    server.publishes(cluster("a"), cluster("b"))
    envoy = SotwEnvoy(server)
    envoy.asks(CLUSTER)
    for response in server.says(envoy):
        envoy.acks(response)
    server.changes(cluster("a", "2"), without=[cluster("b")])
    envoy.acks(server.says_next(envoy))
    assert server.took[0] == 0
    for response in server.says(envoy):
        envoy.acks(response)
    assert server.took[0] == 1


@pytest.mark.parametrize("dialect", DIALECTS)
def test_who_refuses_is_not_waited_for_and_does_not_count_as_done(
    server: Measured, dialect: type[Envoy]
) -> None:
    good, bad = server.proxy(dialect, "r"), server.proxy(dialect, "r")
    server.changes(routes("r", "2"))
    (of_good,), (of_bad,) = server.says(good), server.says(bad)
    good.acks(of_good)
    bad.nacks(of_bad, "no")
    assert (server.took[0], server.convergence.under_way) == (1, 0)
    server.changes(routes("r", "3"))
    for envoy in (good, bad):
        for response in server.says(envoy):
            envoy.nacks(response, "no")
    assert (server.took[0], server.convergence.under_way) == (1, 0)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_who_refuses_before_all_was_said_is_not_waited_for(
    server: Measured, dialect: type[Envoy]
) -> None:
    envoy = server.proxy(dialect, "r")
    server.changes(routes("r", "2"))
    envoy.nacks(server.says_next(envoy), "no")
    assert server.convergence.under_way == 1
    assert server.says(envoy) == []
    assert (server.took[0], server.convergence.under_way) == (0, 0)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_response_that_leaves_nothing_to_say_is_all_that_is_waited_for(
    server: Measured, dialect: type[Envoy]
) -> None:
    envoy = server.proxy(dialect, "r")
    server.changes(routes("r", "2"))
    response = server.says_next(envoy)
    assert envoy.stream.session.quiet
    server.hub.all_said(envoy.stream)
    assert server.convergence.under_way == 1
    assert server.hub.accept(envoy.stream, HTTP_ROUTES, response.nonce)
    assert (server.took[0], server.convergence.under_way) == (1, 0)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_change_of_many_names_is_one_change(server: Measured, dialect: type[Envoy]) -> None:
    names = [f"n{number}" for number in range(40)]
    envoy = server.proxy(dialect, *names)
    server.changes(*(routes(name) for name in names))
    server.changes(routes("n0", "2"))
    assert server.convergence.under_way == 2
    for response in server.says(envoy):
        envoy.acks(response)
    assert server.took[0] == 2


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("sent", [True, False])
def test_who_leaves_is_not_waited_for(server: Measured, dialect: type[Envoy], sent: bool) -> None:
    stays, leaves = server.proxy(dialect, "r"), server.proxy(dialect, "r")
    server.changes(routes("r", "2"))
    if sent:
        server.says(leaves)
    for response in server.says(stays):
        stays.acks(response)
    assert server.convergence.under_way == 1
    leaves.leaves()
    assert (server.took[0], server.convergence.under_way) == (1, 0)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_change_that_was_taken_back_in_time_is_not_waited_for(
    server: Measured, dialect: type[Envoy]
) -> None:
    envoy = server.proxy(dialect, "r")
    server.changes(routes("r", "2"))
    server.changes(routes("r", "1"))
    assert server.convergence.under_way == 2
    assert server.says(envoy) == []
    assert (server.took[0], server.convergence.under_way) == (0, 0)


def test_a_change_that_concerns_nobody_is_not_measured(server: Measured) -> None:
    server.changes(routes("nobody's"))
    assert (server.took[0], server.convergence.under_way) == (0, 0)


def test_a_change_is_not_over_before_it_is_published_everywhere(server: Measured) -> None:
    envoy = server.proxy(SotwEnvoy, "r")
    change = server.convergence.begin(0.0)
    server.hub.publish(GLOBAL, {routes("r", "2").id: routes("r", "2")}, change)
    for response in server.says(envoy):
        envoy.acks(response)
    assert (server.took[0], server.convergence.under_way) == (0, 1)
    server.seconds = 5.0
    change.published()
    assert server.took == (1, 5.0)


def test_a_stream_that_never_answers_holds_up_some_changes_and_not_all(server: Measured) -> None:
    server.proxy(SotwEnvoy, "r")  # does not read
    deaf = server.proxy(DeltaEnvoy, "r")  # reads, and says nothing
    good = server.proxy(SotwEnvoy, "r")
    for number in range(50):
        server.seconds += 1
        server.changes(routes("r", f"change {number}"))
        server.says(deaf)
        for response in server.says(good):
            good.acks(response)
    assert (server.took[0], server.convergence.under_way) == (34, 16)
    assert server.convergence.oldest == 49.0
    assert server.hub.tally.by_type["rds"].pushes == 3 + 50 + 50


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_a_stream_is_sent_when_it_connects_is_no_change(
    server: Measured, dialect: type[Envoy]
) -> None:
    server.proxy(dialect, "r")
    assert (server.took[0], server.convergence.under_way) == (0, 0)


def test_a_bound_belongs_to_the_bucket_below_it() -> None:
    histogram = Histogram((1.0, 2.0))
    for seconds in (0.0, 1.0, 1.5, 2.0, 2.1):
        histogram.observe(seconds)
    assert (histogram.counts, histogram.total) == ([2, 2, 1], 6.6)
