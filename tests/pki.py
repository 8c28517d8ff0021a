"""A mesh's certificates, made in the test: a root, an intermediate, and workloads.

In: identities and moments. Out: PEM, in memory or as the three files that Istio mounts. Keys are of
P-256, for an RSA key takes longer to make than all else here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from aeraki_xds.settings import TlsFiles

DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A certificate and who trusts it."""

    chain: bytes
    key: bytes
    roots: bytes

    def write(self, folder: Path) -> TlsFiles:
        """Put the files there, each in the place of the one before at once (rename)."""
        folder.mkdir(parents=True, exist_ok=True)
        files = TlsFiles.within(folder)
        for path, content in (
            (files.key, self.key),
            (files.certificate, self.chain),
            (files.roots, self.roots),
        ):
            replace(path, content)
        return files


class Authority:
    """Signs. What it signs is trusted by who trusts its root."""

    def __init__(self, name: str, signer: Authority | None = None) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._signer = signer
        now = datetime.now(UTC)
        self.pem = (signer or self)._sign(
            _certificate(self._name, self._key, now - DAY, now + DAY).add_extension(
                x509.BasicConstraints(ca=True, path_length=None), critical=True
            )
        )

    @property
    def roots(self) -> bytes:
        """The certificate at the top of its chain."""
        return self._signer.roots if self._signer else self.pem

    def intermediate(self, name: str) -> Authority:
        """One that signs in our name."""
        return Authority(name, self)

    def workload(
        self,
        *uris: str,
        dns: tuple[str, ...] = (),
        not_before: datetime | None = None,
        not_after: datetime | None = None,
        roots: bytes | None = None,
    ) -> Workload:
        """Whom the URIs name, from yesterday until tomorrow if nothing else is said."""
        now = datetime.now(UTC)
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _certificate(x509.Name([]), key, not_before or now - DAY, not_after or now + DAY)
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
        names += [x509.DNSName(name) for name in dns]
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
        return Workload(
            chain=self._sign(builder) + self._above(),
            key=key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
            roots=self.roots if roots is None else roots,
        )

    def _above(self) -> bytes:
        return self.pem + self._signer._above() if self._signer else b""

    def _sign(self, builder: x509.CertificateBuilder) -> bytes:
        signed = builder.issuer_name(self._name).sign(self._key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM)


def _certificate(
    subject: x509.Name, key: ec.EllipticCurvePrivateKey, not_before: datetime, not_after: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
    )


def replace(path: Path, content: bytes) -> None:
    """Write a file and rename it into its place, as tools do that rotate certificates."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_bytes(content)
    os.replace(fresh, path)
