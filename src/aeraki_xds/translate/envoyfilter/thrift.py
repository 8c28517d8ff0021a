"""Thrift on Envoy's own filter, its routes inline.

In: a site. Out: the filters of both directions (specification §3.3). Rules match what the filter
can match, as on ADS (D-1); Aeraki lets every rule match everything, so that the first one wins.
Source: envoy.extensions.filters.network.thrift_proxy.v3; rulings "VirtualService → Thrift" and
"MetaRouter → Thrift".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from aeraki_xds.mesh.names import ClusterName
from aeraki_xds.mesh.objects import VirtualService, key_of
from aeraki_xds.mesh.problems import Finding, Problem, warning
from aeraki_xds.mesh.rules import Routing, Rule
from aeraki_xds.translate.destinations import Destination, Route, resolve
from aeraki_xds.translate.envoyfilter import native
from aeraki_xds.translate.envoyfilter.profile import EnvoyFilters, Mend
from aeraki_xds.translate.envoyfilter.site import Generated, NetworkFilter, Site
from aeraki_xds.translate.envoyfilter.values import Json, any_of, fraction
from aeraki_xds.translate.output import found
from aeraki_xds.translate.thrift import FILTER, is_expressible, match_of, sharing, unexpressed

MESSAGE: Final = "envoy.extensions.filters.network.thrift_proxy.v3.ThriftProxy"
_ROUTER: Final = "envoy.filters.thrift.router"
_ROUTER_MESSAGE: Final = "envoy.extensions.filters.network.thrift_proxy.router.v3.Router"


def generate(site: Site) -> Generated:
    """The filters of a Thrift port."""
    routing = native.routing(site, Mend.THRIFT_MATCHES)
    findings = routing.findings + _untyped(site)
    if routing.held:
        return Generated(held=True, findings=findings)
    routes, said = _routes(site, routing)
    findings += said
    if routes is None:
        return Generated(held=True, findings=findings)
    return Generated(
        outbound=_proxy(site.outbound_cluster, routes, site.delivery),
        inbound=_proxy(site.inbound_cluster, [_default(site.inbound_cluster)], site.delivery),
        findings=findings,
    )


def _routes(site: Site, routing: Routing) -> tuple[list[Json] | None, tuple[Finding, ...]]:
    """The outbound routes, None if a rule sends to what nobody declares; and what is said."""
    router = routing.router
    if router is None:
        return [_default(site.outbound_cluster)], ()
    if routing.by_default:
        said = tuple(unexpressed(routing, ()))
        return [_default(site.outbound_cluster)], found(key_of(router), said)
    if isinstance(router, VirtualService) and not site.has(Mend.THRIFT_MATCHES):
        entries, problems = native.written(site, router, Mend.THRIFT_MATCHES)
        unheeded = (problem for entry in entries for problem in _unheeded(entry))
        routes = [_route(_every_call(), _action(each.destinations)) for each in entries]
        return routes, found(key_of(router), (*problems, *unheeded))
    resolved, problems = resolve(site.graph, routing.rules, site.number)
    # Alternatives of one http entry say the same of it.
    findings = found(
        key_of(router), dict.fromkeys((*unexpressed(routing, routing.rules), *problems))
    )
    if problems:
        return None, findings
    return [
        _route(_match(each.rule), _action(each.destinations, _mirror(each, site.delivery)))
        for each in resolved
        if is_expressible(each.rule)
    ], findings


def _proxy(cluster: ClusterName, routes: Sequence[Json], delivery: EnvoyFilters) -> NetworkFilter:
    router: Json = {"name": _ROUTER}
    if delivery.has(Mend.CURRENT_FIELDS):
        router["typedConfig"] = any_of(_ROUTER_MESSAGE, {})
    table: Json = {"name": cluster, "routes": list(routes)} if routes else {"name": cluster}
    return NetworkFilter(
        name=FILTER,
        message=MESSAGE,
        config={"statPrefix": cluster, "routeConfig": table, "thriftFilters": [router]},
    )


def _default(cluster: ClusterName) -> Json:
    return _route(_every_call(), {"cluster": cluster})


def _route(match: Json, action: Json) -> Json:
    return {"match": match, "route": action}


def _every_call() -> Json:
    return {"methodName": ""}


def _match(rule: Rule) -> Json:
    match = match_of(rule)
    assert match is not None
    if match.service_name is not None:
        return {"serviceName": match.service_name}
    return {"methodName": match.method_name}


def _action(destinations: tuple[Destination, ...], mirrors: Sequence[Json] = ()) -> Json:
    weighted = sharing(destinations)
    mirrored: Json = {"requestMirrorPolicies": list(mirrors)} if mirrors else {}
    if len(weighted) == 1:
        return {"cluster": weighted[0].cluster, **mirrored}
    clusters = [{"name": each.cluster, "weight": each.weight or 1} for each in weighted]
    return {"weightedClusters": {"clusters": clusters}, **mirrored}


def _mirror(route: Route, delivery: EnvoyFilters) -> Sequence[Json]:
    if route.mirror is None:
        return ()
    share = fraction(route.rule.mirror_percent, delivery)
    return ({"cluster": route.mirror, "runtimeFraction": share},)


def _unheeded(entry: native.Written) -> Iterator[Problem]:
    """What Aeraki skips of an http entry without a word (D-1)."""
    remedy = f"(--with {Mend.THRIFT_MATCHES})"
    if any(value for match in entry.route.match for name, value in match.items() if name != "name"):
        yield warning(f"{entry.field}.match", f"is ignored: every call matches {remedy}")
    if entry.route.mirror is not None:
        yield warning(f"{entry.field}.mirror", f"is ignored {remedy}")


def _untyped(site: Site) -> tuple[Finding, ...]:
    """Aeraki only names the router filter; Envoys that look filters up by type refuse that."""
    if site.has(Mend.CURRENT_FIELDS):
        return ()
    message = (
        "the router of this Thrift filter has a name and no type, as in Aeraki: Envoy 1.40 refuses "
        f"the listener (--with {Mend.CURRENT_FIELDS})"
    )
    return (site.finding(warning(f"{site.port.field}.name", message)),)
