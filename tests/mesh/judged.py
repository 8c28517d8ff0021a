"""What `check` says of a valid manifest in which something was changed."""

from __future__ import annotations

from typing import Any

from aeraki_xds.ingest import shape
from aeraki_xds.mesh.names import Kind
from aeraki_xds.mesh.objects import OBJECT_TYPES, MeshObject
from aeraki_xds.mesh.problems import Severity
from aeraki_xds.mesh.validation import check
from tests.manifests import edited

Changes = dict[str, Any]
Expected = list[tuple[str, str]]
Row = tuple[Changes, Expected]


def item_of(manifest: dict[str, Any]) -> MeshObject:
    """The object of a manifest that has the shape."""
    group = manifest["apiVersion"].rpartition("/")[0]
    read, problems = shape.read(manifest, OBJECT_TYPES[group, Kind(manifest["kind"])])
    assert read is not None, problems
    assert problems == ()
    return read


def assert_problems(
    manifest: dict[str, Any], changes: Changes, expected: Expected, severity: Severity
) -> None:
    """Exactly these problems, in this order, all of one severity."""
    problems = check(item_of(edited(manifest, changes)))
    assert [problem.field for problem in problems] == [field for field, _ in expected], problems
    for problem, (_, words) in zip(problems, expected, strict=True):
        assert words in problem.message
        assert problem.severity is severity
