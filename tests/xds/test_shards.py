"""A mapping in shards is a mapping, whatever is done to it; what it came from stays as it was."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from aeraki_xds.xds import HTTP_ROUTES, Name, Resource
from aeraki_xds.xds.shards import EMPTY, Shards

NAMES = st.integers(0, 999).map(lambda number: Name(f"name-{number}"))
RESOURCES = st.integers(0, 3).map(lambda n: Resource.of(HTTP_ROUTES, Name("r"), bytes((n,))))
CHANGES = st.dictionaries(NAMES, st.none() | RESOURCES)


def applied(
    before: Mapping[Name, Resource], changes: Mapping[Name, Resource | None]
) -> dict[Name, Resource]:
    both: dict[Name, Resource | None] = {**before, **changes}
    return {name: resource for name, resource in both.items() if resource is not None}


def holds(shards: Shards, expected: dict[Name, Resource]) -> bool:
    assert len(shards) == len(expected)
    assert bool(shards) is bool(expected)
    assert sorted(shards) == sorted(expected)
    assert all(shards[name] is shards.get(name) is expected[name] for name in expected)
    assert all((Name(f"name-{n}") in shards) is (f"name-{n}" in expected) for n in range(1000))
    assert shards.get(Name("nobody")) is None
    return shards.flat() is shards.flat() and shards.flat() == expected


@given(st.dictionaries(NAMES, RESOURCES), st.lists(CHANGES, max_size=5))
def test_it_is_what_a_dict_would_be(
    first: dict[Name, Resource], later: list[dict[Name, Resource | None]]
) -> None:
    shards, expected = Shards.of(first), first
    assert holds(shards, expected)
    for changes in later:
        before, expected_before = shards, expected
        shards, expected = shards.changed_by(changes), applied(expected, changes)
        assert holds(shards, expected)
        assert holds(before, expected_before)


def test_a_change_copies_no_more_than_it_touches() -> None:
    made = {Name(f"name-{n}"): Resource.of(HTTP_ROUTES, Name("r"), b"") for n in range(10_000)}
    before = Shards.of(made)
    after = before.changed_by({Name("name-7"): None})
    copied = [
        len(new) for old, new in zip(before._dicts, after._dicts, strict=True) if old is not new
    ]
    assert len(copied) == 1
    assert copied[0] < 200
    assert len(EMPTY) == 0
