"""Kubernetes' own ways to write things down: a Secret's base64, YAML as text in a ConfigMap. Pure.

In: a manifest whose `metadata` is known to name it. Out: the object and what does not fit, under
the paths that the manifest has. Guaranteed: no message quotes a value of a Secret, whatever is
wrong with it.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import msgspec

from aeraki_xds.ingest import shape
from aeraki_xds.ingest.fault import Misfit
from aeraki_xds.ingest.yaml_text import Value, read_yaml
from aeraki_xds.mesh.objects import MeshConfig, Metadata, Password, Secret
from aeraki_xds.mesh.problems import Problem, error, warning

_MESH: Final = "data.mesh"


class _WrittenSecret(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A Secret as it is written: `data` in base64, `string_data` as it is."""

    metadata: Metadata
    data: dict[str, Password] = {}
    string_data: dict[str, Password] = {}


def secret(document: Mapping[str, object]) -> tuple[Secret | None, tuple[Problem, ...]]:
    """A Secret. A value that is no text is left out with a warning, for others are of use."""
    written, faults = shape.read(document, _WrittenSecret)
    if written is None:
        return None, faults
    values: dict[str, Password] = {}
    problems = list(faults)
    for key, word in written.data.items():
        try:
            values[key] = Password(_decoded(word.reveal()))
        except ValueError:  # whose text quotes the value
            message = "is no text in UTF-8, in base64: it is left out"
            problems.append(warning(f"data[{key}]", message))
    return Secret(metadata=written.metadata, data=values | written.string_data), tuple(problems)


def _decoded(word: str) -> str:
    """As Go reads base64: line breaks do not count. Raises ValueError."""
    plain = word.replace("\r", "").replace("\n", "")
    return base64.b64decode(plain, validate=True).decode()


def holds_mesh_config(document: Mapping[str, object]) -> bool:
    """Whether a ConfigMap is the one that Istio keeps its mesh config in, or like it."""
    data = document.get("data")
    return isinstance(data, Mapping) and isinstance(data.get("mesh"), str)


def mesh_config(document: Mapping[str, object]) -> tuple[MeshConfig | None, tuple[Problem, ...]]:
    """The mesh config in a ConfigMap that holds one; nothing at all is Istio's defaults."""
    data = document["data"]
    assert isinstance(data, Mapping)  # it holds one
    try:
        value = _one(str(data["mesh"]))
    except Misfit as misfit:
        return None, (replace(misfit.fault.problem(), field=_MESH),)
    except ValueError as reason:
        return None, (error(_MESH, str(reason)),)
    return shape.read({"metadata": document["metadata"], _MESH: value}, MeshConfig)


def _one(text: str) -> Value:
    """The one document of a text; None if there is none. Raises Misfit and ValueError."""
    try:
        documents = read_yaml(text)
    except UnicodeEncodeError:  # half of a surrogate pair
        message = "is no text that UTF-8 could write"
        raise ValueError(message) from None
    if len(documents) > 1:
        message = f"has {len(documents)} YAML documents, one is allowed"
        raise ValueError(message)
    return documents[0].value if documents else None
