"""Addresses: how they are written, read, and refused."""

from __future__ import annotations

import pytest

from aeraki_xds.settings import DEFAULT_ADMIN_ADDRESS, DEFAULT_XDS_ADDRESS, Address


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:15010", "127.0.0.1", 15010),
        ("localhost:0", "localhost", 0),
        (":80", "0.0.0.0", 80),
        ("[::1]:65535", "::1", 65535),
    ],
)
def test_an_address_is_host_and_port(text: str, host: str, port: int) -> None:
    assert Address.parse(text) == Address(host=host, port=port)


@pytest.mark.parametrize(
    "text", ["", "host", "80", "host:", "host:http", "host:-1", "host:65536", "[::1]", "host:²"]
)
def test_anything_else_is_refused_and_quoted(text: str) -> None:
    with pytest.raises(ValueError, match="is not HOST:PORT") as refusal:
        Address.parse(text)
    assert repr(text) in str(refusal.value)


@pytest.mark.parametrize("text", ["127.0.0.1:15010", "[::1]:80", "localhost:1"])
def test_an_address_is_written_as_it_is_read(text: str) -> None:
    assert str(Address.parse(text)) == text


def test_without_being_told_we_serve_on_loopback() -> None:
    for text in (DEFAULT_XDS_ADDRESS, DEFAULT_ADMIN_ADDRESS):
        assert Address.parse(text).host == "127.0.0.1"


@pytest.mark.parametrize(
    ("text", "is_loopback"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        (":1", False),
        ("10.0.0.1:1", False),
        ("example.com:1", False),
    ],
)
def test_only_this_machine_reaches_a_loopback_address(text: str, *, is_loopback: bool) -> None:
    assert Address.parse(text).is_loopback is is_loopback
