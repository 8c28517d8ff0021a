"""`serve`: the process that proxies connect to."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import click
import structlog
from click.core import ParameterSource

from aeraki_xds.app import serve as run_server
from aeraki_xds.cli.cluster import cluster_options
from aeraki_xds.cli.options import ADDRESS, XDS_ADDRESS, mesh_options
from aeraki_xds.cli.running import run_until_signalled
from aeraki_xds.errors import ConfigurationError
from aeraki_xds.mesh.tenancy import Tenancy, TenancyMode
from aeraki_xds.settings import (
    DEFAULT_ADMIN_ADDRESS,
    DEFAULT_CLUSTER_ADMIN_ADDRESS,
    DEFAULT_CLUSTER_XDS_ADDRESS,
    DEFAULT_GRACE_PERIOD,
    DEFAULT_XDS_ADDRESS,
    Address,
    ClusterSettings,
    ServeSettings,
    TlsFiles,
    UnixAddress,
    parse_xds_address,
)
from aeraki_xds.telemetry import Lines, LogFormat, configure_logging
from aeraki_xds.xds.identity import DEFAULT_TRUST_DOMAIN


@click.command()
@click.option(
    "--config-dir",
    type=click.Path(path_type=Path),
    help="A folder of Kubernetes-style YAML or JSON; it is watched. This or --kubernetes.",
)
@cluster_options
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    help="A folder for the last good configuration; after a restart it is served, marked stale, "
    "while --config-dir cannot be read.",
)
@click.option(
    "--xds-address",
    type=XDS_ADDRESS,
    help="Where proxies connect; port 0 picks one. A Unix socket is for its owner alone. Default: "
    f"{DEFAULT_XDS_ADDRESS}, with --kubernetes {DEFAULT_CLUSTER_XDS_ADDRESS}.",
)
@click.option(
    "--tls-dir",
    type=click.Path(path_type=Path),
    help="A folder with cert-chain.pem, key.pem and root-cert.pem: serve xDS with mutual TLS. They "
    "are read again when they change.",
)
@click.option(
    "--trust-domain",
    "trust_domains",
    multiple=True,
    default=(DEFAULT_TRUST_DOMAIN,),
    show_default=True,
    help="Where proxies' certificates may be from; may be repeated.",
)
@click.option(
    "--allow-plaintext",
    is_flag=True,
    help="Serve xDS without TLS on an address that is not loopback.",
)
@click.option(
    "--admin-address",
    type=ADDRESS,
    help="Where operators look; port 0 picks one. Default: "
    f"{DEFAULT_ADMIN_ADDRESS}, with --kubernetes {DEFAULT_CLUSTER_ADMIN_ADDRESS}.",
)
@click.option(
    "--grace-period",
    type=click.FloatRange(min=0),
    default=DEFAULT_GRACE_PERIOD,
    show_default=True,
    metavar="SECONDS",
    help="What streams have to end after SIGTERM; a second signal ends everything at once.",
)
@mesh_options
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
)
@click.option(
    "--log-format",
    type=click.Choice(["auto", "text", "json"]),
    default="auto",
    show_default=True,
    help="auto: text on a terminal, JSON elsewhere.",
)
def serve(
    *,
    config_dir: Path | None,
    cluster: ClusterSettings | None,
    state_dir: Path | None,
    xds_address: Address | UnixAddress | None,
    tls_dir: Path | None,
    trust_domains: tuple[str, ...],
    allow_plaintext: bool,
    admin_address: Address | None,
    grace_period: float,
    tenancy: Tenancy,
    log_level: str,
    log_format: LogFormat,
) -> None:
    """Serve the configuration in a folder or a cluster to proxies, and every change of it."""
    configure_logging(level=log_level, log_format=log_format)
    source = _source(config_dir, cluster)
    if cluster is not None:
        tenancy = _admitting(tenancy, cluster)
    if xds_address is None:
        default = DEFAULT_XDS_ADDRESS if cluster is None else DEFAULT_CLUSTER_XDS_ADDRESS
        xds_address = parse_xds_address(default)
    if admin_address is None:
        default = DEFAULT_ADMIN_ADDRESS if cluster is None else DEFAULT_CLUSTER_ADMIN_ADDRESS
        admin_address = Address.parse(default)
    if tls_dir is None and not (xds_address.is_loopback or allow_plaintext):
        message = (
            f"--xds-address {xds_address} would serve xDS in plaintext to other machines: use "
            "--tls-dir or a loopback address, or say --allow-plaintext"
        )
        raise ConfigurationError(message)
    settings = ServeSettings(
        source=source,
        xds_address=xds_address,
        admin_address=admin_address,
        tenancy=tenancy,
        tls=TlsFiles.within(tls_dir) if tls_dir is not None else None,
        trust_domains=trust_domains,
        grace_period=grace_period,
        state_dir=state_dir,
    )
    run_until_signalled(lambda: run_server(settings, announce=_announce))


def _source(config_dir: Path | None, cluster: ClusterSettings | None) -> Path | ClusterSettings:
    if config_dir is not None and cluster is None:
        return config_dir
    if cluster is not None and config_dir is None:
        return cluster
    message = "say where the configuration is: --config-dir DIR or --kubernetes, one of the two"
    raise click.UsageError(message)


def _admitting(tenancy: Tenancy, cluster: ClusterSettings) -> Tenancy:
    """Where we take the place of Aeraki, what it admits is admitted unless we are told otherwise:
    a rule that is refused would take its filters away."""
    asked = click.get_current_context().get_parameter_source("mode")
    if cluster.delivery.mends or asked is not ParameterSource.DEFAULT:
        return tenancy
    return replace(tenancy, mode=TenancyMode.WARN)


def _announce(line: str) -> None:
    """Say on standard output that proxies can connect. Where nobody can be told, they still can."""
    if not Lines(sys.stdout).write(line):
        log = structlog.get_logger("aeraki_xds.cli")
        log.error("standard output cannot be written", announced=line)
