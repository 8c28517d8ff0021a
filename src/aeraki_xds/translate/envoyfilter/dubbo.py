"""Dubbo on Envoy's own filter, its routes inline.

In: a site. Out: the filters of both directions (specification §3.2), the inbound one with the
authorization of its namespace. The interface that a service offers is in the annotation
`interface`; without it there is no outbound filter, for Aeraki's empty one breaks the listener
(D-4).
Source: envoy.extensions.filters.network.dubbo_proxy.v3.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec import structs

from aeraki_xds.mesh.names import ClusterName
from aeraki_xds.mesh.objects import (
    MetaRouteMatch,
    MetaRouter,
    StringMatch,
    SyntheticServiceEntry,
    VirtualService,
    key_of,
)
from aeraki_xds.mesh.objects.istio import IstioStringMatch
from aeraki_xds.mesh.problems import Finding, Problem, Severity, error, warning
from aeraki_xds.mesh.rules import Routing, Rule
from aeraki_xds.mesh.validation import matching
from aeraki_xds.translate.destinations import Destination, resolve
from aeraki_xds.translate.envoyfilter import native
from aeraki_xds.translate.envoyfilter.authorization import authorization
from aeraki_xds.translate.envoyfilter.profile import EnvoyFilters, Mend
from aeraki_xds.translate.envoyfilter.site import Generated, NetworkFilter, Site
from aeraki_xds.translate.envoyfilter.values import (
    Json,
    header_matchers,
    message,
    regex,
    string_match,
)
from aeraki_xds.translate.output import found

FILTER: Final = "envoy.filters.network.dubbo_proxy"
MESSAGE: Final = "envoy.extensions.filters.network.dubbo_proxy.v3.DubboProxy"
INTERFACE: Final = "interface"
"""Annotation of a ServiceEntry: the Dubbo interface that the service is."""

_ROUTER: Final[Json] = {"name": "envoy.filters.dubbo.router"}
_EVERY: Final = "*"
_METHOD: Final = "method"
_READ: Final = frozenset({"headers", _METHOD, "name"})
"""The fields of an HTTP match that Aeraki reads, and the one that is no condition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What a call must look like: its method, None for any, and its attachments."""

    method: StringMatch | None = None
    headers: tuple[tuple[str, StringMatch], ...] = ()


class _FirstMatch(msgspec.Struct, frozen=True, kw_only=True):
    """Of an HTTP match what Aeraki reads; further fields are skipped, and said."""

    method: IstioStringMatch | None = None
    headers: dict[str, IstioStringMatch] = {}


def generate(site: Site) -> Generated:
    """The filters of a Dubbo port."""
    routing = native.routing(site, Mend.DUBBO_MATCHES)
    allowed = authorization(site)
    findings = routing.findings + allowed.findings
    if routing.held or allowed.held:
        return Generated(held=True, findings=findings)
    routes, said = _routes(site, routing)
    findings += said
    if routes is None:
        return Generated(held=True, findings=findings)
    interface = _interface(site)
    outbound = None
    if isinstance(interface, Problem):
        findings += (site.finding(interface),)
    else:
        outbound = _proxy(site.outbound_cluster, interface, routes)
    own = site.inbound_cluster
    return Generated(
        outbound=outbound,
        inbound=_proxy(own, _EVERY, [_default(own, site.delivery)], allowed.filters),
        enforcing=allowed.enforcing,
        findings=findings,
    )


def _interface(site: Site) -> str | Problem:
    is_service = isinstance(site.entry, SyntheticServiceEntry)
    if is_service and not site.has(Mend.SERVICE_ANNOTATIONS):
        message = (
            f"those of a Service are not read (--with {Mend.SERVICE_ANNOTATIONS}), so its Dubbo "
            "interface is not known: no outbound filter"
        )
        return error("metadata.annotations", message)
    written = site.entry.metadata.annotations.get(INTERFACE, "")
    if not written:
        message = f"`{INTERFACE}` is missing: no outbound filter; name the Dubbo interface there"
        return error("metadata.annotations", message)
    return written


def _routes(site: Site, routing: Routing) -> tuple[list[Json] | None, tuple[Finding, ...]]:
    """The outbound routes, None if a rule sends to what nobody declares; and what is said."""
    router = routing.router
    if router is None:
        return [_default(site.outbound_cluster, site.delivery)], ()
    said = list(_unexpressed(routing))
    if routing.by_default:
        default = _default(site.outbound_cluster, site.delivery)
        return [default], found(key_of(router), said)
    if isinstance(router, VirtualService) and not site.has(Mend.DUBBO_MATCHES):
        routes, said = _as_aeraki(site, router)
        return routes, found(key_of(router), said)
    # A mirror is said to have no effect, so where it would go does not matter.
    rules = (structs.replace(rule, mirror=None) for rule in routing.rules)
    resolved, problems = resolve(site.graph, rules, site.number)
    routes = []
    for each in resolved:
        condition = _condition(each.rule)
        refused = list(_refused(condition, f"{each.rule.field}.match"))
        said += [*refused, *_unasked(condition, f"{each.rule.field}.match", site.delivery)]
        if each.rule.targets and not refused:
            routes.append(_route(condition, each.destinations, site.delivery))
    # Alternatives of one http entry say the same of it.
    findings = found(key_of(router), dict.fromkeys((*said, *problems)))
    return None if problems else routes, findings


def _as_aeraki(site: Site, router: VirtualService) -> tuple[list[Json], list[Problem]]:
    """A route for each http entry, with the first of its matches (D-2)."""
    entries, unheeded = native.written(site, router, Mend.DUBBO_MATCHES)
    problems = list(unheeded)
    routes = []
    for entry in entries:
        condition, said = _first_condition(entry, site.delivery)
        problems += said
        if entry.route.mirror is not None:
            problems.append(_unmirrored(entry.field))
        if condition is not None:
            routes.append(_route(condition, entry.destinations, site.delivery))
    return routes, problems


def _first_condition(
    entry: native.Written, delivery: EnvoyFilters
) -> tuple[Condition | None, list[Problem]]:
    """The condition of an http entry's first match, None if it cannot be met; and what is said."""
    remedy = f"(--with {Mend.DUBBO_MATCHES})"
    alternatives = entry.route.match or ({},)
    field = f"{entry.field}.match[0]"
    said = [
        warning(f"{entry.field}.match[{m}]", f"is ignored: only the first counts {remedy}")
        for m in range(1, len(alternatives))
    ]
    raw = {name: value for name, value in alternatives[0].items() if value is not None}
    said += [
        warning(f"{field}.{name}", f"is ignored: only method and headers are matched {remedy}")
        for name in sorted(raw.keys() - _READ)
    ]
    try:
        match = msgspec.convert(raw, _FirstMatch)
    except msgspec.ValidationError as refusal:  # P-10: a header's matcher is null
        said.append(warning(field, f"cannot be read: {refusal}; the route is left out"))
        return None, said
    condition = Condition(
        method=_meant(match.method) if match.method else None,
        headers=tuple((name, _meant(each)) for name, each in match.headers.items()),
    )
    refused = list(_refused(condition, field))
    said += [*refused, *_unasked(condition, field, delivery)]
    return None if refused else condition, said


def _meant(match: IstioStringMatch) -> StringMatch:
    return StringMatch(exact=match.exact, prefix=match.prefix, regex=match.regex)


def _condition(rule: Rule) -> Condition:
    """The attribute `method` is the method's name, all others are attachments."""
    headers = tuple(each for each in rule.attributes if each[0] != _METHOD)
    return Condition(method=dict(rule.attributes).get(_METHOD), headers=headers)


def _refused(condition: Condition, field: str) -> Iterator[Problem]:
    """Why Envoy would refuse the condition, and the listener with it."""
    methods = ((_METHOD, condition.method),) if condition.method else ()
    for name, match in (*methods, *condition.headers):
        for problem in matching.attributes(MetaRouteMatch(attributes={name: match}), field):
            if problem.severity is Severity.ERROR:
                message = f"{name}: {problem.message}; the route is left out"
                yield warning(field, message)


def _unasked(condition: Condition, field: str, delivery: EnvoyFilters) -> Iterator[Problem]:
    """Aeraki drops what only asks for presence (M-12)."""
    if delivery.has(Mend.PRESENCE_MATCH):
        return
    message = f"`{{}}` is ignored (--with {Mend.PRESENCE_MATCH})"
    if condition.method is not None and string_match(condition.method) is None:
        yield warning(f"{field}.method", message)
    for name, match in condition.headers:
        if string_match(match) is None:
            yield warning(f"{field}.headers[{name}]", message)


def _unexpressed(routing: Routing) -> Iterator[Problem]:
    """What the filter cannot carry out of the rules as they are meant."""
    for rule in routing.rules:
        if not rule.targets:
            yield native.without_targets(rule.field)
        if rule.mirror is not None:
            yield _unmirrored(rule.field)
        if rule.request_mutation or rule.response_mutation:
            message = "Envoy's Dubbo filter changes no messages; the mutations have no effect"
            yield warning(rule.field, message)
    if isinstance(routing.router, MetaRouter):
        spec = routing.router.spec
        for name, limit in (
            ("localRateLimit", spec.local_rate_limit),
            ("globalRateLimit", spec.global_rate_limit),
        ):
            if limit is not None:
                yield warning(f"spec.{name}", "Envoy's Dubbo filter limits no rates: not enforced")


def _unmirrored(field: str) -> Problem:
    return warning(f"{field}.mirror", "Envoy's Dubbo filter mirrors nothing; it has no effect")


def _proxy(
    cluster: ClusterName, interface: str, routes: Sequence[Json], filters: Iterable[Json] = ()
) -> NetworkFilter:
    table = message(name=cluster, interface=interface, routes=list(routes))
    config: Json = {
        "statPrefix": cluster,
        "routeConfig": [table],
        "dubboFilters": [*filters, dict(_ROUTER)],
    }
    return NetworkFilter(name=FILTER, message=MESSAGE, config=config)


def _default(cluster: ClusterName, delivery: EnvoyFilters) -> Json:
    return {"match": _match(Condition(), delivery), "route": {"cluster": cluster}}


def _route(
    condition: Condition, destinations: tuple[Destination, ...], delivery: EnvoyFilters
) -> Json:
    return {"match": _match(condition, delivery), "route": _action(destinations)}


def _match(condition: Condition, delivery: EnvoyFilters) -> Json:
    """The filter does not take a match without a method: whoever asks for none asks for any."""
    name: Json = {"safeRegex": regex(".*")}
    if condition.method is not None:
        present: Json = {"safeRegex": regex(".+")} if delivery.has(Mend.PRESENCE_MATCH) else name
        name = string_match(condition.method) or present
    headers = header_matchers(condition.headers, delivery)
    return message(method={"name": name}, headers=headers)


def _action(destinations: tuple[Destination, ...]) -> Json:
    if len(destinations) == 1:
        return {"cluster": destinations[0].cluster}
    clusters = [{"name": each.cluster, "weight": each.weight} for each in destinations]
    total = sum(each.weight for each in destinations)
    return {"weightedClusters": {"clusters": clusters, "totalWeight": total}}
