"""The plan of this moment, for who carries it out and for who only prints it.

In: what the pipeline wants, and the mirrors of what is there. Out: a `Plan`. Guaranteed: an object
is compared again only when one of its sides changed, and ten thousand hold nobody up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from aeraki_xds.encode import unpacked
from aeraki_xds.ingest.kubernetes.client import Cluster
from aeraki_xds.pipeline.desired import Desired
from aeraki_xds.translate.output import ISTIO
from aeraki_xds.turns import in_turns
from aeraki_xds.writeback.mirror import Mirror
from aeraki_xds.writeback.objects import PLURALS, Existing, Install, ObjectId, Wanted
from aeraki_xds.writeback.plan import Inputs, Plan, compared, plan_of, protected
from aeraki_xds.xds.resource import Name, Resource, ResourceId, TypeUrl

BREATH: Final = 0.2
"""Seconds between two plans, at least: each looks at every object."""


class Planner:
    """`any_order`: whether matchers may be in any (M-13), as under Aeraki's profile. `work` is set
    when there may be something new to plan."""

    def __init__(
        self, cluster: Cluster, desired: Desired, install: Install, *, any_order: bool
    ) -> None:
        self.install: Final = install
        self.work: Final = asyncio.Event()
        self.work.set()
        self.mirrors: Final = {
            kind: Mirror(cluster, kind, on_change=self.work.set) for kind in PLURALS
        }
        self.wanted: dict[ObjectId, Wanted] = {}
        self._desired = desired
        self._heeded_at = float("-inf")
        self._any_order = any_order
        self._taken: dict[ResourceId, tuple[Resource, Wanted]] = {}
        self._was_wanted: set[ObjectId] = set()
        self._compared: dict[ObjectId, tuple[str, str, tuple[str, ...]]] = {}

    @property
    def is_complete(self) -> bool:
        """Whether both sides are known, so that something may be written."""
        return self._desired.complete and all(each.is_whole for each in self.mirrors.values())

    @property
    def errors(self) -> dict[str, str]:
        """Why kinds are not followed, for those that are not."""
        return {kind: each.error for kind, each in self.mirrors.items() if each.error}

    def existing(self, identity: ObjectId) -> Existing | None:
        """An object as it is now."""
        return self.mirrors[identity.kind].existing.get(identity)

    def may_go(self, identity: ObjectId) -> bool:
        """Whether nobody wants an object at this moment, nor stands on it."""
        if self.wanted_now(identity) is not None:
            return False
        return not identity.name.startswith(protected(self._desired.standing))

    def wanted_now(self, identity: ObjectId) -> str | None:
        """The version in which an object is wanted at this moment; None if it is not."""
        kind, namespace, name = identity
        key = ResourceId(TypeUrl(f"{ISTIO}/{kind}"), Name(f"{namespace}/{name}"))
        resource = self._desired.objects.get(key)
        return None if resource is None else resource.version

    async def news(self, *, within: float | None = None) -> None:
        """Wait until there may be something new to plan, at most so many seconds. After quiet that
        is at once, otherwise every now and then."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(within):
                await self.work.wait()
            await asyncio.sleep(self._heeded_at + BREATH - loop.time())
        except TimeoutError:
            pass
        self.work.clear()
        self._heeded_at = loop.time()

    async def run(self) -> None:
        """Follow both sides until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for mirror in self.mirrors.values():
                tasks.create_task(mirror.run())
            tasks.create_task(self._follow())

    async def _follow(self) -> None:
        while True:
            await self._desired.changed()
            self.work.set()

    async def plan(self, *, confirmed: frozenset[ObjectId] = frozenset(), lately: int = 0) -> Plan:
        """What is to be written now; nothing while something is not known."""
        if not self.is_complete:
            return Plan()
        await self._take()
        async for identity in in_turns(tuple(self.wanted)):
            if (found := self.existing(identity)) is not None:
                self._compare(self.wanted[identity], found)
        existing: Mapping[ObjectId, Existing] = {
            identity: found
            for mirror in self.mirrors.values()
            for identity, found in mirror.existing.items()
        }
        self._was_wanted &= self.wanted.keys() | existing.keys()
        inputs = Inputs(
            wanted=self.wanted,
            existing=existing,
            install=self.install,
            complete=self.is_complete,
            standing=self._desired.standing,
            was_wanted=frozenset(self._was_wanted),
            confirmed=confirmed,
            lately=lately,
        )
        # In a thread: it looks at every object in one go, and everything is compared by now.
        return await asyncio.to_thread(plan_of, inputs, self._compare)

    async def _take(self) -> None:
        """Take in what is wanted now, unpacking what is new."""
        taken: dict[ResourceId, tuple[Resource, Wanted]] = {}
        async for identity, resource in in_turns(tuple(self._desired.objects.items())):
            before = self._taken.get(identity)
            same = before is not None and before[0] is resource
            taken[identity] = before if before and same else (resource, _wanted(resource))
        self._taken = taken
        self.wanted = {wanted.id: wanted for _, wanted in taken.values()}
        self._was_wanted |= self.wanted.keys()
        for gone in self._compared.keys() - self.wanted.keys():
            del self._compared[gone]

    def _compare(self, wanted: Wanted, found: Existing) -> tuple[str, ...]:
        version, revision, paths = self._compared.get(wanted.id, ("", "", ()))
        if (version, revision) != (wanted.version, found.resource_version):
            paths = compared(wanted, found, any_order=self._any_order)
            self._compared[wanted.id] = (wanted.version, found.resource_version, paths)
        return paths


def _wanted(resource: Resource) -> Wanted:
    _, _, kind = resource.id.type_url.rpartition("/")
    namespace, _, name = resource.name.partition("/")
    body = unpacked(resource.packed)
    return Wanted(id=ObjectId(kind, namespace, name), version=resource.version, body=body)
