"""h2's side of a new connection.

In: windows and limits. Out: a connection that has greeted, in one SETTINGS frame whose values hold
from then on. grpclib says them in three, and the client has to acknowledge each.

h2 keeps each setting of either side in a queue of its own, of what was said and is not acknowledged
yet: a dozen for a connection, of 600 bytes. Here they are tuples, which all connections share until
a client says something else.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import ChangedSetting, SettingCodes, Settings

_FIRST_WINDOW: Final = 65_535


class SharedSettings(Settings):
    """What `like` has, and what is said later is one side's own."""

    def __init__(self, like: Settings) -> None:
        self._client = like._client
        self._settings: Any = like._settings

    def __setitem__(self, key: SettingCodes | int, value: int) -> None:
        self.validate_received_setting(key, value)
        said = self._settings.get(key, (None,))
        self._settings = {**self._settings, key: (*said, value)}

    def acknowledge(self) -> dict[SettingCodes | int, ChangedSetting]:
        """What was said first and is not in force is so now."""
        changed = {
            key: ChangedSetting(key, said[0], said[1])
            for key, said in self._settings.items()
            if len(said) > 1
        }
        if changed:
            later = {key: self._settings[key][1:] for key in changed}
            self._settings = {**self._settings, **later}
        return changed


def begun(
    config: H2Configuration, *, connection_window: int, stream_window: int, streams: int
) -> H2Connection:
    """A connection on which `streams` may be open at a time; h2 has the greeting."""
    h2 = H2Connection(config)
    ours, theirs = _first(stream_window, streams)
    h2.local_settings, h2.remote_settings = SharedSettings(ours), SharedSettings(theirs)
    h2.initiate_connection()
    if connection_window != _FIRST_WINDOW:
        h2.increment_flow_control_window(connection_window - _FIRST_WINDOW)
    return h2


@lru_cache
def _first(stream_window: int, streams: int) -> tuple[Settings, Settings]:
    """What either side has in force at first: what h2 says of its own accord, and ours."""
    ours = {
        SettingCodes.MAX_HEADER_LIST_SIZE: H2Connection.DEFAULT_MAX_HEADER_LIST_SIZE,
        SettingCodes.INITIAL_WINDOW_SIZE: stream_window,
        SettingCodes.MAX_CONCURRENT_STREAMS: streams,
    }
    return _in_tuples(Settings(client=False, initial_values=ours)), _in_tuples(Settings())


def _in_tuples(settings: Settings) -> Settings:
    queues: Any = settings._settings
    made = SharedSettings(settings)
    made._settings = {key: tuple(said) for key, said in queues.items()}
    return made
