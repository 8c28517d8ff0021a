"""What an API server would say to an object, by the definitions in deploy/crds.

In: an object as YAML reads it. Out: why it would be refused, and which fields would be dropped.
The schema is asked of jsonschema, the rules of an interpreter of CEL; what Kubernetes has beyond
CEL itself and our rules use is `sum`, given to it here. As in Kubernetes a rule does not see a
null, and one that cannot be evaluated refuses.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import cel
import yaml
from jsonschema import Draft4Validator

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
RULES: Final = "x-kubernetes-validations"

Schema = dict[str, Any]
Rule = tuple[str, str]
"""The path of the schema that has it, and its expression."""


def definitions() -> dict[str, Schema]:
    """The custom resource definitions, by kind."""
    read = [
        yaml.safe_load(file.read_text(encoding="utf-8"))
        for file in sorted((DEPLOY / "crds").glob("*.yaml"))
    ]
    return {each["spec"]["names"]["kind"]: each for each in read}


DEFINITIONS: Final = definitions()


def schema_of(kind: str) -> Schema:
    """The schema of the one version of a kind."""
    (version,) = DEFINITIONS[kind]["spec"]["versions"]
    schema: Schema = version["schema"]["openAPIV3Schema"]
    return schema


def schemas(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """A schema and all that it consists of, each with its path."""
    yield path, schema
    for name, below in schema.get("properties", {}).items():
        yield from schemas(below, f"{path}.{name}")
    for word in ("items", "additionalProperties"):
        if word in schema:
            yield from schemas(schema[word], f"{path}[*]")


def refusals(document: dict[str, Any]) -> list[str]:
    """Why the object is refused; the rules are only asked of what has the shape."""
    schema = schema_of(document["kind"])
    shape = Draft4Validator(_in_json_schema(schema))
    wrong = [f"{error.json_path}: {error.message}" for error in shape.iter_errors(document)]
    return wrong or [message for _, message in broken(schema, document)]


def broken(schema: Schema, value: Any, path: str = "") -> Iterator[tuple[Rule, str]]:
    """The rules that a value breaks, each with its message."""
    if value is None:
        return
    context = cel.Context(variables={"self": _seen(value)}, functions={"sum": sum})
    for rule in schema.get(RULES, ()):
        try:
            holds = cel.evaluate(rule["rule"], context)
        except (ValueError, RuntimeError, TypeError):
            holds = False
        if holds is not True:
            yield (path, rule["rule"]), rule["message"]
    for _, step, below, part in parts(schema, value):
        yield from broken(below, part, f"{path}{step}")


def dropped(schema: Schema, value: Any, path: str = "") -> Iterator[str]:
    """The fields that the schema does not know: the API server drops them."""
    if schema.get("x-kubernetes-preserve-unknown-fields") or path == ".metadata":
        return
    known = schema.get("properties", {})
    if isinstance(value, dict) and "additionalProperties" not in schema:
        yield from (f"{path}.{name}" for name in value if name not in known)
    for name, _, below, part in parts(schema, value):
        yield from dropped(below, part, f"{path}{name}")


def parts(schema: Schema, value: Any) -> Iterator[tuple[str, str, Schema, Any]]:
    """What a value consists of: where it is, where in the schema, its own schema, and itself."""
    if isinstance(value, dict):
        for name, part in value.items():
            if name in schema.get("properties", {}):
                yield f".{name}", f".{name}", schema["properties"][name], part
            elif "additionalProperties" in schema:
                yield f"[{name}]", "[*]", schema["additionalProperties"], part
    elif isinstance(value, list):
        for i, part in enumerate(value):
            yield f"[{i}]", "[*]", schema["items"], part


def _seen(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _seen(part) for name, part in value.items() if part is not None}
    return [_seen(part) for part in value] if isinstance(value, list) else value


def _in_json_schema(schema: Any) -> Any:
    """JSON Schema (draft 4, on which OpenAPI 3.0 builds) has a list of types for `nullable`."""
    if isinstance(schema, list):
        return [_in_json_schema(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    same = {name: _in_json_schema(each) for name, each in schema.items() if name != "nullable"}
    return {**same, "type": [schema["type"], "null"]} if schema.get("nullable") is True else same
