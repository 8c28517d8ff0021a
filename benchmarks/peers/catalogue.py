"""The servers that are compared, by name.

In: a name, certificates if it is to be TLS. Out: a running server that obeys the protocol of
`peers`; or the reason why there is none on this machine. Guaranteed: a peer in Go is built once,
and never while another one is measured: whoever wants several asks for all of them first
(`prepare`).
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import golang

from aeraki_xds.bench.child import Child, running
from aeraki_xds.settings import TlsFiles

PYTHON: Final = ("ours", "grpclib", "grpcio", "floor")
"""`grpclib` and `grpcio` are what one writes first with these libraries; `floor` is a loop of plain
`send`, without gRPC and without TLS (`floor` says how it differs)."""

GO: Final = {
    "go-snapshot": ("--cache", "snapshot"),
    "go-linear": ("--cache", "linear"),
}
"""go-control-plane on either of its caches. A snapshot has one version for all resources of a type:
at each change every stream that has not this version is answered, whatever it asked for. The linear
cache answers those who asked for what changed."""

NAMES: Final = (*PYTHON, *GO)

_HERE: Final = Path(__file__).parent
_PROGRAM: Final = "go-control-plane"
MODULE: Final = golang.Module(
    name=f"peers-{_PROGRAM}",
    folder=_HERE / _PROGRAM,
    programs={_PROGRAM: "."},
    minutes="one minute or two",
)


class NoPeerError(Exception):
    """It cannot be had on this machine."""


def available(name: str) -> str | None:
    """Why there is no such server here; None if there is, or can be built."""
    if name in PYTHON or MODULE.built.exists():
        return None
    try:
        golang.installed(golang.needed(MODULE.folder))
    except golang.NoToolchainError as failure:
        return str(failure)
    return None


def prepare(name: str) -> Sequence[str]:
    """The command that runs a server, built if it has to be. Raises NoPeerError."""
    if name in PYTHON:
        return (sys.executable, str(_HERE.parent / "servers.py"), name)
    if not MODULE.built.exists():
        _build(name)
    return (str(MODULE.built / _PROGRAM), *GO[name])


def _build(name: str) -> None:
    try:
        MODULE.build(golang.installed(golang.needed(MODULE.folder)))
    except golang.NoToolchainError as failure:
        message = f"{name}: {failure}"
        raise NoPeerError(message) from failure
    except subprocess.CalledProcessError as failure:
        message = f"{name} cannot be built: {golang.failed(failure)}"
        raise NoPeerError(message) from failure


@asynccontextmanager
async def peer(
    name: str, *, tls: TlsFiles | None = None, options: Sequence[str] = ()
) -> AsyncIterator[Child]:
    """Run a server for the length of the block; its port is its first line. Raises NoPeerError."""
    command = await asyncio.to_thread(prepare, name)
    files = () if tls is None else ("--tls", str(tls.certificate), str(tls.key), str(tls.roots))
    async with running(*command, *options, *files) as child:
        yield child
