"""Make-before-break: in which order one publication reaches a stream, in both dialects.

New clusters, their endpoints unasked, listeners, routes; and last, when there is nothing else to
say, listeners and clusters without what is gone.
"""

from __future__ import annotations

import pytest

from aeraki_xds.xds.resource import (
    CLUSTER,
    ENDPOINTS,
    HTTP_ROUTES,
    LISTENER,
    THRIFT_ROUTES,
    Scope,
)
from tests.xds.dialogue import (
    DeltaEnvoy,
    Envoy,
    Server,
    SotwEnvoy,
    cluster,
    endpoints,
    line,
    lines,
    listener,
    routes,
    thrift_routes,
)

DIALECTS = [SotwEnvoy, DeltaEnvoy]


@pytest.fixture
def server() -> Server:
    server = Server()
    server.publishes(cluster("v1"), endpoints("v1"), listener("l"), routes("r", "to v1"))
    return server


def connected(server: Server, dialect: type[Envoy]) -> Envoy:
    """An Envoy that has asked for everything, was sent everything and has accepted it."""
    envoy = dialect(server)
    envoy.asks(HTTP_ROUTES, "r")
    envoy.asks(LISTENER)
    envoy.asks(CLUSTER)
    assert accepts(server, envoy) == ["CDS v1=1", "EDS v1=1", "LDS l=1", "RDS r=to v1"]
    envoy.asks(ENDPOINTS, "v1")
    accepts(server, envoy)
    return envoy


def accepts(server: Server, envoy: Envoy) -> list[str]:
    """What the server has to say; all of it is accepted after the last word."""
    said = server.says(envoy)
    for response in said:
        envoy.acks(response)
    return lines(said)


# --- one publication --------------------------------------------------------------------------


def test_45_a_route_moves_to_a_new_cluster_before_the_old_one_goes_in_sotw(server: Server) -> None:
    envoy = connected(server, SotwEnvoy)
    server.publishes(
        routes("r", "to v2"),
        listener("l", "2"),
        endpoints("v2"),
        cluster("v2"),
        without=[cluster("v1"), endpoints("v1")],
    )
    assert accepts(server, envoy) == [
        "CDS v1=1 v2=1",
        "EDS v2=1",
        "LDS l=2",
        "RDS r=to v2",
        "CDS v2=1",
    ]


def test_45_a_route_moves_to_a_new_cluster_before_the_old_one_goes_in_delta(server: Server) -> None:
    envoy = connected(server, DeltaEnvoy)
    server.publishes(
        routes("r", "to v2"),
        listener("l", "2"),
        endpoints("v2"),
        cluster("v2"),
        without=[cluster("v1"), endpoints("v1")],
    )
    assert accepts(server, envoy) == [
        "CDS v2=1",
        "EDS v2=1",
        "LDS l=2",
        "RDS r=to v2",
        "CDS -v1",
        "EDS -v1",
    ]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_45_a_cluster_goes_only_after_the_route_that_left_it(
    server: Server, dialect: type[Envoy]
) -> None:
    envoy = connected(server, dialect)
    server.publishes(cluster("v2"), endpoints("v2"))
    accepts(server, envoy)
    server.publishes(routes("r", "to v2"), without=[cluster("v1")])
    route, removal = accepts(server, envoy)
    assert route == "RDS r=to v2"
    assert removal in ("CDS v2=1", "CDS -v1")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_45_every_kind_of_route_precedes_every_removal(
    server: Server, dialect: type[Envoy]
) -> None:
    envoy = connected(server, dialect)
    server.publishes(listener("m"), thrift_routes("t"))
    envoy.asks(THRIFT_ROUTES, "t")
    accepts(server, envoy)
    server.publishes(
        routes("r", "2"), thrift_routes("t", "2"), without=[listener("m"), cluster("v1")]
    )
    *updates, first, second = accepts(server, envoy)
    assert sorted(updates) == ["RDS r=2", "TRDS t=2"]
    assert (first, second) in [("LDS l=1", "CDS"), ("LDS -m", "CDS -v1")]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_45_listeners_go_before_the_clusters_that_they_used(
    server: Server, dialect: type[Envoy]
) -> None:
    envoy = connected(server, dialect)
    server.publishes(without=[cluster("v1"), listener("l"), endpoints("v1")])
    first, second, *rest = accepts(server, envoy)
    assert (first, second) in [("LDS", "CDS"), ("LDS -l", "CDS -v1")]
    assert rest in ([], ["EDS -v1"])


def test_45_routes_go_after_the_listeners_that_used_them_in_delta(server: Server) -> None:
    envoy = connected(server, DeltaEnvoy)
    server.publishes(thrift_routes("t"))
    envoy.asks(THRIFT_ROUTES, "t")
    accepts(server, envoy)
    server.publishes(
        without=[thrift_routes("t"), endpoints("v1"), cluster("v1"), listener("l"), routes("r")]
    )
    assert accepts(server, envoy) == ["LDS -l", "TRDS -t", "CDS -v1", "EDS -v1"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_46_endpoints_of_a_new_cluster_come_at_once_and_unasked(
    server: Server, dialect: type[Envoy]
) -> None:
    envoy = connected(server, dialect)
    server.publishes(cluster("v2"), endpoints("v2"))
    cds, eds = accepts(server, envoy)
    assert cds.startswith("CDS ")
    assert "v2=1" in cds
    assert eds == "EDS v2=1"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_46_endpoints_that_changed_too_come_once(server: Server, dialect: type[Envoy]) -> None:
    envoy = connected(server, dialect)
    server.publishes(cluster("v1", "2"), endpoints("v1", "2"))
    assert accepts(server, envoy) == ["CDS v1=2", "EDS v1=2"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_46_a_cluster_that_only_lost_a_neighbour_does_not_bring_its_endpoints(
    server: Server, dialect: type[Envoy]
) -> None:
    envoy = connected(server, dialect)
    server.publishes(cluster("v2"), endpoints("v2"))
    accepts(server, envoy)
    server.publishes(without=[cluster("v2")])
    assert accepts(server, envoy) in (["CDS v1=1"], ["CDS -v2"])


@pytest.mark.parametrize("dialect", DIALECTS)
def test_46_a_cluster_that_needs_no_endpoints_brings_none(
    server: Server, dialect: type[Envoy]
) -> None:
    envoy = connected(server, dialect)
    plain = cluster("dns").of(CLUSTER, cluster("dns").name, b"strict")
    server.publishes(plain, endpoints("dns"))
    (cds,) = accepts(server, envoy)
    assert "dns=strict" in cds


@pytest.mark.parametrize("dialect", DIALECTS)
def test_47_nothing_waits_for_an_ack(server: Server, dialect: type[Envoy]) -> None:
    envoy = connected(server, dialect)
    server.publishes(cluster("v2"), endpoints("v2"), routes("r", "to v2"), without=[cluster("v1")])
    words = [line(response).split()[0] for response in server.says(envoy)]
    assert words == ["CDS", "EDS", "RDS", "CDS"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_47_a_stream_without_clusters_skips_them(server: Server, dialect: type[Envoy]) -> None:
    envoy = dialect(server)
    envoy.asks(HTTP_ROUTES, "r")
    accepts(server, envoy)
    server.publishes(cluster("v2"), endpoints("v2"), routes("r", "to v2"), without=[cluster("v1")])
    assert accepts(server, envoy) == ["RDS r=to v2"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_45_the_order_in_which_types_were_asked_for_does_not_matter(
    server: Server, dialect: type[Envoy]
) -> None:
    envoy = dialect(server)
    for type_url, names in (
        (HTTP_ROUTES, ("r",)),
        (ENDPOINTS, ("v1",)),
        (LISTENER, ()),
        (CLUSTER, ()),
    ):
        envoy.asks(type_url, *names)
    assert [each.split()[0] for each in accepts(server, envoy)] == ["CDS", "EDS", "LDS", "RDS"]


# --- publications that overtake a slow reader -------------------------------------------------


@pytest.mark.parametrize("dialect", DIALECTS)
def test_18_a_slow_reader_is_sent_each_type_once_in_its_latest_state(
    server: Server, dialect: type[Envoy]
) -> None:
    envoy = connected(server, dialect)
    for number in range(2, 7):
        body = str(number)
        server.publishes(cluster("v1", body), endpoints("v1", body), listener("l", body))
        server.publishes(routes("r", body))
    assert accepts(server, envoy) == ["CDS v1=6", "EDS v1=6", "LDS l=6", "RDS r=6"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_45_a_publication_in_the_middle_goes_before_a_removal_that_waits(
    server: Server, dialect: type[Envoy]
) -> None:
    envoy = connected(server, dialect)
    server.publishes(cluster("v2"), endpoints("v2"), routes("r", "to v2"), without=[cluster("v1")])
    assert [line(server.says_next(envoy)).split()[0] for _ in range(3)] == ["CDS", "EDS", "RDS"]
    server.publishes(cluster("v3"), endpoints("v3"), routes("r", "to v3"), without=[cluster("v2")])
    cds, eds, rds, removal = accepts(server, envoy)
    assert cds in ("CDS v1=1 v2=1 v3=1", "CDS v3=1")
    assert eds == "EDS v3=1"
    assert rds == "RDS r=to v3"
    assert removal in ("CDS v3=1", "CDS -v1 -v2")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_45_a_cluster_that_comes_back_before_it_went_is_not_removed(
    server: Server, dialect: type[Envoy]
) -> None:
    envoy = connected(server, dialect)
    server.publishes(routes("r", "2"), without=[cluster("v1")])
    assert line(server.says_next(envoy)) == "RDS r=2"
    server.publishes(cluster("v1"))
    assert server.says(envoy) == []


@pytest.mark.parametrize("dialect", DIALECTS)
def test_45_a_cluster_that_went_before_its_endpoints_were_written_takes_them_along(
    server: Server, dialect: type[Envoy]
) -> None:
    envoy = connected(server, dialect)
    server.publishes(cluster("v2"), endpoints("v2"))
    assert "v2=1" in line(server.says_next(envoy))
    server.publishes(without=[cluster("v2"), endpoints("v2")])
    assert accepts(server, envoy) in (["CDS v1=1"], ["CDS -v2"])


@pytest.mark.parametrize("dialect", DIALECTS)
def test_45_a_cluster_that_changes_while_its_endpoints_wait_is_sent_again_before_them(
    server: Server, dialect: type[Envoy]
) -> None:
    envoy = connected(server, dialect)
    server.publishes(cluster("v1", "2"))
    assert line(server.says_next(envoy)) == "CDS v1=2"
    server.publishes(cluster("v1", "3"))
    assert accepts(server, envoy) == ["CDS v1=3", "EDS v1=1"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_45_a_request_in_the_middle_does_not_disturb_the_order(
    server: Server, dialect: type[Envoy]
) -> None:
    envoy = connected(server, dialect)
    server.publishes(
        cluster("v2"), endpoints("v2"), routes("s"), routes("r", "2"), without=[cluster("v1")]
    )
    envoy.acks(server.says_next(envoy))
    envoy.asks(HTTP_ROUTES, "r", "s")
    eds, rds, removal = accepts(server, envoy)
    assert eds == "EDS v2=1"
    assert rds == "RDS r=2 s=1"
    assert removal in ("CDS v2=1", "CDS -v1")


def test_46_endpoints_that_wait_survive_a_request_that_does_not_name_them(server: Server) -> None:
    envoy = connected(server, SotwEnvoy)
    server.publishes(cluster("v2"), endpoints("v2"))
    server.says_next(envoy)
    envoy.asks(ENDPOINTS, "v1")
    assert accepts(server, envoy) == ["EDS v2=1"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_48_a_client_that_reconnects_while_it_warms_may_ask_for_endpoints_first(
    server: Server, dialect: type[Envoy]
) -> None:
    envoy = dialect(server)
    envoy.asks(ENDPOINTS, "v1")
    assert accepts(server, envoy) == ["EDS v1=1"]
    envoy.asks(CLUSTER)
    assert accepts(server, envoy) == ["CDS v1=1", "EDS v1=1"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_53_a_stream_that_breaks_off_in_the_middle_disturbs_no_other(
    server: Server, dialect: type[Envoy]
) -> None:
    breaks, stays = connected(server, dialect), connected(server, dialect)
    server.publishes(cluster("v2"), endpoints("v2"), routes("r", "to v2"), without=[cluster("v1")])
    assert line(server.says_next(breaks)) == line(server.says_next(stays))
    breaks.leaves()
    eds, rds, removal = accepts(server, stays)
    assert (eds, rds) == ("EDS v2=1", "RDS r=to v2")
    assert removal in ("CDS v2=1", "CDS -v1")
    assert server.publishes(routes("r", "3")).woken == 1
    assert accepts(server, stays) == ["RDS r=3"]


# --- several scopes ---------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", DIALECTS)
def test_45_the_order_holds_over_merged_scopes(dialect: type[Envoy]) -> None:
    server = Server()
    own, shared = Scope("own"), Scope("shared")
    server.publishes(cluster("v1"), endpoints("v1"), scope=shared)
    server.publishes(listener("l"), routes("r", "to v1"), scope=own)
    envoy = dialect(server, scopes=(own, shared))
    envoy.asks(HTTP_ROUTES, "r")
    envoy.asks(LISTENER)
    envoy.asks(CLUSTER)
    assert accepts(server, envoy) == ["CDS v1=1", "EDS v1=1", "LDS l=1", "RDS r=to v1"]
    server.publishes(routes("r", "to v2"), cluster("v2"), endpoints("v2"), scope=own)
    server.publishes(without=[cluster("v1"), endpoints("v1")], scope=shared)
    cds, eds, rds, removal, *rest = accepts(server, envoy)
    assert cds in ("CDS v1=1 v2=1", "CDS v2=1")
    assert (eds, rds) == ("EDS v2=1", "RDS r=to v2")
    assert removal in ("CDS v2=1", "CDS -v1")
    assert rest == []


@pytest.mark.parametrize("dialect", DIALECTS)
def test_45_a_cluster_that_leaves_one_scope_and_stays_in_another_is_a_change_and_no_removal(
    dialect: type[Envoy],
) -> None:
    server = Server()
    own, shared = Scope("own"), Scope("shared")
    server.publishes(cluster("a", "own"), scope=own)
    server.publishes(cluster("a", "shared"), endpoints("a"), scope=shared)
    envoy = dialect(server, scopes=(own, shared))
    envoy.asks(CLUSTER)
    assert accepts(server, envoy) == ["CDS a=own", "EDS a=1"]
    server.publishes(without=[cluster("a")], scope=own)
    assert accepts(server, envoy) == ["CDS a=shared", "EDS a=1"]
