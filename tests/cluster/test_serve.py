"""`serve --kubernetes` at a real API server, as the service account of deploy/rbac.yaml."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from aeraki_xds.demo.control_plane import ControlPlane
from tests.cluster.kit import BY_NAME, PATIENCE, Hand, path_of, put_all
from tests.cluster.real import Real
from tests.deploy.admission import DEPLOY

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]

EXAMPLES = DEPLOY.parent / "examples"
ACCOUNT = "system:serviceaccount:istio-system:aeraki"


Identity = tuple[str, str, str]
"""Kind, namespace and name."""


def examples() -> list[dict[str, Any]]:
    """The objects of all examples."""
    return [
        document
        for path in sorted(EXAMPLES.glob("*/*.yaml"))
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
        if document
    ]


def read_passwords() -> list[dict[str, Any]]:
    """The grant of deploy/examples/secrets.yaml, for the Secrets of examples/redis."""
    role, binding = yaml.safe_load_all((DEPLOY / "examples/secrets.yaml").read_text("utf-8"))
    secrets = [each for each in examples() if each["kind"] == "Secret"]
    (space,) = {each["metadata"]["namespace"] for each in secrets}
    role["rules"][0]["resourceNames"] = [each["metadata"]["name"] for each in secrets]
    for each in (role, binding):
        each["metadata"]["namespace"] = space
    return [role, binding]


async def account(hand: Hand) -> str:
    """Have the account and its rights as deploy/ has them, and ask for its token."""
    deployed = [*yaml.safe_load_all((DEPLOY / "rbac.yaml").read_text(encoding="utf-8"))]
    await put_all(hand, deployed)
    path = path_of(deployed[0])
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    status, answer = await hand.client.ask("POST", f"{path}/token", asked)
    assert status == 201, answer
    return str(answer["status"]["token"])


def wanted() -> set[Identity]:
    """What `translate` says is to be written."""
    command = ["translate", "--to", "envoyfilter", str(EXAMPLES)]
    told = subprocess.run(
        [sys.executable, "-m", "aeraki_xds", *command], capture_output=True, check=True
    )
    return set(map(identity, yaml.safe_load(told.stdout)["envoyfilters"]))


def identity(manifest: dict[str, Any]) -> Identity:
    return manifest["kind"], manifest["metadata"]["namespace"], manifest["metadata"]["name"]


async def written(hand: Hand) -> set[Identity]:
    """What there is that says it is Aeraki's."""
    return {
        identity({"kind": kind, **each})
        for kind in ("EnvoyFilter", "VirtualService")
        for each in await hand.objects(kind)
        if each["metadata"].get("labels", {}).get("manager") == "Aeraki"
    }


def refused(real: Real) -> list[tuple[str, str]]:
    """What the account was not allowed to do."""
    return [
        (call["verb"], call["requestURI"])
        for call in real.calls(ACCOUNT)
        if call["responseStatus"]["code"] in {401, 403}
    ]


async def until_written(hand: Hand, objects: set[Identity]) -> None:
    try:
        async with asyncio.timeout(PATIENCE):
            while await written(hand) != objects:
                await asyncio.sleep(0.05)
    except TimeoutError:
        assert await written(hand) == objects


async def test_every_example_is_written_with_the_rights_of_deploy_and_no_others(
    real: Real, hand: Hand, tmp_path: Path
) -> None:
    documents = [each for each in examples() if each["kind"] in BY_NAME]
    kubeconfig = real.kubeconfig(tmp_path / "kubeconfig", token=await account(hand))
    await put_all(hand, [*documents, *read_passwords()])
    options = ["--kubernetes", "--kubeconfig", str(kubeconfig), "--http-address", "127.0.0.1:0"]
    everything = wanted()
    try:
        async with ControlPlane.run(None, options=options) as plane:
            await until_written(hand, everything)
            await assert_repaired(hand)
            rejections = await plane.get("/debug/rejections")
            assert [each for each in rejections["rejections"] if each["severity"] == "error"] == []
    finally:
        assert refused(real) == []
    asked = {call["verb"] for call in real.calls(ACCOUNT)}
    assert asked == {"get", "list", "watch", "create", "update", "delete"}


async def assert_repaired(hand: Hand) -> None:
    """What somebody edits, deletes and makes in Aeraki's name does not stay."""
    one = (await hand.objects("EnvoyFilter"))[0]
    there = {"apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter", **one}
    await hand.put({**there, "spec": {"priority": 7}}, manager="kubectl-edit")
    await hand.until(there, lambda found: found is not None and found["spec"] == one["spec"])
    await hand.delete(there)
    await hand.until(there, lambda found: found is not None and found["spec"] == one["spec"])
    stray = {**there, "metadata": {**there["metadata"], "name": "aeraki-outbound-stray"}}
    del stray["metadata"]["resourceVersion"], stray["metadata"]["uid"]
    await hand.put(stray, manager="Aeraki")
    await hand.until(stray, lambda found: found is None)
