"""What one host costs does not depend on how many others there are: calls counted, not timed."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import pytest

from aeraki_xds.mesh.graph import Graph
from aeraki_xds.mesh.store import Store
from aeraki_xds.pipeline.composer import Composer
from aeraki_xds.pipeline.scopes import GLOBAL_SPEC, ScopeSpec, everything
from tests.mesh.kit import full, protocol, router, said, service, subsets

HOST = full("hello")


def calls_of(spec: ScopeSpec, *, others: int) -> int:
    """How many functions are called for a change of one host."""
    objects = [
        each
        for n in range(others)
        for each in (service(f"s{n}", address=f"127.22.{n // 250}.{n % 250 + 1}"), router(f"s{n}"))
    ]
    store, graph = Store(), Graph()
    graph.update(
        store.apply(said(*objects, protocol("thrift", "thrift"), service(), subsets(), router()))
    )
    composer = Composer(graph=graph, recipe=spec.recipe)
    count = 0

    def counted(_frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    for _ in range(2):  # the first time also fills caches
        count = 0
        changed = store.apply(said(router("hello", "hello/v2")))
        sys.setprofile(counted)
        try:
            graph.update(changed)
            composer.compose(HOST)
            composer.settle()
        finally:
            sys.setprofile(None)
        graph.update(store.apply(said(router())))
    return count


@pytest.mark.parametrize("spec", [GLOBAL_SPEC, everything()], ids=["metards", "ads"])
def test_a_change_of_one_host_costs_as_much_among_a_thousand_as_alone(spec: ScopeSpec) -> None:
    alone = calls_of(spec, others=1)
    assert calls_of(spec, others=1_000) < alone * 1.1
