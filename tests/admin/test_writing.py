"""How the writing of EnvoyFilters is shown: what waits for an operator, what fails, who leads."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from aeraki_xds.admin.server import AdminServer
from aeraki_xds.mesh.tenancy import Tenancy
from aeraki_xds.pipeline import Pipeline, Scopes
from aeraki_xds.pipeline.written import Counts, WriteState
from aeraki_xds.xds.hub import Hub
from aeraki_xds.xds.wire import XdsServer
from aeraki_xds.xds.wire.health import Readiness

STATE = WriteState(
    leads=True,
    complete=True,
    pending=3,
    waiting=("EnvoyFilter/a/b", "EnvoyFilter/a/c"),
    digest="0123abcd",
    conflicts=("EnvoyFilter/a/d",),
    unclaimed=(),
    failures={"EnvoyFilter/a/e": "<b>no</b>\x1b"},
    errors={"EnvoyFilter": "gone"},
    counts=Counts(created=5, updated=4, deleted=3, conflicts=2, failures=1),
)


async def looked_at(written: WriteState | None, path: str) -> str:
    hub, scopes = Hub(clock=lambda: 0.0), Scopes()
    admin = AdminServer(
        pipeline=Pipeline(
            hub=hub,
            scopes=scopes,
            sources=["cluster"],
            clock=asyncio.get_running_loop().time,
            tenancy=Tenancy(),
        ),
        hub=hub,
        xds=XdsServer(hub=hub, admit=scopes.admit),
        readiness=Readiness(),
        written=lambda: written,
    )
    host, port = await admin.start("127.0.0.1", 0)
    try:
        async with (
            aiohttp.ClientSession(f"http://{host}:{port}") as client,
            client.get(path) as response,
        ):
            assert response.status == 200
            text: str = await response.text()
            return text
    finally:
        await admin.close()


async def rejections(written: WriteState | None) -> dict[str, Any]:

    page: dict[str, Any] = orjson.loads(await looked_at(written, "/debug/rejections"))
    return page


async def test_what_waits_for_an_operator_is_on_the_page_of_rejections() -> None:
    writing = (await rejections(STATE))["writing"]
    assert writing["leads"] is True
    assert writing["waiting"] == ["EnvoyFilter/a/b", "EnvoyFilter/a/c"]
    assert writing["digest"] == "0123abcd"
    assert writing["conflicts"] == ["EnvoyFilter/a/d"]
    assert writing["pending"] == 3


async def test_what_a_server_said_is_escaped() -> None:
    writing = (await rejections(STATE))["writing"]
    assert "\x1b" not in writing["failures"]["EnvoyFilter/a/e"]
    assert writing["errors"] == {"EnvoyFilter": "gone"}


async def test_where_nobody_writes_nothing_is_said_of_it() -> None:
    assert "writing" not in await rejections(None)
    assert "envoyfilter" not in await looked_at(None, "/metrics")


async def test_it_is_counted() -> None:
    text = await looked_at(STATE, "/metrics")
    for line in (
        "aeraki_xds_leader 1.0",
        'aeraki_xds_envoyfilters{why="pending"} 3.0',
        'aeraki_xds_envoyfilters{why="waiting"} 2.0',
        'aeraki_xds_envoyfilters{why="conflict"} 1.0',
        'aeraki_xds_envoyfilters{why="failed"} 1.0',
        'aeraki_xds_envoyfilter_writes_total{outcome="created"} 5.0',
        'aeraki_xds_envoyfilter_writes_total{outcome="failures"} 1.0',
    ):
        assert line in text


async def test_the_guide_for_operators_has_these_metrics_and_no_others() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "operating.md").read_text(encoding="utf-8")
    lines = (await looked_at(STATE, "/metrics")).splitlines()
    ours = {line.split()[2] for line in lines if line.startswith("# TYPE aeraki_xds_")}
    assert set(re.findall(r"^\| `(aeraki_xds_\w+)", guide, re.MULTILINE)) == ours
