"""What the writer does to a cluster: to the test API server, over real sockets."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from aeraki_xds.ingest.kubernetes.client import ApiError, Cluster
from aeraki_xds.writeback.election import Timing
from aeraki_xds.writeback.objects import INSTANCE
from aeraki_xds.writeback.pace import Rate
from aeraki_xds.writeback.writer import WRITE
from tests.apiserver.faults import Answer, Cut, Delay, Faults, Truncate
from tests.apiserver.kit import until
from tests.apiserver.server import ApiServer
from tests.writeback.bench import Bench, at_work, writes_of
from tests.writeback.kit import (
    ROOT,
    STRICT,
    Json,
    a_manifest,
    envoy_filter,
    id_of,
    of_instance,
    virtual_service,
    worked_examples,
)


def there(api: ApiServer, manifest: Json) -> Json | None:
    return api.get(*id_of(manifest))


def spec_there(api: ApiServer, manifest: Json) -> object:
    found = there(api, manifest)
    return None if found is None else found["spec"]


def names(api: ApiServer, kind: str = "EnvoyFilter") -> set[str]:
    return {each["metadata"]["name"] for each in api.objects(kind)}


def many(count: int) -> list[Json]:
    return [envoy_filter(f"host-{n:03}") for n in range(count)]


# --- taking over, and writing -------------------------------------------------------------------


async def test_a_running_aerakis_objects_are_taken_over_without_a_write(
    api: ApiServer, tmp_path: Path
) -> None:
    objects = worked_examples()
    for each in objects:
        api.put(each, manager="Aeraki")
    entries = api.objects("EnvoyFilter")[0]["metadata"]["managedFields"]
    assert [(entry["manager"], entry["operation"]) for entry in entries] == [("Aeraki", "Update")]
    async with at_work(api, tmp_path, *objects) as bench:
        await bench.done()
        assert bench.writes == []
        assert bench.writer.state.pending == 0


async def test_what_is_wanted_is_made_as_it_is_wanted(api: ApiServer, tmp_path: Path) -> None:
    objects = worked_examples()
    async with at_work(api, tmp_path, *objects) as bench:
        await bench.done()
    assert len(writes_of(api)) == len(objects)
    for each in objects:
        found = there(api, each)
        assert found is not None
        assert found["spec"] == each["spec"]
        assert found["metadata"]["labels"] == {"manager": "Aeraki", INSTANCE: "ours"}
    assert {call.manager for call in writes_of(api)} == {"Aeraki"}


async def test_a_second_run_writes_nothing(api: ApiServer, tmp_path: Path) -> None:
    async with at_work(api, tmp_path, *many(5)) as bench:
        await bench.done()
    before = len(writes_of(api))
    async with at_work(api, tmp_path, *many(5)) as bench:
        await bench.done()
        assert len(bench.writes) == before == 5


async def test_listeners_are_opened_before_they_are_patched(api: ApiServer, tmp_path: Path) -> None:
    async with at_work(api, tmp_path, envoy_filter("a"), virtual_service()) as bench:
        await bench.done()
    assert [call.resource for call in writes_of(api)] == ["virtualservices", "envoyfilters"]


async def test_a_change_is_written_at_once_and_alone(api: ApiServer, tmp_path: Path) -> None:
    async with at_work(api, tmp_path, *many(5)) as bench:
        await bench.done()
        changed = envoy_filter("host-003", spec={"priority": 1})
        bench.want(*many(5)[:3], changed, many(5)[4])
        await until(lambda: spec_there(api, changed) == {"priority": 1})
        await bench.done()
        assert [call.verb for call in bench.writes[5:]] == ["update"]


async def test_an_update_leaves_nothing_behind_of_what_aeraki_or_anybody_set(
    api: ApiServer, tmp_path: Path
) -> None:
    """An apply would leave the label, and the filter would be for no proxy."""
    old = envoy_filter(spec={"workloadSelector": {"labels": {"app": "a"}}, "priority": 1})
    new = envoy_filter(spec={"workloadSelector": {"labels": {"version": "b"}}})
    api.put(old, manager="Aeraki")
    async with at_work(api, tmp_path, new) as bench:
        await bench.done()
        assert spec_there(api, new) == new["spec"]


async def test_labels_and_annotations_of_others_stay(api: ApiServer, tmp_path: Path) -> None:
    old = envoy_filter(labels={"manager": "Aeraki", "team": "shop"}, spec={"priority": 1})
    old["metadata"]["annotations"] = {"note": "x"}
    api.put(old, manager="Aeraki")
    async with at_work(api, tmp_path, envoy_filter()) as bench:
        await bench.done()
        found = there(api, old)
        assert found is not None
        assert found["spec"] == envoy_filter()["spec"]
        assert found["metadata"]["annotations"] == {"note": "x"}
        assert found["metadata"]["labels"] == {**of_instance("ours"), "team": "shop"}


async def test_the_version_in_which_a_kind_is_served_is_used(
    api: ApiServer, tmp_path: Path
) -> None:
    async with at_work(api, tmp_path, virtual_service(), envoy_filter()) as bench:
        await bench.done()
        assert [call.version for call in bench.writes] == ["v1", "v1alpha3"]


# --- what is not written ------------------------------------------------------------------------


async def test_nothing_is_written_before_everything_that_is_wanted_is_known(
    api: ApiServer, tmp_path: Path
) -> None:
    api.put(envoy_filter("old"), manager="Aeraki")
    async with at_work(api, tmp_path, envoy_filter("new"), complete=False) as bench:
        await until(lambda: all(each.is_whole for each in bench.planner.mirrors.values()))
        await until(lambda: not bench.planner.work.is_set())
        assert bench.writes == []
        assert not bench.writer.state.complete
        bench.want(envoy_filter("new"))
        await bench.done()
        assert [call.verb for call in bench.writes] == ["create", "delete"]


async def test_nothing_is_written_before_everything_that_is_there_is_known(
    api: ApiServer, tmp_path: Path
) -> None:
    async with Faults.started(api.url) as faults:
        faults.next(Answer(status=500), times=2, verb="list", resource="virtualservices")
        async with at_work(api, tmp_path, envoy_filter(), url=faults.url) as bench:
            await until(lambda: bench.writer.state.errors)
            assert bench.writes == []
            assert "VirtualService" in bench.writer.state.errors
            await bench.done()
            assert len(bench.writes) == 1
            assert not bench.writer.state.errors


async def test_who_does_not_lead_writes_nothing(api: ApiServer, tmp_path: Path) -> None:
    async with at_work(api, tmp_path, *many(3), leads=False) as bench:
        await until(lambda: bench.writer.state.pending == 3)
        assert bench.writes == []
        bench.leader.set(leads=True)
        await bench.done()
        assert len(bench.writes) == 3


async def test_a_lost_lock_stops_writing_between_two_objects(
    api: ApiServer, tmp_path: Path
) -> None:
    async with at_work(api, tmp_path, *many(6), leads=False) as bench:
        await until(lambda: bench.writer.state.pending == 6)
        bench.leader.holds = lambda: len(bench.writes) < 2
        bench.leader.set(leads=True)
        await until(lambda: len(bench.writes) == 2)
        await bench.replanned()
        assert bench.writer.state.pending == 4
        assert len(bench.writes) == 2


async def test_a_lock_that_is_lost_while_a_write_waits_for_its_turn_stops_it(
    api: ApiServer, tmp_path: Path
) -> None:
    async with at_work(api, tmp_path, *many(2), leads=False) as bench:
        await until(lambda: bench.writer.state.pending == 2)
        with bench.before_a_write():
            bench.leader.set(leads=True)
            await until(lambda: bench.writer.is_busy)
            bench.leader.set(leads=False)
        await bench.replanned()
        assert bench.writes == []


async def test_what_is_not_wanted_any_more_when_its_turn_comes_is_not_written(
    api: ApiServer, tmp_path: Path
) -> None:
    async with at_work(api, tmp_path, envoy_filter("a"), leads=False) as bench:
        await until(lambda: bench.writer.state.pending == 1)
        with bench.before_a_write():
            bench.leader.set(leads=True)
            await until(lambda: bench.writer.is_busy)
            bench.want(envoy_filter("b"))
        await bench.done()
        assert names(api) == {"aeraki-outbound-b-10.0.0.1-80"}
        assert len(bench.writes) == 1


async def test_another_instances_object_is_left_alone(api: ApiServer, tmp_path: Path) -> None:
    theirs = envoy_filter(labels=of_instance("theirs"), spec={"priority": 1})
    api.put(theirs, manager="Aeraki")
    api.put(envoy_filter("gone", labels=of_instance("theirs")), manager="Aeraki")
    async with at_work(api, tmp_path, envoy_filter()) as bench:
        await until(lambda: bench.writer.state.conflicts)
        assert bench.writes == []
        assert bench.writer.state.conflicts == (str(id_of(theirs)),)


async def test_an_object_of_a_wanted_name_that_bears_no_label_is_left_alone(
    api: ApiServer, tmp_path: Path
) -> None:
    by_hand = envoy_filter(labels={}, spec={"priority": 1})
    api.put(by_hand)
    async with at_work(api, tmp_path, envoy_filter(), envoy_filter("other")) as bench:
        await until(lambda: bench.writer.state.failures)
        await until(lambda: there(api, envoy_filter("other")))
        assert spec_there(api, by_hand) == {"priority": 1}
        [(name, reason)] = bench.writer.state.failures.items()
        assert name == str(id_of(by_hand))
        assert "somebody else's" in reason


async def test_who_does_not_adopt_leaves_what_has_no_label(api: ApiServer, tmp_path: Path) -> None:
    api.put(envoy_filter(spec={"priority": 1}), manager="Aeraki")
    async with at_work(api, tmp_path, envoy_filter(), install=STRICT) as bench:
        await until(lambda: bench.writer.state.conflicts)
        assert bench.writes == []


# --- deletions ----------------------------------------------------------------------------------


async def test_what_nobody_wants_any_more_goes(api: ApiServer, tmp_path: Path) -> None:
    async with at_work(api, tmp_path, *many(3)) as bench:
        await bench.done()
        bench.want(*many(2))
        await bench.done()
        assert names(api) == {each["metadata"]["name"] for each in many(2)}


async def test_a_mass_deletion_waits_and_goes_on_with_its_digest(
    api: ApiServer, tmp_path: Path
) -> None:
    async with at_work(api, tmp_path, *many(30)) as bench:
        await bench.done()
        bench.want(envoy_filter("new"))
        await until(lambda: bench.writer.state.waiting and there(api, envoy_filter("new")))
        assert len(names(api)) == 31
        state = bench.writer.state
        assert len(state.waiting) == 30
        assert not bench.writer.confirm("")
        assert not bench.writer.confirm("0" * len(state.digest))
        assert len(names(api)) == 31
        assert bench.writer.confirm(state.digest)
        await until(lambda: len(names(api)) == 1)
        await until(lambda: not bench.writer.state.waiting)


async def test_a_mass_deletion_in_small_parts_waits_too(api: ApiServer, tmp_path: Path) -> None:
    async with at_work(api, tmp_path, *many(16)) as bench:
        await bench.done()
        for left in range(15, 2, -1):
            bench.want(*many(left))
            await bench.replanned()
        await until(lambda: bench.writer.state.waiting)
        assert len(names(api)) == 6


async def test_a_host_that_stands_loses_nothing_even_between_plan_and_deletion(
    api: ApiServer, tmp_path: Path
) -> None:
    async with at_work(api, tmp_path, *many(2)) as bench:
        await bench.done()
        with bench.before_a_write():
            bench.want(*many(1))
            await until(lambda: bench.writer.is_busy)
            bench.want(*many(1), standing=("host-001",))
        await bench.done()
        assert len(names(api)) == 2


async def test_what_changed_since_it_was_read_is_not_deleted(
    api: ApiServer, tmp_path: Path
) -> None:
    """It is somebody else's by the time at which the server hears of the deletion."""
    async with (
        Faults.started(api.url) as faults,
        at_work(api, tmp_path, *many(2), url=faults.url) as bench,
    ):
        await bench.done()
        faults.next(Delay(seconds=1), verb="delete")
        bench.want(*many(1))
        await until(lambda: not faults.pending)
        theirs = envoy_filter("host-001", labels=of_instance("theirs"))
        api.put(theirs)
        await until(lambda: any(call.verb == "delete" for call in bench.writes))
        await until(lambda: bench.writer.state.pending == 0)
        assert there(api, theirs)
        assert bench.writer.counts.conflicts == 1


# --- repair -------------------------------------------------------------------------------------


@pytest.mark.parametrize("edit", [{"configPatches": [], "priority": 7}, {}])
async def test_an_edit_by_hand_is_repaired(api: ApiServer, tmp_path: Path, edit: Json) -> None:
    async with at_work(api, tmp_path, envoy_filter()) as bench:
        await bench.done()
        await until(lambda: api.watches("EnvoyFilter"))
        api.put(envoy_filter(spec=edit, labels=of_instance("ours")), manager="kubectl-edit")
        assert spec_there(api, envoy_filter()) == edit
        await until(lambda: spec_there(api, envoy_filter()) == envoy_filter()["spec"])


async def test_a_deletion_by_hand_is_repaired(api: ApiServer, tmp_path: Path) -> None:
    async with at_work(api, tmp_path, envoy_filter()) as bench:
        await bench.done()
        await until(lambda: api.watches("EnvoyFilter"))
        api.delete(*id_of(envoy_filter()))
        await until(lambda: there(api, envoy_filter()))


async def test_who_keeps_changing_it_back_is_answered_more_and_more_seldom(
    api: ApiServer, tmp_path: Path
) -> None:
    async with at_work(api, tmp_path, envoy_filter()) as bench:
        await bench.done()
        await until(lambda: api.watches("EnvoyFilter"))
        loop = asyncio.get_running_loop()
        since = loop.time()
        for _ in range(3):
            api.put(envoy_filter(spec={"priority": 1}), manager="them")
            await until(lambda: spec_there(api, envoy_filter()) == envoy_filter()["spec"])
        assert loop.time() - since > 0.8 + 1.6 + 3.2 - 1


async def test_edits_are_seen_again_after_the_watch_broke(api: ApiServer, tmp_path: Path) -> None:
    async with (
        Faults.started(api.url) as faults,
        at_work(api, tmp_path, envoy_filter(), url=faults.url) as bench,
    ):
        await bench.done()
        await faults.refuse()
        faults.cut_all()
        api.delete(*id_of(envoy_filter()))
        api.compact()
        await until(lambda: bench.planner.errors)
        await faults.accept()
        await until(lambda: there(api, envoy_filter()))


# --- failures -----------------------------------------------------------------------------------


async def test_a_namespace_that_is_not_there_is_reported_and_tried_again_slowly(
    tmp_path: Path,
) -> None:
    async with ApiServer.started(strict_namespaces=True) as api:
        api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ROOT}})
        clock = _Clock()
        objects = [envoy_filter(namespace="nowhere"), envoy_filter("z")]
        async with at_work(api, tmp_path, *objects, clock=clock) as bench:
            await until(lambda: there(api, objects[1]))
            await until(lambda: bench.writer.state.failures)
            [(name, reason)] = bench.writer.state.failures.items()
            assert name == str(id_of(objects[0]))
            assert '"nowhere" not found' in reason
            assert len(bench.writes) == 2
            clock.now += 20
            await bench.replanned()
            assert len(bench.writes) == 2
            api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "nowhere"}})
            clock.now += 20
            await bench.replanned()
            await bench.done()
            assert there(api, objects[0])
            assert not bench.writer.state.failures


class _Clock:
    """Monotonic seconds, by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("status", [403, 422, 500, 503])
async def test_an_object_that_fails_does_not_stop_the_others_and_is_tried_again(
    api: ApiServer, tmp_path: Path, status: int
) -> None:
    async with Faults.started(api.url) as faults:
        faults.next(Answer(status=status), verb="create")
        async with at_work(api, tmp_path, *many(4), url=faults.url) as bench:
            await until(lambda: len(names(api)) >= 3)
            await bench.done()
            assert len(names(api)) == 4
            assert bench.writer.counts.failures == 1


@pytest.mark.parametrize("fault", [Cut(at="request"), Cut(at="headers"), Cut(at="body", bytes=5)])
async def test_a_write_of_which_nobody_knows_is_found_out_about(
    api: ApiServer, tmp_path: Path, fault: Any
) -> None:
    async with Faults.started(api.url) as faults:
        faults.next(fault, verb="create")
        async with at_work(api, tmp_path, *many(3), url=faults.url) as bench:
            await bench.done()
            assert len(names(api)) == 3
            assert not bench.writer.state.failures
            assert not bench.writer.state.errors


async def test_a_server_that_wants_to_be_left_alone_is(api: ApiServer, tmp_path: Path) -> None:
    async with Faults.started(api.url) as faults:
        faults.next(Answer(status=429, retry_after=2), verb="create")
        async with at_work(api, tmp_path, *many(3), url=faults.url) as bench:
            await until(lambda: "API server" in bench.writer.state.errors)
            assert bench.writes == []
            since = asyncio.get_running_loop().time()
            await until(lambda: bench.writes)
            assert asyncio.get_running_loop().time() - since > 1.5
            await bench.done()
            assert not bench.writer.state.errors


async def test_who_was_faster_is_not_overwritten_unread(api: ApiServer, tmp_path: Path) -> None:
    """The label that somebody added between our read and our write is still there."""
    async with (
        Faults.started(api.url) as faults,
        at_work(api, tmp_path, envoy_filter(), url=faults.url) as bench,
    ):
        await bench.done()
        faults.next(Truncate(events=0), times=1000, verb="watch", resource="envoyfilters")
        api.end_watches()
        await until(lambda: not api.watches("EnvoyFilter"))
        labels = {**of_instance("ours"), "added": "meanwhile"}
        api.put(envoy_filter(labels=labels), manager="kubectl-label")
        bench.want(envoy_filter(spec={"priority": 1}))
        await until(lambda: spec_there(api, envoy_filter()) == {"priority": 1})
        found = there(api, envoy_filter())
        assert found is not None
        assert found["metadata"]["labels"]["added"] == "meanwhile"


async def test_a_crash_between_two_writes_converges(api: ApiServer, tmp_path: Path) -> None:
    old = [envoy_filter("gone"), envoy_filter("host-001", spec={"priority": 1})]
    for each in old:
        api.put(each, manager="Aeraki")
    for crash in range(1, 8):
        async with at_work(api, tmp_path, *many(4), rate=Rate(per_second=20, burst=1)) as bench:
            await _so_many(bench, crash)
    assert names(api) == {each["metadata"]["name"] for each in many(4)}
    assert len(writes_of(api)) == 5
    assert all(spec_there(api, each) == each["spec"] for each in many(4))


async def _so_many(bench: Bench, writes: int) -> None:
    await until(lambda: len(bench.writes) >= writes or bench.is_settled)


async def test_two_replicas_write_everything_once(api: ApiServer, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        first, second = [
            await stack.enter_async_context(at_work(api, tmp_path, *many(6), leads=n == 0))
            for n in range(2)
        ]
        await first.done()
        await until(lambda: second.writer.state.pending == 0)
        first.leader.set(leads=False)
        second.leader.set(leads=True)
        second.want(*many(7))
        await until(lambda: len(names(api)) == 7)
        assert len(first.writes) == 7


# --- what is said -------------------------------------------------------------------------------

SECRET = 'pass"word'


def with_a_password() -> Json:
    return a_manifest(
        "EnvoyFilter",
        "aeraki-outbound-redis-10.0.0.1-6379",
        ROOT,
        {"configPatches": [{"patch": {"value": {"auth": {"inlineString": SECRET}}}}]},
        None,
    )


async def test_no_password_is_said_even_if_the_api_server_quotes_it(
    api: ApiServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def refused(*_: object, **__: object) -> bytes:
        message = 'spec: Invalid value: "{\\"inlineString\\":\\"pass\\"word\\"}": pass"word is bad'
        raise ApiError(status=422, reason="Invalid", message=message)

    async with at_work(api, tmp_path, with_a_password(), leads=False) as bench:
        await until(lambda: bench.writer.state.pending)
        monkeypatch.setattr(Cluster, "send", refused)
        bench.leader.set(leads=True)
        await until(lambda: bench.writer.state.failures)
        said = repr(bench.writer.state) + repr(bench.planner.wanted) + "".join(capsys.readouterr())
        assert "Invalid" in said
        assert SECRET not in said
        assert "pass" not in said.replace("passing", "")


async def test_what_operators_see_tells_what_waits(api: ApiServer, tmp_path: Path) -> None:
    elsewhere = envoy_filter("old", namespace="shop")
    api.put(elsewhere, manager="Aeraki")
    async with at_work(api, tmp_path, *many(2), leads=False) as bench:
        await until(lambda: bench.writer.state.pending == 2)
        state = bench.writer.state
        assert (state.leads, state.complete, state.digest) == (False, True, "")
        assert state.unclaimed == (str(id_of(elsewhere)),)


def test_a_hang_is_given_up_before_the_lock_is_anybody_elses() -> None:
    timing = Timing()
    assert timing.lease - (timing.renew_deadline - timing.margin) > WRITE
