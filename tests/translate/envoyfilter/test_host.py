"""Which ports of which hosts have filters, and which are left alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aeraki_xds.translate.envoyfilter.profile import EnvoyFilters, Mend
from tests.translate.envoyfilter.kit import (
    LIKE_AERAKI,
    MENDED,
    Json,
    Written,
    entry,
    istio,
    only,
    router,
    service,
)

BOTH = pytest.mark.parametrize("delivery", [LIKE_AERAKI, MENDED], ids=["aeraki-1.4", "current"])
LIMIT = "localRateLimit: {tokenBucket: {maxTokens: 1, tokensPerFill: 1, fillInterval: 1s}}"


def listeners(written: Written) -> set[tuple[str, int]]:
    """Where filters are put: listener and, for inbound ones, port."""
    filters = [patch for patch in written.patches() if patch["applyTo"] == "NETWORK_FILTER"]
    matches = [patch["match"]["listener"] for patch in filters]
    return {(m["name"], m["filterChain"].get("destinationPort", 0)) for m in matches}


def ports(*names: str) -> str:
    return entry(ports=str([{"number": 1000 + n, "name": name} for n, name in enumerate(names)]))


@BOTH
@pytest.mark.parametrize(
    "name", ["http", "http-kafka-ui", "grpc-redis", "https-dubbo", "tcp", "redis", "", "tcp-other"]
)
def test_a_port_whose_name_is_no_protocol_of_ours_is_left_alone(
    name: str, delivery: EnvoyFilters
) -> None:
    assert istio(ports(name), delivery=delivery).names == []


@BOTH
@pytest.mark.parametrize("name", ["tcp-mongo", "tcp-mysql-x"])
def test_a_protocol_without_a_filter_is_named(name: str, delivery: EnvoyFilters) -> None:
    written = istio(ports(name), delivery=delivery)
    assert written.names == []
    assert any("spec.ports[0].name: warning" in line for line in written.said)


@BOTH
def test_a_port_that_names_no_application_protocol_harms_nothing(delivery: EnvoyFilters) -> None:
    """Aeraki crashes (P-1)."""
    written = istio(ports("tcp-metaprotocol", "tcp-thrift"), delivery=delivery)
    assert listeners(written) == {("240.240.0.1_1001", 0), ("virtualInbound", 1001)}
    assert any("spec.ports[0].name: warning" in line for line in written.said)


@BOTH
def test_a_filter_is_at_the_port_that_names_the_protocol_wherever_that_is_in_the_list(
    delivery: EnvoyFilters,
) -> None:
    """Aeraki takes the first port of the service (M-3)."""
    written = istio(ports("http", "tcp-thrift"), delivery=delivery)
    assert listeners(written) == {("240.240.0.1_1001", 0), ("virtualInbound", 1001)}


def test_only_the_first_protocol_has_filters_unless_the_mend_gives_them_to_all() -> None:
    mixed = ports("tcp-thrift", "tcp-zookeeper", "tcp-thrift-2")
    written = istio(mixed)
    assert listeners(written) == {("240.240.0.1_1000", 0), ("virtualInbound", 1000)}
    assert sum("(--with every-port)" in line for line in written.said) == 2
    assert len(istio(mixed, delivery=only(Mend.EVERY_PORT)).names) == 6


@BOTH
@pytest.mark.parametrize("protocol", ["redis", "metaprotocol-thrift"])
def test_all_ports_of_redis_and_metaprotocol_have_filters_of_their_own(
    protocol: str, delivery: EnvoyFilters
) -> None:
    written = istio(ports(f"tcp-{protocol}", f"tcp-{protocol}-2"), delivery=delivery)
    assert len([name for name in written.names if "outbound" in name]) == 2


def test_a_transport_that_is_not_tcp_counts_for_aeraki_where_it_is_not_http() -> None:
    assert len(istio(ports("tls-kafka")).names) == 2
    assert istio(ports("tls-kafka"), delivery=only(Mend.TCP_PORTS)).names == []


def test_redis_is_spelled_in_lower_case_for_aeraki() -> None:
    assert istio(ports("tcp-Redis")).names == []
    assert len(istio(ports("tcp-Redis"), delivery=only(Mend.EVERY_PORT)).names) == 2


SECOND = router(LIMIT, host="second.example")


def test_the_listener_speaks_for_the_first_host_or_by_the_mend_for_the_one_with_rules() -> None:
    both = entry("first.example", "second.example")
    plain = istio(both, SECOND)
    assert all("-first.example-" in name for name in plain.names)
    assert any("shares its addresses with first.example" in line for line in plain.said)
    mended = istio(both, SECOND, delivery=only(Mend.EVERY_HOST))
    assert all("-second.example-" in name for name in mended.names)
    assert len(mended.names) == 2


def test_a_host_of_another_entry_in_the_same_namespace_keeps_its_own_ports_and_addresses() -> None:
    other = entry(
        "orders.example",
        name="more",
        addresses="[240.240.0.2]",
        ports="[{number: 1, name: tcp-thrift}]",
    )
    assert ("240.240.0.2_1", 0) in listeners(istio(entry(), other))


def test_a_router_that_cannot_be_read_and_never_could_holds_all_of_its_host() -> None:
    broken = router("routes: 7")
    written = istio(service(), broken, service("other", "tcp-thrift", address="10.0.0.2"))
    assert all("other" in name for name in written.names)
    assert len(written.names) == 2


def test_of_one_bad_object_nothing_else_suffers() -> None:
    """Aeraki stops, crashes or deletes (P-…, M-7)."""
    bad = [
        entry(name="no-hosts").replace("hosts: [orders.example]", "hosts: []"),
        ports("tcp-metaprotocol").replace("name: orders", "name: p1"),
        router("globalRateLimit: {}", host="x.example", name="broken"),
    ]
    assert len(istio(service(), *bad).names) == 2


NAMES = st.sampled_from(
    [
        *("", "http", "tcp", "redis", "http-thrift", "grpc-dubbo", "https-redis", "tcp-thrift"),
        *("tcp-dubbo", "tcp-redis", "tcp-Redis", "tls-redis", "TCP-Kafka", "tcp-zookeeper-x"),
        *("tcp-metaprotocol-thrift", "tcp-metaprotocol", "tcp-mongo", "tcp-metaprotocol-unknown"),
    ]
)


def a_service(n: int, names: list[str]) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": f"s{n}", "namespace": "shop"},
        "spec": {
            "clusterIP": f"10.0.0.{n}",
            "selector": {"app": f"s{n}"},
            "ports": [
                {"port": 1000 + i, "name": name, "targetPort": 2000 + i}
                for i, name in enumerate(names)
            ],
        },
    }


@settings(max_examples=60, deadline=None)
@given(
    meshes=st.lists(st.lists(NAMES, min_size=1, max_size=4), min_size=1, max_size=3),
    mends=st.sets(st.sampled_from(Mend)),
)
def test_no_output_touches_a_port_or_a_listener_that_no_rule_owns(
    meshes: list[list[str]], mends: set[Mend]
) -> None:
    """HTTP stays HTTP: whatever the switches, a filter is put only where a port's name says so."""
    services: list[Any] = [a_service(n, names) for n, names in enumerate(meshes, 1)]
    owned: set[tuple[str, int]] = set()
    for n, names in enumerate(meshes, 1):
        for i, name in enumerate(names):
            transport, _, rest = name.partition("-")
            if rest and transport.lower() not in ("http", "https", "grpc"):
                owned |= {(f"10.0.0.{n}_{1000 + i}", 0)}
                owned |= {("virtualInbound", 1000 + i), ("virtualInbound", 2000 + i)}
    written = istio(services, delivery=only(*mends))
    assert listeners(written) <= owned
    clusters = {patch["applyTo"] for patch in written.patches()} - {"NETWORK_FILTER"}
    assert clusters <= {"CLUSTER"}


def test_of_two_protocols_whose_ports_all_have_filters_the_first_alone_has_them() -> None:
    mixed = ports("tcp-metaprotocol-thrift", "tcp-redis")
    assert listeners(istio(mixed)) == {("240.240.0.1_1000", 0), ("virtualInbound", 1000)}


def test_a_host_without_a_protocol_of_ours_is_not_spoken_of() -> None:
    assert istio(f"{service(port='http')}---{router(LIMIT)}").said == []


def test_a_gateway_for_a_host_without_a_port_of_metaprotocol_stays_closed_and_is_said() -> None:
    gated = router(f"gateways: [edge]\n  {LIMIT}")
    said = istio(f"{service(port='http')}---{gated}").said
    assert any("spec.gateways: warning: " in line for line in said)


def test_a_port_that_an_older_entry_declares_is_a_conflict() -> None:
    older = entry(ports="[{number: 9090, name: tcp-thrift}]", name="a-first")
    written = istio(older, entry())
    assert any(
        "ServiceEntry/shop/orders: spec.ports[0].number: conflict" in s for s in written.said
    )


def test_an_entry_whose_listeners_are_not_ours_silences_nobody() -> None:
    """Its ports are no protocol's of ours; who owns them does not matter."""
    web = entry("first.example", "second.example", ports="[{number: 80, name: http}]", name="web")
    own = entry("second.example", name="own", addresses="[240.240.0.2]")
    written = istio(web, own, SECOND)
    assert listeners(written) == {("240.240.0.2_9090", 0), ("virtualInbound", 9090)}
    assert written.said == []


def test_a_router_in_force_is_not_held_by_another_that_cannot_be_read() -> None:
    broken = router("routes: 7", name="second")
    assert len(istio(service(), router(LIMIT), broken).names) == 2


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("exportTo: [.]\n  routes: [{route: [{destination: {host: orders}}]}]", True),
        (LIMIT, True),
        (
            "globalRateLimit: {domain: d, rateLimitService: 'outbound|1||limits', "
            "match: {attributes: {a: {exact: b}}}, descriptors: [{property: a, descriptorKey: a}]}",
            True,
        ),
        ("routes: [{route: [{destination: {host: orders}}]}]", False),
    ],
)
def test_a_router_that_spells_the_host_otherwise_is_told_what_of_it_has_no_effect(
    spec: str, told: bool
) -> None:
    short = router(spec, host="orders")
    said = istio(service(), short).said
    assert any("is spelled otherwise here" in line for line in said) is told
    mended = istio(service(), short, delivery=only(Mend.FULL_HOSTS)).said
    assert not any("is spelled otherwise here" in line for line in mended)


def test_a_wildcard_owns_no_listener_by_the_mend() -> None:
    both = entry("'*.example.com'", "second.example")
    assert istio(both).names == []
    assert len(istio(both, delivery=only(Mend.EVERY_HOST)).names) == 2


def test_a_redis_object_makes_its_host_the_owner_of_the_listener_by_the_mend() -> None:
    both = entry("first.example", "second.example", ports="[{number: 6379, name: tcp-redis}]")
    offered = """
apiVersion: redis.aeraki.io/v1alpha1
kind: RedisService
metadata: {name: second, namespace: shop}
spec: {host: [second.example]}
"""
    mended = istio(both, offered, delivery=only(Mend.EVERY_HOST))
    assert all("-second.example-" in name for name in mended.names)
    assert len(mended.names) == 2
    plain = istio(both, offered)
    assert all("-first.example-" in name for name in plain.names)
    assert not any("shares its addresses" in line for line in plain.said)
