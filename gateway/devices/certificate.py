"""A device by its TLS client certificate: verified against the device CA, then mapped to an identifier.

Rules T2, T8, T9 and H3: never the system's authorities, never text dumps, exactly one value or none.
"""

import re
from datetime import UTC, datetime

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from gateway.config.schema import DeviceCertificate
from risk.model import JUNK_VALUES, Identifier

MAX_LEAF_BYTES = 8192
MAX_VALUE = 256
MAX_CHAIN_DEPTH = 4
MIN_RSA_BITS = 2048
MIN_EC_BITS = 256

FIELDS = ("subject.CN", "subject.serialNumber", "san.uri", "san.dns", "san.email")
"""What `field` of a certificate source may be."""


class CertificateRefused(Exception):
    """A certificate does not identify a device. The text says why and may be shown to an administrator."""


class DeviceCa(msgspec.Struct, frozen=True):
    """The device CA: every certificate of its bundle. Those that sign themselves are the trust anchors."""

    anchors: tuple[x509.Certificate, ...]
    intermediates: tuple[x509.Certificate, ...]


def parse_device_ca(pem: bytes) -> DeviceCa:
    """Return the CA of a PEM bundle. A bundle without a self-issued certificate anchors in all of them.

    Raises `ValueError` when it holds no certificate.
    """
    certificates = x509.load_pem_x509_certificates(pem)
    roots = tuple(each for each in certificates if each.issuer == each.subject)
    others = tuple(each for each in certificates if each.issuer != each.subject)
    return DeviceCa(roots, others) if roots else DeviceCa(tuple(certificates), ())


_UNREADABLE = (
    ValueError,
    TypeError,
    OverflowError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
)
"""What the library raises for bytes that are no proper certificate; not all of it is a `ValueError`."""


def verify_leaf(der: bytes, ca: DeviceCa, now: datetime) -> x509.Certificate:
    """Return the certificate when it chains to `ca`, is in its time, is for clients and has a fit key.

    Raises `CertificateRefused`, and nothing else, whatever `der` is.
    """
    if not 0 < len(der) <= MAX_LEAF_BYTES:
        raise CertificateRefused(f"certificate of {len(der)} bytes")
    try:
        leaf = x509.load_der_x509_certificate(der)
        _check_key(leaf)
        _check_extensions(leaf)
        verifier = (
            PolicyBuilder()
            .store(Store(list(ca.anchors)))
            .time(now.astimezone(UTC).replace(tzinfo=None))
            .max_chain_depth(MAX_CHAIN_DEPTH)
            .extension_policies(ca_policy=_CA_POLICY, ee_policy=ExtensionPolicy.permit_all())
            .build_client_verifier()
        )
        verifier.verify(leaf, list(ca.intermediates))
    except CertificateRefused:
        raise
    except VerificationError as error:
        raise CertificateRefused(f"not issued by the device CA, or out of its time: {error}") from error
    except _UNREADABLE as error:
        raise CertificateRefused(f"unreadable certificate: {type(error).__name__}") from error
    return leaf


def device_of(leaf: x509.Certificate, source: DeviceCertificate) -> Identifier:
    """Return the identifier that `source` reads from a verified certificate.

    The field must hold exactly one value, `match` must match all of it, and its one capture is the
    identifier. Raises `CertificateRefused`.
    """
    try:
        values = _values(leaf, source.field)
    except (ValueError, TypeError) as error:
        raise CertificateRefused(f"`{source.field}` cannot be read") from error
    if len(values) != 1:
        raise CertificateRefused(f"`{source.field}` has {len(values)} values, exactly one is needed")
    (value,) = values
    if not value.isprintable() or len(value) > MAX_VALUE:
        raise CertificateRefused(f"`{source.field}` holds control characters or is too long")
    try:
        found = re.fullmatch(source.match, value)
    except re.error as error:
        raise CertificateRefused(f"`{source.match}` is no regular expression") from error
    if found is None:
        raise CertificateRefused(f"`{source.field}` does not match `{source.match}`")
    captures = found.groups()
    text = (captures[0] or "").strip() if len(captures) == 1 else ""
    if text.casefold() in JUNK_VALUES:
        raise CertificateRefused(f"`{source.match}` captured no identifier")
    return Identifier(kind=source.kind, value=text)


def _check_key(leaf: x509.Certificate) -> None:
    match leaf.public_key():
        case rsa.RSAPublicKey() as key if key.key_size >= MIN_RSA_BITS:
            return
        case ec.EllipticCurvePublicKey() as key if key.key_size >= MIN_EC_BITS:
            return
        case ed25519.Ed25519PublicKey() | ed448.Ed448PublicKey():
            return
        case _:
            raise CertificateRefused("the key is too small or of an unknown type")


def _check_extensions(leaf: x509.Certificate) -> None:
    """Require EKU `clientAuth`, and refuse a CA certificate as leaf."""
    extensions = leaf.extensions
    try:
        usages = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound as error:
        raise CertificateRefused("no extended key usage") from error
    except x509.DuplicateExtension as error:
        raise CertificateRefused("an extension is there twice") from error
    if ExtendedKeyUsageOID.CLIENT_AUTH not in usages:
        raise CertificateRefused("not meant for client authentication")
    for extension in extensions:
        if extension.oid == ExtensionOID.BASIC_CONSTRAINTS and extension.value.ca:
            raise CertificateRefused("a CA certificate is no device certificate")
        if extension.critical and isinstance(extension.value, x509.UnrecognizedExtension):
            raise CertificateRefused("an unknown critical extension")


def _check_ca(_policy: object, _certificate: object, constraints: x509.BasicConstraints | None) -> None:
    if constraints is None or not constraints.ca:
        raise ValueError("the issuer is no CA")


_CA_POLICY = ExtensionPolicy.permit_all().require_present(
    x509.BasicConstraints,
    Criticality.AGNOSTIC,
    _check_ca,
)
"""Private authorities are plainer than public ones; that they are authorities is required all the same."""


def _values(leaf: x509.Certificate, field: str) -> list[str]:
    match field:
        case "subject.CN":
            return [str(each.value) for each in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        case "subject.serialNumber":
            return [str(each.value) for each in leaf.subject.get_attributes_for_oid(NameOID.SERIAL_NUMBER)]
        case _:
            return _alternative_names(leaf, field)


def _alternative_names(leaf: x509.Certificate, field: str) -> list[str]:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    match field:
        case "san.uri":
            return names.get_values_for_type(x509.UniformResourceIdentifier)
        case "san.dns":
            return names.get_values_for_type(x509.DNSName)
        case "san.email":
            return names.get_values_for_type(x509.RFC822Name)
        case _:
            raise ValueError(field)
