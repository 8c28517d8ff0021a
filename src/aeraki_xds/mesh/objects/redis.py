"""Aeraki's Redis kinds: RedisService and RedisDestination (specification §1.4, §1.5).

A RedisService is about what clients say to a host, a RedisDestination about how proxies reach it.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from aeraki_xds.mesh.objects.aeraki import Aeraki, Percent
from aeraki_xds.mesh.objects.base import Duration, Metadata, Password


class PlainAuth(Aeraki, frozen=True):
    """Credentials written into the object itself."""

    username: str = ""
    password: Password | None = None


class SecretAuth(Aeraki, frozen=True):
    """Credentials in a Secret of the object's namespace; the fields name its keys."""

    name: str = ""
    password_field: str = ""
    username_field: str = ""


class RedisAuth(Aeraki, frozen=True):
    """One of the two."""

    plain: PlainAuth | None = None
    secret: SecretAuth | None = None


class RedisSettings(Aeraki, frozen=True):
    """How a proxy speaks for its clients; unset is what Envoy, or Aeraki, has as default."""

    auth: RedisAuth | None = None
    op_timeout: Duration | None = None
    enable_hashtagging: bool = False
    enable_redirection: bool = False
    enable_command_stats: bool = False
    max_buffer_size_before_flush: int = 0
    buffer_flush_timeout: Duration | None = None
    max_upstream_unknown_connections: int | None = None
    read_policy: Literal["MASTER", "PREFER_MASTER", "REPLICA", "PREFER_REPLICA", "ANY"] = "MASTER"
    case_insensitive: bool = False


class KeyMatch(Aeraki, frozen=True):
    """Keys that begin with `prefix`, which may be cut off before they are sent on."""

    prefix: str = ""
    remove_prefix: bool = False


class RedisMatch(Aeraki, frozen=True):
    """What a command must be about; without `key` it is about anything."""

    key: KeyMatch | None = None


class RedisTarget(Aeraki, frozen=True):
    """Where commands go. `port` 0 is found out: see `translate.envoyfilter.redis`."""

    host: str = ""
    port: int = 0


class RedisMirror(Aeraki, frozen=True):
    """Who gets copies of commands; without a percentage, of all of them."""

    route: RedisTarget | None = None
    percentage: Percent | None = None
    exclude_read_commands: bool = False


class RedisRoute(Aeraki, frozen=True):
    """Commands that match, and where they go; without a match, all others."""

    match: RedisMatch | None = None
    route: RedisTarget | None = None
    mirror: tuple[RedisMirror, ...] = ()


class RedisFault(Aeraki, frozen=True):
    """What a share of commands suffers on purpose; no commands are all commands."""

    type: Literal["DELAY", "ERROR"] = "DELAY"
    percentage: Percent | None = None
    delay: Duration | None = None
    commands: tuple[str, ...] = ()


class RedisServiceSpec(Aeraki, frozen=True):
    """What clients of the hosts are offered."""

    host: tuple[str, ...] = ()
    settings: RedisSettings | None = None
    redis: tuple[RedisRoute, ...] = ()
    faults: tuple[RedisFault, ...] = ()


class RedisService(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """redis.aeraki.io/v1alpha1 RedisService."""

    metadata: Metadata
    spec: RedisServiceSpec = RedisServiceSpec()


class TcpKeepalive(Aeraki, frozen=True):
    """When a silent connection is tried, and given up."""

    probes: int = 0
    time: Duration | None = None
    interval: Duration | None = None


class RedisTcp(Aeraki, frozen=True):
    """Connection settings."""

    max_connections: int = 0
    connect_timeout: Duration | None = None
    tcp_keepalive: TcpKeepalive | None = None


class RedisPool(Aeraki, frozen=True):
    """What kind of Redis it is. In CLUSTER mode the proxy asks `discovery_endpoints` (`host` or
    `host:port`) who is in the cluster."""

    mode: Literal["PROXY", "CLUSTER"] = "PROXY"
    auth: RedisAuth | None = None
    discovery_endpoints: tuple[str, ...] = ()


class RedisConnectionPool(Aeraki, frozen=True):
    """Connection settings, by layer."""

    tcp: RedisTcp | None = None
    redis: RedisPool | None = None


class RedisTrafficPolicy(Aeraki, frozen=True):
    """How the cluster behaves."""

    connection_pool: RedisConnectionPool | None = None


class RedisDestinationSpec(Aeraki, frozen=True):
    """How proxies reach a host."""

    host: str = ""
    traffic_policy: RedisTrafficPolicy | None = None


class RedisDestination(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """redis.aeraki.io/v1alpha1 RedisDestination."""

    metadata: Metadata
    spec: RedisDestinationSpec = RedisDestinationSpec()
