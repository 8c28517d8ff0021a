"""MetaRDS: a host's routes as an HTTP RouteConfiguration that MetaProtocol Proxy reads back.

In: the graph and a host. Out: one RouteConfiguration per MetaProtocol port (specification §4).
The field spellings are those that every data plane in the field reads, deprecated ones included
(M-24): exactMatch, prefixMatch, safeRegexMatch with googleRe2, totalWeight. Exactly one virtual
host, at least one route, an action on each: the data plane asserts nothing of it in release builds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from aeraki_xds._proto.envoy.config.core.v3 import HeaderValue, HeaderValueOption
from aeraki_xds._proto.envoy.config.route.v3 import (
    HeaderMatcher,
    RouteAction,
    RouteActionHashPolicy,
    RouteActionHashPolicyHeader,
    RouteActionRequestMirrorPolicy,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
    WeightedCluster,
    WeightedClusterClusterWeight,
)
from aeraki_xds._proto.envoy.config.route.v3 import Route as HttpRoute
from aeraki_xds._proto.envoy.type.matcher.v3 import RegexMatcher, RegexMatcherGoogleRe2
from aeraki_xds.encode import type_url
from aeraki_xds.mesh.graph import Graph
from aeraki_xds.mesh.names import NO_SUBSET, Host, RouteName, route_name
from aeraki_xds.mesh.objects import StringMatch, key_of
from aeraki_xds.mesh.objects.istio import ConsistentHash
from aeraki_xds.mesh.ports import Protocol
from aeraki_xds.mesh.problems import Finding, warning
from aeraki_xds.mesh.rules import Rule, Target
from aeraki_xds.mesh.service import Service
from aeraki_xds.translate.destinations import Destination, Route, resolve, share
from aeraki_xds.translate.output import Draft, DraftId, Output, found

_TYPE = type_url(RouteConfiguration())


def routes_of(graph: Graph, host: Host) -> Output:
    """The route resources of a host, one per MetaProtocol port."""
    declared = graph.service(host)
    if declared is None:
        return Output()
    service, findings = declared
    output = Output(findings=findings)
    for port in service.ports:
        if port.protocol is not None and port.protocol.protocol is Protocol.METAPROTOCOL:
            output += _resource(graph, service, port.number)
    return output


def _resource(graph: Graph, service: Service, port: int) -> Output:
    name = route_name(service.spelled, port)
    routing = graph.router(service.host)
    if routing.held:
        return Output(withheld=frozenset({DraftId(_TYPE, name)}))
    rules = (_default_rule(service.host),) if routing.by_default else routing.rules
    routes, problems = resolve(graph, rules, port)
    findings = routing.findings
    if problems:
        assert routing.router is not None
        findings += found(key_of(routing.router), problems)
        return Output(withheld=frozenset({DraftId(_TYPE, name)}), findings=findings)
    findings += tuple(dict.fromkeys(_unhashed(routes)))
    return Output(drafts=(Draft.of(name, _table(name, routes)),), findings=findings)


def _default_rule(host: Host) -> Rule:
    """Without a router: everything to the service itself (specification §4.4)."""
    target = Target(host=host, subset=NO_SUBSET, port=None, weight=100, field="")
    return Rule(field="", name="default", targets=(target,))


def _table(name: RouteName, routes: Iterable[Route]) -> RouteConfiguration:
    return RouteConfiguration(
        name=name,
        virtual_hosts=[
            VirtualHost(
                name="dummy", domains=["*"], routes=[_http_route(route) for route in routes]
            )
        ],
    )


def _http_route(route: Route) -> HttpRoute:
    rule = route.rule
    return HttpRoute(
        name=rule.name,
        match=RouteMatch(
            prefix="/", headers=[_matcher(name, match) for name, match in rule.attributes]
        ),
        route=_action(route),
        request_headers_to_add=_mutation(rule.request_mutation),
        response_headers_to_add=_mutation(rule.response_mutation),
    )


def _matcher(name: str, match: StringMatch) -> HeaderMatcher:
    """One attribute; the empty match means presence (M-12)."""
    if match.exact is not None:
        return HeaderMatcher(name=name, exact_match=match.exact)
    if match.prefix is not None:
        return HeaderMatcher(name=name, prefix_match=match.prefix)
    if match.regex is not None:
        regex = RegexMatcher(google_re2=RegexMatcherGoogleRe2(), regex=match.regex)
        return HeaderMatcher(name=name, safe_regex_match=regex)
    return HeaderMatcher(name=name, present_match=True)


def _action(route: Route) -> RouteAction:
    action = RouteAction(hash_policy=_hash_policies(route.destinations))
    if route.mirror is not None:
        action.request_mirror_policies = [
            RouteActionRequestMirrorPolicy(
                cluster=route.mirror, runtime_fraction=share(route.rule.mirror_percent)
            )
        ]
    if len(route.destinations) == 1:
        action.cluster = route.destinations[0].cluster
        return action
    action.weighted_clusters = WeightedCluster(
        clusters=[
            WeightedClusterClusterWeight(name=each.cluster, weight=each.weight)
            for each in route.destinations
        ],
        total_weight=sum(each.weight for each in route.destinations),
    )
    return action


def _hash_policies(destinations: Iterable[Destination]) -> list[RouteActionHashPolicy]:
    """The hash keys of the destinations' own DestinationRules, each once (M-14)."""
    names = dict.fromkeys(
        hashing.http_header_name for each in destinations if (hashing := _hashing(each))
    )
    return [
        RouteActionHashPolicy(header=RouteActionHashPolicyHeader(header_name=name))
        for name in names
        if name
    ]


def _hashing(destination: Destination) -> ConsistentHash | None:
    """How a destination's own DestinationRule chooses among endpoints, if by a hash: its subset's
    own policy, else the service's."""
    rule, subset = destination.rule, destination.subset
    own = subset.traffic_policy if subset is not None else None
    common = rule.spec.traffic_policy if rule is not None else None
    for policy in (own, common):
        if policy is not None and policy.load_balancer is not None:
            return policy.load_balancer.consistent_hash
    return None


def _unhashed(routes: Iterable[Route]) -> Iterator[Finding]:
    """Hash keys that calls of MetaProtocol do not have."""
    for each in (each for route in routes for each in route.destinations):
        hashing = _hashing(each)
        if each.rule is not None and hashing is not None and not hashing.http_header_name:
            host = each.target.host
            text = f"consistentHash: calls of {host} can be hashed by httpHeaderName only"
            yield Finding(key=key_of(each.rule), problem=warning("spec", text))


def _mutation(pairs: Iterable[tuple[str, str]]) -> list[HeaderValueOption]:
    return [HeaderValueOption(header=HeaderValue(key=key, value=value)) for key, value in pairs]
