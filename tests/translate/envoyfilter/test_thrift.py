"""Thrift ports: what golden cases do not show, one question at a time."""

from __future__ import annotations

from typing import Any

import pytest

from aeraki_xds.translate.envoyfilter import thrift
from aeraki_xds.translate.envoyfilter.profile import EnvoyFilters, Mend
from aeraki_xds.translate.envoyfilter.site import Generated
from tests.translate.envoyfilter.kit import LIKE_AERAKI, MENDED, Json, only
from tests.translate.envoyfilter.sites import said, site_of, text_about

HOST = "ledger.bank.svc.cluster.local"
SERVICE = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ledger, namespace: bank}
spec:
  hosts: [ledger.bank.svc.cluster.local]
  addresses: [240.240.0.1]
  ports: [{number: 9095, name: tcp-thrift}]
  resolution: STATIC
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ledger, namespace: bank}
spec:
  host: ledger
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
"""


def generated(delivery: EnvoyFilters, *manifests: str) -> Generated:
    return thrift.generate(site_of("\n---\n".join((SERVICE, *manifests)), HOST, delivery))


def routes(made: Generated) -> list[Json]:
    assert made.outbound is not None
    config: Any = made.outbound.config
    found: list[Json] = config["routeConfig"].get("routes", [])
    return found


def virtual_service(http: str, *, name: str = "ledger", rest: str = "") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: bank}}
spec:
  hosts: [{HOST}]
  {rest}
  http: {http}
"""


ROUTER = """
apiVersion: metaprotocol.aeraki.io/v1alpha1
kind: MetaRouter
metadata: {name: ledger, namespace: bank}
spec:
  hosts: [ledger.bank.svc.cluster.local]
  routes:
  - match: {attributes: {method: {exact: close}}}
    route: [{destination: {host: ledger, subset: v2}}]
"""
TO_V1 = "route: [{destination: {host: ledger, subset: v1}}]"


@pytest.mark.parametrize("delivery", [LIKE_AERAKI, MENDED])
def test_without_rules_every_call_goes_to_the_service(delivery: EnvoyFilters) -> None:
    made = generated(delivery)
    assert routes(made) == [
        {"match": {"methodName": ""}, "route": {"cluster": f"outbound|9095||{HOST}"}}
    ]


@pytest.mark.parametrize("delivery", [LIKE_AERAKI, MENDED])
def test_who_gets_no_share_is_left_out_for_the_filter_refuses_a_weight_of_0(
    delivery: EnvoyFilters,
) -> None:
    weights = (
        "[{route: [{destination: {host: ledger, subset: v1}, weight: 70},"
        "{destination: {host: ledger, subset: v2}, weight: 30},"
        "{destination: {host: ledger}, weight: 0}]}]"
    )
    (route,) = routes(generated(delivery, virtual_service(weights)))
    assert route["route"] == {
        "weightedClusters": {
            "clusters": [
                {"name": f"outbound|9095|v1|{HOST}", "weight": 70},
                {"name": f"outbound|9095|v2|{HOST}", "weight": 30},
            ]
        }
    }


def test_an_entry_that_sends_nowhere_is_left_out_and_the_next_stays() -> None:
    """Aeraki crashes there (P-9)."""
    for delivery in (LIKE_AERAKI, MENDED):
        made = generated(delivery, virtual_service(f"[{{redirect: {{uri: /}}}}, {{{TO_V1}}}]"))
        assert [each["route"] for each in routes(made)] == [{"cluster": f"outbound|9095|v1|{HOST}"}]
        assert "left out" in text_about(made, "VirtualService/bank/ledger spec.http[0].route")


def test_a_virtual_service_without_rules_has_no_route_or_when_mended_the_default_one() -> None:
    empty = virtual_service("[]")
    assert routes(generated(LIKE_AERAKI, empty)) == []
    (route,) = routes(generated(only(Mend.DEFAULT_ROUTE), empty))
    assert route["route"] == {"cluster": f"outbound|9095||{HOST}"}


def test_rules_that_all_must_be_left_out_leave_no_default_route() -> None:
    made = generated(MENDED, virtual_service(f"[{{match: [{{uri: {{exact: /}}}}], {TO_V1}}}]"))
    assert routes(made) == []


def test_a_router_routes_before_a_virtual_service_only_when_asked() -> None:
    service = virtual_service(f"[{{{TO_V1}}}]")
    mended = only(Mend.NATIVE_ROUTER)
    (ignoring,) = routes(generated(LIKE_AERAKI, ROUTER, service))
    (following,) = routes(generated(mended, ROUTER, service))
    assert ignoring["match"] == {"methodName": ""}
    assert following["match"] == {"methodName": "close"}
    ignored = generated(LIKE_AERAKI, ROUTER, service)
    assert str(Mend.NATIVE_ROUTER) in text_about(ignored, "MetaRouter/bank/ledger spec.routes")


def test_a_held_router_holds_the_port_where_it_would_route() -> None:
    broken = ROUTER.replace("{exact: close}", "1")
    assert generated(only(Mend.NATIVE_ROUTER), broken).held
    assert not generated(LIKE_AERAKI, broken).held


def test_a_target_that_nobody_declares_holds_the_port_where_it_is_followed() -> None:
    rule = virtual_service("[{route: [{destination: {host: ledger, subset: v9}}]}]")
    where = "VirtualService/bank/ledger spec.http[0].route[0].destination.subset"
    mended, like_aeraki = generated(MENDED, rule), generated(LIKE_AERAKI, rule)
    assert mended.held
    assert mended.outbound is None
    assert "warning" not in text_about(mended, where)
    assert routes(like_aeraki)[0]["route"] == {"cluster": f"outbound|9095|v9|{HOST}"}
    assert "warning" in text_about(like_aeraki, where)


def test_of_two_virtual_services_the_older_counts_and_the_other_is_told() -> None:
    made = generated(
        LIKE_AERAKI,
        virtual_service(f"[{{{TO_V1}}}]", name="a"),
        virtual_service("[{route: [{destination: {host: ledger, subset: v2}}]}]", name="b"),
    )
    assert routes(made)[0]["route"] == {"cluster": f"outbound|9095|v1|{HOST}"}
    assert "conflict" in text_about(made, "VirtualService/bank/b spec.hosts")


def test_rules_for_gateways_route_sidecars_in_aeraki_alone() -> None:
    edge = virtual_service(f"[{{{TO_V1}}}]", rest="gateways: [edge]")
    like_aeraki = generated(LIKE_AERAKI, edge)
    assert routes(like_aeraki)[0]["route"] == {"cluster": f"outbound|9095|v1|{HOST}"}
    assert str(Mend.FULL_HOSTS) in text_about(
        like_aeraki, "VirtualService/bank/ledger spec.gateways"
    )
    mended = generated(only(Mend.FULL_HOSTS), edge)
    assert routes(mended)[0]["route"] == {"cluster": f"outbound|9095||{HOST}"}


def test_what_aeraki_made_for_gateways_is_no_rule() -> None:
    ours = virtual_service(f"[{{{TO_V1}}}]", rest="gateways: [edge]").replace(
        "namespace: bank", "namespace: bank, labels: {manager: Aeraki}"
    )
    made = generated(LIKE_AERAKI, ours)
    assert routes(made)[0]["route"] == {"cluster": f"outbound|9095||{HOST}"}


def test_the_router_filter_has_a_type_where_fields_are_current() -> None:
    """Envoy 1.40 refuses a Thrift filter that is only named."""
    for delivery, keys in ((LIKE_AERAKI, {"name"}), (MENDED, {"name", "typedConfig"})):
        made = generated(delivery)
        for each in (made.outbound, made.inbound):
            assert each is not None
            config: Any = each.config
            (router,) = config["thriftFilters"]
            assert router.keys() == keys
    assert not said(generated(MENDED))
    where = "ServiceEntry/bank/ledger spec.ports[0].name"
    assert str(Mend.CURRENT_FIELDS) in text_about(generated(LIKE_AERAKI), where)
