"""The fields of MetaProtocol's messages, as the specification lists them (§3.1).

No Python package holds these messages, so the list is the oracle: a name and what may stand there.
A field with `?` may be left out. `{…}` is a message, `[…]` a list of them, `any` an Any whose
type is one of the keys.
"""

from __future__ import annotations

import re
from typing import Any, Final

Json = dict[str, Any]

_DURATION: Final = re.compile(r"[0-9]+(\.([0-9]{3}|[0-9]{6}|[0-9]{9}))?s")


class Either(list[Any]):
    """One of several messages."""


class Duration:
    """Protobuf's JSON of a duration."""


class Free:
    """A message that is described elsewhere (tests with the official classes)."""


class Any_(dict[str, Any]):
    """Full name → the message that it is."""


_REGEX: Final = {"googleRe2": {}, "regex": str}
_STRING: Final = Either([{"exact": str}, {"prefix": str}, {"safeRegex": _REGEX}])
_HEADER: Final = Either(
    [
        {"name": str, "exactMatch": str},
        {"name": str, "prefixMatch": str},
        {"name": str, "safeRegexMatch": _REGEX},
        {"name": str, "presentMatch": bool},
        {"name": str, "stringMatch": _STRING},
    ]
)
_MATCH: Final = {"metadata?": [_HEADER]}
_BUCKET: Final = {"maxTokens": int, "tokensPerFill?": int, "fillInterval": Duration()}
_FILTERS: Final = "type.googleapis.com/aeraki.meta_protocol_proxy.filters."
_LOCAL: Final = {
    "@type": str,
    "statPrefix": str,
    "tokenBucket?": _BUCKET,
    "conditions?": [{"match": _MATCH, "tokenBucket": _BUCKET}],
}
_SHARED: Final = {
    "@type": str,
    "match": _MATCH,
    "domain": str,
    "timeout": Duration(),
    "failureModeDeny?": bool,
    "rateLimitService": {"grpcService": {"envoyGrpc": {"clusterName": str}}},
    "descriptors": [{"property": str, "descriptorKey": str}],
}
_STATS: Final = {"@type": str, "destinationService": str}
_FILTER: Final = {
    "name": str,
    "config?": Any_(
        {
            f"{_FILTERS}local_ratelimit.v1alpha.LocalRateLimit": _LOCAL,
            f"{_FILTERS}ratelimit.v1alpha.RateLimit": _SHARED,
            f"{_FILTERS}istio_stats.v1alpha.IstioStats": _STATS,
        }
    ),
}
_RDS: Final = {
    "routeConfigName": str,
    "configSource": {
        "resourceApiVersion": str,
        "apiConfigSource": {
            "apiType": str,
            "transportApiVersion": str,
            "grpcServices": [{"envoyGrpc": {"clusterName": str}}],
        },
    },
}
_CODEC: Final = {"name": str}
_COMMON: Final = {
    "statPrefix": str,
    "metaProtocolFilters": [_FILTER],
    "accessLog?": [{"name": str, "typedConfig": Free()}],
    "tracing?": {
        "clientSampling": {"value": int},
        "randomSampling": {"value?": float},
        "overallSampling": {"value": int},
    },
}
_ROUTES: Final = (
    {"rds": _RDS},
    {"routeConfig": {"name": str, "routes": [{"route": {"cluster": str}}]}},
)
_PROTOCOLS: Final = (
    {"applicationProtocol": str, "codec": _CODEC},
    {"protocol": {"name": str, "codec": _CODEC}},
)
METAPROTOCOL: Final = Either(
    [{**_COMMON, **routes, **protocol} for routes in _ROUTES for protocol in _PROTOCOLS]
)


def assert_fits(value: object, shape: object, path: str = "$") -> None:
    """Raise AssertionError where a value is not of a shape."""
    match shape:
        case Either():
            assert any(_fits(value, each) for each in shape), f"{path}: fits nothing: {value}"
        case Any_():
            assert isinstance(value, dict), path
            assert value.get("@type") in shape, f"{path}: {value}"
            assert_fits(value, shape[value["@type"]], path)
        case Free():
            assert isinstance(value, dict), path
        case Duration():
            assert isinstance(value, str), path
            assert _DURATION.fullmatch(value), f"{path}: {value}"
        case list():
            assert isinstance(value, list), path
            assert value, path
            for n, each in enumerate(value):
                assert_fits(each, shape[0], f"{path}[{n}]")
        case dict():
            _message(value, shape, path)
        case type():
            allowed = (int, float) if shape is float else shape
            assert isinstance(value, allowed), f"{path}: {value!r} is no {shape}"
        case _:
            raise AssertionError(shape)


def _message(value: object, shape: Json, path: str) -> None:
    assert isinstance(value, dict), path
    known = {name.removesuffix("?"): of for name, of in shape.items()}
    assert value.keys() <= known.keys(), f"{path}: {value.keys() - known.keys()}"
    required = {name for name in shape if not name.endswith("?")}
    assert required <= value.keys(), f"{path}: {required - value.keys()} missing"
    for name, each in value.items():
        assert_fits(each, known[name], f"{path}.{name}")


def _fits(value: object, shape: object) -> bool:
    try:
        assert_fits(value, shape)
    except AssertionError:
        return False
    return True
