"""MetaProtocol at gateways: a filter, and the VirtualService that opens the listener."""

from __future__ import annotations

from aeraki_xds.mesh.tenancy import Tenancy, TenancyMode
from aeraki_xds.translate.envoyfilter.profile import Mend
from tests.translate.envoyfilter.kit import Written, istio, only, router, service

HOST = "orders.shop.svc.cluster.local"
WARN = Tenancy(mode=TenancyMode.WARN)


def gateway(*ports: tuple[int, str], namespace: str = "shop", name: str = "edge") -> str:
    servers = [{"hosts": ["*"], "port": {"number": n, "name": each}} for n, each in ports]
    return f"""
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{selector: {{app: edge-gw}}, servers: {servers}}}
"""


def to_port(number: int | None, gateways: str = "[edge]", **of: str) -> str:
    port = "" if number is None else f", port: {{number: {number}}}"
    host = of.get("host", HOST)
    route = f"routes: [{{route: [{{destination: {{host: {host}{port}}}}}]}}]"
    return router(f"gateways: {gateways}\n  {route}", **of)


THRIFT = (9090, "tcp-metaprotocol-thrift-x")
FILTER = "shop/aeraki-gateway-outbound-edge.shop-9090"
OPENS = "shop/aeraki-vs-shop.edge-9090"


def test_a_gateways_port_that_a_destination_names_is_opened_and_filtered() -> None:
    written = istio(service(), gateway(THRIFT), to_port(9090))
    assert FILTER in written.filters
    assert written.value(FILTER)["rds"]["routeConfigName"] == f"{HOST}_9090"
    assert written.filters[FILTER]["spec"]["workloadSelector"] == {"labels": {"app": "edge-gw"}}
    assert written.virtual_services[OPENS]["spec"]["gateways"] == ["shop/edge"]


def test_a_port_that_no_destination_names_stays_closed_for_aeraki() -> None:
    written = istio(service(), gateway(THRIFT), to_port(None))
    assert FILTER not in written.filters
    assert any("spec.gateways[0]: warning: no destination names" in line for line in written.said)


def test_the_mend_finds_the_service_port_behind_a_gateways_port() -> None:
    edge = gateway((80, "tcp-metaprotocol-thrift"))
    written = istio(service(), edge, to_port(None), delivery=only(Mend.GATEWAY_PORTS))
    name = "shop/aeraki-gateway-outbound-edge.shop-80"
    assert written.value(name)["rds"]["routeConfigName"] == f"{HOST}_9090"
    assert written.patch(name)["match"]["listener"]["name"] == "0.0.0.0_80"
    (route,) = written.virtual_services["shop/aeraki-vs-shop.edge-80"]["spec"]["tcp"]
    assert route["match"] == [{"port": 80}]
    assert route["route"] == [{"destination": {"host": HOST, "port": {"number": 9090}}}]


def test_a_gateways_port_of_another_protocol_is_not_guessed_at() -> None:
    edge = gateway((80, "tcp-metaprotocol-dubbo"))
    written = istio(service(), edge, to_port(None), delivery=only(Mend.GATEWAY_PORTS))
    assert not written.virtual_services
    assert any("has 0 ports that speak dubbo" in line for line in written.said)


def test_every_port_of_a_gateway_has_its_own_name() -> None:
    """Aeraki renames the earlier ones to the last (G-3)."""
    edge = gateway(THRIFT, (80, "http"), (9091, "tcp-metaprotocol-thrift"))
    written = istio(service(), edge, to_port(9090), delivery=only(Mend.GATEWAY_PORTS))
    assert sorted(n for n in written.filters if "gateway" in n) == [FILTER, FILTER[:-1] + "1"]


def test_of_two_routers_on_one_port_the_older_has_it_and_the_younger_is_told() -> None:
    other = "payments.shop.svc.cluster.local"
    second = to_port(9090, host=other, name="payments")
    written = istio(
        service(), service("payments", address="10.0.0.2"), gateway(THRIFT), to_port(9090), second
    )
    assert written.value(FILTER)["rds"]["routeConfigName"] == f"{HOST}_9090"
    told = [line for line in written.said if "MetaRouter/shop/payments: spec.gateways" in line]
    assert told
    assert "conflict" in told[0]


def test_a_gateway_of_another_namespace_is_not_borrowed() -> None:
    edge = gateway(THRIFT, namespace="edges")
    borrowed = to_port(9090, "[edges/edge]")
    assert not istio(service(), edge, borrowed).virtual_services
    assert istio(service(), edge, borrowed, tenancy=WARN).virtual_services


def test_a_gateway_that_is_not_there_is_said() -> None:
    written = istio(service(), to_port(9090))
    assert any(
        "spec.gateways[0]: warning: there is no Gateway shop/edge" in s for s in written.said
    )


def test_limits_and_export_to_do_not_concern_gateways() -> None:
    limit = "localRateLimit: {tokenBucket: {maxTokens: 1, tokensPerFill: 1, fillInterval: 1s}}"
    spec = to_port(9090) + f"  exportTo: ['.']\n  {limit}\n"
    written = istio(service(), gateway(THRIFT), spec)
    assert len(written.value(FILTER)["metaProtocolFilters"]) == 3
    assert FILTER in written.filters


TWO = service().replace("]", ", {port: 9091, name: tcp-metaprotocol-thrift-2}]")
FOUND = only(Mend.GATEWAY_PORTS)


def behind(written: Written, port: int) -> str:
    """Whose routes a gateway's port asks for."""
    name = f"shop/aeraki-gateway-outbound-edge.shop-{port}"
    routes: str = written.value(name)["rds"]["routeConfigName"]
    return routes


def test_of_several_service_ports_the_mend_takes_the_one_of_the_same_number() -> None:
    edge = gateway((9091, "tcp-metaprotocol-thrift"))
    assert behind(istio(TWO, edge, to_port(None), delivery=FOUND), 9091) == f"{HOST}_9091"


def test_of_several_service_ports_with_other_numbers_none_is_guessed() -> None:
    edge = gateway((80, "tcp-metaprotocol-thrift"))
    written = istio(TWO, edge, to_port(None), delivery=FOUND)
    assert not written.virtual_services
    assert any(
        "spec.gateways[0]: " in s and "has 2 ports that speak thrift" in s for s in written.said
    )


def test_a_service_port_of_another_protocol_is_not_behind_a_gateways_port() -> None:
    mixed = service().replace("]", ", {port: 9091, name: tcp-metaprotocol-dubbo}]")
    edge = gateway((80, "tcp-metaprotocol-dubbo"))
    assert behind(istio(mixed, edge, to_port(None), delivery=FOUND), 80) == f"{HOST}_9091"


def test_only_metaprotocol_goes_through_gateways() -> None:
    written = istio(service(), gateway((9090, "tcp-thrift"), (9091, "http")), to_port(9090))
    assert not written.virtual_services
    assert not any("gateway" in name for name in written.names)
    assert not [line for line in written.said if "spec.gateways" in line]


def test_a_transport_that_is_not_tcp_counts_for_aeraki_alone() -> None:
    edge = gateway((9090, "tls-metaprotocol-thrift"))
    assert istio(service(), edge, to_port(9090)).virtual_services
    assert not istio(service(), edge, to_port(9090), delivery=only(Mend.TCP_PORTS)).virtual_services


def test_of_two_servers_of_one_port_the_first_says_the_protocol() -> None:
    edge = gateway(THRIFT, (9090, "tcp-metaprotocol-dubbo"))
    written = istio(service(), edge, to_port(9090))
    assert written.value(FILTER)["applicationProtocol"] == "thrift"


def test_a_gateways_protocol_that_nobody_declares_holds_the_host() -> None:
    """Nothing of it is written, and nothing that there was is deleted."""
    edge = gateway(THRIFT, (9091, "tcp-metaprotocol-qza"))
    route = to_port(9090).replace(
        "]}]", f"]}}, {{route: [{{destination: {{host: {HOST}, port: {{number: 9091}}}}}}]}}]"
    )
    assert istio(TWO, gateway(THRIFT), route).names
    written = istio(TWO, edge, route)
    assert (written.names, written.virtual_services) == ([], {})
    assert any("spec.gateways[0]: no ApplicationProtocol declares" in line for line in written.said)


def test_every_gateway_that_is_named_counts_and_the_one_that_is_not_there_is_said() -> None:
    written = istio(service(), gateway(THRIFT), to_port(9090, "[nowhere, edge]"))
    assert FILTER in written.filters
    assert any("spec.gateways[0]: warning: there is no" in line for line in written.said)
    swapped = istio(service(), gateway(THRIFT), to_port(9090, "[edge, nowhere]"))
    assert any("spec.gateways[1]: warning: there is no" in line for line in swapped.said)


def test_the_age_of_routers_decides_not_that_of_services() -> None:
    """`orders` comes first by name, and its service is older; the router of `payments` is."""
    other = "payments.shop.svc.cluster.local"
    old, young = "2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z"

    def aged(manifest: str, created: str) -> str:
        return manifest.replace(
            "namespace: shop", f"namespace: shop, creationTimestamp: '{created}'"
        )

    written = istio(
        aged(service(), old),
        aged(service("payments", address="10.0.0.2"), young),
        gateway(THRIFT),
        aged(to_port(9090), young),
        aged(to_port(9090, host=other, name="payments"), old),
    )
    assert behind(written, 9090) == f"{other}_9090"
