"""What Istio is to be given: the objects in force, for who writes them into a cluster.

In: the changes of each publication. Out: the whole, and a sign that it changed. Guaranteed: it is
not `complete` before every source has said all that it has, for what is not there would be deleted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from aeraki_xds.mesh.names import Host
from aeraki_xds.xds.resource import Resource, ResourceId


class Desired:
    """The objects by API version with kind and `namespace/name`, as canonical JSON.

    `standing` are the hosts on their last good output: objects of theirs that are not here may be
    of before a restart, and are not to be deleted.
    """

    def __init__(self) -> None:
        self.objects: Final[dict[ResourceId, Resource]] = {}
        self.standing: frozenset[Host] = frozenset()
        self.complete = False
        self._changed = asyncio.Event()

    def take(
        self,
        changes: Mapping[ResourceId, Resource | None],
        *,
        standing: frozenset[Host],
        complete: bool,
    ) -> None:
        """Bring it up to a publication."""
        for identity, resource in changes.items():
            if resource is None:
                self.objects.pop(identity, None)
            else:
                self.objects[identity] = resource
        differs = bool(changes) or (standing, complete) != (self.standing, self.complete)
        self.standing, self.complete = standing, complete
        if differs:
            self._changed.set()

    async def changed(self) -> None:
        """Wait until something is other than when this last returned."""
        await self._changed.wait()
        self._changed.clear()
