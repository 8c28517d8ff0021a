"""The store: what was last said of each object, and what really changed by it."""

from __future__ import annotations

from aeraki_xds.mesh.names import Kind
from aeraki_xds.mesh.objects import key_of
from aeraki_xds.mesh.store import Change, Store
from tests.mesh.kit import full, gone, refused, router, said, service, subsets

V1 = router("hello", "hello/v1")
V2 = router("hello", "hello/v2")
KEY = key_of(V1)
HELLO = frozenset({full("hello")})


def test_a_new_object_is_a_change_from_nothing() -> None:
    assert Store().apply(said(V1)) == (Change(key=KEY, after=V1),)


def test_another_version_of_an_object_is_a_change_from_the_earlier_one() -> None:
    store = Store()
    store.apply(said(V1))
    assert store.apply(said(V2)) == (Change(key=KEY, before=V1, after=V2),)


def test_a_deleted_object_is_a_change_to_nothing() -> None:
    store = Store()
    store.apply(said(V1))
    assert store.apply(gone(V1)) == (Change(key=KEY, before=V1),)
    assert not store.objects


def test_the_last_word_of_a_key_wins_and_is_said_once() -> None:
    changes = Store().apply([*said(V1), *refused(V1), *gone(V1), *said(V2)])
    assert changes == (Change(key=KEY, after=V2),)


def test_what_comes_and_goes_in_one_batch_changes_nothing() -> None:
    store = Store()
    store.apply(said(V1))
    assert store.apply([*said(V2), *said(V1)]) == ()
    assert store.apply([*gone(V1), *said(V1)]) == ()


def test_an_equal_object_ends_here() -> None:
    store = Store()
    store.apply(said(V1))
    assert store.apply(said(router("hello", "hello/v1"))) == ()


def test_an_equal_object_from_another_file_is_no_change_but_its_origin_is_known() -> None:
    store = Store()
    store.apply(said(V1))
    assert store.apply(said(V1, origin="other.yaml")) == ()
    assert store.accepted[KEY].origin == "other.yaml"


def test_deleting_what_was_never_there_changes_nothing() -> None:
    assert Store().apply(gone(V1)) == ()


def test_objects_of_one_batch_are_changes_of_their_own() -> None:
    changes = Store().apply(said(V1, service(), subsets()))
    assert [change.key for change in changes] == [
        KEY,
        key_of(service()),
        key_of(subsets()),
    ]


def test_a_rejected_object_leaves_its_last_good_version_in_force() -> None:
    store = Store()
    store.apply(said(V1))
    assert store.apply(refused(V1)) == ()
    assert store.objects[KEY] == V1
    assert KEY in store.rejected


def test_a_rejected_object_without_a_past_holds_the_hosts_that_it_names() -> None:
    store = Store()
    assert store.apply(refused(V1)) == (Change(key=KEY, held=HELLO),)
    assert KEY not in store.objects


def test_the_same_rejection_again_is_no_change() -> None:
    store = Store()
    store.apply(refused(V1))
    assert store.apply(refused(V1)) == ()


def test_a_rejection_that_names_other_hosts_holds_those() -> None:
    store = Store()
    store.apply(refused(V1))
    other = frozenset({full("other")})
    expected = Change(key=KEY, held_before=HELLO, held=other)
    assert store.apply(refused(V1, hosts=["other"])) == (expected,)


def test_a_valid_version_ends_the_rejection_and_the_hold() -> None:
    store = Store()
    store.apply(refused(V1))
    assert store.apply(said(V1)) == (Change(key=KEY, after=V1, held_before=HELLO),)
    assert not store.rejected


def test_deleting_a_rejected_object_ends_the_hold() -> None:
    store = Store()
    store.apply(refused(V1))
    assert store.apply(gone(V1)) == (Change(key=KEY, held_before=HELLO),)
    assert not store.rejected


def test_deleting_an_object_with_a_rejected_version_takes_both_away() -> None:
    store = Store()
    store.apply(said(V1))
    store.apply(refused(V1))
    assert store.apply(gone(V1)) == (Change(key=KEY, before=V1),)
    assert not store.rejected
    assert not store.objects
    assert not store.accepted


def test_an_object_rejected_after_its_deletion_has_no_past_to_stand_on() -> None:
    store = Store()
    store.apply(said(V1))
    assert store.apply([*gone(V1), *refused(V1)]) == (Change(key=KEY, before=V1, held=HELLO),)


def test_a_router_hides_its_hosts_while_it_is_rejected_without_any_and_never_was_in_force() -> None:
    store = Store()
    nameless = refused(V1, hosts=())
    store.apply(nameless)
    assert store.hidden_kinds() == {Kind.META_ROUTER}
    store.apply(said(V1))
    assert not store.hidden_kinds()
    store.apply(nameless)
    assert not store.hidden_kinds()
    store.apply(refused(router("other"), hosts=("other",)))
    assert not store.hidden_kinds()
    store.apply(refused(subsets("other"), hosts=()))
    assert not store.hidden_kinds()
