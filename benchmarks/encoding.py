"""What encoding a route table costs: betterproto2's own encoder against ours, in one run.

In: nothing. Out: microseconds per route of a table of 100 routes, made by translation from one
router: MetaRDS, and the same rules for Envoy's Thrift filter. The bytes of both encoders are
compared first; then they take turns, so that a busy machine slows both.

    python benchmarks/encoding.py

It is here to show what the generated encoders of `encode.py` are for.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from aeraki_xds.encode import Message, encode
from aeraki_xds.ingest.decode import decode
from aeraki_xds.mesh.change import Upsert
from aeraki_xds.mesh.graph import Graph
from aeraki_xds.mesh.names import Host
from aeraki_xds.mesh.store import Store
from aeraki_xds.translate import metards, thrift

ROUTES = 100
REPETITIONS = 40
OURS_EACH = 20  # tables per repetition: ours is that much faster, and the clock is coarse
HOST = Host("orders.shop.svc.cluster.local")
PORTS = {"metards": 9090, "thrift": 9091}


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Microseconds per route."""

    best: float
    median: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One table by both encoders; `size` in bytes."""

    table: str
    size: int
    betterproto2: Timing
    ours: Timing

    @property
    def ratio(self) -> float:
        """How many times faster ours is, by the medians."""
        return self.betterproto2.median / self.ours.median


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one run found. `first_ms`, in a fresh process, includes making the encoders."""

    routes: int
    first_ms: float
    tables: tuple[Comparison, ...]


def measure(*, routes: int = ROUTES, repetitions: int = REPETITIONS) -> Measured:
    """Time both encoders on both tables."""
    made = tables(routes)
    started = time.perf_counter()
    encode(made["metards"])
    first = time.perf_counter() - started
    compared = tuple(_compare(name, made[name], routes, repetitions) for name in made)
    return Measured(routes=routes, first_ms=first * 1e3, tables=compared)


def tables(routes: int) -> dict[str, Message]:
    """The route tables of one router: each rule matches a method and shifts traffic."""
    events = [decode(document, origin="benchmark") for document in _documents(routes)]
    upserts = [event for event in events if isinstance(event, Upsert)]
    assert len(upserts) == len(events), events
    graph = Graph()
    graph.update(Store().apply(upserts))
    declared = graph.service(HOST)
    assert declared is not None
    (http,) = metards.routes_of(graph, HOST).drafts
    (trds,) = thrift.routes_of(graph, declared[0], PORTS["thrift"]).drafts
    found = {"metards": http.message, "thrift": trds.message}
    return {name: each for name, each in found.items() if isinstance(each, Message)}


def _documents(routes: int) -> Iterator[dict[str, object]]:
    def object_of(group: str, kind: str, spec: dict[str, object]) -> dict[str, object]:
        metadata = {"name": "orders", "namespace": "shop"}
        return {"apiVersion": group, "kind": kind, "metadata": metadata, "spec": spec}

    ports = [
        {"number": PORTS["metards"], "name": "tcp-metaprotocol-dubbo"},
        {"number": PORTS["thrift"], "name": "tcp-thrift"},
    ]
    entry = {"hosts": [HOST], "ports": ports, "resolution": "STATIC"}
    entry["endpoints"] = [{"address": "10.0.0.1"}]
    yield object_of("networking.istio.io/v1", "ServiceEntry", entry)
    subsets = [{"name": name, "labels": {"version": name}} for name in ("v1", "v2")]
    rule: dict[str, object] = {"host": HOST, "subsets": subsets}
    yield object_of("networking.istio.io/v1", "DestinationRule", rule)
    shares = [
        {"destination": {"host": HOST, "subset": subset}, "weight": weight}
        for subset, weight in (("v1", 90), ("v2", 10))
    ]
    rules = [
        {
            "name": f"method-{n}",
            "match": {"attributes": {"method": {"exact": f"method{n}"}}},
            "route": shares,
        }
        for n in range(routes)
    ]
    router: dict[str, object] = {"hosts": [HOST], "routes": rules}
    yield object_of("metaprotocol.aeraki.io/v1alpha1", "MetaRouter", router)


def _compare(name: str, table: Message, routes: int, repetitions: int) -> Comparison:
    body = bytes(table)
    assert encode(table) == body
    theirs: list[float] = []
    ours: list[float] = []
    gc.collect()
    for _ in range(repetitions):
        theirs.append(_per_route(bytes, table, routes, 1))
        ours.append(_per_route(encode, table, routes, OURS_EACH))
    return Comparison(table=name, size=len(body), betterproto2=_timing(theirs), ours=_timing(ours))


def _per_route(
    encoder: Callable[[Message], bytes], table: Message, routes: int, times: int
) -> float:
    started = time.perf_counter()
    for _ in range(times):
        encoder(table)
    return (time.perf_counter() - started) / (times * routes) * 1e6


def _timing(runs: list[float]) -> Timing:
    return Timing(best=min(runs), median=statistics.median(runs))


def main() -> None:
    """Print the figures."""
    found = measure()
    print(f"µs per route, {found.routes} routes a table     best  median")
    for each in found.tables:
        for encoder, timing in (("betterproto2", each.betterproto2), ("ours", each.ours)):
            print(f"{each.table:8} {encoder:26} {timing.best:7.2f} {timing.median:7.2f}")
        print(f"{each.table:8} {each.size} bytes, {each.ratio:.0f} times faster")
    print(f"the first table of the process, encoders included: {found.first_ms:.1f} ms")


if __name__ == "__main__":
    main()
