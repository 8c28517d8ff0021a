"""Resources and snapshots: versions follow content, and what did not change is shared."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aeraki_xds.xds.resource import CLUSTER, HTTP_ROUTES, LISTENER, Name, Resource, ResourceId
from aeraki_xds.xds.snapshot import Snapshot, View
from tests.xds.dialogue import cluster, listener, resource, routes

Changes = dict[ResourceId, Resource | None]


def adding(*resources: Resource) -> Changes:
    return {each.id: each for each in resources}


def removing(*resources: Resource) -> Changes:
    return {each.id: None for each in resources}


def holding(*resources: Resource) -> Snapshot:
    return Snapshot().changed_by(adding(*resources))[0]


# --- resources --------------------------------------------------------------------------------


def test_equal_bytes_have_an_equal_version() -> None:
    assert routes("r").version == routes("r").version
    assert len(routes("r").version) == 16


def test_a_version_depends_on_bytes_name_and_type() -> None:
    versions = {
        routes("r").version,
        routes("r", "2").version,
        routes("s").version,
        listener("r").version,
    }
    assert len(versions) == 4


def test_a_version_does_not_change_between_processes() -> None:
    assert routes("r").version == "3f7e274436576a1f"


# --- one snapshot -----------------------------------------------------------------------------


def test_a_publication_says_which_names_really_changed() -> None:
    before = holding(routes("r"), routes("s"), listener("l"))
    after, changed = before.changed_by(
        {**adding(routes("r"), routes("s", "2"), routes("t")), **removing(listener("l"))}
    )
    assert changed == {HTTP_ROUTES: frozenset({"s", "t"}), LISTENER: frozenset({"l"})}
    assert after.get(routes("s").id) == after.of(HTTP_ROUTES).resources[Name("s")]
    assert after.get(listener("l").id) is None


def test_equal_bytes_are_no_change_and_the_snapshot_stays_the_same_object() -> None:
    before = holding(routes("r"))
    after, changed = before.changed_by(adding(routes("r")))
    assert after is before
    assert changed == {}


def test_removing_what_is_not_there_is_no_change() -> None:
    before = holding(routes("r"))
    after, changed = before.changed_by(removing(routes("nobody"), cluster("nobody")))
    assert after is before
    assert changed == {}


def test_what_was_not_touched_is_shared() -> None:
    kept = routes("r")
    before = holding(kept, routes("s"), listener("l"))
    after, _ = before.changed_by(adding(routes("s", "2")))
    assert after.of(LISTENER) is before.of(LISTENER)
    assert after.get(kept.id) is kept


def test_an_equal_resource_keeps_the_object_that_was_there() -> None:
    kept = routes("r")
    after, _ = holding(kept).changed_by(adding(routes("r"), routes("s")))
    assert after.get(kept.id) is kept


def test_a_snapshot_never_changes() -> None:
    before = holding(routes("r"))
    version = before.of(HTTP_ROUTES).version
    before.changed_by({**adding(routes("s")), **removing(routes("r"))})
    assert list(before.of(HTTP_ROUTES).resources) == ["r"]
    assert before.of(HTTP_ROUTES).version == version


def test_many_changes_are_taken_in_step_by_step_to_the_same_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("aeraki_xds.xds.snapshot._PART", 2)
    before = holding(routes("a"), routes("b"), routes("c"), resource(CLUSTER, "x", "1"))
    changes = {
        **adding(routes("d"), resource(CLUSTER, "x", "2"), routes("a"), routes("e")),
        **removing(routes("c"), resource(CLUSTER, "y")),
    }
    *parts, (after, changed) = before.steps(changes)
    at_once, all_changed = before.changed_by(changes)

    assert len(parts) == 3
    assert changed == all_changed == {HTTP_ROUTES: {"c", "d", "e"}, CLUSTER: {"x"}}
    for type_url in (HTTP_ROUTES, CLUSTER):
        assert after.of(type_url).version == at_once.of(type_url).version
        assert dict(after.of(type_url).resources) == dict(at_once.of(type_url).resources)


def test_no_change_is_one_step() -> None:
    before = holding(routes("a"))
    assert list(before.steps({})) == [(before, {})]


bodies = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from("123"), max_size=6)


@given(bodies, bodies)
def test_07_the_version_of_a_type_depends_on_its_content_and_not_on_the_way_there(
    before: dict[str, str], after: dict[str, str]
) -> None:
    target = [resource(CLUSTER, name, text) for name, text in after.items()]
    detour, _ = holding(
        *(resource(CLUSTER, name, text) for name, text in before.items())
    ).changed_by({**removing(*(resource(CLUSTER, name) for name in before)), **adding(*target)})
    direct = holding(*reversed(target))
    assert detour.of(CLUSTER).version == direct.of(CLUSTER).version
    assert dict(detour.of(CLUSTER).resources).keys() == after.keys()


@given(bodies, bodies)
def test_07_different_content_has_a_different_version(
    one: dict[str, str], other: dict[str, str]
) -> None:
    first, second = (
        holding(*(resource(CLUSTER, name, text) for name, text in each.items()))
        for each in (one, other)
    )
    assert (first.of(CLUSTER).version == second.of(CLUSTER).version) == (one == other)


# --- several snapshots ------------------------------------------------------------------------


def test_a_view_is_ready_when_every_scope_is() -> None:
    view = View([holding(), None])
    assert not view.ready
    view.show((holding(), holding()))
    assert view.ready


def test_a_view_that_is_not_ready_shows_what_there_is() -> None:
    view = View([None, holding(routes("r"))])
    assert view.get(HTTP_ROUTES, Name("r")) is not None
    assert list(view.all(HTTP_ROUTES)) == ["r"]


def test_the_first_snapshot_that_holds_a_name_wins() -> None:
    own, shared = routes("r", "own"), routes("r", "shared")
    other = routes("s")
    view = View([holding(own), holding(shared, other)])
    assert view.get(HTTP_ROUTES, Name("r")) is own
    assert view.all(HTTP_ROUTES) == {"r": own, "s": other}
    assert view.get(HTTP_ROUTES, Name("t")) is None


def test_a_type_that_one_scope_has_is_not_copied() -> None:
    own = holding(routes("r"))
    view = View([holding(listener("l")), own])
    assert view.all(HTTP_ROUTES) is own.of(HTTP_ROUTES).resources.flat()
    assert view.all(CLUSTER) == {}


def test_07_the_version_of_a_view_changes_with_each_of_its_scopes() -> None:
    versions = {
        View([holding(*own), holding(*shared)]).version(HTTP_ROUTES)
        for own in ([routes("r")], [routes("r", "2")])
        for shared in ([routes("s")], [routes("s", "2")])
    }
    assert len(versions) == 4
    assert View([holding(routes("r"))]).version(HTTP_ROUTES) == routes("r").version


def test_07_what_another_scope_hides_has_no_part_in_a_version() -> None:
    seen = View([holding(routes("r")), holding(routes("r", "hidden"), routes("s"))])
    alike = View([holding(routes("r"), routes("s"))])
    assert seen.version(HTTP_ROUTES) == alike.version(HTTP_ROUTES)


def test_long_names_that_differ_only_at_their_end_have_versions_of_their_own() -> None:
    prefix = "n" * 100
    versions = {
        Resource.of(CLUSTER, Name(prefix + end), b"the same body").version for end in ("a", "b")
    }
    assert len(versions) == 2
