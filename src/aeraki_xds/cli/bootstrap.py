"""`bootstrap`: what a stock Envoy starts with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
import orjson

from aeraki_xds.cli.options import ADDRESS, XDS_ADDRESS, output_option, print_result
from aeraki_xds.errors import ConfigurationError
from aeraki_xds.settings import DEFAULT_XDS_ADDRESS, Address, UnixAddress
from aeraki_xds.translate.bootstrap import BootstrapSettings, MutualTls, secrets
from aeraki_xds.translate.bootstrap import bootstrap as make_bootstrap


@click.command()
@click.option("--node", "node_id", required=True, help="The proxy's node.id.")
@click.option("--cluster", default="aeraki", show_default=True, help="The proxy's node.cluster.")
@click.option(
    "--metadata",
    multiple=True,
    metavar="KEY=VALUE",
    help="Node metadata, for example NAMESPACE=shop or AERAKI_BIND=vip; may be repeated.",
)
@click.option(
    "--xds-address",
    type=XDS_ADDRESS,
    default=DEFAULT_XDS_ADDRESS,
    show_default=True,
    help="Our address.",
)
@click.option(
    "--proxy-admin",
    type=ADDRESS,
    default="127.0.0.1:15000",
    show_default=True,
    help="The proxy's own admin address.",
)
@click.option("--delta", is_flag=True, help="Use incremental xDS.")
@click.option("--mtls", is_flag=True, help="Connect with certificates from --certs-dir.")
@click.option(
    "--certs-dir",
    type=click.Path(path_type=Path),
    default=Path("/etc/certs"),
    show_default=True,
    help="Where cert-chain.pem, key.pem and root-cert.pem are on the proxy's disk.",
)
@click.option(
    "--secrets-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="With --mtls: write two small files here that say where the certificates are, and have "
    "the proxy read them from there. It then takes new certificates without a restart, when their "
    "files are replaced by a rename; else it reads them once.",
)
@click.option(
    "--server-name",
    default="spiffe://cluster.local/ns/istio-system/sa/aeraki",
    show_default=True,
    help="The name that our certificate must carry: a DNS name or a URI.",
)
@output_option
def bootstrap(
    *,
    node_id: str,
    cluster: str,
    metadata: Sequence[str],
    xds_address: Address | UnixAddress,
    proxy_admin: Address,
    delta: bool,
    mtls: bool,
    certs_dir: Path,
    secrets_dir: Path | None,
    server_name: str,
    output: str,
) -> None:
    """Print a working bootstrap for an Envoy that takes everything from us."""
    if secrets_dir is not None and not mtls:
        message = "--secrets-dir is for certificates: say --mtls too"
        raise ConfigurationError(message)
    tls = MutualTls(
        certificate=str(certs_dir / "cert-chain.pem"),
        key=str(certs_dir / "key.pem"),
        root=str(certs_dir / "root-cert.pem"),
        server_name=server_name,
        secrets_dir=None if secrets_dir is None else str(secrets_dir.absolute()),
    )
    settings = BootstrapSettings(
        node_id=node_id,
        cluster=cluster,
        metadata=dict(_pair(each) for each in metadata),
        admin_host=proxy_admin.host,
        admin_port=proxy_admin.port,
        delta=delta,
        tls=tls if mtls else None,
    )
    match xds_address:
        case Address():
            settings = replace(settings, xds_host=xds_address.host, xds_port=xds_address.port)
        case UnixAddress():
            settings = replace(settings, xds_path=str(xds_address.path))
    if secrets_dir is not None:
        _write_secrets(tls, secrets_dir)
    print_result(make_bootstrap(settings), output)


def _write_secrets(tls: MutualTls, folder: Path) -> None:
    """They name files and hold no key."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in secrets(tls).items():
            fresh = folder / f".{name}.new"
            fresh.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))
            fresh.replace(folder / name)
    except OSError as failure:
        message = f"--secrets-dir {folder}: {failure.strerror or failure}"
        raise ConfigurationError(message) from failure


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        message = f"--metadata {text!r}: write KEY=VALUE"
        raise ConfigurationError(message)
    return key, value
