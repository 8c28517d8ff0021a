"""The demo's mesh as a folder: `examples/thrift-canary` with this run's ports, and edits of it.

In: where the real servers are. Out: files that `aeraki-xds serve` watches. Every write is an
editor's: a new file, closed, renamed over the old one.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

HOST: Final = "hello.demo.svc.cluster.local"
PORT_NAME: Final = "tcp-metaprotocol-thrift"
ROUTER_FILE: Final = "router.yaml"

Object = dict[str, Any]


def example() -> Path:
    """The example's folder: in the package when installed, else in the source tree."""
    installed = Path(__file__).parent / "examples" / "thrift-canary"
    in_source = Path(__file__).parents[3] / "examples" / "thrift-canary"
    return installed if installed.is_dir() else in_source


def free_port(host: str) -> int:
    """A port that nobody listened on a moment ago."""
    with socket.create_server((host, 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


class HelloMesh:
    """One Thrift service, its subsets and its router. `endpoints`: subset → port on loopback."""

    def __init__(self, root: Path, *, vip: str, endpoints: Mapping[str, int]) -> None:
        self.root = root
        self.vip = vip
        self.port = free_port(vip)
        self._service = _load("service.yaml")
        self._subsets = _load("subsets.yaml")
        self._router = _load(ROUTER_FILE)
        self._service["spec"]["addresses"] = [vip]
        self._service["spec"]["ports"][0]["number"] = self.port
        root.mkdir(parents=True, exist_ok=True)
        self.write("service.yaml", self.service(endpoints))
        self.write("subsets.yaml", self.subsets(endpoints))
        self.write(ROUTER_FILE, self._router)

    @property
    def cluster(self) -> str:
        """The service's own cluster, which names its counters too."""
        return f"outbound|{self.port}||{HOST}"

    def service(self, endpoints: Mapping[str, int]) -> Object:
        """The ServiceEntry with these endpoints, one per subset."""
        listed = [
            {"address": "127.0.0.1", "labels": {"version": version}, "ports": {PORT_NAME: port}}
            for version, port in endpoints.items()
        ]
        return {**self._service, "spec": {**self._service["spec"], "endpoints": listed}}

    def subsets(self, versions: Sequence[str] | Mapping[str, int]) -> Object:
        """The DestinationRule with a subset per version."""
        listed = [{"name": version, "labels": {"version": version}} for version in versions]
        return {**self._subsets, "spec": {"host": HOST, "subsets": listed}}

    def router(self, *routes: Object) -> Object:
        """The MetaRouter with these routes."""
        return {**self._router, "spec": {"hosts": [HOST], "routes": list(routes)}}

    def route(self, *routes: Object) -> float:
        """Write the router with these routes; returns when it was in place (perf_counter)."""
        return self.write(ROUTER_FILE, self.router(*routes))

    def write(self, name: str, *objects: Object) -> float:
        """Replace a file; returns the moment before the new one was in place (perf_counter)."""
        draft = self.root / f".{name}.new"
        draft.write_text(yaml.safe_dump_all(objects, sort_keys=False), encoding="utf-8")
        written = time.perf_counter()
        os.replace(draft, self.root / name)
        return written


def to(subset: str, weight: int = 100) -> Object:
    """A weighted destination of the service."""
    return {"destination": {"host": HOST, "subset": subset}, "weight": weight}


def rule(*destinations: Object, name: str = "", method: str = "") -> Object:
    """A route; with `method` only for calls of that method."""
    made: Object = {"name": name} if name else {}
    if method:
        made["match"] = {"attributes": {"method": {"exact": method}}}
    return {**made, "route": list(destinations)}


def _load(name: str) -> Object:
    loaded: Object = yaml.safe_load((example() / name).read_text(encoding="utf-8"))
    return loaded
