"""MetaProtocol: one filter for every protocol that has a codec.

In: a site. Out: the filters of both directions: outbound with routes by MetaRDS, inbound with the
one route to the workload, and the limits of the host's router (specification §3.1). No message
class of ours describes them; tests hold them against the specification's fields.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from aeraki_xds.mesh.links import Subject, Topic
from aeraki_xds.mesh.names import Kind, RouteName, route_name
from aeraki_xds.mesh.objects import (
    Duration,
    GlobalRateLimit,
    LocalRateLimit,
    MetaRouteMatch,
    MetaRouter,
    TokenBucket,
    VirtualService,
    key_of,
)
from aeraki_xds.mesh.ports import Protocol
from aeraki_xds.mesh.problems import Finding, error, warning
from aeraki_xds.mesh.rules import applies_to_mesh
from aeraki_xds.mesh.tenancy import rate_limit_host
from aeraki_xds.translate.envoyfilter.placing import crowding, router_of
from aeraki_xds.translate.envoyfilter.profile import EnvoyFilters, Mend
from aeraki_xds.translate.envoyfilter.site import Generated, NetworkFilter, Site
from aeraki_xds.translate.envoyfilter.telemetry import telemetry, unread_format
from aeraki_xds.translate.envoyfilter.values import (
    Json,
    any_of,
    duration,
    header_matchers,
    message,
)

FILTER: Final = "envoy.filters.network.meta_protocol_proxy"
MESSAGE: Final = "aeraki.meta_protocol_proxy.v1alpha.MetaProtocolProxy"
RDS_CLUSTER: Final = "aeraki-xds"
"""Where data planes find us: the cluster of Aeraki's bootstrap (Appendix A)."""

_FILTERS: Final = "aeraki.meta_protocol.filters."
_CONFIGS: Final = "aeraki.meta_protocol_proxy.filters."
_DEFAULT_TIMEOUT: Final = Duration.parse("20ms")
"""Of a question to a rate limit service, as Aeraki's API documents it (P-2)."""


def generate(site: Site) -> Generated:
    """The filters of a MetaProtocol port."""
    codec = site.graph.codec(site.protocol.application)
    if codec is None:
        message = f"no ApplicationProtocol declares the codec of {site.protocol.application!r}"
        problem = error(f"{site.port.field}.name", message)
        return Generated(held=True, findings=(site.finding(problem),))
    router = router_of(site)
    limits = list(_limits(site, router)) if router else []
    route: Json = {"routeConfig": _only_route(site.inbound_cluster)}
    return Generated(
        outbound=outbound_filter(site, codec, route_name(site.host, site.number)),
        inbound=_filter(site, codec, site.inbound_cluster, route, limits),
        enforcing=_nobody(router) if router and limits else (),
        findings=(
            *(tuple(_said_of(site, router)) if router else ()),
            *(_crowded(site, router) if router and limits else ()),
            *_unread(site),
            *unread_format(site.graph),
        ),
    )


def outbound_filter(site: Site, codec: str, routes: RouteName) -> NetworkFilter:
    """The filter that asks for its routes by name."""
    source = {
        "resourceApiVersion": "V3",
        "apiConfigSource": {
            "apiType": "GRPC",
            "transportApiVersion": "V3",
            "grpcServices": [{"envoyGrpc": {"clusterName": RDS_CLUSTER}}],
        },
    }
    rds: Json = {"rds": {"routeConfigName": routes, "configSource": source}}
    return _filter(site, codec, site.outbound_cluster, rds, [])


def _filter(
    site: Site, codec: str, stat_prefix: str, routes: Json, limits: list[Json]
) -> NetworkFilter:
    config: Json = {
        "statPrefix": stat_prefix,
        **_protocol(site, codec),
        **routes,
        "metaProtocolFilters": [*limits, *_common_filters(site.host)],
        **telemetry(site.graph, site.delivery),
    }
    return NetworkFilter(name=FILTER, message=MESSAGE, config=config)


def _protocol(site: Site, codec: str) -> Json:
    name = site.protocol.application
    if site.has(Mend.CURRENT_FIELDS):
        return {"protocol": {"name": name, "codec": {"name": codec}}}
    return {"applicationProtocol": name, "codec": {"name": codec}}


def _common_filters(host: str) -> list[Json]:
    stats = any_of(f"{_CONFIGS}istio_stats.v1alpha.IstioStats", {"destinationService": host})
    return [
        {"name": f"{_FILTERS}metadata_exchange"},
        {"name": f"{_FILTERS}istio_stats", "config": stats},
        {"name": f"{_FILTERS}router"},
    ]


def _only_route(cluster: str) -> Json:
    return {"name": cluster, "routes": [{"route": {"cluster": cluster}}]}


def _limits(site: Site, router: MetaRouter) -> Iterator[Json]:
    """The rate limit filters of a router, in the order in which they ask."""
    local, shared = router.spec.local_rate_limit, router.spec.global_rate_limit
    if local is not None:
        yield {
            "name": f"{_FILTERS}local_ratelimit",
            "config": _local(local, router.spec.hosts[0], site.delivery),
        }
    if shared is not None and not _is_foreign(site, router):
        yield {"name": f"{_FILTERS}ratelimit", "config": _shared(shared, site.delivery)}


def _local(limit: LocalRateLimit, stat_prefix: str, delivery: EnvoyFilters) -> Json:
    value: Json = {"statPrefix": stat_prefix}
    if limit.token_bucket is not None:
        value["tokenBucket"] = _bucket(limit.token_bucket)
    conditions = [
        {"match": _match(each.match, delivery), "tokenBucket": _bucket(each.token_bucket)}
        for each in limit.conditions
        if each.token_bucket is not None
    ]
    if conditions:
        value["conditions"] = conditions
    return any_of(f"{_CONFIGS}local_ratelimit.v1alpha.LocalRateLimit", value)


def _bucket(bucket: TokenBucket) -> Json:
    interval = bucket.fill_interval
    assert interval is not None  # V18
    return message(
        maxTokens=bucket.max_tokens,
        tokensPerFill=bucket.tokens_per_fill,
        fillInterval=duration(interval),
    )


def _shared(limit: GlobalRateLimit, delivery: EnvoyFilters) -> Json:
    service = {"grpcService": {"envoyGrpc": {"clusterName": limit.rate_limit_service}}}
    descriptors = [
        {"property": each.property, "descriptorKey": each.descriptor_key}
        for each in limit.descriptors
    ]
    value = {
        "match": _match(limit.match, delivery),
        **message(
            domain=limit.domain,
            timeout=duration(limit.request_timeout or _DEFAULT_TIMEOUT),
            failureModeDeny=limit.deny_on_fail,
        ),
        "rateLimitService": service,
        "descriptors": descriptors,
    }
    return any_of(f"{_CONFIGS}ratelimit.v1alpha.RateLimit", value)


def _match(match: MetaRouteMatch | None, delivery: EnvoyFilters) -> Json:
    return message(metadata=header_matchers(match.attributes.items() if match else (), delivery))


def _is_foreign(site: Site, router: MetaRouter) -> bool:
    host = rate_limit_host(router)
    return host is not None and site.graph.is_foreign(host, router.metadata.namespace)


def _said_of(site: Site, router: MetaRouter) -> Iterator[Finding]:
    """What of a router's limits has no effect."""
    key = key_of(router)
    shared, local = router.spec.global_rate_limit, router.spec.local_rate_limit
    if shared is not None and not (shared.match and shared.match.attributes):
        text = "without a match the data plane limits nothing: name an attribute"
        yield Finding(key=key, problem=warning("spec.globalRateLimit.match", text))
    matches = [("spec.globalRateLimit.match", shared.match if shared else None)]
    matches += (
        (f"spec.localRateLimit.conditions[{n}].match", each.match)
        for n, each in enumerate(local.conditions if local else ())
    )
    for field, match in matches:
        for name, asked in match.attributes.items() if match else ():
            if asked.is_presence and not site.has(Mend.PRESENCE_MATCH):
                text = "`{}` asks nothing here, as in Aeraki (--with presence-match)"
                yield Finding(key=key, problem=warning(f"{field}.attributes[{name}]", text))


def _nobody(router: MetaRouter) -> tuple[Finding, ...]:
    text = "is not enforced: there is no inbound filter where the workloads of the service listen"
    return _of_limits(router, text)


def _crowded(site: Site, router: MetaRouter) -> tuple[Finding, ...]:
    """Where several services are served by one port of the same workloads."""
    others = crowding(site)
    if not others:
        return ()
    names = ", ".join(str(key_of(each)) for each in others[:3]) + ", …" * (len(others) > 3)
    text = (
        f"may not be enforced: {names} has an inbound filter for the same port of the same "
        "workloads, and Istio puts in only one of them"
    )
    return _of_limits(router, text)


def _of_limits(router: MetaRouter, text: str) -> tuple[Finding, ...]:
    limits: tuple[tuple[str, object], ...] = (
        ("spec.localRateLimit", router.spec.local_rate_limit),
        ("spec.globalRateLimit", router.spec.global_rate_limit),
    )
    return tuple(
        Finding(key=key_of(router), problem=warning(field, text))
        for field, limit in limits
        if limit is not None
    )


def _unread(site: Site) -> Iterator[Finding]:
    """Rules for other filters that are about this host too."""
    for item in site.graph.in_force(Kind.VIRTUAL_SERVICE, site.service.host):
        if isinstance(item, VirtualService) and applies_to_mesh(item) and item.spec.http:
            text = f"is not read for {site.host}, which speaks MetaProtocol: write a MetaRouter"
            yield Finding(key=key_of(item), problem=warning("spec.http", text))
    if site.protocol.application != Protocol.DUBBO:
        return
    for namespace in dict.fromkeys((site.namespace, site.graph.tenancy.root)):
        for policy in site.graph.settles(Topic(Subject.POLICIES, namespace)):
            if namespace == site.namespace or site.has(Mend.MESH_POLICIES):
                text = (
                    f"is not enforced for {site.host}: its Dubbo goes through MetaProtocol, which "
                    "checks no policy; only ports named tcp-dubbo do"
                )
                yield Finding(key=key_of(policy), problem=warning("spec", text))
