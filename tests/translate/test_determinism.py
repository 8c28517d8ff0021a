"""The same objects give the same bytes: in any order, in any process."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from aeraki_xds.mesh.tenancy import Tenancy
from aeraki_xds.pipeline.offline import Offline, translate
from aeraki_xds.pipeline.scopes import GLOBAL_SPEC, everything, for_istio
from aeraki_xds.translate.envoyfilter.profile import PROFILES, EnvoyFilters
from tests.translate.golden import Case, Event
from tests.translate.served import fingerprint

ROOT = Path(__file__).resolve().parents[2]
CASES = (
    "metards-hash",
    "metards-matches",
    "metards-two-routers",
    "thrift-virtualservice",
    "clusters-subsets",
    "listeners-collision",
)
"""Between them: maps, sets, ties of age, several subsets and hosts."""

ISTIO_CASES = ("ef-dubbo-authorization", "ef-redis-service", "ef-metaprotocol-places")
LARGE = Case(name="thrift-shadowed").events() + Case(name="listeners-collision").events()
MANY = [event for name in ISTIO_CASES for event in Case(name=name).events()]
SPECS = (GLOBAL_SPEC, everything())
ISTIO_SPECS = tuple(for_istio(EnvoyFilters.of(profile)) for profile in PROFILES)
SCRIPT = """
from tests.translate.test_determinism import fingerprints
print(*fingerprints())
"""


def fingerprints() -> list[str]:
    sets = ((CASES, SPECS), (ISTIO_CASES, ISTIO_SPECS))
    return [
        fingerprint(Case(name=name).events(), spec.recipe)
        for names, specs in sets
        for name in names
        for spec in specs
    ]


def other_process(seed: str) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "src"), *sys.path])
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path}
    command = [sys.executable, "-c", SCRIPT]
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE)


def test_bytes_do_not_depend_on_the_hash_seed() -> None:
    here = fingerprints()
    assert len(set(here)) == len(here)
    with other_process("1") as one, other_process("2") as other:
        assert [process.communicate(timeout=60)[0].split() for process in (one, other)] == [
            here
        ] * 2


@functools.cache
def in_order() -> tuple[list[str], Offline]:
    """What the objects become in the order in which they are written."""
    prints = [fingerprint(LARGE, spec.recipe) for spec in SPECS]
    return prints, translate(LARGE, SPECS, tenancy=Tenancy())


@settings(max_examples=15, deadline=None)
@given(events=st.permutations(LARGE))
def test_bytes_do_not_depend_on_the_order_in_which_objects_come(events: list[Event]) -> None:
    assert [fingerprint(events, spec.recipe) for spec in SPECS] == in_order()[0]


@settings(max_examples=10, deadline=None)
@given(events=st.permutations(LARGE))
def test_what_is_said_does_not_depend_on_the_order_either(events: list[Event]) -> None:
    assert translate(events, SPECS, tenancy=Tenancy()) == in_order()[1]


@settings(max_examples=15, deadline=None)
@given(events=st.permutations(MANY))
def test_what_istio_is_given_does_not_depend_on_the_order_in_which_objects_come(
    events: list[Event],
) -> None:
    assert translate(events, ISTIO_SPECS, tenancy=Tenancy()) == in_order_for_istio()


@functools.cache
def in_order_for_istio() -> Offline:
    return translate(MANY, ISTIO_SPECS, tenancy=Tenancy())
