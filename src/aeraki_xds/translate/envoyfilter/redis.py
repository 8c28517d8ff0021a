"""Redis on Envoy's own filter (specification §3.6).

In: a site. Out: the outbound filter that a RedisService describes, or one that sends everything to
the service; the inbound filter that passes commands on; the patches of `redis_cluster`.
Guaranteed: what asks for a password is never replaced by what does not (E-4).
Source: envoy.extensions.filters.network.redis_proxy.v3.
"""

from __future__ import annotations

from typing import Final

from aeraki_xds.mesh.names import ClusterName, Host, cluster_name
from aeraki_xds.mesh.objects import RedisService
from aeraki_xds.mesh.objects.redis import (
    RedisAuth,
    RedisFault,
    RedisMirror,
    RedisRoute,
    RedisSettings,
    RedisTarget,
)
from aeraki_xds.mesh.problems import Problem, error, has_errors, warning
from aeraki_xds.mesh.service import Service
from aeraki_xds.translate.envoyfilter.native import unused_routers
from aeraki_xds.translate.envoyfilter.profile import Mend
from aeraki_xds.translate.envoyfilter.redis_auth import credentials
from aeraki_xds.translate.envoyfilter.redis_cluster import clusters_of
from aeraki_xds.translate.envoyfilter.redis_objects import choose, found_in
from aeraki_xds.translate.envoyfilter.site import Generated, NetworkFilter, Site
from aeraki_xds.translate.envoyfilter.values import Json, duration, fraction, message

_NAME: Final = "envoy.filters.network.redis_proxy"
_MESSAGE: Final = "envoy.extensions.filters.network.redis_proxy.v3.RedisProxy"
_OP_TIMEOUT: Final = "60s"
_INBOUND_OP_TIMEOUT: Final = "3600s"
"""The caller's proxy has the say."""


def generate(site: Site) -> Generated:
    """The filters of a Redis port."""
    choice = choose(site, RedisService)
    clusters = clusters_of(site)
    findings = choice.findings + clusters.findings + unused_routers(site)
    is_held = choice.held or clusters.held
    config = _pass_on(site.outbound_cluster, _OP_TIMEOUT)
    if choice.item is not None:
        writer = _Writer(site, choice.item, choice.host)
        config = writer.config()
        findings += tuple(found_in(choice.item, writer.problems))
        is_held = is_held or has_errors(writer.problems)
    if is_held:
        return Generated(held=True, findings=findings)
    return Generated(
        outbound=_filter(config),
        inbound=_filter(_pass_on(site.inbound_cluster, _INBOUND_OP_TIMEOUT)),
        patches=clusters.patches,
        findings=findings,
    )


def _filter(config: Json) -> NetworkFilter:
    return NetworkFilter(name=_NAME, message=_MESSAGE, config=config)


def _pass_on(cluster: ClusterName, op_timeout: str) -> Json:
    """All commands to one cluster."""
    return {
        "statPrefix": cluster,
        "settings": {"opTimeout": op_timeout},
        "prefixRoutes": {"catchAllRoute": {"cluster": cluster}},
    }


class _Writer:
    """Writes the filter of one RedisService. `problems` is what it found; with an error among them
    nothing that it wrote may be used."""

    def __init__(self, site: Site, item: RedisService, host: Host) -> None:
        self.problems: list[Problem] = []
        self._site = site
        self._item = item
        self._cluster = cluster_name(Host(host.removesuffix(".")), site.number)

    def config(self) -> Json:
        """The RedisProxy."""
        spec = self._item.spec
        settings = spec.settings or RedisSettings()
        return message(
            statPrefix=self._cluster,
            settings=self._settings(settings),
            prefixRoutes=self._routes(spec.redis, settings),
            faults=[_fault(fault, self._site) for fault in spec.faults],
            **(self._auth(settings.auth) if settings.auth is not None else {}),
        )

    def _ignored(self, field: str, what: str, mend: Mend) -> None:
        self.problems.append(warning(field, f"{what} (--with {mend})"))

    def _settings(self, settings: RedisSettings) -> Json:
        timeout, flush = settings.op_timeout, settings.buffer_flush_timeout
        value = message(
            opTimeout=duration(timeout) if timeout is not None else _OP_TIMEOUT,
            enableHashtagging=settings.enable_hashtagging,
            enableRedirection=settings.enable_redirection,
            enableCommandStats=settings.enable_command_stats,
            maxBufferSizeBeforeFlush=settings.max_buffer_size_before_flush,
            bufferFlushTimeout=duration(flush) if flush is not None else None,
        )
        policy = self._read_policy(settings)
        if policy != "MASTER":
            value["readPolicy"] = policy
        if settings.max_upstream_unknown_connections is not None:
            if self._site.has(Mend.REDIS_SETTINGS):
                unknown = settings.max_upstream_unknown_connections
                value["maxUpstreamUnknownConnections"] = unknown  # a wrapper: 0 is said
            else:
                field = "spec.settings.maxUpstreamUnknownConnections"
                self._ignored(field, "is ignored", Mend.REDIS_SETTINGS)
        return value

    def _read_policy(self, settings: RedisSettings) -> str:
        if settings.read_policy != "PREFER_REPLICA" or self._site.has(Mend.PREFER_REPLICA):
            return settings.read_policy
        self._ignored("spec.settings.readPolicy", "PREFER_MASTER is used", Mend.PREFER_REPLICA)
        return "PREFER_MASTER"

    def _auth(self, auth: RedisAuth) -> Json:
        """`downstreamAuthPassword` is deprecated, but an older proxy that does not know
        `downstreamAuthPasswords` would skip it, and let everyone in."""
        found, problems = credentials(self._site, self._item, auth, "spec.settings.auth")
        self.problems += problems
        if found is None:
            return {}
        return message(downstreamAuthPassword=found.password, downstreamAuthUsername=found.username)

    def _routes(self, routes: tuple[RedisRoute, ...], settings: RedisSettings) -> Json:
        """By prefix, and one for all other keys: of several the last."""
        by_prefix: list[Json] = []
        catch_all: Json | None = None if routes else {"cluster": self._cluster}
        for n, route in enumerate(routes):
            value = self._route(route, f"spec.redis[{n}]")
            key = route.match.key if route.match is not None else None
            if key is None:
                catch_all = value
            else:
                by_prefix.append(message(prefix=key.prefix, removePrefix=key.remove_prefix) | value)
        folds_case = settings.case_insensitive and self._site.has(Mend.REDIS_SETTINGS)
        if settings.case_insensitive and not folds_case:
            self._ignored("spec.settings.caseInsensitive", "is ignored", Mend.REDIS_SETTINGS)
        return message(routes=by_prefix, catchAllRoute=catch_all, caseInsensitive=folds_case)

    def _route(self, route: RedisRoute, field: str) -> Json:
        host, port = self._target(route.route, f"{field}.route")
        mirrors = (
            self._mirror(mirror, port, f"{field}.mirror[{n}]")
            for n, mirror in enumerate(route.mirror)
        )
        return message(cluster=cluster_name(host, port), requestMirrorPolicy=list(mirrors))

    def _mirror(self, mirror: RedisMirror, primary: int, field: str) -> Json:
        host, port = self._target(mirror.route, f"{field}.route")
        if port != primary and not self._site.has(Mend.MIRROR_PORT):
            what = f"{primary} is used, the port of what is mirrored"
            self._ignored(f"{field}.route.port", what, Mend.MIRROR_PORT)
            port = primary
        percent = mirror.percentage.value if mirror.percentage is not None else 100.0  # P-5
        return message(
            cluster=cluster_name(host, port),
            runtimeFraction=fraction(percent, self._site.delivery),
            excludeReadCommands=mirror.exclude_read_commands,
        )

    def _target(self, target: RedisTarget | None, field: str) -> tuple[Host, int]:
        """The host as Istio's clusters spell it, and the port (specification §3.6, point 3)."""
        site, is_sure = self._site, self._site.has(Mend.REDIS_ANYWHERE)
        if target is None:  # validation refuses it (P-6)
            self.problems.append(error(field, "is missing: say where the commands go"))
            return site.host, site.number
        service = self._service(target.host)
        if service is None:
            if is_sure:
                text = f"no ServiceEntry or Service declares the host {target.host}"
                self.problems.append(error(f"{field}.host", text))
            elif not target.port:
                what = f"unknown in {site.namespace}: port {site.number} is assumed"
                self._ignored(f"{field}.host", what, Mend.REDIS_ANYWHERE)
            return Host(target.host), target.port or site.number
        number = target.port or self._number_of(service)
        if service.port(number) is None:
            numbers = ", ".join(str(each.number) for each in service.ports) or "none"
            text = f"{service.spelled} has no port {number}; its ports: {numbers}"
            blame = error if is_sure else warning
            self.problems.append(blame(f"{field}.port", text))
        return service.spelled, number

    def _service(self, name: str) -> Service | None:
        """The service that a route means; Aeraki knows those of the entry's namespace (E-7)."""
        site = self._site
        found = site.graph.service(site.graph.full(name, self._item.metadata.namespace))
        if found is None or site.has(Mend.REDIS_ANYWHERE):
            return found[0] if found is not None else None
        service, _ = found
        is_near = service.namespace == site.namespace
        is_named = site.has(Mend.FULL_HOSTS) or service.spelled == name
        return service if is_near and is_named else None

    def _number_of(self, service: Service) -> int:
        """The only port, or the first with the number or the name of the listener's."""
        if len(service.ports) == 1:
            return service.ports[0].number
        mine = self._site.port
        alike = (
            each.number
            for each in service.ports
            if each.number == mine.number or each.spec.name == mine.spec.name
        )
        return next(alike, mine.number)


def _fault(fault: RedisFault, site: Site) -> Json:
    """A fault without a percentage never happens: validation refuses it (P-4)."""
    percent = fault.percentage.value if fault.percentage is not None else 0.0
    return message(
        faultType="ERROR" if fault.type == "ERROR" else None,
        faultEnabled=fraction(percent, site.delivery),
        delay=duration(fault.delay) if fault.delay is not None else None,
        commands=list(fault.commands),
    )
