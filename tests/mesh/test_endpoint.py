"""One word for where a server is."""

from __future__ import annotations

import pytest

from aeraki_xds.mesh.endpoint import parse_endpoint


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("redis", "redis", None),
        ("redis.cache.svc.cluster.local:6379", "redis.cache.svc.cluster.local", 6379),
        ("10.0.0.7:1", "10.0.0.7", 1),
        ("[fd00::1]:65535", "fd00::1", 65535),
        ("[::1]", "::1", None),
    ],
)
def test_a_host_and_perhaps_a_port(text: str, host: str, port: int | None) -> None:
    assert parse_endpoint(text) == (host, port)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "names no host"),
        (":6379", "names no host"),
        ("redis:", "from 1 to 65535"),
        ("redis:0", "from 1 to 65535"),
        ("redis:65536", "from 1 to 65535"),
        ("redis:+1", "from 1 to 65535"),
        ("redis:6379:1", "from 1 to 65535"),
        ("redis:\u0661", "from 1 to 65535"),  # a digit to Python
        ("redis:" + "9" * 5000, "from 1 to 65535"),
        ("fd00::1", r"write \[fd00::1\]"),
        ("[fd00::1", "no IPv6 address in its brackets"),
        ("[redis]:6379", "no IPv6 address in its brackets"),
        ("[10.0.0.7]:6379", "no IPv6 address in its brackets"),
        ("[fe80::1%eth0]:6379", "no IPv6 address in its brackets"),
        ("[fd00::1]6379", "goes on after its brackets"),
        ("[fd00::1]:", "from 1 to 65535"),
    ],
)
def test_anything_else_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_endpoint(text)
