"""The last good output: what a host withholds stays, with everything that it needs."""

from __future__ import annotations

from aeraki_xds.mesh.change import Delete, ObjectEvent
from aeraki_xds.mesh.graph import Graph
from aeraki_xds.mesh.names import Host
from aeraki_xds.mesh.objects import MeshObject, key_of
from aeraki_xds.mesh.store import Store
from aeraki_xds.pipeline.composer import Composer
from aeraki_xds.pipeline.ledger import Ledger
from aeraki_xds.pipeline.scopes import everything
from aeraki_xds.xds.resource import CLUSTER, THRIFT_ROUTES
from tests.mesh.kit import full, router, said, service, subsets

HELLO, OTHER = full("hello"), full("other")


class Rig:
    """Store, graph and composer; `say` is one batch, `scope` a scope that opens now."""

    def __init__(self, *items: MeshObject) -> None:
        self.store, self.graph = Store(), Graph()
        self.composer = Composer(graph=self.graph, recipe=everything().recipe)
        self.ledger = Ledger()
        self.say(*items)

    def say(self, *items: MeshObject, gone: tuple[MeshObject, ...] = ()) -> None:
        events: list[ObjectEvent] = [*said(*items)]
        events += (Delete(key=key_of(item)) for item in gone)
        for host in self.graph.update(self.store.apply(events)):
            self.composer.compose(host)
        self.hand_over(self.composer.settle(), self.ledger)

    def hand_over(self, hosts: frozenset[Host], ledger: Ledger) -> None:
        for host in hosts:
            self.composer.hand_over(host, everything(), ledger)
        ledger.settle()

    def scope(self) -> Ledger:
        ledger = Ledger()
        self.hand_over(self.graph.hosts, ledger)
        return ledger


def clusters(ledger: Ledger) -> set[str]:
    """Subset and host of the clusters in force, without those of services as a whole."""
    names = (each.name.split("|") for each in ledger.in_force if each.type_url == CLUSTER)
    return {f"{host.partition('.')[0]}/{subset}" for _, _, subset, host in names if subset}


def routes_to(ledger: Ledger) -> set[str]:
    """Subset and host of the clusters that routes in force need."""
    needs = [
        need.name.split("|")
        for each, resource in ledger.in_force.items()
        if each.type_url == THRIFT_ROUTES
        for need in resource.needs
    ]
    return {f"{host.partition('.')[0]}/{subset}" for _, _, subset, host in needs}


def test_a_route_to_what_nobody_declares_leaves_the_last_good_one_in_force() -> None:
    rig = Rig(service(), subsets(), router("hello", "hello/v1"))
    rig.say(router("hello", "hello/v9"))
    assert routes_to(rig.ledger) == {"hello/v1"}


def test_a_subset_that_is_dropped_while_its_route_is_kept_keeps_its_cluster_and_endpoints() -> None:
    rig = Rig(service(), subsets(), router("hello", "hello/v1"))
    rig.say(subsets("hello", ["v2"]))
    assert routes_to(rig.ledger) == {"hello/v1"}
    assert clusters(rig.ledger) == {"hello/v1", "hello/v2"}
    rig.say(router("hello", "hello/v2"))
    assert routes_to(rig.ledger) == {"hello/v2"}
    assert clusters(rig.ledger) == {"hello/v2"}


def test_that_holds_for_the_clusters_of_another_host_too_even_when_its_service_goes() -> None:
    other = service("other", address="127.0.0.9")
    rig = Rig(service(), other, subsets("other", ["v1"]), router("hello", "other/v1"))
    rig.say(gone=(other,))
    assert routes_to(rig.ledger) == {"other/v1"}
    assert "other/v1" in clusters(rig.ledger)


def test_a_scope_that_opens_later_has_the_last_good_route_and_its_clusters_too() -> None:
    rig = Rig(service(), subsets(), router("hello", "hello/v1"))
    rig.say(subsets("hello", ["v2"]))
    late = rig.scope()
    assert late.in_force.keys() == rig.ledger.in_force.keys()
    assert routes_to(late) == {"hello/v1"}


def test_a_host_that_never_was_routed_has_neither_routes_nor_a_listener() -> None:
    rig = Rig(service(), subsets("hello", ["v1"]), router("hello", "hello/v9"))
    assert routes_to(rig.ledger) == set()
    types = {each.type_url.rpartition(".")[2] for each in rig.ledger.in_force}
    assert types == {"Cluster", "ClusterLoadAssignment"}


def test_with_its_service_everything_that_was_kept_goes() -> None:
    hello = service()
    rig = Rig(hello, subsets("hello", ["v1"]), router("hello", "hello/v1"))
    rig.say(subsets("hello", ["v2"]))
    rig.say(gone=(hello,))
    assert not rig.ledger.in_force
