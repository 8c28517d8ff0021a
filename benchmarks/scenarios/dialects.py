"""One of a thousand changes: what a stream is sent for it, in both dialects."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Final

from translation import write

from aeraki_xds.bench.fleet import Fleet, fleet
from aeraki_xds.bench.load import Load, Node
from aeraki_xds.demo.control_plane import ControlPlane
from aeraki_xds.xds import CLUSTER
from scenarios.bars import grid
from scenarios.bench import GO, OURS, Bench
from scenarios.servers import loaded, serving

SERVICES: Final = 1_000
_QUIET_S: Final = 0.2
_READY_S: Final = 60.0


async def dialects(bench: Bench) -> None:
    """Routes that are named, of every peer; clusters by wildcard, of a mesh of ours."""
    rows: list[list[str]] = []
    for name in bench.peers(OURS, GO, "go-linear"):
        bench.say(f"dialects: {name}")
        sent = [await _routes(name, delta=delta) for delta in (False, True)]
        rows.append([f"{name}: {SERVICES:,} routes by name", *(f"{size:,}" for size in sent)])
    sent = [await _clusters(bench, delta=delta) for delta in (False, True)]
    rows.append([f"{OURS}: clusters of {SERVICES:,} services", *(f"{size:,}" for size in sent)])
    title = "Bytes for a stream when one of a thousand changes"
    bench.show(title, grid(["", "state of the world", "delta"], rows))


async def _routes(name: str, *, delta: bool) -> int:
    load = Load(host="", port=0, streams=1, services=SERVICES, names_each=SERVICES, delta=delta)
    async with (
        serving(name, services=SERVICES) as served,
        loaded(served, load) as (rounds, generators),
    ):
        await rounds.connect()
        await generators.begin()
        await served.publish(acks=1)
        return await _heard(generators)


async def _clusters(bench: Bench, *, delta: bool) -> int:
    folder = bench.work / f"dialects-{delta}"
    write(folder, SERVICES, SERVICES)
    async with ControlPlane.run(Path(folder)) as plane:
        await plane.until("/readyz", lambda page: page["status"] == "ready", within_s=_READY_S)
        load = Load(host=plane.xds.host, port=plane.xds.port, streams=1, type_url=CLUSTER,
                    aggregated=True, node=Node.ENVOY, delta=delta)  # fmt: skip
        async with fleet(load) as generators:
            await generators.connect()
            await _heard(generators)  # endpoints come behind the clusters, unasked
            await generators.begin()
            more = bench.work / f"more-{delta}"
            write(more, SERVICES + 1, 1)
            (more / f"{SERVICES:06}.json").rename(folder / "more.json")
            return await _heard(generators)


async def _heard(generators: Fleet) -> int:
    """Bytes of the round when nothing more comes."""
    heard = dataclasses.replace(await generators.delivered(), responses=0)
    while (now := await generators.count()).responses != heard.responses:
        heard = now
        await asyncio.sleep(_QUIET_S)
    return heard.bytes_received
