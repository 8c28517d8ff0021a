"""Every patch of every golden case, worked example and folder of `examples/`."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from aeraki_xds.mesh.tenancy import Tenancy, TenancyMode
from aeraki_xds.translate.envoyfilter.profile import EnvoyFilters
from tests.translate.envoyfilter.kit import istio

ROOT = Path(__file__).resolve().parents[3]
WORKED = Path(__file__).parent / "worked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """What a patch puts in: the full name of the message, its JSON, and the object it is from."""

    origin: str
    operation: str
    message: str
    value: dict[str, Any]
    whole: dict[str, Any]


def sources() -> dict[str, list[Path]]:
    """Manifests by the name of their case."""
    golden = {path.parent.name: [path] for path in ROOT.glob("tests/golden/*/input.yaml")}
    worked = {path.name: [path] for path in WORKED.glob("*.input.yaml")}
    examples = {
        path.name: sorted(path.glob("*.yaml")) for path in ROOT.glob("examples/*") if path.is_dir()
    }
    return dict(sorted((golden | worked | examples).items()))


@functools.cache
def patches(profile: str) -> tuple[Patch, ...]:
    """Every patch that adds something, under a profile."""
    return tuple(
        patch for name, files in sources().items() for patch in _patches(name, files, profile)
    )


def _patches(name: str, files: list[Path], profile: str) -> Iterator[Patch]:
    documents = [
        each
        for path in files
        for each in yaml.safe_load_all(path.read_text(encoding="utf-8"))
        if each is not None
    ]
    written = istio(
        documents, delivery=EnvoyFilters.of(profile), tenancy=Tenancy(mode=TenancyMode.WARN)
    )
    for origin, whole in written.filters.items():
        for patch in whole["spec"]["configPatches"]:
            value = patch["patch"].get("value")
            if value is None:
                continue
            message, inner = "envoy.config.cluster.v3.Cluster", value
            if patch["applyTo"] == "NETWORK_FILTER":
                message = value["typed_config"]["type_url"].removeprefix("type.googleapis.com/")
                inner = value["typed_config"]["value"]
            yield Patch(
                origin=f"{name}: {origin}",
                operation=patch["patch"]["operation"],
                message=message,
                value=inner,
                whole=value,
            )
