"""Who a certificate says its holder is: SPIFFE identities, read strictly and compared.

In: a peer certificate as `ssl` describes it, after it has been verified. Out: the identity and the
moment at which it ends, or an error that says what is wrong. Guaranteed: an identity has exactly
the form that Istio gives to workloads; what merely resembles it is refused, for a name that two
readers take apart differently is how one workload passes for another.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

DEFAULT_TRUST_DOMAIN: Final = "cluster.local"

_LONGEST: Final = 2048
"""Bytes of a SPIFFE ID (SPIFFE-ID, section 2.3)."""

_WORKLOAD: Final = re.compile(
    r"spiffe://(?P<trust_domain>[a-z0-9._-]{1,255})"
    r"/ns/(?P<namespace>[A-Za-z0-9._-]+)/sa/(?P<service_account>[A-Za-z0-9._-]+)"
)
"""The characters that SPIFFE allows; so no escapes, ports, users, queries and fragments."""

_DOTS: Final = frozenset({".", ".."})


class IdentityError(ValueError):
    """A certificate that does not say who its holder is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpiffeId:
    """A workload of a mesh: its service account in its namespace."""

    trust_domain: str
    namespace: str
    service_account: str

    @classmethod
    def parse(cls, uri: str) -> SpiffeId:
        """Read `spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT`. Raises IdentityError."""
        found = _WORKLOAD.fullmatch(uri) if len(uri) <= _LONGEST else None
        if found is None or not _DOTS.isdisjoint(found.groups()):
            message = f"{uri[:_LONGEST]!r} is not spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT"
            raise IdentityError(message)
        return cls(**found.groupdict())

    def __str__(self) -> str:
        return f"spiffe://{self.trust_domain}/ns/{self.namespace}/sa/{self.service_account}"


def identity_of(certificate: Mapping[str, object]) -> SpiffeId:
    """The identity in a `getpeercert()`: its only URI, as X.509-SVID asks. Raises IdentityError."""
    names = certificate.get("subjectAltName", ())
    assert isinstance(names, tuple)
    uris = [name for kind, name in names if kind == "URI"]
    if len(uris) != 1:
        message = f"the certificate names {len(uris) or 'no'} URIs: write one, a SPIFFE identity"
        raise IdentityError(message)
    return SpiffeId.parse(uris[0])


@lru_cache(maxsize=1024)
def _seconds(said: str) -> float:
    """It is read some times for each connection, and takes 30 µs. Raises ValueError."""
    return float(ssl.cert_time_to_seconds(said))


def expiry_of(certificate: Mapping[str, object]) -> float:
    """The notAfter of a `getpeercert()` in seconds since 1970. Raises IdentityError."""
    said = certificate.get("notAfter")
    try:
        return _seconds(str(said))
    except ValueError as failure:
        message = f"the certificate ends at {said!r}, which is no time"
        raise IdentityError(message) from failure
