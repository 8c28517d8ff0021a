"""The objects of one kind that bear Aeraki's label, in all namespaces, as they are now.

In: list and watch of the API server. Out: `existing`, up to date within moments, and a sign that
it changed, so that what somebody edits or deletes by hand is repaired (specification, R-12).
Guaranteed: `is_whole` only after a list was read to its end; no error makes anything disappear.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from typing import Any, Final
from urllib.parse import quote

import orjson
import structlog

from aeraki_xds.ingest.kubernetes.client import (
    ApiError,
    Cluster,
    ClusterError,
    Unreachable,
    refusal_of,
)
from aeraki_xds.translate.output import ISTIO, MANAGER
from aeraki_xds.turns import in_turns
from aeraki_xds.writeback.objects import PLURALS, Existing, ObjectId

GROUP: Final = ISTIO.partition("/")[0]
VERSIONS: Final = ("v1", "v1beta1", "v1alpha3")
"""In order of preference; EnvoyFilter is served in the last only."""

_SELECTED: Final = {"labelSelector": f"manager={MANAGER}"}
_PAGE: Final = "500"
_WATCH: Final = 240.0  # seconds until the server ends a watch by itself
_IDLE: Final = 300.0  # … and until one that says nothing is taken for dead
_LONGEST: Final = 30.0  # seconds between two attempts
_GONE: Final = 410


class Mirror:
    """One kind. `error` says why it is not followed at the moment; `version` is the one in which
    the kind is served."""

    def __init__(
        self, cluster: Cluster, kind: str, *, on_change: Callable[[], None], backoff: float = 1.0
    ) -> None:
        self.kind: Final = kind
        self.existing: dict[ObjectId, Existing] = {}
        self.is_whole = False
        self.error = ""
        self.version = VERSIONS[-1]
        self._cluster = cluster
        self._on_change = on_change
        self._backoff = backoff
        self._failures = 0
        self._log = structlog.get_logger("aeraki_xds.writeback")

    def path(self, namespace: str = "", name: str = "") -> str:
        """Where the kind is served, or those of a namespace, or one of it."""
        within = f"/namespaces/{quote(namespace, safe='')}" if namespace else ""
        below = f"/{quote(name, safe='')}" if name else ""
        return f"/apis/{GROUP}/{self.version}{within}/{PLURALS[self.kind]}{below}"

    def note(self, raw: dict[str, Any]) -> None:
        """Take in an object as it was answered, if it is newer than what is known."""
        found = Existing.of(self.kind, raw)
        before = self.existing.get(found.id)
        if before is not None and before.uid == found.uid and _is_older(found, before):
            return
        if found.is_managed:
            self.existing[found.id] = found
        else:
            self.existing.pop(found.id, None)
        self._on_change()

    def forget(self, identity: ObjectId, uid: str) -> None:
        """An object is gone; not the one that came after it under the same name."""
        before = self.existing.get(identity)
        if before is not None and before.uid == uid:
            del self.existing[identity]
            self._on_change()

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            try:
                revision = await self._listed()
                while True:
                    revision = await self._watched(revision)
                    await asyncio.sleep(self._backoff * random.uniform(0.05, 0.1))
            except ClusterError as failure:
                await self._wait(failure)
            except (LookupError, TypeError) as failure:
                await self._wait(Unreachable(f"the answer is no object of Kubernetes: {failure}"))

    async def _wait(self, failure: ClusterError) -> None:
        if isinstance(failure, ApiError) and failure.status == _GONE and not self._failures:
            self._failures += 1
            return  # a list is due, at once
        if str(failure) != self.error:
            self._log.warning("objects not followed", kind=self.kind, reason=str(failure))
        self.error = str(failure)
        pause = min(self._backoff * 2**self._failures, _LONGEST) * random.uniform(0.5, 1.0)
        self._failures = min(self._failures + 1, 10)
        after = failure.retry_after if isinstance(failure, ApiError) else None
        await asyncio.sleep(max(pause, after or 0.0))

    async def _served(self) -> None:
        """Find out the version in which the kind is served."""
        for version in VERSIONS:
            try:
                raw = await self._cluster.get(f"/apis/{GROUP}/{version}")
            except ApiError as failure:
                if failure.status != 404:
                    raise
                continue
            names = {each["name"] for each in _object(raw)["resources"]}
            if PLURALS[self.kind] in names:
                self.version = version
                return
        raise Unreachable(f"{PLURALS[self.kind]}.{GROUP} is not served: is Istio installed?")

    async def _listed(self) -> str:
        """Read all there is; returns the revision from which to watch."""
        await self._served()
        found: dict[ObjectId, Existing] = {}
        query = {**_SELECTED, "limit": _PAGE}
        while True:
            page = _object(await self._cluster.get(self.path(), query))
            async for raw in in_turns(page.get("items") or ()):
                each = Existing.of(self.kind, raw)
                found[each.id] = each
            metadata = page["metadata"]
            if not metadata.get("continue"):
                break
            query["continue"] = metadata["continue"]
        self.existing, self.is_whole = found, True
        self._recovered()
        self._on_change()
        return str(metadata["resourceVersion"])

    def _recovered(self) -> None:
        if self.error:
            self._log.info("objects followed again", kind=self.kind)
        self.error, self._failures = "", 0

    async def _watched(self, revision: str) -> str:
        """Take in what happens after a revision; returns how far that was, when the watch ends."""
        query = {
            **_SELECTED,
            "watch": "1",
            "resourceVersion": revision,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(int(_WATCH * random.uniform(0.8, 1.0))),
        }
        try:
            async with self._cluster.lines(self.path(), query, idle=_IDLE) as lines:
                self._recovered()
                async for event in _events(lines):
                    revision = self._heed(event)
        except Unreachable as failure:
            await self._wait(failure)
        return revision

    def _heed(self, event: dict[str, Any]) -> str:
        """Take in one event; returns its revision. Raises ApiError for an error."""
        raw = event["object"]
        match event["type"]:
            case "ERROR":
                raise refusal_of(raw)
            case "ADDED" | "MODIFIED":
                self.note(raw)
            case "DELETED":
                gone = Existing.of(self.kind, raw)
                self.forget(gone.id, gone.uid)
        return str(raw["metadata"]["resourceVersion"])


def _is_older(one: Existing, other: Existing) -> bool:
    """Revisions of one kind are numbers that grow (Kubernetes, "Resource versions"); where they are
    none, the latest that came is the newest."""
    numbers = one.resource_version, other.resource_version
    return all(each.isdecimal() for each in numbers) and int(numbers[0]) < int(numbers[1])


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as failure:
        raise Unreachable("the answer is no JSON") from failure
    if not isinstance(value, dict):
        raise Unreachable("the answer is no object")
    return value


async def _events(lines: AsyncIterator[bytes]) -> AsyncIterator[dict[str, Any]]:
    async for line in lines:
        yield _object(line)
