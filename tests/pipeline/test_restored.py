"""What was in force before a restart is in force after it, until the sources say otherwise."""

from __future__ import annotations

import asyncio

import pytest

from aeraki_xds.ingest.event import Event, SourceLost, Synced, Unreadable
from aeraki_xds.mesh.graph import Graph
from aeraki_xds.mesh.names import Host
from aeraki_xds.mesh.objects import MeshObject, key_of
from aeraki_xds.mesh.problems import error
from aeraki_xds.pipeline import composer
from aeraki_xds.pipeline.pipeline import GRACE, REST
from aeraki_xds.pipeline.scopes import GLOBAL
from aeraki_xds.translate.compose import Recipe, compose
from aeraki_xds.translate.output import Output
from aeraki_xds.xds.resource import CLUSTER, HTTP_ROUTES, LISTENER, THRIFT_ROUTES
from tests.mesh.kit import full, gone, refused, router, said, service, subsets
from tests.pipeline.restarts import Disk, life
from tests.virtual_time import at, virtual_time

SYNCED = Synced(source="folder")
LOST = SourceLost(source="folder", reason="it is gone")
HELLO, OTHER = full("hello"), full("other")
ROUTE, OTHER_ROUTE = f"{HELLO}_9090", f"{OTHER}_9090"
SOCKET = "127.20.0.1_9090"
CANARY: tuple[MeshObject, ...] = (service(), subsets(), router("hello", "hello/v1"))
OTHER_SERVICE = service("other", address="127.0.0.9")


def unreadable(origin: str, *, hides: bool) -> Unreadable:
    return Unreadable(origin=origin, problems=(error("", "line 1: no YAML"),), hides=hides)


def readable(origin: str) -> Unreadable:
    return Unreadable(origin=origin, problems=())


async def lived(*objects: MeshObject) -> Disk:
    """A disk after a life that had these objects in force, and an Envoy connected."""
    disk = Disk()
    async with life(disk, *said(*objects), SYNCED) as first:
        first.envoy()
        await asyncio.sleep(0.1)
    return disk


# --- the source is away -----------------------------------------------------------------------


@virtual_time
async def test_what_was_in_force_is_served_marked_stale_when_the_source_is_lost_at_start() -> None:
    disk = Disk()
    async with life(disk, *said(*CANARY), SYNCED) as first:
        scope = first.envoy().stream.scopes[0]
        await asyncio.sleep(0.1)
        before = first.holds(scope)
        assert {identity.name for identity in before} > {ROUTE, SOCKET}
    async with life(disk) as second:
        assert not second.serves
        second.server.now = 5000.0
        await second.say(LOST)
        scope = second.envoy().stream.scopes[0]
        await asyncio.sleep(0.1)
        assert second.holds(scope) == before
        state = second.pipeline.sources["folder"]
        assert (state.synced, state.stale, state.stale_since) == (False, "it is gone", 5000.0)


@virtual_time
async def test_without_anything_to_go_on_with_a_lost_source_is_waited_for() -> None:
    async with life(Disk(), LOST) as first:
        await at(10 * GRACE)
        assert not first.serves


@virtual_time
async def test_a_source_that_says_nothing_is_waited_for_so_long_and_no_longer() -> None:
    disk = await lived(*CANARY)
    async with life(disk) as second:
        began = asyncio.get_running_loop().time()
        await at(began + GRACE - 0.1)
        assert not second.serves
        await at(began + GRACE + 0.1)
        assert second.names(GLOBAL, HTTP_ROUTES) == {ROUTE}
        assert "not synced yet" in second.pipeline.sources["folder"].stale
        await second.say(*said(*CANARY), SYNCED)
        assert second.pipeline.sources["folder"].stale == ""


@virtual_time
async def test_a_source_that_is_being_read_is_waited_for_while_another_is_lost() -> None:
    disk = await lived(*CANARY)
    async with life(disk, LOST, sources=("folder", "cluster")) as second:
        assert not second.serves
        await second.say(Synced(source="cluster"))
        assert second.names(GLOBAL, HTTP_ROUTES) == {ROUTE}


@virtual_time
async def test_the_sync_disturbs_nobody_when_nothing_has_changed() -> None:
    disk = await lived(*CANARY)
    async with life(disk, LOST) as second:
        envoy = second.envoy()
        await asyncio.sleep(0.1)
        envoy.asks(CLUSTER)
        assert second.server.says(envoy)
        woken = envoy.woken
        await second.say(*said(*CANARY), SYNCED)
        assert envoy.woken == woken
        assert second.pipeline.sources["folder"].stale_since == 0


@virtual_time
async def test_what_changed_meanwhile_is_applied_when_the_source_is_back() -> None:
    disk = await lived(*CANARY, OTHER_SERVICE)
    async with life(disk, LOST) as second:
        before = second.holds(GLOBAL)
        await second.say(*said(service(), subsets(), router("hello", "hello/v2")), SYNCED)
        after = second.holds(GLOBAL)
        assert [identity.name for identity in after] == [ROUTE]
        assert after.items().isdisjoint(before.items())


# --- the source is there ----------------------------------------------------------------------


@virtual_time
async def test_nothing_is_served_before_the_source_is_read_when_it_is_there() -> None:
    disk = await lived(*CANARY)
    async with life(disk, *said(router("hello", "hello/v2"))) as second:
        assert not second.serves


@virtual_time
async def test_what_the_source_does_not_speak_of_is_gone_with_the_sync() -> None:
    disk = await lived(*CANARY, OTHER_SERVICE)
    async with life(disk, *said(*CANARY), SYNCED) as second:
        assert second.names(GLOBAL, HTTP_ROUTES) == {ROUTE}
    assert key_of(OTHER_SERVICE) not in disk.last_good.objects


@virtual_time
async def test_a_version_that_is_rejected_leaves_the_one_from_before_the_restart() -> None:
    disk = Disk()
    async with life(disk, *said(*CANARY), SYNCED) as first:
        good = first.holds(GLOBAL)
    before_and_after = []
    for _ in range(2):
        events: list[Event] = [*said(service(), subsets()), *refused(router()), SYNCED]
        async with life(disk, *events) as next_life:
            before_and_after.append(next_life.holds(GLOBAL))
            assert [entry.in_force for entry in next_life.pipeline.report] == [True]
    assert before_and_after[0] == before_and_after[1] == good


@virtual_time
async def test_what_stands_in_a_file_that_cannot_be_read_stays_until_it_can() -> None:
    disk = Disk()
    async with life(disk, *said(*CANARY), *said(OTHER_SERVICE, origin="other.yaml"), SYNCED):
        pass
    async with life(disk, *said(*CANARY), unreadable("other.yaml", hides=True), SYNCED) as second:
        await at(20)
        assert second.names(GLOBAL, HTTP_ROUTES) == {ROUTE, OTHER_ROUTE}
    async with life(disk, *said(*CANARY), unreadable("other.yaml", hides=True), SYNCED) as third:
        assert third.names(GLOBAL, HTTP_ROUTES) == {ROUTE, OTHER_ROUTE}
        await third.say(readable("other.yaml"))
        await asyncio.sleep(REST)
        assert third.names(GLOBAL, HTTP_ROUTES) == {ROUTE}
        assert third.problems == []


@virtual_time
async def test_what_stands_in_a_folder_that_cannot_be_listed_stays_too() -> None:
    disk = Disk()
    async with life(disk, *said(*CANARY), *said(OTHER_SERVICE, origin="team/a.yaml"), SYNCED):
        pass
    async with life(disk, *said(*CANARY), unreadable("team/", hides=True), SYNCED) as second:
        await at(20)
        assert second.names(GLOBAL, HTTP_ROUTES) == {ROUTE, OTHER_ROUTE}


@virtual_time
async def test_a_file_that_is_written_anew_after_the_restart_takes_nothing_away_meanwhile() -> None:
    disk = Disk()
    async with life(disk, *said(*CANARY), *said(OTHER_SERVICE, origin="other.yaml"), SYNCED):
        pass
    async with life(disk, *said(*CANARY), unreadable("other.yaml", hides=True), SYNCED) as second:
        await at(20)
        await second.say(readable("other.yaml"))  # removed, to be written again
        assert second.names(GLOBAL, HTTP_ROUTES) == {ROUTE, OTHER_ROUTE}
        await second.say(*said(OTHER_SERVICE, origin="other.yaml"))
        await asyncio.sleep(2 * REST)
        assert second.names(GLOBAL, HTTP_ROUTES) == {ROUTE, OTHER_ROUTE}


@virtual_time
async def test_an_unreadable_file_from_before_the_restart_is_withdrawn_when_it_is_mended() -> None:
    disk = Disk()
    async with life(disk, *said(*CANARY), unreadable("a.yaml", hides=True), SYNCED):
        pass
    assert disk.last_good.files
    async with life(disk, LOST) as second:
        assert second.problems == ["a.yaml: line 1: no YAML"]
        await second.say(*said(*CANARY), SYNCED)
        assert second.problems == []
    assert not disk.last_good.files


@virtual_time
async def test_a_source_that_holds_nothing_at_all_is_not_believed() -> None:
    disk = await lived(*CANARY, OTHER_SERVICE)
    async with life(disk, SYNCED) as second:
        assert second.names(GLOBAL, HTTP_ROUTES) == {ROUTE, OTHER_ROUTE}
        assert "holds nothing" in second.pipeline.sources["folder"].stale
        assert second.pipeline.sources["folder"].stale_since > 0
        for each in CANARY:  # the volume is filled, file by file
            await second.say(*said(each))
            assert second.names(GLOBAL, HTTP_ROUTES) == {ROUTE, OTHER_ROUTE}
        await asyncio.sleep(REST)
        assert second.names(GLOBAL, HTTP_ROUTES) == {ROUTE}
        assert second.pipeline.sources["folder"].stale == ""


@virtual_time
async def test_what_a_lost_source_did_not_speak_of_stays_until_it_is_synced() -> None:
    disk = await lived(*CANARY, OTHER_SERVICE)
    async with life(disk, SYNCED) as second:
        await second.say(LOST)
        await second.say(*said(*CANARY))
        await asyncio.sleep(5 * REST)
        assert second.names(GLOBAL, HTTP_ROUTES) == {ROUTE, OTHER_ROUTE}
        await second.say(SYNCED)
        assert second.names(GLOBAL, HTTP_ROUTES) == {ROUTE}


# --- last good output -------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["lost", "there"])
@virtual_time
async def test_a_route_that_is_withheld_survives_every_restart(source: str) -> None:
    """Nobody could compose it any more: no object says what it was."""
    disk = Disk()
    broken = (service(), subsets(names=["v2"]), router("hello", "hello/v9"))
    async with life(disk, *said(*CANARY), SYNCED) as first:
        scope = first.envoy().stream.scopes[0]
        await asyncio.sleep(0.1)
        await first.say(*said(*broken))
        before = {each: first.holds(each) for each in (scope, GLOBAL)}
        assert ROUTE in first.names(scope, THRIFT_ROUTES)
        assert f"outbound|9090|v1|{HELLO}" in first.names(scope, CLUSTER)
    for _ in range(2):
        events: list[Event] = [LOST] if source == "lost" else [*said(*broken), SYNCED]
        async with life(disk, *events) as second:
            second.envoy()
            await asyncio.sleep(0.1)
            assert {each: second.holds(each) for each in (scope, GLOBAL)} == before


@virtual_time
async def test_a_reference_that_breaks_during_the_restart_leaves_what_was_in_force() -> None:
    disk = Disk()
    async with life(disk, *said(*CANARY), SYNCED) as first:
        scope = first.envoy().stream.scopes[0]
        await asyncio.sleep(0.1)
        good = first.holds(scope)
    broken = said(service(), subsets(), router("hello", "hello/v9"))
    async with life(disk, *broken, SYNCED) as second:
        second.envoy()
        await asyncio.sleep(0.1)
        assert second.holds(scope) == good
        assert ["'v9'" in line for line in second.problems] == [True]


@virtual_time
async def test_when_a_withheld_route_is_mended_what_was_kept_of_it_goes() -> None:
    disk = await lived(*CANARY)
    async with life(disk, *said(service(), subsets(names=["v2"]), CANARY[2]), SYNCED) as second:
        second.envoy()
        await asyncio.sleep(0.1)
        assert any(disk.last_good.kept.values())
        await second.say(*said(router("hello", "hello/v2")))
        assert not any(disk.last_good.kept.values())


@virtual_time
async def test_a_host_that_fails_to_compose_after_the_restart_keeps_what_it_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk = Disk()

    def fails(graph: Graph, host: Host, recipe: Recipe) -> Output:
        if host == HELLO:
            raise RuntimeError(host)
        return compose(graph, host, recipe)

    async with life(disk, *said(*CANARY), SYNCED) as first:
        before = first.holds(GLOBAL)
        monkeypatch.setattr(composer, "compose", fails)
        await first.say(*said(router("hello", "hello/v2")))
    async with life(disk, LOST) as second:
        assert second.holds(GLOBAL) == before
    monkeypatch.undo()  # a version that can
    async with life(disk, LOST) as third:
        assert third.holds(GLOBAL).keys() == before.keys()
        assert third.holds(GLOBAL) != before


@virtual_time
async def test_a_way_of_delivery_is_kept_for_those_who_come_back_and_no_longer() -> None:
    disk = await lived(*CANARY)
    assert len(disk.last_good.kept) == 2
    async with life(disk, *said(*CANARY), SYNCED) as second:
        began = asyncio.get_running_loop().time()
        await at(began + 59)
        assert len(disk.last_good.kept) == 2
        await at(began + 61)
        assert len(disk.last_good.kept) == 1
        assert second.names(GLOBAL, HTTP_ROUTES) == {ROUTE}


# --- what is held -----------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["lost", "there"])
@virtual_time
async def test_the_host_of_a_router_that_never_was_valid_gets_no_default_route_by_a_restart(
    source: str,
) -> None:
    disk = Disk()
    held: list[Event] = [*said(service(), OTHER_SERVICE), *refused(router()), SYNCED]
    async with life(disk, *held) as first:
        assert first.names(GLOBAL, HTTP_ROUTES) == {OTHER_ROUTE}
    async with life(disk, *([LOST] if source == "lost" else held)) as second:
        assert second.names(GLOBAL, HTTP_ROUTES) == {OTHER_ROUTE}


@virtual_time
async def test_a_file_that_hides_hides_after_the_restart_as_well() -> None:
    disk = Disk()
    hidden = unreadable("a.yaml", hides=True)
    async with life(disk, *said(*CANARY), hidden, SYNCED) as first:
        await first.say(*said(OTHER_SERVICE))
        assert first.names(GLOBAL, HTTP_ROUTES) == {ROUTE}
    async with life(disk, LOST) as second:
        assert second.names(GLOBAL, HTTP_ROUTES) == {ROUTE}


@virtual_time
async def test_a_file_that_breaks_during_the_restart_takes_no_default_route_away() -> None:
    disk = await lived(service())
    async with life(disk, *said(service()), unreadable("new.yaml", hides=True), SYNCED) as second:
        assert second.names(GLOBAL, HTTP_ROUTES) == {ROUTE}
        await second.say(*said(OTHER_SERVICE))
        assert second.names(GLOBAL, HTTP_ROUTES) == {ROUTE}  # it may be about any new host


@virtual_time
async def test_a_file_whose_objects_are_known_hides_nothing() -> None:
    disk = Disk()
    async with life(disk, *said(service()), *said(router(), origin="router.yaml"), SYNCED):
        pass
    events: list[Event] = [*said(service()), unreadable("router.yaml", hides=True), SYNCED]
    async with life(disk, *events) as second:
        await second.say(*said(OTHER_SERVICE))
        assert second.names(GLOBAL, HTTP_ROUTES) == {ROUTE, OTHER_ROUTE}


# --- what was lost of it ----------------------------------------------------------------------


@pytest.mark.parametrize("text", ["MetaRouter", "ServiceEntry", "DestinationRule"])
@virtual_time
async def test_what_is_less_than_whole_is_not_served_before_the_source_is_read(text: str) -> None:
    """Proxies would lose what is missing; silence takes nothing from them."""
    disk = await lived(*CANARY)
    disk.spoil(text)
    async with life(disk, LOST, whole=False) as second:
        await at(10 * GRACE)
        assert not second.serves
        await second.say(*said(*CANARY), SYNCED)
        assert second.names(GLOBAL, HTTP_ROUTES) == {ROUTE}
    assert disk.last_good.whole


@virtual_time
async def test_what_is_less_than_whole_is_not_served_on_the_word_of_an_empty_source() -> None:
    disk = await lived(*CANARY)
    disk.spoil("MetaRouter")
    async with life(disk, SYNCED, whole=False) as second:
        await at(10 * GRACE)
        assert not second.serves
        assert "holds nothing" in second.pipeline.sources["folder"].stale
        await second.say(*said(*CANARY))
        assert second.names(GLOBAL, HTTP_ROUTES) == {ROUTE}


@virtual_time
async def test_a_router_that_was_lost_holds_its_host_while_its_file_cannot_be_read() -> None:
    disk = Disk()
    others = said(service(), subsets(), OTHER_SERVICE)
    of_a_file = said(router("hello", "hello/v1"), origin="r.yaml")
    async with life(disk, *others, *of_a_file, SYNCED):
        pass
    disk.spoil("MetaRouter")
    broken = unreadable("r.yaml", hides=True)
    async with life(disk, *others, broken, SYNCED, whole=False) as second:
        assert second.names(GLOBAL, HTTP_ROUTES) == {OTHER_ROUTE}
        assert any("from before the restart" in line for line in second.problems)


# --- what is told -----------------------------------------------------------------------------


@virtual_time
async def test_nothing_is_kept_before_it_is_in_force() -> None:
    disk = await lived(*CANARY)
    before = dict(disk.rows)
    async with life(disk, *said(router("hello", "hello/v2"))) as second:
        assert disk.rows == before
        await second.say(*said(service(), subsets()), SYNCED)
    assert disk.rows != before
    assert disk.last_good.objects[key_of(router())].accepted == said(router("hello", "hello/v2"))[0]


@virtual_time
async def test_a_source_that_is_lost_takes_nothing_from_what_is_kept() -> None:
    disk = Disk()
    async with life(disk, *said(*CANARY, OTHER_SERVICE), SYNCED) as first:
        before = dict(disk.rows)
        await first.say(LOST)
        assert disk.rows == before
        await first.say(*gone(OTHER_SERVICE))  # by a source that is not lost
        assert disk.rows.keys() < before.keys()


@virtual_time
async def test_a_change_of_one_object_tells_of_that_object_only() -> None:
    disk = Disk()
    async with life(disk, *said(*CANARY, OTHER_SERVICE), SYNCED) as first:
        before = dict(disk.rows)
        await first.say(*said(router("hello", "hello/v2")))
        changed = [at for at, row in disk.rows.items() if before[at] is not row]
        assert changed == [("object", '["MetaRouter", "demo", "hello"]')]


@virtual_time
async def test_a_listener_is_in_force_right_after_the_restart() -> None:
    disk = await lived(*CANARY)
    async with life(disk, LOST) as second:
        scope = second.envoy().stream.scopes[0]
        await asyncio.sleep(0.1)
        assert second.names(scope, LISTENER) == {SOCKET}
