"""The custom resource definitions: their schemas, and what they accept.

That an API server takes them, with what their rules may cost, was tried with the packages of
Kubernetes itself (1.33); here is what keeps them so. What they refuse is in test_crd_rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import yaml
from msgspec import inspect

from aeraki_xds.ingest.decode import decode
from aeraki_xds.mesh.change import Upsert
from aeraki_xds.mesh.names import Kind
from aeraki_xds.mesh.objects import CLUSTER_SCOPED, OBJECT_TYPES, Duration, Password
from tests.deploy.admission import (
    DEFINITIONS,
    RULES,
    Schema,
    dropped,
    refusals,
    schema_of,
    schemas,
)
from tests.manifests import (
    APPLICATION_PROTOCOL,
    DUBBO_POLICY,
    META_ROUTER,
    REDIS_DESTINATION,
    REDIS_SERVICE,
)

ROOT: Final = Path(__file__).parents[2]
KINDS: Final = {Kind(kind): group for group, kind in OBJECT_TYPES if group.endswith(".aeraki.io")}
of_each_kind = pytest.mark.parametrize("kind", KINDS)

FORBIDDEN: Final = {
    *("$ref", "definitions", "dependencies", "deprecated", "discriminator", "id", "readOnly"),
    *("patternProperties", "uniqueItems", "writeOnly", "xml", "required", "default"),
    "x-kubernetes-int-or-string",
}
"""What a structural schema may not have, and of ours none has."""

JUNCTORS: Final = {"allOf", "anyOf", "oneOf", "not"}


@of_each_kind
def test_there_is_a_definition_of_each_kind_with_the_names_that_aeraki_gave_it(kind: Kind) -> None:
    definition = DEFINITIONS[kind]
    names = definition["spec"]["names"]
    assert definition["metadata"]["name"] == f"{names['plural']}.{KINDS[kind]}"
    assert definition["spec"]["group"] == KINDS[kind]
    cluster_wide = kind in CLUSTER_SCOPED
    assert definition["spec"]["scope"] == ("Cluster" if cluster_wide else "Namespaced")
    assert (names["listKind"], names["singular"]) == (f"{kind}List", kind.lower())
    short = {
        "RedisService": ["rsvc"],
        "RedisDestination": ["rd"],
        "DubboAuthorizationPolicy": ["dap"],
    }
    assert names.get("shortNames", []) == short.get(kind, [])
    family = f"{KINDS[kind].partition('.')[0]}-aeraki-io"
    assert names["categories"] == [family] if family == "redis-aeraki-io" else ["aeraki-io", family]
    (version,) = definition["spec"]["versions"]
    assert (version["name"], version["served"], version["storage"]) == ("v1alpha1", True, True)
    assert version["subresources"] == {"status": {}}


@of_each_kind
def test_a_schema_is_structural_and_explains_every_field(kind: Kind) -> None:
    for path, schema in schemas(schema_of(kind)):
        assert isinstance(schema.get("type"), str), path
        assert schema.get("description") or path == ".metadata", path
        assert not schema.keys() & FORBIDDEN, path
        assert not {"properties", "additionalProperties"} <= schema.keys(), path
        assert ("items" in schema) == (schema["type"] == "array"), path
        for junctor in JUNCTORS & schema.keys():
            assert set(words(schema[junctor])) <= {"not", "anyOf", "required"}, path


def words(junctor: Any) -> Iterator[str]:
    for branch in junctor if isinstance(junctor, list) else [junctor]:
        for word, inner in branch.items():
            yield word
            if word in JUNCTORS:
                yield from words(inner)


@of_each_kind
def test_a_schema_has_exactly_the_fields_that_we_read_with_their_types(kind: Kind) -> None:
    spec = schema_of(kind)["properties"]["spec"]
    struct = spec_of(kind)
    assert outline(spec) == outline_of(inspect.type_info(struct))
    status = schema_of(kind)["properties"]["status"]
    assert status["x-kubernetes-preserve-unknown-fields"] is True


def spec_of(kind: Kind) -> type[msgspec.Struct]:
    fields = msgspec.structs.fields(OBJECT_TYPES[KINDS[kind], kind])
    spec: type[msgspec.Struct] = next(each.type for each in fields if each.name == "spec")
    return spec


def outline(schema: Schema) -> Any:
    """The types of a schema and nothing else, as `outline_of` writes them."""
    match schema["type"]:
        case "object" if "properties" in schema:
            return {name: outline(below) for name, below in schema["properties"].items()}
        case "object":
            return ("each", outline(schema["additionalProperties"]))
        case "array":
            return [outline(schema["items"])]
        case "string" if "enum" in schema:
            return frozenset(schema["enum"])
        case scalar:
            return (scalar, schema.get("nullable", False))


def outline_of(read: inspect.Type) -> Any:
    """The types that a Struct is read from. Only wrappers of integers may be null, as in Aeraki."""
    match read:
        case inspect.UnionType(types=types):
            (held,) = [each for each in types if not isinstance(each, inspect.NoneType)]
            return ("integer", True) if isinstance(held, inspect.IntType) else outline_of(held)
        case inspect.StructType(fields=fields):
            return {each.encode_name: outline_of(each.type) for each in fields}
        case inspect.VarTupleType(item_type=item):
            return [outline_of(item)]
        case inspect.DictType(value_type=value):
            return ("each", outline_of(value))
        case inspect.LiteralType(values=values):
            return frozenset(values)
        case inspect.CustomType(cls=cls) if cls in (Duration, Password):
            return ("string", False)
        case inspect.StrType():
            return ("string", False)
        case inspect.IntType():
            return ("integer", False)
        case inspect.FloatType():
            return ("number", False)
        case inspect.BoolType():
            return ("boolean", False)
        case _:
            raise AssertionError(read)


def test_what_is_one_type_to_us_has_one_schema_wherever_it_is() -> None:
    """Definitions cannot share a part, so it is written in several places."""
    written: dict[type, dict[str, str]] = {}
    for kind in KINDS:
        info = inspect.type_info(spec_of(kind))
        for path, struct, schema in typed(info, schema_of(kind)["properties"]["spec"], kind):
            shown = yaml.safe_dump(undescribed(schema, outermost=True))
            written.setdefault(struct, {}).setdefault(shown, path)
    assert [list(places.values()) for places in written.values() if len(places) > 1] == []


def typed(read: inspect.Type, schema: Schema, path: str) -> Iterator[tuple[str, type, Schema]]:
    match read:
        case inspect.UnionType(types=types):
            for each in types:
                yield from typed(each, schema, path)
        case inspect.StructType(cls=cls, fields=fields):
            yield path, cls, schema
            for field in fields:
                below = schema["properties"][field.encode_name]
                yield from typed(field.type, below, f"{path}.{field.encode_name}")
        case inspect.VarTupleType(item_type=item):
            yield from typed(item, schema["items"], f"{path}[*]")
        case inspect.DictType(value_type=value):
            yield from typed(value, schema["additionalProperties"], f"{path}[*]")


def undescribed(schema: Any, *, outermost: bool = False) -> Any:
    """Without what is said of the whole, which depends on the place."""
    return {name: each for name, each in schema.items() if name != "description" or not outermost}


@of_each_kind
def test_the_columns_that_kubectl_prints_are_fields(kind: Kind) -> None:
    (version,) = DEFINITIONS[kind]["spec"]["versions"]
    columns = {column["name"]: column["jsonPath"] for column in version["additionalPrinterColumns"]}
    assert columns.pop("Age") == ".metadata.creationTimestamp"
    known = {path for path, _ in schemas(schema_of(kind))}
    assert columns
    assert set(columns.values()) <= known


@of_each_kind
def test_what_a_rule_is_asked_about_is_bounded(kind: Kind) -> None:
    """The API server reckons with the largest sizes, and refuses rules that could take long."""
    for path, schema in schemas(schema_of(kind)):
        if any(RULES in below for _, below in schemas(schema)):
            bounds = {"array": "maxItems", "string": "maxLength"}
            bound = bounds.get(schema["type"])
            assert bound is None or bound in schema, path
            assert "additionalProperties" not in schema or "maxProperties" in schema, path


@of_each_kind
def test_nothing_is_demanded_of_the_root(kind: Kind) -> None:
    """A rule there would be asked when only a label or a finalizer changes."""
    assert [path for path, schema in schemas(schema_of(kind)) if RULES in schema and not path] == []


@pytest.mark.parametrize(
    "manifest",
    [META_ROUTER, APPLICATION_PROTOCOL, REDIS_SERVICE, REDIS_DESTINATION, DUBBO_POLICY],
    ids=lambda manifest: str(manifest["kind"]),
)
def test_an_object_with_every_field_is_accepted_whole(manifest: dict[str, Any]) -> None:
    assert_accepted_whole(manifest)


def ours() -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of our kinds in the examples and in the golden cases that validation accepts."""
    for file in sorted([*ROOT.glob("examples/*/*.yaml"), *ROOT.glob("tests/golden/*/input*.yaml")]):
        for document in yaml.safe_load_all(file.read_text(encoding="utf-8")):
            is_ours = isinstance(document, dict) and document.get("kind") in KINDS
            if is_ours and isinstance(decode(document, origin=file.name), Upsert):
                name = document["metadata"]["name"]
                yield f"{file.parent.name}/{document['kind']}/{name}", document


OURS: Final = list(ours())


@pytest.mark.parametrize("document", [document for _, document in OURS], ids=[id for id, _ in OURS])
def test_what_validation_accepts_is_accepted_whole(document: dict[str, Any]) -> None:
    assert_accepted_whole(document)


def test_objects_of_every_kind_are_tried() -> None:
    assert {document["kind"] for _, document in OURS} == set(KINDS)
    assert len(OURS) > 50


def assert_accepted_whole(document: dict[str, Any]) -> None:
    assert refusals(document) == []
    assert list(dropped(schema_of(document["kind"]), document)) == []
