"""Which RedisService and which RedisDestination is in force at a site.

In: a site. Out: a `Choice`: the oldest object of a kind that may speak about the site's host, and
what is said of the others. Aeraki looks in the entry's namespace only, compares hosts as they are
written and tries each host of the entry (specification §2.5); the mends widen that.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from aeraki_xds.mesh.names import Host, Key, Kind
from aeraki_xds.mesh.objects import RedisDestination, RedisService, key_of
from aeraki_xds.mesh.problems import Finding, Problem, error, warning
from aeraki_xds.mesh.tenancy import hosts_named
from aeraki_xds.translate.envoyfilter.profile import Mend
from aeraki_xds.translate.envoyfilter.site import Site

T = TypeVar("T", RedisService, RedisDestination)

_KINDS: Final[dict[type, Kind]] = {
    RedisService: Kind.REDIS_SERVICE,
    RedisDestination: Kind.REDIS_DESTINATION,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice(Generic[T]):
    """The object in force, if any, and the host for which it is, as the entry writes it.

    `held`: an object that nobody could read may be the one, so nothing may be decided.
    """

    item: T | None
    host: Host
    held: bool
    findings: tuple[Finding, ...]


def choose(site: Site, kind: type[T]) -> Choice[T]:
    """The object of a kind in force at a site; a younger one for its listener is a conflict."""
    found: dict[Key, tuple[Host, T]] = {}
    ignored: dict[Key, Problem] = {}
    is_held = False
    for host in _hosts(site):
        full = site.graph.full(host, site.namespace)
        for item in site.graph.in_force(_KINDS[kind], full):
            assert isinstance(item, kind)
            problem = _ignored(site, item, host)
            if problem is not None:
                ignored.setdefault(key_of(item), problem)
            else:
                found.setdefault(key_of(item), (host, item))
        is_held |= not found and site.graph.is_held(_KINDS[kind], full)
    findings = [Finding(key=k, problem=p) for k, p in ignored.items() if k not in found]
    if not found:
        return Choice(item=None, host=site.host, held=is_held, findings=tuple(findings))
    (host, oldest), *others = found.values()
    for rival_host, rival in others:
        message = (
            f"conflict: {host} has the older {key_of(oldest)}, which stays in force; "
            "remove one of the two"
        )
        field = _field(site, rival, rival_host)
        findings.append(Finding(key=key_of(rival), problem=error(field, message)))
    return Choice(item=oldest, host=host, held=is_held, findings=tuple(findings))


def found_in(item: RedisService | RedisDestination, problems: Iterable[Problem]) -> list[Finding]:
    """What is said of an object."""
    return [Finding(key=key_of(item), problem=problem) for problem in problems]


def _hosts(site: Site) -> tuple[Host, ...]:
    """The hosts whose objects count, in the entry's order: all share the listener."""
    if site.has(Mend.EVERY_HOST):
        return (site.host,)  # the owner of the listener, by its rules
    return tuple(Host(host) for host in site.entry.spec.hosts)


def _ignored(site: Site, item: RedisService | RedisDestination, host: Host) -> Problem | None:
    """Why an object that speaks about a host has no effect there."""
    field = _field(site, item, host)
    if not site.has(Mend.REDIS_ANYWHERE) and item.metadata.namespace != site.namespace:
        message = (
            f"{host} is declared in the namespace {site.namespace}, and only objects of that "
            "count: it is ignored (--with redis-anywhere)"
        )
        return warning(field, message)
    if not site.has(Mend.FULL_HOSTS) and host not in (name for _, name in hosts_named(item)):
        message = f"is not written as in its entry, {host}: it is ignored (--with full-hosts)"
        return warning(field, message)
    return None


def _field(site: Site, item: RedisService | RedisDestination, host: Host) -> str:
    """Where an object names a host."""
    full = site.graph.full(host, site.namespace)
    own = item.metadata.namespace
    fields = (field for field, name in hosts_named(item) if site.graph.full(name, own) == full)
    return next(fields, "spec.host")
