"""The command line as scripts use it: what goes where, exit codes, and a server at work."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import structlog
import yaml
from click.testing import CliRunner

from aeraki_xds import __version__
from aeraki_xds.cli import cli, main
from aeraki_xds.translate.envoyfilter.profile import Mend
from aeraki_xds.xds.resource import CLUSTER, ENDPOINTS, HTTP_ROUTES, LISTENER, THRIFT_ROUTES
from tests.translate.envoyfilter.kit import service as kubernetes_service

EXAMPLE: Final = Path(__file__).parent.parent / "examples" / "thrift-canary"
ROUTE: Final = "hello.demo.svc.cluster.local_9090"
PATIENCE: Final = 20.0
"""Seconds that a process may take on a busy machine before the test fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """Its standard output, by line."""
        return self.out.splitlines()


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    """A command configures logging for its own standard error, which ends with the test."""
    yield
    structlog.reset_defaults()


def run(*arguments: str | Path, env: dict[str, str] | None = None) -> Result:
    """A command, in this process."""
    result = CliRunner().invoke(cli, [str(each) for each in arguments], env=env)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Result(code=result.exit_code, out=result.stdout, err=result.stderr)


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run the entry point, which has to end with status 2; returns the one line that it says."""

    def failed(*arguments: str | Path) -> str:
        monkeypatch.setattr(sys, "argv", ["aeraki-xds", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        said = capsys.readouterr()
        assert said.out == ""
        (line,) = said.err.splitlines()
        return line

    return failed


@pytest.fixture
def mesh(tmp_path: Path) -> Path:
    """A copy of the example that a test may break."""
    return Path(shutil.copytree(EXAMPLE, tmp_path / "mesh"))


def edit(file: Path, old: str, new: str) -> None:
    """Replace a text in a file; it has to be there."""
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def cluster(subset: str = "") -> str:
    return f"outbound|9090|{subset}|hello.demo.svc.cluster.local"


# --- validate ---------------------------------------------------------------------------------


def test_validate_says_nothing_about_valid_files_but_a_count_on_the_side() -> None:
    assert run("validate", EXAMPLE) == Result(
        code=0, out="", err="3 objects, 0 errors, 0 warnings\n"
    )


def test_validate_takes_files_as_well() -> None:
    result = run("validate", EXAMPLE / "service.yaml", EXAMPLE / "subsets.yaml")
    assert (result.code, result.err) == (0, "2 objects, 0 errors, 0 warnings\n")


def test_validate_names_file_object_field_and_what_is_wrong(mesh: Path) -> None:
    edit(mesh / "router.yaml", "subset: v1", "subset: v9")
    result = run("validate", mesh)
    assert result.code == 1
    assert result.lines == [
        f"{mesh}/router.yaml: MetaRouter/demo/hello: "
        "spec.routes[0].route[0].destination.subset: no DestinationRule of "
        "hello.demo.svc.cluster.local has the subset 'v9'; known: v1, v2"
    ]
    assert result.err == "3 objects, 1 error, 0 warnings\n"


def test_validate_reports_every_problem_one_a_line(mesh: Path) -> None:
    edit(mesh / "router.yaml", "name: everything-to-v1", "nmae: everything-to-v1")
    edit(mesh / "service.yaml", "127.20.0.1", "127.20.0.300")
    result = run("validate", mesh)
    assert result.code == 1
    form = re.compile(r"^[^ ]+\.yaml: (MetaRouter|ServiceEntry)/demo/hello: spec\.[^ ]+: .+")
    assert len(result.lines) == 2
    assert all(form.match(line) for line in result.lines)


def test_validate_reports_a_file_that_is_no_yaml(mesh: Path) -> None:
    (mesh / "bad.yaml").write_text("kind: [\n")
    result = run("validate", mesh)
    assert result.code == 1
    assert len(result.lines) == 1
    assert result.lines[0].startswith(f"{mesh}/bad.yaml: line ")


def test_validate_reports_two_routers_of_one_host(mesh: Path) -> None:
    text = (mesh / "router.yaml").read_text()
    (mesh / "second.yaml").write_text(text.replace("name: hello\n", "name: second\n"))
    result = run("validate", mesh)
    assert result.code == 1
    (line,) = result.lines
    assert line.startswith(f"{mesh}/second.yaml: MetaRouter/demo/second: spec.hosts[0]: conflict")


def test_a_warning_is_marked_and_is_no_failure(mesh: Path) -> None:
    edit(mesh / "service.yaml", "127.20.0.1", "10.20.0.1")
    result = run("validate", mesh)
    assert result.code == 0
    (line,) = result.lines
    assert ": warning: " in line
    assert result.err == "3 objects, 0 errors, 1 warning\n"


def test_validate_reads_short_names_in_the_domain_that_it_is_told() -> None:
    result = run("validate", EXAMPLE, "--domain", "mesh.test")
    assert result.code == 1
    assert "hello.demo.svc.mesh.test" in result.out


# --- translate --------------------------------------------------------------------------------


def translated(*arguments: str | Path) -> dict[str, Any]:
    result = run("translate", *arguments, "-o", "json")
    assert result.code == 0, result.err
    loaded: dict[str, Any] = json.loads(result.out)
    return loaded


def test_translate_prints_all_outputs_with_sorted_keys() -> None:
    result = run("translate", EXAMPLE, "-o", "json")
    assert result.err == "3 objects, 0 errors, 0 warnings\n"
    loaded = json.loads(result.out)
    assert list(loaded) == ["ads", "envoyfilters", "metards"]
    assert [each["metadata"]["name"] for each in loaded["envoyfilters"]] == [
        "aeraki-inbound-hello.demo.svc.cluster.local-9090",
        "aeraki-outbound-hello.demo.svc.cluster.local-127.20.0.1-9090",
    ]
    assert list(loaded["metards"]) == [ROUTE]
    assert {type_url: list(named) for type_url, named in loaded["ads"].items()} == {
        CLUSTER: [cluster("v1"), cluster("v2"), cluster()],
        ENDPOINTS: [cluster("v1"), cluster("v2"), cluster()],
        LISTENER: ["127.20.0.1_9090"],
        THRIFT_ROUTES: [ROUTE],
    }
    assert loaded["ads"][THRIFT_ROUTES][ROUTE]["routes"] == [
        {"match": {"methodName": ""}, "route": {"cluster": cluster("v1")}}
    ]


def test_translate_prints_the_same_as_yaml() -> None:
    result = run("translate", EXAMPLE)
    loaded = yaml.safe_load(result.out)
    assert loaded == translated(EXAMPLE)
    assert list(loaded) == sorted(loaded)


@pytest.mark.parametrize("target", ["metards", "ads"])
def test_translate_prints_only_what_it_was_asked_for(target: str) -> None:
    assert list(translated(EXAMPLE, "--to", target)) == [target]


def test_translate_twice_prints_the_same_bytes() -> None:
    assert run("translate", EXAMPLE).out == run("translate", EXAMPLE).out


def test_translate_of_invalid_files_prints_what_is_left_and_the_problems_beside_it(
    mesh: Path,
) -> None:
    edit(mesh / "router.yaml", "subset: v1", "subset: v9")
    result = run("translate", mesh, "-o", "json")
    assert result.code == 1
    loaded = json.loads(result.out)
    assert loaded["metards"] == {}
    assert set(loaded["ads"]) == {CLUSTER, ENDPOINTS}
    problem, count = result.err.splitlines()
    assert problem.startswith(f"{mesh}/router.yaml: MetaRouter/demo/hello: spec.routes[0]")
    assert count == "3 objects, 1 error, 0 warnings"


def test_translate_for_a_node_shows_what_that_proxy_sees(mesh: Path, tmp_path: Path) -> None:
    edit(mesh / "service.yaml", "  - 127.20.0.1", "  - 10.20.0.1")
    node = tmp_path / "node.json"
    node.write_text(json.dumps({"id": "e", "metadata": {"AERAKI_BIND": "127.0.0.7"}}))
    assert LISTENER not in translated(mesh, "--to", "ads")["ads"]
    shown = translated(mesh, "--to", "ads", "--node", node)["ads"]
    assert list(shown[LISTENER]) == ["127.0.0.7_9090"]


def test_translate_for_a_node_of_another_namespace_leaves_out_what_is_not_exported(
    mesh: Path, tmp_path: Path
) -> None:
    edit(mesh / "service.yaml", "  hosts:", "  exportTo: ['.']\n  hosts:")
    node = tmp_path / "node.yaml"
    for namespace, sees in (("demo", True), ("other", False)):
        node.write_text(f"id: e\nmetadata: {{NAMESPACE: {namespace}}}\n")
        shown = translated(mesh, "--to", "ads", "--node", node)["ads"]
        assert (LISTENER in shown) is sees


# --- EnvoyFilters -----------------------------------------------------------------------------

OUTBOUND: Final = "aeraki-outbound-orders.shop.svc.cluster.local-10.0.0.1-9090"
INBOUND: Final = "aeraki-inbound-orders.shop.svc.cluster.local-9090"
REDIS: Final = f"""
{kubernetes_service("cache", "tcp-redis", number=6379, address="10.0.0.2")}
---
apiVersion: v1
kind: Secret
metadata: {{name: cache, namespace: shop}}
stringData: {{password: open-sesame}}
---
apiVersion: redis.aeraki.io/v1alpha1
kind: RedisService
metadata: {{name: cache, namespace: shop}}
spec: {{host: [cache.shop.svc.cluster.local], settings: {{auth: {{secret: {{name: cache}}}}}}}}
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A service whose pods listen on another port than its clients call."""
    (tmp_path / "orders.yaml").write_text(kubernetes_service(target=8080))
    return tmp_path


def filters(*arguments: str | Path) -> dict[str, dict[str, Any]]:
    """The EnvoyFilters by `namespace/name`."""
    loaded = translated(*arguments, "--to", "envoyfilter")
    assert list(loaded) == ["envoyfilters"]
    named = {
        (each["metadata"]["namespace"], each["metadata"]["name"]): each
        for each in loaded["envoyfilters"]
    }
    return {"/".join(name): each for name, each in named.items()}


def inbound_port(*arguments: str | Path) -> int:
    (patch,) = filters(*arguments)[f"istio-system/{INBOUND}"]["spec"]["configPatches"]
    port: int = patch["match"]["listener"]["filterChain"]["destinationPort"]
    return port


def differences(*arguments: str | Path) -> dict[str, Any]:
    return translated(*arguments, "--diff")


def test_translate_prints_envoyfilters_as_a_list_of_objects_with_sorted_keys(shop: Path) -> None:
    def is_sorted(pairs: list[tuple[str, object]]) -> dict[str, object]:
        assert [key for key, _ in pairs] == sorted(key for key, _ in pairs)
        return dict(pairs)

    result = run("translate", shop, "--to", "envoyfilter", "-o", "json")
    loaded = json.loads(result.out, object_pairs_hook=is_sorted)
    assert [each["metadata"]["name"] for each in loaded["envoyfilters"]] == [INBOUND, OUTBOUND]
    for each in loaded["envoyfilters"]:
        assert (each["apiVersion"], each["kind"]) == ("networking.istio.io/v1alpha3", "EnvoyFilter")
        assert each["metadata"]["labels"] == {"manager": "Aeraki"}
    assert yaml.safe_load(run("translate", shop, "--to", "envoyfilter").out) == loaded


@pytest.mark.parametrize(
    ("options", "port"),
    [
        ("", 9090),
        ("--profile aeraki-1.4", 9090),
        ("--profile current", 8080),
        ("--with target-port", 8080),
        ("--with log-newline --with target-port", 8080),
        ("--profile current --without target-port", 9090),
        ("--profile current --without log-newline", 8080),
        ("--with target-port --without target-port", 9090),
    ],
)
def test_a_profile_with_more_and_without_some_says_how_filters_are_made(
    shop: Path, options: str, port: int
) -> None:
    assert inbound_port(shop, *options.split()) == port


def test_leaving_out_a_mend_that_the_profile_lacks_changes_nothing(shop: Path) -> None:
    assert filters(shop, "--without", "target-port") == filters(shop)
    current = (shop, "--profile", "current")
    assert filters(*current, "--without", "opt-in") == filters(*current)


@pytest.mark.parametrize(
    ("options", "inline"),
    [
        ("", True),
        ("--redis-auth file", False),
        ("--redis-auth inline", True),
        ("--profile current", False),
        ("--profile current --redis-auth inline", True),
    ],
)
def test_where_passwords_of_redis_are_is_said_by_the_profile_or_an_option(
    shop: Path, options: str, inline: bool
) -> None:
    (shop / "redis.yaml").write_text(REDIS)
    result = run("translate", shop, "--to", "envoyfilter", *options.split())
    assert result.code == 0
    assert "cache.shop.svc.cluster.local" in result.out
    assert ("open-sesame" in result.out) is inline


def test_filters_can_be_put_into_the_namespaces_of_the_services(shop: Path) -> None:
    scoped = filters(shop, "--enable-envoy-filter-namespace-scope")
    assert sorted(scoped) == [f"shop/{INBOUND}", f"shop/{OUTBOUND}"]


def test_a_difference_is_told_of_each_mend_of_the_current_profile_and_of_all(shop: Path) -> None:
    (shop / "redis.yaml").write_text(REDIS)
    told = differences(shop)
    mends = {mend.value for mend in Mend} - {"opt-in"}
    assert {*told["differences"], *told["without effect"]} == {
        *mends,
        "redis-auth=file",
        "all together",
    }
    assert told["differences"]["target-port"] == {
        "listeners": 2,
        "clusters": 0,
        "created": 0,
        "changed": 1,
        "deleted": 0,
    }
    assert told["differences"]["redis-auth=file"]["changed"] > 0
    assert "log-newline" in told["without effect"]
    whole = told["differences"]["all together"]
    assert whole["changed"] >= max(each["changed"] for each in told["differences"].values())


@pytest.mark.parametrize(
    ("options", "told", "silent"),
    [
        ("--with target-port", ["all together", "target-port"], []),
        (
            "--with target-port --with log-newline",
            ["all together", "target-port"],
            ["log-newline"],
        ),
        ("--redis-auth file", ["all together", "redis-auth=file"], []),
    ],
)
def test_a_difference_is_told_of_what_is_asked_for_alone(
    shop: Path, options: str, told: list[str], silent: list[str]
) -> None:
    (shop / "redis.yaml").write_text(REDIS)
    found = differences(shop, *options.split())
    assert list(found["differences"]) == told
    assert found["without effect"] == silent


def test_in_namespace_scope_the_difference_is_to_aerakis_filters_there(shop: Path) -> None:
    scope = "--enable-envoy-filter-namespace-scope"
    found = differences(shop, scope, "--with", "outbound-everywhere")
    moved = {"listeners": 1, "clusters": 0, "created": 1, "changed": 0, "deleted": 1}
    assert found == {
        "differences": {"all together": moved, "outbound-everywhere": moved},
        "without effect": [],
    }
    whole = differences(shop, scope)["differences"]["all together"]
    assert (whole["created"], whole["deleted"]) == (1, 1)


def test_a_difference_of_invalid_files_says_so_and_ends_with_1(shop: Path) -> None:
    (shop / "bad.yaml").write_text("kind: [\n")
    result = run("translate", shop, "--diff")
    assert result.code == 1
    assert f"{shop}/bad.yaml" in result.err


def test_validate_checks_for_the_output_that_it_is_told(shop: Path) -> None:
    """What is said of filters is no business of a mesh without Istio, and the reverse."""
    (shop / "orders.yaml").write_text(kubernetes_service(target="rpc"))
    to_filters = ("validate", shop, "--to", "envoyfilter")
    mended = run(*to_filters, "--with", "target-port")
    assert mended.code == 0
    assert any("no inbound filter; write the number" in line for line in mended.lines)
    assert not any("no inbound filter" in line for line in run(*to_filters).lines)
    assert not any("inbound filter" in line for line in run("validate", shop).lines)


def test_validate_for_envoyfilters_leaves_routes_to_those_who_serve_them(mesh: Path) -> None:
    edit(mesh / "router.yaml", "subset: v1", "subset: v9")
    assert run("validate", mesh, "--to", "envoyfilter").code == 0
    assert run("validate", mesh, "--to", "all").code == 1


@pytest.mark.parametrize("option", ["--profile", "--with", "--without", "--redis-auth", "--to"])
@pytest.mark.parametrize("command", ["validate", "translate"])
def test_a_word_that_an_option_does_not_know_ends_with_2(
    shop: Path, command: str, option: str
) -> None:
    result = run(command, shop, option, "nonsense")
    assert (result.code, result.out) == (2, "")
    assert option in result.err


# --- bootstrap --------------------------------------------------------------------------------


def bootstrap(*arguments: str) -> dict[str, Any]:
    result = run("bootstrap", "--node", "envoy-1", *arguments, "-o", "json")
    assert (result.code, result.err) == (0, "")
    loaded: dict[str, Any] = json.loads(result.out)
    return loaded


def test_bootstrap_prints_who_the_proxy_is_and_where_we_are() -> None:
    made = bootstrap("--xds-address", "10.0.0.1:15010", "--proxy-admin", "127.0.0.1:19000")
    assert made["node"] == {"id": "envoy-1", "cluster": "aeraki"}
    assert made["admin"]["address"]["socket_address"] == {
        "address": "127.0.0.1",
        "port_value": 19000,
    }
    ads = made["dynamic_resources"]["ads_config"]
    assert ads["api_type"] == "GRPC"
    assert ads["set_node_on_first_message_only"] is True
    (ours,) = made["static_resources"]["clusters"]
    assert ours["type"] == "STATIC"
    assert "10.0.0.1" in json.dumps(ours)
    assert "transport_socket" not in ours


def test_bootstrap_prints_yaml_unless_told_otherwise() -> None:
    result = run("bootstrap", "--node", "envoy-1")
    assert yaml.safe_load(result.out) == bootstrap()


def test_bootstrap_speaks_delta_when_told() -> None:
    assert bootstrap("--delta")["dynamic_resources"]["ads_config"]["api_type"] == "DELTA_GRPC"


def test_bootstrap_looks_a_name_up() -> None:
    (ours,) = bootstrap("--xds-address", "aeraki.istio-system:15010")["static_resources"][
        "clusters"
    ]
    assert ours["type"] == "STRICT_DNS"


def test_bootstrap_takes_metadata() -> None:
    made = bootstrap("--metadata", "NAMESPACE=shop", "--metadata", "LABEL=a=b")
    assert made["node"]["metadata"] == {"NAMESPACE": "shop", "LABEL": "a=b"}


def test_bootstrap_connects_with_certificates_when_told() -> None:
    made = bootstrap("--mtls", "--certs-dir", "/my/certs", "--server-name", "aeraki.test")
    (ours,) = made["static_resources"]["clusters"]
    tls = ours["transport_socket"]["typed_config"]
    assert tls["sni"] == "aeraki.test"
    context = tls["common_tls_context"]
    (files,) = context["tls_certificates"]
    assert files["private_key"] == {"filename": "/my/certs/key.pem"}
    assert files["certificate_chain"] == {"filename": "/my/certs/cert-chain.pem"}
    validation = context["validation_context"]
    assert validation["trusted_ca"] == {"filename": "/my/certs/root-cert.pem"}
    assert validation["match_typed_subject_alt_names"] == [
        {"san_type": "DNS", "matcher": {"exact": "aeraki.test"}}
    ]


# --- what cannot be carried out ---------------------------------------------------------------


def test_an_error_of_ours_is_one_line(fail: Callable[..., str]) -> None:
    line = fail("bootstrap", "--node", "e", "--metadata", "nonsense")
    assert line == "aeraki-xds: --metadata 'nonsense': write KEY=VALUE"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1]", "must hold a mapping"),
        ("{", "not YAML or JSON"),
        ("metadata: 1", "node.metadata must be a mapping"),
        ("metadata: {AERAKI_BIND: nowhere}", "AERAKI_BIND is 'nowhere'"),
    ],
)
def test_a_node_file_that_cannot_be_used_is_one_line(
    fail: Callable[..., str], tmp_path: Path, text: str, words: str
) -> None:
    node = tmp_path / "node.yaml"
    node.write_text(text)
    assert words in fail("translate", EXAMPLE, "--node", node)


@pytest.mark.parametrize(
    "arguments",
    [
        ["validate"],
        ["validate", "no-such-path"],
        ["translate", str(EXAMPLE), "--to", "envoyfilters"],
        ["bootstrap"],
        ["serve"],
        ["serve", "--config-dir", ".", "--xds-address", "nonsense"],
        ["dance"],
    ],
)
def test_a_command_line_that_makes_no_sense_ends_with_2_and_says_why(
    arguments: list[str],
) -> None:
    result = run(*arguments)
    assert (result.code, result.out) == (2, "")
    assert "Error: " in result.err


def test_the_version_is_the_package_s() -> None:
    result = run("--version")
    assert (result.code, result.out) == (0, f"aeraki-xds, version {__version__}\n")


def test_every_command_has_help() -> None:
    listed = run("--help")
    for command in ("serve", "status", "validate", "translate", "bootstrap"):
        assert command in listed.out
        assert run(command, "-h").code == 0


# --- serve ------------------------------------------------------------------------------------


class Serving:
    """A server process, and where it says that it serves."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.log: list[str] = []
        assert process.stderr is not None
        self._reader = threading.Thread(target=self.log.extend, args=(process.stderr,))
        self._reader.start()
        assert process.stdout is not None
        self.announced = process.stdout.readline()
        addresses = re.fullmatch(
            r"serving xds=127\.0\.0\.1:(\d+) admin=127\.0\.0\.1:(\d+)\n", self.announced
        )
        assert addresses, (self.announced, self.log)
        self.xds, self.admin = int(addresses[1]), int(addresses[2])

    def page(self, path: str) -> tuple[int, Any]:
        """An admin page: its status and its JSON."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}{path}") as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as failure:
            with failure:
                return failure.code, json.load(failure)

    def until(self, condition: Callable[[], bool]) -> None:
        """Ask again and again, for another process tells no one when it is done."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, self.log
            time.sleep(0.01)

    def is_ready(self) -> bool:
        """Whether every source is synced."""
        return self.page("/readyz")[0] == 200

    def routed_to(self) -> str:
        """The cluster that the first route of the example names."""
        _, pages = self.page("/debug/resources?scope=global")
        routes = pages["scopes"]["global"][HTTP_ROUTES][ROUTE]["resource"]["virtualHosts"][0]
        cluster: str = routes["routes"][0]["route"]["cluster"]
        return cluster

    def end(self, how: signal.Signals) -> int:
        """Ask the process to end; returns its status."""
        self.process.send_signal(how)
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        """Leave nothing behind, whatever happened."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "aeraki_xds", *map(str, arguments)]


@contextmanager
def serving(folder: Path, *arguments: str) -> Iterator[Serving]:
    """A server of a folder on ports of its own."""
    process = subprocess.Popen(
        command(
            "serve",
            "--config-dir",
            folder,
            "--xds-address",
            "127.0.0.1:0",
            "--admin-address",
            "127.0.0.1:0",
            *arguments,
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    server: Serving | None = None
    try:
        server = Serving(process)
        yield server
    finally:
        if server is not None:
            server.close()
        elif process.poll() is None:
            process.kill()
            process.communicate()


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_serve_says_where_gets_ready_reloads_an_edited_file_and_ends_when_told(
    mesh: Path,
) -> None:
    with serving(mesh) as server:
        server.until(server.is_ready)
        assert server.page("/healthz") == (200, {"status": "ok"})
        assert server.routed_to() == cluster("v1")
        socket.create_connection(("127.0.0.1", server.xds), timeout=PATIENCE).close()

        edit(mesh / "router.yaml", "subset: v1", "subset: v2")
        server.until(lambda: server.routed_to() == cluster("v2"))

        edit(mesh / "router.yaml", "subset: v2", "subset: v9")
        server.until(lambda: bool(server.page("/debug/rejections")[1]["rejections"]))
        assert server.routed_to() == cluster("v2")

        assert server.end(signal.SIGTERM) == 0
        assert server.process.stdout is not None
        assert server.process.stdout.read() == ""
    assert not any("Traceback" in line for line in server.log)
    assert all(json.loads(line) for line in server.log)


def test_serve_of_a_folder_that_is_not_there_waits_for_it(tmp_path: Path) -> None:
    with serving(tmp_path / "later", "--log-format", "text") as server:
        server.until(lambda: bool(server.page("/readyz")[1]["sources"]))
        (source,) = server.page("/readyz")[1]["sources"].values()
        server.until(
            lambda: bool(next(iter(server.page("/readyz")[1]["sources"].values()))["stale"])
        )
        assert source["synced"] is False
        assert not server.is_ready()
        shutil.copytree(EXAMPLE, tmp_path / "later")
        server.until(server.is_ready)
        assert server.end(signal.SIGINT) == 0


@pytest.mark.parametrize(("flag", "what"), [("--xds-address", "xDS"), ("--admin-address", "admin")])
def test_serve_on_a_taken_port_is_one_line_and_exit_2(flag: str, what: str) -> None:
    other = "--admin-address" if flag == "--xds-address" else "--xds-address"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = subprocess.run(
            command("serve", "--config-dir", EXAMPLE, flag, address, other, "127.0.0.1:0"),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    assert ended.returncode == 2
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"aeraki-xds: cannot serve {what} on {address}: ")
    assert "in use" in line


def test_settings_can_come_from_the_environment(tmp_path: Path) -> None:
    ended = run("serve", env={"AERAKI_SERVE_CONFIG_DIR": ".", "AERAKI_SERVE_XDS_ADDRESS": "x"})
    assert ended.code == 2
    assert "AERAKI_SERVE_XDS_ADDRESS" in ended.err or "'x' is not HOST:PORT" in ended.err


def test_plaintext_is_served_to_other_machines_only_when_one_says_so(
    fail: Callable[..., str], tmp_path: Path
) -> None:
    line = fail("serve", "--config-dir", tmp_path, "--xds-address", "0.0.0.0:0")
    assert "--xds-address 0.0.0.0:0" in line
    assert "--allow-plaintext" in line
