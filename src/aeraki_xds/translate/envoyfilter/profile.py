"""How like Aeraki's the EnvoyFilters are: two profiles, and a switch for each difference.

Under `aeraki-1.4` an object equals Aeraki's wherever Aeraki's is valid, for every change of a
network filter makes istiod push listeners and drain connections. Under `current` each mend of the
specification's §7 is in force. docs/differences-from-aeraki.md has a row for each.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Mend(StrEnum):
    """A way in which the output is better than Aeraki's, and so another."""

    EVERY_HOST = "every-host"
    """Of an entry's hosts the first with rules owns the listener, not the first of all (M-1)."""
    EVERY_PORT = "every-port"
    """Every port that names a protocol has its filter, not only the first protocol's (M-2)."""
    TARGET_PORT = "target-port"
    """Inbound filters are at the port of the workload, not of the service (M-4)."""
    OWN_SELECTOR = "own-selector"
    """No inbound filter without a selector, not one for `app: ""`; the annotation may name several
    labels (M-5)."""
    SERVICE_ANNOTATIONS = "service-annotations"
    """Annotations of a Kubernetes Service are read (§2.1)."""
    PRESENCE_MATCH = "presence-match"
    """`{}` asks that an attribute is present, instead of asking nothing (M-12)."""
    EXACT_PERCENT = "exact-percent"
    """Percentages are rounded to millionths, not cut (M-17)."""
    OUTBOUND_EXPORT = "outbound-export"
    """`exportTo` places outbound filters only, and not those of inbound traffic (M-18)."""
    OUTBOUND_EVERYWHERE = "outbound-everywhere"
    """In namespace scope outbound filters are in the root namespace, where clients are (M-19)."""
    VALID_NAMES = "valid-names"
    """IPv6 addresses, upper case and long hosts get valid names; no filter for 0.0.0.0 (M-21)."""
    DEFAULT_SAMPLING = "default-sampling"
    """Where no sampling is said, 1 % is traced as documented, not nothing (M-22)."""
    CURRENT_FIELDS = "current-fields"
    """`protocol` and `stringMatch` in place of deprecated fields, and types where Aeraki gives an
    extension's name alone, which Envoy no longer takes (M-24)."""
    LOG_NEWLINE = "log-newline"
    """A line of an access log ends with a newline whoever wrote its format (M-25)."""
    TCP_PORTS = "tcp-ports"
    """A port must be named `tcp-…`, whatever follows (M-26)."""
    FULL_HOSTS = "full-hosts"
    """Short host names of rules are understood (M-27)."""
    GATEWAY_PORTS = "gateway-ports"
    """A gateway's port may be another than the service's (G-1)."""
    THRIFT_MATCHES = "thrift-matches"
    """Thrift rules match methods and services, instead of everything (D-1)."""
    DUBBO_MATCHES = "dubbo-matches"
    """Every alternative of a Dubbo rule counts, and its destination's host and port (D-2)."""
    DEFAULT_ROUTE = "default-route"
    """A VirtualService without http rules leaves the default route, instead of none (D-3)."""
    NATIVE_ROUTER = "native-router"
    """A MetaRouter routes Thrift and Dubbo, before any VirtualService (design §7)."""
    TRUST_DOMAIN = "trust-domain"
    """`cluster.local` in principals means the mesh's trust domain and its aliases (D-5)."""
    MESH_POLICIES = "mesh-policies"
    """Authorization policies of the root namespace hold everywhere (D-6)."""
    PREFER_REPLICA = "prefer-replica"
    """PREFER_REPLICA is not turned into PREFER_MASTER (E-1)."""
    DEFAULT_USERNAME = "default-username"
    """The username of a Secret is under `username` where no field is named (E-2)."""
    MIRROR_PORT = "mirror-port"
    """The port of a Redis mirror is its own, not the primary's (E-3)."""
    REDIS_SETTINGS = "redis-settings"
    """caseInsensitive and maxUpstreamUnknownConnections are honoured (E-5)."""
    REDIS_ANYWHERE = "redis-anywhere"
    """Redis objects and the hosts that they name may be of other namespaces (E-7)."""
    ASKED_CLUSTERS = "asked-clusters"
    """Redis clusters are replaced once, and only where a RedisDestination asks for it (E-8)."""
    OPT_IN = "opt-in"
    """MetaProtocol filters go only to proxies whose node metadata says AERAKI_META_PROTOCOL: "true"
    (M-20). In no profile: proxies have to be told first."""


AERAKI_1_4: Final = "aeraki-1.4"
CURRENT: Final = "current"

PROFILES: Final[dict[str, frozenset[Mend]]] = {
    AERAKI_1_4: frozenset(),
    CURRENT: frozenset(Mend) - {Mend.OPT_IN},
}


class RedisAuth(StrEnum):
    """Where a proxy finds the passwords of Redis."""

    INLINE = "inline"
    """In the EnvoyFilter, for everyone to read who may read EnvoyFilters."""
    FILE = "file"
    """In files of the proxy, into which the Secret is mounted (`redis.SECRETS`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyFilters:
    """How EnvoyFilters are made. `namespace_scope` puts them into the services' namespaces instead
    of the root namespace (Aeraki's `--enable-envoy-filter-namespace-scope`).
    """

    mends: frozenset[Mend] = PROFILES[AERAKI_1_4]
    redis_auth: RedisAuth = RedisAuth.INLINE
    namespace_scope: bool = False

    @classmethod
    def of(cls, profile: str) -> EnvoyFilters:
        """A profile as it is meant."""
        auth = RedisAuth.INLINE if profile == AERAKI_1_4 else RedisAuth.FILE
        return cls(mends=PROFILES[profile], redis_auth=auth)

    def has(self, mend: Mend) -> bool:
        """Whether a mend is in force."""
        return mend in self.mends
