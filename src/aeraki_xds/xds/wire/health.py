"""gRPC health (grpc.health.v1.Health): whether each service would answer now.

In: `Readiness`, which whoever knows tells: not before the configuration is synced, no longer once
the server drains. Out: Check, Watch and List, for the overall service "" and every discovery
service. Guaranteed: the answer is that of the moment; a watcher that reads slowly is told the
latest state, not each one; draining is final. Anybody may ask: kubelets and load balancers have no
identity. Messages are made by hand, for grpclib's own health service imports google.protobuf.
Source: github.com/grpc/grpc, doc/health-checking.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from enum import IntEnum
from typing import Final

from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError

from aeraki_xds.xds.field import LENGTH, length_delimited, scan, text, to_text
from aeraki_xds.xds.wire.calls import Call, integer, rpc, services_of
from aeraki_xds.xds.wire.methods import METHODS

HEALTH: Final = "grpc.health.v1.Health"
OVERALL: Final = ""

DISCOVERY_SERVICES: Final = services_of(METHODS)


class ServingStatus(IntEnum):
    """`HealthCheckResponse.ServingStatus`."""

    SERVING = 1
    NOT_SERVING = 2
    SERVICE_UNKNOWN = 3


class Readiness:
    """Whether we serve or are about to stop, and a way to wait until the first changes."""

    def __init__(self) -> None:
        self.serving = False
        self.draining = False
        self._changed = asyncio.Event()

    def set(self, serving: bool) -> None:
        """Say whether we serve. While draining we do not, whatever is said."""
        serving = serving and not self.draining
        if serving != self.serving:
            self.serving = serving
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()

    def drain(self) -> None:
        """Serve no more, for good."""
        self.draining = True
        self.set(False)

    async def other_than(self, seen: bool) -> bool:
        """Wait until it is not as it was seen; what it is then."""
        while self.serving == seen:
            await self._changed.wait()
        return self.serving


class Health:
    """The service."""

    def __init__(
        self, *, readiness: Readiness, services: Iterable[str] = DISCOVERY_SERVICES
    ) -> None:
        self._readiness = readiness
        self._services = (OVERALL, *services)

    def __mapping__(self) -> dict[str, Handler]:
        return {
            f"/{HEALTH}/Check": rpc(self._check, Cardinality.UNARY_UNARY),
            f"/{HEALTH}/Watch": rpc(self._watch, Cardinality.UNARY_STREAM),
            f"/{HEALTH}/List": rpc(self._list, Cardinality.UNARY_UNARY),
        }

    async def _check(self, call: Call) -> None:
        if _service(await call.request()) not in self._services:
            raise GRPCError(Status.NOT_FOUND, "there is no such service here")
        await call.answer(_response(_status(self._readiness.serving)))

    async def _watch(self, call: Call) -> None:
        if _service(await call.request()) not in self._services:
            await call.answer(_response(ServingStatus.SERVICE_UNKNOWN))
            await asyncio.Event().wait()  # no service ever comes; the client ends the call
        serving = self._readiness.serving
        while True:
            await call.answer(_response(_status(serving)))
            serving = await self._readiness.other_than(serving)

    async def _list(self, call: Call) -> None:
        await call.request()
        health = length_delimited(2, _response(_status(self._readiness.serving)))
        await call.answer(
            b"".join(length_delimited(1, text(1, service) + health) for service in self._services)
        )


def _service(request: bytes) -> str:
    """The service of a HealthCheckRequest. Raises MalformedError."""
    service = OVERALL
    for number, wire_type, value in scan(request):
        if number == 1 and wire_type == LENGTH:
            service = to_text(value)
    return service


def _status(serving: bool) -> ServingStatus:
    return ServingStatus.SERVING if serving else ServingStatus.NOT_SERVING


def _response(status: ServingStatus) -> bytes:
    """A HealthCheckResponse."""
    return integer(1, status)
