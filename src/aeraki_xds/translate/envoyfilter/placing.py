"""Where filters go: names, namespaces, selectors and listeners of EnvoyFilters.

In: a site and what its protocol made of it. Out: EnvoyFilter objects (specification §3.0), one for
each address of the service and one for its workloads. Names are part of the contract with users,
who grep for them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import unquote

from aeraki_xds.mesh.graph import Graph
from aeraki_xds.mesh.links import workloads_topic
from aeraki_xds.mesh.names import Kind
from aeraki_xds.mesh.objects import MetaRouter, ServiceEntry, SyntheticServiceEntry
from aeraki_xds.mesh.ports import parse_port_name
from aeraki_xds.mesh.problems import Problem, warning
from aeraki_xds.mesh.service import Port, plain_addresses
from aeraki_xds.mesh.validation.names import is_object_name
from aeraki_xds.mesh.workloads import target_numbers
from aeraki_xds.translate.envoyfilter.profile import EnvoyFilters, Mend
from aeraki_xds.translate.envoyfilter.site import Generated, NetworkFilter, Site
from aeraki_xds.translate.envoyfilter.values import Json, message, typed_struct
from aeraki_xds.translate.output import Draft, Manifest, Output

TCP_PROXY: Final = "envoy.filters.network.tcp_proxy"
SELECTOR: Final = "workloadSelector"
"""Annotation of a ServiceEntry: the label of its workloads, where its spec names none."""

_LONGEST_NAME: Final = 253
_NOBODY: Final = {"app": ""}
"""What Aeraki selects where nothing is said."""
_OPTED_IN: Final = {"metadata": {"AERAKI_META_PROTOCOL": "true"}}


def place(site: Site, generated: Generated) -> Output:
    """The objects of one port."""
    findings = list(generated.findings)
    drafts: list[Draft] = []
    if generated.outbound is not None:
        made, problems = _outbound(site, generated.outbound, generated.patches)
        drafts += made
        findings += (site.finding(problem) for problem in problems)
    if generated.inbound is not None:
        labels = _labels(site)
        placed = _inbound(site, generated.inbound, labels)
        if isinstance(placed, Problem):
            findings.append(site.finding(placed))
        else:
            drafts += placed
        nowhere = isinstance(placed, Problem) or not placed or labels == _NOBODY
        elsewhere = None if nowhere else _elsewhere(site)
        if elsewhere is not None:
            findings.append(site.finding(elsewhere))
        if nowhere or elsewhere is not None:
            findings += generated.enforcing
    return Output(drafts=tuple(drafts), findings=tuple(findings), held=generated.held)


def envoy_filter(
    namespace: str, name: str, patches: Iterable[Json], labels: dict[str, str] | None = None
) -> Draft:
    """An EnvoyFilter; without labels it is for every proxy of the namespace."""
    selector: Json = {} if labels is None else {"workloadSelector": message(labels=labels)}
    spec = {**selector, "configPatches": list(patches)}
    manifest = Manifest(kind="EnvoyFilter", namespace=namespace, name=name, spec=spec)
    return Draft.to_write(manifest)


def filter_patch(
    of: NetworkFilter, listener: str, delivery: EnvoyFilters, destination_port: int = 0
) -> Json:
    """The patch that puts a filter in the place of a listener's TCP proxy, or before it."""
    chain: Json = {"filter": {"name": TCP_PROXY}}
    if destination_port:
        chain["destinationPort"] = destination_port
    match: Json = {"listener": {"name": listener, "filterChain": chain}}
    if delivery.has(Mend.OPT_IN) and "aeraki" in of.message:
        match["proxy"] = _OPTED_IN
    value = {"name": of.name, "typed_config": typed_struct(of.message, of.config)}
    return {
        "applyTo": "NETWORK_FILTER",
        "match": match,
        "patch": {"operation": of.operation, "value": value},
    }


def object_name(wanted: str, field: str, delivery: EnvoyFilters) -> str | Problem:
    """A name that Kubernetes takes: the wanted one, or where it is none, one made of it. `field` is
    what spoils it."""
    if is_object_name(wanted):
        return wanted
    if not delivery.has(Mend.VALID_NAMES):
        text = f"{wanted} is no name of an object: nothing is written (--with valid-names)"
        return warning(field, text)
    made = re.sub(r"[^a-z0-9.-]", "-", wanted.lower())
    digest = hashlib.blake2b(wanted.encode(), digest_size=4).hexdigest()
    cut = made[: _LONGEST_NAME - len(digest) - 1].rstrip(".-")
    made = f"{cut}-{digest}"
    return made if is_object_name(made) else warning(field, f"{wanted} is no name")


def _outbound(
    site: Site, of: NetworkFilter, patches: tuple[Json, ...]
) -> tuple[list[Draft], list[Problem]]:
    drafts: list[Draft] = []
    problems: list[Problem] = []
    addresses = list(_addresses(site))
    if not addresses:
        text = "no address of its own: no outbound filter, calls pass through as TCP"
        problems.append(warning("spec.addresses", text))
    for n, address in enumerate(addresses):
        wanted = f"aeraki-outbound-{site.host}-{address}-{site.number}"
        name = object_name(wanted, "spec.addresses", site.delivery)
        if isinstance(name, Problem):
            problems.append(name)
            continue
        follow = patches if n == 0 or not site.has(Mend.ASKED_CLUSTERS) else ()
        whole = [filter_patch(of, f"{address}_{site.number}", site.delivery), *follow]
        drafts += (
            envoy_filter(namespace, name, whole)
            for namespace in _namespaces(site, is_inbound=False)
        )
    return drafts, problems


def _addresses(site: Site) -> tuple[str, ...]:
    """Listeners are named by the addresses of the entry, as it writes them."""
    if site.has(Mend.VALID_NAMES):
        return plain_addresses(site.entry)
    return tuple(dict.fromkeys(site.entry.spec.addresses))


def _inbound(
    site: Site, of: NetworkFilter, labels: dict[str, str] | Problem | None
) -> list[Draft] | Problem:
    """The filter for the workloads of the service; none where nothing tells which these are."""
    if not isinstance(labels, dict):
        return labels or []
    number = inbound_number(site.graph, site.port, site.delivery)
    if isinstance(number, Problem):
        return number
    name = object_name(f"aeraki-inbound-{site.host}-{site.number}", "spec.hosts", site.delivery)
    if isinstance(name, Problem):
        return name
    patch = filter_patch(of, "virtualInbound", site.delivery, destination_port=number)
    return [
        envoy_filter(namespace, name, [patch], labels)
        for namespace in _namespaces(site, is_inbound=True)
    ]


def inbound_number(graph: Graph, port: Port, delivery: EnvoyFilters) -> int | Problem:
    """Where the inbound filter of a port is."""
    return workload_port(graph, port) if delivery.has(Mend.TARGET_PORT) else port.number


def workload_port(graph: Graph, port: Port) -> int | Problem:
    """The port that the workload listens on, by which Istio names its inbound chain."""
    entry = port.entry
    if isinstance(entry, SyntheticServiceEntry) and port.number in entry.target_names:
        return _named_port(graph, entry, port)
    default = port.spec.target_port or port.number
    endpoints = entry.spec.endpoints
    numbers = {each.ports.get(port.spec.name) or default for each in endpoints} or {default}
    if len(numbers) > 1:
        text = "endpoints listen on different ports: no inbound filter"
        return warning("spec.endpoints", text)
    return numbers.pop()


def _named_port(graph: Graph, entry: SyntheticServiceEntry, port: Port) -> int | Problem:
    """The number of a port that the Pods give a name, where EndpointSlices are read and agree."""
    numbers = target_numbers(graph, entry, port.spec.name)
    if len(numbers) == 1:
        return next(iter(numbers))
    which = "is not the same in all of them" if numbers else "is not known here"
    text = (
        f"{entry.target_names[port.number]!r} is a port of the pods, whose number {which}: "
        "no inbound filter; write the number"
    )
    return warning(f"{port.field}.targetPort", text)


def _elsewhere(site: Site) -> Problem | None:
    """That Aeraki puts the inbound filter at a port on which the workload does not listen (M-4)."""
    if site.has(Mend.TARGET_PORT):
        return None
    number = workload_port(site.graph, site.port)
    if number == site.number:
        return None
    where = "another" if isinstance(number, Problem) else str(number)
    text = (
        f"the inbound filter is at port {site.number}, as Aeraki's; the workload listens on "
        f"{where} (--with target-port)"
    )
    return warning(f"{site.port.field}.targetPort", text)


def crowding(site: Site) -> list[ServiceEntry]:
    """The other entries whose inbound filters are for the same port of the same workloads. Of these
    filters Istio puts in only one: each replaces the TCP proxy."""
    topic = workloads_topic(site.entry)
    number = inbound_number(site.graph, site.port, site.delivery)
    others = site.graph.settles(topic) if topic else []
    return [
        other
        for other in others
        if isinstance(other, ServiceEntry)
        and other is not site.entry
        and number in _inbound_numbers(site.graph, other, site.delivery)
    ]


def _inbound_numbers(
    graph: Graph, entry: ServiceEntry, delivery: EnvoyFilters
) -> set[int | Problem]:
    """Where an entry's protocols have inbound filters."""
    any_transport = not delivery.has(Mend.TCP_PORTS)
    return {
        inbound_number(graph, Port(spec=spec, protocol=None, entry=entry), delivery)
        for spec in entry.spec.ports
        if parse_port_name(spec.name, any_transport=any_transport)
    }


def _labels(site: Site) -> dict[str, str] | Problem | None:
    """The labels of the workloads: the entry's selector, else its annotation (specification §2.6).

    Without either, Aeraki selects `app: ""`, which nobody has.
    """
    selector = site.entry.spec.workload_selector
    if selector is not None and selector.labels:
        return dict(sorted(selector.labels.items()))
    is_service = isinstance(site.entry, SyntheticServiceEntry)
    readable = not is_service or site.has(Mend.SERVICE_ANNOTATIONS)
    written = site.entry.metadata.annotations.get(SELECTOR, "") if readable else ""
    field = f"metadata.annotations[{SELECTOR}]"
    if not site.has(Mend.OWN_SELECTOR):
        return _one_label(written.replace(" ", ""), field)
    return _several_labels(unquote(written).replace(" ", ""), field)


def _one_label(written: str, field: str) -> dict[str, str] | Problem:
    """`value` or `key:value`."""
    parts = written.split(":")
    if len(parts) == 1:
        return {"app": written}
    if len(parts) == 2:
        return {parts[0]: parts[1]}
    text = "more than one colon: no inbound filter (--with own-selector reads `k=v,k2=v2`)"
    return warning(field, text)


def _several_labels(written: str, field: str) -> dict[str, str] | Problem | None:
    """`value`, or `key=value` and `key:value`, several with commas; None for nothing."""
    if not written:
        return None
    if not re.search(r"[=:,]", written):
        return {"app": written}
    labels: dict[str, str] = {}
    for part in written.split(","):
        key, sign, value = re.sub(":", "=", part, count=1).partition("=")
        if not (key and sign and value) or ":" in value or "=" in value:
            return warning(field, f"{part!r} is not `key=value`: no inbound filter")
        labels[key] = value
    return dict(sorted(labels.items()))


def _namespaces(site: Site, *, is_inbound: bool) -> list[str]:
    """Where the objects of a direction are (specification §3.0)."""
    graph = site.graph
    router = router_of(site)
    exports = not is_inbound or not site.has(Mend.OUTBOUND_EXPORT)
    if router is not None and router.spec.export_to and exports:
        return sorted(set(_exported(site, router)))
    scoped = site.delivery.namespace_scope
    if scoped and not is_inbound and site.has(Mend.OUTBOUND_EVERYWHERE):
        scoped = False
    return [site.namespace if scoped else graph.tenancy.root]


def router_of(site: Site) -> MetaRouter | None:
    """The MetaRouter that is about the host; Aeraki compares names as they are written (M-27)."""
    routers = site.graph.in_force(Kind.META_ROUTER, site.service.host)
    any_spelling = site.has(Mend.FULL_HOSTS)
    about = (r for r in routers if isinstance(r, MetaRouter))
    return next((r for r in about if any_spelling or site.host in r.spec.hosts), None)


def _exported(site: Site, router: MetaRouter) -> Iterator[str]:
    """The namespaces that a router exports to, as far as it may; its own if it may to none."""
    own, tenancy = router.metadata.namespace, site.graph.tenancy
    allowed = [n for n in router.spec.export_to if n == "*" or tenancy.lends(router, n)]
    for namespace in allowed or ["."]:
        yield {".": own, "*": tenancy.root}.get(namespace, namespace)
