"""The program of the servers in Python that are compared; `peers` says what it is told.

    python benchmarks/servers.py ours [--tls CERT KEY ROOTS] [--streams N]

Each runs on uvloop, with as many open files as the system allows.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Final

import uvloop
from peers.commands import Server, obey

from aeraki_xds.settings import TlsFiles

KINDS: Final = {
    "ours": ("peers.ours", "Ours"),
    "grpclib": ("peers.on_grpclib", "OnGrpclib"),
    "grpcio": ("peers.on_grpcio", "OnGrpcio"),
    "floor": ("peers.floor", "Floor"),
}
"""Where each is. It is imported by its own process only, so that its memory is its own."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--tls", nargs=3, type=Path, metavar=("CERT", "KEY", "ROOTS"))
    parser.add_argument("--streams", type=int, help="of ours: how many it takes")
    given = parser.parse_args()
    module, name = KINDS[given.kind]
    made = partial(getattr(import_module(module), name), tls=_files(given.tls))
    if given.streams is not None:
        made = partial(made, streams=given.streams)
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(made))


async def _run(made: partial[Server]) -> None:
    await obey(made())


def _files(given: list[Path] | None) -> TlsFiles | None:
    if given is None:
        return None
    certificate, key, roots = given
    return TlsFiles(certificate=certificate, key=key, roots=roots)


if __name__ == "__main__":
    main()
