"""What is known of the sources, and what follows from what they do not say.

In: `Synced` and `SourceLost`, and after a restart what no source has spoken of yet. Out: the state
of each source, and the events that its silence stands for. Guaranteed: that a source holds nothing
at all is never believed while there is something from before the restart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from aeraki_xds.ingest.event import Event, SourceLost, Synced, Unreadable
from aeraki_xds.pipeline.last_good import Unconfirmed

_NOT_YET: Final = "not synced yet: what was in force before the restart is served"
_EMPTY: Final = "it holds nothing: what was in force before the restart stays"


@dataclass(slots=True, kw_only=True)
class SourceState:
    """What is known of a source; `stale` says why it is lost, empty while it is not, and
    `stale_since` the moment, in seconds since the epoch. `idle`: synced because nobody wants to
    know what it would say.
    """

    synced: bool = False
    idle: bool = False
    stale: str = ""
    stale_since: float = 0.0

    @property
    def has_spoken(self) -> bool:
        """Whether it is known what to expect of it."""
        return self.synced or bool(self.stale)

    @property
    def was_read(self) -> bool:
        """Whether all that it had is known, be it stale by now."""
        return self.synced and not self.idle


class Sources(Mapping[str, SourceState]):
    """The state of each source by its name; the names are known from the start."""

    def __init__(self, names: Iterable[str]) -> None:
        self._states = {name: SourceState() for name in names}

    def __getitem__(self, name: str) -> SourceState:
        return self._states[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._states)

    def __len__(self) -> int:
        return len(self._states)

    @property
    def are_synced(self) -> bool:
        """Whether every source has said all that it had at start."""
        return all(state.synced for state in self.values())

    @property
    def are_known(self) -> bool:
        """Whether it is known of every source what to expect of it."""
        return all(state.has_spoken for state in self.values())

    def hear(self, event: Synced | SourceLost, *, now: float = 0.0) -> None:
        """A source is complete, or lost: `now`, in seconds since the epoch."""
        match event:
            case Synced():
                self._states[event.source] = SourceState(synced=True, idle=event.idle)
            case SourceLost():
                state = self._states[event.source]
                state.stale_since = state.stale_since or now
                state.stale = event.reason

    def give_up(self) -> list[Event]:
        """Wait no longer for the sources that have not spoken."""
        silent = (name for name, state in self.items() if not state.has_spoken)
        return [SourceLost(source=name, reason=_NOT_YET) for name in silent]

    def confirm(
        self, unconfirmed: Unconfirmed, unreadable: Mapping[str, Unreadable], *, at_rest: bool
    ) -> list[Event]:
        """What the sources say about what was restored, by not speaking of it.

        Nothing at all is not believed: a volume may not be mounted yet.
        """
        if unconfirmed.is_all:
            calm = (name for name, state in self.items() if not state.stale)
            return [SourceLost(source=name, reason=_EMPTY) for name in calm]
        if not at_rest or any(state.stale not in ("", _EMPTY) for state in self.values()):
            return []
        believed = [
            Synced(source=name, idle=state.idle) for name, state in self.items() if state.stale
        ]
        return [*unconfirmed.let_go(unreadable), *believed]
