"""The README's demo: a route changes, nothing else does, and Envoy's own counters prove it.

Real parts: `aeraki-xds serve` on a folder, an Envoy that takes everything from it by ADS, two
Thrift servers, and one client that never closes its connection. The story edits the folder's
MetaRouter and measures from the file write to the first answer. Exit status 0 only if every line
of the verdict holds.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from aeraki_xds.demo.caller import Caller
from aeraki_xds.demo.control_plane import ControlPlane
from aeraki_xds.demo.envoy import Envoy, EnvoyFailed
from aeraki_xds.demo.http import Address
from aeraki_xds.demo.mesh import HOST, ROUTER_FILE, HelloMesh, rule, to
from aeraki_xds.demo.old_way import DRAIN_S, Outcome, change_the_old_way
from aeraki_xds.demo.process import NotStartedError
from aeraki_xds.demo.thrift_app import ThriftServer
from aeraki_xds.demo.view import View
from aeraki_xds.translate.bootstrap import BootstrapSettings, bootstrap

LIMIT_S: Final = 20.0  # for anything that takes milliseconds
WATCH_S: Final = 1.0  # for how long a split is observed
FLIPS: Final = 12
MEDIAN_LIMIT_MS: Final = 30.0
METHODS: Final = ("sayHello",) * 4 + ("sayBye",)


@dataclass(slots=True, kw_only=True)
class Stage:
    """Everything that runs, and what was measured so far."""

    mesh: HelloMesh
    plane: ControlPlane
    envoy: Envoy
    caller: Caller
    view: View
    changes: int = 0
    first_new_ms: list[float] = field(default_factory=list)
    stale_answers: list[int] = field(default_factory=list)
    refused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """Envoy's counters and the client's, at the end."""

    config_reloads: int
    listener_modified: int
    connections: int
    errors: int


async def run_demo(*, keep: bool) -> bool:
    """Play the story; True when everything that it claims was seen."""
    view = View()
    view.title(
        "aeraki-xds: a route changes, the listener does not",
        "a real Envoy, two real Thrift servers, one client that keeps one connection",
    )
    with tempfile.TemporaryDirectory(prefix="aeraki-demo-") as folder:
        try:
            return await _play(view, Path(folder), keep=keep)
        except (EnvoyFailed, NotStartedError, TimeoutError, OSError) as failure:
            view.error(str(failure))
            return False


async def _play(view: View, work: Path, *, keep: bool) -> bool:
    async with AsyncExitStack() as stack:
        v1 = await stack.enter_async_context(ThriftServer.run(answer="v1"))
        v2 = await stack.enter_async_context(ThriftServer.run(answer="v2"))
        endpoints = {"v1": v1.port, "v2": v2.port}
        stage = await stack.enter_async_context(_stage(view, work, endpoints))
        await _canary(stage)
        await _method_match(stage)
        await _mistake(stage)
        await _all_to_v2(stage)
        await _flips(stage)
        proof = await _proof(stage)
        view.chapter("The same change the old way: routes inside the listener, pushed by LDS")
        old_mesh = HelloMesh(work / "old-way", vip="127.20.0.2", endpoints=endpoints)
        old = await change_the_old_way(old_mesh, work / "old-way-envoy")
        _contrast(stage, proof, old)
        success = _verdict(stage, proof, old)
        if keep:
            # Ctrl-C is how this ends, not how it fails.
            with suppress(asyncio.CancelledError):
                await _keep(stage)
        return success


@asynccontextmanager
async def _stage(view: View, work: Path, endpoints: Mapping[str, int]) -> AsyncIterator[Stage]:
    view.chapter("Starting")
    mesh = HelloMesh(work / "mesh", vip="127.20.0.1", endpoints=endpoints)
    async with (
        ControlPlane.run(mesh.root) as plane,
        Envoy.run(_bootstrap(plane.xds), log=work / "envoy.log", drain_time_s=DRAIN_S) as envoy,
    ):
        await envoy.wait_live(LIMIT_S)
        view.note(f"aeraki-xds serves {mesh.root} on {_text(plane.xds)}")
        view.note(f"Envoy takes everything from it by ADS and listens on {mesh.vip}:{mesh.port}")
        async with Caller(mesh.vip, mesh.port, methods=METHODS) as caller:
            start = await caller.answers(1, after=0.0, timeout=LIMIT_S)
            stage = Stage(mesh=mesh, plane=plane, envoy=envoy, caller=caller, view=view)
            view.chapter("100 % to v1")
            await _watch(stage, since=start)
            yield stage


async def _canary(stage: Stage) -> None:
    stage.view.chapter("A canary: 80 % to v1, 20 % to v2")
    written = _route(stage, rule(to("v1", 80), to("v2", 20), name="canary"))
    await _first(stage, "v2", written)
    await _watch(stage, since=written)


async def _method_match(stage: Stage) -> None:
    stage.view.chapter("By method: sayBye to v2, everything else to v1")
    written = _route(
        stage, rule(to("v2"), name="bye", method="sayBye"), rule(to("v1"), name="rest")
    )
    await stage.caller.answers(200, after=written, timeout=LIMIT_S)
    await asyncio.sleep(WATCH_S)
    # Shares of 80/20 were answered before; the new rule begins where the last of them ends.
    stale = [c.at for c in stage.caller.history(written) if (c.version, c.method) in _WRONG]
    settled = max(stale, default=written)
    stage.view.latency("last answer by the old rules, after the file write", _ms(settled - written))
    for method in ("sayHello", "sayBye"):
        stage.view.split(method, stage.caller.split(settled, method))


_WRONG: Final = {("v2", "sayHello"), ("v1", "sayBye")}


async def _mistake(stage: Stage) -> None:
    stage.view.chapter("A mistake: weights that add up to 110")
    written = stage.mesh.route(rule(to("v1", 80), to("v2", 30), name="canary"))
    page = await stage.plane.until(
        "/debug/rejections", lambda page: bool(page["rejections"]), within_s=LIMIT_S
    )
    for problem in page["rejections"]:
        where = f"{problem['file']}: {problem['object']}: {problem['field']}"
        stage.view.refused(f"{where}: {problem['message']}")
        stage.refused |= problem["file"] == ROUTER_FILE and problem["field"].startswith("spec.")
    stage.view.note("the last good version stays in force:")
    await asyncio.sleep(WATCH_S)
    for method in ("sayHello", "sayBye"):
        split = stage.caller.split(written, method)
        stage.view.split(method, split)
        stage.refused &= split == {("v2" if method == "sayBye" else "v1"): 1.0}


async def _all_to_v2(stage: Stage) -> None:
    stage.view.chapter("100 % to v2")
    written = _route(stage, rule(to("v2"), name="everything-to-v2"))
    await _first(stage, "v2", written, method="sayHello")
    await _watch(stage, since=written)


async def _flips(stage: Stage) -> None:
    stage.view.chapter(f"{FLIPS} more changes, back and forth")
    for number in range(FLIPS):
        version = "v1" if number % 2 == 0 else "v2"
        written = _route(stage, rule(to(version), name=f"flip-{number}"))
        first = await stage.caller.first(version, after=written, timeout=LIMIT_S)
        stage.first_new_ms.append(_ms(first - written))
        await asyncio.sleep(0.1)
        since = stage.caller.history(written)
        stage.stale_answers.append(sum(call.version != version for call in since))
    median = statistics.median(stage.first_new_ms)
    slowest = max(stage.first_new_ms)
    stage.view.note(f"file write to first new answer: median {median:.1f} ms, max {slowest:.1f} ms")


async def _proof(stage: Stage) -> Proof:
    stats = await stage.envoy.stats(
        r"trds.*config_reload$|listener_manager\.listener_modified|^listener\..*downstream_cx_total"
    )
    route = f"{HOST}_{stage.mesh.port}"
    trds = f"thrift.{stage.mesh.cluster}.trds.{route}.config_reload"
    listener = f"listener.{stage.mesh.vip}_{stage.mesh.port}.downstream_cx_total"
    return Proof(
        config_reloads=int(stats[trds]),
        listener_modified=int(stats["listener_manager.listener_modified"]),
        connections=int(stats[listener]),
        errors=len(stage.caller.errors),
    )


def _contrast(stage: Stage, proof: Proof, old: Outcome) -> None:
    median = statistics.median(stage.first_new_ms)
    stale = statistics.median(stage.stale_answers)
    stage.view.contrast(
        [
            ("route changes", str(stage.changes), "1"),
            ("first new answer", f"{median:.1f} ms (median)", f"{old.first_new_ms:.0f} ms"),
            ("listeners rebuilt", str(proof.listener_modified), str(old.listeners_rebuilt)),
            ("connections needed", str(proof.connections), str(old.connections)),
            ("stale answers", f"{stale:.0f} (median)", str(old.stale_answers)),
        ]
    )


def _verdict(stage: Stage, proof: Proof, old: Outcome) -> bool:
    median = statistics.median(stage.first_new_ms)
    # The first load of the route table counts as a reload, too.
    reloads = proof.config_reloads - 1
    checks = [
        (f"{stage.caller.calls} calls, {proof.errors} errors", proof.errors == 0),
        (f"client connections: {proof.connections}", proof.connections == 1),
        (f"Envoy's listener_modified: {proof.listener_modified}", proof.listener_modified == 0),
        (
            f"Envoy's trds config_reload: {reloads} for {stage.changes} changes",
            reloads == stage.changes,
        ),
        (f"median {median:.1f} ms ≤ {MEDIAN_LIMIT_MS:.0f} ms", median <= MEDIAN_LIMIT_MS),
        ("the mistake was refused, with file and field; the last good stayed", stage.refused),
        (
            f"the old way: {old.connections} connections, {old.stale_answers} stale answers",
            old.connections > 1 and old.stale_answers > 0 and old.listeners_rebuilt == 1,
        ),
    ]
    stage.view.chapter("Verdict")
    for text, holds in checks:
        stage.view.check(text, holds=holds)
    success = all(holds for _, holds in checks)
    stage.view.verdict(success=success)
    return success


async def _keep(stage: Stage) -> None:
    stage.view.chapter("Still running; Ctrl-C ends it")
    stage.view.note(f"edit      {stage.mesh.root / ROUTER_FILE}")
    stage.view.note(f"we        http://{_text(stage.plane.admin)}/debug/syncz")
    stage.view.note(f"Envoy     http://{_text(stage.envoy.admin)}/config_dump")
    stage.view.note(f"Thrift    {stage.mesh.vip}:{stage.mesh.port}")
    seen = stage.caller.calls
    while True:
        await asyncio.sleep(5)
        calls, seen = stage.caller.calls - seen, stage.caller.calls
        since = [c for c in stage.caller.history() if c.version][-max(calls, 1)]
        stage.view.split("last 5 s", stage.caller.split(since.at))


def _route(stage: Stage, *routes: dict[str, object]) -> float:
    stage.changes += 1
    return stage.mesh.route(*routes)


async def _first(stage: Stage, version: str, written: float, *, method: str | None = None) -> None:
    first = await stage.caller.first(version, after=written, method=method, timeout=LIMIT_S)
    stage.first_new_ms.append(_ms(first - written))
    stage.view.latency(f"first answer from {version} after the file write", _ms(first - written))


async def _watch(stage: Stage, *, since: float) -> None:
    await asyncio.sleep(WATCH_S)
    stage.view.split("observed", stage.caller.split(since))


def _bootstrap(xds: Address) -> dict[str, object]:
    settings = BootstrapSettings(
        node_id="demo", cluster="demo", xds_host=xds.host, xds_port=xds.port, admin_port=0
    )
    return bootstrap(settings)


def _text(address: Address) -> str:
    return f"{address.host}:{address.port}"


def _ms(seconds: float) -> float:
    return seconds * 1000
