"""Planning again and again costs what changed."""

from __future__ import annotations

import pytest

from aeraki_xds.pipeline.desired import Desired
from aeraki_xds.writeback import planner as planner_module
from aeraki_xds.writeback.objects import Existing, Wanted
from aeraki_xds.writeback.plan import compared as compared_for_real
from aeraki_xds.writeback.planner import Planner
from tests.writeback.kit import OURS, Json, envoy_filter, existing, want


def a_planner(desired: Desired, *there: Json) -> Planner:
    planner = Planner(None, desired, OURS, any_order=True)  # type: ignore[arg-type]
    for mirror in planner.mirrors.values():
        mirror.is_whole = True
        mirror.existing = {
            name: each for name, each in existing(*there).items() if name.kind == mirror.kind
        }
    return planner


async def test_only_what_changed_is_compared_again(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []

    def counted(wanted: Wanted, found: Existing, *, any_order: bool) -> tuple[str, ...]:
        compared.append(wanted.id.name)
        return compared_for_real(wanted, found, any_order=any_order)

    monkeypatch.setattr(planner_module, "compared", counted)
    objects = [envoy_filter(f"host-{n}") for n in range(20)]
    desired = Desired()
    want(desired, *objects)
    planner = a_planner(desired, *objects)
    assert not (await planner.plan()).applies
    assert len(compared) == 20
    await planner.plan()
    assert len(compared) == 20
    want(desired, *objects[1:], envoy_filter("host-0", spec={}))
    assert len((await planner.plan()).applies) == 1
    assert len(compared) == 21


async def test_what_was_wanted_is_remembered_only_while_it_is_there() -> None:
    """Who was asked for by us may be deleted where an Aeraki's objects may be somebody else's."""
    there = envoy_filter(namespace="shop")
    desired = Desired()
    want(desired, there)
    planner = a_planner(desired, there)
    assert not (await planner.plan()).deletes
    want(desired)
    assert (await planner.plan()).deletes
    for mirror in planner.mirrors.values():
        mirror.existing.clear()
    await planner.plan()
    planner = a_planner(desired, there)
    assert (await planner.plan()).unclaimed
