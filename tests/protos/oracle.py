"""Compares our generated classes with the official descriptors, field by field.

In: a class of `_proto` and the full name that it should have. Out: a line for every difference.
What is compared is what decides about bytes and JSON: names, numbers, types, presence, oneofs.
A slice may leave fields and enum values out; it may not say anything that is not so.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from typing import Any, Final

import betterproto2

import aeraki_xds._proto
from tests.official import load, message_classes

_SCALARS: Final = {
    1: "double", 2: "float", 3: "int64", 4: "uint64", 5: "int32", 6: "fixed64", 7: "fixed32",
    8: "bool", 9: "string", 12: "bytes", 13: "uint32", 15: "sfixed32", 16: "sfixed64",
    17: "sint32", 18: "sint64",
}  # fmt: skip
"""FieldDescriptor.TYPE_* by its name in .proto files."""


def enum_classes() -> Mapping[str, type[betterproto2.Enum]]:
    """Full name → class of every enum that we generate.

    A generated enum does not carry its name: nesting is joined into the class name. The official
    enum of the same package whose name joins to the same is meant; without one it is unknown.
    """
    load()
    found: dict[str, type[betterproto2.Enum]] = {}
    for info in pkgutil.walk_packages(aeraki_xds._proto.__path__, "aeraki_xds._proto."):
        package = info.name.removeprefix("aeraki_xds._proto.")
        for name, value in sorted(vars(importlib.import_module(info.name)).items()):
            is_enum = isinstance(value, type) and issubclass(value, betterproto2.Enum)
            if is_enum and value.__module__ == info.name:
                found[_official_enums(package).get(name.lower(), f"{package}.{name}")] = value
    return found


def _official_enums(package: str) -> dict[str, str]:
    """Joined lower-case name → full name, of the enums in the files that declare our messages."""
    names: dict[str, str] = {}
    for full_name in message_classes():
        if full_name.startswith(f"{package}."):
            for enum in _enums_of_file(_pool().FindMessageTypeByName(full_name).file):
                joined = enum.full_name.removeprefix(f"{package}.").replace(".", "").lower()
                names[joined] = enum.full_name
    return names


def _enums_of_file(file: Any) -> Iterator[Any]:
    yield from file.enum_types_by_name.values()
    waiting = list(file.message_types_by_name.values())
    while waiting:
        message = waiting.pop()
        yield from message.enum_types
        waiting += message.nested_types


def message_differences(cls: type[betterproto2.Message], full_name: str) -> list[str]:
    """Everything in which a message class differs from the official message of that name."""
    try:
        official = _pool().FindMessageTypeByName(full_name)
    except KeyError:
        return [f"{full_name}: there is no such message"]
    found: list[str] = []
    for field in fields_of(cls):
        theirs = official.fields_by_name.get(field.name)
        where = f"{full_name}.{field.name}"
        if theirs is None:
            found.append(f"{where}: there is no such field")
        else:
            ours = _ours(cls, field)
            found += [
                f"{where}: {what} is {ours[what]}, officially {value}"
                for what, value in _theirs(theirs).items()
                if ours[what] != value
            ]
    return found


def enum_differences(cls: type[betterproto2.Enum], full_name: str) -> list[str]:
    """Everything in which an enum class differs from the official enum of that name."""
    try:
        official = _pool().FindEnumTypeByName(full_name)
    except KeyError:
        return [f"{full_name}: there is no such enum"]
    theirs = {value.name: value.number for value in official.values}
    ours = {value.proto_name or value.name: int(value) for value in cls}
    return [
        f"{full_name}.{name}: is {number}, officially {theirs.get(name)}"
        for name, number in ours.items()
        if theirs.get(name) != number
    ]


def fields_of(cls: Any) -> tuple[dataclasses.Field[Any], ...]:
    """The fields of a generated class: each is a dataclass, though their base is not."""
    return dataclasses.fields(cls)


def _pool() -> Any:
    from google.protobuf import descriptor_pool

    load()
    return descriptor_pool.Default()


def _ours(cls: type[betterproto2.Message], field: dataclasses.Field[Any]) -> dict[str, object]:
    meta = betterproto2.FieldMetadata.get(field)
    shape: betterproto2.ProtoClassMetadata = cls._betterproto  # type: ignore[arg-type]
    value = shape.cls_by_field[field.name]
    if meta.map_meta is not None:
        key, inner = meta.map_meta
        value = shape.cls_by_field[f"{field.name}.value"]
        kind = f"map<{_type(key, str)}, {_type(inner, value)}>"
    else:
        kind = _type(meta, value)
    return {
        "number": meta.number,
        "type": kind,
        "repeated": _yes(meta.repeated),
        "presence": _yes(meta.optional),
        "oneof": meta.group or "none",
    }


def _type(meta: betterproto2.FieldMetadata, cls: type) -> str:
    if meta.proto_type == betterproto2.TYPE_MESSAGE:
        meant = meta.unwrap() if meta.unwrap is not None else cls
        return " or ".join(name for name, known in message_classes().items() if known is meant)
    if meta.proto_type == betterproto2.TYPE_ENUM:
        return " or ".join(name for name, known in enum_classes().items() if known is cls)
    return meta.proto_type


def _theirs(field: Any) -> dict[str, object]:
    message = field.message_type
    is_map = message is not None and message.GetOptions().map_entry
    if is_map:
        key, value = (message.fields_by_name[name] for name in ("key", "value"))
        kind = f"map<{_official_type(key)}, {_official_type(value)}>"
    else:
        kind = _official_type(field)
    oneof = field.containing_oneof
    # `optional` makes a oneof of one, named after its field; it is presence and nothing more.
    is_synthetic = oneof is not None and oneof.name == f"_{field.name}"
    return {
        "number": field.number,
        "type": kind,
        "repeated": _yes(field.is_repeated and not is_map),
        "presence": _yes(field.has_presence),
        "oneof": oneof.name if oneof is not None and not is_synthetic else "none",
    }


def _official_type(field: Any) -> str:
    described = field.message_type or field.enum_type
    return str(described.full_name) if described is not None else _SCALARS[field.type]


def _yes(value: object) -> str:
    return "yes" if value else "no"
