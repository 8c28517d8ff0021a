"""A cluster that Aeraki wrote, taken over and handed back: under `aeraki-1.4` nothing is written
until something changes, and what is left then is Aeraki's own output with a label more.

The objects are the worked examples of Aeraki's specification, in the tests' API server; the server
is a real process.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from aeraki_xds.writeback.objects import INSTANCE
from tests.apiserver.kinds import Call
from tests.apiserver.server import ApiServer
from tests.e2e.replica import Replica, replica, until

pytestmark = pytest.mark.e2e

WORKED = Path(__file__).parents[1] / "translate" / "envoyfilter" / "worked"
SIDECARS = ("dubbo", "kafka", "metaprotocol", "redis", "thrift", "zookeeper")
WRITTEN = ("EnvoyFilter", "VirtualService")
WRITES = {"create", "update", "patch", "delete"}
Json = dict[str, Any]


def read(name: str, what: str) -> Iterator[Json]:
    """The objects of a worked example."""
    for document in yaml.safe_load_all((WORKED / f"{name}.{what}.yaml").read_text()):
        yield from document if isinstance(document, list) else [document]


def filters(api: ApiServer) -> dict[tuple[str, str, str], Json]:
    """What Istio is given: without what the API server itself says about an object."""
    found = {}
    for kind in WRITTEN:
        for each in api.objects(kind):
            metadata = each["metadata"]
            if metadata.get("labels", {}).get("manager") == "Aeraki":
                for name in ("resourceVersion", "generation", "managedFields"):
                    metadata.pop(name, None)
                found[kind, metadata["namespace"], metadata["name"]] = each
    return found


def writes(api: ApiServer) -> list[Call]:
    """What was written for Istio, or tried."""
    plurals = {"envoyfilters", "virtualservices"}
    return [call for call in api.calls if call.verb in WRITES and call.resource in plurals]


async def leads(server: Replica, api: ApiServer) -> None:
    """Wait until it may write and knows both sides: sources and objects are being watched."""
    await server.logged("leader")
    await server.is_ready()
    # VirtualServices are a source as well.
    await until(lambda: api.watches("EnvoyFilter") == 1 and api.watches("VirtualService") == 2)


@pytest.mark.parametrize("names", [SIDECARS, ("gateway",)], ids=["sidecars", "gateway"])
async def test_what_aeraki_wrote_is_not_written_again_and_an_edit_is_one_update(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    async with ApiServer.started() as api:
        for name in names:
            for manifest in read(name, "input"):
                api.put(manifest)
            for each in read(name, "expected"):
                api.put(each, manager="Aeraki")
        before = filters(api)
        (limited,) = (each for each in before if "inbound-orders" in each[2])
        async with replica(api.kubeconfig(tmp_path / "config"), log=tmp_path / "log") as server:
            await leads(server, api)
            assert writes(api) == []

            (original,) = api.objects("MetaRouter")
            bucket = {"maxTokens": 7, "tokensPerFill": 7, "fillInterval": "7s"}
            spec = {**original["spec"], "localRateLimit": {"tokenBucket": bucket}}
            api.put({**original, "spec": spec})
            await until(lambda: bool(writes(api)))
            api.put(original)
            # Deletions come last in a plan, so none of the first plan is under way any more.
            await until(lambda: len(writes(api)) >= 2)
        written = [(call.verb, call.name, call.status) for call in writes(api)]
        assert written == [("update", limited[2], 200)] * 2
        managers = (api.get(*limited) or {})["metadata"]["managedFields"]
        assert {each["manager"] for each in managers} == {"Aeraki"}
        after = filters(api)
        assert after[limited]["metadata"]["labels"].pop(INSTANCE) == "aeraki-xds"
        assert after == before
