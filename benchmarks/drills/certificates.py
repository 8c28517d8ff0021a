"""Certificates that end, and roots that are replaced, while calls go on."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from aeraki_xds.demo.control_plane import ControlPlane
from aeraki_xds.demo.envoy import Envoy
from aeraki_xds.translate.bootstrap import MutualTls, secrets
from drills import server
from drills.mesh import LIMIT_S, calling, services
from drills.pki import Authority
from drills.verdict import Fact, Finding, no_errors

OURS: Final = "spiffe://cluster.local/ns/istio-system/sa/aeraki"
PROXY: Final = "spiffe://cluster.local/ns/default/sa/drill"
"""The identity of `mesh.proxy`, which is of the namespace `default`."""

LIFETIME: Final = timedelta(seconds=6)
_EVERY_S: Final = 2.0


def mutual_tls(proxy: Path) -> MutualTls:
    """What an Envoy is told: its files, read again whenever they change."""
    folder = proxy / "secrets"
    tls = MutualTls(
        certificate=str(proxy / "cert-chain.pem"),
        key=str(proxy / "key.pem"),
        root=str(proxy / "root-cert.pem"),
        server_name=OURS,
        secrets_dir=str(folder),
    )
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in secrets(tls).items():
        (folder / name).write_text(json.dumps(content))
    return tls


async def rotation(work: Path) -> Finding:
    """Certificates of 6 s are replaced on both sides again and again, then the roots are."""
    old, new = Authority("old"), Authority("new")
    _issue(work, old, old.pem)
    options = ("--tls-dir", str(work / "ours"))
    async with (
        services(work) as files,
        ControlPlane.run(files.root, options=options) as plane,
        calling(files, plane.xds, work, tls=mutual_tls(work / "proxy")) as mesh,
    ):
        facts = []
        both = old.pem + new.pem
        for what, authority, roots, version in (
            ("rotated", old, old.pem, "v2"),
            ("with old and new roots", old, both, "v1"),
            ("signed by the new root", new, both, "v2"),
            ("with the new root alone", new, new.pem, "v1"),
        ):
            before = await _handshakes(mesh.envoy)
            began = time.time()
            await _keep_issuing(work, authority, roots)
            since = await _connected_at(plane)
            later = await _handshakes(mesh.envoy) - before
            change = await mesh.next_change(version)
            told = f"{what}: {later} connections, {change.told}"
            facts.append(Fact(told=told, good=later > 0 and since > began and change.good))
        errors = no_errors(mesh.caller.errors)
        return Finding(facts=(errors, *facts, (await server.lag(plane)).fact()))


def _issue(work: Path, authority: Authority, roots: bytes) -> None:
    """New certificates for both sides."""
    for name, uri in (("ours", OURS), ("proxy", PROXY)):
        authority.issue(work / name, uri, lifetime=LIFETIME, roots=roots)


async def _keep_issuing(work: Path, authority: Authority, roots: bytes) -> None:
    """For longer than a certificate lives, so that every connection of before has ended."""
    until = time.monotonic() + LIFETIME.total_seconds() + 1.5
    while time.monotonic() < until:
        _issue(work, authority, roots)
        await asyncio.sleep(_EVERY_S)


async def _handshakes(envoy: Envoy) -> int:
    name = "cluster.aeraki-xds.ssl.handshake"
    return int((await envoy.stats(f"^{name}$"))[name])


async def _connected_at(plane: ControlPlane) -> float:
    """Since when Envoy is connected, in seconds since the epoch. Raises TimeoutError."""
    page = await plane.until("/debug/adsz", lambda page: page["total"] == 1, within_s=LIMIT_S)
    (client,) = page["clients"]
    return datetime.fromisoformat(client["connectedAt"]).timestamp()
