"""Who serves, from a cluster: read while somebody wants it, and forgotten when nobody does."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

from aeraki_xds.ingest.event import Event, Synced, Upsert
from aeraki_xds.ingest.kubernetes.kinds import Watched
from aeraki_xds.ingest.kubernetes.serving import ENDPOINTS, Serving
from aeraki_xds.mesh.names import Key, Kind, Namespace
from tests.apiserver.server import ApiServer
from tests.ingest.kubernetes.kit import Heard, until
from tests.ingest.kubernetes.test_source import following
from tests.mesh.kit import said
from tests.mesh.pods import pod

POD: Final = Key(Kind.POD, Namespace("shop"), "a")
RESOURCES: Final = {"pods", "endpointslices", "workloadentries"}


def a_pod(version: str = "v1", **more: Any) -> dict[str, Any]:
    """The Pod `a`."""
    metadata = {"name": "a", "namespace": "shop", "labels": {"version": version}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, **more}


def asked(api: ApiServer) -> set[str]:
    """Which of these kinds were asked about."""
    return {call.resource for call in api.calls} & RESOURCES


async def test_nothing_is_asked_before_somebody_wants_it(tmp_path: Path) -> None:
    async with ApiServer.started() as api, following(api, tmp_path) as it:
        api.put(a_pod())
        await it.heard.until(it.are_synced("kubernetes/Service"))
        assert [it.last(name) for name in ENDPOINTS] == [None] * 3
        it.source.want_endpoints(False)
        await it.heard.until(it.are_synced(*ENDPOINTS))
        assert [it.last(name) for name in ENDPOINTS] == [
            Synced(source=name, idle=True) for name in ENDPOINTS
        ]
        assert asked(api) == set()


async def test_what_is_wanted_is_read_and_followed(tmp_path: Path) -> None:
    async with ApiServer.started() as api, following(api, tmp_path) as it:
        api.put(a_pod())
        it.source.want_endpoints(True)
        await it.heard.until(it.are_synced(*ENDPOINTS))
        assert it.last("kubernetes/Pod") == Synced(source="kubernetes/Pod")
        assert list(it.heard.objects) == [POD]
        await until(lambda: api.watches("Pod") == 1)
        api.delete("Pod", "shop", "a")
        await it.heard.until(lambda: it.heard.deleted == [POD])


async def test_what_nobody_wants_any_more_is_gone_and_is_read_anew_when_it_is_wanted(
    tmp_path: Path,
) -> None:
    async with ApiServer.started() as api, following(api, tmp_path) as it:
        api.put(a_pod())
        it.source.want_endpoints(True)
        await it.heard.until(it.are_synced(*ENDPOINTS))
        await until(lambda: all(api.watches(kind) for kind in ("Pod", "EndpointSlice")))
        it.source.want_endpoints(False)
        await it.heard.until(lambda: it.heard.deleted == [POD])
        idle = [Synced(source=name, idle=True) for name in ENDPOINTS]
        assert it.heard.batches[-1][:3] == idle  # before what goes, in one batch
        await until(lambda: not any(api.watches(kind) for kind in ("Pod", "EndpointSlice")))
        api.put(a_pod("v2"))
        it.source.want_endpoints(True)
        await it.heard.until(lambda: POD in it.heard.objects)
        await it.heard.until(it.are_synced("kubernetes/Pod"))
        assert "v2" in str(it.heard.objects[POD])


async def test_what_changes_of_a_pod_that_nobody_reads_is_the_same_pod(tmp_path: Path) -> None:
    async with ApiServer.started() as api, following(api, tmp_path) as it:
        api.put(a_pod(status={"phase": "Pending"}))
        it.source.want_endpoints(True)
        await it.heard.until(it.are_synced("kubernetes/Pod"))
        await until(lambda: api.watches("Pod") == 1)
        before = it.heard.objects[POD]
        noisy = a_pod(status={"phase": "Running", "podIP": "10.0.0.1"})
        noisy["metadata"]["annotations"] = {"seen-at": "2026-01-01"}
        said_so_far = len(it.heard.batches)
        api.put(noisy)
        await it.heard.until(lambda: len(it.heard.batches) > said_so_far)
        after = it.heard.objects[POD]
        assert isinstance(before, Upsert)
        assert isinstance(after, Upsert)
        assert after.item == before.item


async def test_what_a_reflector_says_while_it_is_being_ended_is_not_heard() -> None:
    heard = Heard()
    hears = []

    def follow(_watched: Watched, hear: Any) -> asyncio.Task[None]:
        hears.append(hear)
        return asyncio.create_task(asyncio.sleep(0))

    serving = Serving(heard, follow)
    serving.want(True)
    late: list[Event] = [*said(pod("a"))]
    hears[0](late)
    assert len(heard.objects) == 1
    serving.want(False)
    hears[0](late)
    serving.want(True)
    hears[0](late)
    assert heard.objects == {}
