"""The state-of-the-world dialect, as conversations. Numbers are statements of the protocol."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.service.discovery.v3 import discovery_pb2

from aeraki_xds.xds.message import Acked, DeltaRequest, Nacked, Response, Stale, Subscribed
from aeraki_xds.xds.resource import (
    CLUSTER,
    ENDPOINTS,
    HTTP_ROUTES,
    LISTENER,
    THRIFT_ROUTES,
    Name,
    Scope,
    TypeUrl,
)
from aeraki_xds.xds.wire.bodies import nonce_tail
from aeraki_xds.xds.wire.envelope import sotw_body
from tests.xds.dialogue import (
    Server,
    SotwEnvoy,
    cluster,
    endpoints,
    line,
    lines,
    listener,
    resource,
    routes,
)

EVERY_TYPE = [CLUSTER, LISTENER, ENDPOINTS, HTTP_ROUTES, THRIFT_ROUTES]


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def envoy(server: Server) -> SotwEnvoy:
    return SotwEnvoy(server)


def official(response: Response) -> Any:
    """A response as a client of the official classes reads it."""
    written = sotw_body(response) + nonce_tail(response.nonce)
    return discovery_pb2.DiscoveryResponse.FromString(written)


def fields(message: Any) -> set[str]:
    """The fields that a message has set."""
    return {field.name for field, _ in message.ListFields()}


# --- types and nodes --------------------------------------------------------------------------


def test_01_a_request_is_about_the_type_that_it_names(server: Server, envoy: SotwEnvoy) -> None:
    server.publishes(routes("x"), endpoints("x"), listener("x"))
    envoy.asks(ENDPOINTS, "x")
    assert lines(server.says(envoy)) == ["EDS x=1"]
    envoy.asks(LISTENER, "x")
    assert lines(server.says(envoy)) == ["LDS x=1"]


def test_02_the_node_of_the_first_request_is_that_of_all_that_follow(server: Server) -> None:
    envoy = SotwEnvoy(server, node="sidecar")
    server.publishes(routes("r"), listener("l"))
    envoy.asks(HTTP_ROUTES, "r")  # none of these requests says who asks
    for response in server.says(envoy):
        envoy.acks(response)
    envoy.asks(LISTENER)
    assert lines(server.says(envoy)) == ["LDS l=1"]
    assert [stream.node.id for stream in server.hub.streams] == ["sidecar"]


# --- nonces, versions, ACK --------------------------------------------------------------------


def test_06_every_response_of_a_stream_has_a_nonce_of_its_own(
    server: Server, envoy: SotwEnvoy
) -> None:
    server.publishes(routes("r"), listener("l"))
    envoy.asks(HTTP_ROUTES, "r")
    envoy.asks(LISTENER)
    said = server.says(envoy)
    server.publishes(routes("r", "2"), listener("l", "2"))
    said += server.says(envoy)
    assert all(response.nonce for response in said)
    assert len({response.nonce for response in said}) == len(said) == 4


def test_06_nonces_have_one_width_so_that_all_streams_share_a_length_prefix(
    server: Server, envoy: SotwEnvoy
) -> None:
    envoy.asks(HTTP_ROUTES, "r")
    widths = set()
    for number in range(20):
        server.publishes(routes("r", str(number)))
        widths |= {len(response.nonce) for response in server.says(envoy)}
    assert len(widths) == 1


def test_06_a_nonce_of_another_stream_accepts_nothing(server: Server, envoy: SotwEnvoy) -> None:
    server.publishes(routes("r"))
    envoy.asks(HTTP_ROUTES, "r")
    server.says(envoy)
    server.publishes(routes("r", "2"))
    (before,) = server.says(envoy)
    envoy.leaves()
    again = SotwEnvoy(server)
    again.asks(HTTP_ROUTES, "r", nonce=before.nonce)
    server.says(again)
    assert again.asks(HTTP_ROUTES, "r", nonce=before.nonce) == (
        Stale(type_url=HTTP_ROUTES, nonce=before.nonce),
    )
    assert again.status(HTTP_ROUTES).acked_nonce == ""


def test_07_equal_content_has_an_equal_version_on_every_replica() -> None:
    versions = set()
    for order in (("a", "b"), ("b", "a")):
        server = Server()
        for name in order:
            server.publishes(cluster(name))
        envoy = SotwEnvoy(server)
        envoy.asks(CLUSTER)
        (response,) = [r for r in server.says(envoy) if r.type_url == CLUSTER]
        versions.add(response.version)
    assert len(versions) == 1


def test_07_a_version_is_of_the_content_and_not_of_the_stream(
    server: Server, envoy: SotwEnvoy
) -> None:
    server.publishes(routes("r"))
    envoy.asks(HTTP_ROUTES, "r")
    (one,) = server.says(envoy)
    server.publishes(routes("r", "2"))
    (two,) = server.says(envoy)
    late = SotwEnvoy(server)
    late.asks(HTTP_ROUTES, "r")
    (first,) = server.says(late)
    server.publishes(routes("r", "1"))
    (three,) = server.says(envoy)
    assert first.version == two.version != one.version
    assert three.version == one.version


def test_03_nonce_and_subscription_are_kept_per_type(server: Server, envoy: SotwEnvoy) -> None:
    server.publishes(routes("r"), endpoints("r"))
    envoy.asks(HTTP_ROUTES, "r")
    envoy.asks(ENDPOINTS, "r")
    eds, rds = server.says(envoy)
    assert lines((eds, rds)) == ["EDS r=1", "RDS r=1"]
    assert envoy.acks(rds) == (Acked(type_url=HTTP_ROUTES, nonce=rds.nonce),)
    assert envoy.acks(eds) == (Acked(type_url=ENDPOINTS, nonce=eds.nonce),)


def test_03_a_nack_of_one_type_does_not_hold_the_others(server: Server, envoy: SotwEnvoy) -> None:
    server.publishes(routes("r"), listener("l"))
    envoy.asks(LISTENER)
    envoy.asks(HTTP_ROUTES, "r")
    lds, _ = server.says(envoy)
    envoy.nacks(lds, "no")
    server.publishes(routes("r", "2"))
    assert lines(server.says(envoy)) == ["RDS r=2"]


def test_05_a_delta_request_on_a_sotw_stream_is_an_error(server: Server, envoy: SotwEnvoy) -> None:
    with pytest.raises(TypeError, match="DeltaRequest on a sotw stream"):
        server.hub.receive(envoy.stream, DeltaRequest(type_url=CLUSTER))


def test_08_17_an_ack_with_nothing_newer_is_followed_by_silence(
    server: Server, envoy: SotwEnvoy
) -> None:
    server.publishes(routes("r"))
    envoy.asks(HTTP_ROUTES, "r")
    (rds,) = server.says(envoy)
    assert envoy.acks(rds) == (Acked(type_url=HTTP_ROUTES, nonce=rds.nonce),)
    assert server.says(envoy) == []
    assert envoy.status(HTTP_ROUTES).acked_version == rds.version


def test_08_a_plain_ack_may_be_taken_without_its_request(server: Server, envoy: SotwEnvoy) -> None:
    server.publishes(routes("r"))
    envoy.asks(HTTP_ROUTES, "r")
    (first,) = server.says(envoy)
    server.publishes(routes("r", "2"))
    (second,) = server.says(envoy)
    assert not server.hub.accept(envoy.stream, HTTP_ROUTES, first.nonce)
    assert envoy.status(HTTP_ROUTES).acked_nonce == ""
    assert server.hub.accept(envoy.stream, HTTP_ROUTES, second.nonce)
    assert envoy.status(HTTP_ROUTES).acked_nonce == second.nonce
    assert envoy.acks(second) == ()
    assert server.says(envoy) == []


def test_08_only_the_first_request_with_a_nonce_is_its_ack(
    server: Server, envoy: SotwEnvoy
) -> None:
    server.publishes(routes("r"))
    envoy.asks(HTTP_ROUTES, "r")
    (rds,) = server.says(envoy)
    envoy.acks(rds)
    assert envoy.asks(HTTP_ROUTES, "r") == ()
    assert envoy.asks(HTTP_ROUTES, "r", "s") == (
        Subscribed(
            type_url=HTTP_ROUTES,
            added=frozenset({Name("s")}),
            removed=frozenset(),
            wildcard=False,
        ),
    )


def test_17_nothing_is_said_to_a_request_before_the_first_response_that_changes_nothing(
    server: Server, envoy: SotwEnvoy
) -> None:
    envoy.asks(HTTP_ROUTES, "r")
    server.publishes(routes("other"))
    assert envoy.asks(HTTP_ROUTES, "r") == ()
    assert server.says(envoy) == []


def test_18_a_change_is_sent_at_once_without_waiting_for_an_ack(
    server: Server, envoy: SotwEnvoy
) -> None:
    server.publishes(routes("r"))
    envoy.asks(HTTP_ROUTES, "r")
    server.says(envoy)
    server.publishes(routes("r", "2"))
    assert lines(server.says(envoy)) == ["RDS r=2"]


def test_18_the_latest_state_wins_and_what_was_in_between_is_skipped(
    server: Server, envoy: SotwEnvoy
) -> None:
    server.publishes(routes("r"))
    envoy.asks(HTTP_ROUTES, "r")
    for number in range(2, 9):
        server.publishes(routes("r", str(number)))
    assert lines(server.says(envoy)) == ["RDS r=8"]


def test_18_a_change_that_was_taken_back_before_it_was_written_is_not_sent(
    server: Server, envoy: SotwEnvoy
) -> None:
    server.publishes(routes("r"))
    envoy.asks(HTTP_ROUTES, "r")
    server.says(envoy)
    server.publishes(routes("r", "2"))
    server.publishes(routes("r", "1"))
    assert server.says(envoy) == []


# --- stale requests ---------------------------------------------------------------------------


def test_12_a_stale_request_changes_nothing_and_is_not_answered(
    server: Server, envoy: SotwEnvoy
) -> None:
    server.publishes(routes("r"), routes("s"))
    envoy.asks(HTTP_ROUTES, "r")
    server.says(envoy)
    assert envoy.asks(HTTP_ROUTES, "r", "s", nonce="") == (Stale(type_url=HTTP_ROUTES, nonce=""),)
    assert server.says(envoy) == []
    server.publishes(routes("s", "2"))
    assert server.says(envoy) == []
    assert envoy.status(HTTP_ROUTES).stale == 1


def test_13_what_a_stale_request_asked_for_comes_with_the_next_fresh_one(
    server: Server, envoy: SotwEnvoy
) -> None:
    server.publishes(routes("r"), routes("s"))
    envoy.asks(HTTP_ROUTES, "r")
    (first,) = server.says(envoy)
    envoy.asks(HTTP_ROUTES, "r", "s", nonce="")
    envoy.acks(first)
    assert lines(server.says(envoy)) == ["RDS s=1"]


def test_13_names_that_a_stale_request_gave_up_are_served_until_the_next_fresh_one(
    server: Server, envoy: SotwEnvoy
) -> None:
    server.publishes(routes("r"), routes("s"))
    envoy.asks(HTTP_ROUTES, "r", "s")
    server.says(envoy)
    envoy.asks(HTTP_ROUTES, "s", nonce="")
    server.publishes(routes("r", "2"))
    (second,) = server.says(envoy)
    assert line(second) == "RDS r=2"
    envoy.acks(second)  # the list is [s]
    server.publishes(routes("r", "3"))
    assert server.says(envoy) == []


def test_13_a_request_that_crosses_the_response_to_the_one_before_loses_nothing(
    server: Server, envoy: SotwEnvoy
) -> None:
    """Each request that the client adds a name with is stale by the time it arrives."""
    server.publishes(endpoints("a"), endpoints("b"), endpoints("c"))
    envoy.asks(ENDPOINTS, "a")
    (first,) = server.says(envoy)
    envoy.asks(ENDPOINTS, "a", "b")
    assert server.says(envoy) == []
    envoy.acks(first)
    (second,) = server.says(envoy)
    assert line(second) == "EDS b=1"
    envoy.asks(ENDPOINTS, "a", "b", "c", nonce=first.nonce)
    assert server.says(envoy) == []
    envoy.acks(second)
    assert lines(server.says(envoy)) == ["EDS c=1"]


def test_12_the_ack_of_a_response_that_is_no_longer_the_newest_is_stale(
    server: Server, envoy: SotwEnvoy
) -> None:
    server.publishes(routes("r"))
    envoy.asks(HTTP_ROUTES, "r")
    (first,) = server.says(envoy)
    server.publishes(routes("r", "2"))
    (second,) = server.says(envoy)
    assert envoy.acks(first) == (Stale(type_url=HTTP_ROUTES, nonce=first.nonce),)
    assert envoy.acks(second) == (Acked(type_url=HTTP_ROUTES, nonce=second.nonce),)
    assert server.says(envoy) == []


def test_12_a_stale_error_is_counted_and_shown_and_parks_nothing(
    server: Server, envoy: SotwEnvoy
) -> None:
    server.publishes(listener("a"))
    envoy.asks(LISTENER)
    (first,) = server.says(envoy)
    server.publishes(listener("b"))
    (second,) = server.says(envoy)
    (event,) = envoy.nacks(first, "no such thing")
    assert event == Nacked(
        type_url=LISTENER, nonce=first.nonce, error="no such thing", names=(), stale=True
    )
    assert (envoy.status(LISTENER).nacks, envoy.status(LISTENER).last_error) == (1, "no such thing")
    envoy.acks(second)
    server.publishes(listener("b", "2"))
    assert lines(server.says(envoy)) == ["LDS a=1 b=2"]


# --- first requests and reconnection ----------------------------------------------------------


@pytest.mark.parametrize("error", [None, "left over from the last stream"])
def test_16_first_request_with_an_old_nonce_version_or_error_is_answered(
    server: Server, envoy: SotwEnvoy, error: str | None
) -> None:
    server.publishes(cluster("a"), endpoints("a"))
    (event,) = envoy.asks(CLUSTER, nonce="0000002a", version="feed", error=error)
    assert isinstance(event, Subscribed)
    assert lines(server.says(envoy)) == ["CDS a=1", "EDS a=1"]


def test_16_first_request_is_answered_even_at_the_version_that_the_client_has(
    server: Server, envoy: SotwEnvoy
) -> None:
    server.publishes(routes("r"))
    envoy.asks(HTTP_ROUTES, "r")
    (before,) = server.says(envoy)
    again = SotwEnvoy(server)
    again.asks(HTTP_ROUTES, "r", version=before.version)
    (after,) = server.says(again)
    assert line(after) == "RDS r=1"
    assert after.version == before.version


def test_48_endpoints_may_be_asked_for_before_anything_else(
    server: Server, envoy: SotwEnvoy
) -> None:
    server.publishes(cluster("a"), endpoints("a"))
    envoy.asks(ENDPOINTS, "a", version="kept from before")
    assert lines(server.says(envoy)) == ["EDS a=1"]


def test_42_what_was_parked_is_tried_again_on_a_new_stream(
    server: Server, envoy: SotwEnvoy
) -> None:
    server.publishes(listener("a", "bad"))
    envoy.asks(LISTENER)
    (lds,) = server.says(envoy)
    envoy.nacks(lds, "no")
    envoy.leaves()
    again = SotwEnvoy(server)
    again.asks(LISTENER)
    assert lines(server.says(again)) == ["LDS a=bad"]


# --- subscriptions ----------------------------------------------------------------------------


def test_20_a_list_replaces_the_list_before(server: Server, envoy: SotwEnvoy) -> None:
    server.publishes(routes("r"), routes("s"))
    envoy.asks(HTTP_ROUTES, "r")
    (first,) = server.says(envoy)
    envoy.acks(first)
    envoy.asks(HTTP_ROUTES, "s")
    assert lines(server.says(envoy)) == ["RDS s=1"]
    server.publishes(routes("r", "2"))
    assert server.says(envoy) == []


def test_21_a_name_that_comes_back_is_answered_though_it_did_not_change(
    server: Server, envoy: SotwEnvoy
) -> None:
    server.publishes(routes("r"), routes("s"))
    envoy.asks(HTTP_ROUTES, "r", "s")
    (first,) = server.says(envoy)
    envoy.acks(first)
    envoy.asks(HTTP_ROUTES, "r")
    envoy.asks(HTTP_ROUTES, "r", "s")
    assert lines(server.says(envoy)) == ["RDS s=1"]


@pytest.mark.parametrize("type_url", EVERY_TYPE)
def test_22_a_name_that_does_not_exist_is_met_with_silence_and_remembered(
    server: Server, envoy: SotwEnvoy, type_url: TypeUrl
) -> None:
    server.publishes(resource(type_url, "other"))
    envoy.asks(type_url, "a")
    assert server.says(envoy) == []
    server.publishes(resource(type_url, "a"))
    (response,) = server.says(envoy)
    assert [each.name for each in response.resources] == ["a"]


@pytest.mark.parametrize("type_url", EVERY_TYPE)
def test_22_a_name_that_does_not_exist_is_left_out_beside_one_that_does(
    server: Server, envoy: SotwEnvoy, type_url: TypeUrl
) -> None:
    server.publishes(resource(type_url, "a"))
    envoy.asks(type_url, "a", "b")
    (first,) = server.says(envoy)
    assert [each.name for each in first.resources] == ["a"]
    envoy.acks(first)
    assert server.says(envoy) == []
    server.publishes(resource(type_url, "b"))
    (second,) = server.says(envoy)
    assert second.resources[-1].name == "b"


@pytest.mark.parametrize("type_url", [CLUSTER, LISTENER])
def test_23_an_empty_first_list_asks_for_everything(
    server: Server, envoy: SotwEnvoy, type_url: TypeUrl
) -> None:
    server.publishes(resource(type_url, "b"), resource(type_url, "a"))
    envoy.asks(type_url)
    (response,) = server.says(envoy)
    assert [each.name for each in response.resources] == ["a", "b"]
    server.publishes(resource(type_url, "c"))
    (response,) = server.says(envoy)
    assert [each.name for each in response.resources] == ["a", "b", "c"]


def test_23_an_empty_list_asks_for_everything_until_a_name_was_given(
    server: Server, envoy: SotwEnvoy
) -> None:
    server.publishes(listener("a"))
    envoy.asks(LISTENER)
    (first,) = server.says(envoy)
    envoy.acks(first)
    envoy.asks(LISTENER)
    server.publishes(listener("b"))
    assert lines(server.says(envoy)) == ["LDS a=1 b=1"]


def test_24_an_empty_list_after_a_name_asks_for_nothing(server: Server, envoy: SotwEnvoy) -> None:
    server.publishes(listener("a"), listener("b"))
    envoy.asks(LISTENER, "a")
    (first,) = server.says(envoy)
    envoy.acks(first)
    envoy.asks(LISTENER)
    server.publishes(listener("a", "2"), listener("b", "2"))
    assert server.says(envoy) == []


def test_24_an_empty_list_after_the_star_asks_for_nothing(server: Server, envoy: SotwEnvoy) -> None:
    server.publishes(listener("a"))
    envoy.asks(LISTENER, "*")
    (first,) = server.says(envoy)
    envoy.acks(first)
    envoy.asks(LISTENER)
    server.publishes(listener("a", "2"), listener("b"))
    assert server.says(envoy) == []


def test_24_endpoints_are_no_wildcard_when_the_last_cluster_goes(
    server: Server, envoy: SotwEnvoy
) -> None:
    server.publishes(endpoints("a"), endpoints("b"))
    envoy.asks(ENDPOINTS, "a")
    (first,) = server.says(envoy)
    envoy.acks(first)
    envoy.asks(ENDPOINTS)
    server.publishes(endpoints("a", "2"), endpoints("b", "2"))
    assert server.says(envoy) == []


@pytest.mark.parametrize("names", [(), ("*",)])
def test_23_25_routes_and_endpoints_know_no_wildcard(
    server: Server, envoy: SotwEnvoy, names: tuple[str, ...]
) -> None:
    server.publishes(routes("r"), endpoints("a"))
    envoy.asks(HTTP_ROUTES, *names)
    envoy.asks(ENDPOINTS, *names)
    assert server.says(envoy) == []


def test_25_a_star_beside_a_name_is_everything_and_the_name_alone_drops_it(
    server: Server, envoy: SotwEnvoy
) -> None:
    server.publishes(listener("a"), listener("b"))
    envoy.asks(LISTENER, "*", "a")
    (first,) = server.says(envoy)
    assert line(first) == "LDS a=1 b=1"
    envoy.acks(first)
    envoy.asks(LISTENER, "a")
    assert server.says(envoy) == []
    server.publishes(listener("b", "2"))
    assert server.says(envoy) == []
    server.publishes(listener("a", "2"))
    assert lines(server.says(envoy)) == ["LDS a=2"]


def test_25_from_the_unspoken_wildcard_to_the_star_nothing_changes(
    server: Server, envoy: SotwEnvoy
) -> None:
    server.publishes(listener("a"))
    envoy.asks(LISTENER)
    (first,) = server.says(envoy)
    envoy.acks(first)
    assert envoy.asks(LISTENER, "*") == ()
    assert server.says(envoy) == []
    server.publishes(listener("b"))
    assert lines(server.says(envoy)) == ["LDS a=1 b=1"]


def test_25_a_wildcard_that_comes_later_is_answered_with_everything(
    server: Server, envoy: SotwEnvoy
) -> None:
    server.publishes(listener("a"), listener("b"))
    envoy.asks(LISTENER, "a")
    (first,) = server.says(envoy)
    envoy.acks(first)
    envoy.asks(LISTENER, "a", "*")
    assert lines(server.says(envoy)) == ["LDS a=1 b=1"]


def test_26_what_is_left_out_of_a_full_state_is_removed(server: Server, envoy: SotwEnvoy) -> None:
    server.publishes(listener("a"), listener("b"))
    envoy.asks(LISTENER)
    (first,) = server.says(envoy)
    envoy.acks(first)
    server.publishes(without=[listener("a")])
    assert lines(server.says(envoy)) == ["LDS b=1"]


@pytest.mark.parametrize("names", [(), ("*",), ("a",)])
def test_26_the_last_one_is_removed_with_an_empty_full_state(
    server: Server, envoy: SotwEnvoy, names: tuple[str, ...]
) -> None:
    server.publishes(listener("a"))
    envoy.asks(LISTENER, *names)
    (first,) = server.says(envoy)
    envoy.acks(first)
    server.publishes(without=[listener("a")])
    (last,) = server.says(envoy)
    assert line(last) == "LDS"
    assert envoy.acks(last) == (Acked(type_url=LISTENER, nonce=last.nonce),)
    assert server.says(envoy) == []


def test_26_nothing_published_yet_is_silence_and_not_emptiness(
    server: Server, envoy: SotwEnvoy
) -> None:
    envoy.asks(LISTENER)
    envoy.asks(CLUSTER)
    assert server.says(envoy) == []


def test_26_a_part_of_the_configuration_is_not_taken_for_all_of_it(server: Server) -> None:
    own, shared = Scope("own"), Scope("shared")
    envoy = SotwEnvoy(server, scopes=(own, shared))
    envoy.asks(LISTENER)
    server.publishes(listener("a"), scope=shared)
    assert server.says(envoy) == []
    server.publishes(listener("b"), scope=own)
    assert lines(server.says(envoy)) == ["LDS a=1 b=1"]


def test_26_a_wildcard_over_nothing_is_silence(server: Server, envoy: SotwEnvoy) -> None:
    server.publishes()
    envoy.asks(LISTENER)
    assert server.says(envoy) == []


def test_26_a_full_state_by_names_holds_all_of_them(server: Server, envoy: SotwEnvoy) -> None:
    server.publishes(listener("a"), listener("b"), listener("c"))
    envoy.asks(LISTENER, "a", "b")
    (first,) = server.says(envoy)
    envoy.acks(first)
    server.publishes(listener("b", "2"), listener("c", "2"))
    assert lines(server.says(envoy)) == ["LDS a=1 b=2"]


def test_27_of_routes_only_what_changed_is_sent(server: Server, envoy: SotwEnvoy) -> None:
    server.publishes(routes("r"), routes("s"))
    envoy.asks(HTTP_ROUTES, "r", "s")
    (first,) = server.says(envoy)
    envoy.acks(first)
    server.publishes(routes("s", "2"))
    (second,) = server.says(envoy)
    assert line(second) == "RDS s=2"
    envoy.acks(second)
    assert server.says(envoy) == []


@pytest.mark.parametrize("type_url", [HTTP_ROUTES, ENDPOINTS])
def test_27_a_removal_that_cannot_be_said_is_silence_and_no_empty_response(
    server: Server, envoy: SotwEnvoy, type_url: TypeUrl
) -> None:
    server.publishes(resource(type_url, "r"))
    envoy.asks(type_url, "r")
    (first,) = server.says(envoy)
    envoy.acks(first)
    server.publishes(without=[resource(type_url, "r")])
    assert server.says(envoy) == []
    server.publishes(resource(type_url, "r", "2"))
    (second,) = server.says(envoy)
    assert [each.name for each in second.resources] == ["r"]


@pytest.mark.parametrize("count", [1, 50])
def test_28_a_request_may_carry_one_name_or_many(
    server: Server, envoy: SotwEnvoy, count: int
) -> None:
    names = [f"r{number:02}" for number in range(count)]
    server.publishes(*(routes(name) for name in names))
    envoy.asks(HTTP_ROUTES, *names)
    (response,) = server.says(envoy)
    assert [each.name for each in response.resources] == names


def test_29_30_a_name_that_is_asked_for_twice_is_sent_once_and_nothing_else_is(
    server: Server, envoy: SotwEnvoy
) -> None:
    server.publishes(listener("a"), listener("b"))
    envoy.asks(LISTENER, "a", "a")
    assert lines(server.says(envoy)) == ["LDS a=1"]


def test_29_what_was_not_asked_for_is_not_sent_when_it_changes(
    server: Server, envoy: SotwEnvoy
) -> None:
    server.publishes(cluster("a"), endpoints("a"), listener("a"), routes("a"), routes("b"))
    envoy.asks(HTTP_ROUTES, "a")
    assert lines(server.says(envoy)) == ["RDS a=1"]
    server.publishes(cluster("a", "2"), endpoints("a", "2"), listener("a", "2"), routes("b", "2"))
    assert server.says(envoy) == []


def test_30_a_name_that_is_wanted_twice_over_and_held_twice_is_sent_once(server: Server) -> None:
    own, shared = Scope("own"), Scope("shared")
    server.publishes(listener("a", "own"), scope=own)
    server.publishes(listener("a", "shared"), listener("b"), scope=shared)
    envoy = SotwEnvoy(server, scopes=(own, shared))
    envoy.asks(LISTENER, "*", "a", "b")
    assert lines(server.says(envoy)) == ["LDS a=own b=1"]


def test_31_a_name_that_was_given_up_before_it_was_written_is_not_sent(
    server: Server, envoy: SotwEnvoy
) -> None:
    server.publishes(routes("r"), routes("s"))
    envoy.asks(HTTP_ROUTES, "r")
    envoy.asks(HTTP_ROUTES, "s")
    assert lines(server.says(envoy)) == ["RDS s=1"]


def test_31_a_listener_that_was_given_up_is_left_out_of_later_responses(
    server: Server, envoy: SotwEnvoy
) -> None:
    server.publishes(listener("a"), listener("b"))
    envoy.asks(LISTENER, "a", "b")
    (first,) = server.says(envoy)
    envoy.acks(first)
    envoy.asks(LISTENER, "b")
    assert server.says(envoy) == []
    server.publishes(listener("b", "2"))
    assert lines(server.says(envoy)) == ["LDS b=2"]


def test_31_routes_that_were_given_up_while_they_were_on_their_way_are_left_out_from_then_on(
    server: Server, envoy: SotwEnvoy
) -> None:
    server.publishes(routes("r"), routes("s"))
    envoy.asks(HTTP_ROUTES, "r", "s")
    (first,) = server.says(envoy)
    envoy.names[HTTP_ROUTES] = (Name("s"),)
    envoy.acks(first)
    server.publishes(routes("r", "2"), routes("s", "2"))
    assert lines(server.says(envoy)) == ["RDS s=2"]


# --- NACK -------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", ["no", ""])
def test_09_an_error_is_a_nack_whatever_the_version_says(
    server: Server, envoy: SotwEnvoy, error: str
) -> None:
    server.publishes(routes("r"))
    envoy.asks(HTTP_ROUTES, "r")
    (rds,) = server.says(envoy)
    events = envoy.asks(HTTP_ROUTES, "r", nonce=rds.nonce, version=rds.version, error=error)
    assert events == (
        Nacked(type_url=HTTP_ROUTES, nonce=rds.nonce, error=error, names=(Name("r"),), stale=False),
    )
    assert envoy.status(HTTP_ROUTES).acked_nonce == ""


def test_09_an_older_version_without_an_error_is_no_nack(server: Server, envoy: SotwEnvoy) -> None:
    server.publishes(routes("r"))
    envoy.asks(HTTP_ROUTES, "r")
    (rds,) = server.says(envoy)
    events = envoy.asks(HTTP_ROUTES, "r", nonce=rds.nonce, version="older")
    assert events == (Acked(type_url=HTTP_ROUTES, nonce=rds.nonce),)


def test_09_after_a_nack_the_same_nonce_without_the_error_accepts_nothing(
    server: Server, envoy: SotwEnvoy
) -> None:
    server.publishes(routes("r"), routes("s"))
    envoy.asks(HTTP_ROUTES, "r")
    (rds,) = server.says(envoy)
    envoy.nacks(rds, "no")
    events = envoy.asks(HTTP_ROUTES, "r", "s")
    assert [type(event) for event in events] == [Subscribed]
    assert envoy.status(HTTP_ROUTES).acked_version == ""
    assert lines(server.says(envoy)) == ["RDS s=1"]


@pytest.mark.parametrize("type_url", [CLUSTER, LISTENER, HTTP_ROUTES, ENDPOINTS])
def test_10_a_refused_version_is_parked_until_its_content_changes(
    server: Server, envoy: SotwEnvoy, type_url: TypeUrl
) -> None:
    server.publishes(resource(type_url, "a", "bad"))
    envoy.asks(type_url, "a")
    (response,) = server.says(envoy)
    envoy.nacks(response, "no")
    assert server.says(envoy) == []
    server.publishes(resource(type_url, "a", "bad"))
    envoy.asks(type_url, "a")
    assert server.says(envoy) == []
    server.publishes(resource(type_url, "a", "good"))
    (response,) = server.says(envoy)
    assert line(response).endswith(" a=good")


def test_10_a_changed_sibling_comes_with_the_parked_one_as_it_was_last_accepted(
    server: Server, envoy: SotwEnvoy
) -> None:
    server.publishes(listener("a"), listener("b"))
    envoy.asks(LISTENER)
    (first,) = server.says(envoy)
    envoy.acks(first)
    server.publishes(listener("a", "bad"))
    (second,) = server.says(envoy)
    assert line(second) == "LDS a=bad b=1"
    (event,) = envoy.nacks(second, "no")
    assert isinstance(event, Nacked)
    assert event.names == ("a",)
    server.publishes(listener("b", "2"))
    (third,) = server.says(envoy)
    assert line(third) == "LDS a=1 b=2"
    envoy.acks(third)
    assert server.says(envoy) == []
    server.publishes(listener("a", "good"))
    assert lines(server.says(envoy)) == ["LDS a=good b=2"]


def test_10_a_parked_one_that_was_never_accepted_comes_as_it_is(
    server: Server, envoy: SotwEnvoy
) -> None:
    server.publishes(listener("a", "bad"), listener("b"))
    envoy.asks(LISTENER)
    (first,) = server.says(envoy)
    envoy.nacks(first, "no")
    server.publishes(listener("b", "2"))
    assert lines(server.says(envoy)) == ["LDS a=bad b=2"]


def test_10_going_back_to_the_accepted_version_is_sent_to_a_stream_that_holds_the_refused_one(
    server: Server, envoy: SotwEnvoy
) -> None:
    server.publishes(routes("r"))
    envoy.asks(HTTP_ROUTES, "r")
    (first,) = server.says(envoy)
    envoy.acks(first)
    server.publishes(routes("r", "bad"))
    (second,) = server.says(envoy)
    envoy.nacks(second, "no")
    server.publishes(routes("r", "1"))
    assert lines(server.says(envoy)) == ["RDS r=1"]


def test_10_a_refused_version_that_is_back_before_another_was_written_stays_parked(
    server: Server, envoy: SotwEnvoy
) -> None:
    server.publishes(listener("a"), listener("b"))
    envoy.asks(LISTENER)
    (first,) = server.says(envoy)
    envoy.acks(first)
    server.publishes(listener("a", "bad"))
    (second,) = server.says(envoy)
    envoy.nacks(second, "no")
    server.publishes(listener("b", "2"))
    (third,) = server.says(envoy)
    assert line(third) == "LDS a=1 b=2"
    server.publishes(listener("a", "good"))
    server.publishes(listener("a", "bad"))
    assert server.says(envoy) == []


def test_10_a_parked_one_that_is_removed_is_left_out(server: Server, envoy: SotwEnvoy) -> None:
    server.publishes(listener("a"), listener("b"))
    envoy.asks(LISTENER)
    (first,) = server.says(envoy)
    envoy.acks(first)
    server.publishes(listener("a", "bad"))
    (second,) = server.says(envoy)
    envoy.nacks(second, "no")
    server.publishes(without=[listener("a")])
    assert lines(server.says(envoy)) == ["LDS b=1"]
    server.publishes(listener("a", "bad"))
    assert lines(server.says(envoy)) == ["LDS a=bad b=1"]


def test_10_a_refused_response_parks_only_what_this_stream_had_not_accepted(
    server: Server, envoy: SotwEnvoy
) -> None:
    server.publishes(endpoints("a"), endpoints("b"))
    envoy.asks(ENDPOINTS, "a", "b")
    (first,) = server.says(envoy)
    envoy.acks(first)
    server.publishes(endpoints("a", "2"), endpoints("b", "2"))
    (second,) = server.says(envoy)
    (event,) = envoy.nacks(second, "no")
    assert isinstance(event, Nacked)
    assert event.names == ("a", "b")
    server.publishes(endpoints("a", "3"))
    (third,) = server.says(envoy)
    (event,) = envoy.nacks(third, "no")
    assert isinstance(event, Nacked)
    assert event.names == ("a",)


def test_10_of_listeners_only_those_that_the_error_names_are_parked(
    server: Server, envoy: SotwEnvoy
) -> None:
    """Envoy took the others: taking them back to what was accepted before would drain them."""
    server.publishes(listener("one"), listener("two"))
    envoy.asks(LISTENER)
    (first,) = server.says(envoy)
    envoy.acks(first)
    server.publishes(listener("one", "bad"), listener("two", "2"))
    (second,) = server.says(envoy)
    (event,) = envoy.nacks(second, "Error adding/updating listener(s) one: no such filter")
    assert isinstance(event, Nacked)
    assert event.names == ("one",)
    server.publishes(listener("three"))
    (third,) = server.says(envoy)
    assert line(third) == "LDS one=1 three=1 two=2"
    envoy.nacks(third, "Error adding/updating listener(s) three: no such filter")
    server.publishes(listener("two", "bad"))
    (fourth,) = server.says(envoy)
    envoy.nacks(fourth, "Error adding/updating listener(s) two: no such filter")
    server.publishes(listener("one", "good"))
    assert lines(server.says(envoy)) == ["LDS one=good three=1 two=2"]


def test_11_a_nack_may_change_the_list(server: Server, envoy: SotwEnvoy) -> None:
    server.publishes(routes("r", "bad"), routes("s"))
    envoy.asks(HTTP_ROUTES, "r")
    (first,) = server.says(envoy)
    refused, subscribed = envoy.asks(HTTP_ROUTES, "r", "s", nonce=first.nonce, error="no")
    assert isinstance(refused, Nacked)
    assert isinstance(subscribed, Subscribed)
    assert subscribed.added == {"s"}
    assert lines(server.says(envoy)) == ["RDS s=1"]


def test_21_naming_a_parked_one_anew_is_answered(server: Server, envoy: SotwEnvoy) -> None:
    server.publishes(listener("a", "bad"), listener("b"))
    envoy.asks(LISTENER, "a", "b")
    (first,) = server.says(envoy)
    envoy.nacks(first, "no")
    envoy.asks(LISTENER, "b")
    envoy.asks(LISTENER, "a", "b")
    assert lines(server.says(envoy)) == ["LDS a=bad b=1"]


def test_25_giving_up_the_wildcard_forgets_what_was_parked(
    server: Server, envoy: SotwEnvoy
) -> None:
    server.publishes(listener("a", "bad"))
    envoy.asks(LISTENER, "*")
    (first,) = server.says(envoy)
    envoy.nacks(first, "no")
    envoy.asks(LISTENER)
    envoy.asks(LISTENER, "*")
    assert lines(server.says(envoy)) == ["LDS a=bad"]


# --- what was sent unasked --------------------------------------------------------------------


def test_21_the_first_naming_of_what_was_sent_unasked_is_not_answered_again(
    server: Server, envoy: SotwEnvoy
) -> None:
    server.publishes(cluster("a"), endpoints("a"))
    envoy.asks(CLUSTER)
    assert lines(server.says(envoy)) == ["CDS a=1", "EDS a=1"]
    envoy.asks(ENDPOINTS, "a")
    assert server.says(envoy) == []
    server.publishes(endpoints("a", "2"))
    assert lines(server.says(envoy)) == ["EDS a=2"]


def test_21_what_was_sent_unasked_and_changed_since_is_answered(
    server: Server, envoy: SotwEnvoy
) -> None:
    server.publishes(cluster("a"), endpoints("a"))
    envoy.asks(CLUSTER)
    server.says(envoy)
    server.publishes(endpoints("a", "2"))
    envoy.asks(ENDPOINTS, "a")
    assert lines(server.says(envoy)) == ["EDS a=2"]


def test_21_what_was_sent_unasked_is_forgotten_by_a_fresh_request_without_it(
    server: Server, envoy: SotwEnvoy
) -> None:
    server.publishes(cluster("a"), endpoints("a"), endpoints("b"))
    envoy.asks(ENDPOINTS, "b")
    (first,) = server.says(envoy)
    envoy.acks(first)
    envoy.asks(CLUSTER)
    _, unasked = server.says(envoy)
    assert line(unasked) == "EDS a=1"
    envoy.acks(unasked)  # the list is still [b]
    envoy.asks(ENDPOINTS, "a", "b")
    assert lines(server.says(envoy)) == ["EDS a=1"]


def test_08_21_a_plain_ack_without_it_forgets_what_was_sent_unasked_too(
    server: Server, envoy: SotwEnvoy
) -> None:
    server.publishes(cluster("a"), endpoints("a"), endpoints("b"))
    envoy.asks(ENDPOINTS, "b")
    (first,) = server.says(envoy)
    envoy.acks(first)
    envoy.asks(CLUSTER)
    _, unasked = server.says(envoy)
    assert server.hub.accept(envoy.stream, ENDPOINTS, unasked.nonce)
    envoy.asks(ENDPOINTS, "a", "b", nonce=unasked.nonce)
    assert lines(server.says(envoy)) == ["EDS a=1"]


def test_21_a_stale_request_without_it_does_not_forget_what_was_sent_unasked(
    server: Server, envoy: SotwEnvoy
) -> None:
    server.publishes(cluster("a"), endpoints("a"), endpoints("b"))
    envoy.asks(ENDPOINTS, "b")
    (first,) = server.says(envoy)
    envoy.asks(CLUSTER)
    _, unasked = server.says(envoy)
    envoy.acks(first)  # crosses the response that was sent unasked
    envoy.names[ENDPOINTS] = (Name("a"), Name("b"))
    envoy.acks(unasked)
    assert server.says(envoy) == []


def test_46_a_changed_cluster_brings_its_endpoints_though_they_did_not_change(
    server: Server, envoy: SotwEnvoy
) -> None:
    server.publishes(cluster("a"), endpoints("a"), cluster("b"), endpoints("b"))
    envoy.asks(CLUSTER)
    envoy.asks(ENDPOINTS, "a", "b")
    for response in server.says(envoy):
        envoy.acks(response)
    server.publishes(cluster("a", "2"))
    assert lines(server.says(envoy)) == ["CDS a=2 b=1", "EDS a=1"]


def test_46_endpoints_that_a_changed_cluster_waits_for_are_sent_when_they_are_back(
    server: Server, envoy: SotwEnvoy
) -> None:
    server.publishes(cluster("a"), endpoints("a"))
    envoy.asks(CLUSTER)
    envoy.asks(ENDPOINTS, "a")
    for response in server.says(envoy):
        envoy.acks(response)
    server.publishes(cluster("a", "2"), without=[endpoints("a")])
    assert lines(server.says(envoy)) == ["CDS a=2"]
    server.publishes(endpoints("a"))
    assert lines(server.says(envoy)) == ["EDS a=1"]


def test_46_a_client_that_names_its_clusters_gets_endpoints_only_when_it_asks(
    server: Server, envoy: SotwEnvoy
) -> None:
    server.publishes(cluster("a"), endpoints("a"))
    envoy.asks(CLUSTER, "a")
    assert lines(server.says(envoy)) == ["CDS a=1"]
    envoy.asks(ENDPOINTS, "a")
    assert lines(server.says(envoy)) == ["EDS a=1"]
    server.publishes(cluster("a", "2"))
    assert lines(server.says(envoy)) == ["CDS a=2", "EDS a=1"]


@pytest.mark.parametrize(
    ("good", "bad"),
    [("127.0.0.1_80", "127.0.0.1_8080"), ("in", "inbound-in")],
    ids=["head", "tail"],
)
def test_10_a_name_that_is_only_a_part_of_what_the_error_names_is_not_parked(
    server: Server, envoy: SotwEnvoy, good: str, bad: str
) -> None:
    server.publishes(listener(good), listener(bad))
    envoy.asks(LISTENER)
    (first,) = server.says(envoy)
    envoy.acks(first)
    server.publishes(listener(good, "2"), listener(bad, "bad"))
    (second,) = server.says(envoy)
    envoy.nacks(second, f"Error adding/updating listener(s) {bad}: no such filter")
    server.publishes(listener("third"))
    assert lines(server.says(envoy)) == [f"LDS {good}=2 {bad}=1 third=1"]


def test_10_46_endpoints_that_came_unasked_are_parked_no_longer(
    server: Server, envoy: SotwEnvoy
) -> None:
    server.publishes(cluster("a"), endpoints("a", "bad"))
    envoy.asks(CLUSTER)
    envoy.asks(ENDPOINTS, "a")
    _, refused = server.says(envoy)
    envoy.nacks(refused, "no")
    server.publishes(cluster("a", "2"), endpoints("a", "good"))
    assert lines(server.says(envoy)) == ["CDS a=2", "EDS a=good"]
    server.publishes(endpoints("a", "bad"))
    assert lines(server.says(envoy)) == ["EDS a=bad"]


def test_47_routes_follow_a_changed_listener_only_when_they_changed(
    server: Server, envoy: SotwEnvoy
) -> None:
    server.publishes(listener("l"), routes("r"))
    envoy.asks(LISTENER)
    envoy.asks(HTTP_ROUTES, "r")
    for response in server.says(envoy):
        envoy.acks(response)
    server.publishes(listener("l", "2"))
    assert lines(server.says(envoy)) == ["LDS l=2"]


# --- what is left to the client, or not offered -----------------------------------------------


def test_32_resources_come_bare(server: Server, envoy: SotwEnvoy) -> None:
    """Also to who announces that it could unwrap them: a wrapper would add nothing."""
    server.publishes(*(resource(type_url, "a") for type_url in EVERY_TYPE))
    for type_url in EVERY_TYPE:
        envoy.asks(type_url, "a")
    said = [official(response) for response in server.says(envoy)]
    assert {response.type_url for response in said} == set(EVERY_TYPE)
    for response in said:
        assert [each.type_url for each in response.resources] == [response.type_url]


def test_49_what_exists_is_answered_at_once(server: Server, envoy: SotwEnvoy) -> None:
    """Nothing has to happen in between: no clock, no other type, no publication."""
    server.publishes(*(resource(type_url, "a") for type_url in EVERY_TYPE))
    for type_url in reversed(EVERY_TYPE):
        envoy.asks(type_url, "a")
        (response,) = server.says(envoy)
        assert (response.type_url, [each.name for each in response.resources]) == (type_url, ["a"])


@pytest.mark.parametrize("type_url", EVERY_TYPE)
def test_49_the_client_times_out_on_what_does_not_exist_and_is_sent_it_later_all_the_same(
    server: Server, envoy: SotwEnvoy, type_url: TypeUrl
) -> None:
    server.publishes()
    envoy.asks(type_url, "a")
    server.now += 15
    assert server.says(envoy) == []
    server.publishes(resource(type_url, "a"))
    (response,) = server.says(envoy)
    assert [each.name for each in response.resources] == ["a"]


def test_50_no_resource_has_a_time_to_live_and_none_is_sent_again_for_its_sake(
    server: Server, envoy: SotwEnvoy
) -> None:
    server.publishes(listener("l"), routes("r"))
    envoy.asks(LISTENER)
    envoy.asks(HTTP_ROUTES, "r")
    for response in server.says(envoy):
        envoy.acks(response)
        (packed,) = official(response).resources
        assert packed.type_url == response.type_url  # not the wrapper, which may say how long
    envoy.woken = 0
    server.now += 24 * 3600
    assert (server.says(envoy), envoy.woken) == ([], 0)


def test_54_an_absent_resource_is_left_out_and_no_error_of_it_is_sent(
    server: Server, envoy: SotwEnvoy
) -> None:
    server.publishes(routes("r"))
    envoy.asks(HTTP_ROUTES, "r", "absent")
    (response,) = server.says(envoy)
    assert line(response) == "RDS r=1"
    assert fields(official(response)) == {"version_info", "resources", "type_url", "nonce"}


@pytest.mark.parametrize("names", [(), ("*",), ("l",)])
def test_52_an_unknown_type_is_met_with_silence_and_hurts_no_other(
    server: Server, envoy: SotwEnvoy, names: tuple[str, ...]
) -> None:
    server.publishes(listener("l"))
    envoy.asks(TypeUrl("type.googleapis.com/acme.Thing"), *names)
    envoy.asks(LISTENER)
    assert lines(server.says(envoy)) == ["LDS l=1"]


# --- cost -------------------------------------------------------------------------------------


def test_an_ack_and_a_change_leave_the_books_of_a_large_subscription_in_place(
    server: Server, envoy: SotwEnvoy
) -> None:
    """What was sent and accepted is changed where it stands, not copied, for routes."""
    names = [f"r{number}" for number in range(100)]
    server.publishes(*(routes(name) for name in names))
    envoy.asks(HTTP_ROUTES, *names)
    (first,) = server.says(envoy)
    envoy.acks(first)
    watch = envoy.stream.session.watches[HTTP_ROUTES]
    sent = watch.sent
    server.publishes(routes("r7", "2"))
    (second,) = server.says(envoy)
    envoy.acks(second)
    assert watch.sent is sent
    assert len(sent) == 100


def test_the_full_state_that_was_sent_is_the_snapshots_own_mapping(
    server: Server, envoy: SotwEnvoy
) -> None:
    server.publishes(listener("a"))
    envoy.asks(LISTENER)
    server.says(envoy)
    snapshot = server.hub.snapshot(envoy.stream.scopes[0])
    assert snapshot is not None
    assert envoy.stream.session.watches[LISTENER].sent is snapshot.of(LISTENER).resources.flat()


def test_07_a_list_that_still_holds_what_is_gone_has_a_version_of_its_own() -> None:
    server = Server()
    envoy = SotwEnvoy(server)
    old, new = cluster("old"), cluster("new")
    server.publishes(old)
    envoy.asks(CLUSTER)
    (before,) = server.says(envoy)
    server.publishes(new, without=[old])
    both, without = server.says(envoy)
    assert lines([both, without]) == ["CDS new=1 old=1", "CDS new=1"]
    assert len({before.version, both.version, without.version}) == 3
    other = SotwEnvoy(server)
    other.asks(CLUSTER)
    assert server.says(other)[0].version == without.version


def test_07_a_list_in_which_an_accepted_version_stands_in_has_a_version_of_its_own() -> None:
    server = Server()
    envoy = SotwEnvoy(server)
    server.publishes(listener("a"))
    envoy.asks(LISTENER)
    (first,) = server.says(envoy)
    envoy.acks(first)
    server.publishes(listener("a", "bad"))
    (refused,) = server.says(envoy)
    envoy.nacks(refused, "no")
    server.publishes(listener("b"))
    (stand_in,) = server.says(envoy)
    assert lines([stand_in]) == ["LDS a=1 b=1"]
    server.publishes(listener("a"))
    other = SotwEnvoy(server)
    other.asks(LISTENER)
    assert server.says(other)[0].version == stand_in.version, "what it is called by is what it says"


def test_10_46_refused_endpoints_that_come_back_are_sent_to_a_cluster_that_waits(
    server: Server, envoy: SotwEnvoy
) -> None:
    server.publishes(cluster("a"), endpoints("a", "bad"))
    envoy.asks(CLUSTER)
    envoy.asks(ENDPOINTS, "a")
    clusters, refused = server.says(envoy)
    envoy.acks(clusters)
    envoy.nacks(refused, "no")
    server.publishes(without=[endpoints("a", "bad")])
    assert lines(server.says(envoy)) == []
    server.publishes(cluster("a", "2"))
    assert lines(server.says(envoy)) == ["CDS a=2"]
    server.publishes(endpoints("a", "bad"))
    assert lines(server.says(envoy)) == ["EDS a=bad"]


def test_46_a_cluster_that_stands_in_for_a_refused_one_brings_its_endpoints_with_a_removal_too(
    server: Server, envoy: SotwEnvoy
) -> None:
    server.publishes(cluster("a"), endpoints("a"), cluster("old"))
    envoy.asks(CLUSTER)
    envoy.asks(ENDPOINTS, "a")
    for response in server.says(envoy):
        envoy.acks(response)
    server.publishes(cluster("a", "bad"))
    (refused, unasked) = server.says(envoy)
    envoy.nacks(refused, "a: no")
    envoy.acks(unasked)
    server.publishes(without=[cluster("old")])
    assert lines(server.says(envoy)) == ["CDS a=1", "EDS a=1"]
