"""`aeraki-xds serve` as drills see it: what its pages say of its loop, its memory and its tasks."""

from __future__ import annotations

import asyncio
from typing import Any

from aeraki_xds.bench import process
from aeraki_xds.demo.control_plane import ControlPlane
from aeraki_xds.demo.http import fetch
from drills.verdict import Lag


async def lag(plane: ControlPlane) -> Lag:
    """How late its loop was, since it began."""
    return Lag.parse(await page(plane, "/metrics"))


async def metric(plane: ControlPlane, name: str) -> float:
    """The sum of a metric over its labels. Raises KeyError when there is none."""
    rows = [
        line
        for line in (await page(plane, "/metrics")).splitlines()
        if line.startswith((name + " ", name + "{"))
    ]
    if not rows:
        raise KeyError(name)
    return sum(float(row.rpartition(" ")[2]) for row in rows)


async def page(plane: ControlPlane, path: str) -> str:
    """A page as text."""
    _, body = await asyncio.to_thread(fetch, plane.admin, path)
    return body


async def total(plane: ControlPlane, path: str) -> int:
    """How many entries a list has."""
    listed: dict[str, Any] = await plane.get(f"{path}?limit=1")
    return int(listed["total"])


def resident_mb(pid: int) -> float:
    """Resident memory of a process, in MiB."""
    return process.resident_kb(pid) / 1024
