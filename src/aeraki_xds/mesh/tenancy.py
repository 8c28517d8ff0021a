"""Who may speak about a host: one namespace does not take over another's.

In: an object, and who declares the hosts that it names. Out: the findings that say what it may not
do, and whether it counts at all. Rules (docs/decisions/007):

1. A host `<svc>.<ns>.svc.<domain>` belongs to `<ns>`; any other host to the namespace of the
   oldest ServiceEntry that declares it. A host that nobody declares belongs to nobody.
2. An object may speak about the hosts of its own namespace; one in the root namespace about any;
   everyone else needs the owner's consent: the annotation `aeraki.io/allow-from` on a ServiceEntry
   of the owner, naming the namespace or `*`.
3. The same holds for what a MetaRouter borrows: gateways, namespaces that it exports to, and the
   rate limit service. A gateway or a namespace cannot consent, so there only the root may.
4. An application protocol belongs to the oldest ApplicationProtocol that declares it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from aeraki_xds.mesh.names import DEFAULT_DOMAIN, Host, Key, Kind, Namespace
from aeraki_xds.mesh.objects import (
    ApplicationProtocol,
    DestinationRule,
    DubboAuthorizationPolicy,
    EndpointSlice,
    Gateway,
    KubernetesService,
    MeshConfig,
    MeshObject,
    MetaRouter,
    Pod,
    RedisDestination,
    RedisService,
    Secret,
    ServiceEntry,
    VirtualService,
    WorkloadEntry,
)
from aeraki_xds.mesh.problems import Problem, Severity

ALLOW_FROM: Final = "aeraki.io/allow-from"
"""Annotation of a ServiceEntry: the namespaces, comma-separated, that may speak about its hosts."""

DEFAULT_ROOT: Final = Namespace("istio-system")


class TenancyMode(StrEnum):
    """What happens to an object that speaks about what is not its own."""

    STRICT = "strict"
    """It is refused."""
    WARN = "warn"
    """It counts, with a warning."""
    LEGACY = "legacy"
    """It counts, as in Aeraki."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenancy:
    """The rules for one mesh. `root` is Istio's root namespace, `domain` the DNS suffix; the mesh
    config is in the ConfigMap `mesh_config` of the namespace `istio`, the root where it is None.
    """

    mode: TenancyMode = TenancyMode.STRICT
    root: Namespace = DEFAULT_ROOT
    domain: str = DEFAULT_DOMAIN
    istio: Namespace | None = None
    mesh_config: str = "istio"

    @property
    def mesh_config_key(self) -> Key:
        """The object that holds the mesh config."""
        return Key(Kind.CONFIG_MAP, self.istio or self.root, self.mesh_config)

    def owner(self, host: Host, entries: Sequence[ServiceEntry]) -> Namespace | None:
        """Who a host belongs to; `entries` are those that declare it, oldest first."""
        suffix = f".svc.{self.domain}"
        if host.endswith(suffix):
            _, dot, namespace = host.removesuffix(suffix).rpartition(".")
            if dot:
                return Namespace(namespace)
        return Namespace(entries[0].metadata.namespace) if entries else None

    def foreign_owner(
        self, namespace: Namespace, host: Host, entries: Sequence[ServiceEntry]
    ) -> Namespace | None:
        """Whose host it is that objects of a namespace may not speak about; None if they may."""
        owner = self.owner(host, entries)
        if self.mode is TenancyMode.LEGACY or owner in (None, namespace) or namespace == self.root:
            return None
        consents = (
            each.metadata.annotations.get(ALLOW_FROM, "")
            for each in entries
            if each.metadata.namespace == owner
        )
        allowed = {name.strip() for consent in consents for name in consent.split(",")}
        return None if {"*", namespace} & allowed else owner

    def counts(self, item: MeshObject, host: Host, entries: Sequence[ServiceEntry]) -> bool:
        """Whether what an object says about a host is in force."""
        if self.mode is not TenancyMode.STRICT:
            return True
        return self.foreign_owner(Namespace(item.metadata.namespace), host, entries) is None

    def problem(self, field: str, message: str) -> Problem:
        """A breach of the rules, as severe as the mode makes it."""
        severity = Severity.ERROR if self.mode is TenancyMode.STRICT else Severity.WARNING
        return Problem(field=field, message=f"tenancy: {message}", severity=severity)

    def foreign_host(self, field: str, host: Host, owner: Namespace) -> Problem:
        """An object speaks about a host of somebody else."""
        return self.problem(
            field,
            f"{host} belongs to the namespace {owner}; a ServiceEntry there would have to allow it "
            f"with the annotation {ALLOW_FROM}",
        )

    def borrowed(self, router: MetaRouter) -> Iterable[Problem]:
        """Gateways and namespaces of others that a MetaRouter uses."""
        if self.mode is TenancyMode.LEGACY:
            return
        for n, gateway in enumerate(router.spec.gateways):
            namespace, slash, _ = gateway.partition("/")
            if slash and not self._may_borrow(router, namespace):
                message = f"the gateway {gateway} belongs to the namespace {namespace}"
                yield self.problem(f"spec.gateways[{n}]", message)
        for n, namespace in enumerate(router.spec.export_to):
            if namespace != "*" and not self._may_borrow(router, namespace):
                message = f"only a router in {self.root} may export to the namespace {namespace}"
                yield self.problem(f"spec.exportTo[{n}]", message)

    def lends(self, router: MetaRouter, namespace: str) -> bool:
        """Whether a router's use of another namespace is in force."""
        return self.mode is not TenancyMode.STRICT or self._may_borrow(router, namespace)

    def _may_borrow(self, router: MetaRouter, namespace: str) -> bool:
        own = router.metadata.namespace
        return own == self.root or namespace in (".", own)


def hosts_named(item: MeshObject) -> Iterable[tuple[str, str]]:
    """The hosts that an object speaks about, as written, each with the path of its field."""
    match item:
        case DestinationRule():
            yield "spec.host", item.spec.host
        case ServiceEntry() | VirtualService() | MetaRouter():
            yield from ((f"spec.hosts[{n}]", host) for n, host in enumerate(item.spec.hosts))
        case RedisService():
            yield from ((f"spec.host[{n}]", host) for n, host in enumerate(item.spec.host))
        case RedisDestination():
            yield "spec.host", item.spec.host
        case (
            ApplicationProtocol()
            | DubboAuthorizationPolicy()
            | EndpointSlice()
            | Gateway()
            | KubernetesService()
            | MeshConfig()
            | Pod()
            | Secret()
            | WorkloadEntry()
        ):
            pass


def rate_limit_host(router: MetaRouter) -> Host | None:
    """The host of the rate limit service, which is named by its cluster."""
    limit = router.spec.global_rate_limit
    parts = limit.rate_limit_service.split("|") if limit else []
    return Host(parts[3]) if len(parts) == 4 and parts[3] else None
