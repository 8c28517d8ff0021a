"""Whether Kubernetes' RBAC would allow a request: the rules of its authorizer, as a pure function.

In: documents of one ServiceAccount, and a request as the authorizer sees it. Out: yes or no. Only
what the documents say counts; in a cluster other bindings may allow more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

Document = dict[str, Any]


def allows(
    documents: Sequence[Document],
    verb: str,
    group: str,
    resource: str,
    subresource: str,
    namespace: str,
    name: str,
) -> bool:
    """Whether the account may.

    `namespace` is empty for what has none and for a request about all of them. `name` is empty
    where the request has none: `create`, and a `list` or `watch` without the field selector
    `metadata.name=…`.
    """
    wanted = f"{resource}/{subresource}" if subresource else resource
    return any(
        _has(rule["verbs"], verb)
        and _has(rule["apiGroups"], group)
        and (_has(rule["resources"], wanted) or f"*/{subresource}" in rule["resources"])
        and name in (rule.get("resourceNames") or [name])
        for rule in _rules(documents, namespace)
    )


def account(documents: Sequence[Document]) -> Document:
    """The ServiceAccount that the documents are about, written as a subject."""
    (metadata,) = (each["metadata"] for each in documents if each["kind"] == "ServiceAccount")
    return {"kind": "ServiceAccount", "name": metadata["name"], "namespace": metadata["namespace"]}


def _has(words: Sequence[str], word: str) -> bool:
    return word in words or "*" in words


def _rules(documents: Sequence[Document], namespace: str) -> Iterator[Document]:
    """The rules that hold in a namespace: of bindings for the cluster, and of its own."""
    subject = account(documents)
    for binding in documents:
        everywhere = binding["kind"] == "ClusterRoleBinding"
        here = binding["kind"] == "RoleBinding" and binding["metadata"]["namespace"] == namespace
        if (everywhere or here) and subject in binding["subjects"]:
            yield from _role(documents, binding)["rules"]


def _role(documents: Sequence[Document], binding: Document) -> Document:
    reference = binding["roleRef"]
    home = binding["metadata"].get("namespace") if reference["kind"] == "Role" else None
    (role,) = (
        each
        for each in documents
        if (each["kind"], each["metadata"]["name"]) == (reference["kind"], reference["name"])
        and each["metadata"].get("namespace") == home
    )
    return role
