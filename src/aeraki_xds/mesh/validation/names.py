"""What may name something: hosts, labels, namespaces, ports; the rules that the kinds share.

Each function looks at one value and says what is wrong with it under the field that it is given.
(Those of a value that every route has return it: a generator takes longer than to see that there is
nothing.)
Host names follow Istio's reading (V3): letters of either case, one trailing dot, single labels.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from aeraki_xds.mesh.problems import Problem, error, warning

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aeraki_xds.mesh.objects import Metadata

MAX_PORT: Final = 65_535
_MAX_HOST: Final = 255  # as Istio counts; DNS itself allows 253
_MAX_LABEL: Final = 63
_MAX_OBJECT_NAME: Final = 253
_MAX_QUOTED: Final = 80  # a message quotes at most so many characters of a value

_LABEL: Final = re.compile(r"[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?")
_LOWER_LABEL: Final = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?")
_OBJECT_NAME: Final = re.compile(rf"{_LOWER_LABEL.pattern}(?:\.{_LOWER_LABEL.pattern})*")
_LABEL_RULE: Final = "letters, digits and '-', begin and end with no '-', at most 63"


def quoted(value: str) -> str:
    """A value as messages show it: quoted, on one line, not longer than a line."""
    cut = value if len(value) <= _MAX_QUOTED else f"{value[:_MAX_QUOTED]}…"
    return repr(cut)


def is_label(value: str) -> bool:
    """A DNS-1123 label as Istio reads it: upper case is tolerated."""
    return len(value) <= _MAX_LABEL and _LABEL.fullmatch(value) is not None


def is_namespace(value: str) -> bool:
    """A DNS-1123 label as Kubernetes reads it."""
    return len(value) <= _MAX_LABEL and _LOWER_LABEL.fullmatch(value) is not None


def is_object_name(value: str) -> bool:
    """A DNS-1123 subdomain: labels of lower case, joined by dots."""
    return len(value) <= _MAX_OBJECT_NAME and _OBJECT_NAME.fullmatch(value) is not None


def metadata(meta: Metadata) -> Iterator[Problem]:
    """The names that Kubernetes would refuse; a folder has no API server to refuse them."""
    if not is_object_name(meta.name):
        rule = "lower-case letters, digits, '-' and '.', at most 253"
        yield error("metadata.name", f"{quoted(meta.name)} is not a name: use {rule}")
    if meta.namespace and not is_namespace(meta.namespace):
        rule = "lower-case letters, digits and '-', at most 63"
        yield error("metadata.namespace", f"{quoted(meta.namespace)} is not a name: use {rule}")


def host(value: str, field: str) -> Sequence[Problem]:
    """V3: a name that a service can have; short names are names, addresses and `*` are not."""
    faults = _host_faults(value)
    return [error(field, fault) for fault in faults] if faults else ()


@lru_cache(maxsize=4096)  # a large router names few hosts, each many times
def _host_faults(value: str) -> tuple[str, ...]:
    name = value.removesuffix(".")
    labels = name.split(".")
    if not name:
        return ("is empty: write a host, for example reviews.shop.svc.cluster.local",)
    if len(value) > _MAX_HOST:
        return (f"{quoted(value)} has {len(value)} characters, at most {_MAX_HOST} are allowed",)
    if "*" in value:
        return (f"{quoted(value)} is a wildcard: name one host",)
    if labels[-1].isascii() and labels[-1].isdigit():
        return (f"{quoted(value)} ends in a number as an address does: write a name",)
    return tuple(
        f"the label {quoted(label)} in {quoted(value)} is not valid: {_LABEL_RULE}"
        for label in labels
        if not is_label(label)
    )


def label(value: str, field: str, what: str) -> Sequence[Problem]:
    """A DNS-1123 label, such as the name of a subset."""
    if is_label(value):
        return ()
    return (error(field, f"{quoted(value)} is not a {what}: {_LABEL_RULE}"),)


def port(number: int, field: str) -> Sequence[Problem]:
    """A TCP port; 0 is what an empty selector comes to (V11)."""
    if 1 <= number <= MAX_PORT:
        return ()
    return (error(field, f"must be from 1 to {MAX_PORT}, is {number}"),)


def protocol(port_name: str, field: str) -> Iterator[Problem]:
    """What keeps a port's name from meaning the protocol that it seems to name (P-1)."""
    _, _, rest = port_name.lower().partition("-")
    if rest in ("metaprotocol", "metaprotocol-"):
        message = f"{quoted(port_name)} names no application protocol: tcp-metaprotocol-<protocol>"
        yield warning(field, message)


def export_to(values: tuple[str, ...], namespace: str, field: str) -> Iterator[Problem]:
    """V16: whom the object is for."""
    first_at: dict[str, int] = {}
    for i, value in enumerate(values):
        meant = namespace if value == "." else value
        where = f"{field}[{i}]"
        if value == "~":
            yield error(where, "'~' (nobody) is not allowed: name the namespaces, '.' or '*'")
        elif value not in (".", "*") and not is_label(value):
            yield error(where, f"{quoted(value)} is not a namespace, nor '.' nor '*'")
        elif meant in first_at:
            same = f"{field}[{first_at[meant]}]"
            own = f" ('.' is {namespace})" if values[first_at[meant]] != value else ""
            yield error(where, f"{quoted(value)} says the same as {same}{own}: remove one")
        first_at.setdefault(meant, i)
    if "*" in first_at and len(first_at) > 1:
        yield error(field, "'*' includes everyone: write it alone, or name only namespaces")
