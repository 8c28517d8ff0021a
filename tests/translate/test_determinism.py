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
from aeraki_xds.pipeline.scopes import GLOBAL_SPEC, everything
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

LARGE = Case(name="thrift-shadowed").events() + Case(name="listeners-collision").events()
SPECS = (GLOBAL_SPEC, everything())
SCRIPT = f"""
from tests.translate.test_determinism import fingerprints
print("\\n".join(fingerprints({CASES!r})))
"""


def fingerprints(names: tuple[str, ...]) -> list[str]:
    events = [Case(name=name).events() for name in names]
    return [fingerprint(each, spec.recipe) for each in events for spec in SPECS]


def other_process(seed: str) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "src"), *sys.path])
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path}
    command = [sys.executable, "-c", SCRIPT]
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE)


def test_bytes_do_not_depend_on_the_hash_seed() -> None:
    here = fingerprints(CASES)
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
