"""Our slice of the APIs says nothing that the official descriptors do not say."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import betterproto2
import pytest

from aeraki_xds._proto.envoy.config.cluster.v3 import ClusterLbPolicy
from aeraki_xds._proto.envoy.config.core.v3 import ApiVersion, HeaderValue, Locality
from aeraki_xds._proto.google.protobuf import Duration, UInt32Value
from tests.official import PROTOS, message_classes
from tests.protos.oracle import enum_classes, enum_differences, message_differences


def test_every_message_of_the_slice_is_found_under_its_official_name() -> None:
    declared = {
        line.split()[1]
        for source in PROTOS.rglob("*.proto")
        for line in source.read_text(encoding="utf-8").splitlines()
        if line.strip().startswith("message ")
    }
    assert declared <= {name.rpartition(".")[2] for name in message_classes()}
    assert len(message_classes()) > 50


@pytest.mark.parametrize("name", message_classes())
def test_a_message_is_what_it_is_officially(name: str) -> None:
    assert message_differences(message_classes()[name], name) == []


@pytest.mark.parametrize("name", enum_classes())
def test_an_enum_is_what_it_is_officially(name: str) -> None:
    assert enum_differences(enum_classes()[name], name) == []


def test_every_enum_of_the_slice_is_found_under_its_official_name() -> None:
    assert set(enum_classes()) == {
        "envoy.config.cluster.v3.Cluster.DiscoveryType",
        "envoy.config.cluster.v3.Cluster.DnsLookupFamily",
        "envoy.config.cluster.v3.Cluster.LbPolicy",
        "envoy.config.core.v3.ApiVersion",
        "envoy.config.core.v3.TrafficDirection",
        "envoy.extensions.filters.network.thrift_proxy.v3.ProtocolType",
        "envoy.extensions.filters.network.thrift_proxy.v3.TransportType",
        "envoy.type.v3.FractionalPercent.DenominatorType",
        "google.protobuf.NullValue",
    }


# --- the checker itself: each doctored class is wrong in one way ----------------------------------


def doctored(name: str, annotation: object, field: Any) -> type[betterproto2.Message]:
    """A generated class of one field, as the compiler would have written it."""
    fields = [(name, annotation, field)]
    bases = (betterproto2.Message,)
    return dataclasses.make_dataclass("Doctored", fields, bases=bases, eq=False, repr=False)


def text(number: int, **more: Any) -> Any:
    return betterproto2.field(number, betterproto2.TYPE_STRING, **more)


def message(number: int, **more: Any) -> Any:
    return betterproto2.field(number, betterproto2.TYPE_MESSAGE, optional=True, **more)


def mapping(number: int, key: str, value: str) -> Any:
    entry = betterproto2.map_meta(key, value)
    return betterproto2.field(number, betterproto2.TYPE_MAP, map_meta=entry)


LOCALITY = "envoy.config.core.v3.Locality"
WEIGHT = "envoy.config.route.v3.WeightedCluster.ClusterWeight"
ACTION = "envoy.config.route.v3.RouteAction"
DELTA = "envoy.service.discovery.v3.DeltaDiscoveryRequest"
SPECIFIER = "officially cluster_specifier"


@pytest.mark.parametrize(
    ("name", "field", "annotation", "made", "complaint"),
    [
        (LOCALITY, "region", str, text(2), "number is 2, officially 1"),
        (LOCALITY, "region", bytes, betterproto2.field(1, "bytes"), "type is bytes, officially st"),
        (LOCALITY, "area", str, text(1), "there is no such field"),
        (LOCALITY, "region", list[str], text(1, repeated=True), "repeated is yes, officially no"),
        (LOCALITY, "region", str | None, text(1, optional=True), "presence is yes, officially no"),
        (
            LOCALITY,
            "region",
            str | None,
            text(1, optional=True, group="place"),
            "oneof is place, officially none",
        ),
        (
            "envoy.config.core.v3.HeaderValueOption",
            "header",
            Locality | None,
            message(1),
            f"type is {LOCALITY}, officially envoy.config.core.v3.HeaderValue",
        ),
        (
            WEIGHT,
            "weight",
            timedelta | None,
            message(2, unwrap=lambda: Duration),
            "type is google.protobuf.Duration, officially google.protobuf.UInt32Value",
        ),
        (
            "envoy.config.cluster.v3.Cluster",
            "lb_policy",
            ApiVersion,
            betterproto2.field(6, "enum", default_factory=lambda: ApiVersion(0)),
            "type is envoy.config.core.v3.ApiVersion, officially envoy.config.cluster.v3.Cluster.",
        ),
        (ACTION, "cluster", str | None, text(1, optional=True), f"oneof is none, {SPECIFIER}"),
        (
            ACTION,
            "cluster",
            str | None,
            text(1, optional=True, group="action"),
            f"oneof is action, {SPECIFIER}",
        ),
        (
            "envoy.config.core.v3.Metadata",
            "filter_metadata",
            dict[str, HeaderValue],
            mapping(1, "string", "message"),
            "type is map<string, envoy.config.core.v3.HeaderValue>, officially map<string, google",
        ),
        (
            DELTA,
            "initial_resource_versions",
            dict[int, str],
            mapping(5, "uint32", "string"),
            "type is map<uint32, string>, officially map<string, string>",
        ),
    ],
)
def test_a_doctored_message_is_noticed(
    name: str, field: str, annotation: object, made: Any, complaint: str
) -> None:
    differences = message_differences(doctored(field, annotation, made), name)
    assert any(each.startswith(f"{name}.{field}: {complaint}") for each in differences), differences


def test_another_name_for_a_message_is_noticed() -> None:
    place = "envoy.config.core.v3.Place"
    assert message_differences(Locality, place) == [f"{place}: there is no such message"]
    differences = message_differences(UInt32Value, "google.protobuf.Int32Value")
    assert differences == ["google.protobuf.Int32Value.value: type is uint32, officially int32"]


class WrongValue(betterproto2.Enum):
    ROUND_ROBIN = 0

    RANDOM = 1


class WrongValueName(betterproto2.Enum):
    ROUND_ROBIN = 0

    AT_RANDOM = 3


@pytest.mark.parametrize(
    ("doctored", "complaint"),
    [
        (WrongValue, "LbPolicy.RANDOM: is 1, officially 3"),
        (WrongValueName, "LbPolicy.AT_RANDOM: is 3, officially None"),
        (ApiVersion, "LbPolicy.V2: is 1, officially None"),
    ],
)
def test_a_doctored_enum_is_noticed(doctored: type[betterproto2.Enum], complaint: str) -> None:
    differences = enum_differences(doctored, "envoy.config.cluster.v3.Cluster.LbPolicy")
    assert complaint in "\n".join(differences)
    missing = enum_differences(ClusterLbPolicy, "envoy.config.cluster.v3.Cluster.Policy")
    assert missing == ["envoy.config.cluster.v3.Cluster.Policy: there is no such enum"]
