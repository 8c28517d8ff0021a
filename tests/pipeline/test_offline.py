"""Translation without a server: what events mean and what is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from aeraki_xds.ingest.event import Event, Synced, Unreadable
from aeraki_xds.mesh.names import Namespace
from aeraki_xds.mesh.objects import MeshObject, StringMatch
from aeraki_xds.mesh.problems import error
from aeraki_xds.mesh.tenancy import Tenancy
from aeraki_xds.pipeline.offline import Offline, translate
from aeraki_xds.pipeline.scopes import GLOBAL_SPEC, ScopeSpec, everything
from aeraki_xds.xds.resource import CLUSTER, ENDPOINTS, HTTP_ROUTES, LISTENER, THRIFT_ROUTES
from tests.mesh.kit import refused, router, said, service, subsets

ROUTE = "hello.demo.svc.cluster.local_9090"
HELLO = "outbound|9090||hello.demo.svc.cluster.local"
V1 = "outbound|9090|v1|hello.demo.svc.cluster.local"
V2 = "outbound|9090|v2|hello.demo.svc.cluster.local"


def offline(events: Sequence[Event], *specs: ScopeSpec) -> Offline:
    return translate(events, specs or (GLOBAL_SPEC, everything()), tenancy=Tenancy())


def lines(*items: MeshObject) -> list[str]:
    return [str(entry) for entry in offline(said(*items)).entries]


def test_a_service_with_subsets_and_a_router_gives_everything_that_a_proxy_needs() -> None:
    result = offline(said(service(), subsets(), router("hello", "hello/v1")))
    metards, ads = result.scopes
    assert result.is_valid
    assert result.objects == 3
    assert list(metards) == [HTTP_ROUTES]
    assert list(metards[HTTP_ROUTES]) == [ROUTE]
    assert {type_url: set(named) for type_url, named in ads.items()} == {
        CLUSTER: {HELLO, V1, V2},
        ENDPOINTS: {HELLO, V1, V2},
        LISTENER: {"127.20.0.1_9090"},
        THRIFT_ROUTES: {ROUTE},
    }


def test_resources_are_plain_json_without_their_type() -> None:
    _, ads = offline(said(service())).scopes
    assert ads[THRIFT_ROUTES][ROUTE] == {
        "name": ROUTE,
        "routes": [{"match": {"methodName": ""}, "route": {"cluster": HELLO}}],
    }


def test_types_and_names_are_sorted() -> None:
    _, ads = offline(said(service("b", address="127.0.0.3"), service("a"))).scopes
    assert list(ads) == sorted(ads)
    assert all(list(named) == sorted(named) for named in ads.values())


def test_the_order_of_events_makes_no_difference() -> None:
    events: list[Event] = [*said(service(), subsets(), router("hello", "hello/v1"))]
    assert offline(events) == offline(events[::-1])


def test_a_namespace_sees_what_is_exported_to_it() -> None:
    events = said(
        service("mine", address="127.0.0.2"),
        service("private", namespace="other", export_to=(".",), address="127.0.0.3"),
        service("shared", namespace="other", address="127.0.0.4"),
    )
    spec = ScopeSpec(recipe=everything().recipe, namespace=Namespace("demo"))
    (ads,) = offline(events, spec).scopes
    assert set(ads[LISTENER]) == {"127.0.0.2_9090", "127.0.0.4_9090"}


def test_a_subset_that_nobody_declares_is_an_error_at_the_field_that_names_it() -> None:
    assert lines(service(), subsets(names=["v1"]), router("hello", "hello/v9")) == [
        "mesh.yaml: MetaRouter/demo/hello: spec.routes[0].route[0].destination.subset: "
        "no DestinationRule of hello.demo.svc.cluster.local has the subset 'v9'; known: v1"
    ]


def test_with_an_error_there_is_no_route_and_no_listener_but_clusters_there_are() -> None:
    result = offline(said(service(), router("hello", "hello/v9")))
    metards, ads = result.scopes
    assert not result.is_valid
    assert metards == {}
    assert set(ads) == {CLUSTER, ENDPOINTS}


def test_a_host_that_nobody_declares_is_an_error() -> None:
    assert lines(service(), router("hello", "nobody")) == [
        "mesh.yaml: MetaRouter/demo/hello: spec.routes[0].route[0].destination.host: "
        "no ServiceEntry or Service declares the host nobody.demo.svc.cluster.local"
    ]


def test_two_routers_of_one_host_are_a_conflict_that_the_younger_is_told_of() -> None:
    assert lines(service(), router(name="a"), router(name="b")) == [
        "mesh.yaml: MetaRouter/demo/b: spec.hosts[0]: conflict: hello.demo.svc.cluster.local is "
        "routed by the older MetaRouter/demo/a, which stays in force; remove one of the two"
    ]


def test_two_services_on_one_socket_are_a_conflict_that_the_younger_is_told_of() -> None:
    assert lines(service("a"), service("b")) == [
        "mesh.yaml: ServiceEntry/demo/b: spec.addresses: conflict: the socket 127.20.0.1_9090 of "
        "b.demo.svc.cluster.local belongs to the older a.demo.svc.cluster.local; give the service "
        "an address of its own"
    ]


def test_a_warning_leaves_the_files_valid() -> None:
    result = offline(said(service(address="10.0.0.1")))
    assert [entry.is_error for entry in result.entries] == [False]
    assert result.is_valid


def test_a_route_that_envoys_filter_cannot_express_is_left_out_and_said() -> None:
    plain = router("hello", match={"user": StringMatch(exact="me")})
    both = msgspec.structs.replace(
        plain,
        spec=msgspec.structs.replace(
            plain.spec, routes=(*plain.spec.routes, *router("hello").spec.routes)
        ),
    )
    result = offline(said(service(), both))
    metards, ads = result.scopes
    routes = ads[THRIFT_ROUTES][ROUTE]["routes"]
    assert isinstance(routes, list)
    assert len(routes) == 1
    assert len(metards) == 1
    (entry,) = result.entries
    assert entry.problem.field == "spec.routes[0].match"
    assert "left out (attributes: user)" in entry.problem.message


def test_a_rejected_object_counts_and_its_host_has_no_routes() -> None:
    result = offline([*said(service()), *refused(router())])
    assert not result.is_valid
    assert result.objects == 2
    assert result.scopes[0] == {}


def test_a_file_that_cannot_be_read_is_an_error_of_the_whole() -> None:
    result = offline([Unreadable(origin="bad.yaml", problems=(error("", "no YAML"),))])
    assert [str(entry) for entry in result.entries] == ["bad.yaml: no YAML"]
    assert not result.is_valid


def test_what_is_said_of_sources_means_nothing_here() -> None:
    assert offline([Synced(source="a")]) == offline([])


def test_two_services_on_one_socket_are_told_of_addresses_even_where_they_have_routers() -> None:
    said_of = lines(service("a"), service("b"), router("a"), router("b"))
    assert ["mesh.yaml: ServiceEntry/demo/b: spec.addresses: conflict" in s for s in said_of] == [
        True
    ]


def test_a_router_that_names_no_host_holds_every_default_route() -> None:
    """It may be about any host, as may what a file holds that nobody could read."""
    assert offline(said(service())).scopes[0] != {}
    nameless = refused(router("elsewhere"), hosts=())
    assert offline([*said(service()), *nameless]).scopes[0] == {}
    problems = (error("", "no YAML"),)
    hidden = Unreadable(origin="bad.yaml", problems=problems, hides=True)
    assert offline([*said(service()), hidden]).scopes[0] == {}
    known = Unreadable(origin="bad.yaml", problems=problems, hides=False)
    assert offline([*said(service()), known]).scopes[0] != {}
