"""The server's wall clock jumps, as it does when time is set; monotonic time goes on."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from aeraki_xds.demo.control_plane import ControlPlane
from drills import server
from drills.certificates import OURS, PROXY, mutual_tls
from drills.faked import OFFSET_FILE
from drills.mesh import Mesh, calling, services
from drills.pki import Authority
from drills.verdict import Fact, Finding, no_errors

DAY: Final = timedelta(days=1)
_AFTER_S: Final = 3.0
"""Seconds that keepalive, expiry and ages have to take offence at a jump."""

_CONNECTIONS: Final = "cluster.aeraki-xds.upstream_cx_total"


async def clock(work: Path) -> Finding:
    """The wall clock jumps by a day, and back by two, in plaintext and under mutual TLS."""
    facts: list[Fact] = []
    for name in ("plaintext", "mTLS"):
        folder = work / name
        folder.mkdir()
        facts += await _jumps(folder, name, mutual=name == "mTLS")
    return Finding(facts=tuple(facts))


async def _jumps(work: Path, name: str, *, mutual: bool) -> list[Fact]:
    offset = work / "offset"
    offset.write_text("+0")
    os.environ[OFFSET_FILE] = str(offset)
    options: list[str] = []
    tls = None
    if mutual:
        authority = Authority("root")
        for folder, uri in ((work / "ours", OURS), (work / "proxy", PROXY)):
            authority.issue(folder, uri, lifetime=7 * DAY)
        tls = mutual_tls(work / "proxy")
        options = ["--tls-dir", str(work / "ours")]
    async with (
        services(work) as files,
        ControlPlane.run(files.root, options=options, module="drills.faked") as plane,
        calling(files, plane.xds, work, tls=tls) as mesh,
    ):
        facts = []
        before = await _connections(mesh)
        for said, jump, version in (("+1d", DAY, "v2"), ("-1d", -DAY, "v1")):
            draft = offset.with_name("draft")
            draft.write_text(said)
            os.replace(draft, offset)
            noticed = await _noticed(mesh, plane, version, jump)
            more = await _connections(mesh) - before
            told = f"{name}, {said}: {more} connections lost, {noticed.told}"
            facts.append(Fact(told=told, good=more == 0 and noticed.good))
        errors = no_errors(mesh.caller.errors)
        return [*facts, errors, (await server.lag(plane)).fact(f" ({name})")]


async def _noticed(mesh: Mesh, plane: ControlPlane, version: str, jump: timedelta) -> Fact:
    """What a jump did: the server saw it, changes arrive, nothing is stale."""
    await asyncio.sleep(_AFTER_S)
    change = await mesh.next_change(version)
    stale = await server.metric(plane, "aeraki_xds_source_stale_since_seconds")
    jumped = _wrote_at(datetime.now(UTC) + jump, (await plane.get("/debug/syncz"))["streams"])
    return Fact(
        told=change.told
        + ("" if stale == 0 else ", a source is stale")
        + ("" if jumped else ", but the server's clock did not jump"),
        good=change.good and stale == 0 and jumped,
    )


async def _connections(mesh: Mesh) -> int:
    return int((await mesh.envoy.stats(f"^{_CONNECTIONS}$"))[_CONNECTIONS])


def _wrote_at(
    moment: datetime, streams: list[dict[str, dict[str, dict[str, dict[str, str]]]]]
) -> bool:
    """Whether the server says that it sent something then, give or take minutes."""
    sent = [told["sent"]["at"] for stream in streams for told in stream["types"].values()]
    times = [datetime.fromisoformat(at) for at in sent if at]
    return any(abs(at - moment) < timedelta(minutes=5) for at in times)
