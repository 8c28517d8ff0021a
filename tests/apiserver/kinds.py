"""What an API server serves: kinds, what a request asks about them, and discovery.

In: the kinds that are served at this moment, and the line of a request. Out: discovery documents,
and a `Call`: what the request means, in the words of RBAC.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

JsonObject = dict[str, Any]

_VERBS: Final = ["create", "delete", "get", "list", "patch", "update", "watch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind. The first version is the preferred one."""

    group: str = ""
    versions: tuple[str, ...] = ("v1",)
    plural: str
    kind: str
    namespaced: bool = True
    status: bool = False
    custom: bool = False  # defined by a CRD
    unconditional: bool = True  # may be updated without a resourceVersion

    @property
    def id(self) -> str:
        """As messages and CRDs name it: `services`, `metarouters.metaprotocol.aeraki.io`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def generations(self) -> bool:
        """Whether its objects count the changes of their spec; Services, for one, do not."""
        return self.custom or self.plural == "endpointslices"

    def api_version(self, version: str) -> str:
        """The field `apiVersion` of its objects."""
        return f"{self.group}/{version}" if self.group else version


def custom(group: str, versions: str, kind: str, plural: str = "", **more: bool) -> Kind:
    """A kind that a CRD defines, with a status; `versions` are separated by spaces."""
    return Kind(
        group=group,
        versions=tuple(versions.split()),
        plural=plural or f"{kind.lower()}s",
        kind=kind,
        custom=True,
        unconditional=False,
        **{"status": True, **more},
    )


_ISTIO: Final = "networking.istio.io"
_AERAKI: Final = "metaprotocol.aeraki.io"

KINDS: Final = (
    Kind(plural="namespaces", kind="Namespace", namespaced=False, status=True),
    Kind(plural="services", kind="Service", status=True),
    Kind(plural="secrets", kind="Secret"),
    Kind(plural="configmaps", kind="ConfigMap"),
    Kind(plural="pods", kind="Pod", status=True),
    Kind(group="discovery.k8s.io", plural="endpointslices", kind="EndpointSlice"),
    Kind(group="coordination.k8s.io", plural="leases", kind="Lease", unconditional=False),
    custom(_ISTIO, "v1 v1beta1 v1alpha3", "ServiceEntry", "serviceentries"),
    custom(_ISTIO, "v1 v1beta1 v1alpha3", "WorkloadEntry", "workloadentries"),
    custom(_ISTIO, "v1 v1beta1 v1alpha3", "VirtualService"),
    custom(_ISTIO, "v1 v1beta1 v1alpha3", "DestinationRule"),
    custom(_ISTIO, "v1 v1beta1 v1alpha3", "Gateway"),
    custom(_ISTIO, "v1alpha3", "EnvoyFilter"),
    custom(_AERAKI, "v1alpha1", "MetaRouter"),
    custom(_AERAKI, "v1alpha1", "ApplicationProtocol", namespaced=False),
    custom("redis.aeraki.io", "v1alpha1", "RedisService"),
    custom("redis.aeraki.io", "v1alpha1", "RedisDestination"),
    custom(
        "dubbo.aeraki.io",
        "v1alpha1",
        "DubboAuthorizationPolicy",
        "dubboauthorizationpolicies",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request, and what it was answered."""

    verb: str  # as RBAC names it
    path: str
    group: str = ""
    version: str = ""
    resource: str = ""  # plural; empty for discovery
    subresource: str = ""
    namespace: str = ""  # empty for all, and for what has none
    name: str = ""
    manager: str = ""  # of fields
    status: int = 0


def call_of(method: str, path: str, query: Mapping[str, str]) -> Call:
    """What a request means. A selector of one name is that name, as for the real authorizer."""
    call = Call(verb=method.lower(), path=path, manager=query.get("fieldManager", ""))
    match path.strip("/").split("/"):
        case ["api", version, *rest] if rest:
            group = ""
        case ["apis", group, version, *rest] if rest:
            pass
        case _:
            return call
    namespace = ""
    match rest:
        case ["namespaces", within, plural, *after] if plural != "status":
            namespace, rest = within, [plural, *after]
    resource, name, subresource, *beyond = [*rest, "", "", ""]
    if any(beyond):
        return call
    verbs = {"POST": "create", "PUT": "update", "PATCH": "patch"}
    verb = verbs.get(method, method.lower())
    if not name and method == "GET":
        verb = "watch" if flag(query, "watch") else "list"
        name = dict(_field_terms(query.get("fieldSelector", ""))).get("metadata.name", "")
    elif not name and method == "DELETE":
        verb = "deletecollection"
    return replace(
        call,
        verb=verb,
        group=group,
        version=version,
        resource=resource,
        subresource=subresource,
        namespace=namespace,
        name=name,
    )


def flag(query: Mapping[str, str], name: str) -> bool:
    """A boolean as the real server reads it: all but `false` and `0` is true, `True` too."""
    return name in query and query[name].lower() not in {"false", "0"}


def _field_terms(selector: str) -> Iterable[tuple[str, str]]:
    for term in filter(None, selector.split(",")):
        field, _, value = term.partition("=")
        yield field, value.removeprefix("=")


def discovery(path: str, kinds: Iterable[Kind]) -> JsonObject | None:
    """The document at a path of discovery; None where nothing is served."""
    groups: dict[str, list[Kind]] = {}
    for kind in kinds:
        groups.setdefault(kind.group, []).append(kind)
    match path.strip("/").split("/"):
        case ["version"]:
            return {"major": "1", "minor": "34", "gitVersion": "v1.34.0"}
        case ["api"]:
            return {"kind": "APIVersions", "versions": ["v1"]}
        case ["apis"]:
            named = [_group(group, kinds) for group, kinds in groups.items() if group]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": named}
        case ["apis", group] if group in groups:
            return {"apiVersion": "v1", **_group(group, groups[group])}
        case ["api", "v1"]:
            return _resources("", "v1", groups.get("", []))
        case ["apis", group, version] if any(version in k.versions for k in groups.get(group, [])):
            return _resources(group, version, groups[group])
    return None


def _group(group: str, kinds: Iterable[Kind]) -> JsonObject:
    versions = [
        {"groupVersion": f"{group}/{version}", "version": version}
        for version in dict.fromkeys(version for kind in kinds for version in kind.versions)
    ]
    return {
        "kind": "APIGroup",
        "name": group,
        "versions": versions,
        "preferredVersion": versions[0],
    }


def _resources(group: str, version: str, kinds: Iterable[Kind]) -> JsonObject:
    listed: list[JsonObject] = []
    for kind in kinds:
        if version not in kind.versions:
            continue
        about = {"singularName": "", "namespaced": kind.namespaced, "kind": kind.kind}
        listed.append({"name": kind.plural, **about, "verbs": _VERBS})
        if kind.status:
            verbs = ["get", "patch", "update"]
            listed.append({"name": f"{kind.plural}/status", **about, "verbs": verbs})
    full = f"{group}/{version}" if group else version
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": full,
        "resources": listed,
    }
