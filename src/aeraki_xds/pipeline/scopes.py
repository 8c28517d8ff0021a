"""What a proxy sees: from its node to scopes, and from a scope to what must be composed.

In: nodes and their peers. Out: scope keys, opaque to the server, each with a recipe and a
namespace, or a refusal. Proxies of one namespace, one set of filters and one bind address share a
scope, so a fleet has few. Guaranteed: who has an identity sees no other namespace than its own, and
learns no name that exportTo hides from it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

import structlog

from aeraki_xds.errors import ConfigurationError
from aeraki_xds.mesh.names import Namespace
from aeraki_xds.mesh.service import Service
from aeraki_xds.translate import thrift
from aeraki_xds.translate.compose import Ads, MetaRds, Recipe
from aeraki_xds.translate.listeners import BIND_VIP, Variant
from aeraki_xds.xds.admission import Node, Peer, Refusal, RefusalReason
from aeraki_xds.xds.field import LENGTH, MalformedError, scan, to_text
from aeraki_xds.xds.identity import DEFAULT_TRUST_DOMAIN, SpiffeId
from aeraki_xds.xds.resource import HTTP_ROUTES, Scope, TypeUrl

GLOBAL: Final = Scope("global")
"""MetaRDS for who has no identity: the same routes for everyone."""

PUBLIC: Final = Scope("public")
"""MetaRDS of the services that every namespace may see."""

_DECIDING_FILTERS: Final = frozenset({thrift.FILTER})
"""The filters whose presence changes what is composed; others do not split scopes."""

_DEFAULT_NAMESPACE: Final = Namespace("default")
_NO_NAMESPACE: Final = f"nothing of a namespace, which means {_DEFAULT_NAMESPACE}"


class Share(Enum):
    """Which of the services that its namespace may see a scope holds. Nearly all are exported to
    everyone: one scope holds these, and each namespace has another with the few beside them.
    """

    ALL = "all"
    PUBLIC = "public"
    RESTRICTED = "restricted"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeSpec:
    """What a scope holds; `namespace` None sees every service."""

    recipe: Recipe
    namespace: Namespace | None
    share: Share = Share.ALL

    def holds(self, service: Service) -> bool:
        """Whether a service is among it."""
        if self.share is not Share.ALL and service.is_public != (self.share is Share.PUBLIC):
            return False
        return service.visible_in(self.namespace)


GLOBAL_SPEC: Final = ScopeSpec(recipe=MetaRds(), namespace=None)
PUBLIC_SPEC: Final = ScopeSpec(recipe=MetaRds(), namespace=None, share=Share.PUBLIC)


def everything() -> ScopeSpec:
    """What a stock Envoy would see that sees every namespace."""
    return ScopeSpec(recipe=Ads(variant=Variant()), namespace=None)


class Scopes:
    """Knows every scope that was ever handed out. Peers with an identity have to be of one of
    `trust_domains`.
    """

    def __init__(self, *, trust_domains: Collection[str] = (DEFAULT_TRUST_DOMAIN,)) -> None:
        self._trust_domains = frozenset(trust_domains)
        self.specs: dict[Scope, ScopeSpec] = {GLOBAL: GLOBAL_SPEC, PUBLIC: PUBLIC_SPEC}
        self._filters: dict[str, frozenset[str] | None] = {"": None}
        self._log = structlog.get_logger("aeraki_xds.scopes")

    def admit(self, node: Node, peer: Peer, *, only: TypeUrl | None) -> tuple[Scope, ...] | Refusal:
        """The scopes of a stream. A stream of the route service alone sees MetaRDS only."""
        if peer.identity is not None:
            disagreement = self._disagreement(peer.identity, node)
            if disagreement is not None:
                self._log.warning(
                    "identity refused", node=node.id, peer=peer.address, reason=disagreement
                )
                return Refusal(reason=RefusalReason.DENIED, message=disagreement)
        shared = self._meta_rds(peer.identity)
        if only == HTTP_ROUTES:
            return shared
        bind = node.metadata.get("AERAKI_BIND", "")
        if not _is_bind(bind):
            message = f"node metadata AERAKI_BIND is {bind!r}: write an IP address or vip"
            return Refusal(reason=RefusalReason.INVALID, message=message)
        try:
            extensions = self._extensions(node)
        except MalformedError as failure:
            message = f"node extensions cannot be read: {failure}"
            return Refusal(reason=RefusalReason.INVALID, message=message)
        mode = node.metadata.get("INTERCEPTION_MODE", "NONE")
        if mode != "NONE":
            self._log.warning(
                "interception mode is not supported, NONE is assumed",
                node=node.id,
                peer=peer.address,
                mode=mode,
            )
        spec = ScopeSpec(
            recipe=Ads(variant=Variant(bind=str(bind), extensions=extensions)),
            namespace=namespace_of(node),
        )
        scope = _key(spec)
        self.specs[scope] = spec
        return (scope, *shared)

    def _meta_rds(self, identity: SpiffeId | None) -> tuple[Scope, ...]:
        """The scopes with the routes that a peer may ask for by name."""
        if identity is None:
            return (GLOBAL,)
        namespace = Namespace(identity.namespace)
        restricted = Scope(f"restricted/{namespace}")
        self.specs[restricted] = ScopeSpec(
            recipe=MetaRds(), namespace=namespace, share=Share.RESTRICTED
        )
        return (restricted, PUBLIC)

    def _disagreement(self, identity: SpiffeId, node: Node) -> str | None:
        """Why this peer may not speak for this node."""
        certificate = f"the certificate is of {identity}"
        if identity.trust_domain not in self._trust_domains:
            ours = " or ".join(sorted(self._trust_domains))
            return f"{certificate}, the trust domain here is {ours}"
        claimed = _claimed_namespace(node)
        if (claimed or _DEFAULT_NAMESPACE) != identity.namespace:
            said = f"namespace {claimed}" if claimed else _NO_NAMESPACE
            return f"{certificate}, the node says {said}"
        account = node.metadata.get("SERVICE_ACCOUNT")
        if account not in (None, "", identity.service_account):
            return f"{certificate}, the node says service account {account}"
        return None

    def _extensions(self, node: Node) -> frozenset[str] | None:
        """The network filters that matter, decoded once per build (None: it does not say).

        Raises MalformedError.
        """
        digest = node.extensions_digest
        if digest not in self._filters:
            has = _extension_names(node.extensions) & _DECIDING_FILTERS
            self._filters[digest] = None if has == _DECIDING_FILTERS else has
        return self._filters[digest]


def spec_of_node(node: Mapping[str, object]) -> ScopeSpec:
    """What a node sees, from its proto3 JSON. Raises ConfigurationError naming the field."""
    metadata = node.get("metadata", {})
    if not isinstance(metadata, Mapping):
        message = "node.metadata must be a mapping"
        raise ConfigurationError(message)
    known = Node(id=str(node.get("id", "")), metadata=metadata)
    scopes = Scopes()
    admitted = scopes.admit(known, Peer(address="-"), only=None)
    if isinstance(admitted, Refusal):
        raise ConfigurationError(admitted.message)
    return scopes.specs[admitted[0]]


def namespace_of(node: Node) -> Namespace:
    """The namespace that a node says it is in: Istio's metadata, Istio's node id, or `default`."""
    return _claimed_namespace(node) or _DEFAULT_NAMESPACE


def _claimed_namespace(node: Node) -> Namespace | None:
    said = node.metadata.get("NAMESPACE")
    if isinstance(said, str) and said:
        return Namespace(said)
    parts = node.id.split("~")
    if len(parts) == 4 and "." in parts[2]:
        return Namespace(parts[2].rsplit(".", 1)[1])
    return None


def _extension_names(raw: bytes) -> frozenset[str]:
    """Field 1 of every Extension; the raw bytes are those of `Node.extensions`."""
    return frozenset(
        to_text(name)
        for _, wire_type, extension in scan(raw)
        if wire_type == LENGTH
        for number, inner_type, name in scan(extension)
        if (number, inner_type) == (1, LENGTH)
    )


def _key(spec: ScopeSpec) -> Scope:
    assert isinstance(spec.recipe, Ads)
    variant = spec.recipe.variant
    filters = "stock" if variant.extensions is None else "+".join(sorted(variant.extensions))
    return Scope(f"ads/{spec.namespace}/{filters or 'tcp'}/{variant.bind or '-'}")


def _is_bind(value: object) -> bool:
    if value in ("", BIND_VIP):
        return True
    try:
        ipaddress.ip_address(str(value))
    except ValueError:
        return False
    return True
