"""What an operator sees of the state folder."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest

from aeraki_xds.admin.server import AdminServer
from aeraki_xds.mesh.tenancy import Tenancy
from aeraki_xds.pipeline import Pipeline, Scopes
from aeraki_xds.pipeline.last_good import Changes
from aeraki_xds.state import State
from aeraki_xds.state.database import Database
from aeraki_xds.translate.compose import MetaRds
from aeraki_xds.xds.wire import XdsServer
from aeraki_xds.xds.wire.health import Readiness
from tests.admin.desk import Desk
from tests.xds.dialogue import Server

NAME = "aeraki_xds_state_stale_since_seconds"


async def test_a_state_that_cannot_be_written_is_shown_until_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, scopes = Server(), Scopes()
    pipeline = Pipeline(
        hub=server.hub,
        scopes=scopes,
        sources=["folder"],
        clock=asyncio.get_running_loop().time,
        tenancy=Tenancy(),
    )
    write, full = Database.write, [True]

    def writes(self: Database, changes: Changes, garbage: tuple[bytes, ...]) -> None:
        if full:
            raise OSError(28, "No space left on device")
        write(self, changes, garbage)

    monkeypatch.setattr(Database, "write", writes)
    async with State.opened(tmp_path, clock=lambda: 1234.0, retry=0.01) as state:
        admin = AdminServer(
            pipeline=pipeline,
            hub=server.hub,
            xds=XdsServer(hub=server.hub, admit=scopes.admit),
            readiness=Readiness(),
            state=state,
        )
        host, port = await admin.start("127.0.0.1", 0)
        try:
            async with aiohttp.ClientSession(f"http://{host}:{port}") as client:
                assert await seen(client) == (0, "")
                state.note(Changes(recipes={MetaRds(): True}))
                writing = asyncio.create_task(state.run())
                async with asyncio.timeout(30):
                    while not state.error:
                        await asyncio.sleep(0.005)
                    assert await seen(client) == (1234, "[Errno 28] No space left on device")
                    full.clear()
                    while state.error:
                        await asyncio.sleep(0.005)
                assert await seen(client) == (0, "")
                writing.cancel()
        finally:
            await admin.close()


async def seen(client: aiohttp.ClientSession) -> tuple[float, str]:
    """The metric, and the reason that /readyz gives."""
    async with client.get("/metrics") as page:
        lines = (await page.text()).splitlines()
    value = next(float(line.split(" ")[1]) for line in lines if line.startswith(NAME))
    async with client.get("/readyz") as page:
        return value, json.loads(await page.text())["state"]["stale"]


async def test_without_a_state_folder_nothing_is_wrong_with_it(desk: Desk) -> None:
    assert (await desk.metrics())[NAME] == 0
    assert "state" not in await desk.get("/readyz", status=503)
