"""Who may call a Dubbo service: the filters say what the policies say.

The oracle is a direct reading of specification §1.6; `admits` interprets the RBAC filters as Envoy
does. Names are chosen so that a dot, a slash or a prefix too much would show.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from aeraki_xds.mesh.objects import (
    DubboAuthorizationPolicy,
    DubboAuthorizationPolicySpec,
    MeshConfig,
    MeshConfigSpec,
    Metadata,
)
from aeraki_xds.mesh.objects.dubbo import AuthorizationRule, From, Operation, Source, To
from aeraki_xds.translate.envoyfilter.authorization import Authorization, authorization
from aeraki_xds.translate.envoyfilter.profile import EnvoyFilters, Mend
from tests.translate.envoyfilter.kit import LIKE_AERAKI, MENDED, Json, only
from tests.translate.envoyfilter.sites import site_of

HOST: Final = "com.acme.vault"
SERVICE: Final = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: vault, namespace: shop}
spec:
  hosts: [com.acme.vault]
  ports: [{number: 20880, name: tcp-dubbo}]
  resolution: STATIC
"""
DOMAINS: Final = ("acme.org", "old.acme.org")
PROFILES: Final = [(LIKE_AERAKI, ("cluster.local",)), (MENDED, DOMAINS)]
"""What `cluster.local` means under each."""
RBAC: Final = "envoy.filters.dubbo.rbac"


@dataclass(frozen=True, slots=True)
class Call:
    """Who calls what; who calls in plaintext has no principal."""

    principal: str | None
    interface: str
    method: str


def authorized(
    policies: Iterable[DubboAuthorizationPolicy], delivery: EnvoyFilters = LIKE_AERAKI
) -> Authorization:
    mesh = MeshConfig(
        metadata=Metadata(name="istio", namespace="istio-system"),
        spec=MeshConfigSpec(trust_domain=DOMAINS[0], trust_domain_aliases=DOMAINS),
    )
    return authorization(site_of(SERVICE, HOST, delivery, objects=(*policies, mesh)))


def policy(
    name: str, *rules: AuthorizationRule, action: Any = "ALLOW", namespace: str = "shop"
) -> DubboAuthorizationPolicy:
    return DubboAuthorizationPolicy(
        metadata=Metadata(name=name, namespace=namespace),
        spec=DubboAuthorizationPolicySpec(rules=rules, action=action),
    )


def from_(**lists: tuple[str, ...]) -> AuthorizationRule:
    return AuthorizationRule(from_=(From(source=Source(**lists)),))


# The policies, read directly.


def is_admitted(
    policies: Sequence[DubboAuthorizationPolicy], call: Call, domains: Sequence[str]
) -> bool:
    """DENY first; then somebody who is allowed must match, if anybody is."""

    def any_matches(action: str) -> bool:
        rules = [rule for p in policies if p.spec.action == action for rule in p.spec.rules]
        return any(rule_matches(rule, call, domains) for rule in rules)

    allows = [p for p in policies if p.spec.action == "ALLOW"]
    return not any_matches("DENY") and (not allows or any_matches("ALLOW"))


def rule_matches(rule: AuthorizationRule, call: Call, domains: Sequence[str]) -> bool:
    sources = [each.source or Source() for each in rule.from_] or [Source()]
    operations = [each.operation or Operation() for each in rule.to] or [Operation()]
    return any(source_matches(each, call.principal, domains) for each in sources) and any(
        is_one_of(each.methods, call.method, default=True)
        and not is_one_of(each.not_methods, call.method)
        and is_one_of(each.interfaces, call.interface, default=True)
        and not is_one_of(each.not_interfaces, call.interface)
        for each in operations
    )


def source_matches(source: Source, principal: str | None, domains: Sequence[str]) -> bool:
    namespace = principal.split("/")[2] if principal else ""
    return (
        is_one_of(local(source.principals, domains), principal or "", default=True)
        and not is_one_of(local(source.not_principals, domains), principal or "")
        and is_one_of(source.namespaces, namespace, default=True)
        and not is_one_of(source.not_namespaces, namespace)
    )


def local(principals: Iterable[str], domains: Sequence[str]) -> list[str]:
    """`cluster.local` stands for every trust domain of the mesh."""
    return [
        re.sub("^cluster[.]local/", f"{domain}/", each) for each in principals for domain in domains
    ]


def is_one_of(patterns: Sequence[str], text: str, *, default: bool = False) -> bool:
    """`abc`, `abc*`, `*abc`, or `*` for anything but nothing."""
    return any(is_like(each, text) for each in patterns) if patterns else default


def is_like(pattern: str, text: str) -> bool:
    head, star, tail = pattern.partition("*")
    if not star:
        return text == pattern
    return bool(text) and text.startswith(head) and text.endswith(tail)


# The filters, as Envoy interprets them.


def admits(filters: Iterable[Json], call: Call) -> bool:
    """Whether a call gets past each of the filters."""
    for each in filters:
        rules = each["config"]["rules"]
        matched = any(entry_matches(entry, call) for entry in rules.get("policies", {}).values())
        if matched == (rules.get("action", "ALLOW") == "DENY"):
            return False
    return True


def entry_matches(entry: Json, call: Call) -> bool:
    return any(holds(each, call) for each in entry["permissions"]) and any(
        holds(each, call) for each in entry["principals"]
    )


def holds(condition: Json, call: Call) -> bool:
    """A Permission or a Principal."""
    ((kind, value),) = condition.items()
    match kind:
        case "any":
            return value is True
        case "andRules":
            return all(holds(each, call) for each in value["rules"])
        case "orRules":
            return any(holds(each, call) for each in value["rules"])
        case "andIds":
            return all(holds(each, call) for each in value["ids"])
        case "orIds":
            return any(holds(each, call) for each in value["ids"])
        case "notRule" | "notId":
            return not holds(value, call)
        case "metadata":
            assert value["filter"] == RBAC
            (path,) = value["path"]
            text = {"method": call.method, "service": call.interface}[path["key"]]
            return string_matches(value["value"]["stringMatch"], text)
        case "authenticated":
            if call.principal is None:
                return False
            return string_matches(value["principalName"], f"spiffe://{call.principal}")
    raise AssertionError(kind)


def string_matches(matcher: Json, text: str) -> bool:
    ((kind, value),) = matcher.items()
    match kind:
        case "exact":
            return bool(text == value)
        case "prefix":
            return text.startswith(value)
        case "suffix":
            return text.endswith(value)
        case "safeRegex":
            return re2.fullmatch(value["regex"], text) is not None
    raise AssertionError(kind)


# What is tried.

_NAMESPACES = ("shop", "shoe", "a.b", "axb", "lab-a")
_ACCOUNTS = ("front", "x.y", "xzy")
_WORDS = ("get", "get.all", "getxall", "com.acme.A", "comxacme.A")
_IDS = [
    f"{domain}/ns/{namespace}/sa/{account}"
    for domain in (*DOMAINS, "cluster.local", "other.org")
    for namespace in _NAMESPACES
    for account in _ACCOUNTS
]


def patterns(words: Iterable[str]) -> st.SearchStrategy[tuple[str, ...]]:
    """Words whole, their beginnings and ends, and the word for any."""
    whole = st.sampled_from(sorted(words))
    cut = st.integers(min_value=1, max_value=12)
    one = st.one_of(
        whole,
        st.builds(lambda word, n: f"{word[:n]}*", whole, cut),
        st.builds(lambda word, n: f"*{word[-n:]}", whole, cut),
        st.just("*"),
    )
    return st.lists(one, max_size=2).map(tuple)


_PRINCIPALS = patterns(_IDS)
_SOURCES = st.builds(
    Source,
    principals=_PRINCIPALS,
    not_principals=_PRINCIPALS,
    namespaces=patterns(_NAMESPACES),
    not_namespaces=patterns(_NAMESPACES),
)
_OPERATIONS = st.builds(
    Operation,
    interfaces=patterns(_WORDS),
    not_interfaces=patterns(_WORDS),
    methods=patterns(_WORDS),
    not_methods=patterns(_WORDS),
)
_RULES = st.builds(
    AuthorizationRule,
    from_=st.lists(st.builds(From, source=st.none() | _SOURCES), max_size=2).map(tuple),
    to=st.lists(st.builds(To, operation=st.none() | _OPERATIONS), max_size=2).map(tuple),
)
_POLICIES = st.lists(
    st.builds(
        lambda name, rules, action: policy(name, *rules, action=action),
        name=st.sampled_from(["a", "b", "c"]),
        rules=st.lists(_RULES, max_size=3),
        action=st.sampled_from(["ALLOW", "DENY"]),
    ),
    max_size=3,
    unique_by=lambda each: each.metadata.name,
)
_CALLS = st.lists(
    st.builds(
        Call,
        principal=st.none() | st.sampled_from(_IDS),
        interface=st.sampled_from(_WORDS),
        method=st.sampled_from(_WORDS),
    ),
    min_size=1,
    max_size=8,
)


@pytest.mark.parametrize(("delivery", "domains"), PROFILES)
@given(policies=_POLICIES, calls=_CALLS)
def test_a_call_gets_past_the_filters_exactly_if_the_policies_admit_it(
    delivery: EnvoyFilters,
    domains: tuple[str, ...],
    policies: list[DubboAuthorizationPolicy],
    calls: list[Call],
) -> None:
    filters = authorized(policies, delivery).filters
    for call in calls:
        assert admits(filters, call) == is_admitted(policies, call, domains), call


@pytest.mark.parametrize(("delivery", "domains"), PROFILES)
@given(policies=_POLICIES, calls=_CALLS)
def test_every_rule_of_every_policy_is_there_once_under_its_own_key(
    delivery: EnvoyFilters,
    domains: tuple[str, ...],
    policies: list[DubboAuthorizationPolicy],
    calls: list[Call],
) -> None:
    """Aeraki writes rules under the keys of others (P-8)."""
    filters: Any = authorized(policies, delivery).filters
    assert [each["config"]["rules"].get("action", "ALLOW") for each in filters] == [
        action
        for action in ("DENY", "ALLOW")
        if any(each.spec.action == action for each in policies)
    ]
    for each in filters:
        rules = each["config"]["rules"]
        meant = {
            f"ns[shop]-policy[{p.metadata.name}]-rule[{n}]": rule
            for p in policies
            if p.spec.action == rules.get("action", "ALLOW")
            for n, rule in enumerate(p.spec.rules)
        }
        written: Json = rules.get("policies", {})
        assert written.keys() == meant.keys()
        for key, rule in meant.items():
            for call in calls:
                assert entry_matches(written[key], call) == rule_matches(rule, call, domains), key


@pytest.mark.parametrize(
    ("lists", "inside", "outside"),
    [
        ({"namespaces": ("a.b",)}, "acme.org/ns/a.b/sa/x", "acme.org/ns/axb/sa/x"),
        ({"namespaces": ("a.*",)}, "acme.org/ns/a.b/sa/x", "acme.org/ns/axb/sa/x"),
        ({"namespaces": ("lab-*",)}, "acme.org/ns/lab-a/sa/x", "acme.org/ns/lab/sa/x"),
        ({"principals": ("*/sa/x.y",)}, "acme.org/ns/lab/sa/x.y", "acme.org/ns/lab/sa/xzy"),
        ({"principals": ("*/sa/x",)}, "acme.org/ns/lab/sa/x", "acme.org/ns/lab/sa/xx"),
        ({"principals": ("acme.org/ns/lab/*",)}, "acme.org/ns/lab/sa/x", "acme.org/ns/lab-a/sa/x"),
        ({"principals": ("acme.org/ns/lab/sa/x",)}, "acme.org/ns/lab/sa/x", "acme.org/ns/lab/sa/y"),
        ({"principals": ("*",)}, "acme.org/ns/lab/sa/x", None),
        ({"namespaces": ("*",)}, "acme.org/ns/lab/sa/x", None),
    ],
)
def test_a_pattern_admits_what_it_spells_and_nothing_else(
    lists: dict[str, tuple[str, ...]], inside: str, outside: str | None
) -> None:
    (allow,) = authorized([policy("p", from_(**lists))]).filters
    assert admits([allow], Call(inside, "i", "m"))
    assert not admits([allow], Call(outside, "i", "m"))


@pytest.mark.parametrize(
    ("pattern", "inside", "outside"),
    [
        ("get", "get", "getAll"),
        ("get*", "getAll", "gem"),
        ("*All", "getAll", "getall"),
        ("*", "get", ""),
    ],
)
def test_a_pattern_for_calls_matches_what_it_spells_and_nothing_else(
    pattern: str, inside: str, outside: str
) -> None:
    for operation in (Operation(methods=(pattern,)), Operation(interfaces=(pattern,))):
        rule = AuthorizationRule(to=(To(operation=operation),))
        (allow,) = authorized([policy("p", rule)]).filters
        assert admits([allow], Call(None, inside, inside))
        assert not admits([allow], Call(None, outside, outside))


def test_a_star_in_a_namespace_does_not_run_on_into_the_service_account() -> None:
    (allow,) = authorized([policy("p", from_(namespaces=("*a",)))]).filters
    assert not admits([allow], Call("acme.org/ns/shop/sa/front", "i", "m"))
    assert admits([allow], Call("acme.org/ns/beta/sa/front", "i", "m"))


def test_ordinary_names_are_written_as_aeraki_writes_them() -> None:
    """Letters, digits, `-`, `_` and `/` are not escaped, so nothing is pushed for nothing."""
    rule = from_(namespaces=("my-ns_1", "team-*"), principals=("*/sa/front-end",))
    (allow,) = authorized([policy("p", rule)]).filters
    found = sorted(re.findall(r"'regex': '([^']*)'", str(allow)))
    assert found == [".*/ns/my-ns_1/.*", ".*/ns/team-.*/.*", "spiffe://.*/sa/front-end"]


def test_cluster_local_is_taken_by_name_like_aeraki_and_that_is_said() -> None:
    mine = policy("p", from_(not_principals=("cluster.local/ns/shop/sa/front", "x.org/ns/a/sa/b")))
    made = authorized([mine], LIKE_AERAKI)
    assert "spiffe://cluster.local/ns/shop/sa/front" in str(made.filters)
    fields = [each.problem.field for each in made.findings if "trust-domain" in str(each.problem)]
    assert fields == ["spec.rules[0].from[0].source.notPrincipals[0]"]
    mended = authorized([mine], only(Mend.TRUST_DOMAIN))
    assert "cluster.local" not in str(mended.filters)
    assert str(mended.filters).count("spiffe://") == len(DOMAINS) + 1
    assert not [each for each in mended.findings if "trust-domain" in str(each.problem)]


def test_policies_of_the_root_namespace_hold_everywhere_where_that_is_mended() -> None:
    root = policy("p", action="DENY", namespace="istio-system")
    like_aeraki, mended = authorized([root], LIKE_AERAKI), authorized([root], MENDED)
    assert not like_aeraki.filters
    assert [each.problem.field for each in like_aeraki.findings] == ["metadata.namespace"]
    assert len(mended.filters) == 1
    assert not authorized([policy("p", namespace="elsewhere")], MENDED).filters


def test_whoever_wrote_a_policy_is_told_what_it_takes_to_enforce_it() -> None:
    made = authorized([policy("p"), policy("q", action="DENY")])
    assert [str(each.key) for each in made.enforcing] == [
        "DubboAuthorizationPolicy/shop/p",
        "DubboAuthorizationPolicy/shop/q",
    ]
    assert all("none enforces it" in str(each.problem) for each in made.enforcing)
    assert all(RBAC in str(each.problem) for each in made.findings)
    assert len(made.findings) == 2


def test_without_a_policy_there_is_no_filter() -> None:
    made = authorized([])
    assert made == Authorization()
