"""What the tests of a real cluster share: kinds, objects as an administrator makes them, and our
source and writer at work there.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aeraki_xds.ingest.kubernetes.client import Cluster
from aeraki_xds.ingest.kubernetes.reflector import Pace
from aeraki_xds.pipeline.desired import Desired
from aeraki_xds.writeback.objects import Install
from aeraki_xds.writeback.planner import Planner
from aeraki_xds.writeback.writer import Writer
from tests.apiserver.kinds import KINDS, JsonObject, Kind
from tests.apiserver.kit import Client
from tests.cluster.real import ADMIN, Real
from tests.deploy.admission import DEFINITIONS
from tests.ingest.kubernetes.kit import Heard, reflecting
from tests.writeback.bench import FAST, Chosen
from tests.writeback.kit import OURS, Json, want

PATIENCE: Final = 60.0
"""Seconds that a condition may take to come true on a machine that is busy with other tests."""

DEFINED: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
BY_NAME: Final = {kind.kind: kind for kind in KINDS} | {
    "ServiceAccount": Kind(plural="serviceaccounts", kind="ServiceAccount"),
    **{
        kind: Kind(
            group="rbac.authorization.k8s.io",
            plural=f"{kind.lower()}s",
            kind=kind,
            namespaced="Cluster" not in kind,
        )
        for kind in ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
    },
}
"""The kinds that tests make objects of."""


def istio_definition(kind: Kind) -> JsonObject:
    """A definition of one of Istio's kinds that takes everything, for theirs are not to be had."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": kind.id},
        "spec": {
            "group": kind.group,
            "scope": "Namespaced",
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural,
                "singular": kind.kind.lower(),
            },
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": version == kind.versions[0],
                    "schema": {"openAPIV3Schema": anything},
                    "subresources": {"status": {}},
                }
                for version in kind.versions
            ],
        },
    }


def all_definitions() -> list[JsonObject]:
    """Istio's as above, and ours as deploy/crds has them."""
    istio = [kind for kind in KINDS if kind.group == "networking.istio.io"]
    return [*map(istio_definition, istio), *DEFINITIONS.values()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hand:
    """The hand of an administrator. Whatever it does succeeds, or the test fails."""

    client: Client

    async def define(self, *definitions: JsonObject) -> None:
        """Have kinds, and wait until they are served."""
        for definition in definitions:
            name = definition["metadata"]["name"]
            status, answer = await self.client.apply(
                f"{DEFINED}/{name}", definition, "kubectl", force="true"
            )
            assert status in {200, 201}, answer
        for definition in definitions:
            spec = definition["spec"]
            for version in spec["versions"]:
                group = f"/apis/{spec['group']}/{version['name']}"
                await self._until_answered(f"{group}/{spec['names']['plural']}", 200)

    async def undefine(self, definition: JsonObject) -> None:
        """Have a kind no more, and wait until it is gone."""
        status, answer = await self.client.ask(
            "DELETE", f"{DEFINED}/{definition['metadata']['name']}"
        )
        assert status == 200, answer
        spec = definition["spec"]
        group = f"/apis/{spec['group']}/{spec['versions'][0]['name']}"
        await self._until_answered(f"{group}/{spec['names']['plural']}", 404)

    async def put(self, manifest: Json, *, manager: str = "kubectl") -> Json:
        """Create an object, or replace it, as a client does that was made for that manager."""
        path = path_of(manifest)
        status, there = await self.client.get(path)
        body = {key: value for key, value in manifest.items() if key != "status"}
        if status == 404:
            folder = path.rpartition("/")[0]
            status, made = await self.client.ask("POST", folder, body, fieldManager=manager)
        else:
            version = {"resourceVersion": there["metadata"]["resourceVersion"]}
            body = body | {"metadata": manifest["metadata"] | version}
            status, made = await self.client.ask("PUT", path, body, fieldManager=manager)
        assert status in {200, 201}, made
        found: Json = made
        return found

    async def get(self, manifest: Json) -> Json | None:
        """The object as it is."""
        status, found = await self.client.get(path_of(manifest))
        assert status in {200, 404}, found
        return found if status == 200 else None

    async def until(self, manifest: Json, holds: Callable[[Json | None], bool]) -> None:
        """Wait until it holds of the object as it is."""
        async with asyncio.timeout(PATIENCE):
            while not holds(await self.get(manifest)):
                await asyncio.sleep(0.02)

    async def objects(self, kind: str) -> list[Json]:
        """All of a kind."""
        asked = BY_NAME[kind]
        status, found = await self.client.get(f"{_group(asked, asked.versions[0])}/{asked.plural}")
        assert status == 200, found
        items: list[Json] = found["items"]
        return items

    async def delete(self, manifest: Json) -> None:
        """Remove an object."""
        status, answer = await self.client.ask("DELETE", path_of(manifest))
        assert status == 200, answer

    async def clear(self) -> None:
        """Remove what tests leave behind."""
        for kind in ("Service", "Secret", *(kind.kind for kind in KINDS if kind.custom)):
            for each in await self.objects(kind):
                if each["metadata"]["name"] != "kubernetes":
                    stamp = {"apiVersion": _api_version(BY_NAME[kind]), "kind": kind}
                    await self.delete({**each, **stamp})

    async def _until_answered(self, path: str, status: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while (await self.client.get(path))[0] != status:
                await asyncio.sleep(0.02)


def _api_version(kind: Kind) -> str:
    return kind.api_version(kind.versions[0])


def _group(kind: Kind, version: str) -> str:
    return f"/apis/{kind.group}/{version}" if kind.group else f"/api/{version}"


def path_of(manifest: Json) -> str:
    """Where an object is."""
    kind, metadata = BY_NAME[manifest["kind"]], manifest["metadata"]
    group = _group(kind, manifest["apiVersion"].rpartition("/")[2])
    inside = f"/namespaces/{metadata.get('namespace', 'default')}" if kind.namespaced else ""
    return f"{group}{inside}/{kind.plural}/{metadata['name']}"


def namespace(name: str) -> Json:
    """A namespace."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


async def until_settled(heard: Heard, hand: Hand) -> None:
    """Until what was heard is what there is."""
    async with asyncio.timeout(PATIENCE):
        while True:
            items = await hand.objects("DestinationRule")
            there = {item["metadata"]["name"]: item["spec"]["host"] for item in items}
            if heard.is_synced and heard.hosts == there:
                return
            await asyncio.sleep(0.02)


@asynccontextmanager
async def following(
    real: Real, folder: Path, *, url: str | None = None, pace: Pace | None = None
) -> AsyncIterator[Heard]:
    """A reflector of DestinationRules at work; its waits take no time."""
    path = real.kubeconfig(folder / "kubeconfig", url=url)
    async with reflecting(path, pace=pace) as heard:
        yield heard


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """A writer and all that it works on."""

    desired: Desired
    leader: Chosen
    planner: Planner
    writer: Writer

    def want(self, *manifests: Json) -> None:
        want(self.desired, *manifests)

    async def done(self) -> None:
        """Wait until everything that can be written is."""
        async with asyncio.timeout(PATIENCE):
            while not self._is_settled:
                await asyncio.sleep(0.02)

    @property
    def _is_settled(self) -> bool:
        return (
            self.planner.is_complete
            and not self.planner.work.is_set()
            and len(self.planner.wanted) == len(self.desired.objects)
            and not self.writer.is_busy
            and self.writer.state.pending == 0
        )

    @property
    def written(self) -> tuple[int, int, int]:
        """How many objects were created, updated and deleted."""
        counts = self.writer.counts
        return counts.created, counts.updated, counts.deleted


@asynccontextmanager
async def writing(
    real: Real,
    folder: Path,
    *manifests: Json,
    url: str | None = None,
    token: str = ADMIN,
    install: Install = OURS,
) -> AsyncIterator[Writing]:
    """A writer for which these objects are wanted, until it is killed."""
    desired, leader = Desired(), Chosen()
    want(desired, *manifests)
    path = real.kubeconfig(folder / "kubeconfig", url=url, token=token)
    async with Cluster.of_kubeconfig(path) as cluster:
        planner = Planner(cluster, desired, install, any_order=install.adopts)
        writer = Writer(cluster, planner, leader, rate=FAST)
        task = asyncio.create_task(writer.run())
        try:
            yield Writing(desired=desired, leader=leader, planner=planner, writer=writer)
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def until_closed() -> None:
    """Wait until TLS has said goodbye everywhere: a connection that the loop is ended under warns
    when it is collected, which may be in another test.
    """
    transports = asyncio.get_running_loop()._transports  # type: ignore[attr-defined]
    async with asyncio.timeout(PATIENCE):
        while not all(each.is_closing() for each in transports.values()):
            await asyncio.sleep(0.01)
    await asyncio.sleep(0)  # in which they do close


async def put_all(hand: Hand, manifests: Iterable[Any]) -> None:
    """Put objects, and before them the namespaces that they are in."""
    manifests = list(manifests)
    for name in {each["metadata"].get("namespace", "default") for each in manifests}:
        await hand.put(namespace(name))
    for each in manifests:
        await hand.put(each)
