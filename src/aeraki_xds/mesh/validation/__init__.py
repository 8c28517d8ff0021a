"""What an object of the right shape must also satisfy to mean something.

In: one object. Out: everything wrong with it, each under its own field path, errors and warnings.
Guaranteed: pure, linear in the size of the object, and the only place that judges: decoding, the
`validate` command and an admission webhook all ask `check`. What shows only when objects are put
together (a subset that nobody declares, two routers of one host) is not judged here.

The rules V1 to V18 are those of Aeraki's own webhook (specification §1.3), so an object that
Aeraki admits is refused only where it could not work; each module says where it is stricter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from aeraki_xds.mesh.objects import (
    ApplicationProtocol,
    DestinationRule,
    DubboAuthorizationPolicy,
    EndpointSlice,
    Gateway,
    KubernetesService,
    MeshConfig,
    MeshObject,
    MetaRouter,
    Pod,
    RedisDestination,
    RedisService,
    Secret,
    ServiceEntry,
    VirtualService,
    WorkloadEntry,
)
from aeraki_xds.mesh.validation import (
    dubbo,
    istio,
    kubernetes,
    metarouter,
    names,
    protocol,
    redis,
    serviceentry,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aeraki_xds.mesh.problems import Problem


def check(item: MeshObject) -> tuple[Problem, ...]:
    """Every problem of one object, in the order of its fields."""
    return (*names.metadata(item.metadata), *_spec(item))


def _spec(item: MeshObject) -> Iterator[Problem]:
    match item:
        case MetaRouter():
            return metarouter.check(item.spec, item.metadata.namespace)
        case ApplicationProtocol():
            return protocol.check(item.spec)
        case ServiceEntry():
            return serviceentry.check(item.spec)
        case VirtualService():
            return istio.virtual_service(item.spec)
        case DestinationRule():
            return istio.destination_rule(item.spec)
        case Gateway():
            return istio.gateway(item.spec)
        case RedisService():
            return redis.service(item.spec)
        case RedisDestination():
            return redis.destination(item.spec)
        case DubboAuthorizationPolicy():
            return dubbo.check(item.spec)
        case KubernetesService():
            return kubernetes.service(item.spec)
        case MeshConfig():
            return kubernetes.mesh_config(item.spec)
        case EndpointSlice():
            return kubernetes.endpoint_slice(item)
        case WorkloadEntry():
            return serviceentry.workload(item.spec)
        case Pod():
            return iter(())
        case Secret():  # decoding has said all that can be said without printing it
            return iter(())
        case _:
            assert_never(item)


__all__ = ["check"]
