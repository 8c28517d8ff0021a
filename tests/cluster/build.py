"""etcd and kube-apiserver, built from their Go modules.

In: go/go.mod, which says what is built, with go.sum, which pins every byte of it. Out: two programs
in a folder of the cache, named after the version and the hash of those two files (`golang`).

    make test-cluster    # builds them first

Nobody publishes kube-apiserver as a package. Its module refers to some thirty others by a folder of
its own repository; go.mod says at which version each of them is published instead.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import golang

PACKAGES: Final = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
}
_FOLDER: Final = Path(__file__).parent / "go"


def version() -> str:
    """The version of Kubernetes that go.mod names, as `v1.2.3`."""
    found = re.search(r"k8s\.io/kubernetes (v[\d.]+)", (_FOLDER / "go.mod").read_text())
    assert found, "go.mod names no version of k8s.io/kubernetes"
    return found[1]


def module() -> golang.Module:
    """What is built; the server says its version."""
    number = version()
    major, minor, _ = number.removeprefix("v").split(".")
    named = {"gitVersion": number, "gitMajor": major, "gitMinor": minor}
    return golang.Module(
        name=f"kubernetes-{number}",
        folder=_FOLDER,
        programs=PACKAGES,
        minutes="all in all 10 to 30 minutes",
        constants={f"k8s.io/component-base/version.{k}": v for k, v in named.items()},
    )


def programs() -> Path:
    """The folder of the two programs, built or not."""
    return module().built


def main() -> None:
    """The command."""
    try:
        toolchain = golang.installed_or_fetched(golang.needed(_FOLDER))
        golang.say(f"etcd and kube-apiserver: {module().build(toolchain)}")
    except subprocess.CalledProcessError as failure:
        sys.exit(golang.failed(failure))


if __name__ == "__main__":
    main()
