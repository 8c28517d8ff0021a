"""Turn the .proto files of this folder into the Python package ``aeraki_xds._proto``.

In: every ``*.proto`` below ``protos/``, whose folders are its proto package. Out: one module per
proto package, so ``envoy.config.route.v3`` becomes ``aeraki_xds._proto.envoy.config.route.v3``.
Google's well-known types come out beside them, as ``aeraki_xds._proto.google.protobuf``.

The same inputs and the versions pinned in the ``generate`` extra give the same bytes: files are
compiled in sorted order, in an empty folder with a ruff configuration of its own, because the
compiler formats with the ruff on the PATH and looks around in the current folder.

``--check`` writes nothing, shows what differs from the committed package, and exits with 1 if
anything does.
"""

from __future__ import annotations

import argparse
import difflib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PROTOS = Path(__file__).resolve().parent
PACKAGE = PROTOS.parent / "src" / "aeraki_xds" / "_proto"
# We serve RPCs ourselves (xds/wire), so there is neither a client nor a server to generate.
OPTIONS = "client_generation=none,server_generation=none"


def main() -> int:
    parser = argparse.ArgumentParser(description="Regenerate src/aeraki_xds/_proto from protos/.")
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 on a difference")
    check: bool = parser.parse_args().check
    with tempfile.TemporaryDirectory() as folder:
        generated = generate(Path(folder))
        if check:
            return report(differences(committed=tree(PACKAGE), generated=tree(generated)))
        shutil.rmtree(PACKAGE, ignore_errors=True)
        shutil.copytree(generated, PACKAGE)
    print(f"wrote {len(tree(PACKAGE))} files to {PACKAGE.relative_to(PROTOS.parent)}")
    return 0


def generate(work: Path) -> Path:
    """Compile everything into a new folder inside `work`, which must be empty, and return it."""
    sources = sorted(path.relative_to(PROTOS).as_posix() for path in PROTOS.rglob("*.proto"))
    if not sources:
        sys.exit(f"no .proto files below {PROTOS}")
    out = work / "out"
    out.mkdir()
    (work / "ruff.toml").touch()
    # The plugin and ruff are installed beside this interpreter, whether or not its venv is active.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    protoc = subprocess.run(
        [
            *(sys.executable, "-m", "grpc_tools.protoc"),
            f"--proto_path={PROTOS}",
            f"--python_betterproto2_out={out}",
            f"--python_betterproto2_opt={OPTIONS}",
            *sources,
        ],
        cwd=work,
        env={**os.environ, "PATH": path},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    # The plugin says "Writing …" per file; what is left are protoc's warnings and errors.
    messages = [line for line in protoc.stderr.splitlines() if not line.startswith("Writing ")]
    if messages:
        print("\n".join(messages), file=sys.stderr)
    if protoc.returncode != 0:
        sys.exit(protoc.returncode)
    return out


def tree(root: Path) -> dict[str, str]:
    """The text of every file below `root` by its relative path, without bytecode."""
    return {
        path.relative_to(root).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(root.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def differences(*, committed: dict[str, str], generated: dict[str, str]) -> list[str]:
    """A line for each file that is on one side only, a unified diff for each that differs."""
    lines: list[str] = []
    for name in sorted(committed.keys() | generated.keys()):
        if name not in committed:
            lines.append(f"missing: {name}")
        elif name not in generated:
            lines.append(f"not generated from any .proto: {name}")
        else:
            lines += difflib.unified_diff(
                committed[name].splitlines(),
                generated[name].splitlines(),
                fromfile=f"committed/{name}",
                tofile=f"generated/{name}",
                lineterm="",
            )
    return lines


def report(lines: list[str]) -> int:
    if not lines:
        return 0
    print("\n".join(lines))
    print("src/aeraki_xds/_proto is not what protos/ gives: run `make proto`.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
