"""ApplicationProtocol: a protocol and its codec. Aeraki has these rules and never asks them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aeraki_xds.mesh.ports import BUILT_IN_CODECS
from aeraki_xds.mesh.problems import Problem, error
from aeraki_xds.mesh.validation.names import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aeraki_xds.mesh.objects import ApplicationProtocolSpec


def check(spec: ApplicationProtocolSpec) -> Iterator[Problem]:
    """Everything wrong with an ApplicationProtocol."""
    if not spec.protocol:
        yield error("spec.protocol", "is empty: write the name that ports use, tcp-metaprotocol-…")
    elif "-" in spec.protocol:
        reason = "port names are split at '-', so no port could name it"
        yield error("spec.protocol", f"{quoted(spec.protocol)} contains '-': {reason}")
    built_in = BUILT_IN_CODECS.get(spec.protocol, spec.codec)
    if not spec.codec:
        example = BUILT_IN_CODECS["dubbo"]
        yield error("spec.codec", f"is empty: name the codec of the data plane, such as {example}")
    elif spec.codec != built_in:  # it would change the services of every namespace
        message = f"{spec.protocol} is built in with the codec {built_in}, which cannot be replaced"
        yield error("spec.codec", f"{message}: give your protocol another name")
