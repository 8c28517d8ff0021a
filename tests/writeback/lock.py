"""An API server that holds one ConfigMap, on a bad network, in virtual time.

What an elector asks lands after a while or never, is answered after another while or never, and
lands also where who asked has given up by then.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import orjson

from aeraki_xds.ingest.kubernetes.client import ApiError, Unreachable
from aeraki_xds.writeback.election import ANNOTATION, LOCK

NAMESPACE: Final = "istio-system"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trip:
    """How one request fares: seconds on the way there and back, and whether it arrives at all."""

    there: float = 0.0
    back: float = 0.0
    lost: bool = False
    answer_lost: bool = False


class Lock:
    """The server. `trips` are taken one after the other; then all goes well at once."""

    def __init__(self, trips: Iterable[Trip] = ()) -> None:
        self.map: dict[str, Any] | None = None
        self.revision = 0
        self.writes: list[str] = []
        self.on_landing: Callable[[], None] = lambda: None
        self._trips = iter(trips)
        self._server = self

    @property
    def record(self) -> dict[str, Any]:
        """The annotation, as JSON."""
        assert self.map is not None
        found: dict[str, Any] = orjson.loads(self.map["metadata"]["annotations"][ANNOTATION])
        return found

    def put(self, annotation: str) -> None:
        """Somebody writes, and all goes well. What changes nothing is no write."""
        if self.map and self.map["metadata"]["annotations"][ANNOTATION] == annotation:
            return
        self.revision += 1
        metadata = {"name": LOCK, "namespace": NAMESPACE, "resourceVersion": str(self.revision)}
        self.map = {"metadata": metadata | {"annotations": {ANNOTATION: annotation}}}

    def behind(self, trips: Iterable[Trip]) -> Lock:
        """The same lock, for one for whom requests fare otherwise."""
        other = copy.copy(self)
        other._trips, other._server = iter(trips), self
        return other

    async def get(self, path: str) -> bytes:
        return await self._travel(lambda: self._server._get(path))

    async def send(self, method: str, path: str, body: bytes | None = None) -> bytes:
        assert body is not None
        return await self._travel(lambda: self._server._write(method, path, body))

    async def _travel(self, land: Callable[[], bytes]) -> bytes:
        trip = next(self._trips, Trip())
        loop = asyncio.get_running_loop()
        landed: asyncio.Future[bytes] = loop.create_future()

        def arrive() -> None:
            try:
                answer: bytes | ApiError = land()
            except ApiError as failure:
                answer = failure
            self._server.on_landing()
            if landed.done():
                return
            if isinstance(answer, ApiError):
                landed.set_exception(answer)
            else:
                landed.set_result(answer)

        if not trip.lost:
            loop.call_later(trip.there, arrive)
        try:
            answer = await landed
        finally:
            await asyncio.sleep(trip.back)
        if trip.answer_lost:
            raise Unreachable("connection reset")
        return answer

    def _get(self, path: str) -> bytes:
        assert path.endswith(f"/namespaces/{NAMESPACE}/configmaps/{LOCK}")
        if self.map is None:
            raise _refused(404, "NotFound")
        return orjson.dumps(self.map)

    def _write(self, method: str, path: str, body: bytes) -> bytes:
        sent = orjson.loads(body)
        if method == "POST" and self.map is not None:
            raise _refused(409, "AlreadyExists")
        if method == "PUT":
            if self.map is None:
                raise _refused(404, "NotFound")
            if sent["metadata"]["resourceVersion"] != self.map["metadata"]["resourceVersion"]:
                raise _refused(409, "Conflict")
        self.put(sent["metadata"]["annotations"][ANNOTATION])
        self.writes.append(method)
        return orjson.dumps(self.map)


def _refused(status: int, reason: str) -> ApiError:
    return ApiError(status=status, reason=reason, message="")
