"""A real Kubernetes API server on loopback: etcd and kube-apiserver, without controllers and nodes.

    with Real.started(folder) as real:
        …        # a client: real.client(), or any with the file of real.kubeconfig(path)

In: the programs of `build`. Out: a server with RBAC and schemas, its data in etcd, an audit log.
Guaranteed: it answers when the block begins; both processes are gone when it is left, or when this
process dies. Left out is all that a controller manager does: a namespace that is deleted stays, and
service accounts are made by hand.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import aiohttp
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from aeraki_xds.demo.process import leashed
from tests.apiserver.kit import Client
from tests.cluster.build import PACKAGES, programs

START: Final = 180.0
"""Seconds for a server to answer; it takes 6 on an idle machine."""

STOP: Final = 10.0
"""Seconds between SIGTERM and SIGKILL. The server mostly needs 2, and would wait for 60."""

ADMIN: Final = "admin"  # the token of who may do everything
AUDIT: Final = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "Metadata"}]}


class NotBuiltError(RuntimeError):
    """The programs are not there."""


class Real:
    """The server; made by `Real.started` only. `url` stays the same over a restart."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._programs = programs()
        missing = [name for name in PACKAGES if not (self._programs / name).exists()]
        if missing:
            raise NotBuiltError(f"{missing} not built: make test-cluster does that")
        self._etcd_port, self._etcd_peer, port = _free_ports(3)
        self.url: Final = f"https://127.0.0.1:{port}"
        self._port = port
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    @classmethod
    @contextmanager
    def started(cls, folder: Path) -> Iterator[Real]:
        """One with its data in the folder. Raises NotBuiltError, and RuntimeError with the log of
        what does not start.
        """
        real = cls(folder)
        try:
            real._start_etcd()
            real._spawn_server()
            real._wait("kube-apiserver", real._is_ready)
            yield real
        finally:
            for name in list(real._running):
                real._stop(name)

    # --- a client's view ------------------------------------------------------------------------

    @property
    def context(self) -> ssl.SSLContext:
        """TLS that trusts the server and nobody else."""
        return ssl.create_default_context(cafile=self._certificate)

    @asynccontextmanager
    async def client(self, token: str = ADMIN) -> AsyncIterator[Client]:
        """A client that keeps its connections."""
        async with aiohttp.ClientSession(
            self.url,
            headers={"Authorization": f"Bearer {token}"},
            connector=aiohttp.TCPConnector(ssl=self.context),
            read_bufsize=16 << 20,
        ) as session:
            yield Client(session)

    def kubeconfig(self, path: Path, *, token: str = ADMIN, url: str | None = None) -> Path:
        """Write a kubeconfig: for this server, or for a proxy in front of it."""
        named = {"name": "test"}
        cluster = {"server": url or self.url, "certificate-authority": str(self._certificate)}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [named | {"cluster": cluster}],
            "users": [named | {"user": {"token": token}}],
            "contexts": [named | {"context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        }
        path.write_text(yaml.safe_dump(content))
        return path

    # --- what happens behind it -----------------------------------------------------------------

    def compact(self) -> None:
        """Forget every revision but the newest. What the server has in the cache of its watches it
        still knows, until it is restarted.
        """
        note = self._etcd("put", {"key": "bm90ZQ=="})  # so that all of Kubernetes' are older
        self._etcd("compaction", {"revision": note["header"]["revision"], "physical": True})

    @asynccontextmanager
    async def down(self) -> AsyncIterator[None]:
        """No API server in the block, and the same one after it, on the same data. Raises
        RuntimeError with the log of one that does not start.
        """
        await asyncio.to_thread(self._stop, "kube-apiserver")
        yield
        self._spawn_server()  # here: a leashed process ends with the thread that it was started in
        await asyncio.to_thread(self._wait, "kube-apiserver", self._is_ready)

    def calls(self, user: str) -> list[dict[str, Any]]:
        """What a user asked for and was answered, in order; a watch as soon as it is open. The
        entries are those of the audit log.
        """
        found: dict[str, dict[str, Any]] = {}
        for line in (self._folder / "audit.log").read_bytes().splitlines():
            entry = json.loads(line)
            if entry["user"]["username"] == user and "responseStatus" in entry:
                found[entry["auditID"]] = entry
        return list(found.values())

    # --- the processes --------------------------------------------------------------------------

    @property
    def _certificate(self) -> Path:
        return self._folder / "certificates" / "apiserver.crt"

    def _written(self) -> Path:
        """The files that the server is started with; they stay the same over a restart."""
        files = self._folder / "files"
        if not files.exists():
            files.mkdir()
            (files / "tokens.csv").write_text(f"{ADMIN},admin,1,system:masters\n")
            (files / "audit.yaml").write_text(yaml.safe_dump(AUDIT))
            key = ec.generate_private_key(ec.SECP256R1()).private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.TraditionalOpenSSL,
                serialization.NoEncryption(),
            )
            (files / "accounts.pem").write_bytes(key)
        return files

    def _start_etcd(self) -> None:
        client = f"http://127.0.0.1:{self._etcd_port}"
        peer = f"http://127.0.0.1:{self._etcd_peer}"
        self._spawn(
            "etcd",
            f"--data-dir={self._folder}/etcd",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
        )
        self._wait("etcd", lambda: "header" in self._etcd("range", {"key": "AA=="}))

    def _spawn_server(self) -> None:
        files = self._written()
        self._spawn(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self._port}",
            f"--cert-dir={self._folder}/certificates",
            "--endpoint-reconciler-type=none",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--authorization-mode=RBAC",
            f"--token-auth-file={files / 'tokens.csv'}",
            f"--service-account-key-file={files / 'accounts.pem'}",
            f"--service-account-signing-key-file={files / 'accounts.pem'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--disable-admission-plugins=ServiceAccount",
            f"--audit-policy-file={files / 'audit.yaml'}",
            f"--audit-log-path={self._folder}/audit.log",
            "--audit-log-mode=blocking-strict",
        )

    def _spawn(self, name: str, *options: str) -> None:
        with self._log(name).open("ab") as log:
            self._running[name] = subprocess.Popen(
                leashed([str(self._programs / name), *options]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def _wait(self, name: str, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START
        while time.monotonic() < deadline and self._running[name].poll() is None:
            with suppress(OSError, http.client.HTTPException):
                if holds():
                    return
            time.sleep(0.05)
        tail = self._log(name).read_text(errors="replace")[-3000:]
        raise RuntimeError(f"{name} is not up after {START} s or has ended:\n{tail}")

    def _is_ready(self) -> bool:
        asked = urllib.request.Request(
            f"{self.url}/readyz", headers={"Authorization": f"Bearer {ADMIN}"}
        )
        with suppress(urllib.error.HTTPError), self._opened(asked, context=self.context) as answer:
            return bool(answer.status == 200)
        return False

    def _etcd(self, method: str, body: object) -> Any:
        """A call of etcd's, as its JSON gateway has them."""
        asked = urllib.request.Request(
            f"http://127.0.0.1:{self._etcd_port}/v3/kv/{method}", json.dumps(body).encode()
        )
        with self._opened(asked) as answer:
            return json.load(answer)

    @staticmethod
    def _opened(asked: urllib.request.Request, **more: Any) -> Any:
        return urllib.request.urlopen(asked, timeout=10, **more)

    def _stop(self, name: str) -> None:
        process = self._running.pop(name)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_ports(count: int) -> list[int]:
    """Ports that nobody has now."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
