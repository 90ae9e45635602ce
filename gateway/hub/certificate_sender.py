"""A sensor's sender by its TLS client certificate: issued by the sensor's own CA, to one of the names that may send.

The worker says which certificate the connection was made with (`X-Gate-Evidence`, a header that nobody else can set).
"""

import base64
import binascii
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import NameOID

from gateway.config.certificates import ClientCertificate
from gateway.devices.certificate import CertificateRefused, DeviceCa, parse_device_ca, verify_leaf
from plugins.verify import Headers, Verified, VerifyCode, VerifyFault

EVIDENCE_HEADER = "x-gate-evidence"


class CertificateVerifier:
    """Believes certificates of one CA with one of these names. The body is not signed: TLS protects it on its way."""

    def __init__(self, ca: DeviceCa, names: Iterable[str]) -> None:
        self._ca = ca
        self._names = {_normal(name): place for place, name in enumerate(names)}

    @classmethod
    def load(cls, auth: ClientCertificate) -> "CertificateVerifier":
        """Return the verifier of a configuration. Raises `ValueError`, `OSError`."""
        return cls(parse_device_ca(Path(auth.ca).read_bytes()), auth.names)

    def verify(self, headers: Headers, body: bytes, now_s: float) -> Verified:  # noqa: ARG002 - the protocol's
        """Return proof of the sender; `secret` is the place of the name. Raises `VerifyFault`."""
        shown = [value for name, value in headers if name.lower() == EVIDENCE_HEADER]
        if not shown:
            raise VerifyFault(VerifyCode.MISSING, "the connection was made without a client certificate")
        try:
            leaf = verify_leaf(
                base64.b64decode(shown[0], validate=True), self._ca, datetime.fromtimestamp(now_s, UTC)
            )
            names = certificate_names(leaf)
        except (CertificateRefused, binascii.Error, ValueError) as error:
            raise VerifyFault(VerifyCode.MISMATCH, f"the client certificate is refused: {error}") from error
        places = [self._names[name] for name in map(_normal, names) if name in self._names]
        if not places:
            told = ", ".join(f"`{name[:64]}`" for name in names[:4]) or "no name"
            raise VerifyFault(
                VerifyCode.MISMATCH, f"the client certificate is of {told}, which may not send here"
            )
        return Verified("", places[0])


def certificate_names(leaf: x509.Certificate) -> list[str]:
    """Return the names of a certificate: alternative ones, the common name only without any.

    Raises `ValueError` for what cannot be read. Source: RFC 9525 section 2.
    """
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return [str(each.value) for each in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    kinds = (x509.DNSName, x509.UniformResourceIdentifier, x509.RFC822Name)
    found = [str(value) for kind in kinds for value in names.get_values_for_type(kind)]
    return found + [str(value) for value in names.get_values_for_type(x509.IPAddress)]


def _normal(name: str) -> str:
    return name.strip().rstrip(".").casefold()
