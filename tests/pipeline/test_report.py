"""The report: everything that is wrong, each thing once, on lines that people and scripts read."""

from __future__ import annotations

from aeraki_xds.ingest.event import Unreadable
from aeraki_xds.mesh.change import Upsert
from aeraki_xds.mesh.objects import key_of
from aeraki_xds.mesh.problems import Finding, error, warning
from aeraki_xds.mesh.store import Store
from aeraki_xds.pipeline.report import entries
from tests.mesh.kit import refused, router, said, service

KEY = key_of(router())


def test_a_line_is_file_object_field_and_message() -> None:
    store = Store()
    store.apply(refused(router(), origin="a/mesh.yaml"))
    (entry,) = entries(store, [], [])
    assert str(entry) == "a/mesh.yaml: MetaRouter/demo/hello: spec.routes[0]: cannot be read"
    assert entry.is_error
    assert not entry.in_force


def test_a_warning_is_marked_as_one() -> None:
    store = Store()
    item = service()
    problem = warning("spec.ports[0].name", "is odd")
    store.apply([Upsert(key=key_of(item), item=item, origin="f", problems=(problem,))])
    (entry,) = entries(store, [], [])
    assert str(entry) == "f: ServiceEntry/demo/hello: spec.ports[0].name: warning: is odd"
    assert not entry.is_error
    assert entry.in_force


def test_a_problem_of_the_object_as_a_whole_has_no_field() -> None:
    finding = Finding(key=KEY, problem=error("", "makes no sense"))
    store = Store()
    store.apply(said(router(), origin="f"))
    assert [str(entry) for entry in entries(store, [], [finding])] == [
        "f: MetaRouter/demo/hello: makes no sense"
    ]


def test_a_file_that_cannot_be_read_is_a_line_without_an_object() -> None:
    said_of_file = Unreadable(origin="bad.yaml", problems=(error("", "line 1: no YAML"),))
    (entry,) = entries(Store(), [said_of_file], [])
    assert str(entry) == "bad.yaml: line 1: no YAML"


def test_a_rejected_version_of_an_object_in_force_says_so() -> None:
    store = Store()
    store.apply(said(router()))
    store.apply(refused(router()))
    assert [entry.in_force for entry in entries(store, [], [])] == [True]


def test_warnings_of_the_last_good_version_are_not_said_while_a_newer_one_is_rejected() -> None:
    store = Store()
    item = router()
    store.apply([Upsert(key=KEY, item=item, origin="f", problems=(warning("spec", "old news"),))])
    store.apply(refused(item))
    assert [entry.problem.message for entry in entries(store, [], [])] == ["cannot be read"]


def test_what_two_recipes_find_is_one_entry() -> None:
    store = Store()
    store.apply(said(router(), origin="f"))
    finding = Finding(key=KEY, problem=error("spec", "wrong"))
    assert len(entries(store, [], [finding, finding])) == 1


def test_entries_are_sorted_by_file_and_object() -> None:
    store = Store()
    store.apply(said(router("b"), origin="2.yaml"))
    store.apply(said(router("a"), origin="1.yaml"))
    findings = [
        Finding(key=key_of(router(host)), problem=error("spec", "wrong")) for host in ("b", "a")
    ]
    assert [entry.origin for entry in entries(store, [], findings)] == ["1.yaml", "2.yaml"]
