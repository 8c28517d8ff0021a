"""What the writer does to a real API server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.apiserver.faults import Faults, Truncate
from tests.cluster.kit import Hand, namespace, writing
from tests.cluster.real import Real
from tests.ingest.kubernetes.kit import until
from tests.writeback.kit import Json, envoy_filter, id_of, of_instance, worked_examples

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]


async def until_spec(hand: Hand, manifest: Json, spec: object) -> None:
    """Wait until an object has this spec; None is one that is not there."""
    await hand.until(manifest, lambda found: (found or {}).get("spec") == spec)


async def test_a_running_aerakis_objects_are_taken_over_without_a_write(
    real: Real, hand: Hand, tmp_path: Path
) -> None:
    objects = worked_examples()
    for name in {each["metadata"]["namespace"] for each in objects}:
        await hand.put(namespace(name))
    before = [await hand.put(each, manager="Aeraki") for each in objects]
    entries = before[0]["metadata"]["managedFields"]
    assert [(entry["manager"], entry["operation"]) for entry in entries] == [("Aeraki", "Update")]
    async with writing(real, tmp_path, *objects) as it:
        await it.done()
        assert it.written == (0, 0, 0)
    assert [await hand.get(each) for each in objects] == before


async def test_what_is_wanted_is_made_as_it_is_wanted_and_a_second_run_writes_nothing(
    real: Real, hand: Hand, tmp_path: Path
) -> None:
    objects = worked_examples()
    for name in {each["metadata"]["namespace"] for each in objects}:
        await hand.put(namespace(name))
    async with writing(real, tmp_path, *objects) as it:
        await it.done()
        assert it.written == (len(objects), 0, 0)
    for each in objects:
        found = await hand.get(each)
        assert found is not None
        assert found["spec"] == each["spec"]
        assert found["metadata"]["labels"] == of_instance("ours")
        (entry,) = found["metadata"]["managedFields"]
        assert (entry["manager"], entry["operation"]) == ("Aeraki", "Update")
    async with writing(real, tmp_path, *objects) as it:
        await it.done()
        assert it.written == (0, 0, 0)


async def test_changes_and_removals_follow_what_is_wanted(
    real: Real, hand: Hand, tmp_path: Path
) -> None:
    first, second = envoy_filter("a"), envoy_filter("b")
    async with writing(real, tmp_path, first, second) as it:
        await it.done()
        it.want(envoy_filter("a", spec={"priority": 1}))
        await until_spec(hand, first, {"priority": 1})
        await until_spec(hand, second, None)
        await it.done()
        assert it.written == (2, 1, 1)


async def test_an_update_takes_every_field_of_aerakis_and_of_others_and_leaves_labels(
    real: Real, hand: Hand, tmp_path: Path
) -> None:
    old = envoy_filter(
        spec={"workloadSelector": {"labels": {"app": "a"}}, "priority": 1},
        labels={"manager": "Aeraki", "team": "shop"},
    )
    old["metadata"]["annotations"] = {"note": "x"}
    await hand.put(old, manager="Aeraki")
    new = envoy_filter(spec={"workloadSelector": {"labels": {"version": "b"}}})
    async with writing(real, tmp_path, new) as it:
        await it.done()
        found = await hand.get(new)
        assert found is not None
        assert found["spec"] == new["spec"]
        assert found["metadata"]["labels"] == {**of_instance("ours"), "team": "shop"}
        assert found["metadata"]["annotations"] == {"note": "x"}
        assert it.written == (0, 1, 0)


async def test_edits_and_deletions_by_hand_are_repaired(
    real: Real, hand: Hand, tmp_path: Path
) -> None:
    wanted = envoy_filter()
    async with writing(real, tmp_path, wanted) as it:
        await it.done()
        edited = envoy_filter(spec={"priority": 7}, labels=of_instance("ours"))
        await hand.put(edited, manager="kubectl-edit")
        await until_spec(hand, wanted, wanted["spec"])
        await hand.delete(wanted)
        await until_spec(hand, wanted, wanted["spec"])


@pytest.mark.parametrize("change", ["update", "deletion"])
async def test_what_changed_since_it_was_read_is_neither_overwritten_nor_deleted(
    real: Real, hand: Hand, tmp_path: Path, change: str
) -> None:
    """The mirror does not hear of an edit: the server refuses, and we look again."""
    kept, wanted = envoy_filter("a"), envoy_filter("b")
    async with (
        Faults.started(real.url, tls=real.context) as faults,
        writing(real, tmp_path, kept, wanted, url=faults.url) as it,
    ):
        await it.done()
        faults.next(Truncate(events=0), times=100_000, verb="watch", resource="envoyfilters")
        faults.cut_all()
        await until(lambda: faults.pending < 100_000)
        theirs = envoy_filter("b", spec={"priority": 3}, labels=of_instance("theirs"))
        made = await hand.put(theirs)
        it.want(kept, *([envoy_filter("b", spec={"priority": 1})] * (change == "update")))
        await until(lambda: it.writer.counts.conflicts > 0)
        await until(lambda: it.writer.state.pending == 0)
        assert await hand.get(wanted) == made
        assert it.written == (2, 0, 0)


async def test_a_namespace_that_is_not_there_is_reported(
    real: Real, hand: Hand, tmp_path: Path
) -> None:
    lost, other = envoy_filter(namespace="nowhere"), envoy_filter("z")
    async with writing(real, tmp_path, lost, other) as it:
        await until_spec(hand, other, other["spec"])
        await until(lambda: len(it.writer.state.failures) == 1)
        assert dict(it.writer.state.failures) == {
            str(id_of(lost)): '404 NotFound: namespaces "nowhere" not found'
        }


async def test_writing_goes_on_over_a_restart_of_the_server(
    real: Real, hand: Hand, tmp_path: Path
) -> None:
    async with writing(real, tmp_path, envoy_filter("a")) as it:
        await it.done()
        async with real.down():
            it.want(envoy_filter("a"), envoy_filter("b"))
            await until(lambda: it.writer.state.pending == 1)
        await until_spec(hand, envoy_filter("b"), envoy_filter("b")["spec"])
        await it.done()
        assert await hand.get(envoy_filter("a"))
        assert len(await hand.objects("EnvoyFilter")) == 2
