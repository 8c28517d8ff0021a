"""The settings that connections share are h2's, but for the memory; the greeting says ours."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RemoteSettingsChanged
from h2.exceptions import InvalidSettingsValueError
from h2.settings import SettingCodes, Settings
from hypothesis import given
from hypothesis import strategies as st

from aeraki_xds.xds.wire.http2 import begun

STEPS = st.lists(
    st.tuples(st.sampled_from(SettingCodes) | st.integers(0, 20), st.integers(0, 1 << 32))
    | st.none(),
    max_size=12,
)


def connection() -> H2Connection:
    return begun(
        H2Configuration(client_side=False),
        connection_window=200_000,
        stream_window=100_000,
        streams=7,
    )


@given(steps=STEPS)
def test_settings_are_said_and_acknowledged_as_h2_does_it(steps: list[Any]) -> None:
    other = connection().remote_settings
    before = dict(other)
    theirs, plain = connection().remote_settings, Settings()
    for step in steps:
        if step is None:
            assert str(theirs.acknowledge()) == str(plain.acknowledge())
            continue
        key, value = step
        for each in (theirs, plain):
            with suppress(InvalidSettingsValueError):
                each.validate_received_setting(key, value)
                each[key] = value
    for settings in (theirs, plain):
        while settings.acknowledge():
            pass
    assert dict(theirs) == dict(plain)
    assert dict(other) == before == dict(connection().remote_settings)


def test_the_client_is_told_windows_and_streams_in_one_frame() -> None:
    server, client = connection(), H2Connection(H2Configuration(client_side=True))
    client.initiate_connection()
    events = client.receive_data(server.data_to_send())
    (said,) = [each for each in events if isinstance(each, RemoteSettingsChanged)]
    told = {key: change.new_value for key, change in said.changed_settings.items()}
    assert told[SettingCodes.INITIAL_WINDOW_SIZE] == 100_000
    assert told[SettingCodes.MAX_CONCURRENT_STREAMS] == 7
    assert told[SettingCodes.MAX_HEADER_LIST_SIZE] == 65_536
    assert client.outbound_flow_control_window == 200_000
    server.receive_data(client.data_to_send())
    assert server.local_settings.initial_window_size == 100_000
    assert server.inbound_flow_control_window == 200_000
