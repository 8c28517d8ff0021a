"""Aeraki's own kinds: MetaRouter and ApplicationProtocol (specification §1.1, §1.2)."""

from __future__ import annotations

import msgspec

from aeraki_xds.mesh.objects.base import Duration, Metadata


class Aeraki(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Base of Aeraki's types: a field that we do not know is an error, not a silent no-op."""


class PortSelector(Aeraki, frozen=True):
    """A service port by number; `port: {}` is 0 and refused by validation (V11)."""

    number: int = 0


class Destination(Aeraki, frozen=True):
    """Where calls go. `port` unset means the port that the route is generated for."""

    host: str = ""
    subset: str = ""
    port: PortSelector | None = None


class DestinationWeight(Aeraki, frozen=True):
    """A destination and its share in per cent."""

    destination: Destination | None = None
    weight: int = 0


class StringMatch(Aeraki, frozen=True):
    """`exact`, `prefix` or `regex`; the empty object `{}` means that the attribute is present."""

    exact: str | None = None
    prefix: str | None = None
    regex: str | None = None

    @property
    def is_presence(self) -> bool:
        """Whether it only asks that the attribute is there."""
        return self.exact is None and self.prefix is None and self.regex is None


class MetaRouteMatch(Aeraki, frozen=True):
    """All attributes must match; an absent or empty match matches everything."""

    attributes: dict[str, StringMatch] = {}


class Percent(Aeraki, frozen=True):
    """A share in per cent, 0 < value ≤ 100."""

    value: float = 0.0


class KeyValue(Aeraki, frozen=True):
    """A mutation of a request or a response; what it means belongs to the codec."""

    key: str = ""
    value: str = ""


class MetaRoute(Aeraki, frozen=True):
    """One rule: the first that matches decides."""

    name: str = ""
    match: MetaRouteMatch | None = None
    route: tuple[DestinationWeight, ...] = ()
    mirror: Destination | None = None
    mirror_percentage: Percent | None = None
    request_mutation: tuple[KeyValue, ...] = ()
    response_mutation: tuple[KeyValue, ...] = ()


class TokenBucket(Aeraki, frozen=True):
    """A bucket of `max_tokens`, refilled by `tokens_per_fill` every `fill_interval`."""

    max_tokens: int = 0
    tokens_per_fill: int | None = None
    fill_interval: Duration | None = None


class RateLimitCondition(Aeraki, frozen=True):
    """A bucket of its own for the calls that match."""

    match: MetaRouteMatch | None = None
    token_bucket: TokenBucket | None = None


class LocalRateLimit(Aeraki, frozen=True):
    """Limits kept inside one proxy."""

    token_bucket: TokenBucket | None = None
    conditions: tuple[RateLimitCondition, ...] = ()


class RateLimitDescriptor(Aeraki, frozen=True):
    """Which property of a call becomes which descriptor of the rate limit service."""

    property: str = ""
    descriptor_key: str = ""


class GlobalRateLimit(Aeraki, frozen=True):
    """Limits kept by a rate limit service, named by its Envoy cluster."""

    match: MetaRouteMatch | None = None
    domain: str = ""
    request_timeout: Duration | None = None
    deny_on_fail: bool = False
    rate_limit_service: str = ""
    descriptors: tuple[RateLimitDescriptor, ...] = ()


class MetaRouterSpec(Aeraki, frozen=True):
    """How calls to one host are routed and limited."""

    hosts: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    routes: tuple[MetaRoute, ...] = ()
    local_rate_limit: LocalRateLimit | None = None
    global_rate_limit: GlobalRateLimit | None = None
    export_to: tuple[str, ...] = ()


class MetaRouter(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """metaprotocol.aeraki.io/v1alpha1 MetaRouter."""

    metadata: Metadata
    spec: MetaRouterSpec = MetaRouterSpec()


class ApplicationProtocolSpec(Aeraki, frozen=True):
    """A protocol name, as in port names, and the codec that data planes know it by."""

    protocol: str = ""
    codec: str = ""


class ApplicationProtocol(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """metaprotocol.aeraki.io/v1alpha1 ApplicationProtocol; the namespace means nothing."""

    metadata: Metadata
    spec: ApplicationProtocolSpec = ApplicationProtocolSpec()
