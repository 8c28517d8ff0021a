"""RedisService and RedisDestination (specification §1.4, §1.5).

Aeraki has no webhook for these and its generator crashes on what is missing (P-4, P-6); here that
is an error, and so is what Envoy's `redis_proxy` refuses: one prefix twice, one of more than 1000
bytes. Nothing that is said here quotes a password.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aeraki_xds.mesh.addresses import is_address
from aeraki_xds.mesh.endpoint import parse_endpoint
from aeraki_xds.mesh.objects import Duration
from aeraki_xds.mesh.problems import Problem, error, warning
from aeraki_xds.mesh.validation import amounts, names
from aeraki_xds.mesh.validation.names import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aeraki_xds.mesh.objects import RedisDestinationSpec, RedisServiceSpec
    from aeraki_xds.mesh.objects.redis import (
        RedisAuth,
        RedisFault,
        RedisPool,
        RedisRoute,
        RedisSettings,
        RedisTarget,
        RedisTcp,
        TcpKeepalive,
    )

MAX_PREFIX_BYTES: Final = 1000
"""Envoy's own limit on the prefix of a route (PGV, redis_proxy.proto)."""

_ZERO: Final = Duration(0)
_SECOND: Final = 1_000_000_000  # nanoseconds


def service(spec: RedisServiceSpec) -> Iterator[Problem]:
    """Everything wrong with a RedisService."""
    yield from _hosts(spec.host)
    if spec.settings is not None:
        yield from _settings(spec.settings, "spec.settings")
    for i, route in enumerate(spec.redis):
        yield from _route(route, f"spec.redis[{i}]")
    folds_case = spec.settings is not None and spec.settings.case_insensitive
    yield from _rivals(spec.redis, folds_case=folds_case)
    for i, fault in enumerate(spec.faults):
        yield from _fault(fault, f"spec.faults[{i}]")


def _hosts(hosts: tuple[str, ...]) -> Iterator[Problem]:
    if not hosts:
        yield error("spec.host", "is empty: name the hosts whose clients this is about")
    first_at: dict[str, int] = {}
    for i, host in enumerate(hosts):
        yield from names.host(host, f"spec.host[{i}]")
        if first_at.setdefault(host.removesuffix("."), i) != i:
            first = f"spec.host[{first_at[host.removesuffix('.')]}]"
            yield error(f"spec.host[{i}]", f"{quoted(host)} is {first} too: remove one")


def _settings(settings: RedisSettings, field: str) -> Iterator[Problem]:
    if settings.auth is not None:
        yield from _auth(settings.auth, f"{field}.auth")
    if settings.op_timeout is not None:
        yield from amounts.timeout(settings.op_timeout, f"{field}.opTimeout")
    yield from amounts.count(
        settings.max_buffer_size_before_flush, f"{field}.maxBufferSizeBeforeFlush"
    )
    if settings.buffer_flush_timeout is not None and settings.buffer_flush_timeout < _ZERO:
        yield error(f"{field}.bufferFlushTimeout", "must not be less than 0")
    unknown = settings.max_upstream_unknown_connections
    if unknown is not None:
        yield from amounts.count(unknown, f"{field}.maxUpstreamUnknownConnections")


def _auth(auth: RedisAuth, field: str) -> Iterator[Problem]:
    if auth.plain is None and auth.secret is None:
        yield error(field, "says nothing: write plain or secret")
    if auth.plain is not None and auth.secret is not None:
        yield error(field, "has plain and secret: write one of them")
    if auth.plain is not None and not (auth.plain.password and auth.plain.password.reveal()):
        message = "is empty: without a password nobody is asked for anything"
        yield error(f"{field}.plain.password", message)
    if auth.secret is not None and not names.is_object_name(auth.secret.name):
        message = f"{quoted(auth.secret.name)} is not a name: write that of a Secret"
        yield error(f"{field}.secret.name", message)


def _route(route: RedisRoute, field: str) -> Iterator[Problem]:
    key = route.match.key if route.match else None
    if key is not None:
        yield from _prefix(key.prefix, f"{field}.match.key.prefix")
    yield from _target(route.route, f"{field}.route")
    for i, mirror in enumerate(route.mirror):
        where = f"{field}.mirror[{i}]"
        yield from _target(mirror.route, f"{where}.route")
        if mirror.percentage is not None:
            yield from amounts.percentage(mirror.percentage.value, f"{where}.percentage.value")


def _prefix(prefix: str, field: str) -> Iterator[Problem]:
    size = len(_bytes(prefix))
    if not prefix:
        message = "is empty: every key begins with it, and there is nothing to remove"
        yield warning(field, f"{message}; leave match out for a route of all other keys")
    elif size > MAX_PREFIX_BYTES:
        yield error(field, f"has {size} bytes, the limit is {MAX_PREFIX_BYTES}: shorten it")


def _target(target: RedisTarget | None, field: str) -> Iterator[Problem]:
    """P-6. Port 0 is found out."""
    if target is None:
        yield error(field, "is missing: say where the commands go")
        return
    yield from names.host(target.host, f"{field}.host")
    if target.port:
        yield from names.port(target.port, f"{field}.port")


def _rivals(routes: tuple[RedisRoute, ...], *, folds_case: bool) -> Iterator[Problem]:
    """Two routes for the same keys: Envoy refuses two prefixes, and has room for one catch-all."""
    first_at: dict[bytes, int] = {}
    catch_alls: list[int] = []
    for i, route in enumerate(routes):
        key = route.match.key if route.match else None
        if key is None:
            catch_alls.append(i)
            continue
        prefix = _bytes(key.prefix)
        prefix = prefix.lower() if folds_case else prefix  # as Envoy: ASCII only
        if first_at.setdefault(prefix, i) != i:
            message = f"{quoted(key.prefix)} is that of spec.redis[{first_at[prefix]}] too"
            yield error(f"spec.redis[{i}].match.key.prefix", f"{message}: Envoy refuses both")
    for i in catch_alls[:-1]:
        blame = f"spec.redis[{catch_alls[-1]}] matches everything else as well"
        yield warning(f"spec.redis[{i}]", f"is not used: {blame}, and the last one is used")


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")


def _fault(fault: RedisFault, field: str) -> Iterator[Problem]:
    """P-4. A fault without commands is about all of them."""
    if fault.percentage is None:
        yield error(f"{field}.percentage", "is missing: say how many of the commands suffer it")
    else:
        yield from _share(fault.percentage.value, f"{field}.percentage.value")
    if fault.type == "DELAY" and fault.delay is None:
        yield error(f"{field}.delay", "is missing: say how long, such as 100ms")
    elif fault.type == "DELAY" and fault.delay is not None:
        yield from amounts.timeout(fault.delay, f"{field}.delay")
    elif fault.delay is not None and fault.delay < _ZERO:
        yield error(f"{field}.delay", "must not be less than 0")
    for i, command in enumerate(fault.commands):
        if not command:
            yield error(f"{field}.commands[{i}]", "is empty: name a command, such as GET")


def _share(value: float, field: str) -> Iterator[Problem]:
    """Envoy's FaultManager divides integers."""
    wrong = tuple(amounts.percentage(value, field))
    yield from wrong
    if not wrong and value != int(value):
        message = f"is {value:g}, but Envoy counts faults in whole per cent: {int(value)} is used"
        yield warning(field, message)


def destination(spec: RedisDestinationSpec) -> Iterator[Problem]:
    """Everything wrong with a RedisDestination."""
    yield from names.host(spec.host, "spec.host")
    pool = spec.traffic_policy.connection_pool if spec.traffic_policy else None
    if pool is not None and pool.tcp is not None:
        yield from _tcp(pool.tcp, "spec.trafficPolicy.connectionPool.tcp")
    if pool is not None and pool.redis is not None:
        yield from _pool(pool.redis, "spec.trafficPolicy.connectionPool.redis")


def _tcp(tcp: RedisTcp, field: str) -> Iterator[Problem]:
    yield from amounts.count(tcp.max_connections, f"{field}.maxConnections")
    if tcp.connect_timeout is not None:
        yield from amounts.timeout(tcp.connect_timeout, f"{field}.connectTimeout")
    if tcp.tcp_keepalive is not None:
        yield from _keepalive(tcp.tcp_keepalive, f"{field}.tcpKeepalive")


def _keepalive(keepalive: TcpKeepalive, field: str) -> Iterator[Problem]:
    yield from amounts.count(keepalive.probes, f"{field}.probes")
    for name in ("time", "interval"):
        span: Duration | None = getattr(keepalive, name)
        if span is not None:
            yield from _seconds(span, f"{field}.{name}")


def _seconds(span: Duration, field: str) -> Iterator[Problem]:
    """Envoy's TcpKeepalive is in whole seconds; a part of one is rounded up: 0 is none."""
    seconds = -(-span.nanoseconds // _SECOND)
    if not 1 <= seconds <= amounts.MAX_UINT32:
        yield error(field, f"must be more than 0 and at most {amounts.MAX_UINT32}s")
    elif span.nanoseconds % _SECOND:
        yield warning(field, f"is no whole number of seconds: {seconds}s is used")


def _pool(pool: RedisPool, field: str) -> Iterator[Problem]:
    if pool.auth is not None:
        yield from _auth(pool.auth, f"{field}.auth")
    for i, endpoint in enumerate(pool.discovery_endpoints):
        yield from _endpoint(endpoint, f"{field}.discoveryEndpoints[{i}]")
    if pool.discovery_endpoints and pool.mode != "CLUSTER":
        message = f"is ignored, as the mode is {pool.mode}: they are asked in CLUSTER mode only"
        yield warning(f"{field}.discoveryEndpoints", message)


def _endpoint(text: str, field: str) -> Iterator[Problem]:
    """E-10."""
    try:
        host, _ = parse_endpoint(text)
    except ValueError as reason:
        yield error(field, f"{quoted(text)} {reason}")
        return
    if not is_address(host):
        yield from names.host(host, field)
