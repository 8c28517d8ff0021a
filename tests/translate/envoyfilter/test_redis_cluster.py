"""The cluster of a Redis service: what a RedisDestination becomes, and what Aeraki replaces."""

from __future__ import annotations

import pytest

from aeraki_xds.translate.envoyfilter.profile import EnvoyFilters
from tests.translate.envoyfilter.kit import LIKE_AERAKI, MENDED
from tests.translate.envoyfilter.redis_kit import (
    PROFILES,
    SESSIONS,
    SUFFIX,
    blamed,
    cluster,
    entry,
    made,
    reached,
    said,
    service,
)


def test_aeraki_replaces_the_cluster_of_a_service_of_which_nothing_is_said() -> None:
    everything = 2**32 - 1
    assert cluster(service("sessions"), delivery=LIKE_AERAKI) == {
        "name": SESSIONS,
        "type": "EDS",
        "edsClusterConfig": {"edsConfig": {"ads": {}, "resourceApiVersion": "V3"}},
        "connectTimeout": "10s",
        "lbPolicy": "MAGLEV",
        "circuitBreakers": {
            "thresholds": [
                {
                    "maxConnections": everything,
                    "maxPendingRequests": everything,
                    "maxRequests": everything,
                    "maxRetries": everything,
                }
            ]
        },
    }


def test_a_cluster_is_replaced_only_where_a_destination_asks_for_it() -> None:
    """E-8."""
    assert made(service("sessions")).patches == ()
    assert made(service("sessions"), reached("tcp: {maxConnections: 1}")).patches != ()


@PROFILES
def test_a_destination_that_asks_for_nothing_is_told_so(delivery: EnvoyFilters) -> None:
    mesh = service("sessions"), reached("")
    assert made(*mesh, delivery=delivery).patches == made(mesh[0], delivery=delivery).patches
    assert blamed(made(*mesh, delivery=delivery)) == ["spec.trafficPolicy.connectionPool"]


@pytest.mark.parametrize(
    ("delivery", "asked"),
    [(LIKE_AERAKI, False), (LIKE_AERAKI, True), (MENDED, False), (MENDED, True)],
)
def test_a_destination_rule_of_a_replaced_cluster_is_told_so(
    delivery: EnvoyFilters, asked: bool
) -> None:
    rule = f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: sessions, namespace: cache}}
spec: {{host: sessions.{SUFFIX}, trafficPolicy: {{loadBalancer: {{simple: RANDOM}}}}}}
"""
    pool = [reached("tcp: {maxConnections: 1}")] if asked else []
    found = made(service("sessions"), rule, *pool, delivery=delivery)
    told = any("DestinationRule/cache/sessions spec.trafficPolicy" in each for each in said(found))
    assert told == bool(found.patches)
    assert any("--with asked-clusters" in each for each in said(found)) == (told and not asked)


def test_a_cluster_that_is_asked_for_keeps_what_istio_reads_of_it() -> None:
    mesh = (
        entry("sessions.example", name="synthetic-sessions"),
        reached("tcp: {maxConnections: 5, connectTimeout: 250ms}", host="sessions.example"),
    )
    value = cluster(*mesh, host="sessions.example", delivery=LIKE_AERAKI)
    assert value["type"] == "EDS"
    assert value["connectTimeout"] == "0.250s"
    assert value["circuitBreakers"]["thresholds"][0]["maxConnections"] == 5
    named = {"host": "sessions.example", "name": "sessions", "namespace": "cache"}
    assert value["metadata"] == {
        "filterMetadata": {"istio": {"default_original_port": 6379, "services": [named]}}
    }
    exchange = "type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange"
    assert value["filters"] == [
        {
            "name": "istio.metadata_exchange",
            "typedConfig": {"@type": exchange, "protocol": "istio-peer-exchange"},
        }
    ]


def test_a_transport_socket_has_a_type_where_proxies_ask_for_one() -> None:
    mesh = service("sessions"), reached("tcp: {maxConnections: 5}")
    (match,) = cluster(*mesh)["transportSocketMatches"]
    raw = "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
    assert match["transportSocket"]["typedConfig"] == {"@type": raw}
    (match,) = cluster(*mesh, delivery=LIKE_AERAKI)["transportSocketMatches"]
    assert match == {
        "name": "tlsMode-disabled",
        "transportSocket": {"name": "envoy.transport_sockets.raw_buffer"},
    }
    assert "(--with current-fields)" in said(made(*mesh, delivery=LIKE_AERAKI))[0]


@PROFILES
@pytest.mark.parametrize(
    ("endpoints", "expected"),
    [
        ("[]", [(f"sessions.{SUFFIX}", 6379)]),
        (
            '[a.example, "b.example:7000", 10.0.0.9, "[fd00::1]", "[fd00::2]:7001"]',
            [
                ("a.example", 6379),
                ("b.example", 7000),
                ("10.0.0.9", 6379),
                ("fd00::1", 6379),
                ("fd00::2", 7001),
            ],
        ),
    ],
    ids=["the-host", "named"],
)
def test_a_redis_cluster_is_discovered_from_its_endpoints(
    endpoints: str, expected: list[tuple[str, int]], delivery: EnvoyFilters
) -> None:
    pool = reached(f"redis: {{mode: CLUSTER, discoveryEndpoints: {endpoints}}}")
    value = cluster(service("sessions"), pool, delivery=delivery)
    assert value["clusterType"] == {"name": "envoy.clusters.redis"}
    assert value["lbPolicy"] == "CLUSTER_PROVIDED"
    assert not {"type", "edsClusterConfig"} & value.keys()
    assert value["loadAssignment"]["clusterName"] == SESSIONS
    ((group,),) = [value["loadAssignment"]["endpoints"]]
    sockets = [each["endpoint"]["address"]["socketAddress"] for each in group["lbEndpoints"]]
    assert [(each["address"], each["portValue"]) for each in sockets] == expected


@PROFILES
@pytest.mark.parametrize(
    ("keepalive", "expected"),
    [
        (
            "{probes: 3, time: 60s, interval: 1500ms}",
            {"keepaliveProbes": 3, "keepaliveTime": 60, "keepaliveInterval": 2},
        ),
        ("{}", {}),
    ],
)
def test_keepalive_is_in_whole_seconds(
    keepalive: str, expected: dict[str, int], delivery: EnvoyFilters
) -> None:
    """P-7."""
    pool = reached(f"tcp: {{tcpKeepalive: {keepalive}}}")
    value = cluster(service("sessions"), pool, delivery=delivery)
    assert value["upstreamConnectionOptions"] == {"tcpKeepalive": expected}
