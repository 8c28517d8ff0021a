"""Which replica writes: the holder of Aeraki's own lock, so that its Go version never writes too.

In: the ConfigMap of the lock, which every replica reads and tries to update. Out: `is_leader`.
Guaranteed: no two electors lead at the same time as long as no clock runs twice as fast as another.
The record and its annotation are those of client-go's elector in Istio's fork (specification, §5.5
and Appendix A); as there, the times in it are for people only:

- We lead until `renew_deadline - margin` after we *sent* the last update that succeeded, by our
  monotonic clock, whatever has become of the task that renews.
- Another takes over when it has seen the record unchanged for the whole lease, by its own, and its
  update is on condition that the record is still that one.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

import orjson
import structlog

from aeraki_xds.ingest.kubernetes.client import ApiError, ClusterError

LOCK: Final = "aeraki-envoyfilter-controller-election"
ANNOTATION: Final = "control-plane.alpha.kubernetes.io/leader"


_NEVER: Final = float("-inf")


class Api(Protocol):
    """What an elector asks of the API server; `Cluster` is it."""

    async def get(self, path: str) -> bytes: ...
    async def send(self, method: str, path: str, body: bytes | None = None) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds. The lease has to be longer than the deadline by more than a write may take."""

    lease: float = 30.0
    renew_deadline: float = 15.0
    retry: float = 7.5
    margin: float = 2.0

    @property
    def request(self) -> float:
        """How long a request may take: so that one that hangs does not cost the lock."""
        return (self.renew_deadline - self.retry) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Who holds the lock, as the annotation has it."""

    holder: str = ""
    lease_seconds: int = 0
    acquired: str = ""
    renewed: str = ""
    transitions: int = 0

    @classmethod
    def read(cls, text: str) -> Record:
        """Nothing is nobody's. What cannot be read is somebody's: it has to stay unchanged for a
        lease, like any other."""
        if not text:
            return cls()
        try:
            raw = orjson.loads(text)
            return cls(
                holder=str(raw["holderIdentity"]),
                lease_seconds=int(raw.get("leaseDurationSeconds") or 0),
                acquired=str(raw.get("acquireTime") or ""),
                renewed=str(raw.get("renewTime") or ""),
                transitions=int(raw.get("leaderTransitions") or 0),
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            return cls(holder="?")

    def written(self) -> str:
        """Every field that Go writes, in its order; `holderKey` is a priority, which Aeraki's has
        not."""
        fields = {
            "holderIdentity": self.holder,
            "holderKey": "",
            "leaseDurationSeconds": self.lease_seconds,
            "acquireTime": self.acquired,
            "renewTime": self.renewed,
            "leaderTransitions": self.transitions,
        }
        return orjson.dumps(fields).decode()


class Election:
    """One replica's part in the election. `clock` gives monotonic seconds, `now` the time of day.

    `holder` is who had the lock when we last looked, `error` why we could not.
    """

    def __init__(
        self,
        api: Api,
        *,
        namespace: str,
        identity: str,
        timing: Timing = Timing(),
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        name: str = LOCK,
    ) -> None:
        self.identity: Final = identity
        self.holder = ""
        self.error = ""
        self._api = api
        self._folder: Final = f"/api/v1/namespaces/{namespace}/configmaps"
        self._meta: Final = {"name": name, "namespace": namespace}
        self._timing = timing
        self._clock = clock
        self._now = now
        self._stamped = datetime.min.replace(tzinfo=UTC)
        self._leads_until = _NEVER
        self._seen = ""
        self._seen_at = _NEVER
        self._attempts: set[str] = set()  # what we wrote, or may have, without being told
        self._map: dict[str, Any] | None = None
        self._changed = asyncio.Event()
        self._log = structlog.get_logger("aeraki_xds.election")

    def is_leader(self) -> bool:
        """Whether we may write now. To be asked before every single write."""
        return self._clock() < self._leads_until

    async def changed(self) -> None:
        """Wait until leadership was won or given up since this last returned. That it ran out is
        not told: `is_leader` says so."""
        await self._changed.wait()
        self._changed.clear()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Take part meanwhile, and release the lock at the end. What the lock guards has to have
        ended by then."""
        task = asyncio.create_task(self.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled() and (failure := task.exception()):
                raise failure

    async def run(self) -> None:
        """Take part until cancelled; then release the lock, if it is ours."""
        try:
            while True:
                await self._attempt()
                await asyncio.sleep(self._pause())
        finally:
            await self._release()

    def _pause(self) -> float:
        """Seconds to the next attempt: soon where the lock is ours and could not be renewed."""
        retry = self._timing.retry
        if self.error and self.is_leader():
            return retry * random.uniform(0.05, 0.15)
        return retry if self.is_leader() else retry * random.uniform(1.0, 1.2)

    def _lead(self, until: float) -> None:
        """Lead until a time of the clock; tell whether that is news."""
        was, self._leads_until = self.is_leader(), until
        if was == self.is_leader():
            return
        self._log.info("not leader" if was else "leader", identity=self.identity)
        self._changed.set()

    async def _attempt(self) -> None:
        """Renew the lock, or take it where it is free."""
        try:
            await self._acquire_or_renew()
        except (ClusterError, TimeoutError) as failure:
            error = str(failure) or "the API server does not answer"
            if error != self.error:
                self._log.warning("lock not reached", lock=self._meta["name"], reason=error)
            self.error = error
        else:
            self.error = ""

    async def _acquire_or_renew(self) -> None:
        record = await self._look()
        if self._is_ours() or self._is_free(record):
            await self._take(record)
        else:
            self._lead(_NEVER)

    async def _look(self) -> Record:
        """The record, noting since when it is unchanged. Where the ConfigMap is gone, whoever held
        the lock may not know yet: it is as we last saw it."""
        try:
            async with asyncio.timeout(self._timing.request):
                body = await self._api.get(f"{self._folder}/{self._meta['name']}")
        except ApiError as failure:
            if failure.status != 404:
                raise
            self._map = None
            return Record.read(self._seen)
        self._map = orjson.loads(body)
        metadata = self._map["metadata"]
        text = (metadata.get("annotations") or {}).get(ANNOTATION, "")
        if text != self._seen:
            self._seen, self._seen_at = text, self._clock()
        record = Record.read(text)
        self.holder = record.holder
        return record

    def _is_ours(self) -> bool:
        """A record that bears our identity is ours if we wrote it, not our namesake."""
        return self._seen in self._attempts

    def _is_free(self, record: Record) -> bool:
        if not record.holder:
            return True
        lease = max(self._timing.lease, record.lease_seconds)
        return self._clock() >= self._seen_at + lease

    async def _take(self, before: Record) -> None:
        """Write our name, on condition that nobody wrote since we looked."""
        stamp = self._stamp()
        renews = self._is_ours()
        record = Record(
            holder=self.identity,
            lease_seconds=int(self._timing.lease),
            acquired=before.acquired if renews else stamp,
            renewed=stamp,
            transitions=before.transitions + (bool(self._seen) and not renews),
        )
        since = self._clock()
        if await self._write(record):
            self.holder = self.identity
            self._lead(since + self._timing.renew_deadline - self._timing.margin)

    def _stamp(self) -> str:
        """The time of day; always another, for others see by it that we are alive."""
        self._stamped = max(self._now(), self._stamped + timedelta(seconds=1))
        return f"{self._stamped:%Y-%m-%dT%H:%M:%SZ}"

    async def _write(self, record: Record) -> bool:
        """Whether it was written; if not, somebody else was faster. Raises where nobody knows."""
        text = record.written()
        self._attempts.add(text)
        body: dict[str, Any] = self._map or {"apiVersion": "v1", "kind": "ConfigMap"}
        metadata = body.setdefault("metadata", dict(self._meta))
        metadata["annotations"] = (metadata.get("annotations") or {}) | {ANNOTATION: text}
        method, path = "POST", self._folder
        if self._map is not None:
            method, path = "PUT", f"{self._folder}/{self._meta['name']}"
        try:
            async with asyncio.timeout(self._timing.request):
                self._map = orjson.loads(await self._api.send(method, path, orjson.dumps(body)))
        except ApiError as failure:
            if failure.status != 409:
                raise
            self._attempts.discard(text)
            return False
        self._attempts = {text}
        self._seen, self._seen_at = text, self._clock()
        return True

    async def _release(self) -> None:
        """Give the lock up, so that nobody has to wait for the lease to end."""
        if not self.is_leader():
            return
        self._lead(_NEVER)
        stamp = self._stamp()
        before = Record.read(self._seen)
        released = Record(
            holder="",
            lease_seconds=1,
            acquired=stamp,
            renewed=stamp,
            transitions=before.transitions,
        )
        try:
            await self._write(released)
        except (ClusterError, TimeoutError) as failure:
            self._log.warning("lock not released", reason=str(failure))
