"""The ledger of a scope: who has a name, and what is in force.

Clusters are called c1, c2, …, their endpoints likewise; a route table needs clusters, a listener
its route table.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from aeraki_xds.mesh.names import Host
from aeraki_xds.pipeline.ledger import NOTHING, Collision, Composed, Ledger
from aeraki_xds.xds.resource import (
    CLUSTER,
    ENDPOINTS,
    LISTENER,
    THRIFT_ROUTES,
    Name,
    Resource,
    ResourceId,
    TypeUrl,
)

A, B = Host("a"), Host("b")
OLDER, YOUNGER = ("2024",), ("2025",)


def make(type_url: TypeUrl, name: str, body: str, *needs: Resource) -> Resource:
    return Resource.of(type_url, Name(name), body.encode(), tuple(need.id for need in needs))


def endpoints(name: str, body: str = "1") -> Resource:
    return make(ENDPOINTS, name, body)


def cluster(name: str, body: str = "1") -> Resource:
    return make(CLUSTER, name, body, endpoints(name))


def routes(name: str, *clusters: str) -> Resource:
    return make(THRIFT_ROUTES, name, " ".join(clusters), *(cluster(each) for each in clusters))


def listener(name: str, *tables: str, body: str = "1") -> Resource:
    return make(LISTENER, name, body, *(routes(each) for each in tables))


def composed(
    *resources: Resource, kept: tuple[Resource, ...] = (), age: tuple[str, ...] = OLDER
) -> Composed:
    return Composed(age=age, resources=resources, kept=kept)


def in_force(ledger: Ledger) -> set[str]:
    short = {CLUSTER: "c", ENDPOINTS: "e", THRIFT_ROUTES: "r", LISTENER: "l"}
    return {f"{short[identity.type_url]}:{identity.name}" for identity in ledger.in_force}


# --- changes ----------------------------------------------------------------------------------


def test_what_a_host_claims_is_in_force_and_reported_once() -> None:
    ledger = Ledger()
    one = cluster("c1")
    ledger.replace(A, composed(one))
    assert ledger.settle() == {one.id: one}
    assert ledger.settle() == {}


def test_the_same_resource_again_is_no_change() -> None:
    ledger = Ledger()
    one = cluster("c1")
    ledger.replace(A, composed(one))
    ledger.settle()
    ledger.replace(A, composed(one))
    assert ledger.settle() == {}


def test_another_version_is_a_change() -> None:
    ledger = Ledger()
    ledger.replace(A, composed(cluster("c1")))
    ledger.settle()
    other = cluster("c1", "2")
    ledger.replace(A, composed(other))
    assert ledger.settle() == {other.id: other}


def test_what_a_host_no_longer_claims_is_gone() -> None:
    ledger = Ledger()
    one, two = cluster("c1"), cluster("c2")
    ledger.replace(A, composed(one, two))
    ledger.settle()
    ledger.replace(A, composed(two))
    assert ledger.settle() == {one.id: None}
    ledger.replace(A, NOTHING)
    assert ledger.settle() == {two.id: None}
    assert not ledger.in_force


# --- kept claims ------------------------------------------------------------------------------


def test_a_kept_resource_is_in_force_where_nobody_claims_it() -> None:
    ledger = Ledger()
    table = routes("r", "c1")
    ledger.replace(A, composed(table, cluster("c1")))
    ledger.settle()
    ledger.replace(A, composed(kept=(table, cluster("c1"))))
    ledger.settle()
    assert ledger.in_force[table.id] is table
    assert in_force(ledger) == {"r:r", "c:c1"}


def test_a_kept_resource_yields_to_any_host_that_claims_it_and_takes_over_when_it_leaves() -> None:
    ledger = Ledger()
    old, new = cluster("c1"), cluster("c1", "2")
    ledger.replace(A, composed(kept=(old,)))
    ledger.replace(B, composed(new, age=YOUNGER))
    assert ledger.settle() == {new.id: new}
    assert list(ledger.collisions()) == []
    ledger.replace(B, NOTHING)
    assert ledger.settle() == {old.id: old}


def test_what_is_no_longer_kept_is_gone() -> None:
    ledger = Ledger()
    ledger.replace(A, composed(kept=(cluster("c1"),)))
    ledger.settle()
    ledger.replace(A, composed(cluster("c2")))
    ledger.settle()
    assert in_force(ledger) == {"c:c2"}


# --- 2: the older has it ----------------------------------------------------------------------


def test_of_two_claims_the_older_is_in_force_whichever_came_first() -> None:
    older, younger = listener("socket", body="older"), listener("socket", body="younger")
    for order in ((A, B), (B, A)):
        ledger = Ledger()
        for host in order:
            mine = composed(older) if host == A else composed(younger, age=YOUNGER)
            ledger.replace(host, mine)
            ledger.settle()
        assert ledger.in_force[older.id] is older
        assert list(ledger.collisions()) == [Collision(id=older.id, owner=A, loser=B)]


def test_the_younger_takes_over_when_the_older_leaves_and_gives_way_when_it_is_back() -> None:
    older, younger = listener("socket", body="older"), listener("socket", body="younger")
    ledger = Ledger()
    ledger.replace(A, composed(older))
    ledger.replace(B, composed(younger, age=YOUNGER))
    ledger.settle()
    ledger.replace(A, NOTHING)
    assert ledger.settle() == {younger.id: younger}
    assert list(ledger.collisions()) == []
    ledger.replace(A, composed(older))
    assert ledger.settle() == {older.id: older}


def test_claims_of_one_age_go_by_the_name_of_the_host() -> None:
    of_a, of_b = listener("socket", body="a"), listener("socket", body="b")
    ledger = Ledger()
    ledger.replace(B, composed(of_b))
    ledger.replace(A, composed(of_a))
    ledger.settle()
    assert ledger.in_force[of_a.id] is of_a


def test_the_younger_does_not_have_the_socket_while_the_older_lacks_its_routes() -> None:
    ledger = Ledger()
    ledger.replace(A, composed(listener("socket", "of a")))
    ledger.replace(B, composed(listener("socket", "of b"), routes("of b"), age=YOUNGER))
    ledger.settle()
    assert in_force(ledger) == {"r:of b"}


# --- 3: a listener and its routes -------------------------------------------------------------


def test_a_listener_is_in_force_only_while_all_its_routes_are() -> None:
    ledger = Ledger()
    socket, one, two = listener("l", "r1", "r2"), routes("r1"), routes("r2")
    ledger.replace(A, composed(socket, one))
    ledger.settle()
    assert in_force(ledger) == {"r:r1"}
    ledger.replace(A, composed(socket, one, two))
    assert ledger.settle() == {two.id: two, socket.id: socket}
    ledger.replace(A, composed(socket, two))
    assert ledger.settle() == {one.id: None, socket.id: None}


def test_a_listener_whose_routes_are_kept_stays() -> None:
    ledger = Ledger()
    socket, table = listener("l", "r"), routes("r")
    ledger.replace(A, composed(socket, table))
    ledger.settle()
    ledger.replace(A, composed(socket, kept=(table,)))
    assert ledger.settle() == {}


def test_a_listener_without_routes_needs_none() -> None:
    ledger = Ledger()
    ledger.replace(A, composed(listener("l")))
    ledger.settle()
    assert in_force(ledger) == {"l:l"}


# --- after any history ------------------------------------------------------------------------

HOSTS = (A, B, Host("c"))


@st.composite
def claims(draw: st.DrawFn, host: Host) -> Composed:
    """What a host may claim: clusters of anyone, its own routes, any socket with its own routes."""
    names = [f"{host}1", f"{host}2"]
    resources: list[Resource] = []
    body = st.sampled_from(("1", "2"))
    for name in draw(st.sets(st.sampled_from(("c1", "c2")))):
        resources += (cluster(name, draw(body)), endpoints(name, draw(body)))
    for name in draw(st.sets(st.sampled_from(names))):
        resources.append(routes(name, *sorted(draw(st.sets(st.sampled_from(("c1", "c2")))))))
    for name in draw(st.sets(st.sampled_from(("l1", "l2")))):
        resources.append(listener(name, *draw(st.sets(st.sampled_from(names)))))
    split = draw(st.integers(0, len(resources)))
    age = draw(st.sampled_from((OLDER, YOUNGER)))
    return composed(*resources[:split], kept=tuple(resources[split:]), age=age)


steps = st.sampled_from(HOSTS).flatmap(
    lambda host: st.tuples(st.just(host), st.one_of(st.just(NOTHING), claims(host)))
)


@settings(deadline=None, max_examples=40)
@given(batches=st.lists(st.lists(steps, min_size=1, max_size=2), max_size=6))
def test_history_leaves_no_trace(
    batches: list[list[tuple[Host, Composed]]],
) -> None:
    ledger = Ledger()
    now: dict[Host, Composed] = {}
    told: dict[ResourceId, Resource] = {}
    for batch in batches:
        for host, claimed in batch:
            ledger.replace(host, claimed)
            now[host] = claimed
        for identity, resource in ledger.settle().items():
            if resource is None:
                del told[identity]
            else:
                told[identity] = resource
    fresh = Ledger()
    for host, claimed in now.items():
        fresh.replace(host, claimed)
    fresh.settle()
    assert ledger.in_force == fresh.in_force == told
    assert list(ledger.collisions()) == list(fresh.collisions())
