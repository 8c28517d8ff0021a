"""A mesh with Redis in it, in few words, and what its Redis port becomes.

Everything is in the namespace `cache` and about the service `sessions` unless told otherwise.
"""

from __future__ import annotations

from typing import Any, Final

import pytest
import yaml

from aeraki_xds.mesh.graph import Graph
from aeraki_xds.mesh.names import Host
from aeraki_xds.mesh.objects import MeshObject
from aeraki_xds.mesh.ports import PortProtocol, Protocol
from aeraki_xds.mesh.store import Store
from aeraki_xds.translate.envoyfilter.profile import EnvoyFilters
from aeraki_xds.translate.envoyfilter.redis import generate
from aeraki_xds.translate.envoyfilter.site import Generated, Site
from tests.mesh.kit import said as said_of
from tests.translate.envoyfilter.kit import LIKE_AERAKI, MENDED
from tests.translate.golden import events_of

SUFFIX: Final = "cache.svc.cluster.local"
SESSIONS: Final = f"outbound|6379||sessions.{SUFFIX}"
PROFILE_NAMES: Final = ("aeraki-1.4", "current")
PROFILES: Final = pytest.mark.parametrize("delivery", [LIKE_AERAKI, MENDED], ids=PROFILE_NAMES)


def service(name: str, ports: str = "[{port: 6379, name: tcp-redis}]", ns: str = "cache") -> str:
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {ns}}}
spec: {{clusterIP: 10.0.0.1, selector: {{app: {name}}}, ports: {ports}}}
"""


def entry(*hosts: str, name: str = "sessions") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: cache}}
spec: {{hosts: [{", ".join(hosts)}], addresses: [10.0.0.1], resolution: DNS,
  ports: [{{number: 6379, name: tcp-redis}}]}}
"""


def offered(spec: str, *, host: str = "", name: str = "sessions", ns: str = "cache") -> str:
    """A RedisService."""
    return f"""
apiVersion: redis.aeraki.io/v1alpha1
kind: RedisService
metadata: {{name: {name}, namespace: {ns}}}
spec: {{host: ["{host or f"sessions.{SUFFIX}"}"], {spec}}}
"""


def reached(pool: str, *, host: str = "", name: str = "sessions", ns: str = "cache") -> str:
    """A RedisDestination."""
    policy = f", trafficPolicy: {{connectionPool: {{{pool}}}}}" if pool else ""
    return f"""
apiVersion: redis.aeraki.io/v1alpha1
kind: RedisDestination
metadata: {{name: {name}, namespace: {ns}}}
spec: {{host: "{host or f"sessions.{SUFFIX}"}"{policy}}}
"""


def secret(data: str) -> str:
    return f"""
apiVersion: v1
kind: Secret
metadata: {{name: redis, namespace: cache}}
stringData: {data}
"""


def site_of(
    *manifests: str,
    delivery: EnvoyFilters,
    host: str = f"sessions.{SUFFIX}",
    items: tuple[MeshObject, ...] = (),
) -> Site:
    """The Redis port of a host of the mesh that the manifests describe."""
    graph = Graph()
    events = events_of(yaml.safe_load_all("---".join(manifests)))
    graph.update(Store().apply([*events, *said_of(*items)]))
    declared = graph.service(Host(host))
    assert declared is not None
    port = declared[0].port(6379)
    assert port is not None
    return Site(
        graph=graph,
        service=declared[0],
        port=port,
        protocol=PortProtocol(protocol=Protocol.REDIS),
        delivery=delivery,
        inbound_number=6380,
    )


def made(*manifests: str, delivery: EnvoyFilters = MENDED, **of: Any) -> Generated:
    return generate(site_of(*manifests, delivery=delivery, **of))


def outbound(*manifests: str, delivery: EnvoyFilters = MENDED, **of: Any) -> dict[str, Any]:
    """The config of the filter for clients."""
    found = made(*manifests, delivery=delivery, **of)
    assert found.outbound is not None, said(found)
    return found.outbound.config


def cluster(*manifests: str, delivery: EnvoyFilters = MENDED, **of: Any) -> dict[str, Any]:
    """The cluster that is added."""
    found = made(*manifests, delivery=delivery, **of)
    removed, added = found.patches
    assert removed["patch"] == {"operation": "REMOVE"}
    assert isinstance(added["patch"], dict)
    value: dict[str, Any] = added["patch"]["value"]
    assert removed["match"] == {"cluster": {"name": value["name"]}}
    return value


def said(of: Generated) -> list[str]:
    return [f"{each.key} {each.problem}" for each in of.findings]


def blamed(of: Generated) -> list[str]:
    """What of what is said was said of fields, by field."""
    return [each.problem.field for each in of.findings]


def plain(cluster: str, timeout: str) -> dict[str, Any]:
    return {
        "statPrefix": cluster,
        "settings": {"opTimeout": timeout},
        "prefixRoutes": {"catchAllRoute": {"cluster": cluster}},
    }
