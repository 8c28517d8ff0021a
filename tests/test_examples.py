"""The examples are meshes that work: nothing is wrong with them, whatever they are translated to,
and nothing is in them without a purpose."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from aeraki_xds.ingest.decode import decode
from aeraki_xds.ingest.event import Event
from aeraki_xds.ingest.files import read_paths
from aeraki_xds.mesh.change import Upsert
from aeraki_xds.mesh.objects import MetaRouter
from aeraki_xds.mesh.tenancy import Tenancy
from aeraki_xds.pipeline.offline import translate
from aeraki_xds.pipeline.scopes import GLOBAL_SPEC, everything, for_istio
from aeraki_xds.translate.envoyfilter.profile import AERAKI_1_4, CURRENT, PROFILES, EnvoyFilters
from tests.test_cli import Result, _logs_as_before, run  # noqa: F401 (a fixture for every test)
from tests.test_docs import FIELDS

FOLDER: Final = Path(__file__).parents[1] / "examples"
EXAMPLES: Final = sorted(path for path in FOLDER.iterdir() if path.is_dir())
OUTPUTS: Final = {"metards", "envoyfilters", "ads"}
PREFIX: Final = "envoy.filters.network."
FILTERS: Final = {
    f"{PREFIX}{name}"
    for name in (
        "dubbo_proxy",
        "kafka_broker",
        "meta_protocol_proxy",
        "redis_proxy",
        "thrift_proxy",
        "zookeeper_proxy",
    )
}
MENDED: Final = re.compile(r"--with [a-z-]+|--redis-auth file")
INHERENT: Final = "a stock Envoy has none and refuses the listener (D-8)"
"""What an authorization policy for Dubbo needs, and its example says."""

of_each_example = pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
under_each_profile = pytest.mark.parametrize("profile", PROFILES)


@under_each_profile
@of_each_example
def test_an_example_becomes_every_output_without_an_error(example: Path, profile: str) -> None:
    result = run("translate", example, "--to", "all", "--profile", profile, "-o", "json")
    assert (result.code, result.err.count(" 0 errors,")) == (0, 1), result.err
    outputs = json.loads(result.out)
    assert outputs.keys() == OUTPUTS
    assert "EnvoyFilter" in {each["kind"] for each in outputs["envoyfilters"]}


@under_each_profile
@of_each_example
def test_istio_is_given_what_an_example_says_with_no_more_warnings_than_the_profile_has(
    example: Path, profile: str
) -> None:
    result = run("translate", example, "--to", "envoyfilter", "--profile", profile)
    surplus = [
        warning
        for warning in warnings(result)
        if INHERENT not in warning and (profile == CURRENT or not MENDED.search(warning))
    ]
    assert surplus == []


@of_each_example
def test_the_difference_of_an_example_is_that_of_its_profiles(example: Path) -> None:
    result = run("translate", example, "--diff", "-o", "json")
    assert result.code == 0, result.err
    steps = json.loads(result.out)
    differing, equal = set(steps["differences"]), set(steps["without effect"])
    assert PROFILES[CURRENT] <= differing | equal
    of_aeraki, mended = (
        run("translate", example, "--to", "envoyfilter", "--profile", profile).out
        for profile in (AERAKI_1_4, CURRENT)
    )
    assert ("all together" in differing) == (of_aeraki != mended)


@of_each_example
def test_the_rules_of_an_example_are_served(example: Path) -> None:
    """A router that is held or refused has none, and validation may be none the wiser."""
    wanted = {
        route.name
        for event in read_paths([example], decode)
        if isinstance(event, Upsert) and isinstance(event.item, MetaRouter)
        for route in event.item.spec.routes
    }
    served = run("translate", example, "--to", "metards", "-o", "json")
    assert wanted <= {each["name"] for each in holding("route", json.loads(served.out))}


@of_each_example
def test_every_object_of_an_example_has_an_effect(example: Path) -> None:
    """Without it something else comes out, or something is wrong."""
    events = list(read_paths([example], decode))
    whole = meaning(events)
    idle = [
        event.key
        for event in events
        if isinstance(event, Upsert) and meaning([e for e in events if e is not event]) == whole
    ]
    assert idle == []


@pytest.mark.parametrize(
    "file",
    [file for example in EXAMPLES for file in sorted(example.iterdir())],
    ids=lambda file: f"{file.parent.name}/{file.name}",
)
def test_a_file_of_an_example_opens_with_what_it_shows(file: Path) -> None:
    assert re.match(r"(# \S.*\n){1,3}apiVersion:", file.read_text(encoding="utf-8"))


def test_the_list_of_examples_has_each_of_them() -> None:
    listed = re.findall(r"\[([\w-]+)\]\(\1\)", (FOLDER / "README.md").read_text(encoding="utf-8"))
    assert sorted(listed) == [path.name for path in EXAMPLES]


def test_between_them_the_examples_have_every_field_of_a_meta_router() -> None:
    written = {key for router in manifests("MetaRouter") for key in keys(router["spec"])}
    assert set(FIELDS.split()) - written == set()


def test_between_them_the_examples_have_every_filter() -> None:
    found = set()
    for example in EXAMPLES:
        result = run("translate", example, "--to", "envoyfilter", "-o", "json")
        found |= {each["name"] for each in holding("typed_config", json.loads(result.out))}
    assert found == FILTERS


def warnings(result: Result) -> list[str]:
    return [line for line in result.err.splitlines() if ": warning: " in line]


def meaning(events: Sequence[Event]) -> tuple[object, ...]:
    """What comes out of events, and what is said about it."""
    specs = (GLOBAL_SPEC, everything(), for_istio(EnvoyFilters.of(AERAKI_1_4)))
    offline = translate(events, specs, tenancy=Tenancy())
    return (*offline.scopes, [str(entry) for entry in offline.entries])


def manifests(kind: str) -> Iterator[dict[str, Any]]:
    for example in EXAMPLES:
        for file in example.iterdir():
            found = yaml.safe_load_all(file.read_text(encoding="utf-8"))
            yield from (each for each in found if each["kind"] == kind)


def holding(key: str, plain: object) -> Iterator[dict[str, Any]]:
    """Every mapping inside plain data that has the key."""
    if isinstance(plain, dict):
        if key in plain:
            yield plain
        plain = list(plain.values())
    if isinstance(plain, list):
        for inner in plain:
            yield from holding(key, inner)


def keys(plain: object) -> Iterator[str]:
    """Every key of every mapping inside plain data."""
    if isinstance(plain, dict):
        yield from plain
        plain = list(plain.values())
    if isinstance(plain, list):
        for inner in plain:
            yield from keys(inner)
