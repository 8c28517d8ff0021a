"""Access log and tracing of MetaProtocol filters, as the mesh config asks for them.

In: Istio's mesh config. Out: the fields `accessLog` and `tracing` (specification §3.1).
"""

from __future__ import annotations

from typing import Final

import orjson

from aeraki_xds.mesh.graph import Graph
from aeraki_xds.mesh.links import MESH
from aeraki_xds.mesh.objects import MeshConfig, MeshConfigSpec, key_of
from aeraki_xds.mesh.problems import Finding, warning
from aeraki_xds.translate.envoyfilter.profile import EnvoyFilters, Mend
from aeraki_xds.translate.envoyfilter.values import Json, any_of, message

_FILE_LOG: Final = "envoy.extensions.access_loggers.file.v3.FileAccessLog"
_APPLICATION: Final = "%REQ(X-META-PROTOCOL-APPLICATION-PROTOCOL)%"
_REQUEST_ID: Final = "%REQ(X-REQUEST-ID)%"
_LINE: Final = (
    f"[%START_TIME%] {_APPLICATION} %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% "
    '%CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% '
    f'%BYTES_SENT% %DURATION%  "%REQ(X-FORWARDED-FOR)%" "{_REQUEST_ID}" %UPSTREAM_CLUSTER% '
    "%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% "
    "%ROUTE_NAME%\n"
)
_OPERATORS: Final = (
    "start_time",
    "route_name",
    "response_code",
    "response_code_details",
    "connection_termination_details",
    "bytes_received",
    "bytes_sent",
    "duration",
    "upstream_cluster",
    "upstream_local_address",
    "downstream_local_address",
    "downstream_remote_address",
    "upstream_transport_failure_reason",
)
_OBJECT: Final[Json] = {
    **{name: f"%{name.upper()}%" for name in _OPERATORS},
    "application_protocol": _APPLICATION,
    "request_id": _REQUEST_ID,
}
_DOCUMENTED_SAMPLING: Final = 1.0


def mesh_config(graph: Graph) -> MeshConfigSpec:
    """The mesh config in force, Istio's defaults where there is none."""
    found = next(iter(graph.settles(MESH)), None)
    return found.spec if isinstance(found, MeshConfig) else MeshConfigSpec()


def telemetry(graph: Graph, delivery: EnvoyFilters) -> Json:
    """The fields of a MetaProtocolProxy."""
    config = mesh_config(graph)
    fields: Json = {}
    if config.access_log_file:
        fields["accessLog"] = [
            {"name": "envoy.access_loggers.file", "typedConfig": _file_log(config, delivery)}
        ]
    if config.enable_tracing:
        fields["tracing"] = {
            "clientSampling": {"value": 100},
            "randomSampling": message(value=_plain(_sampling(config, delivery))),
            "overallSampling": {"value": 100},
        }
    return fields


def unread_format(graph: Graph) -> tuple[Finding, ...]:
    """A JSON format that is none: the default one is used."""
    found = next(iter(graph.settles(MESH)), None)
    if not isinstance(found, MeshConfig) or found.spec.access_log_encoding != "JSON":
        return ()
    if not found.spec.access_log_format or _object(found.spec.access_log_format) is not None:
        return ()
    text = "is not a JSON object: the default format is used"
    return (Finding(key=key_of(found), problem=warning("data.mesh.accessLogFormat", text)),)


def _file_log(config: MeshConfigSpec, delivery: EnvoyFilters) -> Json:
    written = config.access_log_format
    if config.access_log_encoding == "JSON":
        form: Json = {"jsonFormat": _object(written) or _OBJECT}
    else:
        line = written or _LINE
        if delivery.has(Mend.LOG_NEWLINE) and not line.endswith("\n"):
            line += "\n"
        form = {"textFormatSource": {"inlineString": line}}
    return any_of(_FILE_LOG, {"path": config.access_log_file, "logFormat": form})


def _object(text: str) -> Json | None:
    try:
        read = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return read if isinstance(read, dict) else None


def _sampling(config: MeshConfigSpec, delivery: EnvoyFilters) -> float:
    """Per cent of calls that are traced at random (M-22, P-16)."""
    tracing = config.default_config.tracing if config.default_config else None
    if tracing is None:
        return _DOCUMENTED_SAMPLING
    unsaid = _DOCUMENTED_SAMPLING if delivery.has(Mend.DEFAULT_SAMPLING) else 0.0
    return unsaid if tracing.sampling is None else tracing.sampling


def _plain(number: float) -> float:
    """A whole number as one: protobuf's JSON has no `5.0`."""
    return int(number) if number.is_integer() else number
