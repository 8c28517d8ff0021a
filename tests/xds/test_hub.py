"""Where publications meet streams: who is woken, what is remembered, what is forgotten."""

from __future__ import annotations

import pytest

from aeraki_xds.xds.resource import CLUSTER, ENDPOINTS, HTTP_ROUTES, LISTENER, Scope
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
OWN = Scope("own")
SHARED = Scope("shared")


@pytest.fixture
def server() -> Server:
    return Server()


def quiet(server: Server, envoy: Envoy) -> Envoy:
    """An Envoy that has accepted all that there is; its wake-ups are counted from here."""
    for response in server.says(envoy):
        envoy.acks(response)
    envoy.woken = 0
    return envoy


# --- who is woken -----------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", DIALECTS)
def test_only_who_named_a_changed_resource_is_woken(server: Server, dialect: type[Envoy]) -> None:
    server.publishes(routes("r"), routes("s"))
    concerned, other = dialect(server), dialect(server)
    concerned.asks(HTTP_ROUTES, "r")
    other.asks(HTTP_ROUTES, "s")
    quiet(server, concerned)
    quiet(server, other)
    published = server.publishes(routes("r", "2"))
    assert (published.scope, published.woken) == (GLOBAL, 1)
    assert published.changed == {HTTP_ROUTES: frozenset({"r"})}
    assert (concerned.woken, other.woken) == (1, 0)
    assert lines(server.says(concerned)) == ["RDS r=2"]
    assert server.says(other) == []


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_wildcard_is_woken_by_its_type_only(server: Server, dialect: type[Envoy]) -> None:
    server.publishes(listener("l"), cluster("a"))
    listens = dialect(server)
    listens.asks(LISTENER)
    quiet(server, listens)
    assert server.publishes(cluster("a", "2"), routes("r")).woken == 0
    assert server.publishes(listener("m")).woken == 1
    assert listens.woken == 1


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_stream_that_asked_for_everything_and_a_name_is_woken_once(
    server: Server, dialect: type[Envoy]
) -> None:
    server.publishes(listener("l"), cluster("a"))
    envoy = dialect(server)
    envoy.asks(LISTENER, "*", "l")
    envoy.asks(CLUSTER)
    quiet(server, envoy)
    assert server.publishes(listener("l", "2"), cluster("a", "2")).woken == 1
    assert envoy.woken == 1


def test_equal_bytes_wake_no_one(server: Server) -> None:
    server.publishes(routes("r"))
    envoy = SotwEnvoy(server)
    envoy.asks(HTTP_ROUTES, "r")
    quiet(server, envoy)
    published = server.publishes(routes("r"))
    assert (published.woken, dict(published.changed)) == (0, {})
    assert envoy.woken == 0


@pytest.mark.parametrize("dialect", DIALECTS)
def test_who_gave_a_name_up_is_no_longer_woken(server: Server, dialect: type[Envoy]) -> None:
    server.publishes(routes("r"), routes("s"))
    envoy = dialect(server)
    envoy.asks(HTTP_ROUTES, "r", "s")
    quiet(server, envoy)
    if isinstance(envoy, DeltaEnvoy):
        envoy.drops(HTTP_ROUTES, "r")
    else:
        envoy.asks(HTTP_ROUTES, "s")
    quiet(server, envoy)
    assert server.publishes(routes("r", "2")).woken == 0
    assert server.publishes(routes("s", "2")).woken == 1


@pytest.mark.parametrize("dialect", DIALECTS)
def test_who_gave_the_wildcard_up_is_no_longer_woken(server: Server, dialect: type[Envoy]) -> None:
    server.publishes(listener("l"), listener("m"))
    envoy = dialect(server)
    envoy.asks(LISTENER, "*", "l")
    quiet(server, envoy)
    if isinstance(envoy, DeltaEnvoy):
        envoy.drops(LISTENER, "*")
    else:
        envoy.asks(LISTENER, "l")
    quiet(server, envoy)
    assert server.publishes(listener("m", "2")).woken == 0
    assert server.publishes(listener("l", "2")).woken == 1


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_scope_concerns_only_its_own_streams(server: Server, dialect: type[Envoy]) -> None:
    server.publishes(routes("r", "own"), scope=OWN)
    server.publishes(routes("r", "shared"), scope=SHARED)
    ours, theirs = dialect(server, scopes=(OWN,)), dialect(server, scopes=(SHARED,))
    ours.asks(HTTP_ROUTES, "r")
    theirs.asks(HTTP_ROUTES, "r")
    assert lines(server.says(ours)) == ["RDS r=own"]
    assert lines(server.says(theirs)) == ["RDS r=shared"]
    quiet(server, theirs)
    assert server.publishes(routes("r", "2"), scope=OWN).woken == 1
    assert theirs.woken == 0
    assert server.says(theirs) == []


# --- streams of one node ----------------------------------------------------------------------


@pytest.mark.parametrize("dialect", DIALECTS)
def test_04_streams_of_one_node_are_independent(server: Server, dialect: type[Envoy]) -> None:
    server.publishes(routes("r"), routes("s"))
    first, second = dialect(server, node="same"), dialect(server, node="same")
    first.asks(HTTP_ROUTES, "r")
    second.asks(HTTP_ROUTES, "s")
    assert lines(server.says(first)) == ["RDS r=1"]
    assert lines(server.says(second)) == ["RDS s=1"]
    first.leaves()
    server.publishes(routes("r", "2"), routes("s", "2"))
    assert lines(server.says(second)) == ["RDS s=2"]
    assert [stream.number for stream in server.hub.streams] == [second.stream.number]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_04_a_nack_on_one_stream_parks_nothing_on_its_sibling(
    server: Server, dialect: type[Envoy]
) -> None:
    server.publishes(routes("r", "bad"))
    first, second = dialect(server, node="same"), dialect(server, node="same")
    first.asks(HTTP_ROUTES, "r")
    (refused,) = server.says(first)
    first.nacks(refused, "no")
    second.asks(HTTP_ROUTES, "r")
    assert lines(server.says(second)) == ["RDS r=bad"]


def test_05_both_dialects_may_be_spoken_by_one_node(server: Server) -> None:
    server.publishes(listener("l"))
    sotw, delta = SotwEnvoy(server, node="same"), DeltaEnvoy(server, node="same")
    sotw.asks(LISTENER)
    delta.asks(LISTENER)
    assert lines(server.says(sotw)) == lines(server.says(delta)) == ["LDS l=1"]


def test_53_streams_are_listed_oldest_first_with_what_they_are(server: Server) -> None:
    envoys = [SotwEnvoy(server, node=f"n{number}", scopes=(OWN, SHARED)) for number in range(5)]
    envoys[1].leaves()
    assert [stream.node.id for stream in server.hub.streams] == ["n0", "n2", "n3", "n4"]
    assert {stream.connected_at for stream in server.hub.streams} == {server.now}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_53_a_closed_stream_leaves_nothing_behind(server: Server, dialect: type[Envoy]) -> None:
    server.publishes(cluster("a"), endpoints("a"), listener("l"), routes("r"))
    before = _indexes(server)
    envoy = dialect(server, scopes=(GLOBAL, OWN))
    envoy.asks(CLUSTER)
    envoy.asks(LISTENER, "*", "l")
    envoy.asks(ENDPOINTS, "a", "b")
    envoy.asks(HTTP_ROUTES, "r", "absent")
    server.publishes(scope=OWN)
    quiet(server, envoy)
    assert _indexes(server) != before
    envoy.leaves()
    assert _indexes(server) == before
    assert server.publishes(cluster("a", "2"), listener("l", "2"), routes("r", "2")).woken == 0


def _indexes(server: Server) -> list[int]:
    hub = server.hub
    return [len(index) for index in (hub._streams, hub._named, hub._wildcard)]


# --- scopes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_scope_that_was_never_published_is_silent(server: Server, dialect: type[Envoy]) -> None:
    server.publishes(cluster("a"))
    envoy = dialect(server, scopes=(OWN,))
    envoy.asks(CLUSTER)
    envoy.asks(ENDPOINTS, "a")
    assert server.says(envoy) == []
    assert server.hub.snapshot(OWN) is None


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_stream_of_two_scopes_is_silent_until_both_are_there(
    server: Server, dialect: type[Envoy]
) -> None:
    envoy = dialect(server, scopes=(OWN, SHARED))
    envoy.asks(CLUSTER)
    envoy.asks(HTTP_ROUTES, "r")
    server.publishes(cluster("a"), scope=SHARED)
    server.publishes(routes("r"), scope=SHARED)
    assert server.says(envoy) == []
    quiet(server, envoy)
    assert server.publishes(scope=OWN).woken == 1
    assert envoy.woken == 1
    assert lines(server.says(envoy)) == ["CDS a=1", "RDS r=1"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_first_scope_that_holds_a_name_wins(server: Server, dialect: type[Envoy]) -> None:
    server.publishes(listener("l", "shared"), routes("r", "shared"), scope=SHARED)
    server.publishes(listener("l", "own"), routes("r", "own"), scope=OWN)
    envoy = dialect(server, scopes=(OWN, SHARED))
    envoy.asks(LISTENER)
    envoy.asks(HTTP_ROUTES, "r")
    assert lines(server.says(envoy)) == ["LDS l=own", "RDS r=own"]
    server.publishes(listener("l", "shared 2"), routes("r", "shared 2"), scope=SHARED)
    assert server.says(envoy) == []
    server.publishes(without=[listener("l"), routes("r")], scope=OWN)
    assert lines(server.says(envoy)) == ["LDS l=shared 2", "RDS r=shared 2"]
    server.publishes(routes("r", "own again"), scope=OWN)
    assert lines(server.says(envoy)) == ["RDS r=own again"]


def test_streams_with_the_same_scopes_in_another_order_see_another_winner(server: Server) -> None:
    server.publishes(routes("r", "shared"), scope=SHARED)
    server.publishes(routes("r", "own"), scope=OWN)
    envoy = SotwEnvoy(server, scopes=(SHARED, OWN))
    envoy.asks(HTTP_ROUTES, "r")
    assert lines(server.says(envoy)) == ["RDS r=shared"]


def test_scopes_are_wanted_until_they_are_published_and_idle_after_their_last_stream(
    server: Server,
) -> None:
    server.publishes(scope=SHARED)
    first = SotwEnvoy(server, scopes=(OWN, SHARED))
    assert server.wanted == [OWN]
    server.publishes(scope=OWN)
    second = DeltaEnvoy(server, scopes=(OWN,))
    assert server.wanted == [OWN]
    assert set(server.hub.scopes) == {OWN, SHARED}
    first.leaves()
    assert server.idle == [SHARED]
    second.leaves()
    assert server.idle == [SHARED, OWN]
    assert set(server.hub.scopes) == set()


def test_a_dropped_scope_is_wanted_again_and_silent_until_it_is_published_again(
    server: Server,
) -> None:
    server.publishes(routes("r", "old"), scope=OWN)
    first = SotwEnvoy(server, scopes=(OWN,))
    first.asks(HTTP_ROUTES, "r")
    assert lines(server.says(first)) == ["RDS r=old"]
    first.leaves()
    server.hub.drop(OWN)
    assert server.hub.snapshot(OWN) is None
    # `first` is still referred to, as a finished task may be: its view must not be served.
    second = SotwEnvoy(server, scopes=(OWN,))
    second.asks(HTTP_ROUTES, "r")
    assert server.wanted == [OWN]
    assert server.says(second) == []
    server.publishes(routes("r", "new"), scope=OWN)
    assert lines(server.says(second)) == ["RDS r=new"]


def test_a_scope_in_use_is_not_dropped(server: Server) -> None:
    server.publishes(routes("r"), scope=OWN)
    envoy = SotwEnvoy(server, scopes=(OWN,))
    server.hub.drop(OWN)
    envoy.asks(HTTP_ROUTES, "r")
    assert lines(server.says(envoy)) == ["RDS r=1"]


def test_an_empty_first_publication_makes_a_scope_ready(server: Server) -> None:
    assert not server.hub.serving
    envoy = DeltaEnvoy(server)
    envoy.asks(CLUSTER)
    published = server.publishes()
    assert (published.woken, server.hub.serving) == (1, True)
    assert lines(server.says(envoy)) == ["CDS"]


# --- what is shown ----------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_was_sent_accepted_and_refused_is_shown_per_type(
    server: Server, dialect: type[Envoy]
) -> None:
    server.publishes(routes("r"), listener("l"))
    envoy = dialect(server)
    envoy.asks(HTTP_ROUTES, "r")
    envoy.asks(LISTENER)
    assert envoy.status(LISTENER).sent_nonce == ""
    server.now = 1001.0
    lds, rds = server.says(envoy)
    shown = envoy.status(HTTP_ROUTES)
    assert (shown.sent_nonce, shown.sent_version, shown.sent_at) == (rds.nonce, rds.version, 1001.0)
    assert (shown.acked_nonce, shown.acked_version) == ("", "")
    envoy.acks(rds)
    shown = envoy.status(HTTP_ROUTES)
    assert (shown.acked_nonce, shown.acked_version) == (rds.nonce, rds.version)
    envoy.nacks(lds, "no filter of that name")
    shown = envoy.status(LISTENER)
    assert (shown.nacks, shown.last_error) == (1, "no filter of that name")
    assert shown.acked_nonce == ""


def test_a_hub_needs_no_one_who_listens_to_its_scopes() -> None:
    server = Server()
    quiet_hub = type(server.hub)(clock=lambda: 0.0)
    server.hub = quiet_hub
    envoy = SotwEnvoy(server)
    envoy.leaves()
    assert quiet_hub.streams == ()
