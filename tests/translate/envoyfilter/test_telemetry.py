"""What the mesh config says of access logs and tracing is what MetaProtocol's filters do."""

from __future__ import annotations

import pytest

from aeraki_xds.translate.envoyfilter.profile import Mend
from tests.translate.envoyfilter.kit import (
    LIKE_AERAKI,
    Json,
    Written,
    istio,
    mesh_config,
    only,
    service,
)

INBOUND = "istio-system/aeraki-inbound-orders.shop.svc.cluster.local-9090"


def written(config: str, *mends: Mend) -> Written:
    return istio(service(), mesh_config(config), delivery=only(*mends) if mends else LIKE_AERAKI)


def log_format(config: str, *mends: Mend) -> Json:
    (log,) = written(config, *mends).value(INBOUND)["accessLog"]
    found: Json = log["typedConfig"]["logFormat"]
    return found


def sampling(config: str, *mends: Mend) -> Json:
    found: Json = written(config, *mends).value(INBOUND)["tracing"]["randomSampling"]
    return found


def test_without_a_file_nothing_is_logged() -> None:
    assert "accessLog" not in istio(service()).value(INBOUND)


def test_the_default_line_is_aerakis() -> None:
    (log,) = written("{accessLogFile: /var/log/x}").value(INBOUND)["accessLog"]
    assert log["typedConfig"]["path"] == "/var/log/x"
    line = log["typedConfig"]["logFormat"]["textFormatSource"]["inlineString"]
    assert line.startswith("[%START_TIME%] %REQ(X-META-PROTOCOL-APPLICATION-PROTOCOL)% ")
    assert '%DURATION%  "%REQ(X-FORWARDED-FOR)%"' in line
    assert line.endswith("%ROUTE_NAME%\n")


def test_a_line_of_the_users_own_ends_with_a_newline_by_the_mend() -> None:
    config = "{accessLogFile: /dev/stdout, accessLogFormat: mine}"
    assert log_format(config) == {"textFormatSource": {"inlineString": "mine"}}
    assert log_format(config, Mend.LOG_NEWLINE) == {"textFormatSource": {"inlineString": "mine\n"}}


def test_json_is_aerakis_object_or_the_users() -> None:
    default = log_format("{accessLogFile: /dev/stdout, accessLogEncoding: JSON}")["jsonFormat"]
    assert len(default) == 15
    assert default["duration"] == "%DURATION%"
    assert default["request_id"] == "%REQ(X-REQUEST-ID)%"
    assert default["application_protocol"] == "%REQ(X-META-PROTOCOL-APPLICATION-PROTOCOL)%"
    own = '{accessLogFile: /x, accessLogEncoding: JSON, accessLogFormat: "{\\"a\\": \\"b\\"}"}'
    assert log_format(own) == {"jsonFormat": {"a": "b"}}


@pytest.mark.parametrize("broken", ["no json", "[1]"])
def test_a_format_that_is_no_object_gives_the_default_and_is_said(broken: str) -> None:
    config = f'{{accessLogFile: /x, accessLogEncoding: JSON, accessLogFormat: "{broken}"}}'
    assert len(log_format(config)["jsonFormat"]) == 15
    said = [line for line in written(config).said if "data.mesh.accessLogFormat" in line]
    assert said
    assert "ConfigMap/istio-system/istio" in said[0]


@pytest.mark.parametrize(
    ("config", "value", "mended"),
    [
        ("{}", {}, {"value": 1}),
        ("{defaultConfig: {tracing: {zipkin: {address: x}}}}", {}, {"value": 1}),
        ("{defaultConfig: {tracing: {sampling: 0}}}", {}, {}),
        ("{defaultConfig: {tracing: {sampling: 2.5}}}", {"value": 2.5}, {"value": 2.5}),
        ("{defaultConfig: null}", {"value": 1}, {"value": 1}),
        ("{defaultConfig: {tracing: null}}", {"value": 1}, {"value": 1}),
    ],
)
def test_what_is_traced_at_random_is_what_is_said_and_the_documented_share_by_the_mend(
    config: str, value: Json, mended: Json
) -> None:
    assert sampling(config) == value
    assert sampling(config, Mend.DEFAULT_SAMPLING) == mended


def test_tracing_can_be_switched_off() -> None:
    assert "tracing" not in written("{enableTracing: false}").value(INBOUND)


def test_a_config_map_of_another_namespace_or_name_says_nothing() -> None:
    config = mesh_config("{accessLogFile: /x}")
    for other in (
        config.replace("namespace: istio-system", "namespace: shop"),
        config.replace("name: istio,", "name: other,"),
    ):
        assert "accessLog" not in istio(service(), other).value(INBOUND)


def test_a_mesh_config_that_cannot_be_read_holds_everything() -> None:
    """Defaults in its place would touch every listener, twice."""
    found = written("{accessLogFile: [}")
    assert found.names == []
    assert any("data.mesh" in line for line in found.said)


def test_what_is_no_json_by_intention_is_not_complained_of() -> None:
    for config in (
        "{accessLogFile: /x, accessLogFormat: mine}",
        "{accessLogFile: /x, accessLogEncoding: JSON}",
    ):
        assert not [line for line in written(config).said if "accessLogFormat" in line]


def test_a_line_that_ends_with_a_newline_has_no_second_one_by_the_mend() -> None:
    for config in ("{accessLogFile: /x}", '{accessLogFile: /x, accessLogFormat: "mine\\n"}'):
        line: str = log_format(config, Mend.LOG_NEWLINE)["textFormatSource"]["inlineString"]
        assert line.endswith("\n")
        assert not line.endswith("\n\n")


def test_a_whole_number_of_per_cent_has_no_point() -> None:
    """protobuf's JSON: an object is compared with the one that Aeraki wrote, text by text."""
    whole = sampling("{defaultConfig: {tracing: {sampling: 50.0}}}")
    assert repr(whole) == "{'value': 50}"
