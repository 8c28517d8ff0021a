"""What was counted, in Prometheus's text format.

In: the plain numbers of hub, pipeline and lag meter, read when somebody scrapes; nothing of
prometheus-client is touched in between. Out: the text of `/metrics`. Guaranteed: a label's value is
ours (a type of a closed set, a dialect, a source that was configured), never a peer's text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from aeraki_xds.admin.lag import LagMeter
from aeraki_xds.admin.proxies import service_of
from aeraki_xds.mesh.problems import Severity
from aeraki_xds.pipeline import Pipeline
from aeraki_xds.pipeline.written import WriteState
from aeraki_xds.state import State
from aeraki_xds.xds.hub import Hub
from aeraki_xds.xds.tally import Histogram, short_name
from aeraki_xds.xds.wire import XdsServer

_PREFIX = "aeraki_xds_"

_COUNTED = {
    "pushes": "Responses sent.",
    "push_bytes": "Bytes of the resources in responses, before gRPC and HTTP/2.",
    "acks": "Responses that a proxy accepted.",
    "nacks": "Responses that a proxy refused.",
    "stale": "Requests that a proxy made before it saw our newest response; they change nothing.",
}


class Metrics(Collector):
    """Registers itself, and what is known of the process, in a registry of its own."""

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        hub: Hub,
        xds: XdsServer,
        lag: LagMeter,
        state: State | None = None,
        written: Callable[[], WriteState | None] = lambda: None,
    ) -> None:
        self._written = written
        self._pipeline = pipeline
        self._xds = xds
        self._state = state
        self._hub = hub
        self._lag = lag
        self._registry = CollectorRegistry()
        self._registry.register(self)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)

    def text(self) -> bytes:
        """The page."""
        return generate_latest(self._registry)

    def describe(self) -> Iterator[Metric]:
        """Nothing: registering must not collect."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Everything as it is now."""
        yield self._connected()
        yield from self._on_the_wire()
        yield from self._by_type()
        yield from self._configuration()
        yield from self._convergence()
        yield from self._writing()
        yield _histogram(
            "event_loop_lag_seconds", "How late the event loop runs its timers.", self._lag.seconds
        )

    def _writing(self) -> Iterator[Metric]:
        """EnvoyFilters into a cluster, where somebody writes them."""
        state = self._written()
        if state is None:
            return
        yield _gauge("leader", "1 while this replica writes EnvoyFilters.", int(state.leads))
        standing = GaugeMetricFamily(
            f"{_PREFIX}envoyfilters",
            "Objects for Istio that are not as they are wanted, by why.",
            labels=["why"],
        )
        standing.add_metric(["pending"], state.pending)
        standing.add_metric(["waiting"], len(state.waiting))
        standing.add_metric(["conflict"], len(state.conflicts))
        standing.add_metric(["failed"], len(state.failures))
        yield standing
        done = CounterMetricFamily(
            f"{_PREFIX}envoyfilter_writes", "Writes into the cluster.", labels=["outcome"]
        )
        for outcome, count in asdict(state.counts).items():
            done.add_metric([outcome], count)
        yield done

    def _connected(self) -> Metric:
        counts = Counter(
            (stream.session.dialect.value, service_of(stream)) for stream in self._hub.streams
        )
        family = GaugeMetricFamily(
            f"{_PREFIX}connected", "Connected streams.", labels=["dialect", "service"]
        )
        for labels, count in sorted(counts.items() or {("sotw", "ads"): 0}.items()):
            family.add_metric(labels, count)
        return family

    def _on_the_wire(self) -> Iterator[Metric]:
        yield _gauge("connections", "Open connections.", self._xds.connections)
        counts = self._xds.counts
        yield _refused(
            "connections",
            "Connections that were not made or were closed at once.",
            {reason.value: count for reason, count in counts.connections_refused.items()},
        )
        yield _refused(
            "streams",
            "Streams that were not served, or not served on.",
            {reason.value: count for reason, count in counts.streams_refused.items()},
        )
        yield CounterMetricFamily(
            f"{_PREFIX}write_failures",
            "Faults of this server that cost a stream.",
            value=counts.write_failures,
        )

    def _by_type(self) -> Iterator[Metric]:
        for name, text in _COUNTED.items():
            family = CounterMetricFamily(_PREFIX + name, text, labels=["type"])
            for short, totals in self._hub.tally.by_type.items():
                family.add_metric([short], getattr(totals, name))
            yield family

    def _configuration(self) -> Iterator[Metric]:
        scopes = self._hub.published
        yield _gauge("scopes", "Scopes that are composed.", len(scopes))
        held: Counter[str] = Counter()
        for scope in scopes:
            snapshot = self._hub.snapshot(scope)
            for type_url, collection in snapshot.collections.items() if snapshot else ():
                held[short_name(type_url)] += len(collection.resources)
        family = GaugeMetricFamily(
            f"{_PREFIX}resources", "Resources of all scopes together.", labels=["type"]
        )
        for short in self._hub.tally.by_type:
            family.add_metric([short], held[short])
        yield family
        wrong = Counter(entry.problem.severity for entry in self._pipeline.report)
        family = GaugeMetricFamily(
            f"{_PREFIX}rejections",
            "Problems of the configuration (/debug/rejections).",
            labels=["severity"],
        )
        for severity in Severity:
            family.add_metric([severity.value], wrong[severity])
        yield family
        family = GaugeMetricFamily(
            f"{_PREFIX}source_stale_since_seconds",
            "When a source was lost, in seconds since the epoch; 0 while it is not.",
            labels=["source"],
        )
        for source, state in self._pipeline.sources.items():
            family.add_metric([source], state.stale_since)
        yield family
        yield _gauge(
            "state_stale_since_seconds",
            "Since when the state folder cannot be written, in seconds since the epoch; 0 while it "
            "can, or there is none.",
            self._state.failing_since if self._state is not None else 0,
        )

    def _convergence(self) -> Iterator[Metric]:
        convergence = self._pipeline.convergence
        yield _histogram(
            "convergence_seconds",
            "From a source's event to the last ACK of the proxies that it concerned.",
            convergence.seconds,
        )
        yield _gauge(
            "convergence_under_way",
            "Changes that a proxy has yet to answer.",
            convergence.under_way,
        )
        yield _gauge(
            "convergence_oldest_seconds", "Age of the oldest of these changes.", convergence.oldest
        )


def _refused(what: str, text: str, by_reason: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(f"{_PREFIX}{what}_refused", text, labels=["reason"])
    for reason, count in by_reason.items():
        family.add_metric([reason], count)
    return family


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(_PREFIX + name, text, value=value)


def _histogram(name: str, text: str, of: Histogram) -> Metric:
    buckets: list[tuple[str, float]] = []
    count = 0
    for bound, inside in zip((*of.bounds, None), of.counts, strict=True):
        count += inside
        buckets.append(("+Inf" if bound is None else str(bound), count))
    return HistogramMetricFamily(_PREFIX + name, text, buckets=buckets, sum_value=of.total)
