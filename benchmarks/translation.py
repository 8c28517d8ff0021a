"""What it costs to translate a mesh: a full start, and one change of it.

In: how many services, each with three routes, two subsets and two endpoints, as JSON in a folder.
Out: a table: seconds and CPU from the start of a real `serve` to ready, its memory and how late its
loop was; milliseconds for one MetaRouter that changed, from the file to the first byte at a client,
and in this process from the event in the pipeline to its publication, with MetaRDS alone and with
an Envoy that takes everything; and how many hosts were composed and resources encoded for it.

    python benchmarks/translation.py --services 1000 10000 --runs 5 [--json]

The folder is laid out twice: 500 services a file, as a generator writes them, and one a file.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from dataclasses import replace as copy_of
from pathlib import Path
from typing import Any, Final

import uvloop
from drills import server

from aeraki_xds.bench import process
from aeraki_xds.bench.ask import Ask
from aeraki_xds.bench.client import Clients
from aeraki_xds.demo.control_plane import ControlPlane
from aeraki_xds.garbage import no_full_collections
from aeraki_xds.ingest.decode import decode
from aeraki_xds.mesh.change import Upsert
from aeraki_xds.mesh.tenancy import Tenancy
from aeraki_xds.pipeline import Pipeline, Scopes
from aeraki_xds.telemetry import configure_logging
from aeraki_xds.xds import CLUSTER, HTTP_ROUTES, LISTENER, Hub, Node, Peer
from aeraki_xds.xds.hub import Published
from aeraki_xds.xds.message import SotwRequest
from aeraki_xds.xds.resource import Scope
from aeraki_xds.xds.session import Dialect
from aeraki_xds.xds.snapshot import Changed as Names
from aeraki_xds.xds.snapshot import Snapshot
from aeraki_xds.xds.stream import Stream
from aeraki_xds.xds.tally import Change

ROUTES: Final = 3
MANY: Final = 500
"""Services a file, where a generator writes them."""

CHANGES: Final = 50
"""Changes in this process; the time is their median."""

FILE_CHANGES: Final = 20

_PORT: Final = "tcp-metaprotocol-thrift"
_PATH: Final = "/envoy.service.route.v3.RouteDiscoveryService/StreamRoutes"
_POLL_S: Final = 0.05
_PAUSE_S: Final = 0.05
"""Between two changes: each finds the server idle."""

_LIMIT_S: Final = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """One start of the server, and changes of files afterwards.

    `file_change_ms` is the median from the moment at which the file was replaced to the first byte
    of the push.
    """

    ready_s: float
    cpu_s: float
    resident_mb: float
    lag_p999_ms: float
    lag_max_ms: float
    file_change_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """One change in this process: milliseconds, median and worst, and what was done for it."""

    median_ms: float
    worst_ms: float
    hosts: int
    encoded: int
    published: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """All of one size: `starts` by the layout of the folder, a list of runs each; `changes` by who
    is served.
    """

    services: int
    starts: Mapping[str, Sequence[Started]]
    changes: Mapping[str, Changed]

    def median(self, layout: str, what: str) -> float:
        """Of the runs of a layout."""
        found: float = statistics.median([getattr(run, what) for run in self.starts[layout]])
        return found


async def run(services: int, runs: int) -> Measured:
    """Measure one size; layouts and runs take turns."""
    layouts = {f"{MANY} a file": MANY, "one a file": 1}
    starts: dict[str, list[Started]] = {layout: [] for layout in layouts}
    with tempfile.TemporaryDirectory(prefix="translation-") as work:
        for layout, per_file in layouts.items():
            write(Path(work) / layout, services, per_file)
        for n in range(runs):
            for layout, per_file in layouts.items():
                print(f"{services} services, {layout}: start {n + 1}/{runs}", file=sys.stderr)
                starts[layout].append(await start(Path(work) / layout, services, per_file))
    changes = {
        "MetaRDS": await change(services, proxy=False),
        "MetaRDS and ADS": await change(services, proxy=True),
    }
    return Measured(services=services, starts=starts, changes=changes)


# --- The mesh -------------------------------------------------------------------------------------


def host(n: int) -> str:
    """Of service number `n`; 500 share a namespace."""
    return f"svc-{n}.team-{n // MANY}.svc.cluster.local"


def objects(n: int, *, weight: int = 90) -> Iterator[dict[str, object]]:
    """The three objects of a service; calls of its last route go to v1 by `weight`."""

    def made(version: str, kind: str, spec: dict[str, object]) -> dict[str, object]:
        metadata = {"name": f"svc-{n}", "namespace": f"team-{n // MANY}"}
        return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}

    versions = ("v1", "v2")
    endpoints = [
        {"address": f"10.{n >> 8 & 255}.{n & 255}.{i}", "labels": {"version": version}}
        for i, version in enumerate(versions, 1)
    ]
    entry: dict[str, object] = {
        "hosts": [host(n)],
        "addresses": [f"127.{30 + (n >> 16)}.{n >> 8 & 255}.{n & 255}"],
        "ports": [{"number": 9090, "name": _PORT, "protocol": "TCP"}],
        "resolution": "STATIC",
        "endpoints": endpoints,
    }
    yield made("networking.istio.io/v1", "ServiceEntry", entry)
    subsets = [{"name": version, "labels": {"version": version}} for version in versions]
    yield made("networking.istio.io/v1", "DestinationRule", {"host": host(n), "subsets": subsets})
    shares = zip(versions, (weight, 100 - weight), strict=True)
    split = [{"destination": {"host": host(n), "subset": v}, "weight": w} for v, w in shares]
    routes: list[dict[str, object]] = [
        {
            "name": f"to-{version}",
            "match": {"attributes": {"method": {"exact": f"call-{version}"}}},
            "route": [{"destination": {"host": host(n), "subset": version}}],
        }
        for version in versions
    ]
    routes.append({"name": "split", "route": split})
    assert len(routes) == ROUTES
    router: dict[str, object] = {"hosts": [host(n)], "routes": routes}
    yield made("metaprotocol.aeraki.io/v1alpha1", "MetaRouter", router)


def write(folder: Path, services: int, per_file: int) -> None:
    """The whole mesh as JSON."""
    folder.mkdir(parents=True)
    for first in range(0, services, per_file):
        _file(folder, first).write_bytes(_text(range(first, min(first + per_file, services))))


def replace(folder: Path, services: int, per_file: int, *, n: int, weight: int) -> int:
    """Write the file of service `n` anew, with another weight; the moment at which it was there."""
    first = n - n % per_file
    numbers = range(first, min(first + per_file, services))
    beside = folder.with_name("new")
    beside.write_bytes(_text(numbers, changed=n, weight=weight))
    at = time.monotonic_ns()
    beside.replace(_file(folder, first))
    return at


def _file(folder: Path, first: int) -> Path:
    return folder / f"{first:06}.json"


def _text(numbers: range, *, changed: int = -1, weight: int = 90) -> bytes:
    items = [each for n in numbers for each in objects(n, weight=weight if n == changed else 90)]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items}, indent=1).encode()


# --- A server -------------------------------------------------------------------------------------


async def start(folder: Path, services: int, per_file: int) -> Started:
    """Start a server on a folder; when it is ready, change one router again and again."""
    began = time.monotonic()
    async with ControlPlane.run(folder) as plane:
        await _ready(plane)
        ready_s, cpu_s = time.monotonic() - began, process.cpu_s(plane.pid)
        late = await server.lag(plane)
        return Started(
            ready_s=ready_s,
            cpu_s=cpu_s,
            resident_mb=server.resident_mb(plane.pid),
            lag_p999_ms=late.within(0.999) * 1e3,
            lag_max_ms=late.within(1.0) * 1e3,
            file_change_ms=await _file_change_ms(plane, folder, services, per_file),
        )


async def _file_change_ms(plane: ControlPlane, folder: Path, services: int, per_file: int) -> float:
    """From a file that was replaced to the first byte of the push."""
    n = services // 2
    clients = Clients(host=plane.xds.host, port=plane.xds.port)
    took: list[float] = []
    try:
        ask = Ask(path=_PATH, type_url=HTTP_ROUTES, names=(f"{host(n)}_9090",))
        await clients.connect([ask])
        for change in range(FILE_CHANGES):
            await asyncio.sleep(_PAUSE_S)
            clients.begin_round()
            at = replace(folder, services, per_file, n=n, weight=10 + change)
            async with asyncio.timeout(_LIMIT_S):
                await clients.delivered()
            took.append((clients.deliveries_ns[0] - at) / 1e6)
    finally:
        clients.close()
        replace(folder, services, per_file, n=n, weight=90)
    return statistics.median(took)


async def _ready(plane: ControlPlane) -> None:
    async with asyncio.timeout(_LIMIT_S):
        while (await plane.get("/readyz"))["status"] != "ready":
            await asyncio.sleep(_POLL_S)


# --- The pipeline ---------------------------------------------------------------------------------


class _TimedHub(Hub):
    """Knows when it published last, and how many resources."""

    at = 0.0
    count = 0

    def put(
        self, scope: Scope, snapshot: Snapshot, changed: Names, change: Change | None = None
    ) -> Published:
        published = super().put(scope, snapshot, changed, change)
        self.at = time.perf_counter()
        self.count += sum(len(names) for names in published.changed.values())
        return published


async def change(services: int, *, proxy: bool) -> Changed:
    """One MetaRouter changes again and again; with `proxy` an Envoy takes everything there is."""
    hub = _TimedHub(clock=time.time)
    scopes = Scopes()
    pipeline = Pipeline(
        hub=hub,
        scopes=scopes,
        sources=(),
        clock=asyncio.get_running_loop().time,
        tenancy=Tenancy(),
    )
    with no_full_collections():
        running = asyncio.ensure_future(pipeline.run())
        try:
            pipeline.inbox.put([_said(each) for n in range(services) for each in objects(n)])
            streams = [_envoy(hub, scopes)] if proxy else []
            async with asyncio.timeout(_LIMIT_S):
                while not all(scope in hub.published for s in streams for scope in s.scopes):
                    await asyncio.sleep(_POLL_S)
                while not hub.serving:
                    await asyncio.sleep(_POLL_S)
            for stream in streams:
                _take(hub, stream)
            return await _changes(pipeline, hub, streams, services)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def _changes(
    pipeline: Pipeline, hub: _TimedHub, streams: Sequence[Stream], services: int
) -> Changed:
    took: list[float] = []
    *_, router = objects(services // 2)
    before = copy_of(pipeline.work)
    hub.count = 0
    for n in range(CHANGES):
        await asyncio.sleep(_PAUSE_S)
        *_, router = objects(services // 2, weight=10 + n)
        event = _said(router)
        began = time.perf_counter()
        pipeline.inbox.put([event])
        while hub.at < began:
            await asyncio.sleep(0)
        await asyncio.sleep(_PAUSE_S)  # further scopes
        took.append((hub.at - began) * 1e3)
        for stream in streams:
            _take(hub, stream)
    return Changed(
        median_ms=statistics.median(took),
        worst_ms=max(took),
        hosts=(pipeline.work.hosts - before.hosts) // CHANGES,
        encoded=(pipeline.work.encoded - before.encoded) // CHANGES,
        published=hub.count // CHANGES,
    )


def _said(document: dict[str, object]) -> Upsert:
    said = decode(document, origin="benchmark")
    assert isinstance(said, Upsert), said
    return said


def _envoy(hub: Hub, scopes: Scopes) -> Stream:
    """A proxy on an aggregated stream that takes all clusters and listeners."""
    node = Node(id="sidecar~10.0.0.1~a.team-0~-")
    peer = Peer(address="127.0.0.1:1")
    admitted = scopes.admit(node, peer, only=None)
    assert isinstance(admitted, tuple), admitted
    stream = hub.open(
        node=node, peer=peer, scopes=admitted, dialect=Dialect.SOTW, wake=lambda: None
    )
    for type_url in (CLUSTER, LISTENER):
        hub.receive(stream, SotwRequest(type_url=type_url))
    return stream


def _take(hub: Hub, stream: Stream) -> None:
    while (response := hub.next(stream)) is not None:
        hub.accept(stream, response.type_url, response.nonce)


# --- The table ------------------------------------------------------------------------------------


def report(found: Sequence[Measured]) -> None:
    """Print the medians, a column for each size."""
    runs = len(next(iter(found[0].starts.values())))
    print(
        f"services with {ROUTES} routes each, JSON; medians of {runs} starts, {CHANGES} changes\n"
    )
    print(f"{'':44}" + "".join(f"{each.services:>12,}" for each in found))
    for layout in found[0].starts:
        for title, what in (
            ("process start → ready, s", "ready_s"),
            ("CPU of it, s", "cpu_s"),
            ("resident memory, MiB", "resident_mb"),
            ("event-loop lag p99.9, ms (bound)", "lag_p999_ms"),
            ("event-loop lag, worst, ms (bound)", "lag_max_ms"),
            ("file replaced → first byte, ms", "file_change_ms"),
        ):
            cells = "".join(f"{each.median(layout, what):>12.2f}" for each in found)
            print(f"{f'{layout}: {title}':44}{cells}")
    for served in found[0].changes:
        for title, of in (
            ("event → published, ms", "median_ms"),
            ("the worst, ms", "worst_ms"),
            ("hosts composed", "hosts"),
            ("resources encoded", "encoded"),
            ("resources published", "published"),
        ):
            cells = "".join(f"{_cell(getattr(each.changes[served], of))}" for each in found)
            print(f"{f'{served}: {title}':44}{cells}")


def _cell(value: float) -> str:
    return f"{value:>12}" if isinstance(value, int) else f"{value:>12.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--services", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print the raw figures")
    given = parser.parse_args()
    configure_logging(level="error", log_format="text")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = [runner.run(run(services, given.runs)) for services in given.services]
    if given.json:
        plain: list[dict[str, Any]] = [asdict(each) for each in found]
        print(json.dumps(plain, indent=1))
    else:
        report(found)


if __name__ == "__main__":
    main()
