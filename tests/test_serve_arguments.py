"""What Aeraki's arguments become is what `serve` understands: parsed as on a command line, and
nothing is run."""

from __future__ import annotations

import click
import pytest

from aeraki_xds.cli.arguments import arguments_of
from aeraki_xds.cli.serve import serve
from tests.test_arguments import CHANGED, DEFAULTS, options, said

OPTIONS = {name: each for each in serve.params for name in (*each.opts, *each.secondary_opts)}


def parsed(arguments: tuple[str, ...]) -> click.Context:
    """As `aeraki-xds` would; click refuses what it does not know."""
    command, *rest = arguments
    assert command == serve.name
    return serve.make_context(command, rest)


def means(context: click.Context, name: str, value: str) -> bool:
    """Whether an option was understood as it was written."""
    option = OPTIONS[name]
    understood = context.params[str(option.name)]
    if isinstance(option, click.Option) and option.is_flag:
        return understood is (name in option.opts)
    return bool(understood == option.type_cast_value(context, value))


def test_serve_understands_what_aeraki_without_arguments_becomes() -> None:
    context = parsed(arguments_of([], {}).arguments)
    for name, value in options(DEFAULTS).items():
        assert means(context, name, value), name


@pytest.mark.parametrize("source", CHANGED)
def test_serve_understands_each_setting_of_aeraki_with_its_value(source: str) -> None:
    value, changed = CHANGED[source]
    context = parsed(arguments_of(*said(source, value)).arguments)
    for name, wanted in changed.items():
        assert wanted is None or means(context, name, wanted), name
