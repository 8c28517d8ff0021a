"""gRPC health, asked by grpcio's own client; and the bounds of every call that is not discovery."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpclib.const import Status

from aeraki_xds.xds.field import text
from aeraki_xds.xds.wire.calls import LARGEST_REQUEST
from aeraki_xds.xds.wire.health import Health, Readiness
from tests.xds.services import PATIENCE, Client, ended_with, prefixed, refused, serving, until

ADS: Final = "envoy.service.discovery.v3.AggregatedDiscoveryService"
SERVICES: Final = {
    "",
    ADS,
    "envoy.service.cluster.v3.ClusterDiscoveryService",
    "envoy.service.endpoint.v3.EndpointDiscoveryService",
    "envoy.service.extension.v3.ExtensionConfigDiscoveryService",
    "envoy.service.listener.v3.ListenerDiscoveryService",
    "envoy.service.route.v3.RouteDiscoveryService",
    "envoy.service.runtime.v3.RuntimeDiscoveryService",
    "envoy.service.secret.v3.SecretDiscoveryService",
}
CHECK: Final = "/grpc.health.v1.Health/Check"
WATCH: Final = "/grpc.health.v1.Health/Watch"

SERVING: Final = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN: Final = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class Kubelet:
    """Somebody who probes."""

    def __init__(self, readiness: Readiness, client: Client) -> None:
        self.readiness = readiness
        self.client = client
        self.stub: Any = health_pb2_grpc.HealthStub(client.grpc)

    async def checks(self, service: str = "", **options: Any) -> int:
        """What Check says."""
        request = health_pb2.HealthCheckRequest(service=service)
        answer = await self.client.asks(self.stub.Check, request, timeout=PATIENCE, **options)
        status: int = answer.status
        return status

    def watches(self, service: str = "") -> Watching:
        """A Watch."""
        request = health_pb2.HealthCheckRequest(service=service)
        return Watching(self.client, self.stub.Watch(request, timeout=2 * PATIENCE))

    async def lists(self) -> dict[str, int]:
        """What List says."""
        request = health_pb2.HealthListRequest()
        answer = await self.client.asks(self.stub.List, request, timeout=PATIENCE)
        return {service: each.status for service, each in answer.statuses.items()}


class Watching:
    """A Watch that is under way."""

    def __init__(self, client: Client, call: Any) -> None:
        self.call = call
        self._client = client

    async def hears(self) -> int:
        """The next status."""
        status: int = (await self._client.asks(next, self.call)).status
        return status


@pytest.fixture
async def kubelet() -> AsyncIterator[Kubelet]:
    readiness = Readiness()
    async with serving(Health(readiness=readiness)) as client:
        yield Kubelet(readiness, client)


# --- Check and List -----------------------------------------------------------------------------


@pytest.mark.parametrize("service", sorted(SERVICES))
async def test_a_service_serves_from_the_sync_until_the_drain(
    kubelet: Kubelet, service: str
) -> None:
    assert await kubelet.checks(service) == NOT_SERVING
    kubelet.readiness.set(True)
    assert await kubelet.checks(service) == SERVING
    kubelet.readiness.drain()
    assert await kubelet.checks(service) == NOT_SERVING


async def test_a_publication_while_draining_does_not_serve_again(kubelet: Kubelet) -> None:
    kubelet.readiness.drain()
    kubelet.readiness.set(True)
    assert await kubelet.checks() == NOT_SERVING


async def test_a_service_that_is_not_here_is_not_found(kubelet: Kubelet) -> None:
    kubelet.readiness.set(True)
    with refused(grpc.StatusCode.NOT_FOUND):
        await kubelet.checks("envoy.service.route.v3.VirtualHostDiscoveryService")


async def test_the_list_has_every_discovery_service(kubelet: Kubelet) -> None:
    assert await kubelet.lists() == dict.fromkeys(SERVICES, NOT_SERVING)
    kubelet.readiness.set(True)
    assert await kubelet.lists() == dict.fromkeys(SERVICES, SERVING)


# --- Watch --------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", ["", ADS])
async def test_a_watcher_is_told_the_state_and_every_change(kubelet: Kubelet, service: str) -> None:
    one, two = kubelet.watches(service), kubelet.watches(service)
    for expected in (NOT_SERVING, SERVING, NOT_SERVING, SERVING):
        kubelet.readiness.set(expected == SERVING)
        assert await one.hears() == expected
        assert await two.hears() == expected
    kubelet.readiness.drain()
    assert await one.hears() == await two.hears() == NOT_SERVING


async def test_an_unknown_service_can_be_watched(kubelet: Kubelet) -> None:
    watching = kubelet.watches("nobody")
    assert await watching.hears() == SERVICE_UNKNOWN
    kubelet.readiness.set(True)
    assert await kubelet.checks() == SERVING  # by now an end would have come, on this connection
    assert watching.call.is_active()
    watching.call.cancel()


async def test_a_watcher_that_leaves_is_forgotten(kubelet: Kubelet) -> None:
    watching = kubelet.watches()
    await watching.hears()
    await until(lambda: len(kubelet.readiness._changed._waiters) == 1)
    watching.call.cancel()
    await until(lambda: not kubelet.readiness._changed._waiters)


async def test_to_say_the_same_again_tells_nobody() -> None:
    readiness = Readiness()
    readiness.set(True)
    waiting = asyncio.create_task(readiness.other_than(True))
    await asyncio.sleep(0)
    before = readiness._changed
    readiness.set(True)
    assert readiness._changed is before
    readiness.set(False)
    assert await asyncio.wait_for(waiting, PATIENCE) is False


async def test_a_change_that_is_taken_back_at_once_is_no_change() -> None:
    readiness = Readiness()
    waiting = asyncio.create_task(readiness.other_than(False))
    await asyncio.sleep(0)
    readiness.set(True)
    readiness.set(False)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not waiting.done()
    readiness.set(True)
    assert await asyncio.wait_for(waiting, PATIENCE) is True


# --- what no call may do ------------------------------------------------------------------------


async def sends(client: Client, path: str, payload: bytes) -> tuple[int, str]:
    """How a call ends whose DATA is as given."""
    async with client.raw(path) as stream:
        await stream.send_data(payload, end_stream=True)
        return await ended_with(stream)


@pytest.mark.parametrize("path", [CHECK, WATCH])
@pytest.mark.parametrize(
    ("payload", "status", "message"),
    [
        (prefixed(b"\xff"), Status.INVALID_ARGUMENT, "malformed request"),
        (prefixed(b"\x0a\x02\xff\xfe"), Status.INVALID_ARGUMENT, "malformed request"),
        (prefixed(b"\x0a", size=5), Status.INVALID_ARGUMENT, "the last request is cut off"),
        (prefixed(b"", size=5), Status.INVALID_ARGUMENT, "the last request is cut off"),
        (b"\0\0", Status.INVALID_ARGUMENT, "the last request is cut off"),
        (prefixed(b"", compressed=True), Status.UNIMPLEMENTED, "compressed"),
        (prefixed(b"", size=LARGEST_REQUEST + 1), Status.RESOURCE_EXHAUSTED, "is the most"),
        (prefixed(b"", size=0xFFFFFFFF), Status.RESOURCE_EXHAUSTED, "is the most"),
    ],
    ids=["no field", "no text", "cut off", "no body", "no prefix", "gzip", "too large", "4 GiB"],
)
async def test_what_cannot_be_read_ends_its_call_with_a_reason(
    kubelet: Kubelet, path: str, payload: bytes, status: Status, message: str
) -> None:
    ended, reason = await sends(kubelet.client, path, payload)
    assert ended == status.value
    assert message in reason


async def test_a_call_without_a_request_is_invalid(kubelet: Kubelet) -> None:
    ended = await sends(kubelet.client, CHECK, b"")
    assert ended == (Status.INVALID_ARGUMENT.value, "the call has no request")


async def test_the_largest_request_is_read(kubelet: Kubelet) -> None:
    head = len(text(1, "x" * LARGEST_REQUEST)) - LARGEST_REQUEST
    request = text(1, "x" * (LARGEST_REQUEST - head))
    assert len(request) == LARGEST_REQUEST
    ended, _ = await sends(kubelet.client, CHECK, prefixed(request))
    assert ended == Status.NOT_FOUND.value
