"""Gateway, Service and mesh config: the few rules for kinds that others have judged already."""

from __future__ import annotations

import pytest

from aeraki_xds.mesh.objects import (
    KubernetesPort,
    KubernetesService,
    KubernetesServiceSpec,
    MeshConfig,
    MeshConfigSpec,
    Metadata,
)
from aeraki_xds.mesh.objects.kubernetes import ProxyDefaults, Tracing
from aeraki_xds.mesh.problems import Severity
from aeraki_xds.mesh.validation import check
from tests.manifests import DROP, GATEWAY, SERVICE
from tests.mesh.judged import Changes, Expected, Row, assert_problems

TARGET = "spec.ports[0].targetPort"

SERVICE_ERRORS: dict[str, Row] = {
    "port 0": ({"spec.ports[1].port": 0}, [("spec.ports[1].port", "must be from 1 to 65535")]),
    "port 65536": ({"spec.ports[1].port": 65536}, [("spec.ports[1].port", "is 65536")]),
    "target port 0": ({TARGET: 0}, [(TARGET, "must be from 1 to 65535, is 0")]),
    "target port 65536": ({TARGET: 65536}, [(TARGET, "is 65536")]),
    "an empty name": ({TARGET: ""}, [(TARGET, "or the name of a port")]),
    "no number and no name": ({TARGET: True}, [(TARGET, "or the name of a port")]),
    "a fraction": ({TARGET: 80.5}, [(TARGET, "or the name of a port")]),
    "a list": ({TARGET: [80]}, [(TARGET, "or the name of a port")]),
}


@pytest.mark.parametrize(("changes", "expected"), SERVICE_ERRORS.values(), ids=SERVICE_ERRORS)
def test_a_service_of_no_port_is_refused(changes: Changes, expected: Expected) -> None:
    assert_problems(SERVICE, changes, expected, Severity.ERROR)


@pytest.mark.parametrize("target", [1, 65535, "thrift", None, DROP])
def test_a_target_port_is_a_number_a_name_or_absent(target: object) -> None:
    assert_problems(SERVICE, {TARGET: target}, [], Severity.ERROR)


def test_a_server_of_a_gateway_without_a_port_offers_nothing() -> None:
    expected = [("spec.servers[1].port", "the server offers nothing")]
    assert_problems(GATEWAY, {"spec.servers[1]": {"hosts": ["a"]}}, expected, Severity.WARNING)


@pytest.mark.parametrize(
    ("sampling", "is_share"),
    [(None, True), (0, True), (100, True), (-0.1, False), (100.1, False), (float("nan"), False)],
)
def test_what_is_traced_is_a_share(sampling: float | None, *, is_share: bool) -> None:
    spec = MeshConfigSpec(default_config=ProxyDefaults(tracing=Tracing(sampling=sampling)))
    problems = check(MeshConfig(metadata=Metadata(name="istio"), spec=spec))
    expected = [] if is_share else ["data.mesh.defaultConfig.tracing.sampling"]
    assert [problem.field for problem in problems] == expected


@pytest.mark.parametrize(
    ("name", "application", "is_said"),
    [("cache", "redis", True), ("tcp-redis", "redis", False), ("web", "http", False)],
)
def test_the_protocol_of_a_port_is_told_from_its_name_alone(
    name: str, application: str, *, is_said: bool
) -> None:
    port = KubernetesPort(port=1, name=name, app_protocol=application)
    spec = KubernetesServiceSpec(ports=(port,))
    problems = check(KubernetesService(metadata=Metadata(name="cache"), spec=spec))
    assert [problem.field for problem in problems] == ["spec.ports[0].appProtocol"] * is_said
