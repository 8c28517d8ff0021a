"""Aeraki's command line: what each flag and variable becomes."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

import pytest

from aeraki_xds import cli
from aeraki_xds.cli.arguments import (
    ALWAYS,
    SETTINGS,
    Here,
    Listen,
    LogLevel,
    Meaningless,
    Option,
    Refused,
    Setting,
    Switch,
    arguments_of,
    main,
)
from aeraki_xds.errors import ConfigurationError

PAGE: Final = Path(__file__).parents[1] / "docs" / "migrating-from-aeraki.md"
SOURCES: Final = [source for setting in SETTINGS for source in setting.sources]

FLAGS: Final = """
master enable-envoy-filter-namespace-scope aeraki-xds-address aeraki-xds-port istiod-address
istiod-configMap-name root-namespace cluster-id config-store-secret election-id server-id log-level
domain httpsAddr httpAddr log_output_level log_target log_rotate log_rotate_max_size
log_rotate_max_age log_rotate_max_backups log_as_json log_stacktrace_level log_caller
"""
"""Specification §5.1."""

VARIABLES: Final = """
AERAKI_XDS_ADDR AERAKI_XDS_PORT AERAKI_ISTIOD_ADDR AERAKI_NAMESPACE AERAKI_CLUSTER_ID
AERAKI_ISTIO_CONFIG_STORE_SECRET AERAKI_LOG_LEVEL POD_NAME ROOT_CA_DIR
CITADEL_SELF_SIGNED_CA_CERT_TTL CITADEL_SELF_SIGNED_CA_RSA_KEY_SIZE DEFAULT_WORKLOAD_CERT_TTL
MAX_WORKLOAD_CERT_TTL CITADEL_SELF_SIGNED_ROOT_CERT_CHECK_INTERVAL
CITADEL_SELF_SIGNED_ROOT_CERT_GRACE_PERIOD_PERCENTILE CITADEL_ENABLE_JITTER_FOR_ROOT_CERT_ROTATOR
EXTERNAL_CA AERAKI_IS_MASTER AERAKI_ENABLE_ENVOY_FILTER_NS_SCOPE AERAKI_SERVER_ID
AERAKI_ISTIOD_CONFIGMAP_NAME
"""
"""Specification §5.2."""

DEFAULTS: Final = (
    *ALWAYS,
    "--master",
    *("--root-namespace", "istio-system", "--istio-namespace", "istio-system"),
    *("--xds-address", ":15010", "--http-address", ":8080"),
    *("--domain", "cluster.local", "--mesh-config", "istio", "--log-level", "info"),
)


def test_every_flag_and_variable_of_aeraki_has_a_place_and_only_one() -> None:
    assert sorted(SOURCES) == sorted([f"--{flag}" for flag in FLAGS.split()] + VARIABLES.split())


def test_aeraki_without_arguments_is_served_with_its_own_defaults() -> None:
    translated = arguments_of([], {})
    assert translated.arguments == DEFAULTS
    assert translated.notes == ()


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_a_command_of_ours_is_passed_through_untouched(command: str) -> None:
    argv = [command, "--master=false", "--whatever", "-x"]
    translated = arguments_of(argv, {"AERAKI_NAMESPACE": "mesh", "ROOT_CA_DIR": "/ca"})
    assert translated.arguments == tuple(argv)
    assert translated.notes == ()


CHANGED: Final[dict[str, tuple[str, dict[str, str | None]]]] = {
    "--master": ("false", {"--master": None, "--no-master": ""}),
    "--enable-envoy-filter-namespace-scope": (
        "true",
        {"--enable-envoy-filter-namespace-scope": ""},
    ),
    "AERAKI_NAMESPACE": ("mesh", {"--root-namespace": "mesh", "--istio-namespace": "mesh"}),
    "--root-namespace": ("mesh", {"--root-namespace": "mesh", "--istio-namespace": "mesh"}),
    "AERAKI_XDS_PORT": (":16010", {"--xds-address": ":16010"}),
    "--aeraki-xds-port": (":16010", {"--xds-address": ":16010"}),
    "--httpAddr": ("127.0.0.1:81", {"--http-address": "127.0.0.1:81"}),
    "--domain": ("mesh.local", {"--domain": "mesh.local"}),
    "--istiod-configMap-name": ("istio-canary", {"--mesh-config": "istio-canary"}),
    "AERAKI_ISTIO_CONFIG_STORE_SECRET": ("far", {"--config-store-secret": "far"}),
    "--config-store-secret": ("far", {"--config-store-secret": "far"}),
    "--server-id": ("one", {"--server-id": "one"}),
    "POD_NAME": ("aeraki-0", {"--server-id": "aeraki-0"}),
    "AERAKI_LOG_LEVEL": ("all:debug", {"--log-level": "debug"}),
    "--log-level": ("all:warn", {"--log-level": "warning"}),
    "--log_output_level": ("default:error", {"--log-level": "error"}),
    "--log_as_json": ("true", {"--log-format": "json"}),
}
"""What each that means something becomes; the rest stays as without it. None is gone."""


@pytest.mark.parametrize("source", CHANGED)
def test_what_means_something_here_becomes_our_option_and_changes_no_other(source: str) -> None:
    value, changed = CHANGED[source]
    translated = arguments_of(*said(source, value))
    assert translated.notes == ()
    expected = {**options(DEFAULTS), **changed}
    assert options(translated.arguments) == {
        name: value for name, value in expected.items() if value is not None
    }


def said(source: str, value: str) -> tuple[list[str], dict[str, str]]:
    if source.startswith("--"):
        return [f"{source}={value}"], {}
    return [], {source: value}


def options(arguments: tuple[str, ...]) -> dict[str, str]:
    """Our options with their values."""
    text = " ".join(arguments[1:])
    found = re.findall(r"(--[\w-]+)(?: (?!--)(\S+))?", text)
    assert len(dict(found)) == len(found), "an option is given twice"
    return dict(found)


MEANINGLESS: Final = [
    source
    for setting in SETTINGS
    if isinstance(setting.here, Meaningless)
    for source in setting.sources
]


@pytest.mark.parametrize("source", MEANINGLESS)
def test_what_means_nothing_here_is_accepted_and_noted_with_the_reason(source: str) -> None:
    translated = arguments_of(*said(source, "7"))
    assert translated.arguments == DEFAULTS
    (note,) = translated.notes
    assert note.startswith(f"{source} means nothing here: ")


def test_a_source_is_mapped_noted_or_refused() -> None:
    assert set(SOURCES) == {*CHANGED, *MEANINGLESS, "ROOT_CA_DIR"}


def test_a_ca_that_somebody_relies_on_is_refused_and_aerakis_default_is_not() -> None:
    assert arguments_of([], {"ROOT_CA_DIR": "./etc/cacerts"}).arguments == DEFAULTS
    with pytest.raises(ConfigurationError, match=r"ROOT_CA_DIR is '/ca': .*--tls-dir"):
        arguments_of([], {"ROOT_CA_DIR": "/ca"})


@pytest.mark.parametrize(
    ("argv", "environment", "wanted"),
    [
        (["--root-namespace=a"], {"AERAKI_NAMESPACE": "b"}, {"--root-namespace": "b"}),
        (["--root-namespace=a"], {"AERAKI_NAMESPACE": ""}, {"--root-namespace": "a"}),
        (["--server-id=a"], {"POD_NAME": "b"}, {"--server-id": "a"}),
        (["--log-level=all:warn", "--log_output_level=all:debug"], {}, {"--log-level": "warning"}),
        (["--log-level=all:warn"], {"AERAKI_LOG_LEVEL": "all:error"}, {"--log-level": "error"}),
        (["--aeraki-xds-port=:1"], {"AERAKI_XDS_PORT": ":2"}, {"--xds-address": ":2"}),
        (["--config-store-secret="], {}, {"--domain": "cluster.local"}),
    ],
)
def test_a_variable_wins_over_its_flag_unless_it_is_empty(
    argv: list[str], environment: dict[str, str], wanted: dict[str, str]
) -> None:
    assert wanted.items() <= options(arguments_of(argv, environment).arguments).items()


@pytest.mark.parametrize(
    ("argv", "wanted"),
    [
        (["-domain", "a"], {"--domain": "a"}),
        (["--domain", "a"], {"--domain": "a"}),
        (["-domain=a"], {"--domain": "a"}),
        (["--domain=a=b"], {"--domain": "a=b"}),
        (["--domain=a", "--domain=b"], {"--domain": "b"}),
        (["--domain", "--master=0"], {"--domain": "--master=0", "--master": ""}),
        (["--master"], {"--master": ""}),
        (["--master", "-domain", "a"], {"--master": "", "--domain": "a"}),
        (["-master=T"], {"--master": ""}),
        (["--master=1"], {"--master": ""}),
        (["-master=0"], {"--no-master": ""}),
        (["--master=False"], {"--no-master": ""}),
        (["--log_as_json=f"], {"--log-format": "text"}),
    ],
)
def test_flags_are_read_as_go_reads_them(argv: list[str], wanted: dict[str, str]) -> None:
    arguments = arguments_of(argv, {}).arguments
    for name, value in wanted.items():
        assert name in arguments
        assert not value or arguments[arguments.index(name) + 1] == value


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["--mater"], "flag provided but not defined: -mater"),
        (["-kubernetes"], "flag provided but not defined: -kubernetes"),
        (["--domain"], "flag needs an argument: -domain"),
        (["--master=no"], 'invalid boolean value "no" for -master'),
        (["--master="], 'invalid boolean value "" for -master'),
        (["---domain=a"], "bad flag syntax: ---domain=a"),
        (["--=a"], "bad flag syntax: --=a"),
        (["--aeraki-xds-port=15010"], "--aeraki-xds-port is '15010': write an address"),
        (["--httpAddr=:web"], "--httpAddr is ':web': write an address"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_to_write(argv: list[str], reason: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(reason)):
        arguments_of(argv, {})


@pytest.mark.parametrize("argv", [["aeraki", "--master=false"], ["--", "--master=false"], ["-"]])
def test_words_behind_which_aeraki_reads_no_flags_are_noted(argv: list[str]) -> None:
    """Its Helm chart repeats the path of the binary, and so none of the chart's flags is read."""
    translated = arguments_of(argv, {})
    assert translated.arguments == DEFAULTS
    assert len(translated.notes) == 1


@pytest.mark.parametrize("flag", ["-h", "-help", "--help"])
def test_help_is_ours(flag: str) -> None:
    assert arguments_of(["--domain=a", flag, "--mater"], {}).arguments == ("serve", "--help")


@pytest.mark.parametrize(
    ("text", "level", "noted"),
    [
        ("all:none", "error", 0),
        ("all:fatal", "error", 0),
        ("debug", "debug", 0),
        ("all:info,dubbo-controller:debug", "info", 1),
        ("xds-server:debug", "info", 1),
        ("all:loud", "info", 1),
    ],
)
def test_of_istios_levels_by_scope_that_of_all_is_ours(text: str, level: str, noted: int) -> None:
    translated = arguments_of([f"--log-level={text}"], {})
    assert options(translated.arguments)["--log-level"] == level
    assert len(translated.notes) == noted


def test_the_manifest_of_aeraki_starts_us_as_it_is() -> None:
    """What its installation sets (specification §6.1)."""
    argv = [
        "--master=true",
        "--enable-envoy-filter-namespace-scope=false",
        "--log_output_level=all:info",
        "--log_rotate=/home/aeraki_run.log",
    ]
    environment = {
        "AERAKI_IS_MASTER": "true",
        "AERAKI_ISTIOD_ADDR": "istiod.istio-system:15010",
        "AERAKI_ENABLE_ENVOY_FILTER_NS_SCOPE": "false",
        "AERAKI_CLUSTER_ID": "",
        "AERAKI_ISTIO_CONFIG_STORE_SECRET": "",
        "AERAKI_XDS_ADDR": "aeraki.istio-system",
        "AERAKI_XDS_PORT": ":15010",
        "AERAKI_LOG_LEVEL": "all:info",
        "AERAKI_SERVER_ID": "aeraki-7f",
        "AERAKI_NAMESPACE": "istio-system",
        "POD_NAME": "aeraki-7f",
    }
    translated = arguments_of(argv, environment)
    assert options(translated.arguments) == {**options(DEFAULTS), "--server-id": "aeraki-7f"}
    assert {note.split()[0] for note in translated.notes} == {
        "--log_rotate",
        "AERAKI_IS_MASTER",
        "AERAKI_ISTIOD_ADDR",
        "AERAKI_ENABLE_ENVOY_FILTER_NS_SCOPE",
        "AERAKI_XDS_ADDR",
        "AERAKI_SERVER_ID",
    }


def test_the_entry_point_says_what_it_makes_of_its_arguments_and_runs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(cli, "main", lambda: ran.append(sys.argv))
    monkeypatch.setattr(sys, "argv", ["aeraki", "--election-id=a", "--domain", "mesh local"])
    main()
    assert ran == [["aeraki-xds", *arguments_of(["--domain=mesh local"], {}).arguments]]
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "aeraki: --election-id means nothing here" in printed.err
    assert "aeraki: this is aeraki-xds serve --kubernetes" in printed.err
    assert "--domain 'mesh local'" in printed.err


def test_the_entry_point_ends_with_one_line_when_it_cannot_read_its_arguments(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["aeraki", "--mater"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == "aeraki: flag provided but not defined: -mater\n"


def test_the_page_about_migrating_has_these_rows() -> None:
    rows = [
        line
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if re.match(r"\| `(--|[A-Z_]+`)", line)
    ]
    assert rows == [row(setting) for setting in SETTINGS]


def row(setting: Setting) -> str:
    sources = ", ".join(f"`{source}`" for source in setting.sources)
    default = f"`{setting.default}`" if setting.default else ""
    return f"| {sources} | {default} | {told(setting.here)} |"


def told(here: Here) -> str:
    match here:
        case Option(names=names):
            return ", ".join(f"`{name}`" for name in names)
        case Listen(name=name):
            return f"`{name}`"
        case Switch(on=on, off=off):
            return " or ".join(f"`{word}`" for word in (on, off) if word)
        case LogLevel():
            return "`--log-level`, of the level of `all`"
        case Meaningless(because=because):
            return f"nothing: {because}"
        case Refused(instead=instead):
            return f"refused: {instead}"
