"""What `serve --kubernetes` can be told, as one `ClusterSettings`. Names are Aeraki's where it has
one.
"""

from __future__ import annotations

import functools
import os
import socket
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from aeraki_xds.cli.options import ADDRESS, delivery_options
from aeraki_xds.settings import DEFAULT_PROBE_ADDRESS, Address, ClusterSettings, Role
from aeraki_xds.translate.envoyfilter.profile import EnvoyFilters

F = TypeVar("F", bound=Callable[..., Any])


def cluster_options(command: F) -> F:
    """The options that only mean something with --kubernetes; they arrive as one `cluster`, None
    without."""

    @click.option(
        "--kubernetes",
        is_flag=True,
        help="Read a Kubernetes cluster, and write EnvoyFilters there.",
    )
    @click.option(
        "--kubeconfig",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="How to reach the cluster; default: the one that this process runs in.",
    )
    @click.option(
        "--config-store-secret",
        default="",
        metavar="NAME",
        help="A Secret of the root namespace whose key kubeconfig.admin leads to another cluster, "
        "in which the configuration is.",
    )
    @click.option(
        "--http-address",
        "probe_address",
        type=ADDRESS,
        default=DEFAULT_PROBE_ADDRESS,
        show_default=True,
        help="With --kubernetes: where /ready, /readyz, /healthz and /metrics are, for everyone.",
    )
    @click.option(
        "--master/--no-master",
        "writes",
        default=True,
        show_default=True,
        help="Write EnvoyFilters when elected, or serve xDS only.",
    )
    @click.option("--shadow", is_flag=True, help="Write nothing, and print what would be written.")
    @click.option(
        "--server-id",
        default="",
        metavar="ID",
        help="Who this replica is in elections; default: POD_NAME, or one made up.",
    )
    @click.option(
        "--instance",
        default="aeraki-xds",
        show_default=True,
        help="Which installation this is: it owns the EnvoyFilters labelled so, and no others.",
    )
    @click.option(
        "--confirm-deletions",
        default="",
        metavar="DIGEST",
        help="Agree to a mass deletion, by the digest that the log and /debug/rejections print.",
    )
    @delivery_options
    @functools.wraps(command)
    def with_cluster(
        *,
        kubernetes: bool,
        kubeconfig: Path | None,
        config_store_secret: str,
        probe_address: Address,
        writes: bool,
        shadow: bool,
        server_id: str,
        instance: str,
        confirm_deletions: str,
        delivery: EnvoyFilters,
        **rest: Any,
    ) -> Any:
        cluster = ClusterSettings(
            kubeconfig=kubeconfig,
            config_store_secret=config_store_secret,
            probe_address=probe_address,
            delivery=delivery,
            role=Role.SHADOW if shadow else Role.WRITE if writes else Role.NONE,
            server_id=server_id or _own_id(),
            instance=instance,
            confirm_deletions=confirm_deletions,
        )
        return command(cluster=cluster if kubernetes else None, **rest)

    return cast("F", with_cluster)


def _own_id() -> str:
    """Unique, also where two replicas have one host name."""
    return os.environ.get("POD_NAME") or f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
