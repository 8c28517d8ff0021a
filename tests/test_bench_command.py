"""`aeraki-xds bench`: a real server under a load, and what is wrong with what was asked."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner

from aeraki_xds.cli import cli, main
from aeraki_xds.demo.control_plane import ControlPlane
from aeraki_xds.demo.mesh import HelloMesh

NAME: Final = "hello.demo.svc.cluster.local_{port}"


def refused(*arguments: str) -> str:
    result = CliRunner().invoke(cli, ["bench", "--target", "127.0.0.1:1", *arguments])
    assert result.exit_code == 2, result.output
    return result.output


async def bench(plane: ControlPlane, *arguments: str) -> tuple[int, str, str]:
    """The command, as a process."""
    target = f"{plane.xds.host}:{plane.xds.port}"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "aeraki_xds", "bench", "--target", target, *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_a_server_is_measured_while_its_files_change(tmp_path: Path) -> None:
    mesh = HelloMesh(tmp_path / "mesh", vip="127.31.1.9", endpoints={"v1": 1, "v2": 1})
    router = mesh.root / "router.yaml"
    change = tmp_path / "change.sh"
    change.write_text(
        f'sed "s/name: .*-to-v1/name: round-$AERAKI_BENCH_ROUND-to-v1/" {router} > {tmp_path}/new'
        f" && mv {tmp_path}/new {router}\n"
    )
    name = NAME.format(port=mesh.port)
    async with ControlPlane.run(mesh.root) as plane:
        await plane.until("/readyz", lambda page: page["status"] == "ready", within_s=20)
        status, out, err = await bench(
            plane, "--streams", "20", "--per-connection", "4", "--name", name, "--rounds", "2",
            "--pid", str(plane.pid), "--change", f"sh {change}", "--stalled", "1", "--json",
        )  # fmt: skip
    assert status == 0, err
    found = json.loads(out)
    assert found["load"]["streams"] == 20
    assert found["load"]["deaf"] == 1
    assert len(found["figures"]["timed"]) == len(found["figures"]["costs"]) == 2
    assert found["figures"]["kb_grown"] > 0


async def test_without_a_change_it_is_the_storm_that_is_measured(tmp_path: Path) -> None:
    mesh = HelloMesh(tmp_path / "mesh", vip="127.31.1.9", endpoints={"v1": 1})
    async with ControlPlane.run(mesh.root) as plane:
        await plane.until("/readyz", lambda page: page["status"] == "ready", within_s=20)
        status, out, _ = await bench(plane, "--streams", "6", "--type", "cds", "--ads", "--delta",
                                     "--node", "envoy")  # fmt: skip
        assert status == 0
        assert "6 streams of Cluster on 6 connections, delta, plaintext, node: envoy" in out
        assert "everybody served after" in out
        assert "change →" not in out
        status, _, err = await bench(plane, "--streams", "2", "--name", "nobody", "--patience", "1")
    assert status == 2
    assert "0 of 2 streams were served in 1 s" in err


async def test_a_change_that_fails_is_said(tmp_path: Path) -> None:
    mesh = HelloMesh(tmp_path / "mesh", vip="127.31.1.9", endpoints={"v1": 1})
    async with ControlPlane.run(mesh.root) as plane:
        await plane.until("/readyz", lambda page: page["status"] == "ready", within_s=20)
        name = NAME.format(port=mesh.port)
        status, _, err = await bench(plane, "--streams", "1", "--name", name, "--change", "exit 3")
    assert status == 2
    assert "'exit 3' ended with status 3" in err


def test_nobody_at_the_target_is_an_error_of_ours(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["bench", "--target", "127.0.0.1:1", "--type", "cds", "--streams", "1"]
    monkeypatch.setattr(sys, "argv", ["aeraki-xds", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "Connection refused" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--type", "rds"), "rds has no wildcard: what is asked for?"),
        (("--type", "roads"), "'roads' is none of cds, eds"),
        (("--type", "cds", "--stalled", "half"), "'half' is no number and no percentage"),
        (("--type", "cds", "--stalled", "100%"), "'100%' is not between none and all"),
        (("--type", "cds", "--streams", "3", "--stalled", "3"), "somebody has to read"),
        (("--type", "cds", "--pid", str(2**22 + 1)), "there is no process"),
        (("--type", "cds", "--certs-dir", "/nowhere"), "does not exist"),
    ],
)
def test_what_cannot_be_asked_is_said(arguments: tuple[str, ...], said: str) -> None:
    assert said in " ".join(refused(*arguments).split())
