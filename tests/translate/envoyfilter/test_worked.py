"""The worked examples of Aeraki's specification become, under `aeraki-1.4`, what it says.

`worked/<name>.input.yaml` and `.expected.yaml` are typed from the specification (§3.1 to §3.7), not
written by us: they are what a running Aeraki would find equal, and so not write again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from aeraki_xds.mesh.tenancy import Tenancy, TenancyMode
from aeraki_xds.pipeline.offline import translate
from aeraki_xds.pipeline.scopes import for_istio
from aeraki_xds.translate.envoyfilter.profile import AERAKI_1_4, EnvoyFilters
from tests.translate.golden import events_of

FOLDER = Path(__file__).parent / "worked"
NAMES = ("dubbo", "gateway", "kafka", "metaprotocol", "redis", "thrift", "zookeeper")
Json = dict[str, Any]


def written(name: str) -> list[Json]:
    """The objects that an example's manifests become."""
    text = (FOLDER / f"{name}.input.yaml").read_text(encoding="utf-8")
    events = events_of(yaml.safe_load_all(text))
    tenancy = Tenancy(mode=TenancyMode.WARN)  # as where EnvoyFilters are written to a cluster
    offline = translate(events, [for_istio(EnvoyFilters.of(AERAKI_1_4))], tenancy=tenancy)
    assert offline.is_valid, offline.entries
    return [each for objects in offline.scopes[0].values() for each in objects.values()]


def expected(name: str) -> list[Json]:
    text = (FOLDER / f"{name}.expected.yaml").read_text(encoding="utf-8")
    objects: list[Json] = yaml.safe_load(text)
    return objects


def by_name(objects: list[Json]) -> dict[tuple[str, str, str], Json]:
    return {
        (each["kind"], each["metadata"]["namespace"], each["metadata"]["name"]): each
        for each in objects
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_worked_example_is_written_as_aeraki_would(name: str) -> None:
    assert by_name(written(name)) == by_name(expected(name))


def test_every_example_that_was_typed_in_is_compared() -> None:
    assert {path.name.partition(".")[0] for path in FOLDER.glob("*.yaml")} == set(NAMES)
