"""Mutated manifests: nothing crashes, and no call ever goes where no valid manifest sent it.

The oracle is independent of history: after any sequence of mutations the route in force is what a
translation of exactly these files says, from scratch; only while they have errors may it also be
what they said when each was last good, or a route that was in force before.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aeraki_xds.encode import packed_to_json
from aeraki_xds.ingest.contents import read_contents
from aeraki_xds.ingest.decode import decode
from aeraki_xds.ingest.event import Event, Synced
from aeraki_xds.ingest.tree import Tree
from aeraki_xds.mesh.change import Rejected
from aeraki_xds.mesh.tenancy import Tenancy
from aeraki_xds.pipeline import Pipeline, Scopes
from aeraki_xds.pipeline.offline import translate
from aeraki_xds.pipeline.scopes import GLOBAL, GLOBAL_SPEC
from aeraki_xds.xds.hub import Hub
from aeraki_xds.xds.resource import HTTP_ROUTES, Name, ResourceId

EXAMPLE = Path(__file__).parents[2] / "examples" / "thrift-canary"
FILES = {path.name: path.read_bytes() for path in sorted(EXAMPLE.iterdir())}
ROUTE = ResourceId(HTTP_ROUTES, Name("hello.demo.svc.cluster.local_9090"))
Table = dict[str, object]

_WORDS = [b"v1", b"v2", b"v3", b"hello", b"null", b"[]", b"{}", b"- ", b": ", b"*a", b"&a ", b"80"]


@st.composite
def mutations(draw: st.DrawFn) -> tuple[str, bytes]:
    """A file of the example with a few edits: lines dropped, doubled, swapped, bytes replaced."""
    name = draw(st.sampled_from(sorted(FILES)))
    chance = random.Random(draw(st.integers(0, 2**32)))
    lines = FILES[name].splitlines(keepends=True)
    for _ in range(draw(st.integers(0, 3))):
        at = chance.randrange(len(lines))
        match chance.randrange(6):
            case 0:
                del lines[at : at + chance.randint(1, 4)]
            case 1:
                lines.insert(at, chance.choice(lines))
            case 2:
                other = chance.randrange(len(lines))
                lines[at], lines[other] = lines[other], lines[at]
            case 3:
                word = chance.choice(lines[at].split() or [b"-"])
                lines[at] = lines[at].replace(word, chance.choice(_WORDS), 1)
            case 4:
                cut = chance.randrange(len(lines[at]) + 1)
                lines[at] = lines[at][:cut] + bytes([chance.randrange(256)]) + lines[at][cut:]
            case _:
                lines[at] = b" " * chance.randint(0, 8) + lines[at].lstrip()
        if not lines:
            break
    return name, b"".join(lines)


class Rig:
    """A folder without a disk: file contents go through tree and pipeline as they would."""

    def __init__(self) -> None:
        self.files = dict(FILES)
        self.good = dict(FILES)
        self.tree = Tree()
        self.hub = Hub(clock=lambda: 0.0)
        self.pipeline = Pipeline(
            hub=self.hub,
            scopes=Scopes(),
            sources=["folder"],
            clock=lambda: 0.0,
            tenancy=Tenancy(),
        )

    async def start(self) -> None:
        events = [event for name in self.files for event in self._read(name)]
        await self.pipeline.apply([*events, Synced(source="folder")])

    async def write(self, name: str, data: bytes) -> None:
        self.files[name] = data
        await self.pipeline.apply([*self._read(name), *self.tree.settle()])

    def _read(self, name: str) -> list[Event]:
        contents = read_contents(self.files[name], origin=name, decode=decode)
        if contents.is_legible and not any(isinstance(c, Rejected) for c in contents.claims):
            self.good[name] = self.files[name]
        return self.tree.put(name, contents)

    @property
    def table(self) -> Table | None:
        snapshot = self.hub.snapshot(GLOBAL)
        resource = snapshot.get(ROUTE) if snapshot else None
        return packed_to_json(resource.packed) if resource else None


def says(files: Mapping[str, bytes]) -> Table | None:
    """What exactly these files say, without any history: a table, or nothing."""
    tree = Tree()
    events: list[Event] = []
    for name, data in sorted(files.items()):
        events += tree.put(name, read_contents(data, origin=name, decode=decode))
    offline = translate(events, [GLOBAL_SPEC], tenancy=Tenancy())
    found = offline.scopes[0].get(ROUTE.type_url, {}).get(ROUTE.name)
    return {"@type": ROUTE.type_url, **found} if found else None


async def play(steps: list[tuple[str, bytes]]) -> None:
    rig = Rig()
    await rig.start()
    history = [rig.table]
    assert rig.table is not None
    for name, data in steps:
        await rig.write(name, data)
        allowed = [says(rig.files)]
        if any(entry.is_error for entry in rig.pipeline.report):
            allowed += [says(rig.good), *history]
        assert rig.table in allowed
        history.append(rig.table)
    for name, data in FILES.items():
        await rig.write(name, data)
    assert not [entry for entry in rig.pipeline.report if entry.is_error]
    assert rig.table == history[0]


def run(steps: list[tuple[str, bytes]]) -> None:
    with structlog.testing.capture_logs():
        asyncio.run(play(steps))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(mutations(), min_size=1, max_size=5))
def test_mutated_manifests_never_make_a_wrong_route(steps: list[tuple[str, bytes]]) -> None:
    run(steps)


@pytest.mark.long
@settings(max_examples=20_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(mutations(), min_size=1, max_size=8))
def test_mutated_manifests_never_make_a_wrong_route_however_long(
    steps: list[tuple[str, bytes]],
) -> None:
    run(steps)
