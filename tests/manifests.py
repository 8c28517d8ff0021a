"""Valid manifests, and a way to write down what a test changes in one."""

from __future__ import annotations

import copy
import re
from typing import Any, Final

DROP: Final = object()
"""As a new value: remove what is there."""

META_ROUTER: Final[dict[str, Any]] = {
    "apiVersion": "metaprotocol.aeraki.io/v1alpha1",
    "kind": "MetaRouter",
    "metadata": {"name": "reviews", "namespace": "shop"},
    "spec": {
        "hosts": ["reviews.shop.svc.cluster.local"],
        "gateways": ["edge/gate", "gate"],
        "exportTo": ["."],
        "routes": [
            {
                "name": "canary",
                "match": {
                    "attributes": {
                        "method": {"exact": "list"},
                        "user": {"prefix": "a"},
                        "group": {"regex": "a|b"},
                        "token": {},
                    }
                },
                "route": [
                    {"destination": {"host": "reviews", "subset": "v1"}, "weight": 60},
                    {"destination": {"host": "reviews", "port": {"number": 9090}}, "weight": 40},
                ],
                "mirror": {"host": "audit.shop.svc.cluster.local"},
                "mirrorPercentage": {"value": 0.5},
                "requestMutation": [{"key": "a", "value": "b"}],
                "responseMutation": [{"key": "c", "value": "d"}],
            },
            {"route": [{"destination": {"host": "reviews"}}]},
        ],
        "localRateLimit": {
            "tokenBucket": {"maxTokens": 5, "tokensPerFill": 1, "fillInterval": "1m30s"},
            "conditions": [
                {
                    "match": {"attributes": {"method": {"exact": "list"}}},
                    "tokenBucket": {"maxTokens": 1, "tokensPerFill": 1, "fillInterval": "50ms"},
                }
            ],
        },
        "globalRateLimit": {
            "match": {"attributes": {"method": {"exact": "list"}}},
            "domain": "shop",
            "requestTimeout": "100ms",
            "denyOnFail": True,
            "rateLimitService": "outbound|8081||limits.shop.svc.cluster.local",
            "descriptors": [{"property": "user", "descriptorKey": "user"}],
        },
    },
}

APPLICATION_PROTOCOL: Final[dict[str, Any]] = {
    "apiVersion": "metaprotocol.aeraki.io/v1alpha1",
    "kind": "ApplicationProtocol",
    "metadata": {"name": "trpc"},
    "spec": {"protocol": "trpc", "codec": "aeraki.meta_protocol.codec.trpc"},
}

SERVICE_ENTRY: Final[dict[str, Any]] = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "ServiceEntry",
    "metadata": {"name": "reviews", "namespace": "shop", "labels": {"a": "b"}},
    "spec": {
        "hosts": ["reviews.shop.svc.cluster.local"],
        "addresses": ["127.9.9.1", "10.0.0.0/24", "fd00::1"],
        "ports": [
            {"number": 9090, "name": "tcp-thrift", "protocol": "TCP", "targetPort": 19090},
            {"number": 9091, "name": "tcp-dubbo"},
        ],
        "resolution": "STATIC",
        "endpoints": [{"address": "10.0.0.7", "ports": {"tcp-thrift": 1}, "weight": 3}],
    },
}

VIRTUAL_SERVICE: Final[dict[str, Any]] = {
    "apiVersion": "networking.istio.io/v1beta1",
    "kind": "VirtualService",
    "metadata": {"name": "reviews", "namespace": "shop"},
    "spec": {
        "hosts": ["reviews"],
        "http": [
            {
                "match": [{"method": {"exact": "list"}}],
                "route": [
                    {"destination": {"host": "reviews", "port": {"number": 9090}}, "weight": 1},
                    {"destination": {"host": "reviews", "subset": "v2"}, "weight": 2},
                ],
                "mirror": {"host": "audit"},
            },
            {"redirect": {"uri": "/"}},
        ],
    },
}

DESTINATION_RULE: Final[dict[str, Any]] = {
    "apiVersion": "networking.istio.io/v1alpha3",
    "kind": "DestinationRule",
    "metadata": {"name": "reviews", "namespace": "shop"},
    "spec": {
        "host": "reviews",
        "trafficPolicy": {"connectionPool": {"tcp": {"connectTimeout": "0.5s"}}},
        "subsets": [{"name": "v1", "labels": {"version": "v1"}}, {"name": "v2"}],
    },
}

GATEWAY: Final[dict[str, Any]] = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "Gateway",
    "metadata": {"name": "edge", "namespace": "shop"},
    "spec": {
        "selector": {"istio": "ingressgateway"},
        "servers": [
            {
                "port": {"number": 9090, "name": "tcp-metaprotocol-thrift", "protocol": "TCP"},
                "hosts": ["reviews.example.com"],
                "tls": {"mode": "PASSTHROUGH"},
            }
        ],
    },
}

REDIS_SERVICE: Final[dict[str, Any]] = {
    "apiVersion": "redis.aeraki.io/v1alpha1",
    "kind": "RedisService",
    "metadata": {"name": "sessions", "namespace": "shop"},
    "spec": {
        "host": ["sessions.shop.svc.cluster.local", "sessions"],
        "settings": {
            "auth": {"plain": {"username": "app", "password": "app-secret"}},
            "opTimeout": "500ms",
            "enableHashtagging": True,
            "maxBufferSizeBeforeFlush": 1024,
            "bufferFlushTimeout": "3ms",
            "maxUpstreamUnknownConnections": 0,
            "readPolicy": "PREFER_REPLICA",
        },
        "redis": [
            {
                "match": {"key": {"prefix": "cart:", "removePrefix": True}},
                "route": {"host": "carts", "port": 6379},
                "mirror": [
                    {
                        "route": {"host": "carts-new"},
                        "percentage": {"value": 12.5},
                        "excludeReadCommands": True,
                    }
                ],
            },
            {"route": {"host": "sessions"}},
        ],
        "faults": [
            {"type": "ERROR", "percentage": {"value": 1}, "commands": ["GET"]},
            {"percentage": {"value": 100}, "delay": "1ms"},
        ],
    },
}

REDIS_DESTINATION: Final[dict[str, Any]] = {
    "apiVersion": "redis.aeraki.io/v1alpha1",
    "kind": "RedisDestination",
    "metadata": {"name": "sessions", "namespace": "shop"},
    "spec": {
        "host": "sessions.shop.svc.cluster.local",
        "trafficPolicy": {
            "connectionPool": {
                "tcp": {
                    "connectTimeout": "3s",
                    "maxConnections": 200,
                    "tcpKeepalive": {"probes": 3, "time": "1m", "interval": "1s"},
                },
                "redis": {
                    "mode": "CLUSTER",
                    "auth": {"secret": {"name": "sessions", "passwordField": "token"}},
                    "discoveryEndpoints": ["sessions", "10.0.0.7:6379", "[fd00::1]:6379"],
                },
            }
        },
    },
}

DUBBO_POLICY: Final[dict[str, Any]] = {
    "apiVersion": "dubbo.aeraki.io/v1alpha1",
    "kind": "DubboAuthorizationPolicy",
    "metadata": {"name": "readers", "namespace": "shop"},
    "spec": {
        "action": "ALLOW",
        "rules": [
            {
                "from": [
                    {
                        "source": {
                            "principals": ["cluster.local/ns/shop/sa/reader"],
                            "namespaces": ["shop", "*"],
                        }
                    }
                ],
                "to": [
                    {
                        "operation": {
                            "interfaces": ["org.example.*"],
                            "methods": ["get", "*List", "*"],
                            "notMethods": ["getAll"],
                        }
                    }
                ],
            }
        ],
    },
}

SERVICE: Final[dict[str, Any]] = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "reviews", "namespace": "shop"},
    "spec": {
        "clusterIP": "10.96.0.7",
        "clusterIPs": ["10.96.0.7", "fd00::7"],
        "selector": {"app": "reviews"},
        "ports": [
            {"name": "tcp-thrift", "port": 9090, "targetPort": 19090},
            {"name": "tcp-dubbo", "port": 9091, "targetPort": "dubbo"},
            {"name": "tcp-redis", "port": 9092},
        ],
    },
}

SECRET: Final[dict[str, Any]] = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "sessions", "namespace": "shop"},
    "type": "Opaque",
    "data": {"username": "YXBw", "password": "c2VjcmV0"},
}

MESH_CONFIG: Final[dict[str, Any]] = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "istio", "namespace": "shop"},
    "data": {
        "mesh": "accessLogFile: /dev/stdout\ndefaultConfig:\n  tracing: {sampling: 12.5}\n",
        "meshNetworks": "networks: {}",
    },
}

ENDPOINT_SLICE: Final[dict[str, Any]] = {
    "apiVersion": "discovery.k8s.io/v1",
    "kind": "EndpointSlice",
    "metadata": {
        "name": "reviews-a",
        "namespace": "shop",
        "labels": {"kubernetes.io/service-name": "reviews"},
    },
    "addressType": "IPv4",
    "endpoints": [
        {
            "addresses": ["10.0.0.7"],
            "conditions": {"ready": True},
            "targetRef": {"kind": "Pod", "name": "reviews-1", "namespace": "shop"},
            "zone": "eu-1",
        },
    ],
    "ports": [{"name": "tcp-thrift", "port": 19090}],
}

POD: Final[dict[str, Any]] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "reviews-1", "namespace": "shop", "labels": {"version": "v1"}},
}

WORKLOAD_ENTRY: Final[dict[str, Any]] = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "WorkloadEntry",
    "metadata": {"name": "reviews-2", "namespace": "shop", "labels": {"app": "reviews"}},
    "spec": {
        "address": "10.0.0.8",
        "ports": {"tcp-thrift": 19091},
        "labels": {"version": "v2"},
        "weight": 2,
        "locality": "eu/1",
    },
}

ALL: Final = (
    META_ROUTER,
    APPLICATION_PROTOCOL,
    SERVICE_ENTRY,
    VIRTUAL_SERVICE,
    DESTINATION_RULE,
    GATEWAY,
    REDIS_SERVICE,
    REDIS_DESTINATION,
    DUBBO_POLICY,
    SERVICE,
    SECRET,
    MESH_CONFIG,
    ENDPOINT_SLICE,
    POD,
    WORKLOAD_ENTRY,
)

_STEP: Final = re.compile(r"\[(\d+)\]|\[([^\]]*)\]|([^.\[]+)")


def edited(manifest: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A copy with other values at some paths, written as problems write them: `spec.hosts[0]`.

    `spec.hosts[1]` on a list of one appends. `DROP` removes.
    """
    changed = copy.deepcopy(manifest)
    for path, value in changes.items():
        steps: list[Any] = [
            int(step[1]) if step[1] else step[2] if step[2] is not None else step[3]
            for step in _STEP.finditer(path)
        ]
        place: Any = changed
        for step in steps[:-1]:
            place = place[step]
        if value is DROP:
            del place[steps[-1]]
        elif isinstance(place, list) and steps[-1] == len(place):
            place.append(value)
        else:
            place[steps[-1]] = value
    return changed
