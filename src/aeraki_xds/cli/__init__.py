"""The command line: `serve`, `status`, `translate`, `validate`, `bootstrap`, `demo`,
`bench`.

A contract, for scripts use it: results go to standard output, everything else to standard error;
exit status 0 is success, 1 invalid configuration or a proxy that is not in sync, 2 a command that
could not be carried out. One module a command.
"""

from __future__ import annotations

import sys

import click

from aeraki_xds import __version__
from aeraki_xds.cli.bench import bench
from aeraki_xds.cli.bootstrap import bootstrap
from aeraki_xds.cli.demo import demo
from aeraki_xds.cli.offline import translate, validate
from aeraki_xds.cli.serve import serve
from aeraki_xds.cli.status import status
from aeraki_xds.errors import AerakiError


@click.group(
    context_settings={"auto_envvar_prefix": "AERAKI", "help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, prog_name="aeraki-xds")
def cli() -> None:
    """The control plane of Aeraki Mesh: layer-7 traffic management for anything but HTTP."""


for _command in (serve, status, validate, translate, bootstrap, demo, bench):
    cli.add_command(_command)


def main() -> None:
    """The entry point: an error of ours is one line, never a traceback."""
    try:
        cli()
    except AerakiError as failure:
        click.echo(f"aeraki-xds: {failure}", err=True)
        sys.exit(2)
