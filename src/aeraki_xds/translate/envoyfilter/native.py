"""Whose rules route a Dubbo or a Thrift port, and where they send.

In: a site. Out: the router in force, and its rules with clusters in place of destinations: either
as they are meant (`Routing.rules`, resolved as for ADS), or as Aeraki reads a VirtualService
(`written`). Whatever is read less than fully is said, with the switch that changes it.
Source: specification §2.5, §3.2, §3.3; rulings "two routers for one host", "VirtualService →
Thrift".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from msgspec import structs

from aeraki_xds.mesh.names import Kind, Namespace, Subset, cluster_name
from aeraki_xds.mesh.objects import HttpRoute, MetaRouter, VirtualService, key_of
from aeraki_xds.mesh.objects.istio import IstioDestination
from aeraki_xds.mesh.problems import Finding, Problem, error, warning
from aeraki_xds.mesh.rules import Routing, Rule, Target, applies_to_mesh, rules_of, unread
from aeraki_xds.translate.destinations import Destination, resolve
from aeraki_xds.translate.envoyfilter.profile import Mend
from aeraki_xds.translate.envoyfilter.site import Site

_OURS = "Aeraki"
"""The label `manager` of VirtualServices that are output, not input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """An http entry of a VirtualService as Aeraki reads it: its field, and where it sends."""

    field: str
    route: HttpRoute
    destinations: tuple[Destination, ...]


def routing(site: Site, matches: Mend) -> Routing:
    """How calls to a port are routed.

    `matches` is the mend under which the protocol takes rules as they are meant; without it the
    rules of a VirtualService are for `written` to read, and `unread` says only what both leave out.
    """
    graph, host = site.graph, site.service.host
    if not site.has(Mend.NATIVE_ROUTER):
        found = _by_virtual_service(site, matches)
        unused = unused_routers(site, f"(--with {Mend.NATIVE_ROUTER})")
        return structs.replace(found, findings=found.findings + unused)
    router = graph.router(host)
    if router.router is not None or (router.held and not graph.blind):
        return graph.routing(host)
    return _by_virtual_service(site, matches)


def unused_routers(site: Site, remedy: str = "") -> tuple[Finding, ...]:
    """What MetaRouters ask of a host whose filter asks no MetaRouter."""
    message = f"has no effect on a {site.protocol.protocol} port {remedy}".rstrip()
    return tuple(
        Finding(key=key_of(item), problem=warning(field, message))
        for item in site.graph.in_force(Kind.META_ROUTER, site.service.host)
        if isinstance(item, MetaRouter)
        for field, value in (
            ("spec.routes", item.spec.routes),
            ("spec.localRateLimit", item.spec.local_rate_limit),
            ("spec.globalRateLimit", item.spec.global_rate_limit),
        )
        if value
    )


def written(
    site: Site, item: VirtualService, matches: Mend
) -> tuple[tuple[Written, ...], tuple[Problem, ...]]:
    """The http entries as Aeraki reads them: only the subset of a destination counts.

    An entry without destinations is left out; Aeraki crashes there (P-9).
    """
    entries: list[Written] = []
    problems: list[Problem] = []
    for n, route in enumerate(item.spec.http):
        field = f"spec.http[{n}]"
        named = [
            (f"{field}.route[{m}].destination", each.destination, each.weight)
            for m, each in enumerate(route.route)
            if each.destination is not None
        ]
        if not named:
            problems.append(without_targets(field))
            continue
        destinations = tuple(_destination(site, *each) for each in named)
        entries.append(Written(field=field, route=route, destinations=destinations))
        namespace = Namespace(item.metadata.namespace)
        for path, destination, _ in named:
            problems += _unheeded(site, destination, path, namespace, matches)
        problems += _unknown(site, field, destinations)
    return tuple(entries), tuple(problems)


def without_targets(field: str) -> Problem:
    """A rule sends nowhere."""
    return warning(f"{field}.route", "is empty: only HTTP means that; it is left out")


def _destination(site: Site, path: str, destination: IstioDestination, weight: int) -> Destination:
    subset = Subset(destination.subset)
    target = Target(
        host=site.service.host, subset=subset, port=site.number, weight=weight, field=path
    )
    return Destination(
        cluster=cluster_name(site.host, site.number, subset), weight=weight, target=target
    )


def _unheeded(
    site: Site, destination: IstioDestination, path: str, namespace: Namespace, matches: Mend
) -> Iterator[Problem]:
    remedy = f"(--with {matches})"
    if site.graph.full(destination.host, namespace) != site.service.host:
        yield warning(f"{path}.host", f"is ignored: calls go to {site.host} {remedy}")
    port = destination.port.number if destination.port else 0
    if port not in (0, site.number):
        yield warning(f"{path}.port.number", f"is ignored: calls go to {site.number} {remedy}")


def _unknown(site: Site, field: str, destinations: Iterable[Destination]) -> Iterator[Problem]:
    """Subsets that nobody declares: Aeraki names their clusters all the same."""
    rule = Rule(field=field, targets=tuple(each.target for each in destinations))
    _, problems = resolve(site.graph, (rule,), site.number)
    yield from (warning(each.field, each.message) for each in problems)


def _by_virtual_service(site: Site, matches: Mend) -> Routing:
    graph, host = site.graph, site.service.host
    chosen, findings = _virtual_services(site)
    if not chosen:
        held = graph.is_held(Kind.VIRTUAL_SERVICE, host)
        return Routing(by_default=not held, held=held, findings=tuple(findings))
    oldest = chosen[0]
    message = f"conflict: {host} is routed by the older {key_of(oldest)}"
    findings += [
        Finding(key=key_of(other), problem=error("spec.hosts", message)) for other in chosen[1:]
    ]
    problems = [p for p in unread(oldest) if site.has(matches) or ".match[" not in p.field]
    if not oldest.spec.http:
        problems.append(_without_rules(site))
    findings += [Finding(key=key_of(oldest), problem=each) for each in problems]
    return Routing(
        router=oldest,
        rules=rules_of(oldest, graph.full) if site.has(matches) else (),
        by_default=not oldest.spec.http and site.has(Mend.DEFAULT_ROUTE),
        findings=tuple(findings),
    )


def _virtual_services(site: Site) -> tuple[list[VirtualService], list[Finding]]:
    """Those that route the host, oldest first, and what is said of the others (§2.5, M-27)."""
    found = [
        item
        for item in site.graph.in_force(Kind.VIRTUAL_SERVICE, site.service.host)
        if isinstance(item, VirtualService) and item.metadata.labels.get("manager") != _OURS
    ]
    if site.has(Mend.FULL_HOSTS):
        return [item for item in found if applies_to_mesh(item)], []
    findings: list[Finding] = []
    chosen: list[VirtualService] = []
    for item in found:
        if site.host in item.spec.hosts:
            chosen.append(item)
        elif applies_to_mesh(item):
            message = f"is ignored: write {site.host} in full (--with {Mend.FULL_HOSTS})"
            findings.append(Finding(key=key_of(item), problem=warning("spec.hosts", message)))
    if chosen and not applies_to_mesh(chosen[0]):
        message = f"is ignored: sidecars follow the rules too (--with {Mend.FULL_HOSTS})"
        problem = warning("spec.gateways", message)
        findings.append(Finding(key=key_of(chosen[0]), problem=problem))
    return chosen, findings


def _without_rules(site: Site) -> Problem:
    if site.has(Mend.DEFAULT_ROUTE):
        return warning("spec.http", f"is empty: calls go to {site.host} itself")
    return warning("spec.http", f"is empty: every call fails (--with {Mend.DEFAULT_ROUTE})")
