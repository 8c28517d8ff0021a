"""What ours can do beside its peers: every scenario, its table, and the numbers to reach.

In: scenarios by name, how many runs and streams. Out: tables as they are found, and at the end a
row for each bar; exit status 0 whatever they say, for a machine may be busy, 1 when a scenario
could not be carried out. Servers and load generators are processes of their own.

    python benchmarks/bench.py                      # all, about twenty minutes
    python benchmarks/bench.py fanout --runs 1
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import Final

import uvloop
from peers.catalogue import GO as GO_PEERS
from peers.catalogue import NoPeerError, available, prepare
from scenarios import bars, sizing
from scenarios.bench import LATE_MS, Bench
from scenarios.churn import churn
from scenarios.dialects import dialects
from scenarios.fanout import fanout
from scenarios.opening import opening
from scenarios.scoped import scoped
from scenarios.stalled import stalled
from scenarios.start import start

from aeraki_xds.telemetry import configure_logging

SCENARIOS: Final[Mapping[str, Callable[[Bench], Awaitable[None]]]] = {
    "fanout": fanout,
    "scoped": scoped,
    "opening": opening,
    "stalled": stalled,
    "dialects": dialects,
    "start": start,
    "churn": churn,
}


LAG: Final = "what came for many clients in one turn of the loop: TLS records, nodes of 61 KB"


async def measure(names: Sequence[str], *, runs: int, streams: int, minutes: float) -> None:
    """Run these scenarios, then say which bars are met."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        bench = Bench.begin(runs=runs, streams=streams, minutes=minutes, work=Path(work))
        for name in names:
            await SCENARIOS[name](bench)
    for scenario, lag in bench.lags.items():
        note = f"{lag.late} of {lag.measured} late, {scenario}"
        late = lag.within(0.999) * 1e3
        bench.bar("event-loop lag, p99.9", late, LATE_MS, "ms", note=note, left=LAG)
    bench.show("Numbers to reach", bars.table(bench.bars))
    if set(bench.units) == {each.name for each in fields(sizing.Units)}:
        bench.show("Sizes of fleets", sizing.table(sizing.Units(**bench.units)))
    print(f"{runs} runs, {time.monotonic() - began:,.0f} s")


def machine() -> str:
    """What the figures are of."""
    model = "an unknown processor"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        rows = (line.partition(":") for line in cpuinfo.read_text().splitlines())
        model = next(
            (value.strip() for key, _, value in rows if key.strip() == "model name"), model
        )
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    return f"{os.cpu_count()} × {model}, {system}, uvloop {version('uvloop')}"


def _prepare_peers() -> None:
    """Build what has to be built before anything is measured, and say who is missing."""
    for name in GO_PEERS:
        reason = available(name)
        if reason is None:
            try:
                prepare(name)
            except NoPeerError as failure:
                reason = str(failure)
        if reason is not None:
            print(f"{name} is not there, and its bars are not met: {reason}", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenarios", nargs="*", default=[], help=f"of {', '.join(SCENARIOS)}")
    parser.add_argument("--runs", type=int, default=5, help="of everything (default: 5)")
    parser.add_argument("--streams", type=int, default=2000, help="where a bar says 2,000")
    parser.add_argument("--minutes", type=float, default=1.0, help="of constant change")
    given = parser.parse_args()
    unknown = [name for name in given.scenarios if name not in SCENARIOS]
    if unknown:
        parser.error(f"no scenario {', '.join(unknown)}: there are {', '.join(SCENARIOS)}")
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    _prepare_peers()
    configure_logging(level="error", log_format="text")  # of what runs in this process
    print(f"{machine()}\n")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(
            measure(
                given.scenarios or list(SCENARIOS),
                runs=given.runs,
                streams=given.streams,
                minutes=given.minutes,
            )
        )


if __name__ == "__main__":
    main()
