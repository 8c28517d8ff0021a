"""Aeraki's own command line and environment, read as arguments of `aeraki-xds serve`.

In: the arguments and the environment of a container that ran Aeraki 1.4. Out: our arguments, and
notes about what was said and means nothing here. Guaranteed: pure; everything that Aeraki knows
has a row in SETTINGS, nothing is passed over in silence, and what it does not know is refused in
the words of Go's flag package. Here so that an image can take the place of Aeraki's with no change
to its manifest. Rows follow specification §5.1 and §5.2; docs/migrating-from-aeraki.md shows them.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, assert_never

import click

from aeraki_xds import cli
from aeraki_xds.errors import ConfigurationError
from aeraki_xds.settings import Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """The value is that of our options."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """The value is an address to listen on, and that of our option."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """True or false are our words; none is our default."""

    on: str | None
    off: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLevel:
    """The value is Istio's list of scopes and levels; we have one level for all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaningless:
    """Accepted, and noted with what there is in its place."""

    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Ignoring it would leave out what somebody relies on. The default asks for nothing."""

    instead: str


Here = Option | Listen | Switch | LogLevel | Meaningless | Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Something that Aeraki can be told. The first source that says something wins, as there."""

    sources: tuple[str, ...]
    """Flags, with their two hyphens, and environment variables."""
    here: Here
    default: str = ""
    """Aeraki's own, which holds for us as well; empty where it is nothing."""
    is_bool: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Translated:
    """Our arguments, and what to say about those that were given."""

    arguments: tuple[str, ...]
    notes: tuple[str, ...] = ()


_TO_STDERR: Final = Meaningless(because="logs go to standard error, for the cluster to collect")
_NO_CA: Final = Meaningless(because="no CA is kept here; istiod signs our certificate")

SETTINGS: Final = (
    Setting(
        sources=("--master",),
        default="true",
        is_bool=True,
        here=Switch(on="--master", off="--no-master"),
    ),
    Setting(
        sources=("--enable-envoy-filter-namespace-scope",),
        default="false",
        is_bool=True,
        here=Switch(on="--enable-envoy-filter-namespace-scope", off=None),
    ),
    Setting(
        sources=("AERAKI_NAMESPACE", "--root-namespace"),
        default="istio-system",
        here=Option(names=("--root-namespace", "--istio-namespace")),
    ),
    Setting(
        sources=("AERAKI_XDS_PORT", "--aeraki-xds-port"),
        default=":15010",
        here=Listen(name="--xds-address"),
    ),
    Setting(sources=("--httpAddr",), default=":8080", here=Listen(name="--http-address")),
    Setting(sources=("--domain",), default="cluster.local", here=Option(names=("--domain",))),
    Setting(
        sources=("--istiod-configMap-name",),
        default="istio",
        here=Option(names=("--mesh-config",)),
    ),
    Setting(
        sources=("AERAKI_ISTIO_CONFIG_STORE_SECRET", "--config-store-secret"),
        here=Option(names=("--config-store-secret",)),
    ),
    Setting(sources=("--server-id", "POD_NAME"), here=Option(names=("--server-id",))),
    Setting(
        sources=("AERAKI_LOG_LEVEL", "--log-level", "--log_output_level"),
        default="all:info",
        here=LogLevel(),
    ),
    Setting(
        sources=("--log_as_json",),
        is_bool=True,
        here=Switch(on="--log-format json", off="--log-format text"),
    ),
    Setting(
        sources=("AERAKI_XDS_ADDR", "--aeraki-xds-address"),
        here=Meaningless(
            because="the bootstrap ConfigMap, into which it went, is not written; the one that "
            "Aeraki wrote stays, and `aeraki-xds bootstrap` prints one"
        ),
    ),
    Setting(
        sources=("AERAKI_ISTIOD_ADDR", "--istiod-address"),
        here=Meaningless(because="objects are read from the Kubernetes API, not from istiod"),
    ),
    Setting(
        sources=("AERAKI_CLUSTER_ID", "--cluster-id"),
        here=Meaningless(because="it named the cluster to clients that do not exist here"),
    ),
    Setting(
        sources=("--election-id",),
        here=Meaningless(because="Aeraki itself never used it; the names of its locks are kept"),
    ),
    Setting(
        sources=("--httpsAddr",),
        here=Meaningless(
            because="there is no admission webhook; the definitions in deploy/crds have rules, and "
            "`/debug/rejections` shows what they do not see"
        ),
    ),
    Setting(sources=("--log_target",), here=_TO_STDERR),
    Setting(sources=("--log_rotate",), here=_TO_STDERR),
    Setting(sources=("--log_rotate_max_size",), here=_TO_STDERR),
    Setting(sources=("--log_rotate_max_age",), here=_TO_STDERR),
    Setting(sources=("--log_rotate_max_backups",), here=_TO_STDERR),
    Setting(
        sources=("--log_stacktrace_level",),
        here=Meaningless(because="a line has a traceback where one helps"),
    ),
    Setting(sources=("--log_caller",), here=Meaningless(because="a line names its logger")),
    Setting(
        sources=("AERAKI_IS_MASTER",),
        here=Meaningless(because="Aeraki itself never read it; write `--master=false`"),
    ),
    Setting(
        sources=("AERAKI_ENABLE_ENVOY_FILTER_NS_SCOPE",),
        here=Meaningless(
            because="Aeraki itself never read it; write `--enable-envoy-filter-namespace-scope`"
        ),
    ),
    Setting(
        sources=("AERAKI_SERVER_ID",),
        here=Meaningless(because="Aeraki itself never read it; write `--server-id` or `POD_NAME`"),
    ),
    Setting(
        sources=("AERAKI_ISTIOD_CONFIGMAP_NAME",),
        here=Meaningless(because="Aeraki itself never read it; write `--istiod-configMap-name`"),
    ),
    Setting(
        sources=("ROOT_CA_DIR",),
        default="./etc/cacerts",
        here=Refused(
            instead="no CA key is read here: remove it and let istiod sign our certificate, or "
            "mount one that this CA signed and run `serve --kubernetes --tls-dir DIR`"
        ),
    ),
    Setting(sources=("CITADEL_SELF_SIGNED_CA_CERT_TTL",), here=_NO_CA),
    Setting(sources=("CITADEL_SELF_SIGNED_CA_RSA_KEY_SIZE",), here=_NO_CA),
    Setting(sources=("DEFAULT_WORKLOAD_CERT_TTL",), here=_NO_CA),
    Setting(sources=("MAX_WORKLOAD_CERT_TTL",), here=_NO_CA),
    Setting(sources=("CITADEL_SELF_SIGNED_ROOT_CERT_CHECK_INTERVAL",), here=_NO_CA),
    Setting(sources=("CITADEL_SELF_SIGNED_ROOT_CERT_GRACE_PERIOD_PERCENTILE",), here=_NO_CA),
    Setting(sources=("CITADEL_ENABLE_JITTER_FOR_ROOT_CERT_ROTATOR",), here=_NO_CA),
    Setting(
        sources=("EXTERNAL_CA",),
        here=Meaningless(because="Aeraki itself reads it and does nothing with it"),
    ),
)

CERTIFICATES: Final = "/var/run/secrets/istio"
"""Where Aeraki reads the roots of the mesh; our certificate is to be there as well."""

ALWAYS: Final = (
    *("serve", "--kubernetes", "--profile", "aeraki-1.4", "--tenancy", "warn"),
    *("--tls-dir", CERTIFICATES),
)
"""What running in the place of Aeraki is: its output, and what it admits admitted."""

_IS_BOOL: Final = {
    source.removeprefix("--"): setting.is_bool
    for setting in SETTINGS
    for source in setting.sources
    if source.startswith("--")
}
_BOOLS: Final = {  # as Go's strconv.ParseBool
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), "true"),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), "false"),
}
_LEVELS: Final = {
    "debug": "debug",
    "info": "info",
    "warn": "warning",
    "error": "error",
    "fatal": "error",
    "none": "error",
}


def arguments_of(argv: Sequence[str], environment: Mapping[str, str]) -> Translated:
    """What to run `aeraki-xds` with. A subcommand of ours is passed through with all that follows.

    Raises ConfigurationError that names the flag or variable and says what to write.
    """
    if argv and argv[0] in cli.COMMANDS:
        return Translated(arguments=tuple(argv))
    flags, rest = _flags(argv)
    if "--help" in flags:
        return Translated(arguments=("serve", "--help"))
    said = {**environment, **flags}
    arguments = list(ALWAYS)
    notes = [f"{shlex.join(rest)} is not read: Aeraki reads no flags behind a word"] if rest else []
    for setting in SETTINGS:
        given = [(source, said[source]) for source in setting.sources if said.get(source)]
        source, value = given[0] if given else (setting.sources[0], setting.default)
        match setting.here:
            case Option(names=names):
                arguments += [word for name in names if value for word in (name, value)]
            case Listen(name=name):
                arguments += [name, _address(source, value)]
            case Switch(on=on, off=off):
                chosen = {"true": on, "false": off}.get(value)
                arguments += chosen.split() if chosen else []
            case LogLevel():
                arguments += ["--log-level", _level(value)]
                notes += _other_scopes(source, value)
            case Meaningless(because=because):
                notes += [f"{name} means nothing here: {because}" for name, _ in given]
            case Refused(instead=instead):
                if value != setting.default:
                    message = f"{source} is {value!r}: {instead}"
                    raise ConfigurationError(message)
            case _:
                assert_never(setting.here)
    return Translated(arguments=tuple(arguments), notes=tuple(notes))


def _flags(argv: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """What Go's flag package reads: flags with their values, the last of each, and the words from
    the first that is none."""
    flags: dict[str, str] = {}
    words = list(argv)
    while words and words[0].startswith("-") and words[0] != "-":
        word = words.pop(0)
        if word == "--":
            break
        name, equals, value = word.removeprefix("-").removeprefix("-").partition("=")
        if not name or name.startswith("-"):
            message = f"bad flag syntax: {word}"
            raise ConfigurationError(message)
        if name in ("h", "help"):
            return {"--help": "true"}, []
        if name not in _IS_BOOL:
            message = f"flag provided but not defined: -{name}"
            raise ConfigurationError(message)
        if _IS_BOOL[name]:
            value = _bool(name, value if equals else "true")
        elif not equals:
            if not words:
                message = f"flag needs an argument: -{name}"
                raise ConfigurationError(message)
            value = words.pop(0)
        flags[f"--{name}"] = value
    return flags, words


def _bool(name: str, text: str) -> str:
    if text not in _BOOLS:
        message = f'invalid boolean value "{text}" for -{name}: write true or false'
        raise ConfigurationError(message)
    return _BOOLS[text]


def _address(source: str, text: str) -> str:
    try:
        Address.parse(text)
    except ValueError:
        message = f"{source} is {text!r}: write an address to listen on, such as :15010"
        raise ConfigurationError(message) from None
    return text


def _scopes(text: str) -> Iterator[tuple[str, str]]:
    """`all:info,dubbo-controller:debug`; a level by itself is for all."""
    for part in text.split(","):
        scope, _, level = part.strip().rpartition(":")
        yield scope if scope not in ("", "default") else "all", level


def _level(text: str) -> str:
    return _LEVELS.get(dict(_scopes(text)).get("all", "info"), "info")


def _other_scopes(source: str, text: str) -> Iterator[str]:
    for scope, level in _scopes(text):
        if scope != "all":
            yield f"{source}: {scope}:{level} means nothing here: there is one level, that of all"
        elif level not in _LEVELS:
            yield f"{source}: {level!r} is no level ({', '.join(_LEVELS)}): info is used"


def main() -> None:
    """The image's entry point: `aeraki`. Says on standard error what it makes of its arguments."""
    try:
        translated = arguments_of(sys.argv[1:], os.environ)
    except ConfigurationError as failure:
        click.echo(f"aeraki: {failure}", err=True)
        sys.exit(2)
    for note in translated.notes:
        click.echo(f"aeraki: {note}", err=True)
    click.echo(f"aeraki: this is aeraki-xds {shlex.join(translated.arguments)}", err=True)
    sys.argv = ["aeraki-xds", *translated.arguments]
    cli.main()
