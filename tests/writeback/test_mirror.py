"""What is there, followed through everything that a watch can do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from aeraki_xds.ingest.kubernetes.client import Cluster
from aeraki_xds.writeback.mirror import Mirror
from tests.apiserver.faults import Answer, Cut, Duplicate, Faults, Reorder, Truncate
from tests.apiserver.kinds import KINDS
from tests.apiserver.kit import until
from tests.apiserver.server import ApiServer
from tests.writeback.kit import ROOT, envoy_filter, id_of, of_instance

KIND = "EnvoyFilter"


@asynccontextmanager
async def following(api: ApiServer, folder: Path, url: str = "") -> AsyncIterator[Mirror]:
    config = api.kubeconfig(folder / "kubeconfig", url=url or api.url)
    async with Cluster.of_kubeconfig(config) as cluster:
        mirror = Mirror(cluster, KIND, on_change=lambda: None, backoff=0.05)
        task = asyncio.create_task(mirror.run())
        try:
            yield mirror
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


def is_true_to(mirror: Mirror, api: ApiServer) -> bool:
    there = {
        id_of(each): each["metadata"]["resourceVersion"]
        for each in api.objects(KIND)
        if each["metadata"].get("labels", {}).get("manager") == "Aeraki"
    }
    return {name: each.resource_version for name, each in mirror.existing.items()} == there


async def test_everything_with_the_label_is_read_page_by_page(
    api: ApiServer, tmp_path: Path
) -> None:
    for n in range(1201):
        api.put(envoy_filter(f"host-{n}"))
    api.put(envoy_filter("unlabelled", labels={}))
    async with following(api, tmp_path) as mirror:
        await until(lambda: mirror.is_whole)
        assert len(mirror.existing) == 1201
        assert is_true_to(mirror, api)


async def test_a_list_that_breaks_off_is_no_list(api: ApiServer, tmp_path: Path) -> None:
    for n in range(600):
        api.put(envoy_filter(f"host-{n}"))
    async with (
        Faults.started(api.url) as faults,
        following(api, tmp_path, faults.url) as mirror,
    ):
        await until(lambda: api.watches(KIND))
        is_second = _second_page()
        faults.next(
            Answer(status=500), times=3, verb="list", resource="envoyfilters", when=is_second
        )
        api.expire_watches()
        least = [600]

        def is_over() -> bool:
            least.append(len(mirror.existing))
            return not faults.pending

        await until(is_over)
        assert min(least) == 600
        await until(lambda: not mirror.error)
        assert is_true_to(mirror, api)


def _second_page() -> Any:
    count = 0

    def is_second(_: object) -> bool:
        nonlocal count
        count += 1
        return count % 2 == 0

    return is_second


@pytest.mark.parametrize(
    "fault",
    [
        Truncate(events=1),
        Truncate(events=1, torn=True),
        Duplicate(event=1),
        Reorder(event=1),
        Cut(at="body", bytes=700),
    ],
)
async def test_whatever_becomes_of_a_watch_the_mirror_is_true(
    api: ApiServer, tmp_path: Path, fault: Any
) -> None:
    async with Faults.started(api.url) as faults:
        faults.next(fault, times=2, verb="watch", resource="envoyfilters")
        async with following(api, tmp_path, faults.url) as mirror:
            await until(lambda: api.watches(KIND))
            for n in range(6):
                api.put(envoy_filter(f"host-{n % 3}", spec={"priority": n}))
            api.delete(*id_of(envoy_filter("host-1")))
            await until(lambda: is_true_to(mirror, api) and len(mirror.existing) == 2)


@pytest.mark.parametrize("in_stream", [True, False])
async def test_a_revision_that_is_too_old_means_to_read_all_again(
    tmp_path: Path, *, in_stream: bool
) -> None:
    async with ApiServer.started(gone_as_event=in_stream) as api:
        api.put(envoy_filter("old"))
        async with (
            Faults.started(api.url) as faults,
            following(api, tmp_path, faults.url) as mirror,
        ):
            await until(lambda: mirror.is_whole)
            await faults.refuse()
            faults.cut_all()
            api.delete(*id_of(envoy_filter("old")))
            api.put(envoy_filter("new"))
            api.compact()
            await faults.accept()
            await until(lambda: is_true_to(mirror, api))
            assert set(mirror.existing) == {id_of(envoy_filter("new"))}


async def test_what_loses_the_label_is_not_among_them_any_more(
    api: ApiServer, tmp_path: Path
) -> None:
    api.put(envoy_filter())
    async with following(api, tmp_path) as mirror:
        await until(lambda: mirror.existing)
        api.put(envoy_filter(labels={}))
        await until(lambda: not mirror.existing)


async def test_a_kind_that_is_not_served_is_waited_for(api: ApiServer, tmp_path: Path) -> None:
    kind = next(each for each in KINDS if each.kind == KIND)
    api.unregister(KIND)
    async with following(api, tmp_path) as mirror:
        await until(lambda: "not served" in mirror.error)
        assert not mirror.is_whole
        api.register(kind)
        await until(lambda: mirror.is_whole)
        assert not mirror.error


def test_what_is_older_than_what_is_known_changes_nothing() -> None:
    told: list[int] = []
    mirror = Mirror(None, KIND, on_change=lambda: told.append(1))  # type: ignore[arg-type]

    def seen(revision: str, uid: str = "u") -> dict[str, Any]:
        whole = envoy_filter(labels=of_instance(revision))
        return {**whole, "metadata": whole["metadata"] | {"uid": uid, "resourceVersion": revision}}

    name = id_of(envoy_filter())
    mirror.note(seen("10"))
    mirror.note(seen("9"))
    assert (mirror.existing[name].resource_version, len(told)) == ("10", 1)
    mirror.note(seen("9", "another"))
    assert mirror.existing[name].uid == "another"
    mirror.forget(name, "u")
    assert name in mirror.existing
    mirror.forget(name, "another")
    assert name not in mirror.existing


def test_what_users_choose_stays_a_part_of_a_path() -> None:
    mirror = Mirror(None, KIND, on_change=lambda: None)  # type: ignore[arg-type]
    assert mirror.path("../secrets", "a/b").endswith("/namespaces/..%2Fsecrets/envoyfilters/a%2Fb")
    assert mirror.path(ROOT, "a").endswith(f"/{ROOT}/envoyfilters/a")
