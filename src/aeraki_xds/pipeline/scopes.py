"""What a proxy sees: from its node to scopes, and from a scope to what must be composed.

In: nodes and their peers. Out: scope keys, opaque to the server, each with a recipe and a
namespace, or a refusal. Proxies of one namespace, one set of filters and one bind address share a
scope, so a fleet has few. Guaranteed: who has an identity sees no other namespace than its own, and
learns no name that exportTo hides from it; what nodes claim takes only so much memory.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import Final

import structlog

from aeraki_xds.errors import ConfigurationError
from aeraki_xds.mesh.names import Namespace
from aeraki_xds.mesh.service import Service
from aeraki_xds.translate import thrift
from aeraki_xds.translate.compose import Ads, MetaRds, Recipe
from aeraki_xds.translate.envoyfilter.profile import EnvoyFilters
from aeraki_xds.translate.listeners import BIND_VIP, Variant
from aeraki_xds.xds.admission import Node, Peer, Refusal, RefusalReason
from aeraki_xds.xds.field import LENGTH, MalformedError, scan, to_text
from aeraki_xds.xds.identity import DEFAULT_TRUST_DOMAIN, SpiffeId
from aeraki_xds.xds.resource import HTTP_ROUTES, Scope, TypeUrl

GLOBAL: Final = Scope("global")
"""MetaRDS for who has no identity: the same routes for everyone."""

ISTIO: Final = Scope("istio")
"""What is written for Istio; no stream ever sees it, for there may be passwords in it."""

PUBLIC: Final = Scope("public")
"""MetaRDS of the services that every namespace may see."""

MOST_SCOPES: Final = 1_000
"""Scopes at once of what nodes claim: a namespace, a bind address. In plaintext a client can claim
ever new ones, and each is composed: 2 to 5 KB for each service that it may see."""

_LONGEST: Final = 512
"""Characters of what a node claims, for it is kept; a Kubernetes namespace has 63 at most."""

MOST_BUILDS: Final = 1_000
"""Extension lists of which it is remembered what they decide."""

_MOST_PARTS: Final = 10_000
"""Fields of a list of extensions, for it is decoded in one go. A stock Envoy's has 1,600."""

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

_OF_EVERYBODY: Final = {GLOBAL: GLOBAL_SPEC, PUBLIC: PUBLIC_SPEC}


def everything() -> ScopeSpec:
    """What a stock Envoy would see that sees every namespace."""
    return ScopeSpec(recipe=Ads(variant=Variant()), namespace=None)


def for_istio(delivery: EnvoyFilters) -> ScopeSpec:
    """What is written for Istio."""
    return ScopeSpec(recipe=delivery, namespace=None)


class Scopes:
    """Knows every scope that was handed out and not forgotten since. Peers with an identity have
    to be of one of `trust_domains`. `istio` is how EnvoyFilters are made, if they are.
    """

    def __init__(
        self,
        *,
        trust_domains: Collection[str] = (DEFAULT_TRUST_DOMAIN,),
        istio: EnvoyFilters | None = None,
    ) -> None:
        self._trust_domains = frozenset(trust_domains)
        self.specs: dict[Scope, ScopeSpec] = dict(_OF_EVERYBODY)
        if istio is not None:
            self.specs[ISTIO] = for_istio(istio)
        self._filters: dict[str, frozenset[str] | None] = {}
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
        shared = _meta_rds(peer.identity)
        own = {} if only == HTTP_ROUTES else self._ads(node, peer)
        if isinstance(own, Refusal):
            return own
        specs = {**own, **shared}
        self.specs.update(specs)
        return tuple(specs)

    def forget(self, scope: Scope) -> None:
        """No stream sees the scope any more, and it is not composed any more."""
        if scope not in _OF_EVERYBODY:
            self.specs.pop(scope, None)

    def _ads(self, node: Node, peer: Peer) -> dict[Scope, ScopeSpec] | Refusal:
        """The scope with all that a proxy of this kind is sent."""
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
        if len(scope) > _LONGEST:
            message = (
                f"the node's namespace and AERAKI_BIND make a scope of {len(scope)} characters: "
                f"{_LONGEST} are the most"
            )
            return Refusal(reason=RefusalReason.INVALID, message=message)
        if scope not in self.specs and self._is_full():
            message = f"no room for another scope: {MOST_SCOPES} that nodes claim are the most"
            self._log.warning(
                "scope refused", node=node.id, peer=peer.address, scope=scope, reason=message
            )
            return Refusal(reason=RefusalReason.OVERLOADED, message=message)
        return {scope: spec}

    def _is_full(self) -> bool:
        """Those of MetaRDS do not count: another one takes a certificate, and they hold little."""
        claimed = (spec for spec in self.specs.values() if isinstance(spec.recipe, Ads))
        return sum(1 for _ in claimed) >= MOST_SCOPES

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
        if not digest:
            return None
        if digest in self._filters:
            found = self._filters.pop(digest)
        else:
            has = _extension_names(node.extensions) & _DECIDING_FILTERS
            found = None if has == _DECIDING_FILTERS else has
        self._filters[digest] = found  # last, as the one used last
        if len(self._filters) > MOST_BUILDS:
            del self._filters[next(iter(self._filters))]
        return found


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


def _meta_rds(identity: SpiffeId | None) -> dict[Scope, ScopeSpec]:
    """The scopes with the routes that a peer may ask for by name."""
    if identity is None:
        return {GLOBAL: GLOBAL_SPEC}
    namespace = Namespace(identity.namespace)
    own = ScopeSpec(recipe=MetaRds(), namespace=namespace, share=Share.RESTRICTED)
    return {Scope(f"restricted/{namespace}"): own, PUBLIC: PUBLIC_SPEC}


def _extension_names(raw: bytes) -> frozenset[str]:
    """Field 1 of every Extension; the raw bytes are those of `Node.extensions`.

    Raises MalformedError, also when there are too many fields to decode them in one go.
    """
    parts = (
        part
        for _, wire_type, extension in scan(raw)
        if wire_type == LENGTH
        for part in scan(extension)
    )
    few = tuple(islice(parts, _MOST_PARTS + 1))
    if len(few) > _MOST_PARTS:
        message = f"more than {_MOST_PARTS} fields"
        raise MalformedError(message)
    return frozenset(to_text(name) for number, kind, name in few if (number, kind) == (1, LENGTH))


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
