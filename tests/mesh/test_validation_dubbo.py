"""DubboAuthorizationPolicy: the rules, one row each, as in `test_validation`."""

from __future__ import annotations

import pytest

from aeraki_xds.mesh.problems import Severity
from tests.manifests import DROP, DUBBO_POLICY
from tests.mesh.judged import Changes, Expected, Row, assert_problems

SOURCE = "spec.rules[0].from[0].source"
OPERATION = "spec.rules[0].to[0].operation"

ERRORS: dict[str, Row] = {
    "an inner star": (
        {f"{OPERATION}.methods[0]": "get*All"},
        [(f"{OPERATION}.methods[0]", "'get*All': a `*` only matches at an end")],
    ),
    "a star at both ends": (
        {f"{OPERATION}.notMethods[0]": "*get*"},
        [(f"{OPERATION}.notMethods[0]", "only matches at an end")],
    ),
    "two stars": (
        {f"{OPERATION}.interfaces[0]": "**"},
        [(f"{OPERATION}.interfaces[0]", "only matches at an end")],
    ),
    "a star within a principal": (
        {f"{SOURCE}.principals[0]": "cluster.local/ns/*/sa/reader"},
        [(f"{SOURCE}.principals[0]", "only matches at an end")],
    ),
    "empty words": (
        {
            f"{SOURCE}.namespaces[0]": "",
            f"{SOURCE}.principals[0]": "",
            f"{OPERATION}.notInterfaces": [""],
        },
        [
            (f"{SOURCE}.principals[0]", "is empty"),
            (f"{SOURCE}.namespaces[0]", "is empty"),
            (f"{OPERATION}.notInterfaces[0]", "is empty"),
        ],
    ),
    "a principal with its scheme": (
        {f"{SOURCE}.principals[0]": "spiffe://cluster.local/ns/a/sa/b"},
        [(f"{SOURCE}.principals[0]", "never matches, for spiffe:// is put before it")],
    ),
    "all that begins with the scheme": (
        {f"{SOURCE}.principals[0]": "spiffe://*"},
        [(f"{SOURCE}.principals[0]", "never matches")],
    ),
}

WARNINGS: dict[str, Row] = {
    "no rules allow nothing": (
        {"spec.rules": []},
        [("spec.rules", "never matches: every call is denied")],
    ),
    "no rules deny nothing": (
        {"spec.rules": DROP, "spec.action": "DENY"},
        [("spec.rules", "never matches: no call is denied by it")],
    ),
    "any source": ({SOURCE: {}}, [(SOURCE, "matches every caller")]),
    "no source": ({SOURCE: DROP}, [(SOURCE, "matches every caller")]),
    "any operation": (
        {OPERATION: {"methods": []}},
        [(OPERATION, "matches every call")],
    ),
    "no operation": ({OPERATION: DROP}, [(OPERATION, "matches every call")]),
    "nobody's principal": (
        {f"{SOURCE}.principals[0]": "reader"},
        [(f"{SOURCE}.principals[0]", "write <trust domain>/ns/<namespace>/sa/<service account>")],
    ),
    "who is denied may come in plaintext": (
        {"spec.action": "DENY"},
        [(f"{SOURCE}.principals", "make mTLS STRICT"), (f"{SOURCE}.namespaces", "plaintext")],
    ),
    "who is not allowed may come in plaintext": (
        {SOURCE: {"notPrincipals": ["a/ns/b/sa/c"], "notNamespaces": ["b"]}},
        [(f"{SOURCE}.notPrincipals", "make mTLS STRICT"), (f"{SOURCE}.notNamespaces", "plaintext")],
    ),
}

BOUNDARIES: dict[str, Changes] = {
    "any caller": {"spec.rules[0].from": DROP},
    "any call": {"spec.rules[0].to": DROP},
    "a rule of everything": {"spec.rules[0]": {}},
    "a namespace with stars anywhere": {f"{SOURCE}.namespaces": ["a*b", "*a*", "**"]},
    "a part of a principal": {f"{SOURCE}.principals": ["*", "cluster.local/ns/shop/*", "*/sa/a"]},
    "one letter": {f"{OPERATION}.methods": ["a", "*", "a*", "*a"]},
    "who is denied is none of these": {
        "spec.action": "DENY",
        SOURCE: {"notPrincipals": ["a/ns/b/sa/c"], "notNamespaces": ["b"]},
    },
}


@pytest.mark.parametrize(("changes", "expected"), ERRORS.values(), ids=ERRORS)
def test_a_policy_that_means_something_else_is_refused(
    changes: Changes, expected: Expected
) -> None:
    assert_problems(DUBBO_POLICY, changes, expected, Severity.ERROR)


@pytest.mark.parametrize(("changes", "expected"), WARNINGS.values(), ids=WARNINGS)
def test_a_policy_that_may_mean_something_else_is_warned_about(
    changes: Changes, expected: Expected
) -> None:
    assert_problems(DUBBO_POLICY, changes, expected, Severity.WARNING)


@pytest.mark.parametrize("changes", BOUNDARIES.values(), ids=list(BOUNDARIES))
def test_a_policy_at_the_boundary_of_a_rule_is_fine(changes: Changes) -> None:
    assert_problems(DUBBO_POLICY, changes, [], Severity.ERROR)
