"""The incremental dialect, as conversations. Numbers are statements of the protocol."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.service.discovery.v3 import discovery_pb2

from aeraki_xds.xds.message import Acked, Nacked, Response, SotwRequest, Subscribed
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
from aeraki_xds.xds.wire.envelope import delta_body
from tests.xds.dialogue import (
    DeltaEnvoy,
    Server,
    cluster,
    endpoints,
    line,
    lines,
    listener,
    resource,
    routes,
    thrift_routes,
)

MAY_BE_REMOVED = [CLUSTER, LISTENER, ENDPOINTS, THRIFT_ROUTES]
EVERY_TYPE = [*MAY_BE_REMOVED, HTTP_ROUTES]


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def envoy(server: Server) -> DeltaEnvoy:
    return DeltaEnvoy(server)


def official(response: Response) -> Any:
    """A response as a client of the official classes reads it."""
    written = delta_body(response) + nonce_tail(response.nonce)
    return discovery_pb2.DeltaDiscoveryResponse.FromString(written)


def fields(message: Any) -> set[str]:
    """The fields that a message has set."""
    return {field.name for field, _ in message.ListFields()}


# --- types and nodes --------------------------------------------------------------------------


def test_01_a_request_is_about_the_type_that_it_names(server: Server, envoy: DeltaEnvoy) -> None:
    server.publishes(routes("x"), endpoints("x"), listener("x"))
    envoy.asks(ENDPOINTS, "x")
    assert lines(server.says(envoy)) == ["EDS x=1"]
    envoy.asks(LISTENER, "x")
    assert lines(server.says(envoy)) == ["LDS x=1"]


def test_02_the_node_of_the_first_request_is_that_of_all_that_follow(server: Server) -> None:
    envoy = DeltaEnvoy(server, node="sidecar")
    server.publishes(routes("r"), listener("l"))
    envoy.asks(HTTP_ROUTES, "r")  # none of these requests says who asks
    for response in server.says(envoy):
        envoy.acks(response)
    envoy.asks(LISTENER)
    assert lines(server.says(envoy)) == ["LDS l=1"]
    assert [stream.node.id for stream in server.hub.streams] == ["sidecar"]


# --- nonces, ACK, NACK ------------------------------------------------------------------------


def test_06_every_response_of_a_stream_has_a_nonce_of_its_own(
    server: Server, envoy: DeltaEnvoy
) -> None:
    server.publishes(routes("r"), listener("l"))
    envoy.asks(HTTP_ROUTES, "r")
    envoy.asks(LISTENER)
    said = server.says(envoy)
    server.publishes(routes("r", "2"), without=[listener("l")])
    said += server.says(envoy)
    assert all(response.nonce for response in said)
    assert len({response.nonce for response in said}) == len(said) == 4


def test_06_a_nonce_of_another_stream_accepts_nothing(server: Server, envoy: DeltaEnvoy) -> None:
    server.publishes(routes("r"))
    envoy.asks(HTTP_ROUTES, "r")
    server.says(envoy)
    server.publishes(routes("r", "2"))
    (before,) = server.says(envoy)
    envoy.leaves()
    again = DeltaEnvoy(server)
    again.asks(HTTP_ROUTES, "r", nonce=before.nonce)
    server.says(again)
    assert again.acks(before) == ()
    assert again.status(HTTP_ROUTES).acked_nonce == ""


def test_03_nonce_and_subscription_are_kept_per_type(server: Server, envoy: DeltaEnvoy) -> None:
    server.publishes(routes("r"), endpoints("r"))
    envoy.asks(HTTP_ROUTES, "r")
    envoy.asks(ENDPOINTS, "r")
    eds, rds = server.says(envoy)
    assert lines((eds, rds)) == ["EDS r=1", "RDS r=1"]
    assert envoy.acks(rds) == (Acked(type_url=HTTP_ROUTES, nonce=rds.nonce),)
    assert envoy.acks(eds) == (Acked(type_url=ENDPOINTS, nonce=eds.nonce),)


def test_03_a_nack_of_one_type_does_not_hold_the_others(server: Server, envoy: DeltaEnvoy) -> None:
    server.publishes(routes("r"), listener("l"))
    envoy.asks(LISTENER)
    envoy.asks(HTTP_ROUTES, "r")
    lds, _ = server.says(envoy)
    envoy.nacks(lds, "no")
    server.publishes(routes("r", "2"))
    assert lines(server.says(envoy)) == ["RDS r=2"]


def test_05_a_sotw_request_on_a_delta_stream_is_an_error(server: Server, envoy: DeltaEnvoy) -> None:
    with pytest.raises(TypeError, match="SotwRequest on a delta stream"):
        server.hub.receive(envoy.stream, SotwRequest(type_url=CLUSTER))


def test_08_17_an_ack_is_noted_once_and_followed_by_silence(
    server: Server, envoy: DeltaEnvoy
) -> None:
    server.publishes(routes("r"))
    envoy.asks(HTTP_ROUTES, "r")
    (rds,) = server.says(envoy)
    assert envoy.acks(rds) == (Acked(type_url=HTTP_ROUTES, nonce=rds.nonce),)
    assert envoy.acks(rds) == ()
    assert server.says(envoy) == []


def test_08_a_plain_ack_may_be_taken_without_its_request(server: Server, envoy: DeltaEnvoy) -> None:
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


@pytest.mark.parametrize("error", ["no", ""])
def test_09_15_a_nonce_with_an_error_refuses_and_a_nonce_without_one_accepts(
    server: Server, envoy: DeltaEnvoy, error: str
) -> None:
    server.publishes(routes("r"))
    envoy.asks(HTTP_ROUTES, "r")
    (first,) = server.says(envoy)
    assert envoy.nacks(first, error) == (
        Nacked(
            type_url=HTTP_ROUTES, nonce=first.nonce, error=error, names=(Name("r"),), stale=False
        ),
    )
    assert envoy.status(HTTP_ROUTES).acked_nonce == ""
    server.publishes(routes("r", "2"))
    (second,) = server.says(envoy)
    assert envoy.acks(second) == (Acked(type_url=HTTP_ROUTES, nonce=second.nonce),)
    assert envoy.status(HTTP_ROUTES).acked_nonce == second.nonce


def test_09_after_a_nack_the_same_nonce_without_the_error_accepts_nothing(
    server: Server, envoy: DeltaEnvoy
) -> None:
    server.publishes(routes("r", "bad"))
    envoy.asks(HTTP_ROUTES, "r")
    (first,) = server.says(envoy)
    envoy.nacks(first, "no")
    assert envoy.acks(first) == ()
    assert envoy.status(HTTP_ROUTES).acked_nonce == ""


def test_14_subscriptions_count_whatever_the_nonce_says(server: Server, envoy: DeltaEnvoy) -> None:
    server.publishes(routes("r"), routes("s"))
    envoy.asks(HTTP_ROUTES, "r")
    (first,) = server.says(envoy)
    server.publishes(routes("r", "2"))
    server.says(envoy)
    envoy.asks(HTTP_ROUTES, "s", drops=("r",), nonce=first.nonce)
    assert lines(server.says(envoy)) == ["RDS s=1"]
    server.publishes(routes("r", "3"))
    assert server.says(envoy) == []


def test_14_the_ack_of_an_older_response_is_not_the_ack_of_the_newest(
    server: Server, envoy: DeltaEnvoy
) -> None:
    server.publishes(routes("r"))
    envoy.asks(HTTP_ROUTES, "r")
    (first,) = server.says(envoy)
    server.publishes(routes("r", "2"))
    (second,) = server.says(envoy)
    assert envoy.acks(first) == ()
    assert envoy.acks(second) == (Acked(type_url=HTTP_ROUTES, nonce=second.nonce),)


def test_14_a_stale_error_is_counted_and_shown_and_parks_nothing(
    server: Server, envoy: DeltaEnvoy
) -> None:
    server.publishes(routes("r", "bad"))
    envoy.asks(HTTP_ROUTES, "r")
    (first,) = server.says(envoy)
    server.publishes(routes("r", "2"))
    server.says(envoy)
    (event,) = envoy.nacks(first, "no")
    assert event == Nacked(
        type_url=HTTP_ROUTES, nonce=first.nonce, error="no", names=(), stale=True
    )
    status = envoy.status(HTTP_ROUTES)
    assert (status.nacks, status.last_error, status.acked_nonce) == (1, "no", "")


@pytest.mark.parametrize("error", [None, "no"])
def test_15_a_request_without_a_nonce_neither_accepts_nor_refuses(
    server: Server, envoy: DeltaEnvoy, error: str | None
) -> None:
    server.publishes(routes("r"), routes("s"))
    envoy.asks(HTTP_ROUTES, "r")
    server.says(envoy)
    (event,) = envoy.asks(HTTP_ROUTES, "s", error=error)
    assert isinstance(event, Subscribed)
    status = envoy.status(HTTP_ROUTES)
    assert (status.acked_nonce, status.nacks) == ("", 0)


@pytest.mark.parametrize("type_url", [CLUSTER, LISTENER, ENDPOINTS, HTTP_ROUTES, THRIFT_ROUTES])
def test_10_a_refused_version_is_parked_until_its_content_changes(
    server: Server, envoy: DeltaEnvoy, type_url: TypeUrl
) -> None:
    server.publishes(resource(type_url, "a", "bad"), resource(type_url, "b"))
    envoy.asks(type_url, "a", "b")
    (first,) = server.says(envoy)
    (event,) = envoy.nacks(first, "no")
    assert isinstance(event, Nacked)
    assert event.names == ("a", "b")
    assert server.says(envoy) == []
    server.publishes(resource(type_url, "a", "bad"), resource(type_url, "b", "2"))
    (second,) = server.says(envoy)
    assert line(second).split()[1:] == ["b=2"]
    envoy.acks(second)
    server.publishes(resource(type_url, "a", "good"))
    (third,) = server.says(envoy)
    assert line(third).split()[1:] == ["a=good"]


def test_10_going_back_to_the_accepted_version_is_sent_to_a_stream_that_holds_the_refused_one(
    server: Server, envoy: DeltaEnvoy
) -> None:
    server.publishes(listener("a"))
    envoy.asks(LISTENER)
    (first,) = server.says(envoy)
    envoy.acks(first)
    server.publishes(listener("a", "bad"))
    (second,) = server.says(envoy)
    envoy.nacks(second, "no")
    assert server.says(envoy) == []
    server.publishes(listener("a", "1"))
    assert lines(server.says(envoy)) == ["LDS a=1"]


def test_19_the_version_of_everything_is_for_people_and_decides_nothing(
    server: Server, envoy: DeltaEnvoy
) -> None:
    server.publishes(listener("a"), listener("b"))
    envoy.asks(LISTENER, "a")
    (first,) = server.says(envoy)
    envoy.acks(first)
    server.publishes(listener("b", "2"))  # another version of everything, the same a
    assert server.says(envoy) == []
    server.publishes(listener("a", "2"), listener("b", "1"))
    (second,) = server.says(envoy)
    server.publishes(listener("a", "1"))
    (third,) = server.says(envoy)
    assert third.version == first.version != second.version
    assert line(third) == "LDS a=1"


def test_11_a_nack_may_change_the_subscription(server: Server, envoy: DeltaEnvoy) -> None:
    server.publishes(routes("r", "bad"), routes("s"))
    envoy.asks(HTTP_ROUTES, "r")
    (first,) = server.says(envoy)
    refused, subscribed = envoy.asks(HTTP_ROUTES, "s", nonce=first.nonce, error="no")
    assert isinstance(refused, Nacked)
    assert isinstance(subscribed, Subscribed)
    assert lines(server.says(envoy)) == ["RDS s=1"]


# --- first requests and reconnection ----------------------------------------------------------


@pytest.mark.parametrize("error", [None, "left over from the last stream"])
def test_16_first_request_with_an_old_nonce_or_error_is_answered(
    server: Server, envoy: DeltaEnvoy, error: str | None
) -> None:
    server.publishes(routes("r"))
    (event,) = envoy.asks(HTTP_ROUTES, "r", nonce="0000002a", error=error)
    assert isinstance(event, Subscribed)
    assert lines(server.says(envoy)) == ["RDS r=1"]


def test_40_what_a_client_brings_along_is_not_sent_again(server: Server, envoy: DeltaEnvoy) -> None:
    same, changed, new = listener("a"), listener("b", "2"), listener("c")
    server.publishes(same, changed, new)
    kept = {"a": same.version, "b": listener("b").version, "gone": "feed"}
    envoy.asks(LISTENER, has=kept)
    assert lines(server.says(envoy)) == ["LDS b=2 c=1", "LDS -gone"]


def test_40_a_client_that_brings_everything_along_is_met_with_silence(
    server: Server, envoy: DeltaEnvoy
) -> None:
    server.publishes(listener("a"))
    envoy.asks(LISTENER, has={"a": listener("a").version})
    assert server.says(envoy) == []


def test_40_a_name_that_is_asked_for_at_the_version_it_has_is_spared(
    server: Server, envoy: DeltaEnvoy
) -> None:
    server.publishes(routes("r"), routes("s", "2"))
    kept = {"r": routes("r").version, "s": routes("s").version}
    envoy.asks(HTTP_ROUTES, "r", "s", has=kept)
    assert lines(server.says(envoy)) == ["RDS s=2"]


def test_40_46_endpoints_are_sent_even_at_the_version_that_a_warming_client_has(
    server: Server, envoy: DeltaEnvoy
) -> None:
    server.publishes(endpoints("a"))
    envoy.asks(ENDPOINTS, "a", has={"a": endpoints("a").version})
    assert lines(server.says(envoy)) == ["EDS a=1"]


def test_40_a_version_that_is_brought_along_does_not_subscribe(
    server: Server, envoy: DeltaEnvoy
) -> None:
    server.publishes(routes("r"), routes("s"))
    envoy.asks(HTTP_ROUTES, "r", has={"s": "feed", "gone": "feed"})
    assert lines(server.says(envoy)) == ["RDS r=1"]


@pytest.mark.parametrize("type_url", MAY_BE_REMOVED)
def test_40_a_name_that_is_asked_for_and_brought_along_and_gone_is_said_to_be_removed(
    server: Server, envoy: DeltaEnvoy, type_url: TypeUrl
) -> None:
    server.publishes()
    envoy.asks(type_url, "a", has={"a": "feed"})
    (removal,) = server.says(envoy)
    assert (removal.resources, removal.removed) == ((), ("a",))
    envoy.acks(removal)
    assert server.says(envoy) == []


def test_40_versions_that_are_brought_along_later_count_for_nothing(
    server: Server, envoy: DeltaEnvoy
) -> None:
    server.publishes(routes("r"), routes("s"))
    envoy.asks(HTTP_ROUTES, "r")
    server.says(envoy)
    envoy.asks(HTTP_ROUTES, "s", has={"r": "feed", "s": routes("s").version, "gone": "feed"})
    assert lines(server.says(envoy)) == ["RDS s=1"]
    envoy.asks(HTTP_ROUTES, "s", has={"s": routes("s").version})
    assert lines(server.says(envoy)) == ["RDS s=1"]


@pytest.mark.parametrize("type_url", EVERY_TYPE)
def test_35_40_what_was_brought_along_is_answered_when_it_is_asked_for_later(
    server: Server, envoy: DeltaEnvoy, type_url: TypeUrl
) -> None:
    server.publishes(resource(type_url, "a"), resource(type_url, "b"))
    envoy.asks(type_url, "a", "b", has={"a": resource(type_url, "a").version})
    server.says(envoy)
    envoy.asks(type_url, "a")
    (response,) = server.says(envoy)
    assert [each.name for each in response.resources] == ["a"]


def test_42_what_was_refused_on_an_earlier_stream_is_sent_again(
    server: Server, envoy: DeltaEnvoy
) -> None:
    server.publishes(listener("a", "bad"), listener("b"))
    envoy.asks(LISTENER)
    (first,) = server.says(envoy)
    envoy.nacks(first, "no")
    envoy.leaves()
    again = DeltaEnvoy(server)
    again.asks(LISTENER, has={"b": listener("b").version})
    assert lines(server.says(again)) == ["LDS a=bad"]


def test_48_endpoints_may_be_asked_for_before_anything_else(
    server: Server, envoy: DeltaEnvoy
) -> None:
    server.publishes(cluster("a"), endpoints("a"))
    envoy.asks(ENDPOINTS, "a")
    assert lines(server.says(envoy)) == ["EDS a=1"]


# --- subscriptions ----------------------------------------------------------------------------


@pytest.mark.parametrize("names", [(), ("*",)])
def test_33_34_a_first_request_without_a_name_or_with_a_star_asks_for_everything(
    server: Server, envoy: DeltaEnvoy, names: tuple[str, ...]
) -> None:
    server.publishes(listener("b"), listener("a"))
    envoy.asks(LISTENER, *names)
    assert lines(server.says(envoy)) == ["LDS a=1 b=1"]
    server.publishes(listener("c"))
    assert lines(server.says(envoy)) == ["LDS c=1"]


def test_33_34_a_name_beside_the_unspoken_wildcard_leaves_it_as_it_is(
    server: Server, envoy: DeltaEnvoy
) -> None:
    server.publishes(listener("a"), listener("b"))
    envoy.asks(LISTENER)
    server.says(envoy)
    (event,) = envoy.asks(LISTENER, "a")
    assert isinstance(event, Subscribed)
    assert event.wildcard
    server.says(envoy)
    server.publishes(listener("a", "2"), listener("b", "2"), listener("c"))
    assert lines(server.says(envoy)) == ["LDS a=2 b=2 c=1"]


def test_34_the_unspoken_wildcard_is_given_up_by_its_star(
    server: Server, envoy: DeltaEnvoy
) -> None:
    server.publishes(listener("a"))
    envoy.asks(LISTENER)
    server.says(envoy)
    envoy.drops(LISTENER, "*")
    server.publishes(listener("a", "2"), listener("b"))
    assert server.says(envoy) == []


def test_33_later_empty_lists_change_nothing(server: Server, envoy: DeltaEnvoy) -> None:
    server.publishes(listener("a"), listener("b"))
    envoy.asks(LISTENER, "a")
    server.says(envoy)
    assert envoy.asks(LISTENER) == ()
    assert server.says(envoy) == []
    server.publishes(listener("b", "2"))
    assert server.says(envoy) == []


@pytest.mark.parametrize("names", [(), ("*",)])
def test_33_routes_and_endpoints_know_no_wildcard(
    server: Server, envoy: DeltaEnvoy, names: tuple[str, ...]
) -> None:
    server.publishes(routes("r"), endpoints("a"))
    envoy.asks(HTTP_ROUTES, *names)
    envoy.asks(ENDPOINTS, *names)
    assert server.says(envoy) == []


def test_34_the_star_may_be_given_up_and_the_names_stay(server: Server, envoy: DeltaEnvoy) -> None:
    server.publishes(listener("a"), listener("b"))
    envoy.asks(LISTENER, "*", "a")
    assert lines(server.says(envoy)) == ["LDS a=1 b=1"]
    envoy.drops(LISTENER, "*")
    assert server.says(envoy) == []
    server.publishes(listener("a", "2"), listener("b", "2"))
    assert lines(server.says(envoy)) == ["LDS a=2"]


def test_34_the_star_may_come_later_and_brings_what_is_missing(
    server: Server, envoy: DeltaEnvoy
) -> None:
    server.publishes(listener("a"), listener("b"))
    envoy.asks(LISTENER, "a")
    server.says(envoy)
    envoy.asks(LISTENER, "*")
    assert lines(server.says(envoy)) == ["LDS b=1"]


def test_34_the_star_itself_is_never_a_resource(server: Server, envoy: DeltaEnvoy) -> None:
    server.publishes(listener("a"))
    envoy.asks(LISTENER, "*")
    (first,) = server.says(envoy)
    assert line(first) == "LDS a=1"
    envoy.asks(LISTENER, "*")
    assert server.says(envoy) == []


def test_34_what_the_wildcard_still_owed_is_forgotten_with_it(
    server: Server, envoy: DeltaEnvoy
) -> None:
    server.publishes(listener("a"))
    envoy.asks(LISTENER, "*", "a")
    server.says(envoy)
    envoy.drops(LISTENER, "a")
    envoy.drops(LISTENER, "*")
    assert server.says(envoy) == []


@pytest.mark.parametrize("type_url", EVERY_TYPE)
def test_35_each_name_is_answered_though_the_client_has_it(
    server: Server, envoy: DeltaEnvoy, type_url: TypeUrl
) -> None:
    server.publishes(resource(type_url, "a"), resource(type_url, "b"))
    envoy.asks(type_url, "a", "b")
    (first,) = server.says(envoy)
    envoy.acks(first)
    envoy.asks(type_url, "a")
    (second,) = server.says(envoy)
    assert [each.name for each in second.resources] == ["a"]
    envoy.acks(second)
    assert server.says(envoy) == []


@pytest.mark.parametrize("type_url", [CLUSTER, LISTENER])
def test_35_a_name_that_the_wildcard_brought_is_answered_when_it_is_asked_for(
    server: Server, envoy: DeltaEnvoy, type_url: TypeUrl
) -> None:
    server.publishes(resource(type_url, "a"), resource(type_url, "b"))
    envoy.asks(type_url)
    (first,) = server.says(envoy)
    envoy.acks(first)
    envoy.asks(type_url, "a")
    (second,) = server.says(envoy)
    assert [each.name for each in second.resources] == ["a"]


def test_35_a_name_that_was_sent_unasked_is_answered_when_it_is_asked_for(
    server: Server, envoy: DeltaEnvoy
) -> None:
    server.publishes(cluster("a"), endpoints("a"))
    envoy.asks(CLUSTER)
    assert lines(server.says(envoy)) == ["CDS a=1", "EDS a=1"]
    envoy.asks(ENDPOINTS, "a")
    assert lines(server.says(envoy)) == ["EDS a=1"]


def test_35_a_refused_version_is_answered_when_it_is_asked_for(
    server: Server, envoy: DeltaEnvoy
) -> None:
    server.publishes(routes("r", "bad"))
    envoy.asks(HTTP_ROUTES, "r")
    (first,) = server.says(envoy)
    envoy.nacks(first, "no")
    envoy.asks(HTTP_ROUTES, "r")
    assert lines(server.says(envoy)) == ["RDS r=bad"]


def test_35_asking_again_while_it_is_away_is_answered_when_it_is_back(
    server: Server, envoy: DeltaEnvoy
) -> None:
    server.publishes(routes("r"))
    envoy.asks(HTTP_ROUTES, "r")
    server.says(envoy)
    server.publishes(without=[routes("r")])
    envoy.asks(HTTP_ROUTES, "r")
    assert server.says(envoy) == []
    server.publishes(routes("r"))
    assert lines(server.says(envoy)) == ["RDS r=1"]


@pytest.mark.parametrize("type_url", MAY_BE_REMOVED)
def test_36_a_name_that_does_not_exist_is_said_to_be_removed_and_sent_when_it_appears(
    server: Server, envoy: DeltaEnvoy, type_url: TypeUrl
) -> None:
    server.publishes()
    envoy.asks(type_url, "a")
    (first,) = server.says(envoy)
    assert (first.resources, first.removed) == ((), ("a",))
    envoy.acks(first)
    assert server.says(envoy) == []
    server.publishes(resource(type_url, "a"))
    (second,) = server.says(envoy)
    assert ([each.name for each in second.resources], second.removed) == (["a"], ())


def test_36_absent_routes_that_metaprotocol_proxy_may_read_are_met_with_silence(
    server: Server, envoy: DeltaEnvoy
) -> None:
    server.publishes()
    envoy.asks(HTTP_ROUTES, "r")
    assert server.says(envoy) == []
    server.publishes(routes("r"))
    assert lines(server.says(envoy)) == ["RDS r=1"]


@pytest.mark.parametrize("type_url", MAY_BE_REMOVED)
def test_37_44_a_removal_is_said_once_to_who_named_it(
    server: Server, envoy: DeltaEnvoy, type_url: TypeUrl
) -> None:
    server.publishes(resource(type_url, "a"), resource(type_url, "b"))
    envoy.asks(type_url, "a", "b")
    server.says(envoy)
    server.publishes(without=[resource(type_url, "a")])
    (removal,) = server.says(envoy)
    assert (removal.resources, removal.removed) == ((), ("a",))
    envoy.acks(removal)
    server.publishes(resource(type_url, "b", "2"))
    (change,) = server.says(envoy)
    assert change.removed == ()


@pytest.mark.parametrize("type_url", MAY_BE_REMOVED)
def test_37_a_removal_is_said_alone_so_that_it_is_not_refused_with_a_resource(
    server: Server, envoy: DeltaEnvoy, type_url: TypeUrl
) -> None:
    server.publishes(resource(type_url, "a"), resource(type_url, "b"))
    envoy.asks(type_url, "a", "b")
    server.says(envoy)
    server.publishes(resource(type_url, "a", "bad"), without=[resource(type_url, "b")])
    change, removal = server.says(envoy)
    assert (len(change.resources), change.removed) == (1, ())
    assert (removal.resources, removal.removed) == ((), ("b",))


@pytest.mark.parametrize("type_url", [CLUSTER, LISTENER])
def test_37_44_a_removal_is_said_once_to_the_wildcard(
    server: Server, envoy: DeltaEnvoy, type_url: TypeUrl
) -> None:
    server.publishes(resource(type_url, "a"), resource(type_url, "b"))
    envoy.asks(type_url)
    server.says(envoy)
    server.publishes(without=[resource(type_url, "a")])
    (removal,) = server.says(envoy)
    assert (removal.resources, removal.removed) == ((), ("a",))
    envoy.acks(removal)
    server.publishes(resource(type_url, "b", "2"))
    (change,) = server.says(envoy)
    assert change.removed == ()


def test_37_a_removal_is_said_once_to_who_has_the_wildcard_and_the_name(
    server: Server, envoy: DeltaEnvoy
) -> None:
    server.publishes(listener("a"), listener("b"))
    envoy.asks(LISTENER, "*", "a")
    server.says(envoy)
    server.publishes(without=[listener("a")])
    assert lines(server.says(envoy)) == ["LDS -a"]


@pytest.mark.parametrize("type_url", MAY_BE_REMOVED)
def test_37_what_was_removed_and_is_back_is_sent_again_though_it_is_the_same(
    server: Server, envoy: DeltaEnvoy, type_url: TypeUrl
) -> None:
    server.publishes(resource(type_url, "a"))
    envoy.asks(type_url, "a")
    server.says(envoy)
    for _ in range(2):
        server.publishes(without=[resource(type_url, "a")])
        (removal,) = server.says(envoy)
        assert (removal.resources, removal.removed) == ((), ("a",))
        server.publishes(resource(type_url, "a"))
        (response,) = server.says(envoy)
        assert ([each.name for each in response.resources], response.removed) == (["a"], ())


def test_37_what_came_and_went_unseen_is_not_said_to_be_removed(
    server: Server, envoy: DeltaEnvoy
) -> None:
    server.publishes(listener("a"))
    envoy.asks(LISTENER)
    server.says(envoy)
    server.publishes(listener("b"))
    server.publishes(without=[listener("b")])
    assert server.says(envoy) == []


def test_37_44_the_removal_of_routes_that_metaprotocol_proxy_may_read_is_never_said(
    server: Server, envoy: DeltaEnvoy
) -> None:
    server.publishes(routes("r"))
    envoy.asks(HTTP_ROUTES, "r")
    server.says(envoy)
    server.publishes(without=[routes("r")])
    assert server.says(envoy) == []
    server.publishes(routes("r"))
    assert server.says(envoy) == []  # it still has them
    server.publishes(routes("r", "2"))
    assert lines(server.says(envoy)) == ["RDS r=2"]


def test_38_unsubscribing_draws_no_response(server: Server, envoy: DeltaEnvoy) -> None:
    server.publishes(routes("r"), routes("s"))
    envoy.asks(HTTP_ROUTES, "r", "s")
    server.says(envoy)
    envoy.drops(HTTP_ROUTES, "r")
    assert server.says(envoy) == []
    server.publishes(routes("r", "2"))
    assert server.says(envoy) == []


@pytest.mark.parametrize("names", [(), ("b",)])
def test_38_unsubscribing_what_was_never_named_is_ignored(
    server: Server, envoy: DeltaEnvoy, names: tuple[str, ...]
) -> None:
    server.publishes(listener("a"), listener("b"))
    envoy.asks(LISTENER, *names)
    server.says(envoy)
    assert envoy.drops(LISTENER, "a", "nobody") == ()
    assert server.says(envoy) == []


@pytest.mark.parametrize("type_url", [CLUSTER, LISTENER])
def test_39_a_name_that_is_given_up_under_a_wildcard_is_sent_again(
    server: Server, envoy: DeltaEnvoy, type_url: TypeUrl
) -> None:
    server.publishes(resource(type_url, "a"), resource(type_url, "b"))
    envoy.asks(type_url, "*", "a")
    server.says(envoy)
    envoy.drops(type_url, "a")
    (response,) = server.says(envoy)
    assert [each.name for each in response.resources] == ["a"]
    envoy.acks(response)
    assert server.says(envoy) == []


def test_39_or_its_removal_if_it_does_not_exist(server: Server, envoy: DeltaEnvoy) -> None:
    server.publishes(listener("b"))
    envoy.asks(LISTENER, "*", "a")
    assert lines(server.says(envoy)) == ["LDS b=1 -a"]
    envoy.drops(LISTENER, "a")
    assert lines(server.says(envoy)) == ["LDS -a"]


def test_31_a_name_that_was_given_up_before_it_was_written_is_not_sent(
    server: Server, envoy: DeltaEnvoy
) -> None:
    server.publishes(routes("r"), routes("s"))
    envoy.asks(HTTP_ROUTES, "r", "s")
    envoy.drops(HTTP_ROUTES, "r")
    assert lines(server.says(envoy)) == ["RDS s=1"]


def test_31_a_name_in_both_lists_is_not_subscribed(server: Server, envoy: DeltaEnvoy) -> None:
    server.publishes(routes("r"))
    envoy.asks(HTTP_ROUTES, "r", drops=("r",))
    assert server.says(envoy) == []


def test_31_a_removal_that_waits_is_not_said_to_who_no_longer_cares(
    server: Server, envoy: DeltaEnvoy
) -> None:
    server.publishes(listener("a"), routes("r"))
    envoy.asks(LISTENER, "a")
    envoy.asks(HTTP_ROUTES, "r")
    server.says(envoy)
    server.publishes(routes("r", "2"), without=[listener("a")])
    assert line(server.says_next(envoy)) == "RDS r=2"
    envoy.drops(LISTENER, "a")
    assert server.says(envoy) == []


def test_29_30_a_name_that_is_asked_for_twice_is_sent_once_and_nothing_else_is(
    server: Server, envoy: DeltaEnvoy
) -> None:
    server.publishes(listener("a"), listener("b"))
    envoy.asks(LISTENER, "a", "a")
    assert lines(server.says(envoy)) == ["LDS a=1"]


def test_30_a_name_that_is_wanted_twice_over_and_held_twice_is_sent_once(server: Server) -> None:
    own, shared = Scope("own"), Scope("shared")
    server.publishes(listener("a", "own"), scope=own)
    server.publishes(listener("a", "shared"), listener("b"), scope=shared)
    envoy = DeltaEnvoy(server, scopes=(own, shared))
    envoy.asks(LISTENER, "*", "a", "b")
    assert lines(server.says(envoy)) == ["LDS a=own b=1"]


def test_18_41_only_what_changed_is_sent_and_only_its_latest_state(
    server: Server, envoy: DeltaEnvoy
) -> None:
    server.publishes(listener("a"), listener("b"), listener("c"))
    envoy.asks(LISTENER)
    server.says(envoy)
    server.publishes(listener("a", "2"))
    server.publishes(listener("a", "3"))
    server.publishes(listener("c", "2"))
    server.publishes(listener("c", "1"))
    assert lines(server.says(envoy)) == ["LDS a=3"]


def test_41_each_resource_has_a_version_of_its_own(server: Server, envoy: DeltaEnvoy) -> None:
    server.publishes(listener("a"), listener("b"))
    envoy.asks(LISTENER)
    (first,) = server.says(envoy)
    one, two = (each.version for each in first.resources)
    server.publishes(listener("b", "2"))
    (second,) = server.says(envoy)
    server.publishes(listener("b", "1"))
    (third,) = server.says(envoy)
    assert [each.version for each in third.resources] == [two]
    assert len({one, two, second.resources[0].version}) == 3


def test_41_both_lists_may_ride_on_an_ack(server: Server, envoy: DeltaEnvoy) -> None:
    server.publishes(thrift_routes("r"), thrift_routes("s"))
    envoy.asks(THRIFT_ROUTES, "r")
    (first,) = server.says(envoy)
    acked, subscribed = envoy.asks(THRIFT_ROUTES, "s", drops=("r",), nonce=first.nonce)
    assert acked == Acked(type_url=THRIFT_ROUTES, nonce=first.nonce)
    assert subscribed == Subscribed(
        type_url=THRIFT_ROUTES,
        added=frozenset({Name("s")}),
        removed=frozenset({Name("r")}),
        wildcard=False,
    )
    assert lines(server.says(envoy)) == ["TRDS s=1"]


@pytest.mark.parametrize("type_url", [CLUSTER, LISTENER])
def test_43_an_initial_wildcard_over_nothing_is_answered_with_nothing(
    server: Server, envoy: DeltaEnvoy, type_url: TypeUrl
) -> None:
    server.publishes()
    envoy.asks(type_url)
    (first,) = server.says(envoy)
    assert (first.type_url, first.resources, first.removed) == (type_url, (), ())
    assert envoy.acks(first) == (Acked(type_url=type_url, nonce=first.nonce),)
    assert server.says(envoy) == []


def test_43_nothing_published_yet_is_silence_and_not_emptiness(
    server: Server, envoy: DeltaEnvoy
) -> None:
    envoy.asks(CLUSTER)
    envoy.asks(ENDPOINTS, "a")
    assert server.says(envoy) == []
    server.publishes(cluster("b"))
    assert lines(server.says(envoy)) == ["CDS b=1", "EDS -a"]


# --- endpoints --------------------------------------------------------------------------------


def test_46_a_changed_cluster_brings_its_endpoints_though_they_did_not_change(
    server: Server, envoy: DeltaEnvoy
) -> None:
    server.publishes(cluster("a"), endpoints("a"), cluster("b"), endpoints("b"))
    envoy.asks(CLUSTER)
    envoy.asks(ENDPOINTS, "a", "b")
    for response in server.says(envoy):
        envoy.acks(response)
    server.publishes(cluster("a", "2"))
    assert lines(server.says(envoy)) == ["CDS a=2", "EDS a=1"]


def test_46_a_client_that_names_its_clusters_gets_endpoints_only_when_it_asks(
    server: Server, envoy: DeltaEnvoy
) -> None:
    server.publishes(cluster("a"), endpoints("a"))
    envoy.asks(CLUSTER, "a")
    assert lines(server.says(envoy)) == ["CDS a=1"]
    envoy.asks(ENDPOINTS, "a")
    assert lines(server.says(envoy)) == ["EDS a=1"]
    server.publishes(cluster("a", "2"))
    assert lines(server.says(envoy)) == ["CDS a=2", "EDS a=1"]


def test_44_46_a_changed_cluster_whose_endpoints_do_not_exist_need_not_wait_for_them(
    server: Server, envoy: DeltaEnvoy
) -> None:
    server.publishes(cluster("a"))
    envoy.asks(CLUSTER)
    envoy.asks(ENDPOINTS, "a")
    assert lines(server.says(envoy)) == ["CDS a=1", "EDS -a"]
    server.publishes(cluster("a", "2"))
    assert lines(server.says(envoy)) == ["CDS a=2", "EDS -a"]


def test_47_routes_follow_a_changed_listener_only_when_they_changed(
    server: Server, envoy: DeltaEnvoy
) -> None:
    server.publishes(listener("l"), routes("r"))
    envoy.asks(LISTENER)
    envoy.asks(HTTP_ROUTES, "r")
    server.says(envoy)
    server.publishes(listener("l", "2"))
    assert lines(server.says(envoy)) == ["LDS l=2"]


# --- what is left to the client, or not offered -----------------------------------------------


def test_49_what_exists_is_answered_at_once(server: Server, envoy: DeltaEnvoy) -> None:
    """Nothing has to happen in between: no clock, no other type, no publication."""
    server.publishes(*(resource(type_url, "a") for type_url in EVERY_TYPE))
    for type_url in EVERY_TYPE:
        envoy.asks(type_url, "a")
        (response,) = server.says(envoy)
        assert (response.type_url, [each.name for each in response.resources]) == (type_url, ["a"])


@pytest.mark.parametrize("type_url", MAY_BE_REMOVED)
def test_36_49_what_does_not_exist_is_said_in_the_same_breath_as_what_does(
    server: Server, envoy: DeltaEnvoy, type_url: TypeUrl
) -> None:
    server.publishes(resource(type_url, "a"))
    envoy.asks(type_url, "a", "absent")
    (response,) = server.says(envoy)
    assert [each.name for each in response.resources] == ["a"]
    assert response.removed == ("absent",)


def test_44_50_no_resource_has_an_alias_or_a_time_to_live_and_none_is_sent_again(
    server: Server, envoy: DeltaEnvoy
) -> None:
    server.publishes(listener("l"), routes("r"))
    envoy.asks(LISTENER)
    envoy.asks(HTTP_ROUTES, "r")
    for response in server.says(envoy):
        envoy.acks(response)
        (wrapper,) = official(response).resources
        assert fields(wrapper) == {"name", "version", "resource"}
    envoy.woken = 0
    server.now += 24 * 3600
    assert (server.says(envoy), envoy.woken) == ([], 0)


@pytest.mark.parametrize("type_url", MAY_BE_REMOVED)
def test_54_an_absent_resource_is_said_to_be_removed_and_no_error_of_it_is_sent(
    server: Server, envoy: DeltaEnvoy, type_url: TypeUrl
) -> None:
    server.publishes()
    envoy.asks(type_url, "absent")
    (response,) = server.says(envoy)
    assert fields(official(response)) == {
        "system_version_info",
        "type_url",
        "nonce",
        "removed_resources",
    }


@pytest.mark.parametrize("names", [(), ("*",)])
def test_52_an_unknown_type_is_met_with_silence_and_hurts_no_other(
    server: Server, envoy: DeltaEnvoy, names: tuple[str, ...]
) -> None:
    server.publishes(listener("l"))
    envoy.asks(TypeUrl("type.googleapis.com/acme.Thing"), *names)
    envoy.asks(LISTENER)
    assert lines(server.says(envoy)) == ["LDS l=1"]


def test_52_a_name_of_an_unknown_type_is_said_to_be_removed_and_hurts_no_other(
    server: Server, envoy: DeltaEnvoy
) -> None:
    server.publishes(listener("l"))
    envoy.asks(TypeUrl("type.googleapis.com/acme.Thing"), "thing")
    envoy.asks(LISTENER)
    listeners, things = server.says(envoy)
    assert line(listeners) == "LDS l=1"
    assert (things.resources, things.removed) == ((), ("thing",))


def test_17_a_wildcard_that_is_given_up_before_it_was_answered_is_not_answered() -> None:
    server = Server()
    server.publishes(listener("l"))
    envoy = DeltaEnvoy(server)
    envoy.asks(LISTENER, "*")
    envoy.drops(LISTENER, "*")
    assert lines(server.says(envoy)) == []


def test_40_what_a_client_brings_along_is_judged_when_there_is_something_to_judge_it_by() -> None:
    server = Server()
    envoy = DeltaEnvoy(server)
    made = thrift_routes("r")
    envoy.asks(THRIFT_ROUTES, "r", has={"r": made.version})
    assert lines(server.says(envoy)) == [], "no scope was composed yet"
    server.publishes(made)
    assert lines(server.says(envoy)) == []
    server.publishes(thrift_routes("r", "2"))
    assert lines(server.says(envoy)) == ["TRDS r=2"]


def test_46_endpoints_that_are_back_before_their_removal_was_written_follow_their_cluster(
    server: Server, envoy: DeltaEnvoy
) -> None:
    server.publishes(cluster("a"), endpoints("a"))
    envoy.asks(CLUSTER, "*")
    envoy.asks(LISTENER, "*")
    envoy.asks(ENDPOINTS, "a")
    server.says(envoy)
    server.publishes(cluster("a", "2"), listener("l"), without=[endpoints("a")])
    assert lines([server.says_next(envoy), server.says_next(envoy)]) == ["CDS a=2", "LDS l=1"]
    server.publishes(endpoints("a"))
    assert lines(server.says(envoy)) == ["EDS a=1"]
