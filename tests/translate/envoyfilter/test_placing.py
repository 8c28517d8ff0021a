"""Where EnvoyFilters go: names, addresses, namespaces, selectors, ports."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aeraki_xds.mesh.problems import Problem
from aeraki_xds.mesh.tenancy import Tenancy, TenancyMode
from aeraki_xds.mesh.validation.names import is_object_name
from aeraki_xds.translate.envoyfilter import metaprotocol
from aeraki_xds.translate.envoyfilter.placing import object_name, place
from aeraki_xds.translate.envoyfilter.profile import EnvoyFilters, Mend
from tests.translate.envoyfilter.kit import (
    LIKE_AERAKI,
    MENDED,
    entry,
    istio,
    only,
    router,
    service,
)
from tests.translate.envoyfilter.sites import site_of

HOST = "orders.shop.svc.cluster.local"
OUTBOUND = f"istio-system/aeraki-outbound-{HOST}-10.0.0.1-9090"
INBOUND = f"istio-system/aeraki-inbound-{HOST}-9090"
LIMIT = "localRateLimit: {tokenBucket: {maxTokens: 1, tokensPerFill: 1, fillInterval: 1s}}"
BOTH = pytest.mark.parametrize("delivery", [LIKE_AERAKI, MENDED], ids=["aeraki-1.4", "current"])


@BOTH
def test_a_service_has_a_filter_where_it_is_called_and_one_where_it_runs(
    delivery: EnvoyFilters,
) -> None:
    written = istio(service(), delivery=delivery)
    assert written.names == [INBOUND, OUTBOUND]
    outbound, inbound = written.filters[OUTBOUND], written.filters[INBOUND]
    assert outbound["metadata"]["labels"] == {"manager": "Aeraki"}
    assert "workloadSelector" not in outbound["spec"]
    assert inbound["spec"]["workloadSelector"] == {"labels": {"app": "orders"}}
    proxy = {"filter": {"name": "envoy.filters.network.tcp_proxy"}}
    assert written.patch(OUTBOUND)["match"] == {
        "listener": {"name": "10.0.0.1_9090", "filterChain": proxy}
    }
    assert written.patch(INBOUND)["match"] == {
        "listener": {"name": "virtualInbound", "filterChain": {**proxy, "destinationPort": 9090}}
    }


@BOTH
def test_every_address_has_a_filter_of_its_own(delivery: EnvoyFilters) -> None:
    written = istio(entry(addresses="[240.240.0.1, 240.240.0.2]"), delivery=delivery)
    assert [name for name in written.names if "outbound" in name] == [
        "istio-system/aeraki-outbound-orders.example-240.240.0.1-9090",
        "istio-system/aeraki-outbound-orders.example-240.240.0.2-9090",
    ]


@BOTH
def test_without_an_address_there_is_no_outbound_filter_and_it_is_said(
    delivery: EnvoyFilters,
) -> None:
    written = istio(entry(addresses="[]"), delivery=delivery)
    assert written.names == ["istio-system/aeraki-inbound-orders.example-9090"]
    assert any("spec.addresses: warning: no address of its own" in line for line in written.said)


def test_a_short_host_is_spelled_as_its_entry_does() -> None:
    """Istio's clusters bear the name that the entry writes (M-15, the brpc demo)."""
    written = istio(entry("brpc", addresses="[240.240.0.9]"))
    name = "istio-system/aeraki-outbound-brpc-240.240.0.9-9090"
    assert written.value(name)["statPrefix"] == "outbound|9090||brpc"
    assert written.value(name)["rds"]["routeConfigName"] == "brpc_9090"


@pytest.mark.parametrize("address", ["10.1.0.0/16", "fd00::1"])
def test_an_address_that_gives_no_valid_name_is_left_out_as_the_api_server_would(
    address: str,
) -> None:
    written = istio(entry(addresses=f"['{address}']"))
    assert not [name for name in written.names if "outbound" in name]
    assert any("is no name of an object" in line for line in written.said)


def test_the_mend_gives_ipv6_addresses_and_odd_hosts_valid_names() -> None:
    mend = only(Mend.VALID_NAMES)
    for hosts, address in (("Orders.Example", "fd00::1"), (".".join(["a" * 60] * 4), "10.0.0.1")):
        written = istio(entry(hosts, addresses=f"['{address}']"), delivery=mend)
        assert len(written.names) == 2
        assert all(is_object_name(name.partition("/")[2]) for name in written.names)
        (outbound,) = (name for name in written.names if "outbound" in name)
        listener = written.patch(outbound)["match"]["listener"]["name"]
        assert listener == f"{address}_9090"


def test_a_headless_service_is_left_to_istio_by_the_mend_alone() -> None:
    headless = service(address="None")
    anywhere = f"istio-system/aeraki-outbound-{HOST}-0.0.0.0-9090"
    assert istio(headless).names == [INBOUND, anywhere]
    assert istio(headless, delivery=only(Mend.VALID_NAMES)).names == [INBOUND]


def test_export_to_places_one_of_each_in_every_namespace_and_none_elsewhere() -> None:
    exported = router(f"{LIMIT}\n  exportTo: [., web]")
    root = Tenancy(root=Tenancy().root, mode=TenancyMode.WARN)
    written = istio(service(), exported, tenancy=root)
    namespaces = {name.partition("/")[0] for name in written.names}
    assert namespaces == {"shop", "web"}
    assert len(written.names) == 4


def test_export_to_everyone_is_the_root_namespace() -> None:
    assert istio(service(), router(f"{LIMIT}\n  exportTo: ['*']")).names == [INBOUND, OUTBOUND]


def test_a_namespace_of_others_is_not_exported_to() -> None:
    """Tenancy: what is left is what the router may do, its own namespace where nothing is."""
    written = istio(service(), router(f"{LIMIT}\n  exportTo: [web]"))
    assert {name.partition("/")[0] for name in written.names} == {"shop"}
    assert any("spec.exportTo[0]: tenancy" in line for line in written.said)


def test_the_mend_leaves_inbound_filters_where_the_workloads_are() -> None:
    exported = router(f"{LIMIT}\n  exportTo: [.]")
    written = istio(service(), exported, delivery=only(Mend.OUTBOUND_EXPORT))
    assert written.names == [INBOUND, OUTBOUND.replace("istio-system", "shop")]


def test_namespace_scope_puts_filters_into_the_namespace_of_the_service() -> None:
    scoped = replace(LIKE_AERAKI, namespace_scope=True)
    names = istio(service(), delivery=scoped).names
    assert {name.partition("/")[0] for name in names} == {"shop"}
    everywhere = replace(only(Mend.OUTBOUND_EVERYWHERE), namespace_scope=True)
    written = istio(service(), delivery=everywhere)
    assert written.names == [OUTBOUND, INBOUND.replace("istio-system", "shop")]


def inbound_labels(annotations: str, *mends: Mend) -> dict[str, str] | None:
    """The labels of the inbound filter of an entry without a selector."""
    written = istio(entry(annotations=annotations, spec=""), delivery=only(*mends))
    found = [each["spec"]["workloadSelector"] for n, each in written.filters.items() if "inb" in n]
    assert len(found) <= 1
    labels: dict[str, str] | None = found[0]["labels"] if found else None
    return labels


@pytest.mark.parametrize(
    ("annotation", "labels", "mended"),
    [
        ("orders", {"app": "orders"}, {"app": "orders"}),
        ("version: v1", {"version": "v1"}, {"version": "v1"}),
        ("a:b:c", None, None),
        (
            "version=v1,app=orders",
            {"app": "version=v1,app=orders"},
            {"app": "orders", "version": "v1"},
        ),
        ("version%3Dv1", {"app": "version%3Dv1"}, {"version": "v1"}),
        ("=v1", {"app": "=v1"}, None),
        ("v1=", {"app": "v1="}, None),
        ("a=b=c", {"app": "a=b=c"}, None),
        ("version=v1,", {"app": "version=v1,"}, None),
    ],
)
def test_the_annotation_names_workloads_where_the_spec_does_not(
    annotation: str, labels: dict[str, str] | None, mended: dict[str, str] | None
) -> None:
    annotations = f"{{workloadSelector: '{annotation}'}}"
    assert inbound_labels(annotations) == labels
    assert inbound_labels(annotations, Mend.OWN_SELECTOR) == mended


def test_without_any_selector_aeraki_selects_what_nobody_has_and_the_mend_nothing() -> None:
    assert inbound_labels("{}") == {"app": ""}
    assert inbound_labels("{}", Mend.OWN_SELECTOR) is None


def test_an_annotation_of_a_kubernetes_service_is_read_by_a_mend() -> None:
    annotated = service(selector="{}", annotations="{workloadSelector: orders}")
    selected = {
        mends: istio(annotated, delivery=only(*mends)).filters[INBOUND]["spec"]["workloadSelector"]
        for mends in ((), (Mend.SERVICE_ANNOTATIONS,))
    }
    assert selected == {
        (): {"labels": {"app": ""}},
        (Mend.SERVICE_ANNOTATIONS,): {"labels": {"app": "orders"}},
    }


def test_a_limit_that_no_workload_can_enforce_is_said() -> None:
    for delivery in (LIKE_AERAKI, only(Mend.OWN_SELECTOR)):
        written = istio(service(selector="{}"), router(LIMIT), delivery=delivery)
        assert (INBOUND in written.filters) == (delivery is LIKE_AERAKI)
        assert any("spec.localRateLimit: warning: is not enforced" in line for line in written.said)


@pytest.mark.parametrize(("target", "number"), [(8080, 8080), (None, 9090)])
def test_the_mend_puts_inbound_filters_where_the_workload_listens(
    target: int | None, number: int
) -> None:
    """Istio names its inbound chains by target port; the object keeps its name."""
    manifest = service(target=target)
    written = istio(manifest, delivery=only(Mend.TARGET_PORT))
    chain = written.patch(INBOUND)["match"]["listener"]["filterChain"]
    assert chain["destinationPort"] == number
    assert written.value(INBOUND)["statPrefix"] == f"inbound|{number}||"
    like_aeraki = istio(manifest, router(LIMIT))
    chain = like_aeraki.patch(INBOUND)["match"]["listener"]["filterChain"]
    assert chain["destinationPort"] == 9090
    for line in ("targetPort: warning: the inbound filter is at port 9090", "spec.localRateLimit"):
        assert any(line in said for said in like_aeraki.said) == (number != 9090)


def test_a_named_target_port_cannot_be_known_and_gives_no_inbound_filter() -> None:
    written = istio(service(target="rpc"), delivery=only(Mend.TARGET_PORT))
    assert written.names == [OUTBOUND]
    assert any(
        "spec.ports[0].targetPort: warning: 'rpc' is a port" in line for line in written.said
    )


@pytest.mark.parametrize(
    ("ports", "number", "why"),
    [
        (["{name: tcp-metaprotocol-thrift, port: 7070}"], 7070, ""),
        (["{name: tcp-metaprotocol-thrift, port: 7070}"] * 2, 7070, ""),
        (["{name: other, port: 7070}"], None, "is not known here"),
        (
            [f"{{name: tcp-metaprotocol-thrift, port: {number}}}" for number in (7070, 7071)],
            None,
            "is not the same in all of them",
        ),
    ],
)
def test_a_named_target_port_is_the_number_on_which_all_slices_agree(
    ports: list[str], number: int | None, why: str
) -> None:
    slices = [endpoint_slice(f"orders-{n}", each) for n, each in enumerate(ports)]
    written = istio(service(target="rpc"), *slices, delivery=only(Mend.TARGET_PORT))
    if number is None:
        assert written.names == [OUTBOUND]
        assert any(f"'rpc' is a port of the pods, whose number {why}" in s for s in written.said)
    else:
        chain = written.patch(INBOUND)["match"]["listener"]["filterChain"]
        assert chain["destinationPort"] == number


def endpoint_slice(name: str, port: str) -> str:
    """A slice of the Service `orders`, of nobody who is ready."""
    return f"""
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}, namespace: shop, labels: {{kubernetes.io/service-name: orders}}}}
addressType: IPv4
endpoints: [{{addresses: [10.0.0.1], conditions: {{ready: false}}}}]
ports: [{port}]
"""


@pytest.mark.parametrize(
    ("endpoints", "number"),
    [
        ("[{address: 10.1.1.1, ports: {tcp-metaprotocol-thrift: 7000}}]", 7000),
        ("[{address: 10.1.1.1}]", 9090),
        (
            "[{address: 10.1.1.1, ports: {tcp-metaprotocol-thrift: 7000}}, {address: 10.1.1.2}]",
            None,
        ),
    ],
)
def test_endpoints_say_on_which_port_they_listen(endpoints: str, number: int | None) -> None:
    spec = f"workloadSelector: {{labels: {{app: x}}}}\n  endpoints: {endpoints}"
    written = istio(entry(spec=spec), delivery=only(Mend.TARGET_PORT))
    name = "istio-system/aeraki-inbound-orders.example-9090"
    ports = [
        written.patch(name)["match"]["listener"]["filterChain"]["destinationPort"]
        for _ in range(name in written.filters)
    ]
    assert ports == ([] if number is None else [number])


def test_proxies_can_be_asked_whether_they_have_the_filter() -> None:
    written = istio(service(), delivery=only(Mend.OPT_IN))
    for patch in written.patches():
        assert patch["match"]["proxy"] == {"metadata": {"AERAKI_META_PROTOCOL": "true"}}
    others = istio(service(port="tcp-kafka"), delivery=only(Mend.OPT_IN))
    assert not any("proxy" in patch["match"] for patch in others.patches())


def test_a_limit_without_an_inbound_filter_is_said_whatever_is_in_the_way() -> None:
    named = service(target="rpc")
    written = istio(named, router(LIMIT), delivery=only(Mend.TARGET_PORT))
    assert INBOUND not in written.filters
    assert any("MetaRouter/shop/orders: spec.localRateLimit: " in line for line in written.said)


def test_a_selector_without_labels_is_none_so_the_annotation_counts() -> None:
    empty = "workloadSelector: {labels: {}}"
    written = istio(entry(annotations="{workloadSelector: orders}", spec=empty))
    (inbound,) = (each for name, each in written.filters.items() if "inbound" in name)
    assert inbound["spec"]["workloadSelector"] == {"labels": {"app": "orders"}}


@pytest.mark.parametrize("length", [57, 58])
def test_a_name_that_is_cut_is_valid_wherever_the_cut_is(length: int) -> None:
    """Between two of the single letters, or behind one."""
    host = ".".join(["a" * 60, "b" * 60, "c" * length, *"g" * 30])
    written = istio(entry(host), delivery=only(Mend.VALID_NAMES))
    assert len(written.names) == 2
    assert all(is_object_name(name.partition("/")[2]) for name in written.names)


def test_an_address_that_is_written_twice_has_one_filter() -> None:
    site = site_of(entry(addresses="[240.240.0.1, 240.240.0.1]"), "orders.example", LIKE_AERAKI)
    drafts = place(site, metaprotocol.generate(site)).drafts
    assert len([draft for draft in drafts if "outbound" in draft.id.name]) == 1


def test_long_hosts_that_begin_alike_have_names_of_their_own() -> None:
    alike = ".".join(["a" * 60] * 3) + "." + "b" * 58
    mend = only(Mend.VALID_NAMES)
    one, other = (istio(entry(alike + end), delivery=mend).names for end in ("x", "y"))
    assert not set(one) & set(other)


def test_what_gives_no_valid_name_whatever_is_done_is_said() -> None:
    """A valid host gives one; this is for what validation may let through one day."""
    for wanted in ("aeraki-a..b", "aeraki-a_.b", "-aeraki"):
        found = object_name(wanted, "spec.hosts", MENDED)
        assert isinstance(found, Problem), found
        assert found.field == "spec.hosts"


def test_what_follows_a_filter_follows_it_at_every_address_and_by_the_mend_once() -> None:
    """Istio would replace a cluster once for each."""
    redis = entry(addresses="[240.240.0.1, 240.240.0.2]", ports="[{number: 6379, name: tcp-redis}]")
    asked = """
apiVersion: redis.aeraki.io/v1alpha1
kind: RedisDestination
metadata: {name: orders, namespace: shop}
spec: {host: orders.example, trafficPolicy: {connectionPool: {tcp: {maxConnections: 1}}}}
"""
    for delivery, patches in ((LIKE_AERAKI, [3, 3]), (only(Mend.ASKED_CLUSTERS), [3, 1])):
        written = istio(redis, asked, delivery=delivery)
        outbound = [name for name in written.names if "outbound" in name]
        assert [len(written.filters[n]["spec"]["configPatches"]) for n in outbound] == patches


def test_a_namespace_that_is_exported_to_twice_has_one_of_each() -> None:
    """`*` is the root namespace."""
    twice = router(f"{LIMIT}\n  exportTo: ['*', istio-system]")
    site = site_of(f"{service()}---{twice}", HOST, LIKE_AERAKI)
    made = [draft.id.name for draft in place(site, metaprotocol.generate(site)).drafts]
    assert len(made) == len(set(made)) == 2


def test_a_filter_that_precedes_the_tcp_proxy_does_not_replace_it() -> None:
    written = istio(service(port="tcp-kafka"))
    assert {patch["patch"]["operation"] for patch in written.patches()} == {"INSERT_BEFORE"}
