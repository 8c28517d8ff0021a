"""One HTTP question to a loopback admin port, by the standard library in a thread.

Enough for a question that a person or a test asks; the HTTP client that the project has belongs
to another package.
"""

from __future__ import annotations

import http.client
from typing import Final, NamedTuple

LIMIT_S: Final = 10.0  # for one request


class Address(NamedTuple):
    """Where something listens."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read `HOST:PORT`."""
        host, _, port = text.rpartition(":")
        return cls(host.strip("[]"), int(port))


def fetch(address: Address, path: str) -> tuple[int, str]:
    """Status and body of a GET. Raises OSError or http.client.HTTPException."""
    connection = http.client.HTTPConnection(*address, timeout=LIMIT_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()
