"""`bench`: many discovery streams against any xDS server, and what that costs it.

In: where the server is and what to ask of it. Out: a table, or JSON with every round. Exit status 0
when everybody was served, 2 when somebody was not or the server cannot be reached.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
import os
import sys
from pathlib import Path
from typing import Final

import click

from aeraki_xds.bench import report
from aeraki_xds.bench.ask import TYPES
from aeraki_xds.bench.client import LostError
from aeraki_xds.bench.load import Load, Node
from aeraki_xds.bench.run import ROUND, ChangeFailedError, Outsider, Run, run, running_here
from aeraki_xds.cli.options import ADDRESS
from aeraki_xds.errors import AerakiError
from aeraki_xds.settings import Address, TlsFiles
from aeraki_xds.xds.resource import FULL_STATE, TypeUrl

_CERTIFICATES: Final = ("cert-chain.pem", "key.pem", "root-cert.pem")


class BenchFailedError(AerakiError):
    """Somebody was not served; the message says who and why."""


class _Share(click.ParamType[float]):
    """How many of all: `1%`, or a number."""

    name = "N|P%"

    def convert(
        self, value: str | float, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """A share below 1, or a whole number."""
        text = str(value)
        try:
            share = float(text.removesuffix("%")) / 100 if text.endswith("%") else int(text)
        except ValueError:
            self.fail(f"{value!r} is no number and no percentage", param, ctx)
        if share < 0 or (text.endswith("%") and share >= 1):
            self.fail(f"{value!r} is not between none and all", param, ctx)
        return share


@click.command()
@click.option("--target", type=ADDRESS, required=True, help="The xDS server.")
@click.option("--streams", type=click.IntRange(min=1), default=1000, show_default=True)
@click.option(
    "--per-connection",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Streams on each connection.",
)
@click.option(
    "--type",
    "kind",
    default="rds",
    show_default=True,
    metavar=f"{'|'.join(TYPES)}|URL",
    help="What is asked for: a type by its short name or its type URL.",
)
@click.option(
    "--name",
    default="",
    help="The resource that is asked for; {n} is replaced by numbers from 0 to --services, one "
    "stream after the other. Empty is the wildcard, for lds and cds.",
)
@click.option("--services", type=click.IntRange(min=1), default=1, show_default=True,
              help="How many numbers {n} stands for.")  # fmt: skip
@click.option("--names-each", type=click.IntRange(min=1), default=1, show_default=True,
              help="How many names each stream asks for.")  # fmt: skip
@click.option("--delta", is_flag=True, help="Incremental xDS; else state of the world.")
@click.option("--ads", is_flag=True, help="Ask on the aggregated service, not on the type's own.")
@click.option(
    "--node",
    type=click.Choice([node.value for node in Node]),
    default=Node.SMALL.value,
    show_default=True,
    help="What each stream says of its client: an id; 2 KB as sidecars do; the 61 KB of an Envoy.",
)
@click.option("--namespace", default="default", show_default=True,
              help="That of the clients; under mutual TLS that of their certificate.")  # fmt: skip
@click.option(
    "--certs-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help=f"Connect with mutual TLS: {', '.join(_CERTIFICATES)} are in this folder.",
)
@click.option("--stalled", type=_Share(), default="0", show_default=True,
              help="How many connections never read.")  # fmt: skip
@click.option("--at-once", type=click.IntRange(min=0), default=0,
              help="How many connections are opened at a time; all, if this is 0.")  # fmt: skip
@click.option("--retry", type=click.FloatRange(min=0.0, min_open=True), metavar="SECONDS",
              help="Ask again after so long when refused; else that is a failure.")  # fmt: skip
@click.option(
    "--change",
    "command",
    default="",
    metavar="COMMAND",
    help="A shell command that changes what is served; times count from its start. It is told the "
    f"number of its call as ${ROUND}. Without it the streams are opened, and that is all.",
)
@click.option("--rounds", type=click.IntRange(min=1), default=10, show_default=True,
              help="Rounds of each kind; two more come first and do not count.")  # fmt: skip
@click.option("--pid", type=click.IntRange(min=1),
              help="The server's process, if it runs here: measure CPU and memory.")  # fmt: skip
@click.option("--processes", type=click.IntRange(min=1), default=max((os.cpu_count() or 2) - 1, 1),
              help="Load generators; by default one for each processor but one.")  # fmt: skip
@click.option("--patience", type=click.FloatRange(min=0.0, min_open=True), default=60.0,
              show_default=True, metavar="SECONDS", help="How long anything may take.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print every round as JSON.")
def bench(
    *,
    target: Address,
    kind: str,
    certs_dir: Path | None,
    stalled: float,
    command: str,
    rounds: int,
    pid: int | None,
    processes: int,
    patience: float,
    as_json: bool,
    **asked: object,
) -> None:
    """Drive an xDS server with many discovery streams, and measure it.

    \b
    For example, a server of this machine, each round a change of a file:
      aeraki-xds bench --target 127.0.0.1:15010 --pid $(pgrep -f 'aeraki-xds serve') \\
        --streams 2000 --name hello.demo.svc.cluster.local_9090 --change ./change.sh
    where change.sh is
      sed "s/ROUND/$AERAKI_BENCH_ROUND/" route.yaml > mesh/.new && mv mesh/.new mesh/route.yaml
    """
    load = _load(target, kind, certs_dir, stalled, asked)
    if pid is not None and not running_here(pid):
        raise click.BadParameter(f"there is no process {pid} here", param_hint="--pid")
    plan = Run(load=load, target=Outsider(command=command, pid=pid), rounds=rounds,
               processes=processes, patience=patience)  # fmt: skip
    try:
        figures = asyncio.run(run(plan, say=_say))
    except (LostError, ChangeFailedError, OSError) as failure:
        raise BenchFailedError(str(failure)) from failure
    finally:
        _say("")
    if as_json:
        click.echo(report.as_json(load, figures))
    else:
        click.echo(f"{report.title(load)}\n\n{report.table(figures)}")


def _load(
    target: Address, kind: str, certs_dir: Path | None, stalled: float, asked: dict[str, object]
) -> Load:
    type_url = TYPES.get(kind, TypeUrl(kind))
    if "/" not in type_url:
        raise click.BadParameter(f"{kind!r} is none of {', '.join(TYPES)} and no type URL",
                                 param_hint="--type")  # fmt: skip
    if not asked["name"] and type_url not in FULL_STATE:
        raise click.BadParameter(f"{kind} has no wildcard: what is asked for?", param_hint="--name")
    tls = None
    if certs_dir is not None:
        certificate, key, roots = (certs_dir / name for name in _CERTIFICATES)
        tls = TlsFiles(certificate=certificate, key=key, roots=roots)
    aggregated, node = bool(asked.pop("ads")), Node(str(asked.pop("node")))
    load = Load(host=target.host, port=target.port, type_url=type_url, tls=tls,
                aggregated=aggregated, node=node, **asked)  # type: ignore[arg-type]  # fmt: skip
    deaf = math.ceil(stalled if stalled >= 1 else stalled * load.connections)
    if deaf >= load.connections:
        raise click.BadParameter("somebody has to read", param_hint="--stalled")
    return dataclasses.replace(load, deaf=deaf)


def _say(progress: str) -> None:
    """On the line of the terminal where the last was; a file is spared it."""
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[K{progress}", err=True, nl=False)
