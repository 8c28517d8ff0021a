"""Who may call a Dubbo service: DubboAuthorizationPolicies as RBAC filters.

In: a site. Out: the filters that precede the router of the inbound proxy, DENY before ALLOW, and
what is said of the policies (specification §1.6, §3.2). Guaranteed: each rule of each policy has a
key of its own (Aeraki mixes them up, P-8), and a pattern matches what it spells and nothing else
(D-7); so a policy admits and refuses whom it says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from aeraki_xds.mesh.links import Subject, Topic
from aeraki_xds.mesh.names import Namespace
from aeraki_xds.mesh.objects import DubboAuthorizationPolicy, key_of
from aeraki_xds.mesh.objects.dubbo import AuthorizationRule, Operation, Source
from aeraki_xds.mesh.problems import Finding, Problem, error, warning
from aeraki_xds.translate.envoyfilter.profile import Mend
from aeraki_xds.translate.envoyfilter.site import Site
from aeraki_xds.translate.envoyfilter.telemetry import mesh_config
from aeraki_xds.translate.envoyfilter.values import Json, any_of, message, regex

FILTER: Final = "envoy.filters.dubbo.rbac"
_MESSAGE: Final = "envoy.extensions.filters.network.rbac.v3.RBAC"
_SCHEME: Final = "spiffe://"
_LOCAL: Final = "cluster.local"
"""The trust domain that stands for the mesh's own, whatever it is called."""

_METACHARACTER: Final = re.compile(r"[\\.+*?()|\[\]{}^$]")

Matcher = Callable[[str], Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Words:
    """What RBAC calls the same thing of calls and of callers."""

    any_of: str
    members: str
    negation: str


_RULES: Final = _Words(any_of="orRules", members="rules", negation="notRule")
_IDS: Final = _Words(any_of="orIds", members="ids", negation="notId")


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorization:
    """The filters of a service. `enforcing` are the findings for where they cannot be placed;
    `held`: a policy exists that nobody could ever read, so who may call is not known."""

    filters: tuple[Json, ...] = ()
    held: bool = False
    enforcing: tuple[Finding, ...] = ()
    findings: tuple[Finding, ...] = ()


def authorization(site: Site) -> Authorization:
    """The policies that are in force for a service, as filters."""
    scopes = _scopes(site)
    findings = tuple(_elsewhere(site, scopes))
    if any(site.graph.is_unsettled(_policies_of(namespace)) for namespace in scopes):
        return Authorization(held=True, findings=findings)
    policies = [policy for namespace in scopes for policy in _policies(site, namespace)]
    domains = _trust_domains(site)
    message = f"no inbound filter is where the workloads of {site.host} listen: none enforces it"
    return Authorization(
        filters=tuple(
            _filter(action, chosen, domains)
            for action in ("DENY", "ALLOW")
            if (chosen := [each for each in policies if each.spec.action == action])
        ),
        enforcing=tuple(
            Finding(key=key_of(each), problem=error("spec", message)) for each in policies
        ),
        findings=findings
        + tuple(
            Finding(key=key_of(each), problem=problem)
            for each in policies
            for problem in _unenforced(site, each)
        ),
    )


def _scopes(site: Site) -> tuple[Namespace, ...]:
    """The namespaces whose policies hold: the service's own, and the root's (D-6)."""
    root = site.graph.tenancy.root
    if site.has(Mend.MESH_POLICIES):
        return tuple(sorted({site.namespace, root}))
    return (site.namespace,)


def _policies_of(namespace: Namespace) -> Topic:
    return Topic(Subject.POLICIES, namespace)


def _policies(site: Site, namespace: Namespace) -> list[DubboAuthorizationPolicy]:
    found = site.graph.settles(_policies_of(namespace))
    return sorted((p for p in found if isinstance(p, DubboAuthorizationPolicy)), key=key_of)


def _trust_domains(site: Site) -> tuple[str, ...]:
    """What `cluster.local` means in a principal (D-5)."""
    if not site.has(Mend.TRUST_DOMAIN):
        return (_LOCAL,)
    mesh = mesh_config(site.graph)
    return tuple(dict.fromkeys((mesh.trust_domain, *mesh.trust_domain_aliases)))


def _filter(
    action: str, policies: Iterable[DubboAuthorizationPolicy], domains: Sequence[str]
) -> Json:
    written = {
        f"ns[{policy.metadata.namespace}]-policy[{policy.metadata.name}]-rule[{n}]": _policy(
            rule, domains
        )
        for policy in policies
        for n, rule in enumerate(policy.spec.rules)
    }
    # ALLOW is the default of the field. Without any rule nothing matches, and ALLOW admits nobody.
    rules = message(action="DENY" if action == "DENY" else "", policies=written)
    return {"name": FILTER, "config": any_of(_MESSAGE, {"rules": rules, "statPrefix": "dubbo."})}


def _policy(rule: AuthorizationRule, domains: Sequence[str]) -> Json:
    called = [_permission(each.operation) for each in rule.to]
    callers = [_principal(each.source, domains) for each in rule.from_]
    return {
        "permissions": called or [_permission(None)],
        "principals": callers or [_principal(None, domains)],
    }


def _permission(operation: Operation | None) -> Json:
    op = operation or Operation()
    rules = [
        *_conditions(op.methods, op.not_methods, _attribute("method"), _RULES),
        *_conditions(op.interfaces, op.not_interfaces, _attribute("service"), _RULES),
    ]
    return {"andRules": {"rules": rules or [{"any": True}]}}


def _principal(source: Source | None, domains: Sequence[str]) -> Json:
    of = source or Source()
    names, not_names = (_expanded(each, domains) for each in (of.principals, of.not_principals))
    ids = [
        *_conditions(names, not_names, _named, _IDS),
        *_conditions(of.namespaces, of.not_namespaces, _of_namespace, _IDS),
    ]
    return {"andIds": {"ids": ids or [{"any": True}]}}


def _conditions(
    values: Iterable[str], not_values: Iterable[str], matcher: Matcher, words: _Words
) -> Iterator[Json]:
    """One of the values, and none of the others; an empty list is no condition."""
    one = [matcher(value) for value in values]
    none = [matcher(value) for value in not_values]
    if one:
        yield {words.any_of: {words.members: one}}
    if none:
        yield {words.negation: {words.any_of: {words.members: none}}}


def _attribute(key: str) -> Matcher:
    """An attribute of the call, which the filter finds in its own metadata."""

    def matcher(value: str) -> Json:
        match = {"stringMatch": _pattern(value)}
        return {"metadata": {"filter": FILTER, "path": [{"key": key}], "value": match}}

    return matcher


def _named(principal: str) -> Json:
    return {"authenticated": {"principalName": _pattern(principal, _SCHEME)}}


def _of_namespace(namespace: str) -> Json:
    first, *rest = map(_escaped, namespace.split("*"))
    # `.*` would run on into the `/sa/` that follows, so that everybody is in the namespace `*a`.
    anything = "[^/]*" if any(part and part in "sa" for part in rest) else ".*"
    name = anything.join((first, *rest))
    return {"authenticated": {"principalName": {"safeRegex": regex(f".*/ns/{name}/.*")}}}


def _expanded(principals: Iterable[str], domains: Sequence[str]) -> Iterator[str]:
    """Principals with the mesh's trust domains in place of `cluster.local`."""
    for principal in principals:
        domain, slash, rest = principal.partition("/")
        if domain == _LOCAL:
            yield from (f"{each}{slash}{rest}" for each in domains)
        else:
            yield principal


def _pattern(value: str, prefix: str = "") -> Json:
    """`abc`, `abc*`, `*abc`, or `*` for anything but nothing. The prefix precedes all but `*`."""
    if value == "*":
        return {"safeRegex": regex(".+")}
    if value.startswith("*"):
        if not prefix:
            return {"suffix": value[1:]}
        return {"safeRegex": regex(f"{_escaped(prefix)}.*{_escaped(value[1:])}")}
    if value.endswith("*"):
        return {"prefix": prefix + value[:-1]}
    return {"exact": prefix + value}


def _escaped(text: str) -> str:
    """Text as a regular expression; what ordinary names are made of stays as it is (D-7)."""
    return _METACHARACTER.sub(r"\\\g<0>", text)


def _elsewhere(site: Site, scopes: Iterable[Namespace]) -> Iterator[Finding]:
    """Policies of the root namespace that are meant for the whole mesh and hold only there."""
    root = site.graph.tenancy.root
    if root in scopes:
        return
    message = f"it holds for services of {root} alone (--with {Mend.MESH_POLICIES})"
    for policy in _policies(site, root):
        yield Finding(key=key_of(policy), problem=warning("metadata.namespace", message))


def _unenforced(site: Site, policy: DubboAuthorizationPolicy) -> Iterator[Problem]:
    """What proxies may not do of a policy; who has no principal, validation says."""
    message = (
        f"is enforced by proxies that have the filter {FILTER}; a stock Envoy has none and "
        "refuses the listener (D-8)"
    )
    yield warning("spec", message)
    mesh = mesh_config(site.graph)
    if site.has(Mend.TRUST_DOMAIN) or (mesh.trust_domain, *mesh.trust_domain_aliases) == (_LOCAL,):
        return
    message = (
        f"means {_LOCAL} by name, and not the mesh's trust domain {mesh.trust_domain} or its "
        f"aliases (--with {Mend.TRUST_DOMAIN})"
    )
    for field, principal in _principals(policy):
        if principal.partition("/")[0] == _LOCAL:
            yield warning(field, message)


def _principals(policy: DubboAuthorizationPolicy) -> Iterator[tuple[str, str]]:
    """Every principal of a policy, with its field."""
    for i, rule in enumerate(policy.spec.rules):
        for j, caller in enumerate(rule.from_):
            source = caller.source or Source()
            where = f"spec.rules[{i}].from[{j}].source"
            for k, name in enumerate(source.principals):
                yield f"{where}.principals[{k}]", name
            for k, name in enumerate(source.not_principals):
                yield f"{where}.notPrincipals[{k}]", name
