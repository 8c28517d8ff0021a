"""The exceptions that the process itself raises: a broken environment, never bad data.

Bad data is a value (`mesh.problems.Problem`) that travels with its object. What is raised here
ends a command with one readable line; the command line prints `str(error)` and exits 2.
"""

from __future__ import annotations


class AerakiError(Exception):
    """Root of everything that a command reports to its user as one line."""


class ConfigurationError(AerakiError):
    """A setting, a path or an address that cannot work; the message names it."""


class ListenError(AerakiError):
    """An address that we were told to serve on and could not bind."""
