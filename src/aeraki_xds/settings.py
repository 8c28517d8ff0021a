"""What `serve` can be told, as one frozen value; flags and AERAKI_* variables become this."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from aeraki_xds.mesh.tenancy import Tenancy
from aeraki_xds.translate.envoyfilter.profile import EnvoyFilters
from aeraki_xds.xds.identity import DEFAULT_TRUST_DOMAIN

DEFAULT_XDS_ADDRESS: Final = "127.0.0.1:15010"
DEFAULT_ADMIN_ADDRESS: Final = "127.0.0.1:8080"
DEFAULT_GRACE_PERIOD: Final = 5.0

DEFAULT_CLUSTER_XDS_ADDRESS: Final = ":15010"
DEFAULT_CLUSTER_ADMIN_ADDRESS: Final = "127.0.0.1:15014"
DEFAULT_PROBE_ADDRESS: Final = ":8080"
"""In a cluster: where sidecars, operators and the kubelet look, as for Aeraki and istiod."""

_UNIX: Final = "unix:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A host and a port; port 0 lets the system choose."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read `host:port`, `[v6]:port` or `:port` (every address). Raises ValueError."""
        host, colon, port = text.rpartition(":")
        if not colon or not port.isdecimal() or int(port) > 65535:
            message = f"{text!r} is not HOST:PORT"
            raise ValueError(message)
        return cls(host=host.strip("[]") or "0.0.0.0", port=int(port))

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnixAddress:
    """A socket in the file system, for processes of this machine that its folder lets in."""

    path: Path

    @property
    def is_loopback(self) -> bool:
        """Always."""
        return True

    def __str__(self) -> str:
        return f"{_UNIX}{self.path}"


def parse_xds_address(text: str) -> Address | UnixAddress:
    """Read `unix:PATH`, or what `Address.parse` reads. Raises ValueError."""
    if not text.startswith(_UNIX):
        return Address.parse(text)
    path = text.removeprefix(_UNIX)
    if not path:
        message = f"{text!r} names no path"
        raise ValueError(message)
    return UnixAddress(path=Path(path))


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """What xDS is served with under mutual TLS; read again whenever they change."""

    certificate: Path
    key: Path
    roots: Path

    @classmethod
    def within(cls, folder: Path) -> TlsFiles:
        """Under the names that Istio gives them."""
        return cls(
            certificate=folder / "cert-chain.pem",
            key=folder / "key.pem",
            roots=folder / "root-cert.pem",
        )


class Role(Enum):
    """What a replica does with EnvoyFilters."""

    WRITE = "write"
    """It writes them while it leads."""
    SHADOW = "shadow"
    """It prints what it would write."""
    NONE = "none"
    """It serves xDS only (Aeraki's `--master=false`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSettings:
    """A Kubernetes cluster to read from and to write EnvoyFilters into. `kubeconfig` None: the one
    that this process is in. Where `config_store_secret` names a Secret of the root namespace, the
    configuration is in the cluster of its kubeconfig. `server_id` is who we are to other replicas,
    `instance` whose the objects are; `confirm_deletions` a digest that the log printed.
    """

    kubeconfig: Path | None = None
    config_store_secret: str = ""
    probe_address: Address | None = None
    delivery: EnvoyFilters
    role: Role = Role.WRITE
    server_id: str
    instance: str = "aeraki-xds"
    confirm_deletions: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSettings:
    """Where the configuration is, a folder or a cluster, where to serve it, and to whom.
    `grace_period` is what streams have to end when the server stops, in seconds; `state_dir` where
    the last good configuration is kept for after a restart, if it is.
    """

    source: Path | ClusterSettings
    xds_address: Address | UnixAddress
    admin_address: Address
    tenancy: Tenancy
    tls: TlsFiles | None = None
    trust_domains: tuple[str, ...] = (DEFAULT_TRUST_DOMAIN,)
    grace_period: float = DEFAULT_GRACE_PERIOD
    state_dir: Path | None = None
