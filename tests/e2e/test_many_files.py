"""A server that a shell allows a few files takes as many proxies as the hard limit lets it."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from aeraki_xds.demo.control_plane import ControlPlane
from aeraki_xds.demo.mesh import HelloMesh

SOFT = 256


@pytest.fixture
def few_files() -> Iterator[int]:
    """Our own soft limit, which children inherit, is low; yields the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (SOFT, hard))
    try:
        yield hard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def limits_of(pid: int) -> list[int]:
    """How many files a process may have open: soft and hard."""
    limits = Path(f"/proc/{pid}/limits").read_text(encoding="ascii")
    (row,) = (line for line in limits.splitlines() if line.startswith("Max open files"))
    return [int(word) for word in row.split()[3:5]]


async def test_the_soft_limit_of_files_is_raised_to_the_hard_one(
    tmp_path: Path, few_files: int
) -> None:
    mesh = HelloMesh(tmp_path / "mesh", vip="127.32.1.9", endpoints={"v1": 1})
    async with ControlPlane.run(mesh.root) as plane:
        assert limits_of(plane.pid) == [few_files, few_files]
