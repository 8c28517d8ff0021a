"""From a manifest to what it says of one object: who it is, whether it has the shape, its hosts."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import inspect

from aeraki_xds.ingest import shape
from aeraki_xds.ingest.decode import Unidentified, decode
from aeraki_xds.mesh.change import Rejected, Upsert
from aeraki_xds.mesh.names import Key, Kind, Namespace
from aeraki_xds.mesh.objects import (
    OBJECT_TYPES,
    Duration,
    MetaRouter,
    Password,
    ServiceEntry,
    TokenBucket,
    VirtualService,
    WorkloadSelector,
    key_of,
)
from aeraki_xds.mesh.problems import Problem, Severity, has_errors
from tests.manifests import (
    ALL,
    APPLICATION_PROTOCOL,
    DESTINATION_RULE,
    DROP,
    DUBBO_POLICY,
    GATEWAY,
    META_ROUTER,
    REDIS_DESTINATION,
    REDIS_SERVICE,
    SECRET,
    SERVICE,
    SERVICE_ENTRY,
    VIRTUAL_SERVICE,
    edited,
)

ORIGIN = "mesh/reviews.yaml"
ROUTE = "spec.routes[0].route"
ATTRIBUTES = "spec.routes[0].match.attributes"
INTERVAL = "spec.localRateLimit.tokenBucket.fillInterval"


def upserted(manifest: dict[str, Any]) -> Upsert:
    event = decode(manifest, origin=ORIGIN)
    assert isinstance(event, Upsert), event
    return event


def rejected(manifest: dict[str, Any]) -> Rejected:
    event = decode(manifest, origin=ORIGIN)
    assert isinstance(event, Rejected), event
    return event


def router_of(event: Upsert) -> MetaRouter:
    assert isinstance(event.item, MetaRouter)
    return event.item


def said(problems: tuple[Problem, ...]) -> list[tuple[str, str]]:
    return [(problem.field, problem.message) for problem in problems]


# --- who it is --------------------------------------------------------------------------------


@pytest.mark.parametrize("manifest", ALL, ids=lambda manifest: manifest["kind"])
def test_a_valid_manifest_is_an_upsert_without_problems(manifest: dict[str, Any]) -> None:
    event = upserted(manifest)
    namespace = "" if manifest is APPLICATION_PROTOCOL else "shop"
    assert event.key == Key(
        Kind(manifest["kind"]), Namespace(namespace), manifest["metadata"]["name"]
    )
    assert key_of(event.item) == event.key
    assert event.origin == ORIGIN
    assert event.problems == ()


@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha3"])
def test_all_of_istios_versions_are_read_alike(version: str) -> None:
    changed = edited(SERVICE_ENTRY, {"apiVersion": f"networking.istio.io/{version}"})
    assert upserted(changed).item == upserted(SERVICE_ENTRY).item


@pytest.mark.parametrize("namespace", [DROP, None, ""])
def test_an_object_that_names_no_namespace_is_in_default(namespace: object) -> None:
    event = upserted(edited(META_ROUTER, {"metadata.namespace": namespace}))
    assert event.key.namespace == "default"
    assert event.item.metadata.namespace == "default"


def test_the_namespace_of_a_cluster_scoped_kind_means_nothing() -> None:
    event = upserted(edited(APPLICATION_PROTOCOL, {"metadata.namespace": "shop"}))
    assert event == upserted(APPLICATION_PROTOCOL)


@pytest.mark.parametrize(
    ("api_version", "kind"),
    [
        ("v1", "secret"),
        ("v1", "ConfigMap"),
        ("apps/v1", "Deployment"),
        ("serving.knative.dev/v1", "Service"),
        ("gateway.networking.k8s.io/v1", "Gateway"),
        ("networking.istio.io/v1alpha3", "EnvoyFilter"),
        ("appmesh.k8s.aws/v1beta2", "VirtualService"),
        ("networking.k8s.io/v9", "Ingress"),
    ],
)
def test_kinds_of_others_say_nothing(api_version: str, kind: str) -> None:
    assert decode({"apiVersion": api_version, "kind": kind}, origin=ORIGIN) is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"kind": DROP, "apiVersion": DROP, "metadata": DROP},
            [("apiVersion", "missing"), ("kind", "missing"), ("metadata.name", "missing")],
        ),
        ({"kind": None}, [("kind", "is missing")]),
        ({"kind": ""}, [("kind", "is missing")]),
        ({"kind": ["MetaRouter"]}, [("kind", "must be a string, is a list")]),
        ({"apiVersion": 1}, [("apiVersion", "must be a string, is an integer: quote it")]),
        ({"metadata": DROP}, [("metadata.name", "is missing")]),
        ({"metadata": "reviews"}, [("metadata", "must be an object, is a string")]),
        ({"metadata.name": DROP}, [("metadata.name", "is missing")]),
        ({"metadata.name": 7}, [("metadata.name", "must be a string, is an integer: quote it")]),
        (
            {"metadata.name": "", "metadata.namespace": 1},
            [("metadata.name", "is missing"), ("metadata.namespace", "must be a string")],
        ),
        (
            {"kind": "MetaRoute"},
            [("kind", "'MetaRoute'; did you mean `MetaRouter`? (known: MetaRouter, Application")],
        ),
        (
            {"apiVersion": "metaprotocols.aeraki.io/v1alpha1"},
            [("apiVersion", "did you mean `metaprotocol.aeraki.io`?")],
        ),
        (
            {"apiVersion": "redis.aeraki.io/v1alpha1", "kind": "RedisServise"},
            [("kind", "did you mean `RedisService`?")],
        ),
        (
            {"apiVersion": "v1alpha1"},
            [("apiVersion", "must be metaprotocol.aeraki.io/v1alpha1 for a MetaRouter")],
        ),
        (
            {"apiVersion": "networking.istio.io/v1"},
            [("apiVersion", "must be metaprotocol.aeraki.io/v1alpha1 for a MetaRouter")],
        ),
        (
            {"kind": "RedisService"},
            [("apiVersion", "must be redis.aeraki.io/v1alpha1 for a RedisService")],
        ),
        (
            {"apiVersion": "dubo.aeraki.io/v1alpha1", "kind": "DubboAuthorizationPolicy"},
            [("apiVersion", "did you mean `dubbo.aeraki.io`?")],
        ),
        (
            {"apiVersion": "networking.istio.io/v1", "kind": "serviceEntry"},
            [("kind", "did you mean `ServiceEntry`?")],
        ),
    ],
)
def test_a_mapping_that_names_no_object_says_what_it_lacks(
    changes: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    event = decode(edited(META_ROUTER, changes), origin=ORIGIN)
    assert isinstance(event, Unidentified)
    assert [problem.field for problem in event.problems] == [field for field, _ in expected]
    for problem, (_, words) in zip(event.problems, expected, strict=True):
        assert words in problem.message
        assert problem.severity is Severity.ERROR


def test_a_cluster_scoped_object_lacks_no_namespace() -> None:
    event = decode(edited(APPLICATION_PROTOCOL, {"metadata.name": DROP}), origin=ORIGIN)
    assert isinstance(event, Unidentified)
    assert [problem.field for problem in event.problems] == ["metadata.name"]


def test_an_unknown_version_is_refused_before_its_fields_are_looked_at() -> None:
    changes = {"apiVersion": "metaprotocol.aeraki.io/v2", "spec.newField": 1}
    event = rejected(edited(META_ROUTER, changes))
    assert event.key == upserted(META_ROUTER).key
    assert said(event.problems) == [
        (
            "apiVersion",
            "version 'v2' is unknown; write one of metaprotocol.aeraki.io/v1alpha1",
        )
    ]
    assert event.hosts == {"reviews.shop.svc.cluster.local"}
    (problem,) = rejected(edited(SERVICE, {"apiVersion": "v2"})).problems
    assert problem.message.endswith("write one of v1")


# --- shape ------------------------------------------------------------------------------------


def test_every_fault_of_the_shape_is_reported_under_its_own_path() -> None:
    event = rejected(
        edited(
            META_ROUTER,
            {
                "extra": 1,
                "metadata.labels": {"version": 1.0},
                "spec.gateways": "gate",
                "spec.routes[1]": None,
                f"{ROUTE}[0].weight": "60",
                f"{ROUTE}[1]": {"destination": {"host": "reviews"}, "wieght": 40},
                f"{ATTRIBUTES}[method]": {"exact": ["list"]},
                f"{ATTRIBUTES}[user]": None,
                "spec.routes[0].requestMutation[0]": None,
                "spec.routes[0].mirrorPercentage.value": "all",
                "spec.routes[0].mirror": "audit",
                INTERVAL: "5",
                "spec.globalRateLimit.denyOnFail": "yes",
                "spec.globalRateLimit.requestTimeout": 5,
                "spec.globalRateLimit.match.attributes": ["method"],
            },
        )
    )
    # V5, V6, V13
    null = "must not be null: fill it in or remove the entry"
    assert sorted(said(event.problems)) == [
        (
            "extra",
            "unknown field `extra`; did you mean it inside `spec`? "
            "(known: apiVersion, kind, metadata, spec, status)",
        ),
        ("metadata.labels[version]", "must be a string, is a number: quote it"),
        ("spec.gateways", "must be a list, is a string"),
        ("spec.globalRateLimit.denyOnFail", "must be true or false, is a string"),
        ("spec.globalRateLimit.match.attributes", "must be an object, is a list"),
        (
            "spec.globalRateLimit.requestTimeout",
            "must be a duration such as 100ms, 1m30s or 0.5s, is an integer",
        ),
        (INTERVAL, "'5' is not a duration; write for example 100ms, 1m30s or 0.5s"),
        (f"{ATTRIBUTES}[method].exact", "must be a string, is a list"),
        (f"{ATTRIBUTES}[user]", null),
        ("spec.routes[0].mirror", "must be an object, is a string"),
        ("spec.routes[0].mirrorPercentage.value", "must be a number, is a string"),
        ("spec.routes[0].requestMutation[0]", null),
        (f"{ROUTE}[0].weight", "must be an integer, is a string"),
        (
            f"{ROUTE}[1].wieght",
            "unknown field `wieght`; did you mean `weight`? (known: destination, weight)",
        ),
        ("spec.routes[1]", null),
    ]


@pytest.mark.parametrize(
    ("manifest", "path", "value", "message"),
    [
        (META_ROUTER, "spec", ["routes"], "must be an object, is a list"),
        (META_ROUTER, f"{ROUTE}[0].weight", 60.5, "must be an integer, is 60.5"),
        (META_ROUTER, f"{ROUTE}[0].weight", True, "must be an integer, is a boolean"),
        (META_ROUTER, f"{ROUTE}[0]", None, "must not be null"),
        (META_ROUTER, "spec.hosts[0]", None, "must not be null"),
        (META_ROUTER, "spec.hosts[0]", False, "must be a string, is a boolean: quote it"),
        (META_ROUTER, "spec.localRateLimit.conditions[0]", None, "must not be null"),
        (SERVICE_ENTRY, "metadata.labels[a]", None, "must not be null"),
        (
            META_ROUTER,
            "spec.routes[0].mirrorPercentage.value",
            10**400,
            "is too large",
        ),
        (META_ROUTER, "spec.local_rate_limit", {}, "did you mean `localRateLimit`?"),
        (META_ROUTER, "spec.zzz", {}, "unknown field `zzz` (known: exportTo"),
        (SERVICE_ENTRY, "spec.resolution", "static", "did you mean `STATIC`?"),
        (SERVICE_ENTRY, "spec.resolution", [], "must be a string, is a list"),
        (SERVICE_ENTRY, "spec.ports[0].number", DROP, "is missing"),
        (SERVICE_ENTRY, "spec.ports[0].number", None, "is missing"),
        (VIRTUAL_SERVICE, "spec.http[0].match[0]", None, "must not be null"),
        (VIRTUAL_SERVICE, "spec.http[0].match[0]", "x", "must be an object, is a string"),
        (
            DESTINATION_RULE,
            "spec.trafficPolicy.connectionPool.tcp.connectTimeout",
            "soon",
            "'soon' is not a duration",
        ),
    ],
)
def test_a_value_of_the_wrong_shape_is_named(
    manifest: dict[str, Any], path: str, value: object, message: str
) -> None:
    (problem,) = rejected(edited(manifest, {path: value})).problems
    assert problem.field == path
    assert message in problem.message


def test_a_key_that_is_no_string_is_named_too() -> None:
    event = rejected(edited(META_ROUTER, {ATTRIBUTES: {1: {"exact": "a"}}}))
    assert said(event.problems) == [
        (f"{ATTRIBUTES}[1]", "the key must be a string, is an integer: quote it")
    ]


def test_null_for_a_field_is_that_field_left_out() -> None:
    nulls = {
        "status": None,
        "metadata.labels": None,
        "metadata.creationTimestamp": None,
        "spec.gateways": None,
        "spec.routes[1].name": None,
        "spec.routes[1].match": None,
        "spec.routes[1].mirror": None,
        "spec.routes[1].route[0].weight": None,
        f"{ATTRIBUTES}[method].prefix": None,
        "spec.globalRateLimit.denyOnFail": None,
    }
    absent = {"spec.gateways": DROP, "spec.globalRateLimit.denyOnFail": DROP}
    assert upserted(edited(META_ROUTER, nulls)) == upserted(edited(META_ROUTER, absent))


def test_a_null_for_a_field_that_is_needed_is_judged_as_absent() -> None:
    changes = {"spec.routes": None, "spec.localRateLimit": None, "spec.globalRateLimit": None}
    assert [p.field for p in rejected(edited(META_ROUTER, changes)).problems] == ["spec"]


def test_a_null_spec_is_an_empty_one() -> None:
    assert said(rejected(edited(META_ROUTER, {"spec": None})).problems) == said(
        rejected(edited(META_ROUTER, {"spec": DROP})).problems
    )


def test_an_integer_may_be_written_as_a_float() -> None:
    changes = {f"{ROUTE}[0].weight": 60.0, f"{ROUTE}[1].destination.port.number": 9090.0}
    assert upserted(edited(META_ROUTER, changes)) == upserted(META_ROUTER)


def test_a_share_may_be_written_as_an_integer() -> None:
    event = upserted(edited(META_ROUTER, {"spec.routes[0].mirrorPercentage.value": 1}))
    percent = router_of(event).spec.routes[0].mirror_percentage
    assert percent is not None
    assert percent.value == 1.0


def test_presence_is_an_empty_condition_and_is_kept() -> None:
    match = router_of(upserted(META_ROUTER)).spec.routes[0].match
    assert match is not None
    token = match.attributes["token"]
    assert (token.exact, token.prefix, token.regex) == (None, None, None)


def test_further_fields_are_skipped_where_they_are_not_ours_to_judge() -> None:
    changes = {
        "status": {"anything": 1},
        "metadata.uid": "7",
        "metadata.managedFields": [{"a": None}],
        "metadata.ownerReferences": 7,
    }
    assert upserted(edited(META_ROUTER, changes)) == upserted(META_ROUTER)
    changes = {"spec.extra": [None], "spec.http[0].extra": 3, "spec.http[0].timeout": None}
    changes |= {"extra": 1}
    assert upserted(edited(VIRTUAL_SERVICE, changes)) == upserted(VIRTUAL_SERVICE)


def test_the_conditions_of_http_are_kept_as_plain_json() -> None:
    match = {
        "uri": {"prefix": None},
        "gateways": None,
        "port": 80,
        "headers": {"a": {"exact": "b"}},
    }
    changes = {"spec.http[0].match[0]": match, "spec.gateways": None}  # null: by the walk
    item = upserted(edited(VIRTUAL_SERVICE, changes)).item
    assert isinstance(item, VirtualService)
    assert item.spec.http[0].match == (match,)


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("100ms", 100_000_000),
        ("1m30s", 90_000_000_000),
        ("0.5s", 500_000_000),
        (".5s", 500_000_000),
        ("1.s", 1_000_000_000),
        ("+1h", 3_600_000_000_000),
        ("1us1ns", 1_001),
        ("1\u00b5s", 1_000),
        ("1\u03bcs", 1_000),
        ("0", 0),
        ("-1s", -1_000_000_000),
        ("9223372036s", 9_223_372_036_000_000_000),
    ],
)
def test_durations_are_read_as_go_reads_them(text: str, nanoseconds: int) -> None:
    bucket = {"fillInterval": text}  # the shape alone: some of these are no sensible interval
    read, problems = shape.read(bucket, TokenBucket)
    assert problems == ()
    assert read is not None
    assert read.fill_interval == Duration(nanoseconds)


@pytest.mark.parametrize(
    "text", ["", "5", "-", "s", "1s ", "1 s", "--1s", "+-1s", "1d", "1S", "1e3s", "\u0663s"]
)
def test_what_go_does_not_read_is_no_duration(text: str) -> None:
    event = rejected(edited(META_ROUTER, {INTERVAL: text}))
    assert [p.field for p in event.problems] == [INTERVAL]
    assert repr(text) in event.problems[0].message


def test_a_duration_longer_than_go_can_hold_is_refused() -> None:
    for text in ("9223372037s", "9" * 400 + "h"):
        event = rejected(edited(META_ROUTER, {INTERVAL: text}))
        assert "longer than a duration can be" in event.problems[0].message


# --- meaning, and what a rejected object still says ---------------------------------------------


def test_warnings_travel_with_the_object() -> None:
    event = upserted(edited(META_ROUTER, {"spec.routes[0].match": DROP}))
    assert [p.field for p in event.problems] == ["spec.routes[1]"]
    assert not has_errors(event.problems)


def test_an_error_rejects_the_object_and_keeps_its_warnings() -> None:
    event = rejected(edited(META_ROUTER, {"spec.routes[0].match": DROP, "spec.exportTo": ["~"]}))
    assert [(p.field, p.severity) for p in event.problems] == [
        ("spec.routes[1]", Severity.WARNING),
        ("spec.exportTo[0]", Severity.ERROR),
    ]
    assert event.origin == ORIGIN


@pytest.mark.parametrize(
    ("manifest", "misspelt"),
    [
        (META_ROUTER, "spec.routes[0].mach"),
        (REDIS_SERVICE, "spec.settings.opTimeOut"),
        (REDIS_DESTINATION, "spec.trafficPolicy.connectionPool.tcp.maxConnection"),
        (DUBBO_POLICY, "spec.rules[0].frm"),
    ],
    ids=lambda each: each if isinstance(each, str) else each["kind"],
)
def test_kinds_of_aeraki_refuse_what_they_do_not_know(
    manifest: dict[str, Any], misspelt: str
) -> None:
    event = rejected(edited(manifest, {misspelt: {}, "extra": 1}))
    assert [problem.field for problem in event.problems] == ["extra", misspelt]
    assert "did you mean `" in event.problems[1].message


@pytest.mark.parametrize("manifest", [GATEWAY, SERVICE, SECRET], ids=lambda each: each["kind"])
def test_kinds_of_others_may_hold_what_we_do_not_know(manifest: dict[str, Any]) -> None:
    event = upserted(edited(manifest, {"extra": 1, "spec": {**manifest.get("spec", {}), "x": {}}}))
    assert event == upserted(manifest)


def test_of_the_workload_selector_the_labels_are_read() -> None:
    selector = {"labels": {"app": "reviews"}, "more": 1}
    event = upserted(edited(SERVICE_ENTRY, {"spec.workloadSelector": selector}))
    assert isinstance(event.item, ServiceEntry)
    assert event.item.spec.workload_selector == WorkloadSelector(labels={"app": "reviews"})


def test_a_misplaced_field_is_reported_beside_what_is_wrong_inside() -> None:
    event = rejected(edited(META_ROUTER, {"routes": [], "spec.hosts": []}))
    assert [p.field for p in event.problems] == ["routes", "spec.hosts"]


@pytest.mark.parametrize(
    ("spec", "hosts"),
    [
        ({"hosts": ["reviews", "a.b."], "x": 1}, {"reviews", "a.b."}),
        ({"hosts": "a.b"}, {"a.b"}),
        ({"hosts": ["a.b", None, 7, "", {}]}, set()),
        ({"hosts": ["a.b", "c<.d"]}, set()),
        ({"host": "reviews"}, {"reviews"}),
        ({"host": ["a.b"], "hosts": None}, {"a.b"}),
        ({}, set()),
        (["hosts"], set()),
        ("hosts", set()),
    ],
)
def test_a_rejected_object_names_its_hosts_if_all_of_them_can_be_read(
    spec: object, hosts: set[str]
) -> None:
    assert rejected(edited(META_ROUTER, {"spec": spec})).hosts == hosts


@pytest.mark.parametrize(
    ("manifest", "wrong", "hosts"),
    [
        (REDIS_SERVICE, "spec.redis[0].route", {"sessions.shop.svc.cluster.local", "sessions"}),
        (REDIS_DESTINATION, "spec.trafficPolicy", {"sessions.shop.svc.cluster.local"}),
        (DUBBO_POLICY, "spec.rules", set()),
        (GATEWAY, "spec.servers", set()),
        (SERVICE, "spec.ports", set()),
    ],
    ids=lambda each: each["kind"] if isinstance(each, dict) else "",
)
def test_what_a_rejected_object_of_another_kind_names(
    manifest: dict[str, Any], wrong: str, hosts: set[str]
) -> None:
    assert rejected(edited(manifest, {wrong: "none"})).hosts == hosts


# --- whatever comes -----------------------------------------------------------------------------


def types_below(kind: inspect.Type) -> Iterator[inspect.Type]:
    yield kind
    match kind:
        case inspect.StructType():
            below = [field.type for field in kind.fields]
        case inspect.VarTupleType():
            below = [kind.item_type]
        case inspect.DictType():
            below = [kind.value_type]
        case inspect.UnionType():
            below = list(kind.types)
        case _:
            below = []
    for inner in below:
        yield from types_below(inner)


@pytest.mark.parametrize("kind", OBJECT_TYPES.values(), ids=lambda kind: kind.__name__)
def test_every_type_of_the_object_model_can_be_read(kind: type[msgspec.Struct]) -> None:
    known = (
        inspect.StructType,
        inspect.VarTupleType,
        inspect.DictType,
        inspect.UnionType,
        inspect.NoneType,
        inspect.StrType,
        inspect.IntType,
        inspect.FloatType,
        inspect.BoolType,
        inspect.LiteralType,
    )
    for found in types_below(inspect.type_info(kind)):
        if isinstance(found, inspect.CustomType):
            assert found.cls in (Duration, Password, object)
        elif isinstance(found, inspect.UnionType):
            assert [inspect.NoneType() in found.types, len(found.types)] == [True, 2]
        else:
            assert isinstance(found, known)


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["", "*", "a.b", "1s", "-1s", 10**400, "v1", "networking.istio.io/v1"])
)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(max_size=5) | st.sampled_from(["exact", "regex", "host", "weight"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) of a manifest."""
    if isinstance(value, dict):
        for key in list(value):
            yield value, key
            yield from places(value[key])
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield value, i
            yield from places(item)


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """A valid manifest in which a few things were dropped, replaced or inserted anywhere."""
    manifest: dict[str, Any] = copy.deepcopy(draw(st.sampled_from(ALL)))
    for _ in range(draw(st.integers(1, 4))):
        found = list(places(manifest))
        if not found:
            break
        container, key = draw(st.sampled_from(found))
        how = draw(st.sampled_from(["drop", "replace", "replace", "insert"]))
        if how == "drop":
            del container[key]
        elif how == "replace":
            container[key] = draw(JSON)
        elif isinstance(container, list):
            container.insert(key, draw(JSON))
        else:
            container[draw(st.text(max_size=5) | st.integers())] = draw(JSON)
    return manifest


@settings(unhurried, max_examples=600)
@given(mutated())
def test_no_manifest_raises_and_each_says_one_of_four_things(manifest: dict[str, Any]) -> None:
    before = copy.deepcopy(manifest)
    match decode(manifest, origin=ORIGIN):
        case Upsert() as event:
            assert not has_errors(event.problems)
            assert event.item.metadata.name == event.key.name
            assert event.item.metadata.namespace == event.key.namespace
        case Rejected() as event:
            assert has_errors(event.problems)
            assert all(isinstance(host, str) for host in event.hosts)
        case Unidentified() as event:
            assert event.problems
        case None:
            assert manifest["apiVersion"] is not None
    assert repr(manifest) == repr(before)  # not ==: NaN


@settings(unhurried, max_examples=300)
@given(mutated())
def test_the_walk_leaves_msgspec_nothing_to_refuse(manifest: dict[str, Any]) -> None:
    for kind in OBJECT_TYPES.values():
        read, problems = shape.read(manifest, kind)
        assert read is not None or problems
        assert all(problem.field for problem in problems), problems  # msgspec's own name no field


def test_what_the_rest_means_is_judged_beside_a_fault_of_shape() -> None:
    """One look is enough to mend a file, however many mistakes are in it."""
    event = rejected(
        edited(
            META_ROUTER,
            {
                "spec.routes[0].requestMutation[0].key": 7,
                "spec.routes[0].match.attributes[group].regex": "(?=a)",
                "spec.routes[1].rout": [],
                "spec.exportTo": ["*", "."],
            },
        )
    )
    assert [problem.field for problem in event.problems] == [
        "spec.routes[0].requestMutation[0].key",
        "spec.routes[1].rout",
        "spec.routes[0].match.attributes[group].regex",
        "spec.exportTo",
    ]


def test_what_follows_from_a_fault_of_shape_is_not_reported_beside_it() -> None:
    """A weight that is no number adds up to nothing, and that is not another mistake."""
    for field, value in (
        ("spec.routes[0].route[0].weight", "sixty"),
        ("spec.routes[0].route[0].destination", [1]),
        ("spec.routes", "none"),
        ("spec.hosts[0]", 7),
        ("spec.routes[0].match.attributes", []),
    ):
        event = rejected(edited(META_ROUTER, {field: value}))
        assert [problem.field for problem in event.problems] == [field]
