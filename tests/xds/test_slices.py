"""Large subscriptions are judged, answered and looked after a bounded piece at a time."""

from __future__ import annotations

from itertools import count
from typing import Final

import pytest

from aeraki_xds.xds import delta, hub, sotw, watch
from aeraki_xds.xds.message import Response
from aeraki_xds.xds.resource import CLUSTER, ENDPOINTS, HTTP_ROUTES
from tests.xds.dialogue import DeltaEnvoy, Envoy, Server, SotwEnvoy, cluster, endpoints, routes

PIECE: Final = 3
MANY: Final = tuple(f"n{number}" for number in range(10))
DIALECTS: Final = (SotwEnvoy, DeltaEnvoy)


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "SLICE", PIECE)
    monkeypatch.setattr(delta, "MOST", PIECE)
    monkeypatch.setattr(sotw, "MOST", PIECE)
    monkeypatch.setattr(hub, "_BROAD", PIECE)


@pytest.fixture
def server() -> Server:
    return Server()


def everything(server: Server, envoy: Envoy) -> tuple[list[Response], int]:
    """What is said until nothing is left to say or to judge, and in how many turns."""
    said: list[Response] = []
    for turns in count(1):
        response = server.hub.next(envoy.stream)
        if response is not None:
            said.append(response)
            envoy.nonce[response.type_url] = response.nonce
        elif not envoy.stream.session.unfinished:
            return said, turns
    raise AssertionError


def names(responses: list[Response]) -> list[str]:
    return [each.name for response in responses for each in response.resources]


def wants(envoy: Envoy, *wanted: str) -> None:
    """Change the subscription to routes into this."""
    if isinstance(envoy, DeltaEnvoy):
        watch = envoy.stream.session.watches.get(HTTP_ROUTES)
        held = watch.subscription.names if watch is not None else frozenset()
        envoy.asks(
            HTTP_ROUTES,
            *(name for name in wanted if name not in held),
            drops=tuple(held.difference(wanted)),
        )
    else:
        envoy.asks(HTTP_ROUTES, *wanted)


def gone(responses: list[Response]) -> list[str]:
    return [name for response in responses for name in response.removed]


# --- judging ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", DIALECTS)
def test_many_names_are_judged_and_sent_a_few_at_a_time(
    server: Server, dialect: type[Envoy]
) -> None:
    server.publishes(*map(routes, MANY))
    envoy = dialect(server)
    envoy.asks(HTTP_ROUTES, *MANY)
    said, _ = everything(server, envoy)
    assert sorted(names(said)) == sorted(MANY), "each once"
    assert [len(response.resources) for response in said] == [3, 3, 3, 1]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_many_names_of_which_nothing_is_due_take_their_turns_too(
    server: Server, dialect: type[Envoy]
) -> None:
    server.publishes()
    envoy = dialect(server)
    envoy.asks(HTTP_ROUTES, *MANY)
    said, turns = everything(server, envoy)
    assert said == []
    assert turns == 4


def test_a_full_state_is_one_response_however_long_it_is_judged(server: Server) -> None:
    server.publishes(*map(cluster, MANY))
    envoy = SotwEnvoy(server)
    envoy.asks(CLUSTER)
    first = server.hub.next(envoy.stream)
    assert first is None
    assert envoy.stream.session.unfinished
    said, _ = everything(server, envoy)
    assert sorted(names(said[:1])) == sorted(MANY)


def test_many_removals_are_said_a_few_at_a_time(server: Server) -> None:
    server.publishes(*map(endpoints, MANY))
    envoy = DeltaEnvoy(server)
    envoy.asks(ENDPOINTS, *MANY)
    everything(server, envoy)
    server.publishes(without=map(endpoints, MANY))
    said, _ = everything(server, envoy)
    assert sorted(gone(said)) == sorted(MANY)
    assert [len(response.removed) for response in said] == [3, 3, 3, 1]


def test_nothing_of_a_later_type_is_said_while_an_earlier_one_is_judged(server: Server) -> None:
    server.publishes(*map(cluster, MANY), routes("r"))
    envoy = DeltaEnvoy(server)
    envoy.asks(HTTP_ROUTES, "r")
    envoy.asks(CLUSTER)
    said, _ = everything(server, envoy)
    assert [each.type_url for each in said][-1] == HTTP_ROUTES
    assert len(said) > 2


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_changes_after_it_was_judged_is_judged_again(
    server: Server, dialect: type[Envoy], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delta, "MOST", 100)
    monkeypatch.setattr(sotw, "MOST", 100)
    server.publishes(*map(routes, MANY))
    envoy = dialect(server)
    envoy.asks(HTTP_ROUTES, *MANY)
    assert server.hub.next(envoy.stream) is None
    judged = list(envoy.stream.session.watches[HTTP_ROUTES]._due)
    assert len(judged) == PIECE
    lost, changed, dropped = judged
    server.publishes(routes(changed, "2"), without=[routes(lost)])
    wants(envoy, *(name for name in MANY if name != dropped))
    (response,), _ = everything(server, envoy)
    assert sorted(names([response])) == sorted({*MANY} - {lost, dropped})
    assert {each.name: each.version for each in response.resources}[changed] == (
        routes(changed, "2").version
    )


def test_endpoints_that_come_unasked_are_those_of_the_moment_in_which_they_are_written(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has not asked for them is not woken by them: nobody says that they changed."""
    monkeypatch.setattr(sotw, "MOST", 100)
    server.publishes(*map(cluster, MANY), *map(endpoints, MANY[1:]))
    envoy = SotwEnvoy(server)
    envoy.asks(CLUSTER)
    while server.hub.next(envoy.stream) is None:
        pass
    assert server.hub.next(envoy.stream) is None
    of_endpoints = envoy.stream.session.watches[ENDPOINTS]
    while not of_endpoints._due:
        server.hub.next(envoy.stream)
    judged = min(of_endpoints._due)
    server.publishes(endpoints(judged, "2"), endpoints("n0"))
    said, _ = everything(server, envoy)
    assert sorted(names(said)) == sorted(MANY)
    versions = {each.name: each.version for response in said for each in response.resources}
    assert versions[judged] == endpoints(judged, "2").version


@pytest.mark.parametrize("judged", [True, False])
def test_what_a_reconnecting_client_does_not_want_is_not_kept(server: Server, judged: bool) -> None:
    server.publishes(*map(routes, MANY))
    envoy = DeltaEnvoy(server)
    had = {name: routes(name).version for name in MANY}
    envoy.asks(HTTP_ROUTES, "n0", has=had)
    watch = envoy.stream.session.watches[HTTP_ROUTES]
    assert len(watch.dirty) < len(MANY) <= watch.backlog, "the others are for later"
    if judged:
        said, turns = everything(server, envoy)
        assert said == []
        assert turns >= 4
        assert set(watch.sent) == {"n0"}
    envoy.asks(HTTP_ROUTES, "n1")
    assert names(everything(server, envoy)[0]) == ["n1"]
    assert set(watch.sent) == {"n0", "n1"}


def test_what_a_reconnecting_client_holds_is_judged_to_the_last_name(server: Server) -> None:
    server.publishes(*(cluster(name, "2") for name in MANY))
    envoy = DeltaEnvoy(server)
    envoy.asks(CLUSTER, has={**{name: cluster(name).version for name in MANY}, "gone": "1"})
    said, _ = everything(server, envoy)
    assert sorted(names(said)) == sorted(MANY)
    assert gone(said) == ["gone"]


# --- the hub's index ----------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", DIALECTS)
def test_who_names_many_is_woken_by_what_it_names_and_by_nothing_else(
    server: Server, dialect: type[Envoy]
) -> None:
    server.publishes()
    envoy = dialect(server)
    envoy.asks(HTTP_ROUTES, *MANY)
    everything(server, envoy)
    assert server.hub._named == {}
    assert server.publishes(routes("other"), cluster("n1")).woken == 0
    assert server.publishes(routes("n1"), routes("other", "2")).woken == 1
    assert names(everything(server, envoy)[0]) == ["n1"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_subscription_that_grows_and_shrinks_is_heard_all_along(
    server: Server, dialect: type[Envoy]
) -> None:
    server.publishes()
    envoy = dialect(server)
    versions = count(1)
    for size in (1, 3, 4, 10, 4, 2, 1, 0, 5):
        wanted = MANY[:size]
        wants(envoy, *wanted)
        everything(server, envoy)
        version = str(next(versions))
        assert server.publishes(*(routes(name, version) for name in MANY)).woken == (size > 0)
        assert sorted(names(everything(server, envoy)[0])) == sorted(wanted)
    envoy.leaves()
    assert (server.hub._named, server.hub._broad) == ({}, {})
