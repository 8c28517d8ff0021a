"""The official protobuf classes as an oracle: what anyone else reads in our bytes.

In: messages of `_proto`, or a type URL and bytes. Out: proto3 JSON by the official classes of
`xds-protos`, and assertions that ours says the same. Importing the official modules costs a third
of a second, so it happens on first use.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import aeraki_xds._proto
from aeraki_xds import encode
from aeraki_xds._proto.message_pool import default_message_pool

PROTOS: Final = Path(__file__).resolve().parents[1] / "protos"
PREFIX: Final = "type.googleapis.com/"
_FRACTION: Final = re.compile(r"[0-9]+[.][0-9]{1,9}s")


@functools.cache
def load() -> None:
    """Import every module of our slice, and its official counterpart of the same file name."""
    for module in pkgutil.walk_packages(aeraki_xds._proto.__path__, "aeraki_xds._proto."):
        importlib.import_module(module.name)
    for source in sorted(PROTOS.rglob("*.proto")):
        path = source.relative_to(PROTOS).with_suffix("")
        importlib.import_module(".".join((*path.parts[:-1], f"{path.name}_pb2")))
    for name in ("any", "duration", "struct", "wrappers"):
        importlib.import_module(f"google.protobuf.{name}_pb2")


@functools.cache
def message_classes() -> Mapping[str, type[encode.Message]]:
    """Full name → class of every message that we generate."""
    load()
    known = default_message_pool.url_to_type
    return {url.removeprefix(PREFIX): known[url] for url in sorted(known)}


def official_message(type_url: str, body: bytes) -> Any:
    """The bytes as an official message; bytes that it does not fully understand are an error."""
    from google.protobuf import descriptor_pool, message_factory

    load()
    descriptor = descriptor_pool.Default().FindMessageTypeByName(type_url.removeprefix(PREFIX))
    message = message_factory.GetMessageClass(descriptor)()
    assert message.ParseFromString(body) == len(body)
    known = message_factory.GetMessageClass(descriptor)()
    known.CopyFrom(message)
    known.DiscardUnknownFields()
    assert known.ByteSize() == message.ByteSize(), f"unknown fields in {type_url}: {message}"
    return message


def official_json(type_url: str, body: bytes) -> dict[str, Any]:
    """proto3 JSON of the bytes, by the official classes."""
    from google.protobuf import json_format

    plain: dict[str, Any] = json_format.MessageToDict(official_message(type_url, body))
    return plain


def assert_agrees(message: encode.Message) -> dict[str, Any]:
    """Our JSON of a message is the official JSON of its bytes, which is returned."""
    theirs = official_json(encode.type_url(message), encode.encode(message))
    assert normal(message.to_dict()) == normal(theirs)
    return theirs


def normal(plain: Any) -> Any:
    """JSON with every duration's fraction cut short: 1.5s and 1.500s are both proto3 JSON."""
    match plain:
        case dict():
            return {key: normal(value) for key, value in plain.items()}
        case list():
            return [normal(value) for value in plain]
        case str() if _FRACTION.fullmatch(plain):
            return f"{plain.removesuffix('s').rstrip('0')}s"
        case _:
            return plain


def official_bootstrap(plain: Mapping[str, object]) -> dict[str, Any]:
    """A bootstrap as Envoy's own message reads it, in lowerCamelCase; unknown fields are errors."""
    from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
    from envoy.extensions.transport_sockets.tls.v3 import tls_pb2  # noqa: F401 (inside an Any)
    from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2  # noqa: F401
    from google.protobuf import json_format

    read: dict[str, Any] = json_format.MessageToDict(json_format.ParseDict(plain, Bootstrap()))
    return read
