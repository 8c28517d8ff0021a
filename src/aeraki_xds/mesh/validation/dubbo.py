"""DubboAuthorizationPolicy (specification §1.6), for which Aeraki has no webhook.

What would silently admit or refuse somebody else than was meant is an error: a `*` that Aeraki
takes for a letter, an empty word, a principal that none can be. What may be meant is a warning.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from aeraki_xds.mesh.problems import Problem, error, warning
from aeraki_xds.mesh.validation.names import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aeraki_xds.mesh.objects import DubboAuthorizationPolicySpec
    from aeraki_xds.mesh.objects.dubbo import Operation, Source

_SCHEME: Final = "spiffe://"
_PRINCIPAL: Final = re.compile(r"[^/]+/ns/[^/]+/sa/[^/]+")
_PRINCIPAL_RULE: Final = "<trust domain>/ns/<namespace>/sa/<service account>"

_EVADED: Final = {
    "ALLOW": ("notPrincipals", "notNamespaces"),
    "DENY": ("principals", "namespaces"),
}
"""The lists that who has no principal gets past, by what the policy does."""


def check(spec: DubboAuthorizationPolicySpec) -> Iterator[Problem]:
    """Everything wrong with a DubboAuthorizationPolicy."""
    if not spec.rules:
        effect = "every call is denied" if spec.action == "ALLOW" else "no call is denied by it"
        yield warning("spec.rules", f"is empty, so the policy never matches: {effect}")
    for i, rule in enumerate(spec.rules):
        for j, caller in enumerate(rule.from_):
            yield from _source(caller.source, f"spec.rules[{i}].from[{j}].source", spec.action)
        for j, called in enumerate(rule.to):
            yield from _operation(called.operation, f"spec.rules[{i}].to[{j}].operation")


def _source(source: Source | None, field: str, action: str) -> Iterator[Problem]:
    lists = (
        {
            "principals": source.principals,
            "notPrincipals": source.not_principals,
            "namespaces": source.namespaces,
            "notNamespaces": source.not_namespaces,
        }
        if source
        else {}
    )
    if not any(lists.values()):
        yield warning(field, "is empty: it matches every caller")
    for name, values in lists.items():
        for i, value in enumerate(values):
            where = f"{field}.{name}[{i}]"
            if name in ("namespaces", "notNamespaces"):  # `*` may stand anywhere
                yield from _word(value, where)
            else:
                yield from _principal(value, where)
        if values and name in _EVADED[action]:
            message = "who calls in plaintext has no principal and is not matched by this"
            yield warning(f"{field}.{name}", f"{message}: make mTLS STRICT")


def _operation(operation: Operation | None, field: str) -> Iterator[Problem]:
    lists = (
        {
            "interfaces": operation.interfaces,
            "notInterfaces": operation.not_interfaces,
            "methods": operation.methods,
            "notMethods": operation.not_methods,
        }
        if operation
        else {}
    )
    if not any(lists.values()):
        yield warning(field, "is empty: it matches every call")
    for name, values in lists.items():
        for i, value in enumerate(values):
            yield from _pattern(value, f"{field}.{name}[{i}]")


def _principal(value: str, field: str) -> Iterator[Problem]:
    if value.startswith(_SCHEME):
        message = f"{quoted(value)} never matches, for {_SCHEME} is put before it: leave that out"
        yield error(field, message)
        return
    yield from _pattern(value, field)
    if value and "*" not in value and not _PRINCIPAL.fullmatch(value):
        yield warning(field, f"{quoted(value)} is nobody's principal: write {_PRINCIPAL_RULE}")


def _pattern(value: str, field: str) -> Iterator[Problem]:
    """`abc`, `abc*`, `*abc` or `*`."""
    yield from _word(value, field)
    if "*" in value[1:-1] or (len(value) > 1 and value[0] == value[-1] == "*"):
        rule = "write it at one end, or alone"
        yield error(field, f"{quoted(value)}: a `*` only matches at an end: {rule}")


def _word(value: str, field: str) -> Iterator[Problem]:
    if not value:
        yield error(field, "is empty: write a word, or `*` for any")
