"""Fifty changes a second, on and on: how old a change is when its streams have it."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from drills import server
from translation import host, objects

from aeraki_xds.bench.client import stamp
from aeraki_xds.bench.fleet import Fleet, fleet
from aeraki_xds.bench.load import Load
from aeraki_xds.bench.rounds import percentile
from aeraki_xds.demo.control_plane import ControlPlane
from scenarios.bars import grid
from scenarios.bench import GO, OURS, Bench
from scenarios.servers import loaded, serving

A_SECOND: Final = 50
SERVICES: Final = 100
SEED: Final = 8
_SETTLE_S: Final = 0.5
_READY_S: Final = 60.0

Change = Callable[[int, str], Awaitable[object]]
"""Change a service by its number, to something that holds this text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ages:
    """How many changes there were, and how old they were at the streams, in milliseconds."""

    changes: int
    ages: Sequence[float]

    def row(self, title: str) -> list[str]:
        """Of the table."""
        shares = (0.5, 0.99, 0.999, 1.0)
        cells = [f"{percentile(self.ages, share):,.1f}" for share in shares]
        return [title, f"{self.changes:,}", f"{len(self.ages):,}", *cells]


async def churn(bench: Bench) -> None:
    """From memory, beside peers; and from files, through all that we do with them."""
    rows: list[list[str]] = []
    for name in bench.peers(OURS, GO, "go-linear"):
        bench.say(f"churn: {name}")
        async with serving(name, services=SERVICES) as served:
            load = Load(host="", port=0, streams=bench.streams, services=SERVICES)
            async with loaded(served, load) as (rounds, generators):
                await rounds.connect()

                async def publish(n: int, text: str, served: Any = served) -> None:
                    await served.change(f"bench-{n}", text, acks=0)

                ages = await _keep_changing(bench, generators, publish)
            rows.append(ages.row(f"{name}, from memory"))
            await bench.watch("churn, from memory", served)
    bench.say("churn: files")
    rows.append((await _from_files(bench)).row(f"{OURS}, from files"))
    header = ["", "changes", "pushes", "p50, ms", "p99", "p99.9", "worst"]
    each = bench.streams // SERVICES
    title = (
        f"{A_SECOND} changes a second for {bench.minutes * 60:g} s, each for {each} of "
        f"{bench.streams:,} streams: its age when a stream has it"
    )
    bench.show(title, grid(header, rows))


async def _keep_changing(bench: Bench, generators: Fleet, change: Change) -> Ages:
    picked = random.Random(SEED)
    await generators.ages_ns()  # from now on
    count = int(bench.minutes * 60 * A_SECOND)
    due = time.monotonic()
    for _ in range(count):
        due += 1 / A_SECOND
        await change(picked.randrange(SERVICES), stamp(time.monotonic_ns()))
        await asyncio.sleep(max(due - time.monotonic(), 0))
    await asyncio.sleep(_SETTLE_S)
    ages = sorted(age / 1e6 for age in await generators.ages_ns())
    return Ages(changes=count, ages=ages)


async def _from_files(bench: Bench) -> Ages:
    folder = bench.work / "churn"
    folder.mkdir()

    async def write(n: int, text: str) -> None:
        items = list(objects(n))
        router: Any = items[-1]
        router["spec"]["routes"][0]["name"] = text
        draft = bench.work / "draft.json"
        listed = {"apiVersion": "v1", "kind": "List", "items": items}
        draft.write_text(json.dumps(listed), encoding="utf-8")
        draft.replace(folder / f"{n}.json")

    for n in range(SERVICES):
        await write(n, "first")
    async with ControlPlane.run(Path(folder)) as plane:
        await plane.until("/readyz", lambda page: page["status"] == "ready", within_s=_READY_S)
        name = host(0).replace("svc-0", "svc-{n}") + "_9090"
        load = Load(host=plane.xds.host, port=plane.xds.port, streams=bench.streams, name=name,
                    services=SERVICES)  # fmt: skip
        async with fleet(load) as generators:
            await generators.connect()
            ages = await _keep_changing(bench, generators, write)
        bench.lags["churn, from files"] = await server.lag(plane)
    return ages
