"""A real Envoy writes its ACKs as the shortcuts expect them, or they would be for nothing."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from h2.connection import H2Connection

from aeraki_xds.demo.envoy import Envoy
from aeraki_xds.xds import CLUSTER, Hub
from aeraki_xds.xds.wire.conversation import Conversation
from tests.e2e.conftest import proxy_bootstrap
from tests.e2e.test_refusals import cluster, publish, serving, until, until_held

pytestmark = pytest.mark.e2e


async def test_the_acks_of_a_real_envoy_are_neither_decoded_nor_read_by_h2(
    tmp_path: Path, *, delta: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[bytes] = []
    read_by_h2: list[bytes] = []
    decode, receive = Conversation._decode, H2Connection.receive_data

    def noting_decode(self: Conversation, message: bytes) -> Any:
        decoded.append(message)
        return decode(self, message)

    def noting_receive(self: H2Connection, data: bytes) -> Any:
        read_by_h2.append(data)
        return receive(self, data)

    hub = Hub(clock=time.time)
    publish(hub, cluster("c", seconds=1))
    async with (
        serving(hub) as xds,
        Envoy.run(proxy_bootstrap(xds, delta=delta), log=tmp_path / "envoy.log") as envoy,
    ):
        await until_held(envoy, {"c": 1})
        (stream,) = hub.streams
        status = stream.status_of(CLUSTER)

        def accepted_after(nonce: str) -> bool:
            return status.acked_nonce == status.sent_nonce != nonce

        await until(partial(accepted_after, ""))
        monkeypatch.setattr(Conversation, "_decode", noting_decode)
        monkeypatch.setattr(H2Connection, "receive_data", noting_receive)
        for seconds in range(2, 8):
            before = status.sent_nonce
            publish(hub, cluster("c", seconds=seconds))
            await until(partial(accepted_after, before))
        await until_held(envoy, {"c": 7})
    acks = [message for message in decoded if CLUSTER.encode() in message]
    assert acks == []
    data_frames = [data for data in read_by_h2 if data[3] == 0 and data[4] == 0]
    assert data_frames == []
