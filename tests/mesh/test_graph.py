"""The graph: which hosts a change touches, and what is in force for a host."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aeraki_xds.mesh.change import ObjectEvent, Rejected
from aeraki_xds.mesh.graph import Graph
from aeraki_xds.mesh.names import Host, Kind
from aeraki_xds.mesh.objects import MeshObject, key_of
from aeraki_xds.mesh.ports import BUILT_IN_CODECS, THRIFT_CODEC
from aeraki_xds.mesh.problems import Severity
from aeraki_xds.mesh.rules import Routing
from aeraki_xds.mesh.store import Store
from aeraki_xds.mesh.tenancy import Tenancy
from aeraki_xds.translate.compose import Ads, MetaRds, compose
from aeraki_xds.translate.listeners import Variant
from aeraki_xds.translate.output import Output
from tests.mesh.kit import (
    OLD,
    YOUNG,
    full,
    gone,
    protocol,
    refused,
    router,
    said,
    service,
    subsets,
    virtual_service,
)


class Mesh:
    """A store and its graph; `say` returns the short names of the affected hosts."""

    def __init__(self, *items: MeshObject) -> None:
        self.store = Store()
        self.graph = Graph()
        self.say(said(*items))

    def say(self, events: Sequence[ObjectEvent]) -> set[str]:
        affected = self.graph.update(self.store.apply(events))
        return {host.partition(".")[0] for host in affected}


# --- who is affected --------------------------------------------------------------------------


def test_a_service_affects_its_own_hosts() -> None:
    assert Mesh(service("other")).say(said(service(hosts=("hello", "hi")))) == {"hello", "hi"}


def test_a_router_affects_the_host_that_it_routes() -> None:
    mesh = Mesh(service(), service("other"), router("other", "other"), router("third", "other"))
    assert mesh.say(said(router("hello", "other"))) == {"hello"}


def test_a_host_that_is_sent_to_for_the_first_or_the_last_time_is_affected() -> None:
    """It gains or loses its clusters, if no port of it speaks a protocol of ours."""
    mesh = Mesh(service(), service("other"))
    assert mesh.say(said(router("hello", "other"))) == {"hello", "other"}
    assert mesh.say(said(router("hello", "other", "hello"))) == {"hello"}
    assert mesh.say(said(router("hello", "hello"))) == {"hello", "other"}


def test_a_service_affects_the_hosts_whose_routers_send_to_it() -> None:
    mesh = Mesh(
        service("front"),
        router("front", "back"),
        service("other"),
        router("other", "other"),
    )
    assert mesh.say(said(service("back"))) == {"front", "back"}


def test_subsets_affect_the_hosts_whose_routers_send_to_them() -> None:
    mesh = Mesh(service("front"), virtual_service("front", "back/v1"), service("back"))
    assert mesh.say(said(subsets("back"))) == {"front", "back"}


def test_senders_of_senders_are_not_affected() -> None:
    mesh = Mesh(router("a", "b"), router("b", "c"), service("c"))
    assert mesh.say(said(subsets("c"))) == {"b", "c"}


def test_an_object_that_moves_to_another_host_affects_both() -> None:
    mesh = Mesh(service("a"), service("b"), router("a", "a", name="r"))
    assert mesh.say(said(router("b", "b", name="r"))) == {"a", "b"}


def test_a_router_that_no_longer_sends_to_a_host_is_not_affected_by_it() -> None:
    mesh = Mesh(router("front", "back", name="r"))
    mesh.say(said(router("front", "front", name="r")))
    assert mesh.say(said(service("back"))) == {"back"}


def test_a_deleted_object_affects_what_it_was_about() -> None:
    mesh = Mesh(router("front", "back"), service("back"))
    assert mesh.say(gone(service("back"))) == {"front", "back"}
    assert mesh.say(gone(router("front"))) == {"front", "back"}


def test_an_application_protocol_affects_the_hosts_whose_ports_speak_it() -> None:
    mesh = Mesh(
        service("a", ports={1: "tcp-metaprotocol-trpc"}),
        service("b", ports={1: "http", 2: "tcp-metaprotocol-trpc-two"}),
        service("c", ports={1: "tcp-metaprotocol-other"}),
    )
    assert mesh.say(said(protocol("trpc", "codec.one"))) == {"a", "b"}
    assert mesh.say(gone(protocol("trpc", "codec.one"))) == {"a", "b"}


def test_a_protocol_that_is_renamed_affects_speakers_of_both_names() -> None:
    mesh = Mesh(
        service("a", ports={1: "tcp-metaprotocol-x"}),
        service("b", ports={1: "tcp-metaprotocol-y"}),
        protocol("x", "codec", name="p"),
    )
    assert mesh.say(said(protocol("y", "codec", name="p"))) == {"a", "b"}


def test_a_held_router_affects_the_hosts_that_it_names_and_so_does_its_end() -> None:
    mesh = Mesh(service())
    assert mesh.say(refused(router())) == {"hello"}
    assert mesh.say(gone(router())) == {"hello"}


def test_a_rejected_version_of_a_router_in_force_affects_nobody() -> None:
    assert Mesh(service(), router()).say(refused(router())) == set()


def test_a_change_that_changes_nothing_affects_nobody() -> None:
    assert Mesh(service(), router()).say(said(service(), router())) == set()


# --- what is in force -------------------------------------------------------------------------


def test_hosts_are_those_that_services_declare() -> None:
    mesh = Mesh(service(hosts=("a", "b.c.")), router("nowhere"), subsets("nobody"))
    assert mesh.graph.hosts == {full("a"), "b.c"}
    mesh.say(gone(service()))
    assert mesh.graph.hosts == frozenset()


def test_a_wildcard_host_is_not_translated() -> None:
    assert Mesh(service(hosts=("*.example.com", "a"))).graph.hosts == {full("a")}


def test_a_host_that_nobody_declares_is_no_service() -> None:
    assert Mesh(router("hello")).graph.service(full("hello")) is None


def test_short_names_are_read_in_the_domain_of_the_cluster() -> None:
    graph = Graph(tenancy=Tenancy(domain="mesh.test"))
    graph.update(Store().apply(said(service(hosts=("hello",)))))
    assert graph.hosts == {"hello.demo.svc.mesh.test"}


def test_the_oldest_destination_rule_is_in_force() -> None:
    mesh = Mesh(
        subsets(names=["young"], name="a", created=YOUNG),
        subsets(names=["old"], name="b", created=OLD),
    )
    rule = mesh.graph.destination_rule(full("hello"))
    assert rule is not None
    assert [subset.name for subset in rule.spec.subsets] == ["old"]
    assert mesh.graph.destination_rule(full("other")) is None


def test_without_a_router_there_is_nothing_but_the_default_route() -> None:
    assert Mesh(service()).graph.routing(full("hello")) == Routing(by_default=True)


def test_the_oldest_router_is_in_force_and_the_other_is_told_of_the_conflict() -> None:
    older = router("hello", "hello/v1", name="z", created=OLD)
    younger = router("hello", "hello/v2", name="a", created=YOUNG)
    routing = Mesh(younger, older).graph.router(full("hello"))
    assert routing.router is older
    assert [target.subset for rule in routing.rules for target in rule.targets] == ["v1"]
    (finding,) = routing.findings
    assert finding.key == key_of(younger)
    assert finding.problem.field == "spec.hosts[0]"
    assert finding.problem.severity is Severity.ERROR
    assert "conflict" in finding.problem.message
    assert "MetaRouter/demo/z" in finding.problem.message


def test_in_a_folder_where_nothing_has_an_age_names_decide() -> None:
    routing = Mesh(router(name="b"), router(name="a")).graph.router(full("hello"))
    assert routing.router == router(name="a")


def test_when_the_older_router_leaves_the_younger_takes_over() -> None:
    older, younger = router(name="a"), router(name="b")
    mesh = Mesh(older, younger)
    mesh.say(gone(older))
    assert mesh.graph.router(full("hello")).router is younger
    assert mesh.graph.router(full("hello")).findings == ()


def test_a_meta_router_shadows_a_virtual_service_and_says_so() -> None:
    mesh = Mesh(router("hello", "hello/v1"), virtual_service("hello", "hello/v2", created=OLD))
    routing = mesh.graph.routing(full("hello"))
    assert routing.router == router("hello", "hello/v1")
    (finding,) = routing.findings
    assert finding.key == key_of(virtual_service())
    assert finding.problem.severity is Severity.WARNING
    assert "shadowed" in finding.problem.message


def test_a_host_without_a_meta_router_is_routed_by_its_virtual_service() -> None:
    mesh = Mesh(virtual_service("hello", "hello/v2"))
    assert mesh.graph.routing(full("hello")).router == virtual_service("hello", "hello/v2")
    assert mesh.graph.router(full("hello")) == Routing(by_default=True)


@pytest.mark.parametrize(
    ("gateways", "counts"), [((), True), (("mesh",), True), (("edge",), False)]
)
def test_a_virtual_service_for_gateways_only_is_none_of_a_sidecars_business(
    gateways: tuple[str, ...], counts: bool
) -> None:
    plain = virtual_service()
    item = msgspec.structs.replace(
        plain, spec=msgspec.structs.replace(plain.spec, gateways=gateways)
    )
    mesh = Mesh(service(), item)
    assert (mesh.graph.routing(full("hello")).router is not None) is counts


def test_of_two_virtual_services_the_older_is_in_force() -> None:
    older = virtual_service(name="z", created=OLD)
    younger = virtual_service(name="a", created=YOUNG)
    routing = Mesh(older, younger).graph.routing(full("hello"))
    assert routing.router is older
    assert [(f.key, f.problem.severity) for f in routing.findings] == [
        (key_of(younger), Severity.ERROR)
    ]


def test_a_match_of_a_virtual_service_that_cannot_be_read_is_a_finding() -> None:
    item = virtual_service(match=[{"uri": {"exact": "/"}}])
    routing = Mesh(item).graph.routing(full("hello"))
    assert routing.rules == ()
    assert [finding.problem.field for finding in routing.findings] == ["spec.http[0].match[0]"]


def test_a_host_is_held_while_its_only_router_cannot_be_read() -> None:
    mesh = Mesh(service())
    mesh.say(refused(router()))
    assert mesh.graph.router(full("hello")) == Routing(held=True)
    assert mesh.graph.routing(full("hello")) == Routing(held=True)
    mesh.say(said(router()))
    assert not mesh.graph.router(full("hello")).held


def test_a_held_meta_router_comes_before_a_virtual_service_that_can_be_read() -> None:
    mesh = Mesh(service(), virtual_service())
    mesh.say(refused(router()))
    routing = mesh.graph.routing(full("hello"))
    assert routing.held
    assert routing.router is None


def test_a_held_virtual_service_holds_native_routes_only() -> None:
    mesh = Mesh(service())
    mesh.say(refused(virtual_service()))
    assert mesh.graph.routing(full("hello")).held
    assert not mesh.graph.router(full("hello")).held


def test_a_router_in_force_is_not_held_by_another_that_cannot_be_read() -> None:
    mesh = Mesh(service(), router(name="good"))
    mesh.say(refused(router(name="bad")))
    assert mesh.graph.router(full("hello")).router == router(name="good")


def test_a_rejected_destination_rule_holds_nobody() -> None:
    mesh = Mesh(service())
    mesh.say(refused(subsets()))
    assert not mesh.graph.routing(full("hello")).held


def test_a_rejected_destination_rule_touches_nobody_either() -> None:
    assert Mesh(service()).say(refused(subsets())) == set()


def test_subsets_of_one_host_of_an_entry_do_not_touch_the_entrys_other_hosts() -> None:
    mesh = Mesh(service(name="both", hosts=(full("hello"), full("other"))))
    assert mesh.say(said(subsets("hello"))) == {"hello"}


def test_a_host_without_a_router_is_held_where_nobody_could_look_for_routers() -> None:
    mesh = Mesh(service())
    mesh.graph.blind = frozenset({Kind.META_ROUTER})
    assert mesh.graph.router(full("hello")) == Routing(held=True)
    assert mesh.graph.routing(full("hello")) == Routing(held=True)
    mesh.graph.blind = frozenset({Kind.VIRTUAL_SERVICE})
    assert mesh.graph.router(full("hello")) == Routing(by_default=True)
    assert mesh.graph.routing(full("hello")) == Routing(held=True)


def test_where_nobody_could_look_a_rule_that_is_known_stays_in_force() -> None:
    mesh = Mesh(service(), virtual_service())
    mesh.graph.blind = frozenset(Kind)
    assert mesh.graph.routing(full("hello")).router == virtual_service()
    mesh.say(said(router()))
    assert mesh.graph.router(full("hello")).router == router()


def test_a_router_that_could_not_be_read_names_short_hosts_of_its_own_namespace() -> None:
    mesh = Mesh(service())
    (short,) = refused(router())
    assert mesh.say([msgspec.structs.replace(short, hosts=frozenset({"hello"}))]) == {"hello"}
    assert mesh.graph.router(full("hello")).held
    assert mesh.say([msgspec.structs.replace(short, hosts=frozenset({"other"}))]) == {
        "hello",
        "other",
    }
    assert not mesh.graph.router(full("hello")).held


def test_codecs_are_built_in_or_declared_by_the_oldest_object() -> None:
    mesh = Mesh(
        protocol("trpc", "codec.young", name="a", created=YOUNG),
        protocol("trpc", "codec.old", name="b", created=OLD),
        protocol("dubbo", "codec.mine"),
    )
    assert mesh.graph.codec("trpc") == "codec.old"
    assert mesh.graph.codec("dubbo") == BUILT_IN_CODECS["dubbo"]
    assert mesh.graph.codec("unknown") is None


# --- after any history ------------------------------------------------------------------------

SHORT = ("a", "b", "c")
HOSTS = tuple(full(name) for name in SHORT)
RECIPES = (MetaRds(), Ads(variant=Variant()))

short = st.sampled_from(SHORT)
created = st.sampled_from((OLD, YOUNG))
name = st.sampled_from(("one", "two"))
destination = st.sampled_from([f"{host}{part}" for host in SHORT for part in ("", "/v1")])
match = st.sampled_from([(), ({"method": {"exact": "m"}},), ({"uri": {"exact": "/"}},)])
port_name = st.sampled_from(["tcp-thrift", "tcp-metaprotocol-thrift", "tcp-metaprotocol-x", "http"])

objects = st.one_of(
    st.builds(
        service,
        short,
        name=name,
        ports=st.dictionaries(st.sampled_from((80, 9090)), port_name, min_size=1),
        created=created,
        address=st.sampled_from(("127.0.0.9", "10.0.0.1", "")),
        resolution=st.sampled_from(("STATIC", "DNS", "NONE")),
    ),
    st.builds(subsets, short, st.sampled_from(((), ("v1",))), name=name, created=created),
    st.builds(router, short, destination, name=name, created=created),
    st.builds(virtual_service, short, destination, name=name, created=created, match=match),
    st.builds(
        protocol, st.just("x"), st.sampled_from((THRIFT_CODEC, "other")), name=name, created=created
    ),
)
events = st.one_of(
    objects.map(said),
    objects.map(said),
    objects.map(gone),
    st.builds(lambda item, hosts: refused(item, hosts=hosts), objects, st.lists(short)),
).map(lambda one: one[0])
batches = st.lists(st.lists(events, min_size=1, max_size=3), min_size=1, max_size=8)


def outputs(graph: Graph) -> dict[Host, list[Output]]:
    return {host: [compose(graph, host, recipe) for recipe in RECIPES] for host in HOSTS}


def answers(graph: Graph) -> list[object]:
    found: list[object] = [graph.hosts, graph.codec("x")]
    for host in HOSTS:
        found += (
            graph.service(host),
            graph.destination_rule(host),
            graph.router(host),
            graph.routing(host),
        )
    return found


def rebuilt(store: Store) -> Graph:
    """A graph that was told only what is true now."""
    told: list[ObjectEvent] = [*store.accepted.values()]
    told += [each for each in store.rejected.values() if isinstance(each, Rejected)]
    graph = Graph()
    graph.update(Store().apply(told))
    return graph


@settings(deadline=None, max_examples=150)
@given(batches=batches)
def test_every_host_whose_output_differs_was_affected_and_history_leaves_no_trace(
    batches: list[list[ObjectEvent]],
) -> None:
    store, graph = Store(), Graph()
    before = outputs(graph)
    for batch in batches:
        affected = graph.update(store.apply(batch))
        after = outputs(graph)
        assert {host for host in HOSTS if before[host] != after[host]} <= affected
        assert answers(graph) == answers(rebuilt(store))
        before = after
