"""Cases: what is sent when: repetitions, refusals, reconnections, removals, and the order."""

from __future__ import annotations

from tests.recording.cases import Cases, Talks, has_all_clusters, has_routes
from tests.recording.kinds import CLUSTER, ENDPOINTS, HTTP_ROUTES, LISTENER
from tests.recording.kit import Delta, Sotw, cluster, endpoints, listener, routes
from tests.recording.rules import Rule

cases = Cases()


# --- silence --------------------------------------------------------------------------------------


@cases.breaks(Rule.SILENCE)
def an_ack_is_answered() -> Talks:
    talk = has_routes()
    talk.tells(HTTP_ROUTES, routes("r"))
    return talk


@cases.breaks(Rule.SILENCE)
def an_ack_is_answered_with_all_clusters() -> Talks:
    talk = has_all_clusters()
    talk.tells(CLUSTER, cluster("a"))
    return talk


@cases.breaks(Rule.SILENCE)
def an_unchanged_sibling_is_sent_along() -> Talks:
    talk = Delta()
    talk.asks(HTTP_ROUTES, "r", "s")
    talk.tells(HTTP_ROUTES, routes("r"), routes("s"))
    talk.tells(HTTP_ROUTES, routes("r", to="b"), routes("s"))
    return talk


@cases.breaks(Rule.SILENCE)
def an_empty_response_comes_for_routes() -> Talks:
    talk = has_routes()
    talk.tells(HTTP_ROUTES, version="2")
    return talk


@cases.breaks(Rule.SILENCE)
def an_empty_delta_response_comes_late() -> Talks:
    talk = has_all_clusters(delta=True)
    talk.tells(CLUSTER)
    return talk


@cases.breaks(Rule.SILENCE)
def endpoints_come_again_though_no_cluster_changed() -> Talks:
    talk = Sotw()
    talk.asks(CLUSTER)
    talk.tells(CLUSTER, cluster("a", eds=True))
    talk.tells(ENDPOINTS, endpoints("a"))
    talk.asks(ENDPOINTS, "a")
    talk.tells(CLUSTER, cluster("a", eds=True), cluster("b"))
    talk.tells(ENDPOINTS, endpoints("a"))
    talk.tells(ENDPOINTS, endpoints("a"))
    return talk


@cases.keeps
def an_empty_delta_response_is_the_first_answer() -> Talks:
    talk = Delta()
    talk.asks(CLUSTER)
    talk.tells(CLUSTER)
    return talk


@cases.keeps
def a_name_that_comes_back_is_answered_again() -> Talks:
    talk = has_routes()
    talk.asks(HTTP_ROUTES, "s")
    talk.tells(HTTP_ROUTES, routes("s"))
    talk.asks(HTTP_ROUTES, "r", "s")
    talk.tells(HTTP_ROUTES, routes("r"))
    return talk


@cases.keeps
def an_outdated_request_is_not_answered_and_the_next_is() -> Talks:
    talk = has_routes()
    old = talk.tells(HTTP_ROUTES, routes("r", to="b"))
    talk.tells(HTTP_ROUTES, routes("r", to="c"))
    talk.asks(HTTP_ROUTES, "r", "s", nonce=old)
    talk.asks(HTTP_ROUTES, "r", "s")
    talk.tells(HTTP_ROUTES, routes("s"))
    return talk


@cases.keeps
def delta_clients_that_ask_again_are_answered_again() -> Talks:
    talk = has_routes(delta=True)
    talk.asks(HTTP_ROUTES, "r")
    talk.tells(HTTP_ROUTES, routes("r"))
    return talk


@cases.keeps
def a_name_that_is_dropped_beside_a_wildcard_is_sent_again() -> Talks:
    talk = Delta()
    talk.asks(CLUSTER, "*", "a")
    talk.tells(CLUSTER, cluster("a"), cluster("b"))
    talk.asks(CLUSTER, drops=("a",))
    talk.tells(CLUSTER, cluster("a"))
    return talk


# --- refusals -------------------------------------------------------------------------------------


@cases.breaks(Rule.PARKED)
def refused_routes_are_sent_again() -> Talks:
    talk = Delta()
    talk.asks(HTTP_ROUTES, "r", "s")
    talk.tells(HTTP_ROUTES, routes("r"))
    talk.nacks(HTTP_ROUTES)
    talk.asks(HTTP_ROUTES, "t")
    talk.tells(HTTP_ROUTES, routes("t"))
    talk.tells(HTTP_ROUTES, routes("r"), routes("s"))
    return talk


@cases.breaks(Rule.PARKED)
def refused_clusters_are_sent_again() -> Talks:
    """That b is answered proves that the refusal was read."""
    talk = Sotw()
    talk.asks(CLUSTER, "a")
    talk.tells(CLUSTER, cluster("a"))
    talk.asks(CLUSTER, "a", "b", error="no")
    talk.tells(CLUSTER, cluster("a"), cluster("b"))
    talk.tells(CLUSTER, cluster("a"), cluster("b"))
    return talk


@cases.breaks(Rule.PARKED)
def a_refusal_is_answered_with_the_same() -> Talks:
    """If the server had not read the refusal, it would have had no reason either."""
    talk = has_all_clusters()
    talk.tells(CLUSTER, cluster("a", 2))
    talk.nacks(CLUSTER)
    talk.tells(CLUSTER, cluster("a", 2))
    return talk


@cases.keeps
def a_refused_cluster_comes_along_when_another_changes() -> Talks:
    talk = Sotw()
    talk.asks(CLUSTER)
    talk.tells(CLUSTER, cluster("a"), cluster("b"))
    talk.nacks(CLUSTER, "bad is a")
    talk.tells(CLUSTER, cluster("a"), cluster("b", 2))
    return talk


@cases.keeps
def a_refused_cluster_is_sent_when_it_changes() -> Talks:
    talk = has_all_clusters(delta=True)
    talk.tells(CLUSTER, cluster("a", 2))
    talk.nacks(CLUSTER)
    talk.tells(CLUSTER, cluster("a", 3))
    talk.acks(CLUSTER)
    return talk


# --- reconnection ---------------------------------------------------------------------------------


@cases.breaks(Rule.SPARED)
def a_cluster_is_sent_that_the_client_brought_along() -> Talks:
    talk = Delta()
    talk.asks(CLUSTER, has={"a": cluster("a").version})
    talk.tells(CLUSTER, cluster("a"))
    return talk


@cases.keeps
def the_client_brought_along_old_and_gone_clusters_and_endpoints() -> Talks:
    talk = Delta()
    talk.asks(CLUSTER, has={"a": cluster("a").version, "b": "old", "c": "gone"})
    talk.tells(CLUSTER, cluster("b"))
    talk.tells(CLUSTER, removed=("c",))
    talk.asks(ENDPOINTS, "a", has={"a": endpoints("a").version})
    talk.tells(ENDPOINTS, endpoints("a"))
    return talk


@cases.keeps
def a_stream_that_warms_asks_for_endpoints_first() -> Talks:
    talk = Sotw()
    talk.asks(ENDPOINTS, "a")
    talk.tells(ENDPOINTS, endpoints("a"))
    talk.asks(CLUSTER)
    talk.tells(CLUSTER, cluster("a", eds=True))
    talk.tells(ENDPOINTS, endpoints("a"))
    return talk


# --- removal --------------------------------------------------------------------------------------


@cases.breaks(Rule.NEVER_EMPTY)
def all_clusters_are_gone() -> Talks:
    talk = has_all_clusters()
    talk.tells(CLUSTER, version="2")
    return talk


@cases.breaks(Rule.NEVER_EMPTY)
def all_clusters_are_gone_after_a_reconnection() -> Talks:
    second = Sotw()
    second.asks(CLUSTER)
    second.tells(CLUSTER, version="2")
    return has_all_clusters(), second


@cases.breaks(Rule.REMOVED)
def a_cluster_is_removed_that_the_client_never_had() -> Talks:
    talk = has_all_clusters(delta=True)
    talk.tells(CLUSTER, removed=("b",))
    return talk


@cases.breaks(Rule.REMOVED)
def a_cluster_is_removed_twice() -> Talks:
    talk = has_all_clusters(delta=True)
    talk.tells(CLUSTER, removed=("a",))
    talk.tells(CLUSTER, removed=("a",))
    return talk


@cases.breaks(Rule.KEEPS_ROUTES)
def routes_are_removed() -> Talks:
    talk = has_routes(delta=True)
    talk.tells(HTTP_ROUTES, removed=("r",))
    return talk


@cases.keeps
def a_name_that_does_not_exist_is_answered_by_a_removal() -> Talks:
    talk = Delta()
    talk.asks(ENDPOINTS, "a")
    talk.tells(ENDPOINTS, removed=("a",))
    return talk


# --- order ----------------------------------------------------------------------------------------


@cases.breaks(Rule.ENDPOINTS_FOLLOW)
def a_listener_comes_before_the_endpoints_of_a_new_cluster() -> Talks:
    talk = has_all_clusters()
    talk.asks(LISTENER)
    talk.tells(CLUSTER, cluster("a"), cluster("b", eds=True))
    talk.tells(LISTENER, listener("l"))
    talk.tells(ENDPOINTS, endpoints("b"))
    return talk


@cases.breaks(Rule.ENDPOINTS_FOLLOW)
def a_changed_cluster_is_not_followed_by_its_endpoints() -> Talks:
    talk = Delta()
    talk.asks(CLUSTER)
    talk.tells(CLUSTER, cluster("a", eds=True))
    talk.tells(ENDPOINTS, endpoints("a"))
    talk.asks(HTTP_ROUTES, "r")
    talk.tells(CLUSTER, cluster("a", 2, eds=True))
    talk.tells(HTTP_ROUTES, routes("r"))
    return talk


def uses_a_cluster(*, delta: bool = False) -> Sotw:
    talk = has_all_clusters(delta=delta)
    talk.asks(LISTENER)
    talk.tells(LISTENER, listener("l", routes_from="r"))
    talk.acks(LISTENER)
    talk.asks(HTTP_ROUTES, "r")
    talk.tells(HTTP_ROUTES, routes("r", to="a"))
    return talk


@cases.breaks(Rule.MAKE_FIRST)
def routes_come_before_the_cluster_that_they_send_to() -> Talks:
    talk = uses_a_cluster()
    talk.tells(HTTP_ROUTES, routes("r", to="b"))
    talk.tells(CLUSTER, cluster("a"), cluster("b"))
    return talk


@cases.breaks(Rule.BREAK_LAST)
def a_cluster_goes_before_the_routes_leave_it() -> Talks:
    talk = uses_a_cluster()
    talk.tells(CLUSTER, cluster("b"))
    talk.tells(HTTP_ROUTES, routes("r", to="b"))
    return talk


@cases.breaks(Rule.BREAK_LAST)
def a_cluster_is_removed_before_the_routes_leave_it() -> Talks:
    talk = uses_a_cluster(delta=True)
    talk.tells(CLUSTER, cluster("b"))
    talk.tells(CLUSTER, removed=("a",))
    talk.tells(HTTP_ROUTES, routes("r", to="b"))
    return talk


@cases.keeps
def make_before_break() -> Talks:
    talk = uses_a_cluster()
    talk.tells(CLUSTER, cluster("a"), cluster("b"))
    talk.tells(HTTP_ROUTES, routes("r", to="b"))
    talk.tells(CLUSTER, cluster("b"))
    return talk


@cases.keeps
def a_listener_goes_then_its_cluster_and_both_come_back_otherwise() -> Talks:
    talk = uses_a_cluster(delta=True)
    talk.tells(LISTENER, removed=("l",))
    talk.tells(CLUSTER, cluster("b"))
    talk.tells(CLUSTER, removed=("a",))
    talk.tells(LISTENER, listener("l", routes_from="r"))
    talk.tells(HTTP_ROUTES, routes("r", to="b"))
    return talk
