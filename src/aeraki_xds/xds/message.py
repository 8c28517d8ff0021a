"""What crosses a stream, decoded: requests in, responses out, and what a request meant.

Plain frozen data between `wire/`, which knows bytes, and `Session`, which knows the protocol.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from aeraki_xds.xds.resource import Name, Resource, TypeUrl


@dataclass(frozen=True, slots=True, kw_only=True)
class SotwRequest:
    """DiscoveryRequest without its node: the whole subscription of a type.

    `error` is the client's message when it refused the response that `nonce` names.
    """

    type_url: TypeUrl
    names: tuple[Name, ...] = ()
    nonce: str = ""
    version: str = ""
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaRequest:
    """DeltaDiscoveryRequest without its node: what changes in the subscription of a type.

    `initial_versions` are taken over by the stream, if it is the type's first request.
    """

    type_url: TypeUrl
    subscribe: tuple[Name, ...] = ()
    unsubscribe: tuple[Name, ...] = ()
    initial_versions: Mapping[Name, str] = field(default_factory=dict)
    nonce: str = ""
    error: str | None = None


Request = SotwRequest | DeltaRequest


class Response(NamedTuple):
    """A response to write; `removed` is used by the delta dialect only. (A tuple, for one is made
    for each change and stream: a frozen dataclass takes three times as long.)
    """

    type_url: TypeUrl
    version: str
    nonce: str
    resources: tuple[Resource, ...]
    removed: tuple[Name, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribed:
    """The names that a type's subscription gained and lost; `wildcard` as it is now."""

    type_url: TypeUrl
    added: frozenset[Name]
    removed: frozenset[Name]
    wildcard: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Acked:
    """The newest response of a type was accepted."""

    type_url: TypeUrl
    nonce: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Nacked:
    """A response was refused; `stale` when a newer one had been sent, then nothing is parked."""

    type_url: TypeUrl
    nonce: str
    error: str
    names: tuple[Name, ...]
    stale: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Stale:
    """A SotW request made before the client saw our newest response: it changes nothing."""

    type_url: TypeUrl
    nonce: str


Event = Subscribed | Acked | Nacked | Stale
