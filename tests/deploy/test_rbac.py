"""What deploy/rbac.yaml grants: every read and write that the server makes, and nothing else."""

from __future__ import annotations

import itertools
from typing import Any, Final

import pytest
import yaml

from tests.deploy.admission import DEFINITIONS, DEPLOY
from tests.deploy.rbac import Document, account, allows

ROOT: Final = "istio-system"
READ: Final = ("get", "list", "watch")
VERBS: Final = (
    *READ,
    *("create", "update", "patch", "delete", "deletecollection"),
    *("bind", "escalate", "impersonate"),
)
ISTIO: Final = "networking.istio.io"
WRITTEN: Final = {(ISTIO, "envoyfilters"), (ISTIO, "virtualservices")}
WATCHED: Final = {
    *(("", resource) for resource in ("services", "pods")),
    ("discovery.k8s.io", "endpointslices"),
    *(
        (ISTIO, f"{resource}s")
        for resource in ("workloadentrie", "serviceentrie", "destinationrule", "gateway")
    ),
    *WRITTEN,
    *(
        (definition["spec"]["group"], definition["spec"]["names"]["plural"])
        for definition in DEFINITIONS.values()
    ),
}
ELECTION: Final = "aeraki-envoyfilter-controller-election"
STRANGE: Final = {
    ("", "secrets"),
    ("", "configmaps"),
    ("", "namespaces"),
    ("", "nodes"),
    ("apps", "deployments"),
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("coordination.k8s.io", "leases"),
    ("security.istio.io", "authorizationpolicies"),
}


def documents_of(*files: str) -> list[Document]:
    return [
        document
        for file in files
        for document in yaml.safe_load_all((DEPLOY / file).read_text(encoding="utf-8"))
    ]


RBAC: Final = documents_of("rbac.yaml")


def test_everywhere_it_may_read_what_it_watches_and_write_what_it_makes_and_nothing_else() -> None:
    granted = {
        (verb, group, resource)
        for verb, (group, resource) in itertools.product(VERBS, WATCHED | STRANGE)
        if allows(RBAC, verb, group, resource, "", "shop", "any")
        or allows(RBAC, verb, group, resource, "", "", "")
    }
    reads = {(verb, *kind) for verb in READ for kind in WATCHED}
    writes = {(verb, *kind) for verb in ("create", "update", "delete") for kind in WRITTEN}
    assert granted == reads | writes


@pytest.mark.parametrize("subresource", ["status", "exec", "portforward", "token", "finalizers"])
def test_no_subresource_is_granted(subresource: str) -> None:
    granted = [
        (verb, group, resource)
        for verb, (group, resource) in itertools.product(VERBS, WATCHED | STRANGE)
        if allows(RBAC, verb, group, resource, subresource, ROOT, "any")
    ]
    assert granted == []


def test_of_the_root_namespace_it_reads_one_config_and_holds_one_lock() -> None:
    resources = (("", "configmaps"), ("coordination.k8s.io", "leases"), ("", "secrets"))
    names = ("", "istio", ELECTION, "istio-ca-secret", "aeraki-bootstrap-config")
    granted = {
        (verb, resource, name)
        for verb, (group, resource), name in itertools.product(VERBS, resources, names)
        if allows(RBAC, verb, group, resource, "", ROOT, name)
    }
    creates = {("create", "configmaps", name) for name in names}
    assert granted - creates == {
        *((verb, "configmaps", "istio") for verb in READ),
        *((verb, "configmaps", ELECTION) for verb in ("get", "update")),
    }
    assert creates <= granted, "RBAC cannot say which names may be created"


def test_nothing_is_granted_with_a_wildcard() -> None:
    for document in documents_of("rbac.yaml", "examples/secrets.yaml"):
        for rule in document.get("rules", ()):
            assert "nonResourceURLs" not in rule
            for words in rule.values():
                assert not any("*" in word for word in words), document["metadata"]


@pytest.mark.parametrize("verb", READ)
def test_a_secret_is_read_by_name_where_its_namespace_grants_it(verb: str) -> None:
    granted = documents_of("rbac.yaml", "examples/secrets.yaml")
    assert allows(granted, verb, "", "secrets", "", "shop", "sessions")
    assert not allows(granted, verb, "", "secrets", "", "shop", "")
    assert not allows(granted, verb, "", "secrets", "", "shop", "other")
    assert not allows(granted, verb, "", "secrets", "", ROOT, "sessions")
    assert not allows(RBAC, verb, "", "secrets", "", "shop", "sessions")


def test_the_pods_run_as_the_account() -> None:
    (deployment,) = (
        each for each in documents_of("deployment.yaml") if each["kind"] == "Deployment"
    )
    subject = account(RBAC)
    assert deployment["spec"]["template"]["spec"]["serviceAccountName"] == subject["name"]
    assert deployment["metadata"]["namespace"] == subject["namespace"]


# --- the function itself


def granting(*rules: Document, **changes: Any) -> list[Document]:
    """Documents that grant these rules: in the cluster, or in a namespace."""
    subject = {"kind": "ServiceAccount", "name": "me", "namespace": "home"}
    namespace = changes.get("namespace")
    place = {"namespace": namespace} if namespace else {}
    role, binding = ("Role", "RoleBinding") if namespace else ("ClusterRole", "ClusterRoleBinding")
    return [
        {"kind": "ServiceAccount", "metadata": {"name": "me", "namespace": "home"}},
        {"kind": role, "metadata": {"name": "r", **place}, "rules": list(rules)},
        {
            "kind": binding,
            "metadata": {"name": "b", **place},
            "roleRef": {"kind": role, "name": "r"},
            "subjects": [changes.get("subject", subject)],
        },
    ]


def rule(**changes: list[str]) -> Document:
    return {"apiGroups": ["g"], "resources": ["things"], "verbs": ["get"], **changes}


REQUEST: Final = ("get", "g", "things", "", "a", "x")


@pytest.mark.parametrize(
    ("documents", "request_", "allowed"),
    [
        (granting(rule()), REQUEST, True),
        (granting(rule()), ("list", *REQUEST[1:]), False),
        (granting(rule(verbs=["*"])), ("list", *REQUEST[1:]), True),
        (granting(rule()), ("get", "", *REQUEST[2:]), False),
        (granting(rule(apiGroups=["*"])), ("get", "", *REQUEST[2:]), True),
        (granting(rule()), ("get", "g", "others", "", "a", "x"), False),
        (granting(rule(resources=["*"])), ("get", "g", "others", "", "a", "x"), True),
        (granting(rule()), ("get", "g", "things", "status", "a", "x"), False),
        (granting(rule(resources=["things/status"])), REQUEST, False),
        (granting(rule(resources=["things/status"])), (*REQUEST[:3], "status", "a", "x"), True),
        (granting(rule(resources=["*/status"])), (*REQUEST[:3], "status", "a", "x"), True),
        (granting(rule(resources=["*/status"])), REQUEST, False),
        (granting(rule(resourceNames=["x"])), REQUEST, True),
        (granting(rule(resourceNames=["y"])), REQUEST, False),
        (granting(rule(resourceNames=["x"])), (*REQUEST[:5], ""), False),
        (granting(rule(), namespace="a"), REQUEST, True),
        (granting(rule(), namespace="b"), REQUEST, False),
        (granting(rule(), namespace="a"), (*REQUEST[:4], "", "x"), False),
        (granting(rule()), (*REQUEST[:4], "", ""), True),
        (granting(), REQUEST, False),
        (granting(rule(verbs=["list"]), rule()), REQUEST, True),
        (granting(rule(), subject={"kind": "User", "name": "me"}), REQUEST, False),
        (
            granting(rule(), subject={"kind": "ServiceAccount", "name": "me", "namespace": "b"}),
            REQUEST,
            False,
        ),
        (granting(rule())[:2], REQUEST, False),
    ],
)
def test_a_request_is_allowed_as_kubernetes_would(
    documents: list[Document], request_: tuple[str, str, str, str, str, str], allowed: bool
) -> None:
    assert allows(documents, *request_) is allowed


def test_a_cluster_role_can_be_bound_in_one_namespace() -> None:
    documents = granting(rule())
    documents[2] |= {"kind": "RoleBinding", "metadata": {"name": "b", "namespace": "a"}}
    assert allows(documents, *REQUEST)
    assert not allows(documents, *REQUEST[:4], "b", "x")
