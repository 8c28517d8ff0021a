"""Who serves, on its way to proxies: what is withheld until all of it is known, scopes that wait
for it, and what is not kept of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aeraki_xds.ingest.event import Event, SourceLost, Synced
from aeraki_xds.mesh.change import Delete
from aeraki_xds.mesh.names import SERVING, Kind
from aeraki_xds.mesh.objects import MeshObject, key_of
from aeraki_xds.pipeline.last_good import Changes, LastGood, Standing, Unconfirmed
from aeraki_xds.pipeline.sources import Sources
from aeraki_xds.translate.compose import Ads, Recipe
from aeraki_xds.xds.resource import ENDPOINTS, HTTP_ROUTES, LISTENER, Name, ResourceId
from tests.mesh.kit import full, gone, router, said, service, subsets
from tests.mesh.pods import endpoint, endpoint_slice, kubernetes_service, pod
from tests.pipeline.test_composer import Rig as Composing
from tests.pipeline.test_pipeline import HELLO, SYNCED, running
from tests.virtual_time import at, virtual_time

MESH: tuple[MeshObject, ...] = (
    kubernetes_service(),
    subsets(),
    endpoint_slice(endpoint("10.0.0.1", "a"), endpoint("10.0.0.2", "b")),
    pod("a", version="v1"),
    pod("b", version="v2"),
)


def members(rig: Composing, subset: str) -> list[str]:
    """The last digits of those who serve a subset, as they are in force."""
    name = Name(f"outbound|9090|{subset}|{full('hello')}")
    body = rig.ledger.in_force[ResourceId(ENDPOINTS, name)].packed
    return [digit for digit in "123456789" if f"10.0.0.{digit}".encode() in body]


# --- a subset, before all of its Pods are known -------------------------------------------------


def test_a_subset_stays_as_it_was_until_the_pod_that_took_anothers_place_is_known() -> None:
    """Slices and Pods are two watches: which one speaks first, nobody knows."""
    rig = Composing(*MESH)
    assert [members(rig, subset) for subset in ("", "v1", "v2")] == [["1", "2"], ["1"], ["2"]]
    rig.say(endpoint_slice(endpoint("10.0.0.3", "c"), endpoint("10.0.0.2", "b")))
    assert [members(rig, subset) for subset in ("", "v1", "v2")] == [["2", "3"], ["1"], ["2"]]
    rig.say(pod("c", version="v1"))
    assert [members(rig, subset) for subset in ("", "v1", "v2")] == [["2", "3"], ["3"], ["2"]]


def test_a_pod_that_goes_before_its_endpoint_takes_nobody_out_of_a_subset() -> None:
    rig = Composing(*MESH)
    rig.say(gone=(pod("a"),))
    assert members(rig, "v1") == ["1"]
    rig.say(endpoint_slice(endpoint("10.0.0.2", "b")))
    assert members(rig, "v1") == []


# --- scopes that wait ---------------------------------------------------------------------------


@virtual_time
async def test_a_scope_that_may_not_be_opened_yet_is_silent_and_the_others_are_not() -> None:
    events: list[Event] = [*said(service(), subsets(), router("hello", "hello/v1")), *SYNCED]
    async with running(*events) as rig:
        may = False
        rig.pipeline.may_open = lambda recipe: may or not isinstance(recipe, Ads)
        envoy, sidecar = rig.envoy(), rig.sidecar()
        envoy.asks(LISTENER)
        sidecar.asks(HTTP_ROUTES, f"{HELLO}_9090")
        await at(1)
        assert rig.server.says(envoy) == []
        assert [each.type_url for each in rig.server.says(sidecar)] == [HTTP_ROUTES]
        await rig.say(said(router("hello", "hello/v2")))
        assert rig.server.says(envoy) == []
        may = True
        await rig.say(said(router("hello", "hello/v1")))
        assert [each.type_url for each in rig.server.says(envoy)] == [LISTENER]


@virtual_time
async def test_the_recipes_are_those_in_use_and_those_that_are_waited_for() -> None:
    async with running(*said(service()), *SYNCED) as rig:
        told: list[bool] = []

        def has_ads() -> bool:
            return any(isinstance(recipe, Ads) for recipe in rig.pipeline.recipes)

        rig.pipeline.on_taken = lambda: told.append(has_ads())
        rig.pipeline.may_open = lambda recipe: not isinstance(recipe, Ads)
        envoy = rig.envoy()
        await at(1)
        assert told[-1:] == [True]  # waited for
        rig.pipeline.may_open = _always
        await rig.say(said(subsets()))
        assert has_ads()  # in use
        envoy.leaves()
        await at(50)
        assert has_ads()
        await at(70)
        assert not has_ads()
        assert told[-1:] == [False]


def _always(_recipe: Recipe) -> bool:
    return True


# --- what is kept -------------------------------------------------------------------------------


@virtual_time
async def test_of_those_who_serve_nothing_is_kept_where_that_is_said() -> None:
    async with running() as rig:
        rig.pipeline.touched.forgotten |= SERVING
        kept: list[Changes] = []
        rig.pipeline.on_changed = kept.append
        await rig.say([*said(*MESH), *SYNCED])
        await rig.say(gone(pod("a")))
        kinds = {key.kind for changes in kept for key in changes.objects}
        assert kinds == {Kind.SERVICE, Kind.DESTINATION_RULE}


# --- sources of which nobody wants anything -----------------------------------------------------


def heard(*events: Synced | SourceLost, names: Sequence[str] = ("pods",)) -> Sources:
    sources = Sources(names)
    for event in events:
        sources.hear(event)
    return sources


def test_an_idle_source_is_not_waited_for_and_was_not_read() -> None:
    idle = heard(Synced(source="pods", idle=True))
    assert (idle.are_synced, idle["pods"].was_read) == (True, False)
    read = heard(Synced(source="pods", idle=True), Synced(source="pods"))
    assert (read.are_synced, read["pods"].was_read) == (True, True)


def test_a_source_that_is_lost_was_read_if_it_was_before() -> None:
    lost = SourceLost(source="pods", reason="gone")
    assert heard(Synced(source="pods"), lost)["pods"].was_read
    assert not heard(Synced(source="pods", idle=True), lost)["pods"].was_read
    assert not heard(lost)["pods"].was_read


def test_a_source_that_is_believed_after_a_restart_stays_idle() -> None:
    sources = heard(Synced(source="pods", idle=True), Synced(source="x"), names=("pods", "x"))
    item = service()
    standing: Mapping[object, Standing] = {key_of(item): Standing(said(item)[0])}
    unconfirmed = Unconfirmed(LastGood(objects=dict(standing)))  # type: ignore[arg-type]
    for event in sources.confirm(unconfirmed, {}, at_rest=True):
        assert isinstance(event, SourceLost)  # it holds nothing
        sources.hear(event)
    unconfirmed.hear(Delete(key=key_of(service("other"))))
    confirmed = sources.confirm(unconfirmed, {}, at_rest=True)
    assert Synced(source="pods", idle=True) in confirmed
    assert Synced(source="x") in confirmed
