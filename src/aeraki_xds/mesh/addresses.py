"""IP addresses as text. Pure.

Python's `ipaddress` takes 3 µs to read one, C's `inet_pton` 0.2: a mesh of ten thousand services
names fifty thousand, nearly all of version 4, and most of them are looked at more than once.
"""

from __future__ import annotations

import ipaddress
import socket


def is_ipv4(text: str) -> bool:
    """Whether a text is an IPv4 address: four decimal numbers, as it is always written."""
    try:
        socket.inet_pton(socket.AF_INET, text)
    except (OSError, ValueError):  # ValueError: a NUL byte, or what cannot be encoded
        return False
    return True


def is_address(text: str) -> bool:
    """Whether a text is an IP address of either version."""
    if is_ipv4(text):
        return True
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_network(text: str) -> bool:
    """Whether a text is an IP address or a CIDR block."""
    if is_ipv4(text):
        return True
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def is_loopback(address: str) -> bool:
    """Whether an address is of this machine only. Raises ValueError if it is none."""
    if is_ipv4(address):
        return address.startswith("127.")
    return ipaddress.ip_address(address).is_loopback


def bindable(text: str) -> str | None:
    """The address in its usual spelling; None for a CIDR block, and for the one that means any."""
    if is_ipv4(text):
        return None if text == "0.0.0.0" else text
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return None if address.is_unspecified else str(address)
