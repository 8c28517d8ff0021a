"""`validate` and `translate`: manifests without a server."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
import yaml

from aeraki_xds.cli.options import delivery_options, mesh_options, output_option, print_result
from aeraki_xds.errors import ConfigurationError
from aeraki_xds.ingest.decode import decode
from aeraki_xds.ingest.files import read_paths
from aeraki_xds.mesh.tenancy import Tenancy
from aeraki_xds.pipeline.offline import Offline
from aeraki_xds.pipeline.offline import translate as translate_offline
from aeraki_xds.pipeline.scopes import (
    GLOBAL_SPEC,
    ScopeSpec,
    everything,
    for_istio,
    spec_of_node,
)
from aeraki_xds.telemetry import configure_logging
from aeraki_xds.translate.envoyfilter.difference import difference
from aeraki_xds.translate.envoyfilter.profile import AERAKI_1_4, CURRENT, EnvoyFilters

_paths = click.argument(
    "paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path)
)


_targets = click.Choice(["metards", "envoyfilter", "ads", "all"])


@click.command()
@_paths
@click.option(
    "--to",
    "target",
    type=_targets,
    help="For which output to check; default: for what `serve` serves, MetaRDS and ADS.",
)
@mesh_options
@delivery_options
def validate(
    *, paths: Sequence[Path], target: str | None, tenancy: Tenancy, delivery: EnvoyFilters
) -> None:
    """Check manifests, one line a problem, errors before warnings; exit 1 if any is an error."""
    wanted = ["metards", "ads"] if target is None else [target]
    specs = [spec for each in wanted for spec in _specs(each, delivery, everything()).values()]
    offline = _read(paths, specs, tenancy)
    for entry in sorted(offline.entries, key=lambda each: not each.is_error):
        click.echo(str(entry))
    _conclude(offline)


@click.command()
@_paths
@click.option(
    "--to",
    "target",
    type=_targets,
    default="all",
    show_default=True,
    help="Which output to print.",
)
@click.option(
    "--node",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A JSON or YAML file with an Envoy node; default: a stock Envoy that sees all namespaces.",
)
@click.option(
    "--diff",
    is_flag=True,
    help="Print instead how many listeners each mend would touch, and all that are given together, "
    "against the EnvoyFilters of Aeraki.",
)
@mesh_options
@delivery_options
@output_option
def translate(
    *,
    paths: Sequence[Path],
    target: str,
    node: Path | None,
    diff: bool,
    tenancy: Tenancy,
    delivery: EnvoyFilters,
    output: str,
) -> None:
    """Print what proxies would be served and Istio be given, without a server; exit 1 on invalid
    input."""
    if diff:
        _print_differences(paths, tenancy, delivery, output)
        return
    ads = spec_of_node(_load_node(node)) if node else everything()
    asked = _specs(target, delivery, ads)
    offline = _read(paths, list(asked.values()), tenancy)
    results = dict(zip(asked, offline.scopes, strict=True))
    result: dict[str, object] = dict(results)
    if "metards" in results:
        result["metards"] = {
            name: body for of in results["metards"].values() for name, body in of.items()
        }
    if "envoyfilters" in results:
        result["envoyfilters"] = [
            each for of in results["envoyfilters"].values() for each in of.values()
        ]
    print_result(result, output)
    _say(offline)
    _conclude(offline)


def _specs(target: str, delivery: EnvoyFilters, ads: ScopeSpec) -> dict[str, ScopeSpec]:
    """What makes up an output, by the name under which it is printed."""
    specs = {"metards": GLOBAL_SPEC, "envoyfilters": for_istio(delivery), "ads": ads}
    return {name: s for name, s in specs.items() if target == "all" or name.startswith(target)}


def _print_differences(
    paths: Sequence[Path], tenancy: Tenancy, delivery: EnvoyFilters, output: str
) -> None:
    """Each mend by itself against Aeraki's own output, and the whole."""
    before = replace(EnvoyFilters.of(AERAKI_1_4), namespace_scope=delivery.namespace_scope)
    asked = EnvoyFilters.of(CURRENT) if delivery == before else delivery
    steps = {mend.value: replace(before, mends=frozenset({mend})) for mend in sorted(asked.mends)}
    if asked.redis_auth is not before.redis_auth:
        steps[f"redis-auth={asked.redis_auth}"] = replace(before, redis_auth=asked.redis_auth)
    steps["all together"] = replace(asked, namespace_scope=delivery.namespace_scope)
    offline = _read(paths, [for_istio(each) for each in (before, *steps.values())], tenancy)
    of_aeraki, *others = (
        {n: o for of in scope.values() for n, o in of.items()} for scope in offline.scopes
    )
    found = {name: difference(of_aeraki, other) for name, other in zip(steps, others, strict=True)}
    result = {
        "differences": {name: each.plain() for name, each in found.items() if each},
        "without effect": [name for name, each in found.items() if not each],
    }
    print_result(result, output)
    _say(offline)
    _conclude(offline)


def _say(offline: Offline) -> None:
    for entry in offline.entries:
        click.echo(str(entry), err=True)


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
