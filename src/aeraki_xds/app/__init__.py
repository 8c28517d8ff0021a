"""The process: everything is made here and handed down by constructor.

`server` puts it together, around a `configuration`: a folder, or a `cluster`, which is imported
only when there is one, for its client is slow and large to import.
"""

from __future__ import annotations

from aeraki_xds.app.server import serve

__all__ = ["serve"]
