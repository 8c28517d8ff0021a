"""The bootstrap, as the official classes read it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from aeraki_xds.translate.bootstrap import BootstrapSettings, MutualTls, bootstrap, secrets
from tests.official import official_bootstrap

SPIFFE = "spiffe://cluster.local/ns/aeraki/sa/aeraki"
TLS = MutualTls(
    certificate="/certs/cert-chain.pem",
    key="/certs/key.pem",
    root="/certs/root-cert.pem",
    server_name=SPIFFE,
)


def settings(**changes: object) -> BootstrapSettings:
    values: dict[str, object] = {
        "node_id": "sidecar~10.0.0.5~app.shop~shop.svc.cluster.local",
        "cluster": "app.shop",
        "xds_host": "127.0.0.1",
        "xds_port": 15010,
    }
    return BootstrapSettings(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(("delta", "api"), [(False, "GRPC"), (True, "DELTA_GRPC")])
def test_everything_comes_over_one_stream_that_sends_the_node_once(delta: bool, api: str) -> None:
    read = official_bootstrap(bootstrap(settings(delta=delta)))
    ads = read["dynamicResources"]["adsConfig"]
    assert ads["apiType"] == api
    assert ads["setNodeOnFirstMessageOnly"] is True
    (service,) = ads["grpcServices"]
    assert service["envoyGrpc"]["clusterName"] == "aeraki-xds"
    back_off = {"baseInterval": "0.100s", "maxInterval": "1s"}
    assert service["envoyGrpc"]["retryPolicy"] == {"retryBackOff": back_off}
    source = {"ads": {}, "resourceApiVersion": "V3"}
    assert read["dynamicResources"]["cdsConfig"] == source
    assert read["dynamicResources"]["ldsConfig"] == source


def test_the_node_says_who_it_is_and_what_it_was_told() -> None:
    read = official_bootstrap(bootstrap(settings(metadata={"AERAKI_BIND": "vip"})))
    assert read["node"] == {
        "id": "sidecar~10.0.0.5~app.shop~shop.svc.cluster.local",
        "cluster": "app.shop",
        "metadata": {"AERAKI_BIND": "vip"},
    }
    assert "metadata" not in official_bootstrap(bootstrap(settings()))["node"]


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        ("127.0.0.1", "STATIC"),
        ("fd00::1", "STATIC"),
        ("aeraki.mesh.svc", "STRICT_DNS"),
        ("localhost", "STRICT_DNS"),
        ("cafe", "STRICT_DNS"),
        ("face.bad", "STRICT_DNS"),
    ],
)
def test_a_name_is_looked_up_and_an_address_is_not(host: str, kind: str) -> None:
    read = official_bootstrap(bootstrap(settings(xds_host=host)))
    (cluster,) = read["staticResources"]["clusters"]
    assert cluster.get("type", "STATIC") == kind
    (locality,) = cluster["loadAssignment"]["endpoints"]
    (endpoint,) = locality["lbEndpoints"]
    address = endpoint["endpoint"]["address"]["socketAddress"]
    assert address == {"address": host, "portValue": 15010}


@pytest.mark.parametrize(
    ("server", "host", "san_type", "sni"),
    [
        (SPIFFE, "127.0.0.1", "URI", None),
        (SPIFFE, "aeraki.mesh", "URI", "aeraki.mesh"),
        ("aeraki.mesh.svc", "127.0.0.1", "DNS", "aeraki.mesh.svc"),
    ],
)
def test_under_mutual_tls_the_server_must_prove_its_name(
    server: str, host: str, san_type: str, sni: str | None
) -> None:
    tls = MutualTls(certificate=TLS.certificate, key=TLS.key, root=TLS.root, server_name=server)
    read = official_bootstrap(bootstrap(settings(tls=tls, xds_host=host)))
    (cluster,) = read["staticResources"]["clusters"]
    context = cluster["transportSocket"]["typedConfig"]
    assert context.get("sni") == sni
    common = context["commonTlsContext"]
    assert common["alpnProtocols"] == ["h2"]
    assert common["tlsCertificates"] == [
        {"certificateChain": {"filename": TLS.certificate}, "privateKey": {"filename": TLS.key}}
    ]
    assert common["validationContext"] == {
        "trustedCa": {"filename": TLS.root},
        "matchTypedSubjectAltNames": [{"sanType": san_type, "matcher": {"exact": server}}],
    }


def test_with_secrets_the_files_are_named_there_and_the_server_is_pinned_here() -> None:
    tls = replace(TLS, secrets_dir="/etc/aeraki")
    read = official_bootstrap(bootstrap(settings(tls=tls)))
    (cluster,) = read["staticResources"]["clusters"]
    assert cluster["transportSocket"]["typedConfig"]["commonTlsContext"] == {
        "alpnProtocols": ["h2"],
        "tlsCertificateSdsSecretConfigs": [file_secret("aeraki-xds-certificate")],
        "combinedValidationContext": {
            "defaultValidationContext": {
                "matchTypedSubjectAltNames": [{"sanType": "URI", "matcher": {"exact": SPIFFE}}]
            },
            "validationContextSdsSecretConfig": file_secret("aeraki-xds-roots"),
        },
    }


def file_secret(name: str) -> dict[str, Any]:
    source = {
        "pathConfigSource": {"path": f"/etc/aeraki/{name}.json"},
        "resourceApiVersion": "V3",
    }
    return {"name": name, "sdsConfig": source}


def test_a_secret_says_where_its_files_are_and_that_their_folder_is_watched() -> None:
    made = secrets(replace(TLS, root="root.pem"))
    assert {name: official_secret(response) for name, response in made.items()} == {
        "aeraki-xds-certificate.json": {
            "name": "aeraki-xds-certificate",
            "tlsCertificate": {
                "certificateChain": {"filename": TLS.certificate},
                "privateKey": {"filename": TLS.key},
                "watchedDirectory": {"path": "/certs"},
            },
        },
        "aeraki-xds-roots.json": {
            "name": "aeraki-xds-roots",
            "validationContext": {
                "trustedCa": {"filename": "root.pem"},
                "watchedDirectory": {"path": "."},
            },
        },
    }


def official_secret(response: dict[str, object]) -> dict[str, Any]:
    """The one secret of a response, as the official classes read it."""
    from envoy.extensions.transport_sockets.tls.v3 import secret_pb2  # noqa: F401 (in an Any)
    from envoy.service.discovery.v3 import discovery_pb2
    from google.protobuf import json_format

    parsed = json_format.ParseDict(response, discovery_pb2.DiscoveryResponse())
    (secret,) = json_format.MessageToDict(parsed)["resources"]
    assert secret.pop("@type").endswith(".Secret")
    read: dict[str, Any] = secret
    return read
