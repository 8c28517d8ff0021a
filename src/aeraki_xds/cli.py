"""The command line: `serve`, `translate`, `validate`, `bootstrap`, `demo`.

A contract, for scripts use it: results go to standard output, everything else to standard error;
exit status 0 is success, 1 invalid configuration, 2 a command that could not be carried out.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import click
import orjson
import yaml

from aeraki_xds import __version__
from aeraki_xds.app import serve as run_server
from aeraki_xds.errors import AerakiError, ConfigurationError
from aeraki_xds.ingest.decode import decode
from aeraki_xds.ingest.files import read_paths
from aeraki_xds.mesh.names import DEFAULT_DOMAIN, Namespace
from aeraki_xds.mesh.tenancy import DEFAULT_ROOT, Tenancy, TenancyMode
from aeraki_xds.pipeline.offline import Offline
from aeraki_xds.pipeline.offline import translate as translate_offline
from aeraki_xds.pipeline.scopes import GLOBAL_SPEC, ScopeSpec, everything, spec_of_node
from aeraki_xds.settings import (
    DEFAULT_ADMIN_ADDRESS,
    DEFAULT_XDS_ADDRESS,
    Address,
    ServeSettings,
)
from aeraki_xds.telemetry import LogFormat, configure_logging
from aeraki_xds.translate.bootstrap import BootstrapSettings, MutualTls
from aeraki_xds.translate.bootstrap import bootstrap as make_bootstrap

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


class _AddressType(click.ParamType[Address]):
    name = "HOST:PORT"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Address:
        try:
            return value if isinstance(value, Address) else Address.parse(value)
        except ValueError as failure:
            self.fail(str(failure), param, ctx)


ADDRESS = _AddressType()
_paths = click.argument(
    "paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path)
)


def _mesh_options(command: F) -> F:
    """The options of every command that reads a mesh; they arrive as one `tenancy`."""

    @click.option(
        "--domain", default=DEFAULT_DOMAIN, show_default=True, help="The cluster's DNS suffix."
    )
    @click.option(
        "--tenancy",
        "mode",
        type=click.Choice([mode.value for mode in TenancyMode]),
        default=TenancyMode.STRICT.value,
        show_default=True,
        help="What happens to an object that speaks about another namespace's host: strict refuses "
        "it, warn accepts it with a warning, legacy accepts it as Aeraki does.",
    )
    @click.option(
        "--root-namespace",
        default=DEFAULT_ROOT,
        show_default=True,
        help="Istio's root namespace, whose objects may speak about any host.",
    )
    @functools.wraps(command)
    def with_tenancy(*, domain: str, mode: str, root_namespace: str, **rest: Any) -> Any:
        root = Namespace(root_namespace)
        tenancy = Tenancy(mode=TenancyMode(mode), root=root, domain=domain)
        return command(tenancy=tenancy, **rest)

    return cast("F", with_tenancy)


_output = click.option(
    "-o", "--output", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True
)


@click.group(
    context_settings={"auto_envvar_prefix": "AERAKI", "help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, prog_name="aeraki-xds")
def cli() -> None:
    """The control plane of Aeraki Mesh: layer-7 traffic management for anything but HTTP."""


@cli.command()
@click.option(
    "--config-dir",
    type=click.Path(path_type=Path),
    required=True,
    help="A folder of Kubernetes-style YAML or JSON; it is watched.",
)
@click.option(
    "--xds-address",
    type=ADDRESS,
    default=DEFAULT_XDS_ADDRESS,
    show_default=True,
    help="Where proxies connect, in plaintext; port 0 picks one.",
)
@click.option(
    "--allow-plaintext",
    is_flag=True,
    help="Serve xDS without TLS on an address that is not loopback.",
)
@click.option(
    "--admin-address",
    type=ADDRESS,
    default=DEFAULT_ADMIN_ADDRESS,
    show_default=True,
    help="Where operators look; port 0 picks one.",
)
@_mesh_options
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
    config_dir: Path,
    xds_address: Address,
    allow_plaintext: bool,
    admin_address: Address,
    tenancy: Tenancy,
    log_level: str,
    log_format: LogFormat,
) -> None:
    """Serve the configuration in a folder to proxies, and every change of it."""
    configure_logging(level=log_level, log_format=log_format)
    if not (xds_address.is_loopback or allow_plaintext):
        message = (
            f"--xds-address {xds_address} would serve xDS in plaintext to other machines: use a "
            "loopback address, or say --allow-plaintext"
        )
        raise ConfigurationError(message)
    settings = ServeSettings(
        config_dir=config_dir,
        xds_address=xds_address,
        admin_address=admin_address,
        tenancy=tenancy,
    )
    run_until_signalled(lambda: run_server(settings, announce=click.echo))


@cli.command()
@_paths
@_mesh_options
def validate(*, paths: Sequence[Path], tenancy: Tenancy) -> None:
    """Check manifests, one line a problem, errors before warnings; exit 1 if any is an error."""
    offline = _read(paths, [GLOBAL_SPEC, everything()], tenancy)
    for entry in sorted(offline.entries, key=lambda each: not each.is_error):
        click.echo(str(entry))
    _conclude(offline)


@cli.command()
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
@_mesh_options
@_output
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
    _print(result, output)
    for entry in offline.entries:
        click.echo(str(entry), err=True)
    _conclude(offline)


@cli.command()
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
    type=ADDRESS,
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
    "--server-name",
    default="spiffe://cluster.local/ns/istio-system/sa/aeraki",
    show_default=True,
    help="The name that our certificate must carry: a DNS name or a URI.",
)
@_output
def bootstrap(
    *,
    node_id: str,
    cluster: str,
    metadata: Sequence[str],
    xds_address: Address,
    proxy_admin: Address,
    delta: bool,
    mtls: bool,
    certs_dir: Path,
    server_name: str,
    output: str,
) -> None:
    """Print a working bootstrap for an Envoy that takes everything from us."""
    tls = MutualTls(
        certificate=str(certs_dir / "cert-chain.pem"),
        key=str(certs_dir / "key.pem"),
        root=str(certs_dir / "root-cert.pem"),
        server_name=server_name,
    )
    settings = BootstrapSettings(
        node_id=node_id,
        cluster=cluster,
        metadata=dict(_pair(each) for each in metadata),
        xds_host=xds_address.host,
        xds_port=xds_address.port,
        admin_host=proxy_admin.host,
        admin_port=proxy_admin.port,
        delta=delta,
        tls=tls if mtls else None,
    )
    _print(make_bootstrap(settings), output)


@cli.command()
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


def run_until_signalled(main: Callable[[], Coroutine[Any, Any, T]]) -> T | None:
    """Run a coroutine on uvloop; SIGTERM and SIGINT cancel it, and it ends cleanly."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if sys.platform != "win32":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(_cancelled_by_signals(main()))


async def _cancelled_by_signals(main: Coroutine[Any, Any, T]) -> T | None:
    task = asyncio.ensure_future(main)
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):  # Windows
            loop.add_signal_handler(each, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        return None


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


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        message = f"--metadata {text!r}: write KEY=VALUE"
        raise ConfigurationError(message)
    return key, value


def _print(value: object, output: str) -> None:
    if output == "json":
        dumped = orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
        click.echo(dumped.decode())
    else:
        click.echo(yaml.safe_dump(value, sort_keys=True, allow_unicode=True), nl=False)


def main() -> None:
    """The entry point: an error of ours is one line, never a traceback."""
    try:
        cli()
    except AerakiError as failure:
        click.echo(f"aeraki-xds: {failure}", err=True)
        sys.exit(2)
