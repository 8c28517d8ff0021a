"""Aeraki's DubboAuthorizationPolicy (specification §1.6)."""

from __future__ import annotations

from typing import Literal

import msgspec

from aeraki_xds.mesh.objects.aeraki import Aeraki
from aeraki_xds.mesh.objects.base import Metadata


class Source(Aeraki, frozen=True):
    """Who calls. Fields are ANDed, the values of one ORed."""

    principals: tuple[str, ...] = ()
    not_principals: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    not_namespaces: tuple[str, ...] = ()


class From(Aeraki, frozen=True):
    """One alternative of who calls."""

    source: Source | None = None


class Operation(Aeraki, frozen=True):
    """What is called. Fields are ANDed, the values of one ORed."""

    interfaces: tuple[str, ...] = ()
    not_interfaces: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    not_methods: tuple[str, ...] = ()


class To(Aeraki, frozen=True):
    """One alternative of what is called."""

    operation: Operation | None = None


class AuthorizationRule(Aeraki, frozen=True):
    """Matches if one of `from` and one of `to` does; an absent list matches everything."""

    from_: tuple[From, ...] = msgspec.field(name="from", default=())
    to: tuple[To, ...] = ()


class DubboAuthorizationPolicySpec(Aeraki, frozen=True):
    """Rules of which one must match; none at all never matches, so ALLOW then denies everything."""

    rules: tuple[AuthorizationRule, ...] = ()
    action: Literal["ALLOW", "DENY"] = "ALLOW"


class DubboAuthorizationPolicy(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """dubbo.aeraki.io/v1alpha1 DubboAuthorizationPolicy, about all of a namespace's Dubbo."""

    metadata: Metadata
    spec: DubboAuthorizationPolicySpec = DubboAuthorizationPolicySpec()
