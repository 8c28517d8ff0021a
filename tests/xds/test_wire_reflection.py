"""gRPC reflection, asked by grpcio's own client, and held against the official descriptors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from importlib import import_module
from typing import Any, Final

import grpc
import pytest
from envoy.service.discovery.v3 import ads_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError

from aeraki_xds.xds.admission import Peer
from aeraki_xds.xds.wire import calls
from aeraki_xds.xds.wire.calls import Call, rpc, services_of
from aeraki_xds.xds.wire.csds import CLIENT_STATUS
from aeraki_xds.xds.wire.health import DISCOVERY_SERVICES, HEALTH, Health, Readiness
from aeraki_xds.xds.wire.methods import METHODS
from aeraki_xds.xds.wire.reflection import REFLECTION, Descriptors, Reflection
from tests.xds.services import PATIENCE, Client, ended_with, prefixed, refused, serving

ADS: Final = "envoy.service.discovery.v3.AggregatedDiscoveryService"
MOUNTED: Final = (*DISCOVERY_SERVICES, HEALTH, CLIENT_STATUS)
CSDS_PATHS: Final = tuple(
    f"/{CLIENT_STATUS}/{method}" for method in ("StreamClientStatus", "FetchClientStatus")
)
OFFICIAL: Final = descriptor_pool.Default()
for _module in ("status.v3.csds", "cluster.v3.cds", "endpoint.v3.eds", "listener.v3.lds",
                "route.v3.rds", "secret.v3.sds", "runtime.v3.rtds",
                "extension.v3.config_discovery"):  # fmt: skip
    import_module(f"envoy.service.{_module}_pb2")


class Explorer:
    """Somebody with grpcurl."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.peers: list[Peer] = []
        self.welcome = True

    def admits(self, peer: Peer) -> bool:
        """Whether that peer is let in."""
        self.peers.append(peer)
        return self.welcome

    async def pool(self) -> Any:
        """A pool that asks for what it does not know."""
        return descriptor_pool.DescriptorPool(await self.database())

    async def database(self) -> Any:
        """The official client's end."""
        return ProtoReflectionDescriptorDatabase(self.client.grpc)

    async def asks(self, *requests: dict[str, Any], service: str = REFLECTION[0]) -> list[Any]:
        """One stream with these requests, and all its answers."""
        method = self.client.grpc.stream_stream(
            f"/{service}/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        messages = [reflection_pb2.ServerReflectionRequest(**fields) for fields in requests]
        return await self.client.asks(lambda: list(method(iter(messages), timeout=PATIENCE)))


@pytest.fixture
async def explorer() -> AsyncIterator[Explorer]:
    made: list[Explorer] = []
    reflection = Reflection(
        services=MOUNTED,
        allowed=lambda peer: made[0].admits(peer),
        descriptors=Descriptors.of_all_services(),
    )
    async with serving(reflection, Health(readiness=Readiness())) as client:
        made.append(Explorer(client))
        yield made[0]


def described() -> list[Any]:
    """Every file that the package carries."""
    descriptors = Descriptors.of_all_services()
    return [
        descriptor_pb2.FileDescriptorProto.FromString(file.encoded)
        for file in descriptors._files.values()
    ]


# --- the official client ------------------------------------------------------------------------


async def test_the_services_are_those_that_are_mounted(explorer: Explorer) -> None:
    database = await explorer.database()
    services = await explorer.client.asks(database.get_services)
    assert services == sorted({*MOUNTED, *REFLECTION})
    assert ADS in services


async def test_a_client_finds_what_an_rpc_takes_and_gives(explorer: Explorer) -> None:
    pool = await explorer.pool()
    service = await explorer.client.asks(pool.FindServiceByName, ADS)
    method = service.methods_by_name["StreamAggregatedResources"]
    assert method.input_type.full_name == "envoy.service.discovery.v3.DiscoveryRequest"
    assert method.output_type.full_name == "envoy.service.discovery.v3.DiscoveryResponse"
    official = ads_pb2.DESCRIPTOR.services_by_name["AggregatedDiscoveryService"]
    request = official.methods_by_name["StreamAggregatedResources"].input_type
    assert set(method.input_type.fields_by_name) == set(request.fields_by_name)
    node = method.input_type.fields_by_name["node"].message_type
    assert node.fields_by_name["locality"].message_type.fields_by_name["zone"].number == 2


async def test_a_call_can_be_made_from_what_reflection_says_alone(explorer: Explorer) -> None:
    pool = await explorer.pool()
    service = await explorer.client.asks(pool.FindServiceByName, HEALTH)
    check = service.methods_by_name["Check"]
    request = message_factory.GetMessageClass(check.input_type)(service=ADS)
    answer = message_factory.GetMessageClass(check.output_type)
    call = explorer.client.grpc.unary_unary(
        f"/{HEALTH}/Check",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=answer.FromString,
    )
    said = await explorer.client.asks(call, request, timeout=PATIENCE)
    assert said.status == health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.mark.parametrize(
    ("symbol", "file"),
    [
        ("envoy.service.discovery.v3.DiscoveryRequest", "envoy/service/discovery/v3/discovery"),
        (
            "envoy.service.discovery.v3.DiscoveryRequest.type_url",
            "envoy/service/discovery/v3/discovery",
        ),
        (
            "envoy.service.status.v3.ClientConfig.GenericXdsConfig",
            "envoy/service/status/v3/csds",
        ),
        ("envoy.service.status.v3.PerXdsConfig.per_xds_config", "envoy/service/status/v3/csds"),
        ("envoy.service.status.v3.ConfigStatus", "envoy/service/status/v3/csds"),
        ("envoy.service.status.v3.SYNCED", "envoy/service/status/v3/csds"),
        ("grpc.health.v1.HealthCheckResponse.SERVING", "grpc/health/v1/health"),
        ("google.protobuf.NULL_VALUE", "google/protobuf/struct"),
        (ADS, "envoy/service/discovery/v3/ads"),
        (f"{ADS}.DeltaAggregatedResources", "envoy/service/discovery/v3/ads"),
        (REFLECTION[0], "grpc/reflection/v1/reflection"),
        (REFLECTION[1], "grpc/reflection/v1alpha/reflection"),
    ],
)
async def test_every_sort_of_symbol_leads_to_its_file(
    explorer: Explorer, symbol: str, file: str
) -> None:
    database = await explorer.database()
    found = await explorer.client.asks(database.FindFileContainingSymbol, symbol)
    assert found.name == f"{file}.proto"


@pytest.mark.parametrize("symbol", ["", "Nothing", "envoy", ADS + ".FetchAggregatedResources"])
async def test_an_unknown_symbol_is_not_found(explorer: Explorer, symbol: str) -> None:
    (answer,) = await explorer.asks({"file_containing_symbol": symbol})
    assert answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


async def test_a_file_comes_first_and_with_all_that_it_imports(explorer: Explorer) -> None:
    name = "envoy/service/discovery/v3/ads.proto"
    (answer,) = await explorer.asks({"file_by_filename": name})
    files = parsed(answer)
    assert files[0].name == name
    names = [file.name for file in files]
    assert len(set(names)) == len(names)
    assert {imported for file in files for imported in file.dependency} <= set(names)
    assert "google/protobuf/any.proto" in names
    assert "envoy/service/status/v3/csds.proto" not in names


def parsed(answer: Any) -> list[Any]:
    """The files of an answer."""
    encoded = answer.file_descriptor_response.file_descriptor_proto
    return [descriptor_pb2.FileDescriptorProto.FromString(each) for each in encoded]


async def test_what_is_not_there_is_not_found_by_the_official_client(explorer: Explorer) -> None:
    database = await explorer.database()
    for ask in (
        database.FindFileByName,
        database.FindFileContainingSymbol,
        database.FindAllExtensionNumbers,
    ):
        with pytest.raises(KeyError):
            await explorer.client.asks(ask, "nothing.Nothing")


async def test_an_extension_is_not_found(explorer: Explorer) -> None:
    extension = {"containing_type": "google.protobuf.Any", "extension_number": 1}
    (answer,) = await explorer.asks({"file_containing_extension": extension})
    assert answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


async def test_a_message_has_no_extensions(explorer: Explorer) -> None:
    (answer,) = await explorer.asks({"all_extension_numbers_of_type": "google.protobuf.Any"})
    assert answer.WhichOneof("message_response") == "all_extension_numbers_response"
    assert answer.all_extension_numbers_response.base_type_name == "google.protobuf.Any"
    assert not answer.all_extension_numbers_response.extension_number


@pytest.mark.parametrize("service", REFLECTION)
async def test_a_stream_answers_each_request_in_turn(explorer: Explorer, service: str) -> None:
    requests = (
        {"list_services": "", "host": "here"},
        {"host": "there"},
        {"file_containing_symbol": "x" * 1000},
        {"file_by_filename": "google/protobuf/any.proto"},
    )
    answers = await explorer.asks(*requests, service=service)
    assert [answer.WhichOneof("message_response") for answer in answers] == [
        "list_services_response", "error_response", "error_response", "file_descriptor_response",
    ]  # fmt: skip
    assert [answer.valid_host for answer in answers] == ["here", "there", "", ""]
    for answer, request in zip(answers, requests, strict=True):
        assert answer.original_request == reflection_pb2.ServerReflectionRequest(**request)
    assert answers[1].error_response.error_code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert len(answers[2].error_response.error_message) < 250


# --- who may ask, and how much ------------------------------------------------------------------


@pytest.mark.parametrize("service", REFLECTION)
async def test_who_is_not_allowed_is_refused(explorer: Explorer, service: str) -> None:
    explorer.welcome = False
    with refused(grpc.StatusCode.PERMISSION_DENIED):
        await explorer.asks({"list_services": ""}, service=service)
    (peer,) = explorer.peers
    assert peer.address.startswith("127.0.0.1:")


class Mutual:
    """A call over mutual TLS, as far as it says who calls."""

    def __init__(self, uri: str) -> None:
        self.peer = self
        self._uri = uri

    def addr(self) -> tuple[str, int]:
        """The other end."""
        return "10.0.0.1", 1234

    def cert(self) -> dict[str, Any]:
        """As `getpeercert()` has it."""
        return {
            "subjectAltName": (("URI", self._uri),),
            "notAfter": "Jan  1 00:00:00 2999 GMT",
        }


async def test_over_mutual_tls_the_identity_decides() -> None:
    served: list[Call] = []
    peers: list[Peer] = []

    async def serve(call: Call) -> None:
        served.append(call)

    def is_system(peer: Peer) -> bool:
        peers.append(peer)
        return peer.identity is not None and peer.identity.namespace == "aeraki-system"

    handle: Any = rpc(serve, Cardinality.UNARY_UNARY, allowed=is_system).func
    await handle(Mutual("spiffe://cluster.local/ns/aeraki-system/sa/operator"))
    assert len(served) == 1
    for uri in ("spiffe://cluster.local/ns/shop/sa/web", "https://nobody"):
        with pytest.raises(GRPCError) as failure:
            await handle(Mutual(uri))
        assert failure.value.status is Status.PERMISSION_DENIED
    assert len(served) == 1
    assert [peer.address for peer in peers] == ["10.0.0.1:1234"] * 2


async def test_who_does_not_read_is_let_go(
    explorer: Explorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "SEND_DEADLINE", 0.05)
    request = reflection_pb2.ServerReflectionRequest(file_containing_symbol=ADS)
    path = f"/{REFLECTION[0]}/ServerReflectionInfo"
    async with explorer.client.raw(path, window=65_535) as stream:
        await stream.send_data(prefixed(request.SerializeToString()) * 20, end_stream=True)
        ended = await ended_with(stream)
    assert ended == (Status.UNAVAILABLE.value, "nothing was read for 0.05 seconds")


class Buffered:
    """A stream whose client has sent everything at once: reading from it never waits."""

    def __init__(self, payload: bytes) -> None:
        self._stream: Any = self
        self._left = payload

    async def recv_data(self, size: int) -> bytes:
        taken, self._left = self._left[:size], self._left[size:]
        return taken


async def test_the_loop_gets_a_turn_between_two_requests() -> None:
    turns: list[int] = []
    requests: list[bytes] = []

    async def somebody_else() -> None:
        while not turns or turns[-1] < 100:
            turns.append(len(requests))
            await asyncio.sleep(0)

    other = asyncio.create_task(somebody_else())
    buffered: Any = Buffered(prefixed(b"x") * 100)
    async for request in Call(buffered).requests():
        requests.append(request)  # noqa: PERF401 (the other one looks at it meanwhile)
    await other
    assert requests == [b"x"] * 100
    assert turns == list(range(1, 101))


# --- the descriptors ----------------------------------------------------------------------------


def test_the_descriptors_say_what_is_served_and_nothing_else() -> None:
    health = Health(readiness=Readiness()).__mapping__()
    reflection = Reflection(
        services=(), allowed=lambda _: True, descriptors=Descriptors(b"")
    ).__mapping__()
    paths = [
        f"/{file.package}.{service.name}/{method.name}"
        for file in described()
        for service in file.service
        for method in service.method
    ]
    assert sorted(paths) == sorted([*METHODS, *health, *reflection, *CSDS_PATHS])
    assert set(services_of(paths)) == {*MOUNTED, *REFLECTION}


def test_the_descriptors_are_small_and_complete() -> None:
    files = described()
    names = [file.name for file in files]
    assert sum(file.ByteSize() for file in files) < 60_000
    for at, file in enumerate(files):
        assert set(file.dependency) <= set(names[:at]), f"{file.name} needs what comes later"


def test_the_descriptors_are_the_official_ones() -> None:
    pool = descriptor_pool.DescriptorPool()
    for file in described():
        pool.Add(file)
    ours = {file.name: pool.FindFileByName(file.name) for file in described()}
    compared = 0
    for file in ours.values():
        for message in messages(file.message_types_by_name.values()):
            name = message.full_name.replace("grpc.reflection.v1.", "grpc.reflection.v1alpha.")
            assert fields(message) == fields(OFFICIAL.FindMessageTypeByName(name))
            compared += 1
    assert compared > 100


def messages(of: Iterable[Any]) -> Iterator[Any]:
    """Message types and all that nest in them."""
    for message in of:
        yield message
        yield from messages(message.nested_types)


def fields(message: Any) -> dict[str, tuple[Any, ...]]:
    """What makes up the wire format and the JSON of a message."""
    return {
        field.name: (
            field.number,
            field.type,
            field.is_repeated,
            field.is_packed,
            field.json_name,
            field.containing_oneof.name if field.containing_oneof else None,
            field.has_presence,
            _type_name(field),
        )
        for field in message.fields
    }


def _type_name(field: Any) -> Any:
    if field.message_type:
        name = field.message_type.full_name.replace("reflection.v1.", "reflection.v1alpha.")
        return name, field.message_type.GetOptions().map_entry
    if field.enum_type:
        return field.enum_type.full_name, [(v.name, v.number) for v in field.enum_type.values]
    return None
