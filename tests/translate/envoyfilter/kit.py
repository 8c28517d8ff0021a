"""Manifests in, EnvoyFilters out, in few words.

`istio` translates YAML and returns what would be written, by kind and name, and what is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from aeraki_xds.mesh.tenancy import Tenancy
from aeraki_xds.pipeline.offline import translate
from aeraki_xds.pipeline.scopes import for_istio
from aeraki_xds.translate.envoyfilter.profile import AERAKI_1_4, CURRENT, EnvoyFilters, Mend
from tests.translate.golden import events_of

Json = dict[str, Any]

LIKE_AERAKI = EnvoyFilters.of(AERAKI_1_4)
MENDED = EnvoyFilters.of(CURRENT)


def only(*mends: Mend) -> EnvoyFilters:
    """Aeraki's output but for these mends."""
    return replace(LIKE_AERAKI, mends=frozenset(mends))


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """The objects by `namespace/name`, and what is said, one line a problem."""

    filters: dict[str, Json] = field(default_factory=dict)
    virtual_services: dict[str, Json] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    def value(self, name: str) -> Json:
        """What a filter's first patch puts into the listener."""
        found: Json = self.patch(name)["patch"]["value"]["typed_config"]["value"]
        return found

    def patch(self, name: str, n: int = 0) -> Json:
        """A patch of a filter."""
        found: Json = self.filters[name]["spec"]["configPatches"][n]
        return found

    def patches(self) -> Iterator[Json]:
        """Every patch of every filter."""
        for each in self.filters.values():
            yield from each["spec"]["configPatches"]

    @property
    def names(self) -> list[str]:
        """The filters that there are."""
        return sorted(self.filters)


def istio(
    *manifests: str | Sequence[Json],
    delivery: EnvoyFilters = LIKE_AERAKI,
    tenancy: Tenancy | None = None,
) -> Written:
    """What the manifests become."""
    documents: list[Json] = []
    for each in manifests:
        documents += yaml.safe_load_all(each) if isinstance(each, str) else each
    offline = translate(events_of(documents), [for_istio(delivery)], tenancy=tenancy or Tenancy())
    kinds = {url.rpartition("/")[2]: objects for url, objects in offline.scopes[0].items()}
    return Written(
        filters=kinds.get("EnvoyFilter", {}),
        virtual_services=kinds.get("VirtualService", {}),
        said=[str(entry) for entry in offline.entries],
    )


def service(
    name: str = "orders",
    port: str = "tcp-metaprotocol-thrift",
    *,
    number: int = 9090,
    address: str = "10.0.0.1",
    selector: str = "{app: orders}",
    target: object = None,
    annotations: str = "{}",
) -> str:
    """A Kubernetes Service of the namespace `shop` with one port."""
    target_port = "" if target is None else f", targetPort: {target}"
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: shop, annotations: {annotations}}}
spec:
  clusterIP: {address}
  selector: {selector}
  ports: [{{port: {number}, name: {port}{target_port}}}]
"""


def entry(
    *hosts: str,
    ports: str = "[{number: 9090, name: tcp-metaprotocol-thrift}]",
    addresses: str = "[240.240.0.1]",
    annotations: str = "{}",
    spec: str = "workloadSelector: {labels: {app: orders}}",
    name: str = "orders",
) -> str:
    """A ServiceEntry of the namespace `shop`."""
    return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: shop, annotations: {annotations}}}
spec:
  hosts: [{", ".join(hosts or ("orders.example",))}]
  addresses: {addresses}
  ports: {ports}
  resolution: STATIC
  {spec}
"""


def router(spec: str, *, host: str = "orders.shop.svc.cluster.local", name: str = "orders") -> str:
    """A MetaRouter of the namespace `shop`; `spec` holds all but the hosts."""
    return f"""
apiVersion: metaprotocol.aeraki.io/v1alpha1
kind: MetaRouter
metadata: {{name: {name}, namespace: shop}}
spec:
  hosts: ["{host}"]
  {spec}
"""


def mesh_config(text: str) -> str:
    """The ConfigMap with Istio's mesh config."""
    return f"""
apiVersion: v1
kind: ConfigMap
metadata: {{name: istio, namespace: istio-system}}
data:
  mesh: '{text}'
"""
