"""The cluster of a Redis service, in place of Istio's.

In: a site and its RedisDestination. Out: the patches that remove Istio's cluster and add ours
(specification §3.6), which follow the filter. Aeraki replaces every cluster, asked or not (E-8).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from aeraki_xds.mesh.endpoint import parse_endpoint
from aeraki_xds.mesh.names import ClusterName, Host
from aeraki_xds.mesh.objects import RedisDestination, SyntheticServiceEntry, key_of
from aeraki_xds.mesh.objects.redis import RedisAuth, RedisConnectionPool, RedisTcp, TcpKeepalive
from aeraki_xds.mesh.problems import Finding, Problem, error, has_errors, warning
from aeraki_xds.translate.envoyfilter.profile import Mend
from aeraki_xds.translate.envoyfilter.redis_auth import credentials
from aeraki_xds.translate.envoyfilter.redis_objects import choose, found_in
from aeraki_xds.translate.envoyfilter.site import Site
from aeraki_xds.translate.envoyfilter.values import Json, any_of, duration, message

_POOL: Final = "spec.trafficPolicy.connectionPool"
_UNLIMITED: Final = 2**32 - 1
_SECOND: Final = 1_000_000_000  # nanoseconds
_FILTER: Final = "envoy.filters.network.redis_proxy"
_OPTIONS: Final = "envoy.extensions.filters.network.redis_proxy.v3.RedisProtocolOptions"
_EXCHANGE: Final = "envoy.tcp.metadataexchange.config.MetadataExchange"
_RAW_BUFFER: Final = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Clusters:
    """The patches of a site; `held` as in `site.Generated`."""

    patches: tuple[Json, ...] = ()
    held: bool = False
    findings: tuple[Finding, ...] = ()


def clusters_of(site: Site) -> Clusters:
    """What follows the filter of a Redis port."""
    choice = choose(site, RedisDestination)
    findings, item = list(choice.findings), choice.item
    if choice.held:
        return Clusters(held=True, findings=choice.findings)
    pool = _pool(item)
    if item is not None and pool is None:
        findings += found_in(item, [warning(_POOL, "is missing: the object has no effect")])
    if pool is None and site.has(Mend.ASKED_CLUSTERS):
        return Clusters(findings=tuple(findings))
    value = _default(site.outbound_cluster)
    if item is not None and pool is not None:
        asked, problems = _asked(site, item, pool, choice.host)
        findings += found_in(item, problems)
        if has_errors(problems):
            return Clusters(held=True, findings=tuple(findings))
        value = asked
    findings += _overruled(site, is_asked=pool is not None)
    return Clusters(patches=_patches(value), findings=tuple(findings))


def _pool(item: RedisDestination | None) -> RedisConnectionPool | None:
    policy = item.spec.traffic_policy if item is not None else None
    return policy.connection_pool if policy is not None else None


def _patches(value: Json) -> tuple[Json, ...]:
    match = {"cluster": {"name": value["name"]}}
    return (
        {"applyTo": "CLUSTER", "match": match, "patch": {"operation": "REMOVE"}},
        {"applyTo": "CLUSTER", "patch": {"operation": "ADD", "value": value}},
    )


def _overruled(site: Site, *, is_asked: bool) -> Iterator[Finding]:
    """A DestinationRule speaks about the cluster that is replaced."""
    rule = site.graph.destination_rule(site.service.host)
    if rule is not None and rule.spec.traffic_policy is not None:
        text = f"has no effect on port {site.number} of {site.host}, whose cluster is replaced"
        how = "" if is_asked else f" (--with {Mend.ASKED_CLUSTERS})"
        problem = warning("spec.trafficPolicy", text + how)
        yield Finding(key=key_of(rule), problem=problem)


def _default(name: ClusterName) -> Json:
    """Where nothing is asked for: Istio's endpoints, and one server for one key."""
    return {
        "name": name,
        "type": "EDS",
        "edsClusterConfig": {"edsConfig": {"ads": {}, "resourceApiVersion": "V3"}},
        "connectTimeout": "10s",
        "lbPolicy": "MAGLEV",
        "circuitBreakers": _breakers(_UNLIMITED),
    }


def _breakers(connections: int) -> Json:
    limits = dict.fromkeys(("maxPendingRequests", "maxRequests", "maxRetries"), _UNLIMITED)
    return {"thresholds": [{"maxConnections": connections, **limits}]}


def _asked(
    site: Site, item: RedisDestination, pool: RedisConnectionPool, host: Host
) -> tuple[Json, list[Problem]]:
    """The cluster that a RedisDestination asks for."""
    value = _default(site.outbound_cluster)
    problems: list[Problem] = []
    if pool.redis is not None and pool.redis.mode == "CLUSTER":
        del value["type"], value["edsClusterConfig"]
        asked, wrong = _discovery(site, pool.redis.discovery_endpoints, host)
        value |= asked
        problems += wrong
    if pool.redis is not None and pool.redis.auth is not None:
        options, wrong_auth = _options(site, item, pool.redis.auth)
        value |= options
        problems += wrong_auth
    if pool.tcp is not None:
        value |= _tcp(pool.tcp)
    value["metadata"] = {"filterMetadata": {"istio": _istio(site, host)}}
    exchange = any_of(_EXCHANGE, {"protocol": "istio-peer-exchange"})
    value["filters"] = [{"name": "istio.metadata_exchange", "typedConfig": exchange}]
    value["transportSocketMatches"] = [_plain_text(site)]
    if not site.has(Mend.CURRENT_FIELDS):
        text = "the cluster has a transport socket without a type, which newer proxies refuse"
        problems.append(warning(_POOL, f"{text} (--with current-fields)"))
    return value, problems


def _discovery(site: Site, endpoints: tuple[str, ...], host: Host) -> tuple[Json, list[Problem]]:
    """A cluster that asks a server who else is in it."""
    problems: list[Problem] = []
    servers: list[Json] = []
    for n, text in enumerate(endpoints):
        try:
            address, port = parse_endpoint(text)
        except ValueError as reason:
            where = f"{_POOL}.redis.discoveryEndpoints[{n}]"
            problems.append(error(where, f"{text!r} {reason}"))
        else:
            servers.append(_endpoint(address, port or site.number))
    servers = servers or [_endpoint(host, site.number)]
    asked: Json = {
        "clusterType": {"name": "envoy.clusters.redis"},
        "lbPolicy": "CLUSTER_PROVIDED",
        "loadAssignment": {
            "clusterName": site.outbound_cluster,
            "endpoints": [{"lbEndpoints": servers}],
        },
    }
    return asked, problems


def _endpoint(address: str, port: int) -> Json:
    socket = {"address": address, "portValue": port}
    return {"endpoint": {"address": {"socketAddress": socket}}}


def _options(
    site: Site, item: RedisDestination, auth: RedisAuth
) -> tuple[Json, tuple[Problem, ...]]:
    """Who the proxy is to the servers."""
    found, problems = credentials(site, item, auth, f"{_POOL}.redis.auth")
    if found is None:
        return {}, problems
    options = message(authPassword=found.password, authUsername=found.username)
    return {"typedExtensionProtocolOptions": {_FILTER: any_of(_OPTIONS, options)}}, problems


def _tcp(tcp: RedisTcp) -> Json:
    value: Json = {}
    if tcp.connect_timeout is not None:
        value["connectTimeout"] = duration(tcp.connect_timeout)
    if tcp.max_connections > 0:
        value["circuitBreakers"] = _breakers(tcp.max_connections)
    if tcp.tcp_keepalive is not None:
        value["upstreamConnectionOptions"] = {"tcpKeepalive": _keepalive(tcp.tcp_keepalive)}
    return value


def _keepalive(keepalive: TcpKeepalive) -> Json:
    """In whole seconds, a part of one rounded up, as validation says (P-7)."""
    time, interval = (
        -(-span.nanoseconds // _SECOND) if span is not None else None
        for span in (keepalive.time, keepalive.interval)
    )
    return message(keepaliveProbes=keepalive.probes, keepaliveTime=time, keepaliveInterval=interval)


def _istio(site: Site, host: Host) -> Json:
    """What Istio's telemetry reads of a cluster."""
    name = site.entry.metadata.name
    if not isinstance(site.entry, SyntheticServiceEntry):
        name = name.removeprefix("synthetic-")  # as Istio calls the entries of Services
    service = {"host": host, "name": name, "namespace": site.namespace}
    return {"default_original_port": site.number, "services": [service]}


def _plain_text(site: Site) -> Json:
    """Redis is outside of mutual TLS. Without a type, Envoy does not find the socket any more."""
    socket: Json = {"name": "envoy.transport_sockets.raw_buffer"}
    if site.has(Mend.CURRENT_FIELDS):
        socket["typedConfig"] = any_of(_RAW_BUFFER, {})
    return {"name": "tlsMode-disabled", "transportSocket": socket}
