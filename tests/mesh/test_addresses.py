"""Addresses are read as Python's `ipaddress` reads them, only sooner."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aeraki_xds.mesh.addresses import bindable, is_address, is_loopback, is_network

TEXTS = (
    st.ip_addresses().map(str)
    | st.text("0123456789.:/af %\x00\u0661", max_size=20)
    | st.lists(st.integers(0, 300).map(str), min_size=3, max_size=5).map(".".join)
    | st.text()
)


@given(TEXTS)
def test_a_text_is_an_address_if_python_says_so(text: str) -> None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        assert not is_address(text)
        assert bindable(text) is None
    else:
        assert is_address(text)
        assert is_loopback(text) == address.is_loopback
        assert bindable(text) == (None if address.is_unspecified else str(address))


@given(
    TEXTS | st.tuples(st.ip_addresses(), st.integers(0, 140)).map(lambda of: "{}/{}".format(*of))
)
def test_a_text_is_a_network_if_python_says_so(text: str) -> None:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        assert not is_network(text)
    else:
        assert is_network(text)


@pytest.mark.parametrize(
    "text", ["", "01.2.3.4", "1.2.3", "1.2.3.4 ", "1.2.3.4\n", "1.2.3.4\x00", "0x1.2.3.4", "\ud800"]
)
def test_what_only_looks_like_an_address_is_none(text: str) -> None:
    assert not is_address(text)
    assert not is_network(text)
