"""MetaProtocol's filters, held against the fields that the specification lists (§3.1)."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from aeraki_xds.mesh.tenancy import Tenancy, TenancyMode
from aeraki_xds.translate.envoyfilter.profile import EnvoyFilters, Mend
from tests.translate.envoyfilter.fields import METAPROTOCOL, assert_fits
from tests.translate.envoyfilter.kit import (
    LIKE_AERAKI,
    MENDED,
    Json,
    Written,
    istio,
    mesh_config,
    only,
    router,
    service,
)

HOST = "orders.shop.svc.cluster.local"
OUTBOUND = f"istio-system/aeraki-outbound-{HOST}-10.0.0.1-9090"
INBOUND = f"istio-system/aeraki-inbound-{HOST}-9090"
BUCKET = "{maxTokens: 7, tokensPerFill: 3, fillInterval: 1m30s}"
EVERYTHING = f"""
  localRateLimit:
    tokenBucket: {BUCKET}
    conditions:
    - match:
        attributes: {{z: {{regex: 'a.*'}}, a: {{exact: ''}}, m: {{prefix: p}}, there: {{}}}}
      tokenBucket: {{maxTokens: 1, tokensPerFill: 1, fillInterval: 50ms}}
  globalRateLimit:
    match: {{attributes: {{method: {{exact: buy}}}}}}
    domain: shop
    requestTimeout: 20.5ms
    denyOnFail: true
    rateLimitService: outbound|8081||limits.shop.svc.cluster.local
    descriptors: [{{property: method, descriptorKey: rpc}}, {{property: user, descriptorKey: who}}]
"""
LOGGED = mesh_config("{accessLogFile: /dev/stdout, accessLogEncoding: JSON}")


@pytest.mark.parametrize(
    ("delivery", "limits", "log"),
    list(itertools.product((LIKE_AERAKI, MENDED), ("", EVERYTHING), ("", LOGGED))),
)
def test_every_value_has_the_fields_of_the_specification_and_no_others(
    delivery: EnvoyFilters, limits: str, log: str
) -> None:
    manifests = [service(), router(limits) if limits else "", log]
    written = istio(*filter(None, manifests), delivery=delivery)
    for name in (OUTBOUND, INBOUND):
        assert_fits(written.value(name), METAPROTOCOL)


def limits_of(written: Written) -> list[Json]:
    """The inbound filters before those that every filter has."""
    filters: list[Json] = written.value(INBOUND)["metaProtocolFilters"]
    return filters[:-3]


def test_limits_ask_in_their_order_before_all_else_and_only_where_calls_arrive() -> None:
    written = istio(service(), router(EVERYTHING))
    names = [each["name"] for each in written.value(INBOUND)["metaProtocolFilters"]]
    assert [name.rpartition(".")[2] for name in names] == [
        "local_ratelimit",
        "ratelimit",
        "metadata_exchange",
        "istio_stats",
        "router",
    ]
    outbound = [each["name"] for each in written.value(OUTBOUND)["metaProtocolFilters"]]
    assert outbound == names[2:]


def test_a_limit_holds_every_field_of_its_rule() -> None:
    local, shared = (each["config"] for each in limits_of(istio(service(), router(EVERYTHING))))
    assert local["statPrefix"] == HOST
    assert local["tokenBucket"] == {"maxTokens": 7, "tokensPerFill": 3, "fillInterval": "90s"}
    assert local["conditions"] == [
        {
            "match": {
                "metadata": [
                    {"name": "a", "exactMatch": ""},
                    {"name": "m", "prefixMatch": "p"},
                    {"name": "z", "safeRegexMatch": {"googleRe2": {}, "regex": "a.*"}},
                ]
            },
            "tokenBucket": {"maxTokens": 1, "tokensPerFill": 1, "fillInterval": "0.050s"},
        }
    ]
    del shared["@type"]
    assert shared == {
        "match": {"metadata": [{"name": "method", "exactMatch": "buy"}]},
        "domain": "shop",
        "timeout": "0.020500s",
        "failureModeDeny": True,
        "rateLimitService": {
            "grpcService": {
                "envoyGrpc": {"clusterName": "outbound|8081||limits.shop.svc.cluster.local"}
            }
        },
        "descriptors": [
            {"property": "method", "descriptorKey": "rpc"},
            {"property": "user", "descriptorKey": "who"},
        ],
    }


def test_presence_is_asked_by_the_mend_and_what_aeraki_drops_is_said() -> None:
    (condition,) = limits_of(
        istio(service(), router(EVERYTHING), delivery=only(Mend.PRESENCE_MATCH))
    )[0]["config"]["conditions"]
    assert {"name": "there", "presentMatch": True} in condition["match"]["metadata"]
    written = istio(service(), router(EVERYTHING))
    field = "spec.localRateLimit.conditions[0].match.attributes[there]"
    assert any(f"{field}: warning: `{{}}` asks nothing" in line for line in written.said)


def test_a_time_out_that_is_not_said_is_the_documented_one() -> None:
    """Aeraki crashes (P-2)."""
    limit = EVERYTHING.replace("requestTimeout: 20.5ms", "")
    shared = limits_of(istio(service(), router(limit)))[1]["config"]
    assert shared["timeout"] == "0.020s"


def test_a_shared_limit_without_a_match_limits_nothing_and_is_said() -> None:
    """As the data plane reads it (C-5)."""
    limit = EVERYTHING.replace("match: {attributes: {method: {exact: buy}}}", "match: {}")
    written = istio(service(), router(limit))
    assert limits_of(written)[1]["config"]["match"] == {}
    assert any("spec.globalRateLimit.match: warning: without" in line for line in written.said)


def test_a_limit_service_of_another_namespace_is_not_borrowed() -> None:
    foreign = EVERYTHING.replace("limits.shop.svc", "limits.bank.svc")
    strict = istio(service(), router(foreign))
    assert [each["name"].rpartition(".")[2] for each in limits_of(strict)] == ["local_ratelimit"]
    assert any("spec.globalRateLimit.rateLimitService: tenancy" in line for line in strict.said)
    lenient = istio(service(), router(foreign), tenancy=Tenancy(mode=TenancyMode.WARN))
    assert len(limits_of(lenient)) == 2


def test_current_fields_take_the_place_of_deprecated_ones() -> None:
    written = istio(service(), router(EVERYTHING), delivery=only(Mend.CURRENT_FIELDS))
    value = written.value(INBOUND)
    assert value["protocol"] == {
        "name": "thrift",
        "codec": {"name": "aeraki.meta_protocol.codec.thrift"},
    }
    assert not value.keys() & {"applicationProtocol", "codec"}
    (condition,) = limits_of(written)[0]["config"]["conditions"]
    assert condition["match"]["metadata"][0] == {"name": "a", "stringMatch": {"exact": ""}}


PROTOCOL = """
apiVersion: metaprotocol.aeraki.io/v1alpha1
kind: ApplicationProtocol
metadata: {name: qza}
spec: {protocol: qza, codec: com.example.codec.qza}
"""


def test_a_protocol_is_what_its_declaration_says() -> None:
    written = istio(service(port="tcp-metaprotocol-qza-x-y"), PROTOCOL)
    for name in (OUTBOUND, INBOUND):
        value = written.value(name)
        assert value["applicationProtocol"] == "qza"
        assert value["codec"] == {"name": "com.example.codec.qza"}


def test_a_protocol_that_nobody_declares_gives_nothing_and_is_an_error() -> None:
    written = istio(service(port="tcp-metaprotocol-qza"))
    assert written.names == []
    assert any("spec.ports[0].name: no ApplicationProtocol" in line for line in written.said)


def test_a_router_about_another_spelling_of_the_host_counts_by_the_mend() -> None:
    short = router(EVERYTHING, host="orders")
    written = istio(service(), short)
    assert limits_of(written) == []
    assert any("MetaRouter/shop/orders: spec.hosts: warning" in line for line in written.said)
    assert len(limits_of(istio(service(), short, delivery=only(Mend.FULL_HOSTS)))) == 2


def test_the_field_list_refuses_what_is_not_in_it() -> None:
    value: dict[str, Any] = istio(service(), router(EVERYTHING)).value(INBOUND)
    for broken in (
        {**value, "idleTimeout": "1s"},
        {**value, "codec": "thrift"},
        {key: of for key, of in value.items() if key != "statPrefix"},
    ):
        with pytest.raises(AssertionError):
            assert_fits(broken, METAPROTOCOL)


LIMIT = f"localRateLimit: {{tokenBucket: {BUCKET}}}"


def crowded(manifest: str) -> bool:
    """Whether it is said that the router's limit may not be enforced beside another service."""
    said = istio(service(), manifest, router(LIMIT)).said
    return any("spec.localRateLimit: warning: may not be enforced" in line for line in said)


def test_a_limit_beside_another_service_of_the_same_workloads_and_port_may_not_be_enforced() -> (
    None
):
    """Istio replaces the TCP proxy of an inbound chain once."""
    other = service("other", address="10.0.0.2")
    assert crowded(other)
    assert not crowded(other.replace("9090", "9091"))
    assert not crowded(other.replace("app: orders", "app: other"))
    assert not crowded(other.replace("tcp-metaprotocol-thrift", "http"))


POLICY = """
apiVersion: dubbo.aeraki.io/v1alpha1
kind: DubboAuthorizationPolicy
metadata: {name: closed, namespace: shop}
spec: {action: ALLOW, rules: [{from: [{source: {namespaces: [web]}}]}]}
"""


def test_a_policy_that_no_filter_checks_is_said() -> None:
    line = "DubboAuthorizationPolicy/shop/closed: spec: warning: is not enforced"
    dubbo = istio(service(port="tcp-metaprotocol-dubbo"), POLICY)
    assert any(line in said for said in dubbo.said)
    assert not any(line in said for said in istio(service(), POLICY).said)


def test_a_virtual_service_is_not_read_for_metaprotocol_and_that_is_said() -> None:
    rules = f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: orders, namespace: shop}}
spec: {{hosts: [{HOST}], http: [{{route: [{{destination: {{host: {HOST}}}}}]}}]}}
"""
    written = istio(service(), rules)
    assert any(
        "VirtualService/shop/orders: spec.http: warning: is not read" in s for s in written.said
    )


def test_by_the_mend_only_ports_named_tcp_crowd_each_other() -> None:
    other = service("other", "tls-kafka", address="10.0.0.2")
    for delivery, crowd in ((LIKE_AERAKI, True), (only(Mend.TCP_PORTS), False)):
        said = istio(service(), other, router(LIMIT), delivery=delivery).said
        assert any("may not be enforced" in line for line in said) is crowd


@pytest.mark.parametrize(("crowd", "ends"), [(3, "other2 has"), (4, "other2, … has")])
def test_of_a_crowd_three_are_named(crowd: int, ends: str) -> None:
    others = [service(f"other{n}", address=f"10.0.1.{n}") for n in range(crowd)]
    (line,) = (
        line
        for line in istio(service(), *others, router(LIMIT)).said
        if "spec.localRateLimit: warning: may not be enforced" in line
    )
    assert ends in line
    assert "other3" not in line


def test_both_limits_are_named_where_none_can_be_enforced() -> None:
    said = istio(service(selector="{}"), router(EVERYTHING)).said
    for field in ("spec.localRateLimit", "spec.globalRateLimit"):
        assert any(f"MetaRouter/shop/orders: {field}: warning" in line for line in said)


def test_statistics_of_a_limit_bear_the_name_that_the_router_writes() -> None:
    short = router(EVERYTHING, host="orders")
    local = limits_of(istio(service(), short, delivery=only(Mend.FULL_HOSTS)))[0]
    assert local["config"]["statPrefix"] == "orders"


RULES = f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: orders, namespace: shop}}
spec: {{hosts: [{HOST}], WHAT}}
"""
HTTP = f"http: [{{route: [{{destination: {{host: {HOST}}}}}]}}]"


@pytest.mark.parametrize("what", [f"gateways: [edge], {HTTP}", "http: []"])
def test_a_virtual_service_that_says_nothing_to_sidecars_is_passed_over(what: str) -> None:
    written = istio(service(), RULES.replace("WHAT", what))
    assert not any("spec.http: warning" in line for line in written.said)


def test_a_policy_of_the_root_namespace_is_missed_only_where_it_would_hold() -> None:
    root = POLICY.replace("namespace: shop", "namespace: istio-system")
    dubbo = service(port="tcp-metaprotocol-dubbo")
    line = "DubboAuthorizationPolicy/istio-system/closed: spec: warning: is not enforced"
    for delivery, told in ((LIKE_AERAKI, False), (only(Mend.MESH_POLICIES), True)):
        said = istio(dubbo, root, delivery=delivery).said
        assert any(line in each for each in said) is told
    of_root = dubbo.replace("namespace: shop", "namespace: istio-system")
    assert sum(line in each for each in istio(of_root, root).said) == 1
