"""`demo`: the story of the README, with real processes."""

from __future__ import annotations

import sys

import click

from aeraki_xds.cli.running import run_until_signalled
from aeraki_xds.errors import ConfigurationError
from aeraki_xds.telemetry import configure_logging


@click.command()
@click.option("--keep", is_flag=True, help="Leave everything running at the end, to play with.")
def demo(*, keep: bool) -> None:
    """Show it: routes change under a real Envoy and no connection is cut (about 20 seconds)."""
    try:
        from aeraki_xds.demo.story import run_demo
    except ModuleNotFoundError as missing:
        message = f"{missing.name} is missing; install it with: pip install 'aeraki-xds[demo]'"
        raise ConfigurationError(message) from missing
    configure_logging(level="error")
    success = run_until_signalled(lambda: run_demo(keep=keep))
    if success is None:
        sys.exit(130)
    sys.exit(0 if success else 1)
