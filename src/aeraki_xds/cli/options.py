"""What several commands take and how they print: addresses, the mesh's options and those of
EnvoyFilters, YAML or JSON.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import click
import orjson
import yaml

from aeraki_xds.mesh.names import DEFAULT_DOMAIN, Namespace
from aeraki_xds.mesh.tenancy import DEFAULT_ROOT, Tenancy, TenancyMode
from aeraki_xds.settings import Address, parse_xds_address
from aeraki_xds.translate.envoyfilter.profile import (
    AERAKI_1_4,
    PROFILES,
    EnvoyFilters,
    Mend,
    RedisAuth,
)

A = TypeVar("A")
F = TypeVar("F", bound=Callable[..., Any])


class AddressType(click.ParamType[A]):
    """An address, read by `parse`, which raises ValueError."""

    def __init__(self, name: str, parse: Callable[[str], A]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> A:
        """Read an address; a bad one ends the command."""
        try:
            return self._parse(value) if isinstance(value, str) else cast("A", value)
        except ValueError as failure:
            self.fail(str(failure), param, ctx)


ADDRESS = AddressType("HOST:PORT", Address.parse)
XDS_ADDRESS = AddressType("HOST:PORT|unix:PATH", parse_xds_address)
output_option = click.option(
    "-o", "--output", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True
)


def mesh_options(command: F) -> F:
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
    @click.option(
        "--istio-namespace",
        metavar="NAMESPACE",
        help="Where istiod has its mesh config; default: the root namespace.",
    )
    @click.option(
        "--mesh-config",
        default="istio",
        show_default=True,
        metavar="NAME",
        help="The ConfigMap with the mesh config.",
    )
    @functools.wraps(command)
    def with_tenancy(
        *,
        domain: str,
        mode: str,
        root_namespace: str,
        istio_namespace: str | None,
        mesh_config: str,
        **rest: Any,
    ) -> Any:
        tenancy = Tenancy(
            mode=TenancyMode(mode),
            root=Namespace(root_namespace),
            domain=domain,
            istio=Namespace(istio_namespace) if istio_namespace else None,
            mesh_config=mesh_config,
        )
        return command(tenancy=tenancy, **rest)

    return cast("F", with_tenancy)


def delivery_options(command: F) -> F:
    """The options of every command that makes EnvoyFilters; they arrive as one `delivery`."""
    names = click.Choice([mend.value for mend in Mend])

    @click.option(
        "--profile",
        type=click.Choice(list(PROFILES)),
        default=AERAKI_1_4,
        show_default=True,
        help="How like Aeraki's the EnvoyFilters are: equal to its own, or with every mend "
        "(docs/differences-from-aeraki.md).",
    )
    @click.option(
        "--with",
        "more",
        type=names,
        multiple=True,
        help="A mend that the profile lacks; repeat it.",
    )
    @click.option(
        "--without", "less", type=names, multiple=True, help="A mend of the profile to leave out."
    )
    @click.option(
        "--redis-auth",
        type=click.Choice([auth.value for auth in RedisAuth]),
        help="Where proxies find passwords of Redis: inline, in EnvoyFilters for all to read (the "
        "default of aeraki-1.4), or in a file into which the Secret is mounted (of current).",
    )
    @click.option(
        "--enable-envoy-filter-namespace-scope",
        "namespace_scope",
        is_flag=True,
        help="Put EnvoyFilters into the services' namespaces instead of the root namespace.",
    )
    @functools.wraps(command)
    def with_delivery(
        *,
        profile: str,
        more: tuple[str, ...],
        less: tuple[str, ...],
        redis_auth: str | None,
        namespace_scope: bool,
        **rest: Any,
    ) -> Any:
        meant = EnvoyFilters.of(profile)
        delivery = EnvoyFilters(
            mends=(meant.mends | set(map(Mend, more))) - set(map(Mend, less)),
            redis_auth=RedisAuth(redis_auth) if redis_auth else meant.redis_auth,
            namespace_scope=namespace_scope,
        )
        return command(delivery=delivery, **rest)

    return cast("F", with_delivery)


def print_result(value: object, output: str) -> None:
    """Print a result with sorted keys."""
    if output == "json":
        dumped = orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
        click.echo(dumped.decode())
    else:
        click.echo(yaml.safe_dump(value, sort_keys=True, allow_unicode=True), nl=False)
