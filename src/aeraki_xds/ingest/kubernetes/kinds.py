"""Which kinds are watched, and where a cluster may serve them.

The paths are over all namespaces, so whether a kind is namespaced makes no difference to them
(ApplicationProtocol is either, specification §1.0).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from aeraki_xds.ingest.decode import VERSIONS
from aeraki_xds.mesh.names import SERVING, Key, Kind
from aeraki_xds.mesh.objects import OBJECT_TYPES

_PLURALS: Final = {
    Kind.SERVICE: "services",
    Kind.SERVICE_ENTRY: "serviceentries",
    Kind.VIRTUAL_SERVICE: "virtualservices",
    Kind.DESTINATION_RULE: "destinationrules",
    Kind.GATEWAY: "gateways",
    Kind.META_ROUTER: "metarouters",
    Kind.APPLICATION_PROTOCOL: "applicationprotocols",
    Kind.REDIS_SERVICE: "redisservices",
    Kind.REDIS_DESTINATION: "redisdestinations",
    Kind.DUBBO_AUTHORIZATION_POLICY: "dubboauthorizationpolicies",
    Kind.CONFIG_MAP: "configmaps",
    Kind.SECRET: "secrets",
    Kind.ENDPOINT_SLICE: "endpointslices",
    Kind.POD: "pods",
    Kind.WORKLOAD_ENTRY: "workloadentries",
}

_BY_NAME: Final = frozenset({Kind.CONFIG_MAP, Kind.SECRET})
"""Kinds of which single objects are watched: the others are nobody's business here."""

_GROUPS: Final = {kind: group for group, kind in OBJECT_TYPES}


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """All objects of a kind, or the one with a name in a namespace."""

    kind: Kind
    namespace: str = ""
    name: str = ""

    @property
    def versions(self) -> tuple[str, ...]:
        """In order of preference."""
        return VERSIONS[_GROUPS[self.kind]]

    @property
    def certain(self) -> str:
        """The version that every cluster serves; empty where that has to be found out."""
        return "" if _GROUPS[self.kind] else self.versions[0]

    @property
    def plural(self) -> str:
        """As paths and discovery name the kind."""
        return _PLURALS[self.kind]

    @property
    def selector(self) -> dict[str, str]:
        """The query that leaves out everything else."""
        return {"fieldSelector": f"metadata.name={self.name}"} if self.name else {}

    def api_version(self, version: str) -> str:
        """The field `apiVersion` of the objects."""
        group = _GROUPS[self.kind]
        return f"{group}/{version}" if group else version

    def discovery(self, version: str) -> str:
        """Where the server says what it serves in a version of the group."""
        root = "/apis" if _GROUPS[self.kind] else "/api"
        return f"{root}/{self.api_version(version)}"

    def path(self, version: str) -> str:
        """Where to list and watch."""
        inside = f"/namespaces/{self.namespace}" if self.namespace else ""
        return f"{self.discovery(version)}{inside}/{self.plural}"

    def __str__(self) -> str:
        """`Kind`, or `Kind/namespace/name`."""
        return f"{self.kind}/{self.namespace}/{self.name}" if self.name else self.kind


EVERYWHERE: Final = tuple(Watched(kind=kind) for kind in _PLURALS if kind not in _BY_NAME | SERVING)
"""What is watched in all namespaces."""

WHILE_WANTED: Final = tuple(Watched(kind=kind) for kind in _PLURALS if kind in SERVING)
"""What is, too, while somebody wants to know who serves."""


def one(key: Key) -> Watched:
    """A single object."""
    return Watched(kind=key.kind, namespace=key.namespace, name=key.name)
