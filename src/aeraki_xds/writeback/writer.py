"""Carries the plan out: the only code that writes into a cluster.

In: plans, and whether we lead. Out: POST, PUT and DELETE, one at a time, and a `WriteState` for
operators. Guaranteed: before each single write we lead, everything that is wanted is known, and the
step is still what is wanted; an update or deletion is on condition that the object is as it was
read; one that fails does not stop the others and is tried again. After a crash between two writes
the next plan is simply shorter.

Why no server-side apply: `objects.updated`.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol

import orjson
import structlog

from aeraki_xds.ingest.kubernetes.client import ApiError, Cluster, ClusterError, Unreachable
from aeraki_xds.pipeline.written import Counts, WriteState
from aeraki_xds.translate.output import MANAGER
from aeraki_xds.writeback.objects import Existing, ObjectId, created, updated
from aeraki_xds.writeback.pace import USUAL, Pace, Rate
from aeraki_xds.writeback.patience import FIRST, SLOW, Patience
from aeraki_xds.writeback.plan import Apply, Plan
from aeraki_xds.writeback.planner import Planner
from aeraki_xds.writeback.refusals import without_secrets

WRITE: Final = 10.0
"""Seconds that a write may take: with the elector's deadline, less than the lease of the lock."""
AGAIN: Final = 2.0
"""Seconds to wait where the API server does not answer."""
SILENCE: Final = "no answer in time"
PASS: Final = 5.0
"""Seconds after which is planned anew, for what was planned first may be out of date."""
WINDOW: Final = 300.0
"""Seconds in which deletions count as one mass deletion."""

Step = Apply | Existing
"""An object to be created or updated, or one to be deleted."""


class Leader(Protocol):
    """Whether we may write; `Election` knows."""

    def is_leader(self) -> bool: ...
    async def changed(self) -> None: ...


class Writer:
    """Writes as long as it leads. `clock` gives monotonic seconds; `is_busy` while a plan is made
    or carried out."""

    def __init__(
        self,
        cluster: Cluster,
        planner: Planner,
        leader: Leader,
        *,
        rate: Rate = USUAL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counts: Final = Counts()
        self.is_busy = False
        self._cluster = cluster
        self._planner = planner
        self._leader = leader
        self._clock = clock
        self._pace = Pace(rate, clock=clock)
        self._patience = Patience(clock=clock)
        self._plan = Plan()
        self._confirmed: frozenset[ObjectId] = frozenset()
        self._deleted: deque[float] = deque()
        self._stopped = ""
        self._log = structlog.get_logger("aeraki_xds.writeback")

    @property
    def state(self) -> WriteState:
        """Where things stand."""
        plan = self._plan
        errors = dict(self._planner.errors)
        if self._stopped:
            errors["API server"] = self._stopped
        return WriteState(
            leads=self._leader.is_leader(),
            complete=self._planner.is_complete,
            pending=sum(1 for _ in self._pending()),
            waiting=tuple(map(str, plan.waiting)),
            digest=plan.digest,
            conflicts=tuple(map(str, plan.conflicts)),
            unclaimed=tuple(map(str, plan.unclaimed)),
            failures={str(each): of.reason for each, of in self._patience.failures.items()},
            errors=errors,
            counts=self.counts,
        )

    def confirm(self, digest: str) -> bool:
        """Agree to the deletions that wait. False, and nothing happens, if these are others."""
        if not digest or digest != self._plan.digest:
            return False
        self._confirmed = frozenset(self._plan.waiting)
        self._log.warning("deletions confirmed", count=len(self._confirmed), digest=digest)
        self._planner.work.set()
        return True

    async def run(self) -> None:
        """Write until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._planner.run())
            tasks.create_task(self._heed_elections())
            tasks.create_task(self._write())

    async def _heed_elections(self) -> None:
        while True:
            await self._leader.changed()
            self._planner.work.set()

    async def _write(self) -> None:
        while True:
            self.is_busy = False
            await self._planner.news(within=self._until_due())
            self.is_busy = True
            await self._decide()
            await self._carry_out()

    def _until_due(self) -> float | None:
        """Seconds until something has to be tried again; None if nothing has."""
        if self._pace.wait:
            return self._pace.wait
        now = self._clock()
        times = [self._patience.next_due({identity for identity, _ in self._pending()})]
        if self._plan.waiting and self._deleted:
            times.append(self._deleted[0] + WINDOW)
        due = min((each for each in times if each is not None), default=None)
        return None if due is None or not self._leader.is_leader() else max(due - now, 0.01)

    async def _decide(self) -> None:
        while self._deleted and self._deleted[0] <= self._clock() - WINDOW:
            self._deleted.popleft()
        before = self._plan
        plan = await self._planner.plan(confirmed=self._confirmed, lately=len(self._deleted))
        self._plan = plan
        self._confirmed &= {each.id for each in plan.deletes}
        self._patience.keep({identity for identity, _ in self._pending()})
        if plan.digest and plan.digest != before.digest:
            self._log.warning(
                "deletions wait for confirmation", count=len(plan.waiting), digest=plan.digest
            )
        for identity in set(plan.conflicts) - set(before.conflicts):
            self._log.error("not written, somebody else's", object=str(identity))

    def _pending(self) -> Iterator[tuple[ObjectId, Step]]:
        yield from ((step.wanted.id, step) for step in self._plan.applies)
        yield from ((step.id, step) for step in self._plan.deletes)

    async def _carry_out(self) -> None:
        """Take the steps that are due. Whoever is not leading, or was told to wait, takes none."""
        since = self._clock()
        for identity, step in self._pending():
            if self._pace.wait or not self._leader.is_leader():
                return
            if self._patience.is_due(identity, _version(step)):
                if self._clock() - since > PASS:
                    self._planner.work.set()
                    return
                await self._pace.turn()
                if not self._leader.is_leader():
                    return
                if self._is_still_due(identity, step):
                    await self._take(identity, step)

    def _is_still_due(self, identity: ObjectId, step: Step) -> bool:
        """Whether a step is what would be planned now, too."""
        if not self._planner.is_complete:
            return False
        found = self._planner.existing(identity)
        match step:
            case Apply():
                wanted = self._planner.wanted_now(identity)
                return wanted == step.wanted.version and found == step.found
            case Existing():
                return found == step and self._planner.may_go(identity)

    async def _take(self, identity: ObjectId, step: Step) -> None:
        version = _version(step)
        try:
            async with asyncio.timeout(WRITE):
                await self._send(identity, step)
        except (ClusterError, TimeoutError) as failure:
            await self._heed(identity, step, failure)
        else:
            self._stopped = ""
            self._patience.tried(identity, version)

    async def _send(self, identity: ObjectId, step: Step) -> None:
        mirror = self._planner.mirrors[identity.kind]
        install, counts = self._planner.install, self.counts
        path = mirror.path(identity.namespace, identity.name)
        query = {"fieldManager": MANAGER}
        match step:
            case Apply(found=None):
                path = mirror.path(identity.namespace)
                body = created(step.wanted, install, mirror.version)
                mirror.note(_read(await self._cluster.send("POST", path, body, query=query)))
                counts.created += 1
            case Apply(found=Existing() as found):
                body = updated(step.wanted, found, install, mirror.version)
                mirror.note(_read(await self._cluster.send("PUT", path, body, query=query)))
                counts.updated += 1
            case Existing():
                await self._cluster.send("DELETE", path, _conditions(step))
                mirror.forget(identity, step.uid)
                counts.deleted += 1
                if identity not in self._confirmed:
                    self._deleted.append(self._clock())
        self._log.info(
            "written" if isinstance(step, Apply) else "deleted",
            object=str(identity),
            fields=list(step.differ[:5]) if isinstance(step, Apply) else [],
        )

    async def _heed(
        self, identity: ObjectId, step: Step, failure: ClusterError | TimeoutError
    ) -> None:
        """What a failure means for this object, and for all."""
        match failure:
            case ApiError(status=404) if isinstance(step, Existing) or step.found is not None:
                gone = step if isinstance(step, Existing) else step.found
                assert gone is not None
                self._planner.mirrors[identity.kind].forget(identity, gone.uid)
            case ApiError(status=409):
                self.counts.conflicts += 1
                await self._look_again(identity, step)
            case ApiError(status=401 | 429):
                self._stop(failure, failure.retry_after or AGAIN)
            case ApiError():
                first = SLOW if failure.status == 404 else failure.retry_after or FIRST
                self._fail(identity, step, str(failure), first)
            case _:  # the server's fault, or this object's alone, which is not to be next again
                self._fail(identity, step, str(failure) or SILENCE, FIRST)
                self._stop(failure, AGAIN)

    def _stop(self, failure: Exception, seconds: float) -> None:
        """Write nothing for a while."""
        reason = str(failure) or SILENCE
        if reason != self._stopped:
            self._log.warning("nothing can be written", reason=reason)
        self._stopped = reason
        self._pace.pause(seconds)

    def _fail(self, identity: ObjectId, step: Step, reason: str, first: float) -> None:
        if isinstance(step, Apply):
            reason = without_secrets(reason, step.wanted.body)
        known = self._patience.failures.get(identity)
        self.counts.failures += 1
        if known is None or known.reason != reason:
            self._log.error("cannot be written", object=str(identity), reason=reason)
        self._patience.failed(identity, _version(step), reason, first)

    async def _look_again(self, identity: ObjectId, step: Step) -> None:
        """Somebody else was faster: read the object, and plan anew."""
        mirror = self._planner.mirrors[identity.kind]
        try:
            async with asyncio.timeout(WRITE):
                raw = _read(await self._cluster.get(mirror.path(identity.namespace, identity.name)))
        except ApiError as failure:
            if failure.status != 404:
                self._fail(identity, step, str(failure), FIRST)
            elif (found := self._planner.existing(identity)) is not None:
                mirror.forget(identity, found.uid)
            return
        except (Unreachable, TimeoutError) as failure:
            self._stop(failure, AGAIN)
            return
        mirror.note(raw)
        if not Existing.of(mirror.kind, raw).is_managed:
            text = f"somebody else's: it has no label manager: {MANAGER}"
            self._fail(identity, step, text, SLOW)
            return
        self._patience.tried(identity, _version(step))


def _version(step: Step) -> str:
    return step.wanted.version if isinstance(step, Apply) else ""


def _conditions(found: Existing) -> bytes:
    """That it is this object, as it was read, which goes."""
    conditions = {"uid": found.uid, "resourceVersion": found.resource_version}
    options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": conditions}
    return orjson.dumps(options)


def _read(body: bytes) -> dict[str, Any]:
    value: dict[str, Any] = orjson.loads(body)
    return value
