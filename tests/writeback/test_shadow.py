"""What `--shadow` prints, and that it does nothing else."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from aeraki_xds.ingest.kubernetes.client import Cluster
from aeraki_xds.pipeline.desired import Desired
from aeraki_xds.writeback.planner import Planner
from aeraki_xds.writeback.shadow import Printer
from tests.apiserver.kit import until
from tests.apiserver.server import ApiServer
from tests.writeback.bench import writes_of
from tests.writeback.kit import OURS, envoy_filter, of_instance, virtual_service, want


def named(name: str) -> str:
    return f"EnvoyFilter/istio-system/aeraki-outbound-{name}-10.0.0.1-80"


async def test_each_object_is_a_line_once_and_nothing_is_written(
    api: ApiServer, tmp_path: Path
) -> None:
    api.put(envoy_filter("same"))
    api.put(envoy_filter("differs", spec={"priority": 1, "password": "old-secret"}))
    api.put(envoy_filter("theirs", spec={}, labels=of_instance("theirs")))
    api.put(envoy_filter("old"))
    api.put(envoy_filter("old", namespace="shop"))
    desired, lines = Desired(), list[str]()
    wanted = [
        envoy_filter("same"),
        envoy_filter("differs", spec={"priority": 2, "password": "new-secret"}),
        envoy_filter("theirs"),
        virtual_service(),
    ]
    want(desired, *wanted, complete=False)
    async with Cluster.of_kubeconfig(api.kubeconfig(tmp_path / "kubeconfig")) as cluster:
        planner = Planner(cluster, desired, OURS, any_order=True)
        task = asyncio.create_task(Printer(planner, lines.append).run())
        await until(lambda: all(each.is_whole for each in planner.mirrors.values()))
        assert not lines
        want(desired, *wanted)
        await until(lambda: lines)
        assert lines == [
            "+ VirtualService/istio-system/aeraki-vs-istio-system.edge-80",
            f"~ {named('differs')}: spec.password, spec.priority",
            f"- {named('old')}",
            f"! {named('theirs')}: somebody else's",
            "! EnvoyFilter/shop/aeraki-outbound-old-10.0.0.1-80: nobody asks for it; it may be "
            "another installation's",
        ]
        want(desired, *wanted, envoy_filter("new"))
        await until(lambda: len(lines) > 5)
        assert lines[5:] == [f"+ {named('new')}"]
        want(desired, *wanted, envoy_filter("new"), complete=False)
        await until(lambda: not planner.work.is_set())
        want(desired, *wanted, envoy_filter("new"), envoy_filter("last"))
        await until(lambda: len(lines) > 6)
        assert lines[6:] == [f"+ {named('last')}"]
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert writes_of(api) == []


async def test_of_many_fields_a_few_are_named(api: ApiServer, tmp_path: Path) -> None:
    api.put(envoy_filter(spec={}))
    desired, lines = Desired(), list[str]()
    want(desired, envoy_filter(spec={f"field{n}": n for n in range(7)}))
    async with Cluster.of_kubeconfig(api.kubeconfig(tmp_path / "kubeconfig")) as cluster:
        planner = Planner(cluster, desired, OURS, any_order=True)
        task = asyncio.create_task(Printer(planner, lines.append).run())
        await until(lambda: lines)
        assert lines[0].endswith("spec.field3, spec.field4, and 2 more")
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
