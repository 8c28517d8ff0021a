"""Cases: what a message says, who asked for it, and its version."""

from __future__ import annotations

from dataclasses import replace

from tests.recording.cases import Cases, Talks, has_all_clusters, has_routes
from tests.recording.kinds import CLUSTER, ENDPOINTS, HTTP_ROUTES, LISTENER
from tests.recording.kit import Delta, Sotw, cluster, endpoints, listener, routes
from tests.recording.rules import Rule

cases = Cases()


# --- requests -------------------------------------------------------------------------------------


@cases.breaks(Rule.NODE)
def the_first_request_names_no_node() -> Talks:
    return has_all_clusters(node="")


@cases.breaks(Rule.OUR_NONCE)
def a_request_has_a_nonce_of_another_type() -> Talks:
    talk = has_all_clusters()
    talk.asks(LISTENER, nonce="0001")
    return talk


# --- one response by itself -----------------------------------------------------------------------


@cases.breaks(Rule.NONCE)
def a_nonce_is_empty() -> Talks:
    talk = has_all_clusters()
    talk.tells(CLUSTER, cluster("a", 2), nonce="")
    return talk


@cases.breaks(Rule.NONCE)
def a_nonce_comes_twice() -> Talks:
    talk = has_all_clusters()
    talk.tells(CLUSTER, cluster("a", 2), nonce="0001")
    return talk


@cases.breaks(Rule.TYPE)
def a_type_comes_that_nobody_asked_for() -> Talks:
    talk = has_all_clusters()
    talk.tells(LISTENER, listener("l"))
    return talk


@cases.breaks(Rule.TYPE)
def a_resource_of_another_type_is_among_clusters() -> Talks:
    talk = Sotw()
    talk.asks(CLUSTER)
    talk.tells(CLUSTER, cluster("a"), endpoints("b"))
    return talk


@cases.breaks(Rule.DECODES)
def a_resource_is_not_of_its_type() -> Talks:
    talk = Delta()
    talk.asks(CLUSTER)
    talk.tells(CLUSTER, replace(cluster("a"), body=b"\xff"))
    return talk


@cases.breaks(Rule.DECODES)
def a_resource_has_fields_that_its_type_does_not_know() -> Talks:
    talk = Delta()
    talk.asks(CLUSTER)
    made = cluster("a")
    talk.tells(CLUSTER, replace(made, body=made.body + b"\xfa\xff\x0f\x01x"))
    return talk


@cases.breaks(Rule.DECODES)
def a_resource_is_sent_by_a_name_that_is_not_its_own() -> Talks:
    talk = Delta()
    talk.asks(CLUSTER)
    talk.tells(CLUSTER, replace(cluster("a"), name="b"))
    return talk


@cases.breaks(Rule.UNIQUE)
def a_name_is_sent_twice_in_one_response() -> Talks:
    talk = Sotw()
    talk.asks(CLUSTER)
    talk.tells(CLUSTER, cluster("a"), cluster("a"))
    return talk


@cases.breaks(Rule.UNIQUE)
def a_name_is_removed_twice_in_one_response() -> Talks:
    talk = has_all_clusters(delta=True)
    talk.tells(CLUSTER, removed=("a", "a"))
    return talk


@cases.breaks(Rule.DISJOINT)
def a_name_is_sent_and_removed_at_once() -> Talks:
    talk = has_all_clusters(delta=True)
    talk.tells(CLUSTER, cluster("a", 2), removed=("a",))
    return talk


# --- subscriptions --------------------------------------------------------------------------------


@cases.breaks(Rule.SUBSCRIBED)
def a_route_comes_that_nobody_asked_for() -> Talks:
    talk = has_routes()
    talk.tells(HTTP_ROUTES, routes("s"))
    return talk


@cases.breaks(Rule.SUBSCRIBED)
def a_route_comes_that_a_delta_client_did_not_ask_for() -> Talks:
    talk = has_routes(delta=True)
    talk.tells(HTTP_ROUTES, routes("s"))
    return talk


@cases.breaks(Rule.SUBSCRIBED)
def a_star_asks_for_all_routes() -> Talks:
    talk = Sotw()
    talk.asks(HTTP_ROUTES, "*")
    talk.tells(HTTP_ROUTES, routes("r"))
    return talk


@cases.breaks(Rule.SUBSCRIBED)
def all_clusters_come_to_who_names_one() -> Talks:
    talk = Sotw()
    talk.asks(CLUSTER, "a")
    talk.tells(CLUSTER, cluster("a"), cluster("b"))
    return talk


@cases.breaks(Rule.SUBSCRIBED)
def the_unasked_endpoints_are_of_an_old_cluster() -> Talks:
    talk = Delta()
    talk.asks(ENDPOINTS, "b")
    talk.asks(CLUSTER)
    talk.tells(CLUSTER, cluster("a", eds=True))
    talk.tells(ENDPOINTS, endpoints("a"))
    talk.tells(ENDPOINTS, endpoints("a", 2))
    return talk


@cases.breaks(Rule.SUBSCRIBED)
def a_name_is_sent_after_the_server_has_read_that_it_is_not_wanted() -> Talks:
    """The answer to s proves that the request without r was read."""
    talk = has_routes()
    talk.asks(HTTP_ROUTES, "s")
    talk.tells(HTTP_ROUTES, routes("s"))
    talk.tells(HTTP_ROUTES, routes("r", to="b"))
    return talk


@cases.keeps
def a_name_is_sent_that_the_client_has_just_let_go() -> Talks:
    talk = has_routes()
    talk.asks(HTTP_ROUTES, "s")
    talk.tells(HTTP_ROUTES, routes("r", to="b"))
    talk.acks(HTTP_ROUTES)
    talk.tells(HTTP_ROUTES, routes("s"))
    return talk


@cases.keeps
def names_beside_a_wildcard_change_nothing() -> Talks:
    talk = Sotw()
    talk.asks(CLUSTER, "*", "a")
    talk.tells(CLUSTER, cluster("a"), cluster("b"))
    talk.acks(CLUSTER)
    return talk


# --- versions -------------------------------------------------------------------------------------


@cases.breaks(Rule.VERSION)
def a_version_is_empty() -> Talks:
    talk = has_routes()
    talk.tells(HTTP_ROUTES, routes("r", to="b"), version="")
    return talk


@cases.breaks(Rule.VERSION)
def a_resource_has_no_version() -> Talks:
    talk = has_routes(delta=True)
    talk.tells(HTTP_ROUTES, replace(routes("r", to="b"), version=""))
    return talk


@cases.breaks(Rule.VERSION)
def a_route_changes_and_its_version_does_not() -> Talks:
    talk = Sotw()
    talk.asks(HTTP_ROUTES, "r")
    talk.tells(HTTP_ROUTES, routes("r"), version="1")
    talk.tells(HTTP_ROUTES, routes("r", to="b"), version="1")
    return talk


@cases.breaks(Rule.VERSION)
def a_cluster_changes_and_the_version_does_not() -> Talks:
    talk = Sotw()
    talk.asks(CLUSTER)
    talk.tells(CLUSTER, cluster("a"), version="1")
    talk.tells(CLUSTER, cluster("a", 2), version="1")
    return talk


@cases.breaks(Rule.VERSION)
def the_same_list_has_another_version_on_the_next_stream() -> Talks:
    second = Sotw()
    second.asks(CLUSTER)
    second.tells(CLUSTER, cluster("a"), version="2")
    return has_all_clusters(), second


@cases.breaks(Rule.VERSION)
def another_list_has_the_same_version_on_the_next_stream() -> Talks:
    first, second = Sotw(), Sotw()
    for talk, seconds in ((first, 1), (second, 2)):
        talk.asks(CLUSTER)
        talk.tells(CLUSTER, cluster("a", seconds), version="1")
    return first, second


@cases.breaks(Rule.VERSION)
def the_same_resource_has_another_version_on_the_next_delta_stream() -> Talks:
    second = Delta()
    second.asks(CLUSTER)
    second.tells(CLUSTER, replace(cluster("a"), version="2"))
    return has_all_clusters(delta=True), second


@cases.breaks(Rule.VERSION)
def another_resource_has_the_same_version_on_the_next_delta_stream() -> Talks:
    second = Delta()
    second.asks(CLUSTER)
    second.tells(CLUSTER, replace(cluster("a", 2), version=cluster("a").version))
    return has_all_clusters(delta=True), second


@cases.breaks(Rule.VERSION)
def clusters_that_go_are_still_listed_under_the_version_without_them() -> Talks:
    talk = has_all_clusters()
    talk.tells(CLUSTER, cluster("a"), cluster("b"), version="2")
    talk.tells(CLUSTER, cluster("b"), version="2")
    return talk


@cases.keeps
def clusters_that_go_are_still_listed_under_a_version_of_its_own() -> Talks:
    talk = has_all_clusters()
    talk.tells(CLUSTER, cluster("a"), cluster("b"))
    talk.tells(CLUSTER, cluster("b"))
    return talk
