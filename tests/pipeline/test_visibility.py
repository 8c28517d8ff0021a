"""What a namespace learns of services that are not exported to it: nothing, however it asks."""

from __future__ import annotations

import asyncio

import pytest

from aeraki_xds.mesh.objects import MeshObject
from aeraki_xds.pipeline.scopes import PUBLIC
from aeraki_xds.xds.admission import Peer
from aeraki_xds.xds.identity import SpiffeId
from aeraki_xds.xds.resource import HTTP_ROUTES, Scope, TypeUrl
from tests.mesh.kit import full, gone, said, service
from tests.pipeline.test_pipeline import SYNCED, Rig, running
from tests.virtual_time import virtual_time
from tests.xds.dialogue import DeltaEnvoy, Envoy, SotwEnvoy

SECRETS = 1_000
ASKED = [f"{full(f'secret-{n}', 'bank')}_9090" for n in range(SECRETS)]
SHARED = f"{full('shared', 'bank')}_9090"


def bank(export_to: tuple[str, ...]) -> list[MeshObject]:
    """A namespace with a thousand services of its own, and one for everybody."""
    addresses = (f"127.21.{n // 250}.{n % 250 + 1}" for n in range(SECRETS))
    secrets = (
        service(f"secret-{n}", namespace="bank", address=address, export_to=export_to)
        for n, address in enumerate(addresses)
    )
    return [service("shared", namespace="bank"), *secrets]


def workload_of(namespace: str) -> Peer:
    return Peer(
        address="10.0.0.1:4000",
        identity=SpiffeId(trust_domain="cluster.local", namespace=namespace, service_account="a"),
    )


async def connected(
    rig: Rig, kind: type[SotwEnvoy | DeltaEnvoy], namespace: str, only: TypeUrl | None
) -> SotwEnvoy | DeltaEnvoy:
    """A proxy with an identity, once its scopes are composed."""
    envoy = kind(rig.server, scopes=rig.scopes_of(workload_of(namespace), only=only))
    await asyncio.sleep(0.2)
    return envoy


def learned(rig: Rig, envoy: Envoy) -> set[str]:
    """Every name that the server utters."""
    said_to = rig.server.says(envoy)
    resources = {resource.name for response in said_to for resource in response.resources}
    removed = {name for response in said_to for name in response.removed}
    return resources | removed


@pytest.mark.parametrize("only", [HTTP_ROUTES, None], ids=["rds", "ads"])
@pytest.mark.parametrize("kind", [SotwEnvoy, DeltaEnvoy])
@pytest.mark.parametrize("export_to", [(".",), ("vault",)], ids=["own", "vault"])
@virtual_time
async def test_a_namespace_that_asks_for_a_thousand_hidden_names_learns_none(
    export_to: tuple[str, ...], kind: type[SotwEnvoy | DeltaEnvoy], only: TypeUrl | None
) -> None:
    async with running(*said(*bank(export_to)), *SYNCED) as rig:
        shop = await connected(rig, kind, "shop", only)
        shop.asks(HTTP_ROUTES, SHARED, *ASKED)
        assert learned(rig, shop) == {SHARED}
        friend = await connected(rig, kind, "bank" if export_to == (".",) else "vault", only)
        friend.asks(HTTP_ROUTES, SHARED, *ASKED)
        assert learned(rig, friend) == {SHARED, *ASKED}


@virtual_time
async def test_a_hidden_service_that_changes_wakes_and_tells_nobody_else() -> None:
    async with running(*said(service("secret", export_to=(".",))), *SYNCED) as rig:
        shop = await connected(rig, SotwEnvoy, "shop", HTTP_ROUTES)
        shop.asks(HTTP_ROUTES, f"{full('secret')}_9090")
        woken = shop.woken
        await rig.say(said(service("secret", export_to=(".",), ports={9091: "tcp-metaprotocol-x"})))
        await rig.say(gone(service("secret")))
        assert shop.woken == woken
        assert rig.server.says(shop) == []


@virtual_time
async def test_a_service_that_is_withdrawn_from_the_public_stays_with_those_who_may_see_it() -> (
    None
):
    name = f"{full('hello')}_9090"
    async with running(*said(service()), *SYNCED) as rig:
        shop = await connected(rig, SotwEnvoy, "shop", HTTP_ROUTES)
        demo = await connected(rig, SotwEnvoy, "demo", HTTP_ROUTES)
        for each in (shop, demo):
            each.asks(HTTP_ROUTES, name)
            (response,) = rig.server.says(each)
            each.acks(response)
        await rig.say(said(service(export_to=(".",))))
        assert rig.names(PUBLIC, HTTP_ROUTES) == set()
        assert rig.names(Scope("restricted/demo"), HTTP_ROUTES) == {name}
        assert rig.server.says(demo) == []  # the same bytes
        assert rig.server.says(shop) == []  # routes are never taken away, they grow old
        late = await connected(rig, SotwEnvoy, "shop", HTTP_ROUTES)
        late.asks(HTTP_ROUTES, name)
        assert rig.server.says(late) == []
        await rig.say(said(service()))
        assert {r.name for each in rig.server.says(late) for r in each.resources} == {name}
