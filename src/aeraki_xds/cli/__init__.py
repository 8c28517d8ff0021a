"""The command line: `serve`, `status`, `translate`, `validate`, `bootstrap`, `demo`,
`bench`.

A contract, for scripts use it: results go to standard output, everything else to standard error;
exit status 0 is success, 1 invalid configuration or a proxy that is not in sync, 2 a command that
could not be carried out. One module a command.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Final

import click

from aeraki_xds import __version__
from aeraki_xds.errors import AerakiError

COMMANDS: Final[Mapping[str, str]] = {
    "serve": "serve",
    "status": "status",
    "validate": "offline",
    "translate": "offline",
    "bootstrap": "bootstrap",
    "demo": "demo",
    "bench": "bench",
}
"""The module of each command, imported for that command alone: all together take 0.6 s,
`bootstrap` 0.1."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"{__name__}.{COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, cmd_name)
        return command


@click.group(
    cls=_Commands,
    context_settings={"auto_envvar_prefix": "AERAKI", "help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="aeraki-xds")
def cli() -> None:
    """The control plane of Aeraki Mesh: layer-7 traffic management for anything but HTTP."""


def main() -> None:
    """The entry point: an error of ours is one line, never a traceback."""
    try:
        cli()
    except AerakiError as failure:
        click.echo(f"aeraki-xds: {failure}", err=True)
        sys.exit(2)
