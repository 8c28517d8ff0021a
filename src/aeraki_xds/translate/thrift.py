"""Thrift on Envoy's own filter: a listener's filter and its routes by TRDS.

In: the graph, a service and a Thrift port. Out: the route table as a resource of its own, and the
filter that asks for it by name, so that a route changes and the listener does not. What the filter
cannot express is left out, never widened (design §6), and said.
Source: envoy.extensions.filters.network.thrift_proxy.v3; rulings "MetaRouter → Thrift".
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from aeraki_xds._proto.envoy.config.core.v3 import AggregatedConfigSource, ApiVersion, ConfigSource
from aeraki_xds._proto.envoy.config.listener.v3 import Filter
from aeraki_xds._proto.envoy.extensions.filters.network.thrift_proxy.router.v3 import Router
from aeraki_xds._proto.envoy.extensions.filters.network.thrift_proxy.v3 import (
    Route as ThriftRoute,
)
from aeraki_xds._proto.envoy.extensions.filters.network.thrift_proxy.v3 import (
    RouteAction,
    RouteActionRequestMirrorPolicy,
    RouteConfiguration,
    RouteMatch,
    ThriftFilter,
    ThriftProxy,
    Trds,
    WeightedCluster,
    WeightedClusterClusterWeight,
)
from aeraki_xds.encode import pack, type_url
from aeraki_xds.mesh.graph import Graph
from aeraki_xds.mesh.names import NO_SUBSET, Host, RouteName, cluster_name, route_name
from aeraki_xds.mesh.objects import MetaRouter, StringMatch, key_of
from aeraki_xds.mesh.problems import Problem, warning
from aeraki_xds.mesh.rules import Routing, Rule, Target
from aeraki_xds.mesh.service import Service
from aeraki_xds.translate.destinations import (
    Destination,
    Route,
    cluster_needs,
    resolve,
    share,
)
from aeraki_xds.translate.output import Draft, DraftId, Output, found

FILTER = "envoy.filters.network.thrift_proxy"
_TYPE = type_url(RouteConfiguration())


def route_id(service: Service, port: int) -> DraftId:
    """Under what the routes of a port are served."""
    return DraftId(_TYPE, route_name(service.spelled, port))


def filter_of(service: Service, port: int) -> Filter:
    """The network filter of a Thrift port. It never changes while the port exists."""
    proxy = ThriftProxy(
        stat_prefix=cluster_name(service.spelled, port),
        trds=Trds(
            config_source=ConfigSource(
                ads=AggregatedConfigSource(),
                resource_api_version=ApiVersion.V3,
                # The listener is served only while its routes are: there is nothing to time out.
                initial_fetch_timeout=timedelta(0),
            ),
            route_config_name=route_name(service.spelled, port),
        ),
        thrift_filters=[
            ThriftFilter(name="envoy.filters.thrift.router", typed_config=pack(Router()))
        ],
    )
    return Filter(name=FILTER, typed_config=pack(proxy))


def routes_of(graph: Graph, service: Service, port: int) -> Output:
    """The TRDS resource of a Thrift port."""
    identity = route_id(service, port)
    routing = graph.routing(service.host)
    if routing.held:
        return Output(withheld=frozenset({identity}), findings=routing.findings)
    rules = (_default_rule(service.host),) if routing.by_default else routing.rules
    routes, problems = resolve(graph, rules, port, needs_clusters=True)
    findings = routing.findings
    if routing.router is not None:
        key = key_of(routing.router)
        findings += found(key, unexpressed(routing, rules)) + found(key, problems)
    if problems:
        return Output(withheld=frozenset({identity}), findings=findings)
    kept = [route for route in routes if is_expressible(route.rule)]
    table = table_of(route_name(service.spelled, port), kept)
    return Output(drafts=(Draft.of(identity.name, table, cluster_needs(kept)),), findings=findings)


def table_of(name: RouteName, routes: Iterable[Route]) -> RouteConfiguration:
    """The route table of resolved rules, all of which the filter can express."""
    return RouteConfiguration(
        name=name,
        routes=[
            ThriftRoute(match=match, route=_action(route))
            for route in routes
            if (match := match_of(route.rule)) is not None
        ],
    )


def _default_rule(host: Host) -> Rule:
    target = Target(host=host, subset=NO_SUBSET, port=None, weight=100, field="")
    return Rule(field="", targets=(target,))


def is_expressible(rule: Rule) -> bool:
    """Whether the filter knows the rule's match, and the rule says where calls go."""
    return match_of(rule) is not None and bool(rule.targets)


def match_of(rule: Rule) -> RouteMatch | None:
    """Method, service, or both as `service:method`; None for what the filter cannot match."""
    attributes = dict(rule.attributes)
    method = _exact(attributes.pop("method", None))
    service = _exact(attributes.pop("service", None))
    if attributes or method is None or service is None:
        return None
    if service and not method:
        return RouteMatch(service_name=service)
    return RouteMatch(method_name=f"{service}:{method}" if service else method)


def sharing(destinations: tuple[Destination, ...]) -> tuple[Destination, ...]:
    """Who gets a share: the filter refuses a weight of 0. All, where nobody has a weight."""
    return tuple(each for each in destinations if each.weight > 0) or destinations


def _exact(match: StringMatch | None) -> str | None:
    """The exact value of an attribute, empty when there is no such attribute, None otherwise."""
    if match is None:
        return ""
    return match.exact or None


def unexpressed(routing: Routing, rules: Iterable[Rule]) -> Iterable[Problem]:
    """What the filter cannot carry out, rule by rule and for the router as a whole."""
    for rule in rules:
        if match_of(rule) is None:
            names = ", ".join(name for name, _ in rule.attributes)
            message = (
                f"Envoy's Thrift filter matches only method and service, exactly; the route is "
                f"left out (attributes: {names})"
            )
            yield warning(f"{rule.field}.match", message)
        elif not rule.targets:
            yield warning(f"{rule.field}.route", "is empty: only HTTP means that; it is left out")
        if rule.request_mutation or rule.response_mutation:
            message = "Envoy's Thrift filter changes no messages; the mutations have no effect"
            yield warning(rule.field, message)
    if isinstance(routing.router, MetaRouter):
        spec = routing.router.spec
        for field, limit in (
            ("spec.localRateLimit", spec.local_rate_limit),
            ("spec.globalRateLimit", spec.global_rate_limit),
        ):
            if limit is not None:
                yield warning(field, "is not enforced on stock Envoy")


def _action(route: Route) -> RouteAction:
    action = RouteAction()
    if route.mirror is not None:
        action.request_mirror_policies = [
            RouteActionRequestMirrorPolicy(
                cluster=route.mirror, runtime_fraction=share(route.rule.mirror_percent)
            )
        ]
    weighted = sharing(route.destinations)
    if len(weighted) == 1:
        action.cluster = weighted[0].cluster
    else:
        action.weighted_clusters = WeightedCluster(
            clusters=[
                WeightedClusterClusterWeight(name=each.cluster, weight=each.weight or 1)
                for each in weighted
            ]
        )
    return action
