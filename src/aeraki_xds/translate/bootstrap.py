"""A working bootstrap for an Envoy that takes everything from us over ADS.

In: who the proxy is and where we are. Out: the bootstrap as plain JSON. Choices that differ from
what one would write at first, each measured with a real Envoy: the node is sent in the first
request only (it is 61 KB), keepalive notices a dead server, and the xDS cluster may be busy.
"""

from __future__ import annotations

import ipaddress
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

_HTTP_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_TLS: Final = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
_SECRET: Final = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
_CERTIFICATE: Final = "aeraki-xds-certificate"
_ROOTS: Final = "aeraki-xds-roots"
CLUSTER: Final = "aeraki-xds"

Json = dict[str, object]


_RETRY: Final = {"retry_back_off": {"base_interval": "0.1s", "max_interval": "1s"}}
"""Between two attempts to reach us; Envoy's own grows to half a minute, long after we are back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MutualTls:
    """The proxy's certificate files and the name that the server must prove, as files on its
    disk. If `secrets_dir` holds what `secrets` makes, Envoy reads them again when one is renamed
    into its place, or a link in their folder is; else once, when it starts."""

    certificate: str
    key: str
    root: str
    server_name: str
    secrets_dir: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BootstrapSettings:
    """Who the proxy is (`node_id`, `cluster`, `metadata`), where we are (`xds_host` and `xds_port`,
    or `xds_path`, a Unix socket), where the proxy's own admin page is, and how it connects."""

    node_id: str
    cluster: str
    xds_host: str = ""
    xds_port: int = 0
    xds_path: str = ""
    admin_host: str = "127.0.0.1"
    admin_port: int = 15000
    metadata: Mapping[str, str] = field(default_factory=dict)
    delta: bool = False
    tls: MutualTls | None = None


def bootstrap(settings: BootstrapSettings) -> Json:
    """The bootstrap, in proto3 JSON with snake_case names as Envoy's documents write it."""
    node: Json = {"id": settings.node_id, "cluster": settings.cluster}
    if settings.metadata:
        node["metadata"] = dict(settings.metadata)
    ads_source = {"ads": {}, "resource_api_version": "V3"}
    return {
        "node": node,
        "admin": {"address": _address(settings.admin_host, settings.admin_port)},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC" if settings.delta else "GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [
                    {"envoy_grpc": {"cluster_name": CLUSTER, "retry_policy": _RETRY}}
                ],
            },
            "cds_config": ads_source,
            "lds_config": ads_source,
        },
        "static_resources": {"clusters": [_xds_cluster(settings)]},
    }


def _xds_cluster(settings: BootstrapSettings) -> Json:
    cluster: Json = {
        "name": CLUSTER,
        "type": "STATIC" if settings.xds_path or _is_address(settings.xds_host) else "STRICT_DNS",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            _HTTP_OPTIONS: {
                "@type": f"type.googleapis.com/{_HTTP_OPTIONS}",
                "explicit_http_config": {
                    "http2_protocol_options": {
                        "connection_keepalive": {"interval": "30s", "timeout": "10s"}
                    }
                },
            }
        },
        "load_assignment": {
            "cluster_name": CLUSTER,
            "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": _our_address(settings)}}]},
            ],
        },
    }
    if settings.tls is not None:
        cluster["transport_socket"] = _tls_socket(settings.tls, settings.xds_host)
    return cluster


def secrets(tls: MutualTls) -> dict[str, Json]:
    """The files of `secrets_dir`, by name, in the same JSON: where certificate and roots are."""
    certificate: Json = {**_key_pair(tls), "watched_directory": _folder_of(tls.certificate)}
    roots: Json = {**_trusted(tls), "watched_directory": _folder_of(tls.root)}
    return {
        f"{name}.json": {"resources": [{"@type": _SECRET, "name": name, kind: content}]}
        for name, kind, content in (
            (_CERTIFICATE, "tls_certificate", certificate),
            (_ROOTS, "validation_context", roots),
        )
    }


def _tls_socket(tls: MutualTls, host: str) -> Json:
    # Only a DNS name can be asked for by SNI, neither a SPIFFE identity nor an address (RFC 6066).
    is_uri = "://" in tls.server_name
    wanted = host if is_uri else tls.server_name
    sni: Json = {} if not wanted or _is_address(wanted) else {"sni": wanted}
    pinned: Json = {
        "match_typed_subject_alt_names": [
            {"san_type": "URI" if is_uri else "DNS", "matcher": {"exact": tls.server_name}}
        ]
    }
    common: Json = {"alpn_protocols": ["h2"]}
    if tls.secrets_dir is None:
        common["tls_certificates"] = [_key_pair(tls)]
        common["validation_context"] = {**_trusted(tls), **pinned}
    else:
        common["tls_certificate_sds_secret_configs"] = [_secret(_CERTIFICATE, tls.secrets_dir)]
        common["combined_validation_context"] = {
            "default_validation_context": pinned,
            "validation_context_sds_secret_config": _secret(_ROOTS, tls.secrets_dir),
        }
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {"@type": _TLS, **sni, "common_tls_context": common},
    }


def _key_pair(tls: MutualTls) -> Json:
    return {
        "certificate_chain": {"filename": tls.certificate},
        "private_key": {"filename": tls.key},
    }


def _trusted(tls: MutualTls) -> Json:
    return {"trusted_ca": {"filename": tls.root}}


def _secret(name: str, folder: str) -> Json:
    path = posixpath.join(folder, f"{name}.json")
    source = {"path_config_source": {"path": path}, "resource_api_version": "V3"}
    return {"name": name, "sds_config": source}


def _folder_of(path: str) -> Json:
    return {"path": posixpath.dirname(path) or "."}


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _our_address(settings: BootstrapSettings) -> Json:
    if settings.xds_path:
        return {"pipe": {"path": settings.xds_path}}
    return _address(settings.xds_host, settings.xds_port)


def _address(host: str, port: int) -> Json:
    return {"socket_address": {"address": host, "port_value": port}}
