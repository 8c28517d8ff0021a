"""The shape of a manifest: plain JSON in, a typed object out, or everything that does not fit.

Two ways to the same answer. The fast one is a single strict `msgspec.convert`, which nearly every
object passes. msgspec stops at the first fault, though, and tells null from absent; so whatever it
refuses is walked element by element along the same types (`msgspec.inspect`). The walk reports
every fault under its own field path, and on the way forgives what Kubernetes forgives: null for a
field is that field left out, unless the field may be null, and 1.0 is an integer. A null inside a
list or a map stays a fault, because dropping it would change what a route matches (specification
V5, V6, V13).

What does not fit is replaced by nothing of its type, so that the meaning of the rest can be judged
in the same pass (`follows_from` tells what is a mere consequence).

Guaranteed: no plain data, whatever it holds, makes this raise; no message quotes a Password.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec
from msgspec import inspect

from aeraki_xds.mesh.objects import Duration, Password
from aeraki_xds.mesh.problems import Problem, error

if TYPE_CHECKING:
    from collections.abc import Iterable

T = TypeVar("T", bound=msgspec.Struct)

_PLAIN_NAMES: Final[dict[type, str]] = {
    type(None): "null",
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "an object",
}
_QUOTABLE: Final = (bool, int, float)
"""What YAML makes of a plain word that the writer meant as a string: `version: 1.0`, `a: yes`."""
_SCALARS: Final[dict[type[inspect.Type], tuple[str, tuple[type, ...]]]] = {
    inspect.StrType: ("a string", (str,)),
    inspect.IntType: ("an integer", (int,)),
    inspect.FloatType: ("a number", (int, float)),
    inspect.BoolType: ("true or false", (bool,)),
    inspect.LiteralType: ("a string", ()),
}

_FROM_TEXT: Final[dict[type, tuple[str, Callable[[str], object]]]] = {
    Duration: ("a duration such as 100ms, 1m30s or 0.5s", Duration.parse),
    Password: ("a string", Password),
}
_BROKEN: Final = object()
"""In place of what does not fit."""
_NOTHING: Final[dict[type[inspect.Type], object]] = {
    inspect.StructType: {},
    inspect.StrType: "",
    inspect.IntType: 0,
    inspect.FloatType: 0.0,
    inspect.BoolType: False,
    inspect.DictType: {},
    inspect.VarTupleType: [],
}
"""What keeps the place of a broken member, so that its neighbours keep their index."""


def read(raw: object, into: type[T]) -> tuple[T | None, tuple[Problem, ...]]:
    """The object that `raw` describes and what does not fit.

    With problems the object is what is left, only good to look for further ones; None if not even
    that can be made.
    """
    try:
        return msgspec.convert(raw, into, dec_hook=_custom), ()
    except msgspec.ValidationError:
        pass  # said better, and completely, by the walk
    walk = _Walk()
    plain = walk.value(raw, _struct_type(into), "")
    try:
        return msgspec.convert(plain, into, dec_hook=_custom), tuple(walk.problems)
    except msgspec.ValidationError as refusal:  # something required is missing, as was said
        return None, tuple(walk.problems) or (error("", str(refusal)),)


def follows_from(problem: Problem, faults: Iterable[Problem]) -> bool:
    """Whether a problem of meaning may be due to a fault of shape: it is about the object that
    holds the fault, something in it, or something around it."""
    field = problem.field
    holders = (fault.field.rpartition(".")[0] for fault in faults)
    return any(_within(field, holder) or _within(holder, field) for holder in holders)


def _within(field: str, holder: str) -> bool:
    rest = field.removeprefix(holder)
    return not holder or (field.startswith(holder) and rest[:1] in ("", ".", "["))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean `x`?`, or nothing if no known word is near."""
    folded = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(word.casefold(), folded, n=1, cutoff=0.7)
    return f"; did you mean `{folded[near[0]]}`?" if near else ""


def is_a(raw: object) -> str:
    """What a plain value is, in words."""
    return _PLAIN_NAMES.get(type(raw), f"a {type(raw).__name__}")


def must_be(expected: str, raw: object) -> str:
    """The message about a value of another type."""
    hint = ": quote it" if expected == "a string" and isinstance(raw, _QUOTABLE) else ""
    return f"must be {expected}, is {is_a(raw)}{hint}"


def _custom(kind: type, raw: object) -> object:
    """msgspec's way to types that are not its own: an error raised here becomes a refusal."""
    if kind is object:
        return raw  # kept as plain JSON, to be read later by who knows what it means
    if kind not in _FROM_TEXT:
        raise NotImplementedError(kind)  # the object model uses a type that nobody reads
    expected, parse = _FROM_TEXT[kind]
    if not isinstance(raw, str):
        refusal = must_be(expected, raw)
        raise TypeError(refusal)  # msgspec reads ValueError and TypeError alike
    return parse(raw)


@cache
def _struct_type(struct: type[msgspec.Struct]) -> inspect.StructType:
    found = inspect.type_info(struct)
    assert isinstance(found, inspect.StructType)
    return found


@cache
def _fields(struct: type[msgspec.Struct]) -> dict[str, inspect.Field]:
    """The fields of a Struct by the names that manifests use."""
    return {field.encode_name: field for field in _struct_type(struct).fields}


class _Walk:
    """One pass over one value: collects the faults, returns the value without nulls."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def value(self, raw: object, kind: inspect.Type, path: str) -> object:
        """`raw` as far as it fits `kind`; what does not fit is reported and becomes _BROKEN."""
        match kind:
            case inspect.StructType():
                return self._struct(raw, kind, path)
            case inspect.VarTupleType():
                return self._list(raw, kind, path)
            case inspect.DictType():
                return self._map(raw, kind, path)
            case inspect.UnionType():  # only `X | None`, and null was dealt with by the caller
                (inner,) = (t for t in kind.types if not isinstance(t, inspect.NoneType))
                return self.value(raw, inner, path)
            case _:
                return self._scalar(raw, kind, path)

    def _struct(self, raw: object, kind: inspect.StructType, path: str) -> object:
        if not isinstance(raw, Mapping):
            return self._refuse(path, must_be("an object", raw))
        fields = _fields(kind.cls)
        for name in raw:
            if name not in fields and kind.forbid_unknown_fields:
                self._unknown(path, name, fields)
        plain: dict[str, object] = {}
        for name, field in fields.items():
            value = raw.get(name)
            if value is None and name in raw and _may_be_null(field.type):
                plain[name] = None
            elif value is not None:  # null counts as absent
                read = self.value(value, field.type, _below(path, name))
                if read is not _BROKEN:
                    plain[name] = read
            elif field.required:
                self.problems.append(error(_below(path, name), "is missing"))
        return plain

    def _unknown(self, path: str, name: object, fields: Mapping[str, inspect.Field]) -> None:
        known = sorted(fields)
        if any(_is_password(field.type) for field in fields.values()):
            message = f"has an unknown field (known: {', '.join(known)})"
            self.problems.append(error(path, message))
            return
        message = f"unknown field `{name}`{did_you_mean(str(name), known)}"
        self.problems.append(
            error(_below(path, str(name)), f"{message} (known: {', '.join(known)})")
        )

    def _list(self, raw: object, kind: inspect.VarTupleType, path: str) -> object:
        if not isinstance(raw, Sequence) or isinstance(raw, (str, bytes)):
            return self._refuse(path, must_be("a list", raw))
        return [self._member(item, kind.item_type, f"{path}[{i}]") for i, item in enumerate(raw)]

    def _map(self, raw: object, kind: inspect.DictType, path: str) -> object:
        if not isinstance(raw, Mapping):
            return self._refuse(path, must_be("an object", raw))
        plain = {}
        for key, item in raw.items():
            where = f"{path}[{key}]"
            if item is None and _is_password(kind.value_type):
                where = f"{path}[…]"
            if not isinstance(key, str):
                self.problems.append(error(where, f"the key {must_be('a string', key)}"))
                continue
            plain[key] = self._member(item, kind.value_type, where)
        return plain

    def _member(self, raw: object, kind: inspect.Type, path: str) -> object:
        if raw is None and not (isinstance(kind, inspect.CustomType) and kind.cls is object):
            read = self._refuse(path, "must not be null: fill it in or remove the entry")
        else:
            read = self.value(raw, kind, path)
        return _NOTHING.get(type(kind)) if read is _BROKEN else read

    def _scalar(self, raw: object, kind: inspect.Type, path: str) -> object:
        match kind:
            case inspect.CustomType():
                return self._custom(raw, kind, path)
            case inspect.LiteralType() if isinstance(raw, str):
                return self._choice(raw, [str(value) for value in kind.values], path)
            case inspect.IntType() if isinstance(raw, float):
                if raw.is_integer():
                    return int(raw)
                return self._refuse(path, f"must be an integer, is {raw}")
            case inspect.FloatType() if isinstance(raw, int) and abs(raw) > sys.float_info.max:
                return self._refuse(path, "is too large")
        expected, fits = _SCALARS[type(kind)]
        if isinstance(raw, fits) and (bool in fits or not isinstance(raw, bool)):
            return raw
        return self._refuse(path, must_be(expected, raw))

    def _choice(self, raw: str, known: list[str], path: str) -> object:
        if raw in known:
            return raw
        hint = did_you_mean(raw, known)
        return self._refuse(path, f"must be one of {', '.join(known)}, is {raw!r}{hint}")

    def _custom(self, raw: object, kind: inspect.CustomType, path: str) -> object:
        try:
            _custom(kind.cls, raw)
        except (TypeError, ValueError) as refusal:
            return self._refuse(path, str(refusal))
        return raw

    def _refuse(self, path: str, message: str) -> object:
        self.problems.append(error(path, message))
        return _BROKEN


def _may_be_null(kind: inspect.Type) -> bool:
    return isinstance(kind, inspect.UnionType) and inspect.NoneType() in kind.types


def _is_password(kind: inspect.Type) -> bool:
    """Whether a name at its place may be the word itself: to YAML, `{password:word}` is a name
    without a value."""
    match kind:
        case inspect.CustomType():
            return kind.cls is Password
        case inspect.UnionType():
            return any(map(_is_password, kind.types))
        case _:
            return False


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
