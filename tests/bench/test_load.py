"""What streams of a load ask for, read by the official classes and by our own server."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain

import pytest
from envoy.service.discovery.v3 import discovery_pb2

from aeraki_xds.bench.ask import Ask, path_of
from aeraki_xds.bench.connection import version_and_nonce
from aeraki_xds.bench.fleet import _shares
from aeraki_xds.bench.load import Load, Node
from aeraki_xds.xds import CLUSTER, HTTP_ROUTES, THRIFT_ROUTES
from aeraki_xds.xds.field import length_delimited
from aeraki_xds.xds.session import Dialect
from aeraki_xds.xds.wire.node import read_node

LOAD = Load(host="127.0.0.1", port=1, streams=6, name="svc-{n}", services=4)


def names(load: Load) -> list[tuple[str, ...]]:
    return [ask.names for ask in load.asks(0, load.streams)]


def test_streams_ask_for_one_name_after_the_other_and_begin_again() -> None:
    assert list(chain(*names(LOAD))) == ["svc-0", "svc-1", "svc-2", "svc-3", "svc-0", "svc-1"]


def test_a_stream_may_ask_for_several_and_the_next_for_those_that_follow() -> None:
    asked = names(replace(LOAD, streams=2, names_each=3))
    assert asked == [("svc-0", "svc-1", "svc-2"), ("svc-3", "svc-0", "svc-1")]


def test_without_a_name_it_is_the_wildcard() -> None:
    assert names(replace(LOAD, name="", streams=1)) == [()]


def test_streams_of_one_connection_are_of_one_client() -> None:
    asked = replace(LOAD, per_connection=3).asks(0, 6)
    assert [ask.node_id for ask in asked[:3]] == [asked[0].node_id] * 3
    assert asked[3].node_id == asked[5].node_id != asked[0].node_id


def test_a_part_of_the_asks_is_what_it_is_of_the_whole() -> None:
    load = replace(LOAD, per_connection=2)
    assert load.asks(2, 4) == load.asks(0, 6)[2:]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_generators_share_all_streams_and_all_that_are_deaf(count: int) -> None:
    load = replace(LOAD, streams=29, per_connection=3, deaf=4)
    shares = _shares(load, count)
    assert [share["first"] for share in shares] == [
        sum(share["streams"] for share in shares[:n]) for n in range(count)
    ]
    assert sum(share["streams"] for share in shares) == 29
    assert sum(share["deaf"] for share in shares) == 4
    assert all(share["first"] % 3 == 0 for share in shares)


@pytest.mark.parametrize(
    ("node", "size"), [(Node.ID, 54), (Node.SMALL, 2_000), (Node.ENVOY, 61_000)]
)
def test_the_first_request_is_what_the_official_classes_read(node: Node, size: int) -> None:
    (ask,) = replace(LOAD, node=node, namespace="shop").asks(0, 1)
    request = discovery_pb2.DiscoveryRequest.FromString(ask.first(ask.node_id))
    assert request.node.id == "sidecar~10.0.0.1~bench-0.shop~shop.svc.cluster.local"
    assert (request.type_url, list(request.resource_names)) == (HTTP_ROUTES, ["svc-0"])
    assert request.node.ByteSize() == pytest.approx(size, rel=0.2)
    if node is not Node.ID:
        assert request.node.metadata["NAMESPACE"] == "shop"


def test_an_envoys_node_says_what_it_can_do_and_is_ours_to_read() -> None:
    (ask,) = replace(LOAD, node=Node.ENVOY, namespace="shop").asks(0, 1)
    raw = discovery_pb2.DiscoveryRequest.FromString(ask.first("a")).node.SerializeToString()
    node = read_node(memoryview(raw))
    assert node.metadata["NAMESPACE"] == "shop"
    assert len(node.extensions) > 50_000


def test_a_first_delta_request_is_what_the_official_classes_read() -> None:
    (ask,) = replace(LOAD, delta=True).asks(1, 1)
    request = discovery_pb2.DeltaDiscoveryRequest.FromString(ask.first("a"))
    assert request.node.id == "a"
    assert (request.type_url, list(request.resource_names_subscribe)) == (HTTP_ROUTES, ["svc-1"])


def test_a_type_is_asked_for_where_it_is_served() -> None:
    routes = path_of(HTTP_ROUTES, Dialect.SOTW)
    assert routes == "/envoy.service.route.v3.RouteDiscoveryService/StreamRoutes"
    deltas = path_of(CLUSTER, Dialect.DELTA)
    assert deltas == "/envoy.service.cluster.v3.ClusterDiscoveryService/DeltaClusters"
    aggregated = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
    assert path_of(THRIFT_ROUTES, Dialect.DELTA) == aggregated
    assert path_of(CLUSTER, Dialect.DELTA, aggregated=True) == aggregated


# --- ACKs ---------------------------------------------------------------------------------------


def prefixed(message: bytes) -> bytes:
    return len(message).to_bytes(5, "big") + message


@pytest.mark.parametrize("size", [0, 1, 127, 128, 20_000])
def test_version_and_nonce_are_found_whatever_is_between_them(size: int) -> None:
    response = discovery_pb2.DiscoveryResponse(version_info="v7", type_url="t", nonce="n9")
    response.resources.add(type_url="t", value=b"\x2a\x02xx" * size)
    response.canary = True
    response.control_plane.identifier = "c"
    assert version_and_nonce(prefixed(response.SerializeToString())) == (b"v7", b"n9")


def test_of_a_field_that_comes_twice_the_last_counts() -> None:
    twice = length_delimited(5, b"first") + length_delimited(1, b"v") + length_delimited(5, b"last")
    assert version_and_nonce(prefixed(twice)) == (b"v", b"last")


def test_an_ack_in_either_dialect_is_what_the_official_classes_read() -> None:
    ask = Ask(path=path_of(HTTP_ROUTES, Dialect.SOTW), type_url=HTTP_ROUTES, names=("a", "b"))
    version, nonce = ask.ack()
    ack = discovery_pb2.DiscoveryRequest.FromString(version + b"\x02v7" + nonce + b"\x02n9")
    assert (ack.version_info, ack.response_nonce) == ("v7", "n9")
    assert (ack.type_url, list(ack.resource_names)) == (HTTP_ROUTES, ["a", "b"])
    version, nonce = replace(ask, path=path_of(HTTP_ROUTES, Dialect.DELTA)).ack()
    delta = discovery_pb2.DeltaDiscoveryRequest.FromString(version + nonce + b"\x02n9")
    assert (delta.type_url, delta.response_nonce) == (HTTP_ROUTES, "n9")
    assert not delta.resource_names_subscribe
