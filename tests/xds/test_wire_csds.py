"""Client status, asked by grpcio with the official messages, of a hub with fake Envoys."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final

import grpc
import pytest
from envoy.service.status.v3 import csds_pb2, csds_pb2_grpc
from grpclib.exceptions import GRPCError

from aeraki_xds.xds.admission import Node, Peer
from aeraki_xds.xds.field import length_delimited
from aeraki_xds.xds.resource import CLUSTER, ENDPOINTS, HTTP_ROUTES, LISTENER, SECRET
from aeraki_xds.xds.session import Dialect
from aeraki_xds.xds.wire.csds import LONGEST_DETAILS, MOST_MATCHERS, ClientStatus
from tests.xds.dialogue import (
    GLOBAL,
    DeltaEnvoy,
    Envoy,
    Server,
    SotwEnvoy,
    cluster,
    listener,
    resource,
    routes,
)
from tests.xds.services import PATIENCE, Client, refused, serving

SYNCED: Final = csds_pb2.SYNCED
NOT_SENT: Final = csds_pb2.NOT_SENT
STALE: Final = csds_pb2.STALE
ERROR: Final = csds_pb2.ERROR

MakeEnvoy = Callable[..., Envoy]
ENOUGH: Final = 20_000
"""Bytes of an answer in these tests."""


class Operator:
    """Somebody who asks what the clients have."""

    def __init__(self, server: Server, client: Client) -> None:
        self.server = server
        self.client = client
        self.stub: Any = csds_pb2_grpc.ClientStatusDiscoveryServiceStub(client.grpc)
        self.peers: list[Peer] = []
        self.welcome = True

    def admits(self, peer: Peer) -> bool:
        """Whether that peer is let in."""
        self.peers.append(peer)
        return self.welcome

    async def fetches(self, *matchers: dict[str, Any], **fields: Any) -> Any:
        """The answer of FetchClientStatus."""
        request = csds_pb2.ClientStatusRequest(node_matchers=matchers, **fields)
        return await self.client.asks(self.stub.FetchClientStatus, request, timeout=PATIENCE)

    async def streams(self, *requests: Any) -> list[Any]:
        """The answers of one StreamClientStatus."""
        call = self.stub.StreamClientStatus
        return await self.client.asks(lambda: list(call(iter(requests), timeout=PATIENCE)))

    async def sees(self, type_url: str, name: str, node: str = "envoy") -> Any:
        """What there is to say about one resource of one node; there has to be one entry."""
        (config,) = (await self.fetches({"node_id": {"exact": node}})).config
        (found,) = (
            each
            for each in config.generic_xds_configs
            if (each.type_url, each.name) == (type_url, name)
        )
        return found

    async def nodes(self, *matchers: dict[str, Any]) -> list[str]:
        """The ids of the nodes that are shown."""
        return [config.node.id for config in (await self.fetches(*matchers)).config]


@pytest.fixture
async def operator() -> AsyncIterator[Operator]:
    made: list[Operator] = []
    server = Server()
    service = ClientStatus(
        hub=server.hub, allowed=lambda peer: made[0].admits(peer), largest=ENOUGH
    )
    async with serving(service) as client:
        made.append(Operator(server, client))
        yield made[0]


both_dialects = pytest.mark.parametrize("make", [SotwEnvoy, DeltaEnvoy])


def takes(operator: Operator, envoy: Envoy) -> None:
    """The Envoy accepts everything that is due."""
    for response in operator.server.says(envoy):
        envoy.acks(response)


# --- what is said of a resource -----------------------------------------------------------------


@both_dialects
async def test_a_resource_goes_from_not_sent_over_stale_to_synced(
    operator: Operator, make: MakeEnvoy
) -> None:
    envoy = make(operator.server)
    operator.server.publishes(routes("other"))
    envoy.asks(HTTP_ROUTES, "r")
    takes(operator, envoy)
    seen = await operator.sees(HTTP_ROUTES, "r")
    assert (seen.config_status, seen.version_info) == (NOT_SENT, "")

    operator.server.publishes(routes("r"))
    (response,) = operator.server.says(envoy)
    seen = await operator.sees(HTTP_ROUTES, "r")
    assert (seen.config_status, seen.version_info) == (STALE, routes("r").version)

    envoy.acks(response)
    seen = await operator.sees(HTTP_ROUTES, "r")
    assert (seen.config_status, seen.version_info) == (SYNCED, routes("r").version)
    assert not seen.HasField("error_state")


@both_dialects
async def test_a_refusal_is_an_error_until_a_new_version_is_accepted(
    operator: Operator, make: MakeEnvoy
) -> None:
    envoy = make(operator.server)
    operator.server.publishes(routes("r", "bad"), routes("other"))
    envoy.asks(HTTP_ROUTES, "r")
    (response,) = operator.server.says(envoy)
    envoy.nacks(response, "no such cluster")
    seen = await operator.sees(HTTP_ROUTES, "r")
    assert seen.config_status == ERROR
    assert seen.error_state.details == "no such cluster"
    assert seen.error_state.version_info == routes("r", "bad").version

    operator.server.publishes(routes("r", "good"))
    (response,) = operator.server.says(envoy)
    assert (await operator.sees(HTTP_ROUTES, "r")).config_status == STALE
    envoy.acks(response)
    seen = await operator.sees(HTTP_ROUTES, "r")
    assert (seen.config_status, seen.version_info) == (SYNCED, routes("r", "good").version)
    assert not seen.HasField("error_state")


@both_dialects
async def test_of_a_full_state_only_what_is_named_is_an_error(
    operator: Operator, make: MakeEnvoy
) -> None:
    envoy = make(operator.server)
    operator.server.publishes(cluster("a"), cluster("b"))
    envoy.asks(CLUSTER)
    takes(operator, envoy)
    operator.server.publishes(cluster("a", "2"), cluster("b", "2"))
    (response, *_) = operator.server.says(envoy)
    assert response.type_url == CLUSTER
    envoy.nacks(response, "Error adding/updating cluster(s) a: no")
    seen = await operator.sees(CLUSTER, "a")
    assert (seen.config_status, seen.error_state.details) == (
        ERROR,
        "Error adding/updating cluster(s) a: no",
    )
    assert seen.error_state.version_info == cluster("a", "2").version
    seen = await operator.sees(CLUSTER, "b")
    assert (seen.config_status, seen.version_info) == (SYNCED, cluster("b", "2").version)


async def test_beside_a_refused_version_the_one_in_force_is_shown(operator: Operator) -> None:
    envoy = SotwEnvoy(operator.server)
    operator.server.publishes(listener("a"), listener("b"))
    envoy.asks(LISTENER)
    takes(operator, envoy)
    operator.server.publishes(listener("a", "bad"))
    (response,) = operator.server.says(envoy)
    envoy.nacks(response, "a: no")
    operator.server.publishes(listener("b", "2"))
    takes(operator, envoy)
    seen = await operator.sees(LISTENER, "a")
    assert (seen.config_status, seen.version_info) == (ERROR, listener("a").version)
    assert seen.error_state.version_info == listener("a", "bad").version


async def test_a_full_state_that_is_sent_again_is_stale_only_where_it_is_new(
    operator: Operator,
) -> None:
    envoy = SotwEnvoy(operator.server)
    operator.server.publishes(listener("a"))
    envoy.asks(LISTENER)
    takes(operator, envoy)
    operator.server.publishes(listener("b"))
    operator.server.says(envoy)
    assert (await operator.sees(LISTENER, "a")).config_status == SYNCED
    assert (await operator.sees(LISTENER, "b")).config_status == STALE


@both_dialects
async def test_of_what_is_in_flight_nothing_else_is_stale(
    operator: Operator, make: MakeEnvoy
) -> None:
    envoy = make(operator.server)
    operator.server.publishes(routes("a"), routes("b"))
    envoy.asks(HTTP_ROUTES, "a", "b")
    takes(operator, envoy)
    operator.server.publishes(routes("b", "2"))
    operator.server.says(envoy)
    assert (await operator.sees(HTTP_ROUTES, "a")).config_status == SYNCED
    assert (await operator.sees(HTTP_ROUTES, "b")).config_status == STALE


async def test_a_long_error_is_cut_off_between_two_characters(operator: Operator) -> None:
    envoy = SotwEnvoy(operator.server)
    operator.server.publishes(routes("r"))
    envoy.asks(HTTP_ROUTES, "r")
    (response,) = operator.server.says(envoy)
    envoy.nacks(response, "x" + "ü" * LONGEST_DETAILS)
    details = (await operator.sees(HTTP_ROUTES, "r")).error_state.details
    assert details == "x" + "ü" * ((LONGEST_DETAILS - 1) // 2)


@both_dialects
@pytest.mark.parametrize("secret", [SECRET, HTTP_ROUTES])
async def test_no_body_leaves_the_server(operator: Operator, make: MakeEnvoy, secret: Any) -> None:
    envoy = make(operator.server)
    key = resource(secret, "key", "-----BEGIN PRIVATE KEY-----")
    operator.server.publishes(key)
    envoy.asks(secret, "key")
    takes(operator, envoy)
    answer = await operator.fetches(exclude_resource_contents=False)
    assert b"PRIVATE KEY" not in answer.SerializeToString()
    ((seen,),) = (config.generic_xds_configs for config in answer.config)
    assert (seen.name, seen.config_status, seen.version_info) == ("key", SYNCED, key.version)
    assert not seen.HasField("xds_config")


# --- what is said of a node ---------------------------------------------------------------------


async def test_a_node_is_shown_by_its_id_and_cluster_alone(operator: Operator) -> None:
    operator.server.hub.open(
        node=Node(id="envoy", cluster="web", metadata={"TOKEN": "hidden"}, extensions=b"hidden"),
        peer=Peer(address="10.0.0.1:1"),
        scopes=(GLOBAL,),
        dialect=Dialect.SOTW,
        wake=lambda: None,
    )
    answer = await operator.fetches()
    (config,) = answer.config
    assert (config.node.id, config.node.cluster) == ("envoy", "web")
    assert b"hidden" not in answer.SerializeToString()


async def test_without_a_client_there_is_nothing_to_say(operator: Operator) -> None:
    assert list((await operator.fetches()).config) == []


async def test_a_client_that_left_is_not_shown(operator: Operator) -> None:
    envoy = SotwEnvoy(operator.server)
    assert await operator.nodes() == ["envoy"]
    envoy.leaves()
    assert await operator.nodes() == []


async def test_the_streams_of_a_node_are_shown_as_one(operator: Operator) -> None:
    operator.server.publishes(cluster("c"), routes("r"), routes("q"))
    first, second = DeltaEnvoy(operator.server), SotwEnvoy(operator.server)
    first.asks(HTTP_ROUTES, "r", "q")
    second.asks(CLUSTER)
    takes(operator, first)
    takes(operator, second)
    (config,) = (await operator.fetches()).config
    shown = [(each.type_url, each.name) for each in config.generic_xds_configs]
    assert shown == [(CLUSTER, "c"), (HTTP_ROUTES, "q"), (HTTP_ROUTES, "r")]


@pytest.mark.parametrize("refuses", [0, 1])
async def test_a_good_stream_does_not_hide_a_bad_one_of_its_node(
    operator: Operator, refuses: int
) -> None:
    operator.server.publishes(routes("r"))
    envoys = SotwEnvoy(operator.server), SotwEnvoy(operator.server)
    for at, envoy in enumerate(envoys):
        envoy.asks(HTTP_ROUTES, "r")
        (response,) = operator.server.says(envoy)
        if at == refuses:
            envoy.nacks(response, "no")
        else:
            envoy.acks(response)
    assert (await operator.sees(HTTP_ROUTES, "r")).config_status == ERROR


async def test_of_two_streams_that_are_as_well_the_newer_speaks(operator: Operator) -> None:
    operator.server.publishes(routes("r"))
    older = SotwEnvoy(operator.server)
    older.asks(HTTP_ROUTES, "r")
    takes(operator, older)
    operator.server.publishes(routes("r", "2"))
    newer = SotwEnvoy(operator.server)
    newer.asks(HTTP_ROUTES, "r")
    takes(operator, newer)
    assert (await operator.sees(HTTP_ROUTES, "r")).version_info == routes("r", "2").version


async def test_endpoints_that_were_sent_unasked_are_shown(operator: Operator) -> None:
    envoy = SotwEnvoy(operator.server)
    operator.server.publishes(cluster("c"), resource(ENDPOINTS, "c"))
    envoy.asks(CLUSTER)
    operator.server.says(envoy)
    assert (await operator.sees(ENDPOINTS, "c")).config_status == STALE


# --- who is meant -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("matchers", "expected"),
    [
        ([], ["web-1", "web-2", "db-1"]),
        ([{"exact": "web-1"}], ["web-1"]),
        ([{"exact": "web"}], []),
        ([{"exact": ""}], []),
        ([{"prefix": "web-"}], ["web-1", "web-2"]),
        ([{"suffix": "-1"}], ["web-1", "db-1"]),
        ([{"contains": "b-"}], ["web-1", "web-2", "db-1"]),
        ([{"exact": "db-1"}, {"suffix": "2"}], ["web-2", "db-1"]),
    ],
)
async def test_nodes_are_matched_by_their_id(
    operator: Operator, matchers: list[dict[str, str]], expected: list[str]
) -> None:
    for node in ("web-1", "web-2", "db-1"):
        SotwEnvoy(operator.server, node=node)
    assert await operator.nodes(*({"node_id": each} for each in matchers)) == expected


@pytest.mark.parametrize(
    ("matcher", "field"),
    [
        ({}, "node_matchers[1].node_id is needed"),
        ({"node_id": {}}, "node_matchers[1].node_id has no pattern"),
        ({"node_id": {"safe_regex": {"regex": ".*"}}}, "node_matchers[1].node_id.safe_regex"),
        ({"node_id": {"exact": "a", "ignore_case": True}}, "node_matchers[1].node_id.ignore_case"),
        ({"node_id": {"custom": {"name": "x"}}}, "node_matchers[1].node_id.custom"),
        ({"node_metadatas": [{}]}, "node_matchers[1].node_metadatas is not supported"),
        ({"node_id": {"exact": "a"}, "node_metadatas": [{}]}, "node_matchers[1].node_metadatas"),
    ],
)
async def test_what_cannot_be_matched_by_is_invalid_and_named(
    operator: Operator, matcher: dict[str, Any], field: str
) -> None:
    SotwEnvoy(operator.server)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, field):
        await operator.fetches({"node_id": {"exact": "a"}}, matcher)


async def test_more_matchers_than_anybody_needs_are_invalid(operator: Operator) -> None:
    matcher = {"node_id": {"exact": "a"}}
    await operator.fetches(*[matcher] * MOST_MATCHERS)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "node_matchers"):
        await operator.fetches(*[matcher] * (MOST_MATCHERS + 1))


# --- how much, and to whom ----------------------------------------------------------------------


async def test_a_stream_answers_each_request_with_the_state_of_its_moment(
    operator: Operator,
) -> None:
    changed = threading.Event()

    def requests() -> Iterator[Any]:
        yield csds_pb2.ClientStatusRequest()
        assert changed.wait(PATIENCE)
        yield csds_pb2.ClientStatusRequest(node_matchers=[{"node_id": {"prefix": "e"}}])

    call = operator.stub.StreamClientStatus(requests(), timeout=PATIENCE)
    first = await operator.client.asks(next, call)
    assert list(first.config) == []
    SotwEnvoy(operator.server, node="envoy")
    SotwEnvoy(operator.server, node="other")
    changed.set()
    later: list[Any] = await operator.client.asks(list, call)
    assert [[config.node.id for config in each.config] for each in later] == [["envoy"]]


async def test_an_answer_that_would_be_too_large_is_not_begun(operator: Operator) -> None:
    envoy = SotwEnvoy(operator.server, node="large")
    SotwEnvoy(operator.server, node="small")
    sizes = {}
    for names in (1, 2):
        envoy.asks(HTTP_ROUTES, *(f"{at:0100}" for at in range(names)))
        sizes[names] = (await operator.fetches()).ByteSize()
    most = 1 + (ENOUGH - sizes[1]) // (sizes[2] - sizes[1])
    envoy.asks(HTTP_ROUTES, *(f"{at:0100}" for at in range(most)))
    assert ENOUGH * 0.9 < (await operator.fetches()).ByteSize() <= ENOUGH
    envoy.asks(HTTP_ROUTES, *(f"{at:0100}" for at in range(most + 1)))
    with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "node_matchers"):
        await operator.fetches()
    assert await operator.nodes({"node_id": {"exact": "small"}}) == ["small"]


async def test_the_loop_gets_a_turn_after_each_node() -> None:
    server = Server()
    for at in range(50):
        SotwEnvoy(server, node=str(at))
    service = ClientStatus(hub=server.hub, allowed=lambda _: True)
    answering = asyncio.create_task(service._respond(b""))
    turns = 0
    while not answering.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns >= 50


async def test_a_client_that_leaves_meanwhile_does_no_harm() -> None:
    server = Server()
    envoys = [SotwEnvoy(server, node=str(at)) for at in range(3)]
    service = ClientStatus(hub=server.hub, allowed=lambda _: True)
    answering = asyncio.create_task(service._respond(b""))
    await asyncio.sleep(0)
    for envoy in envoys:
        envoy.leaves()
    answer = csds_pb2.ClientStatusResponse.FromString(await answering)
    assert [config.node.id for config in answer.config] == ["0", "1", "2"]


async def test_who_is_not_allowed_is_refused_on_both_rpcs(operator: Operator) -> None:
    operator.welcome = False
    SotwEnvoy(operator.server)
    with refused(grpc.StatusCode.PERMISSION_DENIED):
        await operator.fetches()
    with refused(grpc.StatusCode.PERMISSION_DENIED):
        await operator.streams(csds_pb2.ClientStatusRequest())
    assert [peer.address.split(":")[0] for peer in operator.peers] == ["127.0.0.1"] * 2


async def test_a_matcher_of_a_later_api_is_invalid() -> None:
    service = ClientStatus(hub=Server().hub, allowed=lambda _: True)
    matcher = length_delimited(1, length_delimited(99, b"x"))
    with pytest.raises(GRPCError, match="field 99"):
        await service._respond(length_delimited(1, matcher))
