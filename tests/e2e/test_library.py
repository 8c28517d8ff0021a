"""The server as a library: what docs/library.md shows is what a real Envoy is served."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest

from aeraki_xds.demo.envoy import Envoy
from aeraki_xds.demo.http import Address
from aeraki_xds.demo.process import leashed
from tests.e2e.conftest import LIMIT_S, proxy_bootstrap

PAGE = Path(__file__).parents[2] / "docs" / "library.md"


def example() -> str:
    """The program of the page, on a free port."""
    (program,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert "18000" in program
    return str(program).replace("18000", "0")


@pytest.mark.e2e
async def test_the_example_of_the_page_publishes_a_cluster_to_a_real_envoy(
    tmp_path: Path, *, delta: bool
) -> None:
    server = await asyncio.create_subprocess_exec(
        *leashed([sys.executable, "-c", example()]), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert server.stdout is not None
        async with asyncio.timeout(LIMIT_S):
            said, host, port = (await server.stdout.readline()).decode().split()
        assert said == "serving"
        proxy = proxy_bootstrap(Address(host, int(port)), delta=delta)
        async with Envoy.run(proxy, log=tmp_path / "envoy.log") as envoy:
            await until_held(envoy, "hello")
    finally:
        server.kill()
        await server.wait()


def test_the_example_is_short() -> None:
    code = [line for line in example().splitlines() if line.strip()]
    assert len(code) <= 20


def test_the_library_brings_no_mesh_along() -> None:
    program = "import sys, aeraki_xds.xds.wire; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=LIMIT_S
    )
    imported = done.stdout.split()
    foreign = ("aeraki_xds.", "kubernetes", "aiohttp", "google.protobuf", "yaml", "betterproto2")
    assert [
        name
        for name in imported
        if name.startswith(foreign) and not name.startswith("aeraki_xds.xds")
    ] == []


async def until_held(envoy: Envoy, name: str) -> None:
    async with asyncio.timeout(LIMIT_S):
        while True:
            dumps = await envoy.config_dump("dynamic_active_clusters")
            if [dump["cluster"]["name"] for dump in dumps] == [name]:
                return
            await asyncio.sleep(0.01)
