"""A whole mesh is translated, and then one router of it changes."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from typing import Final

import encoding
import translation
from translation import Measured

from scenarios.bench import Bench, median

SIZES: Final = (1_000, 10_000)
FLAT: Final = (
    "it is CPU, and flat: imports 0.55 s, reading and decoding 0.9, store and graph 0.45, "
    "composing and publishing 0.85"
)
LAYOUT: Final = f"{translation.MANY} a file"


async def start(bench: Bench) -> None:
    """Of 1,000 and of 10,000 services × 3 routes, from JSON."""
    found: list[Measured] = []
    for size in SIZES:
        bench.say(f"start: {size:,} services")
        found.append(await translation.run(size, bench.runs))
    printed = io.StringIO()
    with redirect_stdout(printed):
        translation.report(found)
    bench.show("A full start, and one change", printed.getvalue())
    small, large = found
    ready = median([run.ready_s for run in large.starts[LAYOUT]])
    bench.bar(f"full start, {SIZES[-1]:,} services × {translation.ROUTES} routes", ready, 3, "s",
              left=FLAT)  # fmt: skip
    change, before = large.changes["MetaRDS"].median_ms, small.changes["MetaRDS"].median_ms
    bench.bar(f"incremental change at {SIZES[-1]:,} services", change, 5, "ms")
    bench.bar(f"incremental change at {SIZES[-1]:,} / at {SIZES[0]:,}", change / before, 1.3)
    memory = [median([run.resident_mb for run in each.starts[LAYOUT]]) for each in found]
    each_mb = (memory[1] - memory[0]) / (SIZES[1] - SIZES[0])
    bench.units["service_kb"] = each_mb * 1024
    bench.units["base_mb"] = memory[0] - SIZES[0] * each_mb
    pushed = median([run.file_change_ms for run in small.starts["one a file"]])
    bench.bar("file event → first byte of the push", pushed, 10, "ms")
    route = median([encoding.measure().tables[0].ours.median for _ in range(bench.runs)])
    bench.bar("encode, a route of a 100-route configuration", route, 5, "µs")
