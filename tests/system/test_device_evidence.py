"""Which device a request comes from, at the real listeners: TLS client certificates, and `Client-Cert` of a proxy."""

import base64
import json
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.system.stack import HEALTHY, Person, Stack, running_stack

pytestmark = pytest.mark.op

CERTIFICATE = "  - {{from: certificate, field: subject.serialNumber, header: {header}, ca: {ca}}}"


class DeviceAuthority:
    """The CA that an organisation's device management runs."""

    def __init__(self, folder: Path) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Device CA")])
        self._certificate = self._signed(self._name, self._key.public_key(), is_ca=True)
        self.path = folder / "device-ca.pem"
        self.path.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def device(self, serial: str, folder: Path) -> tuple[Path, bytes]:
        """Return the PEM file (key and certificate) of a device, and its certificate's DER."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.SERIAL_NUMBER, serial)])
        certificate = self._signed(name, key.public_key(), is_ca=False)
        path = folder / f"{serial}.pem"
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        path.write_bytes(pem + certificate.public_bytes(serialization.Encoding.PEM))
        return path, certificate.public_bytes(serialization.Encoding.DER)

    def _signed(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, is_ca: bool) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        )
        usage = x509.KeyUsage(
            digital_signature=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=is_ca,
            crl_sign=is_ca,
            encipher_only=False,
            decipher_only=False,
        )
        builder = builder.add_extension(usage, critical=True)
        if not is_ca:
            eku = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
            builder = builder.add_extension(eku, critical=False)
            san = x509.SubjectAlternativeName([x509.DNSName("device.example")])
            builder = builder.add_extension(san, critical=False)
        return builder.sign(self._key, hashes.SHA256())


async def status_of(person: Person, stack: Stack, **headers: str) -> tuple[int, str]:
    """Return status and problem code of an API request."""
    status, _, text = await person.get(
        stack.url("/x"),
        navigate=False,
        headers={"Accept": "application/json", **headers},
    )
    return status, json.loads(text).get("code", "")


async def test_a_tls_client_certificate_names_the_device() -> None:
    """One session, two devices: the certificate of each connection decides, not what the sign-in said."""
    async with running_stack(scheme="https", starts=False) as stack:
        authority = DeviceAuthority(stack.folder)
        web_ca = trustme.CA()
        server = web_ca.issue_cert("*.localhost", "localhost", "login.localhost", "notes.localhost")
        server.private_key_pem.write_to_path(stack.folder / "key.pem")
        server.cert_chain_pems[0].write_to_path(stack.folder / "cert.pem")
        tls = (
            f"  tls: {{certificates: [{{cert: {stack.folder}/cert.pem, key: {stack.folder}/key.pem}}], "
            f"client_certificates: optional, client_ca: {authority.path}}}"
        )
        stack.write_config(server=tls, devices=CERTIFICATE.format(header="false", ca=authority.path))
        stack.tls = ssl.create_default_context()
        web_ca.configure_trust(stack.tls)
        await stack.start()
        await stack.signal_risk("open", event="d1", serial="SER-ALICE-1", **HEALTHY)
        await stack.signal_risk("open", event="d2", serial="SER-OTHER", host="other")

        without = Person(client_tls(web_ca))
        known, _ = authority.device("SER-ALICE-1", stack.folder)
        other, _ = authority.device("SER-OTHER", stack.folder)
        healthy = Person(client_tls(web_ca, known))
        infected = Person(client_tls(web_ca, other))
        try:
            assert (await healthy.sign_in(stack.url("/")))[0] == 200
            assert (await status_of(healthy, stack))[0] == 200
            assert (await infected.sign_in(stack.url("/")))[0] == 403
            assert await status_of(infected, stack) == (403, "remediation-required")
            assert (await without.sign_in(stack.url("/")))[0] == 403
            for cookie in healthy.http.cookie_jar:
                if cookie.key.startswith("__Host-gate") or cookie.key == "__Host-gate":
                    assert cookie["secure"]
                    assert not cookie["domain"].startswith(".")
            infected.http.cookie_jar.clear()
            infected.http.cookie_jar._cookies.update(healthy.http.cookie_jar._cookies)
            assert (await status_of(infected, stack))[0] == 403
        finally:
            for person in (healthy, infected, without):
                await person.close()


def client_tls(web_ca: trustme.CA, certificate: Path | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    web_ca.configure_trust(context)
    if certificate is not None:
        context.load_cert_chain(certificate)
    return context


@pytest.mark.parametrize("is_trusted", [True, False])
async def test_client_cert_counts_from_a_trusted_proxy_only(is_trusted: bool) -> None:
    """RFC 9440: the proxy that ended TLS names the certificate; anybody else's header says nothing."""
    async with running_stack(starts=False, workers=0) as stack:
        authority = DeviceAuthority(stack.folder)
        trusted = "127.0.0.1/32" if is_trusted else "192.0.2.1/32"
        stack.write_config(
            server=f"  trusted_proxies: [{trusted}]",
            devices=CERTIFICATE.format(header="true", ca=authority.path),
        )
        await stack.start()
        await stack.signal_risk("open", event="d1", serial="SER-ALICE-1", **HEALTHY)
        _, der = authority.device("SER-ALICE-1", stack.folder)
        _, forged = DeviceAuthority(stack.folder / ".").device("SER-ALICE-1", stack.folder)
        person = Person()
        try:
            await person.sign_in(stack.url("/"))
            assert (await status_of(person, stack))[0] == 403
            header = f":{base64.b64encode(der).decode()}:"
            expected = 200 if is_trusted else 403
            assert (await status_of(person, stack, **{"Client-Cert": header}))[0] == expected
            false = f":{base64.b64encode(forged).decode()}:"
            assert (await status_of(person, stack, **{"Client-Cert": false}))[0] == 403
            assert (await status_of(person, stack, **{"Client-Cert": "nonsense"}))[0] == 403
            assert (await status_of(person, stack))[0] == 403
            seen = [name.lower() for request in stack.upstream.requests for name in request]
            assert "client-cert" not in seen
        finally:
            await person.close()
