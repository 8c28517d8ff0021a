"""One namespace does not take over another's: each way in is refused, and says why.

`shop` owns the service `orders`; `evil` tries. Refusal is a verdict of the graph, so it does not
matter what outputs exist; that it has no effect is asked of the graph, too.
"""

from __future__ import annotations

import msgspec
import pytest

from aeraki_xds.ingest.decode import decode
from aeraki_xds.mesh.change import Rejected
from aeraki_xds.mesh.graph import Graph
from aeraki_xds.mesh.names import Host, Namespace
from aeraki_xds.mesh.objects import (
    GlobalRateLimit,
    MeshObject,
    Metadata,
    MetaRouter,
    ServiceEntry,
    key_of,
)
from aeraki_xds.mesh.problems import Severity
from aeraki_xds.mesh.store import Store
from aeraki_xds.mesh.tenancy import ALLOW_FROM, Tenancy, TenancyMode
from tests.mesh.kit import (
    OLD,
    YOUNG,
    gone,
    protocol,
    router,
    said,
    service,
    subsets,
    virtual_service,
)

ORDERS = "orders.shop.svc.cluster.local"
API = "api.example.com"
OWN = service("orders", namespace="shop")
EXTERNAL = service(API, name="api", namespace="shop", created=OLD)
LIMITER = service("limiter", namespace="shop", ports={8081: "grpc"})


def evil_router(**spec: object) -> MetaRouter:
    """A router of evil's own host that borrows something."""
    mine = router("mine", namespace="evil")
    return msgspec.structs.replace(mine, spec=msgspec.structs.replace(mine.spec, **spec))


LIMIT = GlobalRateLimit(
    domain="d", rate_limit_service="outbound|8081||limiter.shop.svc.cluster.local"
)

WAYS: dict[str, tuple[MeshObject, str, str]] = {
    "a router for a host of another namespace": (
        router(ORDERS, "mine", name="steal", namespace="evil"),
        "spec.hosts[0]",
        "shop",
    ),
    "a router for it, spelt with a trailing dot": (
        router(f"{ORDERS}.", "mine", name="steal", namespace="evil"),
        "spec.hosts[0]",
        "shop",
    ),
    "a router for an external host that another declares": (
        router(API, "mine", name="steal", namespace="evil"),
        "spec.hosts[0]",
        "shop",
    ),
    "a service that claims a host of another namespace": (
        service(ORDERS, name="steal", namespace="evil", created=OLD),
        "spec.hosts[0]",
        "shop",
    ),
    "a service that claims an external host of another": (
        service(API, name="steal", namespace="evil", created=YOUNG),
        "spec.hosts[0]",
        "shop",
    ),
    "a service that adds a port to an external host of another": (
        service(API, name="steal", namespace="evil", created=YOUNG, ports={1: "tcp-thrift"}),
        "spec.hosts[0]",
        "shop",
    ),
    "a virtual service for a host of another namespace": (
        virtual_service(ORDERS, "mine", name="steal", namespace="evil"),
        "spec.hosts[0]",
        "shop",
    ),
    "subsets of a host of another namespace": (
        subsets(ORDERS, name="steal", namespace="evil"),
        "spec.host",
        "shop",
    ),
    "a gateway of another namespace": (
        evil_router(gateways=("mine", "shop/edge")),
        "spec.gateways[1]",
        "shop",
    ),
    "configuration exported into another namespace": (
        evil_router(export_to=(".", "shop")),
        "spec.exportTo[1]",
        "shop",
    ),
    "the rate limit service of another namespace": (
        evil_router(global_rate_limit=LIMIT),
        "spec.globalRateLimit.rateLimitService",
        "shop",
    ),
    "a codec for an application protocol that another declares": (
        protocol("lines", "evil.codec", name="steal", created=YOUNG),
        "spec.protocol",
        "older ApplicationProtocol//lines",
    ),
}


def mesh(*items: MeshObject, mode: TenancyMode = TenancyMode.STRICT) -> Graph:
    graph = Graph(tenancy=Tenancy(mode=mode))
    known = (OWN, EXTERNAL, LIMITER, service("mine", namespace="evil"))
    lines = protocol("lines", "lines.codec", name="lines", created=OLD)
    graph.update(Store().apply(said(*known, lines, *items)))
    return graph


@pytest.mark.parametrize("way", WAYS)
def test_it_is_refused_in_strict_mode_with_the_field_and_the_owner(way: str) -> None:
    item, field, owner = WAYS[way]
    (finding,) = mesh(item).verdicts[key_of(item)]
    assert finding.problem.field == field
    assert owner in finding.problem.message
    assert finding.problem.severity is Severity.ERROR


@pytest.mark.parametrize("way", [way for way in WAYS if "codec" not in way])
def test_in_warn_mode_it_is_a_warning_and_in_legacy_mode_nothing(way: str) -> None:
    item, _, _ = WAYS[way]
    (finding,) = mesh(item, mode=TenancyMode.WARN).verdicts[key_of(item)]
    assert finding.problem.severity is Severity.WARNING
    assert key_of(item) not in mesh(item, mode=TenancyMode.LEGACY).verdicts


@pytest.mark.parametrize("way", list(WAYS)[:8])
def test_what_is_refused_changes_nothing_and_in_warn_mode_it_does(way: str) -> None:
    item, _, _ = WAYS[way]
    assert answers(mesh(item)) == answers(mesh())
    assert answers(mesh(item, mode=TenancyMode.WARN)) != answers(mesh(mode=TenancyMode.WARN))


def answers(graph: Graph) -> list[object]:
    """Everything that translation asks about shop's hosts."""
    hosts = (Host(ORDERS), Host(API))
    return [
        (graph.service(host), graph.routing(host).rules, graph.destination_rule(host))
        for host in hosts
    ]


def test_a_built_in_codec_cannot_be_overridden_by_anyone() -> None:
    document = {
        "apiVersion": "metaprotocol.aeraki.io/v1alpha1",
        "kind": "ApplicationProtocol",
        "metadata": {"name": "steal"},
        "spec": {"protocol": "thrift", "codec": "evil.codec"},
    }
    refused = decode(document, origin="steal.yaml")
    assert isinstance(refused, Rejected)
    assert [problem.field for problem in refused.problems] == ["spec.codec"]


@pytest.mark.parametrize("consent", ["evil", "*", "friend, evil"])
def test_the_owner_may_consent(consent: str) -> None:
    item = router(ORDERS, "mine", name="friend", namespace="evil")
    graph = mesh(item, allowing(OWN, consent))
    assert key_of(item) not in graph.verdicts
    assert graph.routing(Host(ORDERS)).router == item


def test_consent_of_somebody_who_is_not_the_owner_does_not_count() -> None:
    item = router(ORDERS, "mine", name="steal", namespace="evil")
    own_consent = allowing(service(ORDERS, name="steal", namespace="evil"), "*")
    assert key_of(item) in mesh(item, own_consent).verdicts


def test_consent_for_another_namespace_does_not_count() -> None:
    item = router(ORDERS, "mine", name="steal", namespace="evil")
    assert key_of(item) in mesh(item, allowing(OWN, "friend")).verdicts


def test_when_consent_is_withdrawn_the_router_is_refused_again() -> None:
    item = router(ORDERS, "mine", name="friend", namespace="evil")
    store, graph = Store(), Graph()
    graph.update(store.apply(said(allowing(OWN, "evil"), service("mine", namespace="evil"), item)))
    assert key_of(item) not in graph.verdicts
    assert Host(ORDERS) in graph.update(store.apply(said(OWN)))
    assert key_of(item) in graph.verdicts
    assert graph.routing(Host(ORDERS)).router is None


def test_the_root_namespace_foreign_owner_about_any_host() -> None:
    item = router(ORDERS, "mine.evil.svc.cluster.local", name="root", namespace="istio-system")
    assert key_of(item) not in mesh(item).verdicts
    elsewhere = Graph(tenancy=Tenancy(root=Namespace("mesh-root")))
    elsewhere.update(Store().apply(said(OWN, item)))
    assert key_of(item) in elsewhere.verdicts


def test_sending_to_a_host_of_another_namespace_is_nobodys_harm() -> None:
    item = router("mine", ORDERS, namespace="evil")
    assert key_of(item) not in mesh(item).verdicts


def test_exporting_to_everyone_or_to_oneself_is_allowed() -> None:
    for scope in ("*", ".", "evil"):
        item = evil_router(export_to=(scope,))
        assert key_of(item) not in mesh(item).verdicts


def test_a_router_for_a_host_that_nobody_declares_is_told_that_it_has_no_effect() -> None:
    item = router("nobody", namespace="shop")
    (finding,) = mesh(item).verdicts[key_of(item)]
    assert finding.problem.severity is Severity.WARNING
    assert "no ServiceEntry or Service declares nobody.shop" in finding.problem.message


def allowing(entry: ServiceEntry, consent: str) -> ServiceEntry:
    annotations = {ALLOW_FROM: consent}
    metadata: Metadata = msgspec.structs.replace(entry.metadata, annotations=annotations)
    return msgspec.structs.replace(entry, metadata=metadata)


@pytest.mark.parametrize("way", list(WAYS)[8:11])
def test_a_router_that_borrows_keeps_the_routes_of_its_own_host(way: str) -> None:
    """Rejecting the whole would send its calls to the default route."""
    item, _, _ = WAYS[way]
    assert mesh(item).routing(Host("mine.evil.svc.cluster.local")).router == item


def test_when_another_declares_the_protocol_too_or_no_longer_does_both_are_judged_anew() -> None:
    older = protocol("lines", "lines.codec", name="older", created=OLD)
    younger = protocol("lines", "other.codec", name="younger", created=YOUNG)
    store, graph = Store(), Graph()
    graph.update(store.apply(said(younger)))
    assert graph.verdicts == {}
    graph.update(store.apply(said(older)))
    assert graph.verdicts.keys() == {key_of(younger)}
    graph.update(store.apply(gone(older)))
    assert graph.verdicts == {}
