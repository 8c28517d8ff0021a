"""Who serves a port: what a ServiceEntry lists, or the objects that it does not name itself.

In: the graph and a port. Out: its `Member`s, ready ones only, each address once. A ServiceEntry is
served by its endpoints, else by the WorkloadEntries that it selects; a Kubernetes Service by its
EndpointSlices, with the labels of the Pods behind them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from aeraki_xds.mesh.addresses import is_address
from aeraki_xds.mesh.graph import Graph
from aeraki_xds.mesh.links import pods_of, selected_topic, slices_topic
from aeraki_xds.mesh.objects import (
    EndpointSlice,
    Pod,
    ServiceEntry,
    SyntheticServiceEntry,
    WorkloadEndpoint,
    WorkloadEntry,
)
from aeraki_xds.mesh.service import Port


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One that serves a port, at a number of its own. `labels` None: they are those of a Pod that
    nobody has told of yet, or no more."""

    address: str
    number: int
    labels: Mapping[str, str] | None
    weight: int = 0
    locality: str = ""


def members_of(graph: Graph, port: Port) -> tuple[Member, ...]:
    """Who serves a port, in no order. Where a number is not said it is the target port's, else the
    port's own."""
    entry = port.entry
    if isinstance(entry, SyntheticServiceEntry):
        found = _of_slices(graph, entry, port)
        return tuple({(each.address, each.number): each for each in found}.values())
    endpoints = entry.spec.endpoints or _selected(graph, entry)
    return tuple(
        Member(
            address=each.address,
            number=each.ports.get(port.spec.name) or _default(port),
            labels=each.labels,
            weight=each.weight,
            locality=each.locality,
        )
        for each in endpoints
    )


def slices_of(graph: Graph, entry: SyntheticServiceEntry) -> list[EndpointSlice]:
    """The EndpointSlices of a Service, as far as they are read."""
    found = graph.settles(slices_topic(entry))
    return [each for each in found if isinstance(each, EndpointSlice)]


def target_numbers(graph: Graph, entry: SyntheticServiceEntry, name: str) -> frozenset[int]:
    """Where the Pods of a Service listen for its port of that name, ready or not; nothing where no
    slice tells."""
    ports = (port for each in slices_of(graph, entry) for port in each.ports)
    return frozenset(port.port for port in ports if port.name == name and port.port)


def _default(port: Port) -> int:
    return port.spec.target_port or port.number


def _selected(graph: Graph, entry: ServiceEntry) -> Iterator[WorkloadEndpoint]:
    """The workloads that an entry selects, with the labels that selectors see."""
    topic, selector = selected_topic(entry), entry.spec.workload_selector
    if topic is None or selector is None:
        return
    for each in graph.settles(topic):
        if isinstance(each, WorkloadEntry) and selector.labels.items() <= each.labels.items():
            spec = each.spec
            if entry.spec.resolution != "STATIC" or is_address(spec.address):
                yield WorkloadEndpoint(
                    address=spec.address,
                    ports=spec.ports,
                    labels=each.labels,
                    weight=spec.weight,
                    locality=spec.locality,
                )


def _of_slices(graph: Graph, entry: SyntheticServiceEntry, port: Port) -> Iterator[Member]:
    """The endpoints that are ready, which those are not that are about to end: Kubernetes sends no
    new calls there. Of a Service with addresses of both families, those of the first one's: the
    other slices tell of the same Pods.
    """
    family = _family(entry)
    for each in slices_of(graph, entry):
        if each.address_type not in family:
            continue
        numbers = [it.port or _default(port) for it in each.ports if it.name == port.spec.name]
        for endpoint, pod in zip(each.endpoints, pods_of(each), strict=True):
            if not endpoint.conditions.ready or not endpoint.addresses:
                continue
            pods = graph.settles(pod) if pod else []
            known = pods[0].metadata.labels if pods and isinstance(pods[0], Pod) else None
            for number in numbers:
                yield Member(
                    address=endpoint.addresses[0],
                    number=number,
                    labels=known if pod else {},
                    locality=f"/{endpoint.zone}" if endpoint.zone else "",
                )


def _family(entry: ServiceEntry) -> tuple[str, ...]:
    """The address types of the slices that count."""
    addresses = entry.spec.addresses
    try:
        version = ipaddress.ip_address(addresses[0]).version if addresses else 0
    except ValueError:
        version = 0
    return (f"IPv{version}",) if version else ("IPv4", "IPv6")
