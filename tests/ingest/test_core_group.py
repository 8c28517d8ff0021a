"""Kubernetes' own kinds: what a Secret and the ConfigMap of the mesh say, and what nobody learns.

The canary is a word that stands for a password. Wherever it stands, and whatever is wrong with its
manifest, it is in nothing that is printed.
"""

from __future__ import annotations

import base64
import json
from itertools import pairwise
from typing import Any, Final

import pytest
import structlog
from structlog.testing import capture_logs

from aeraki_xds.ingest.contents import Contents, Outcome, read_contents
from aeraki_xds.ingest.decode import decode
from aeraki_xds.mesh.change import Rejected, Upsert
from aeraki_xds.mesh.objects import MeshConfig, Password, RedisService, Secret
from aeraki_xds.mesh.objects.kubernetes import ProxyDefaults, Tracing
from aeraki_xds.mesh.problems import Severity
from tests.manifests import DROP, MESH_CONFIG, REDIS_SERVICE, SECRET, edited

ORIGIN: Final = "mesh/istio.yaml"


def upserted(manifest: dict[str, Any]) -> Upsert:
    event = decode(manifest, origin=ORIGIN)
    assert isinstance(event, Upsert), event
    return event


def rejected(manifest: dict[str, Any]) -> list[tuple[str, str]]:
    event = decode(manifest, origin=ORIGIN)
    assert isinstance(event, Rejected), event
    return [(problem.field, problem.message) for problem in event.problems]


def words(event: Upsert) -> dict[str, str]:
    assert isinstance(event.item, Secret)
    return {name: word.reveal() for name, word in event.item.data.items()}


def config(text: str) -> MeshConfig:
    event = upserted(edited(MESH_CONFIG, {"data.mesh": text}))
    assert isinstance(event.item, MeshConfig)
    return event.item


# --- Secret -------------------------------------------------------------------------------------


def test_the_data_of_a_secret_are_decoded() -> None:
    folded = "c2Vj\ncmV0\r\n"  # as `base64` prints it
    event = upserted(edited(SECRET, {"data.password": folded, "data.empty": ""}))
    assert words(event) == {"username": "app", "password": "secret", "empty": ""}
    assert event.problems == ()


def test_what_is_written_as_text_wins_over_data() -> None:
    event = upserted(edited(SECRET, {"stringData": {"password": "other", "more": "YXBw"}}))
    assert words(event) == {"username": "app", "password": "other", "more": "YXBw"}


@pytest.mark.parametrize("absent", [DROP, None])
def test_a_secret_may_hold_nothing(absent: object) -> None:
    event = upserted(edited(SECRET, {"data": absent, "stringData": None}))
    assert words(event) == {}
    assert event.problems == ()


@pytest.mark.parametrize("value", ["no base64!", "c2Vj!cmV0", "abc", "/w==", "ü"])
def test_a_value_that_is_no_text_is_left_out_and_the_others_are_of_use(value: str) -> None:
    event = upserted(edited(SECRET, {"data.binary": value}))
    assert words(event) == {"username": "app", "password": "secret"}
    (problem,) = event.problems
    assert (problem.field, problem.severity) == ("data[binary]", Severity.WARNING)
    assert "left out" in problem.message


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"data": ["a"]}, [("data", "must be an object, is a list")]),
        (
            {"data.password": 7, "stringData": "x"},
            [
                ("data[password]", "must be a string, is an integer: quote it"),
                ("stringData", "must be an object, is a string"),
            ],
        ),
        ({"stringData": {"a": {}}}, [("stringData[a]", "must be a string, is an object")]),
    ],
)
def test_a_secret_of_the_wrong_shape_is_refused(
    changes: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    assert rejected(edited(SECRET, changes)) == expected


def test_annotations_of_objects_with_passwords_are_not_kept() -> None:
    """Tools put copies of the whole object there."""
    for manifest in (SECRET, REDIS_SERVICE):
        event = upserted(edited(manifest, {"metadata.annotations": {"copy": "x"}}))
        assert event.item.metadata.annotations == {}
    event = upserted(edited(MESH_CONFIG, {"metadata.annotations": {"copy": "x"}}))
    assert event.item.metadata.annotations == {"copy": "x"}


# --- ConfigMap ----------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [DROP, None, {}, {"mesh": None}, {"mesh": {"a": 1}}, "mesh", []])
def test_a_config_map_without_a_mesh_config_is_of_others(data: object) -> None:
    changes = {"data": data, "metadata": "of no shape either"}
    assert decode(edited(MESH_CONFIG, changes), origin=ORIGIN) is None


def test_a_mesh_config_is_read_from_the_text_that_it_is() -> None:
    spec = config(
        """
        accessLogFile: /dev/stdout
        accessLogEncoding: JSON
        enableTracing: false
        trustDomain: shop.example
        defaultConfig: &tracing
          tracing: {sampling: 12.5, zipkin: {address: zipkin:9411}}
        rootNamespace: istio-system
        """
    ).spec
    assert (spec.access_log_file, spec.access_log_encoding) == ("/dev/stdout", "JSON")
    assert (spec.enable_tracing, spec.trust_domain) == (False, "shop.example")
    assert spec.default_config == ProxyDefaults(tracing=Tracing(sampling=12.5))


@pytest.mark.parametrize("text", ["", "\n", "# nothing", "---\n", "{}", "null"])
def test_an_empty_mesh_config_is_istios_defaults(text: str) -> None:
    spec = config(text).spec
    assert (spec.access_log_file, spec.access_log_encoding) == ("", "TEXT")
    assert spec.enable_tracing
    assert spec.default_config == ProxyDefaults(tracing=Tracing())


@pytest.mark.parametrize("beside", ["", "accessLogFile: null\n"], ids=["fast", "walked"])
def test_no_tracing_is_not_the_default_of_it(beside: str) -> None:
    """A null elsewhere makes the object be walked; it is the same object."""
    for text, tracing in (
        ("{tracing: null}", None),
        ("{tracing: {}}", Tracing()),
        ("{}", Tracing()),
    ):
        found = config(f"{beside}defaultConfig: {text}").spec
        assert found.default_config == ProxyDefaults(tracing=tracing)
        assert found.access_log_file == ""


BOMB: Final = "\n".join(
    ["a: &a [x]", *(f"{n}: &{n} [{', '.join([f'*{m}'] * 10)}]" for m, n in pairwise("abcdef"))]
)


@pytest.mark.parametrize(
    ("text", "field", "message"),
    [
        (
            "accessLogEncoding: XML",
            "data.mesh.accessLogEncoding",
            "must be one of JSON, TEXT, is 'XML'",
        ),
        ("defaultConfig: {tracing: 1}", "data.mesh.defaultConfig.tracing", "must be an object"),
        (
            "defaultConfig: {tracing: {sampling: 101}}",
            "data.mesh.defaultConfig.tracing.sampling",
            "must be from 0 to 100, is 101",
        ),
        ("- a", "data.mesh", "must be an object, is a list"),
        ("word", "data.mesh", "must be an object, is a string"),
        ("a: 1\nb: 2\na: 3", "data.mesh", "line 3, column 1: duplicate key 'a'"),
        ("a: [", "data.mesh", "line 2, column 1"),
        ("a: 1\n---\nb: 2", "data.mesh", "has 2 YAML documents"),
        ("a: " + "[" * 101, "data.mesh", "nested more than 100 deep"),
        (BOMB, "data.mesh", "aliases repeat too much"),
        ("a: \x01", "data.mesh", "line 1, column 4"),
        ("a: \ud800", "data.mesh", "no text that UTF-8 could write"),
    ],
)
def test_a_fault_in_a_mesh_config_is_told_by_its_place_in_the_config_map(
    text: str, field: str, message: str
) -> None:
    ((where, said),) = rejected(edited(MESH_CONFIG, {"data.mesh": text}))
    assert where == field
    assert message in said


# --- what nobody learns -------------------------------------------------------------------------

CANARY: Final = "kanarienvogel"


def encoded(*, binary: bool = False) -> str:
    return base64.b64encode(CANARY.encode() + (b"\xff" if binary else b"")).decode()


SECRET_HEAD: Final = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n"
REDIS_HEAD: Final = (
    "apiVersion: redis.aeraki.io/v1alpha1\nkind: RedisService\nmetadata: {name: s}\n"
)
AUTH: Final = f"{REDIS_HEAD}spec:\n  host: [a.b]\n  settings:\n    auth: "
POOL: Final = (
    f"{REDIS_HEAD.replace('RedisService', 'RedisDestination')}"
    "spec: {host: a.b, trafficPolicy: {connectionPool: {redis: {auth: "
)
COPY: Final = f"""'{{"stringData": {{"password": "{CANARY}"}}}}'"""
GOOD: Final = {
    "text in a Secret": f"{SECRET_HEAD}stringData: {{password: {CANARY}}}",
    "base64 in a Secret": f"{SECRET_HEAD}data: {{password: {encoded()}}}",
    "a password": f"{AUTH}{{plain: {{password: {CANARY}}}}}",
    "a password of a destination": f"{POOL}{{plain: {{password: {CANARY}}}}}}}}}}}}}",
}
BAD: Final = {
    "binary": f"{SECRET_HEAD}data: {{password: {encoded(binary=True)}}}",
    "no base64": f"{SECRET_HEAD}data: {{password: {CANARY}!}}",
    "a list": f"{SECRET_HEAD}data: {{password: [{CANARY}]}}",
    "a map": f"{SECRET_HEAD}stringData: {{password: {{{CANARY}: {CANARY}}}}}",
    "no map": f"{SECRET_HEAD}data: {CANARY}",
    "a copy": f"{SECRET_HEAD.replace('name: s', f'name: s, annotations: {{a: {COPY}}}')}data: {{}}",
    "beside data": f"{SECRET_HEAD}password: {CANARY}\ndta: {{password: {CANARY}}}",
    "no space behind the colon": f"{SECRET_HEAD}stringData: {{password:{CANARY}}}",
    "a version that there is not": f"{SECRET_HEAD.replace('v1', 'v9')}data: {{password: {CANARY}}}",
    "no name": f"{SECRET_HEAD.replace('name', 'nom')}data: {{password: {CANARY}}}",
    "other metadata": f"{SECRET_HEAD.replace('name: s', 'name: [s]')}data: {{password: {CANARY}}}",
    "a tag": f"{SECRET_HEAD}stringData: {{password: !{CANARY} }}",
    "a tag like YAML's": f"{SECRET_HEAD}stringData: {{password: !!{CANARY} }}",
    "a tag of a map": f"{SECRET_HEAD}stringData: !{CANARY} {{password: a}}",
    "no number": f"{SECRET_HEAD}stringData: {{password: !!int {CANARY}}}",
    "an alias": f"{SECRET_HEAD}stringData: {{password: *{CANARY} }}",
    "an alias in itself": f"{SECRET_HEAD}stringData: &{CANARY} {{password: *{CANARY} }}",
    "a directive": f"{SECRET_HEAD}stringData: {{password: %{CANARY}}}",
    "an open quote": f'{SECRET_HEAD}stringData: {{password: "{CANARY}}}',
    "twice": f"{SECRET_HEAD}stringData: {{password: {CANARY}, password: {CANARY}}}",
    "a password that is a list": f"{AUTH}{{plain: {{password: [{CANARY}]}}}}",
    "a password that is a map": f"{AUTH}{{plain: {{password: {{a: {CANARY}}}}}}}",
    "plain that is a word": f"{AUTH}{{plain: {CANARY}}}",
    "auth that is a word": f"{AUTH}{CANARY}",
    "a misspelt field": f"{AUTH}{{plain: {{passwd: {CANARY}}}}}",
    "a password without a space": f"{AUTH}{{plain: {{username: u, password:{CANARY}}}}}",
    "another fault beside it": f"{AUTH}{{plain: {{password: {CANARY}}}, secret: {{}}}}",
    "a fault of shape beside it": f"{AUTH}{{plain: {{password: {CANARY}, username: [1]}}}}",
    "a misplaced field": f"{REDIS_HEAD}auth: {{plain: {{password: {CANARY}}}}}",
    "a destination's misspelt field": f"{POOL}{{plain: {{passwd: {CANARY}}}}}}}}}}}}}",
}


def printed(contents: Contents) -> str:
    """All that anybody could print of what was read, and what a log says of it."""
    with capture_logs() as logs:
        for claim in contents.claims:
            structlog.get_logger().warning("read", claim=claim, problems=claim.problems)
    outcomes: list[Outcome] = [
        one for said in contents.outcomes.values() if isinstance(said, tuple) for one in said
    ]
    problems = [*contents.problems, *(p for claim in contents.claims for p in claim.problems)]
    rendered = structlog.dev.ConsoleRenderer(colors=False)
    lines = [str(rendered(None, "warning", dict(entry))) for entry in logs]
    return "\n".join([repr(contents), repr(outcomes), *map(str, problems), *lines])


@pytest.mark.parametrize("text", [*GOOD.values(), *BAD.values()], ids=[*GOOD, *BAD])
def test_no_password_is_printed_whatever_is_wrong_with_its_manifest(text: str) -> None:
    contents = read_contents(text.encode(), origin=ORIGIN, decode=decode)
    assert contents.claims or contents.problems
    for word in (CANARY, encoded(), encoded(binary=True), f"{CANARY}!"):
        assert word not in printed(contents)


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD)
def test_a_password_is_there_for_who_asks_for_it(text: str) -> None:
    (claim,) = read_contents(text.encode(), origin=ORIGIN, decode=decode).claims
    assert isinstance(claim, Upsert)
    assert claim.problems == ()
    other = text.replace(CANARY, "other").replace(encoded(), "b3RoZXI=")
    (changed,) = read_contents(other.encode(), origin=ORIGIN, decode=decode).claims
    assert claim != changed
    if isinstance(claim.item, Secret):
        assert words(claim) == {"password": CANARY}
    if isinstance(claim.item, RedisService):
        auth = claim.item.spec.settings.auth if claim.item.spec.settings else None
        assert auth is not None
        assert auth.plain is not None
        assert auth.plain.password == Password(CANARY)


@pytest.mark.parametrize("cut", range(0, 120, 7))
def test_no_password_is_printed_of_json_that_is_cut_off(cut: int) -> None:
    whole = json.dumps({**SECRET, "stringData": {"password": CANARY, "more": [CANARY]}})
    contents = read_contents(whole[: len(whole) - cut].encode(), origin="a.json", decode=decode)
    assert contents.claims or contents.problems
    assert CANARY not in printed(contents)
