"""Objects that are wanted and objects that exist, as the tests of the writer say them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import orjson
import yaml

from aeraki_xds.mesh.names import Host
from aeraki_xds.pipeline.desired import Desired
from aeraki_xds.writeback.objects import INSTANCE, Existing, Install, ObjectId, Wanted
from aeraki_xds.xds.resource import Name, Resource, ResourceId, TypeUrl

Json = dict[str, Any]

ROOT: Final = "istio-system"
OURS: Final = Install(instance="ours", root_namespace=ROOT, adopts=True)
STRICT: Final = Install(instance="ours", root_namespace=ROOT, adopts=False)
WORKED: Final = Path(__file__).parents[1] / "translate" / "envoyfilter" / "worked"


def envoy_filter(
    name: str = "orders",
    namespace: str = ROOT,
    *,
    spec: Json | None = None,
    labels: dict[str, str] | None = None,
) -> Json:
    """An EnvoyFilter as Aeraki names it, for a host."""
    return a_manifest("EnvoyFilter", f"aeraki-outbound-{name}-10.0.0.1-80", namespace, spec, labels)


def virtual_service(name: str = "edge", namespace: str = ROOT, *, spec: Json | None = None) -> Json:
    return a_manifest("VirtualService", f"aeraki-vs-{namespace}.{name}-80", namespace, spec, None)


def a_manifest(
    kind: str, name: str, namespace: str, spec: Json | None, labels: dict[str, str] | None
) -> Json:
    return {
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"manager": "Aeraki"} if labels is None else labels,
        },
        "spec": {"configPatches": []} if spec is None else spec,
    }


def worked_examples() -> list[Json]:
    """Everything that the specification's worked examples become, each object once."""
    found: dict[ObjectId, Json] = {}
    for path in sorted(WORKED.glob("*.expected.yaml")):
        for each in yaml.safe_load(path.read_text(encoding="utf-8")):
            found[id_of(each)] = each
    return list(found.values())


def id_of(manifest: Json) -> ObjectId:
    metadata = manifest["metadata"]
    return ObjectId(manifest["kind"], metadata["namespace"], metadata["name"])


def resource(manifest: Json) -> Resource:
    """As the pipeline hands it over."""
    kind, namespace, name = id_of(manifest)
    body = orjson.dumps(manifest, option=orjson.OPT_SORT_KEYS)
    type_url = TypeUrl(f"networking.istio.io/v1alpha3/{kind}")
    return Resource.of(type_url, Name(f"{namespace}/{name}"), body)


def want(
    desired: Desired, *manifests: Json, standing: tuple[str, ...] = (), complete: bool = True
) -> None:
    """Want these, and nothing else."""
    now = {each.id: each for each in map(resource, manifests)}
    changes: dict[ResourceId, Resource | None] = dict.fromkeys(desired.objects.keys() - now.keys())
    hosts = frozenset(map(Host, standing))
    desired.take({**changes, **now}, standing=hosts, complete=complete)


def wanted(*manifests: Json) -> dict[ObjectId, Wanted]:
    made = (
        Wanted(id=id_of(each), version=resource(each).version, body=orjson.dumps(each))
        for each in manifests
    )
    return {each.id: each for each in made}


def existing(*manifests: Json) -> dict[ObjectId, Existing]:
    """As the API server has them: with a uid and a revision."""
    found: dict[ObjectId, Existing] = {}
    for n, each in enumerate(manifests):
        raw = orjson.loads(orjson.dumps(each))
        raw["metadata"] |= {"uid": f"uid-{n}", "resourceVersion": str(n)}
        one = Existing.of(each["kind"], raw)
        found[one.id] = one
    return found


def of_instance(instance: str) -> dict[str, str]:
    return {"manager": "Aeraki", INSTANCE: instance}


def matching(*names: str) -> Json:
    """A spec with a route that matches headers, in this order."""
    headers = [{"name": name, "exactMatch": name} for name in names]
    return {"configPatches": [{"patch": {"value": {"routes": [{"match": {"headers": headers}}]}}}]}
