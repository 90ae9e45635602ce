"""Which device a request comes from: certificates, forwarded ones, claims, and what they say together."""

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.schema import DeviceCertificate, DeviceClaim
from gateway.devices.certificate import CertificateRefused, device_of, parse_device_ca, verify_leaf
from gateway.devices.claim import ClaimedDevice, claimed_devices
from gateway.devices.forwarded import MAX_HEADER, ForwardedCertificateRefused, parse_client_cert
from gateway.devices.resolve import Strength, identify_device
from risk.model import Identifier

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
ROOT_KEY, MIDDLE_KEY, LEAF_KEY, OTHER_KEY = (ec.generate_private_key(ec.SECP256R1()) for _ in range(4))
CLIENT = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])


def name(*pairs: tuple[Any, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in pairs])


def make(
    subject: x509.Name,
    key: Any,
    issuer: x509.Name,
    issuer_key: Any,
    *extensions: x509.ExtensionType,
    start: datetime = NOW - timedelta(days=1),
    end: datetime = NOW + timedelta(days=30),
    critical: bool = False,
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(start).not_valid_after(end)
    )  # fmt: skip
    for extension in extensions:
        builder = builder.add_extension(extension, critical=critical)
    digest = None if isinstance(issuer_key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(issuer_key, digest)


ROOT_NAME, MIDDLE_NAME = name((NameOID.COMMON_NAME, "Device Root")), name((NameOID.COMMON_NAME, "Device CA"))
IS_CA = x509.BasicConstraints(ca=True, path_length=None)
ROOT = make(ROOT_NAME, ROOT_KEY, ROOT_NAME, ROOT_KEY, IS_CA)
MIDDLE = make(MIDDLE_NAME, MIDDLE_KEY, ROOT_NAME, ROOT_KEY, IS_CA)
CA = parse_device_ca(ROOT.public_bytes(Encoding.PEM) + MIDDLE.public_bytes(Encoding.PEM))


def leaf(
    *extensions: x509.ExtensionType, subject: x509.Name | None = None, key: Any = LEAF_KEY, **options: Any
) -> x509.Certificate:
    wanted = extensions or (CLIENT,)
    return make(
        subject or name((NameOID.COMMON_NAME, "SER-1")), key, options.pop("issuer", MIDDLE_NAME),
        options.pop("issuer_key", MIDDLE_KEY), *wanted, **options,
    )  # fmt: skip


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


# --- verification: T2, H3 --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [
        LEAF_KEY,
        rsa.generate_private_key(public_exponent=65537, key_size=2048),
        ec.generate_private_key(ec.SECP384R1()),
    ],
)
def test_a_good_leaf(key: Any) -> None:
    assert verify_leaf(der(leaf(key=key)), CA, NOW)


def test_with_alternative_names_and_other_usages() -> None:
    both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    names = x509.SubjectAlternativeName(
        [x509.DNSName("a.example"), x509.UniformResourceIdentifier("urn:x:1")]
    )
    assert verify_leaf(der(leaf(both, names)), CA, NOW)


def test_an_intermediate_alone_may_be_the_anchor() -> None:
    assert verify_leaf(der(leaf()), parse_device_ca(MIDDLE.public_bytes(Encoding.PEM)), NOW)


NO_CA_NAME = name((NameOID.COMMON_NAME, "No CA"))
NO_CA = make(NO_CA_NAME, OTHER_KEY, ROOT_NAME, ROOT_KEY, CLIENT)

REFUSED: dict[str, x509.Certificate] = {
    "self-signed": leaf(issuer=name((NameOID.COMMON_NAME, "SER-1")), issuer_key=LEAF_KEY),
    "right name, other key": leaf(issuer_key=OTHER_KEY),
    "other authority": leaf(issuer=name((NameOID.COMMON_NAME, "Public CA")), issuer_key=OTHER_KEY),
    "expired": leaf(end=NOW - timedelta(seconds=1)),
    "not yet valid": leaf(start=NOW + timedelta(seconds=1)),
    "server only": leaf(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])),
    "any usage": leaf(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])),
    "no usage": leaf(x509.SubjectAlternativeName([x509.DNSName("a.example")])),
    "a CA": leaf(CLIENT, IS_CA),
    "weak RSA": leaf(key=rsa.generate_private_key(public_exponent=65537, key_size=1024)),  # noqa: S505 - on purpose
    "weak curve": leaf(key=ec.generate_private_key(ec.SECP192R1())),
    "issued by a leaf": make(name((NameOID.COMMON_NAME, "SER-1")), LEAF_KEY, NO_CA_NAME, OTHER_KEY, CLIENT),
    "unknown critical extension": leaf(
        CLIENT,
        x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\x05\x00"),
        critical=True,
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_leaves_that_are_refused(kind: str) -> None:
    """T2: each for its own reason; the middle certificate that is no CA is in the bundle on purpose."""
    bundle = b"".join(each.public_bytes(Encoding.PEM) for each in (ROOT, MIDDLE, NO_CA))
    with pytest.raises(CertificateRefused):
        verify_leaf(der(REFUSED[kind]), parse_device_ca(bundle), NOW)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(evidence: bytes) -> None:
    with pytest.raises(CertificateRefused):
        verify_leaf(evidence, CA, NOW)


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_a_changed_bit_is_refused_or_changes_nothing() -> None:
    """Every bit is tried. What is accepted has the signed part and the signature of the issued certificate."""
    issued = x509.load_der_x509_certificate(GOOD)
    for at in range(len(GOOD)):
        for bit in range(8):
            spoiled = bytearray(GOOD)
            spoiled[at] ^= 1 << bit
            try:
                found = verify_leaf(bytes(spoiled), CA, NOW)
            except CertificateRefused:
                continue
            assert found.tbs_certificate_bytes == issued.tbs_certificate_bytes, (at, bit)
            assert found.signature == issued.signature, (at, bit)


GOOD = der(leaf())


def test_sizes_and_empty_bundles() -> None:
    with pytest.raises(CertificateRefused):
        verify_leaf(GOOD + b"\0" * 8192, CA, NOW)
    with pytest.raises(ValueError, match=r".+"):
        parse_device_ca(b"nothing here")


# --- mapping: T8, T9 -------------------------------------------------------------------------------------

SAN = x509.SubjectAlternativeName(
    [x509.UniformResourceIdentifier("urn:device:serial:ABC123"), x509.DNSName("laptop.corp.example"),
     x509.RFC822Name("dev@corp.example")],
)  # fmt: skip
MAPPED = leaf(CLIENT, SAN, subject=name((NameOID.COMMON_NAME, "host-7"), (NameOID.SERIAL_NUMBER, "SN77")))


@pytest.mark.parametrize(
    ("field", "match", "value"),
    [
        ("subject.CN", "(.+)", "host-7"),
        ("subject.serialNumber", "SN([0-9]+)", "77"),
        ("san.uri", "urn:device:serial:([A-Z0-9]{6,14})", "ABC123"),
        ("san.dns", r"([a-z]+)\.corp\.example", "laptop"),
        ("san.email", "([^@]+)@corp.example", "dev"),
    ],
)
def test_mapping(field: str, match: str, value: str) -> None:
    assert device_of(MAPPED, DeviceCertificate(field=field, match=match, kind="serial")) == Identifier(
        "serial", value
    )


TWO = leaf(CLIENT, x509.SubjectAlternativeName([x509.DNSName("a.example"), x509.DNSName("b.example")]))
NUL = leaf(subject=name((NameOID.COMMON_NAME, "SER-1\x00.evil")))
TWO_CN = leaf(subject=name((NameOID.COMMON_NAME, "A"), (NameOID.COMMON_NAME, "B")))
JUNK = leaf(subject=name((NameOID.COMMON_NAME, "To Be Filled By O.E.M.")))


@pytest.mark.parametrize(
    ("certificate", "source"),
    [
        (MAPPED, DeviceCertificate(field="subject.CN", match="ost-7")),
        (MAPPED, DeviceCertificate(field="subject.CN", match="(ost)")),
        (MAPPED, DeviceCertificate(field="subject.CN", match="host-7")),
        (MAPPED, DeviceCertificate(field="subject.CN", match="(h)(.+)")),
        (MAPPED, DeviceCertificate(field="subject.CN", match="host-7(x)?")),
        (MAPPED, DeviceCertificate(field="subject.CN", match="(")),
        (MAPPED, DeviceCertificate(field="subject.O")),
        (TWO, DeviceCertificate(field="san.dns")),
        (TWO, DeviceCertificate(field="san.uri")),
        (leaf(), DeviceCertificate(field="san.dns")),
        (leaf(), DeviceCertificate(field="subject.serialNumber")),
        (NUL, DeviceCertificate()),
        (TWO_CN, DeviceCertificate()),
        (JUNK, DeviceCertificate()),
    ],
)
def test_mapping_that_finds_nothing(certificate: x509.Certificate, source: DeviceCertificate) -> None:
    """T8: exactly one value, matched whole, with one capture, of printable characters."""
    with pytest.raises(CertificateRefused):
        device_of(certificate, source)


# --- Client-Cert (RFC 9440) -------------------------------------------------------------------------------


def header(raw: bytes) -> bytes:
    return b":" + base64.b64encode(raw) + b":"


def test_forwarded_certificates() -> None:
    assert parse_client_cert([]) is None
    assert parse_client_cert([header(GOOD)]) == GOOD
    assert parse_client_cert([b"  " + header(b"ab") + b" "]) == b"ab"
    assert parse_client_cert([b":YWI:"]) == b"ab", "padding may be missing"


@given(st.binary(min_size=1, max_size=300))
def test_forwarded_round_trip(raw: bytes) -> None:
    assert parse_client_cert([header(raw)]) == raw


@pytest.mark.parametrize(
    "lines",
    [
        [header(GOOD), header(GOOD)],
        [b""],
        [b"::"],
        [b"YWI="],
        [b":YWI=:;a=1"],
        [b":YWI=:, :YWI=:"],
        [b":YW I=:"],
        [b":YWI-:"],
        [b":YWI_:"],
        [b":Y:"],
        [b":Y===:"],
        [b"\t:YWI=:"],
        [b":YWI=:\n"],
        [b":" + b"A" * MAX_HEADER + b":"],
        [b"-----BEGIN CERTIFICATE-----"],
        [b'"YWI="'],
        [b":\xff:"],
    ],
)
def test_forwarded_lines_that_are_refused(lines: list[bytes]) -> None:
    """H4: one line, one byte sequence, nothing else."""
    with pytest.raises(ForwardedCertificateRefused):
        parse_client_cert(lines)


@given(st.lists(st.binary(max_size=60), max_size=2))
def test_forwarded_never_raises_anything_else(lines: list[bytes]) -> None:
    try:
        parse_client_cert(lines)
    except ForwardedCertificateRefused:
        return


# --- together ---------------------------------------------------------------------------------------------

CLAIM, CERTIFICATE = DeviceClaim(claim="device_id", kind="serial"), DeviceCertificate(kind="serial")
CLAIMED = (ClaimedDevice("device_id", Identifier("serial", "SER-2")),)


def test_a_certificate_comes_before_a_claim() -> None:
    """Both are told, so that a contradiction can be seen; the stronger one first (Z1, Z3)."""
    found = identify_device(CLAIMED, GOOD, (CLAIM, CERTIFICATE), CA, NOW)
    assert [each.source for each in found.statements] == ["certificate subject.CN", "claim device_id"]
    assert (found.source, found.strength) == ("certificate subject.CN", Strength.CERTIFICATE)
    assert [each.value for each in found.identifiers] == ["SER-1", "SER-2"]
    assert found.refused == ""


def test_nothing_known() -> None:
    found = identify_device((), b"", (CLAIM, CERTIFICATE), CA, NOW)
    assert (found.statements, found.source, found.strength, found.identifiers) == ((), "", Strength.NONE, ())


@pytest.mark.parametrize(
    ("evidence", "sources", "ca", "refused"),
    [
        (GOOD, (CLAIM,), CA, ""),
        (GOOD, (CLAIM, CERTIFICATE), None, "no device CA is configured"),
        (der(REFUSED["expired"]), (CLAIM, CERTIFICATE), CA, "not issued by the device CA"),
        (b"junk", (CLAIM, CERTIFICATE), CA, "unreadable"),
        (GOOD, (CLAIM, DeviceCertificate(field="san.uri")), CA, "`san.uri` has 0 values"),
    ],
)
def test_a_certificate_that_does_not_count(evidence: bytes, sources: Any, ca: Any, refused: str) -> None:
    """It says nothing and hides nothing: the claim stands, and the reason is there to be shown."""
    found = identify_device(CLAIMED, evidence, sources, ca, NOW)
    assert [each.source for each in found.statements] == ["claim device_id"]
    assert found.strength is Strength.PROVIDER_CLAIM
    assert found.refused.startswith(refused)


def test_claims_count_only_while_they_are_configured() -> None:
    """A session from before a change of the configuration does not keep a source alive."""
    assert identify_device(CLAIMED, b"", (DeviceClaim(claim="other"),), CA, NOW).statements == ()
    assert (
        identify_device(CLAIMED, b"", (DeviceClaim(claim="device_id", kind="udid"),), CA, NOW).statements
        == ()
    )


def test_claims_from_a_sign_in() -> None:
    """I1 to I4: mapped claims, dotted paths, junk and other types say nothing."""
    sources = (
        CLAIM,
        DeviceClaim(claim="device.udid", kind="udid"),
        DeviceClaim(claim="host", kind="hostname"),
    )
    claims = {"device_id": " SER-9 ", "device": {"udid": "U-1"}, "host": "localhost"}
    assert claimed_devices(claims, sources) == (
        ClaimedDevice("device_id", Identifier("serial", "SER-9")),
        ClaimedDevice("device.udid", Identifier("udid", "U-1")),
    )
    assert claimed_devices({"device_id": ["a", "b"], "device": 7, "host": None}, sources) == ()
