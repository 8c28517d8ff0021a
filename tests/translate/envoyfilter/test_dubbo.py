"""Dubbo ports: what golden cases do not show, one question at a time."""

from __future__ import annotations

from typing import Any

import pytest

from aeraki_xds.translate.envoyfilter import dubbo
from aeraki_xds.translate.envoyfilter.profile import EnvoyFilters, Mend
from aeraki_xds.translate.envoyfilter.site import Generated
from tests.translate.envoyfilter.kit import LIKE_AERAKI, MENDED, Json, only
from tests.translate.envoyfilter.sites import said, site_of, text_about

HOST = "quotes.shop.svc.cluster.local"
SERVICE = f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: quotes, namespace: shop, annotations: {{interface: com.acme.Quotes}}}}
spec:
  hosts: [{HOST}]
  addresses: [240.240.0.1]
  ports: [{{number: 20880, name: tcp-dubbo}}]
  resolution: STATIC
"""
KUBERNETES = """
apiVersion: v1
kind: Service
metadata: {name: quotes, namespace: shop, annotations: {interface: com.acme.Quotes}}
spec:
  clusterIP: 10.96.0.1
  ports: [{port: 20880, name: tcp-dubbo}]
"""
ANY = {"safeRegex": {"googleRe2": {}, "regex": ".*"}}
PRESENT = {"safeRegex": {"googleRe2": {}, "regex": ".+"}}
TO_IT = "route: [{destination: {host: quotes}}]"
HTTP = "VirtualService/shop/quotes spec.http"


def generated(delivery: EnvoyFilters, *manifests: str, service: str = SERVICE) -> Generated:
    return dubbo.generate(site_of("\n---\n".join((service, *manifests)), HOST, delivery))


def routes(made: Generated) -> list[Json]:
    assert made.outbound is not None, said(made)
    config: Any = made.outbound.config
    found: list[Json] = config["routeConfig"][0].get("routes", [])
    return found


def matches(made: Generated) -> list[Json]:
    return [each["match"] for each in routes(made)]


def virtual_service(http: str) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: quotes, namespace: shop}}
spec:
  hosts: [{HOST}]
  http: {http}
"""


def matching(match: str) -> str:
    """Rules with one match, and one more that takes what is left."""
    return virtual_service(f"[{{match: [{match}], {TO_IT}}}]")


def test_a_null_condition_leaves_its_route_out_in_both_profiles() -> None:
    """Aeraki crashes there (P-10); without the condition the route would take more calls."""
    for delivery in (LIKE_AERAKI, MENDED):
        made = generated(delivery, matching("{method: {exact: a}, headers: {tenant: null}}"))
        assert matches(made) == []
        assert "left out" in text_about(made, f"{HTTP}[0].match[0]")


@pytest.mark.parametrize(
    "condition",
    [
        '{method: {prefix: ""}}',
        '{method: {regex: ""}}',
        '{method: {regex: "(?=a)"}}',
        '{headers: {tenant: {prefix: ""}}}',
        '{headers: {tenant: {regex: "("}}}',
        '{headers: {"": {exact: a}}}',
    ],
)
@pytest.mark.parametrize("delivery", [LIKE_AERAKI, MENDED])
def test_what_envoy_refuses_leaves_its_route_out_and_not_the_listener(
    delivery: EnvoyFilters, condition: str
) -> None:
    made = generated(delivery, matching(condition))
    assert matches(made) == []
    assert any(each.where.startswith(HTTP) and "left out" in each.text for each in said(made))


def test_presence_is_asked_for_where_it_is_mended() -> None:
    present = matching("{method: {}, headers: {canary: {}}}")
    assert matches(generated(LIKE_AERAKI, present)) == [{"method": {"name": ANY}}]
    assert matches(generated(only(Mend.PRESENCE_MATCH), present)) == [
        {"method": {"name": PRESENT}, "headers": [{"name": "canary", "presentMatch": True}]}
    ]
    made = generated(only(Mend.DUBBO_MATCHES), present)
    assert matches(made) == [{"method": {"name": ANY}}]
    for field in ("method", "headers[canary]"):
        assert any(
            each.where.endswith(field) and str(Mend.PRESENCE_MATCH) in each.text
            for each in said(made)
        )


def test_only_the_first_alternative_counts_in_aeraki() -> None:
    rules = matching("{method: {exact: a}}, {method: {exact: b}}")
    names = [each["method"]["name"] for each in matches(generated(LIKE_AERAKI, rules))]
    assert names == [{"exact": "a"}]
    names = [each["method"]["name"] for each in matches(generated(only(Mend.DUBBO_MATCHES), rules))]
    assert names == [{"exact": "a"}, {"exact": "b"}]


def test_conditions_of_http_are_skipped_in_aeraki_and_leave_the_rule_out_when_mended() -> None:
    rules = matching("{method: {exact: a}, uri: {exact: /}}")
    made = generated(LIKE_AERAKI, rules)
    assert matches(made) == [{"method": {"name": {"exact": "a"}}}]
    assert str(Mend.DUBBO_MATCHES) in text_about(made, f"{HTTP}[0].match[0].uri")
    assert matches(generated(MENDED, rules)) == []


def test_a_header_named_method_is_another_thing_than_the_method() -> None:
    rules = matching("{method: {exact: a}, headers: {method: {exact: b}}}")
    assert matches(generated(LIKE_AERAKI, rules)) == [
        {"method": {"name": {"exact": "a"}}, "headers": [{"name": "method", "exactMatch": "b"}]}
    ]
    assert matches(generated(MENDED, rules)) == []


def test_headers_are_sorted_and_spelled_as_the_profile_wants() -> None:
    rules = matching("{headers: {b: {exact: x}, a: {prefix: y}, c: {regex: z}}}")
    re = {"googleRe2": {}, "regex": "z"}
    assert matches(generated(LIKE_AERAKI, rules))[0]["headers"] == [
        {"name": "a", "prefixMatch": "y"},
        {"name": "b", "exactMatch": "x"},
        {"name": "c", "safeRegexMatch": re},
    ]
    assert matches(generated(only(Mend.CURRENT_FIELDS), rules))[0]["headers"] == [
        {"name": "a", "stringMatch": {"prefix": "y"}},
        {"name": "b", "stringMatch": {"exact": "x"}},
        {"name": "c", "stringMatch": {"safeRegex": re}},
    ]


def test_a_service_without_an_interface_has_no_outbound_filter() -> None:
    """Aeraki writes an empty config for it (D-4)."""
    for service in (
        SERVICE.replace("interface: com.acme.Quotes", ""),
        SERVICE.replace("com.acme.Quotes", '""'),
    ):
        for delivery in (LIKE_AERAKI, MENDED):
            made = generated(delivery, service=service)
            assert made.outbound is None
            assert made.inbound is not None
            about = text_about(made, "ServiceEntry/shop/quotes metadata.annotations")
            assert "interface" in about
            assert "warning" not in about


def test_annotations_of_a_kubernetes_service_are_read_where_it_is_mended() -> None:
    assert generated(only(Mend.SERVICE_ANNOTATIONS), service=KUBERNETES).outbound is not None
    made = generated(LIKE_AERAKI, service=KUBERNETES)
    assert made.outbound is None
    about = text_about(made, "Service/shop/quotes metadata.annotations")
    assert str(Mend.SERVICE_ANNOTATIONS) in about


def test_shares_are_written_with_their_sum_and_with_those_who_get_none() -> None:
    weights = (
        "[{route: [{destination: {host: quotes}, weight: 3},"
        "{destination: {host: quotes}, weight: 1}, {destination: {host: quotes}, weight: 0}]}]"
    )
    for delivery in (LIKE_AERAKI, MENDED):
        (route,) = routes(generated(delivery, virtual_service(weights)))
        shares = route["route"]["weightedClusters"]
        assert [each["weight"] for each in shares["clusters"]] == [3, 1, 0]
        assert shares["totalWeight"] == 4


def test_a_target_that_nobody_declares_holds_the_port_where_it_is_followed() -> None:
    rules = virtual_service("[{route: [{destination: {host: quotes, subset: v9}}]}]")
    field = f"{HTTP}[0].route[0].destination.subset"
    mended, like_aeraki = generated(MENDED, rules), generated(LIKE_AERAKI, rules)
    assert mended.held
    assert "warning" not in text_about(mended, field)
    assert routes(like_aeraki)[0]["route"] == {"cluster": f"outbound|20880|v9|{HOST}"}
    assert "warning" in text_about(like_aeraki, field)


def test_where_a_mirror_goes_does_not_matter_for_nothing_is_mirrored() -> None:
    rules = virtual_service(f"[{{{TO_IT}, mirror: {{host: nobody}}}}]")
    for delivery in (LIKE_AERAKI, MENDED):
        made = generated(delivery, rules)
        assert not made.held
        assert len(routes(made)) == 1
        assert "mirrors nothing" in text_about(made, f"{HTTP}[0].mirror")


def test_a_policy_that_nobody_could_read_holds_the_port() -> None:
    policy = """
apiVersion: dubbo.aeraki.io/v1alpha1
kind: DubboAuthorizationPolicy
metadata: {name: p, namespace: shop}
spec: {action: AUDIT}
"""
    root = policy.replace("namespace: shop", "namespace: istio-system")
    for delivery in (LIKE_AERAKI, MENDED):
        assert generated(delivery, policy).held
    assert generated(only(Mend.MESH_POLICIES), root).held
    assert not generated(LIKE_AERAKI, root).held
