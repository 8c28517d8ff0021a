"""A mesh's certificates: an authority, and what it gives to workloads as Istio mounts it.

In: identities and lifetimes. Out: `cert-chain.pem`, `key.pem` and `root-cert.pem` in a folder, each
renamed into its place.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_EARLIER: Final = timedelta(days=2)
"""Certificates begin so long ago, for drills in which the clock jumps back."""

_YEARS: Final = timedelta(days=3650)


class Authority:
    """A root that signs."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        ca = x509.BasicConstraints(ca=True, path_length=None)
        builder = self._certificate(self._name, self._key, _YEARS).add_extension(ca, critical=True)
        self.pem = self._signed(builder)

    def issue(self, folder: Path, uri: str, *, lifetime: timedelta, roots: bytes = b"") -> None:
        """A new key and certificate of an identity, in the place of the ones before. `roots` are
        whom it trusts, this authority if nothing is said.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
        builder = self._certificate(x509.Name([]), key, lifetime).add_extension(name, critical=True)
        folder.mkdir(parents=True, exist_ok=True)
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        _replace(folder / "key.pem", private)
        _replace(folder / "cert-chain.pem", self._signed(builder))
        _replace(folder / "root-cert.pem", roots or self.pem)

    def _certificate(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, lifetime: timedelta
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _EARLIER)
            .not_valid_after(now + lifetime)
        )

    def _signed(self, builder: x509.CertificateBuilder) -> bytes:
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _replace(path: Path, content: bytes) -> None:
    draft = path.with_name(f".{path.name}.new")
    draft.write_bytes(content)
    os.replace(draft, path)
