"""`validate` and `translate`: manifests without a server."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click
import yaml

from aeraki_xds.cli.options import mesh_options, output_option, print_result
from aeraki_xds.errors import ConfigurationError
from aeraki_xds.ingest.decode import decode
from aeraki_xds.ingest.files import read_paths
from aeraki_xds.mesh.tenancy import Tenancy
from aeraki_xds.pipeline.offline import Offline
from aeraki_xds.pipeline.offline import translate as translate_offline
from aeraki_xds.pipeline.scopes import GLOBAL_SPEC, ScopeSpec, everything, spec_of_node
from aeraki_xds.telemetry import configure_logging

_paths = click.argument(
    "paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path)
)


@click.command()
@_paths
@mesh_options
def validate(*, paths: Sequence[Path], tenancy: Tenancy) -> None:
    """Check manifests, one line a problem, errors before warnings; exit 1 if any is an error."""
    offline = _read(paths, [GLOBAL_SPEC, everything()], tenancy)
    for entry in sorted(offline.entries, key=lambda each: not each.is_error):
        click.echo(str(entry))
    _conclude(offline)


@click.command()
@_paths
@click.option(
    "--to",
    "target",
    type=click.Choice(["metards", "ads", "all"]),
    default="all",
    show_default=True,
    help="Which output to print.",
)
@click.option(
    "--node",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A JSON or YAML file with an Envoy node; default: a stock Envoy that sees all namespaces.",
)
@mesh_options
@output_option
def translate(
    *, paths: Sequence[Path], target: str, node: Path | None, tenancy: Tenancy, output: str
) -> None:
    """Print what proxies would be served, without a server; exit 1 on invalid input."""
    ads = spec_of_node(_load_node(node)) if node else everything()
    offline = _read(paths, [GLOBAL_SPEC, ads], tenancy)
    metards, of_ads = offline.scopes
    result: dict[str, object] = {}
    if target in ("metards", "all"):
        result["metards"] = {
            name: body for resources in metards.values() for name, body in resources.items()
        }
    if target in ("ads", "all"):
        result["ads"] = of_ads
    print_result(result, output)
    for entry in offline.entries:
        click.echo(str(entry), err=True)
    _conclude(offline)


def _read(paths: Sequence[Path], specs: Sequence[ScopeSpec], tenancy: Tenancy) -> Offline:
    configure_logging(level="error")
    return translate_offline(read_paths(paths, decode), specs, tenancy=tenancy)


def _conclude(offline: Offline) -> None:
    errors = sum(entry.is_error for entry in offline.entries)
    warnings = len(offline.entries) - errors
    counts = ((offline.objects, "object"), (errors, "error"), (warnings, "warning"))
    said = ", ".join(f"{n} {what}{'' if n == 1 else 's'}" for n, what in counts)
    click.echo(said, err=True)
    if not offline.is_valid:
        sys.exit(1)


def _load_node(path: Path) -> dict[str, object]:
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as failure:
        reason = " ".join(str(failure).split())  # PyYAML's takes five lines
        message = f"--node {path}: not YAML or JSON: {reason}"
        raise ConfigurationError(message) from failure
    if not isinstance(loaded, dict):
        message = f"--node {path}: must hold a mapping with id and metadata"
        raise ConfigurationError(message)
    return loaded
