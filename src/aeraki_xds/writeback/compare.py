"""Whether two specs mean the same, and where they do not.

In: two values of JSON. Out: the paths of the fields that differ, never a value: there may be
passwords. Each object that is written needlessly makes istiod push listeners, so what only looks
different is no difference: 5 and 5.0, and for Aeraki the order of matchers, which it wrote at
random (specification, M-13).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import orjson

_MATCHERS: Final = frozenset({"headers", "metadata"})
"""Lists of named matchers: all of them have to match, in any order."""


def differences(
    wanted: object, found: object, path: str = "", *, any_order: bool = False
) -> Iterator[str]:
    """The fields that differ. With `any_order` matchers may be in any."""
    match wanted, found:
        case Mapping(), Mapping():
            yield from _of_mappings(wanted, found, path, any_order=any_order)
        case list(), list():
            yield from _of_lists(wanted, found, path, any_order=any_order)
        case _:
            if not _is_same(wanted, found):
                yield path


def _of_mappings(
    wanted: Mapping[str, object], found: Mapping[str, object], path: str, *, any_order: bool
) -> Iterator[str]:
    for name in sorted(wanted.keys() | found.keys()):
        below = f"{path}.{name}" if path else name
        if name not in wanted or name not in found:
            yield below
            continue
        one, other = wanted[name], found[name]
        if any_order and name in _MATCHERS:
            one, other = _sorted(one), _sorted(other)
        yield from differences(one, other, below, any_order=any_order)


def _of_lists(
    wanted: Sequence[object], found: Sequence[object], path: str, *, any_order: bool
) -> Iterator[str]:
    for n, (one, other) in enumerate(zip(wanted, found, strict=False)):
        yield from differences(one, other, f"{path}[{n}]", any_order=any_order)
    for n in range(*sorted((len(wanted), len(found)))):
        yield f"{path}[{n}]"


def _is_same(wanted: object, found: object) -> bool:
    """Equal numbers are the same, and `true` is no number."""
    return wanted == found and isinstance(wanted, bool) == isinstance(found, bool)


def _sorted(value: object) -> object:
    """A list of named things by name; anything else as it is."""
    if not isinstance(value, list) or not all(_is_named(each) for each in value):
        return value
    return sorted(value, key=lambda each: (each["name"], orjson.dumps(each, option=_SORTED)))


_SORTED: Final = orjson.OPT_SORT_KEYS


def _is_named(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("name"), str)
