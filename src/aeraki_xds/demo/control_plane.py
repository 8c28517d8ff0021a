"""`aeraki-xds serve` in a process of its own, for the length of an `async with` block."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, Final, Self

from aeraki_xds.demo.http import Address, fetch
from aeraki_xds.demo.process import python_module

POLL_S: Final = 0.01  # between questions to the admin port


class ControlPlane:
    """A running server; made by `ControlPlane.run` only."""

    def __init__(self, *, xds: Address, admin: Address, pid: int) -> None:
        self.xds = xds
        self.admin = admin
        self.pid = pid

    @classmethod
    @contextlib.asynccontextmanager
    async def run(
        cls,
        config_dir: Path | None,
        *,
        port: int = 0,
        options: Sequence[str] = (),
        module: str = "aeraki_xds",
    ) -> AsyncIterator[Self]:
        """Serve a folder, or what the further `options` of `serve` say; the ports are open when the
        block begins. `module` is what is run, for those that prepare the process first.
        """
        arguments = ["serve", "--log-level", "error"]
        arguments += ["--config-dir", str(config_dir)] if config_dir is not None else []
        arguments += ["--xds-address", f"127.0.0.1:{port}", "--admin-address", "127.0.0.1:0"]
        started = python_module(module, *arguments, *options, announces="serving ")
        async with started as (process, line):
            told = dict(word.partition("=")[::2] for word in line.split()[1:])
            yield cls(
                xds=Address.parse(told["xds"]),
                admin=Address.parse(told["admin"]),
                pid=process.pid,
            )

    async def get(self, path: str) -> Any:
        """A page of the admin port, decoded."""
        _, body = await asyncio.to_thread(fetch, self.admin, path)
        return json.loads(body)

    async def until(self, path: str, holds: Callable[[Any], bool], *, within_s: float) -> Any:
        """Ask for a page until it says what is waited for. Raises TimeoutError with the page."""
        page: Any = None
        try:
            async with asyncio.timeout(within_s):
                while not holds(page := await self.get(path)):
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            message = f"{path} does not say so within {within_s} s: {page}"
            raise TimeoutError(message) from None
        return page
