"""What is in force, kept in a folder so that it survives a restart.

`records` writes values as rows and reads them back, `database` is the file, `keeper` says when it
is written. Nothing that goes wrong here reaches a proxy: it is said, shown and tried again.
"""

from __future__ import annotations

from aeraki_xds.state.keeper import State

__all__ = ["State"]
