"""Turn the .proto files of this folder into the Python package ``aeraki_xds._proto``.

In: every ``*.proto`` below ``protos/``, whose folders are its proto package. Out: one module per
proto package, so ``envoy.config.route.v3`` becomes ``aeraki_xds._proto.envoy.config.route.v3``.
Google's well-known types come out beside them, as ``aeraki_xds._proto.google.protobuf``.

Also out: ``aeraki_xds/xds/wire/descriptors.binpb``, a FileDescriptorSet of the RPCs that we serve,
for the reflection service. It is made from the official descriptors, not from our slice: who looks
a request up wants all of its fields. Left out are custom options and what is imported for them
alone, half of the bytes, and the RPCs that are not served.

The same inputs and the versions pinned in the ``generate`` extra give the same bytes: files are
compiled in sorted order, in an empty folder with a ruff configuration of its own, because the
compiler formats with the ruff on the PATH and looks around in the current folder.

``--check`` writes nothing, shows what differs from what is committed, and exits with 1 if
anything does.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool

PROTOS = Path(__file__).resolve().parent
PACKAGE = PROTOS.parent / "src" / "aeraki_xds" / "_proto"
# We serve RPCs ourselves (xds/wire), so there is neither a client nor a server to generate.
OPTIONS = "client_generation=none,server_generation=none"

DESCRIPTORS = PROTOS.parent / "src" / "aeraki_xds" / "xds" / "wire" / "descriptors.binpb"
# Official modules that hold a service of ours → the path of their .proto, where the module's own
# name for it differs, or None.
SERVED = {
    "envoy.service.cluster.v3.cds_pb2": None,
    "envoy.service.discovery.v3.ads_pb2": None,
    "envoy.service.endpoint.v3.eds_pb2": None,
    "envoy.service.extension.v3.config_discovery_pb2": None,
    "envoy.service.listener.v3.lds_pb2": None,
    "envoy.service.route.v3.rds_pb2": None,
    "envoy.service.runtime.v3.rtds_pb2": None,
    "envoy.service.secret.v3.sds_pb2": None,
    "envoy.service.status.v3.csds_pb2": None,
    "grpc_health.v1.health_pb2": "grpc/health/v1/health.proto",
    "grpc_reflection.v1alpha.reflection_pb2": "grpc/reflection/v1alpha/reflection.proto",
}
# Of the others, `Fetch…` (REST polling) is not served, as xds/wire/methods.py says.
POLLED = {"ClientStatusDiscoveryService"}
UNSERVED = {"VirtualHostDiscoveryService"}
KEPT_OPTIONS = ("deprecated", "map_entry", "packed")


def main() -> int:
    parser = argparse.ArgumentParser(description="Regenerate src/aeraki_xds/_proto from protos/.")
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 on a difference")
    check: bool = parser.parse_args().check
    with tempfile.TemporaryDirectory() as folder:
        generated = generate(Path(folder))
        described = describe()
        if check:
            lines = differences(committed=tree(PACKAGE), generated=tree(generated))
            if not DESCRIPTORS.exists() or DESCRIPTORS.read_bytes() != described:
                lines.append(f"differs: {DESCRIPTORS.relative_to(PROTOS.parent)}")
            return report(lines)
        shutil.rmtree(PACKAGE, ignore_errors=True)
        shutil.copytree(generated, PACKAGE)
        DESCRIPTORS.write_bytes(described)
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


def describe() -> bytes:
    """The FileDescriptorSet of what we serve and all that it needs, dependencies first."""
    files: dict[str, Any] = {}
    for module, path in SERVED.items():
        official = importlib.import_module(module).DESCRIPTOR
        file = described(official)
        if path:
            file.name = path
        for imported in file.dependency:
            add_with_imports(files, imported)
        files[file.name] = file
    # The two versions of reflection are the same but for the package.
    alpha = files["grpc/reflection/v1alpha/reflection.proto"].SerializeToString()
    stable = descriptor_pb2.FileDescriptorProto.FromString(alpha)
    stable.name = stable.name.replace("v1alpha", "v1")
    stable.package = stable.package.replace("v1alpha", "v1")
    for holder, field in type_references(stable):
        setattr(holder, field, getattr(holder, field).replace(".v1alpha.", ".v1."))
    stable.ClearField("options")  # v1alpha is deprecated
    files[stable.name] = stable
    result = descriptor_pb2.FileDescriptorSet(file=files.values())
    encoded: bytes = result.SerializeToString(deterministic=True)
    return encoded


def add_with_imports(files: dict[str, Any], name: str) -> None:
    if name not in files:
        file = described(descriptor_pool.Default().FindFileByName(name))
        for imported in file.dependency:
            add_with_imports(files, imported)
        files[name] = file


def described(official: Any) -> Any:
    """A file's descriptor without custom options, RPCs that we do not serve, and what it then no
    longer needs to import.
    """
    file = descriptor_pb2.FileDescriptorProto()
    official.CopyToProto(file)
    strip_options(file)
    services = [service for service in file.service if service.name not in UNSERVED]
    del file.service[:]
    file.service.extend(services)
    for service in file.service:
        if service.name not in POLLED:
            served = [m for m in service.method if not m.name.startswith("Fetch")]
            del service.method[:]
            service.method.extend(served)
    pool = descriptor_pool.Default()
    names = {getattr(holder, field).lstrip(".") for holder, field in type_references(file)}
    needed = {pool.FindFileContainingSymbol(name).name for name in names}
    kept = [name for name in file.dependency if name in needed]
    assert not file.extension
    assert needed - {official.name} == set(kept), "something comes through an `import public`"
    for field in ("dependency", "public_dependency", "weak_dependency"):
        file.ClearField(field)
    file.dependency.extend(kept)
    return file


def strip_options(message: Any) -> None:
    """Leave only the standard options that say how a field is written or that it is outdated."""
    for field, value in message.ListFields():
        if field.name == "options":
            kept = {
                name: getattr(value, name)
                for name in KEPT_OPTIONS
                if name in value.DESCRIPTOR.fields_by_name and value.HasField(name)
            }
            message.ClearField("options")
            if kept:
                message.options.CopyFrom(type(value)(**kept))
    for each in submessages(message):
        strip_options(each)


def type_references(message: Any) -> Iterator[tuple[Any, str]]:
    """Each place below `message` that names a type: who holds it and in which field."""
    for field in ("type_name", "input_type", "output_type"):
        if field in message.DESCRIPTOR.fields_by_name and getattr(message, field):
            yield message, field
    for each in submessages(message):
        yield from type_references(each)


def submessages(message: Any) -> Iterable[Any]:
    return [
        each
        for field, value in message.ListFields()
        if field.message_type is not None
        for each in ([value] if field.name == "options" else value)
    ]


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
    print("What is committed is not what is generated: run `make proto`.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
