"""Checks of the scheme `client-certificate`."""

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.config.certificates import ClientCertificate
from gateway.config.checks.shared import Checks
from gateway.config.errors import Code, KeyPath, shown
from gateway.config.schema import ClientCertificates, Server, Tls


def check_client_certificate(checks: Checks, path: KeyPath, auth: ClientCertificate) -> None:
    """Check that the CA can be read, that somebody may send, and that a certificate can arrive."""
    checks.bundle((*path, "ca"), auth.ca)
    if not auth.names or not all(name.strip() for name in auth.names):
        message = "`names` says who may send: the CA may have issued certificates to others as well"
        checks.fault(Code.UNSAFE, (*path, "names"), message, "such as `names: [alertmanager.example.org]`")
    server = next((server for _, server in checks.all(Server)), Server())
    if auth.header:
        if not server.trusted_proxies and checks.decoder.is_sound(("server", "trusted_proxies")):
            message = "`header: true` needs `server.trusted_proxies`: else anybody could send the header"
            checks.fault(Code.UNSAFE, (*path, "header"), message)
        return
    if checks.decoder.is_sound(("server", "tls")):
        _check_listener(checks, path, auth, server.tls)


def _check_listener(checks: Checks, path: KeyPath, auth: ClientCertificate, tls: Tls | None) -> None:
    if tls is None or tls.client_certificates is ClientCertificates.OFF or tls.client_ca is None:
        message = "no client certificate can arrive: the listener does not ask for one"
        hint = "set `server.tls.client_certificates: optional`, or `header: true` behind a trusted proxy"
        checks.fault(Code.DEVICE, path, message, hint)
        return
    missing = _issuers(checks, auth.ca) - _issuers(checks, tls.client_ca)
    if missing:
        message = (
            f"the listener refuses certificates of {shown(auth.ca)}: `server.tls.client_ca` lacks that CA"
        )
        hint = "add it to that bundle, and give each certificate source of `devices` its own `ca`"
        checks.fault(Code.DEVICE, (*path, "ca"), message, hint)


def _issuers(checks: Checks, name: str) -> frozenset[bytes]:
    """Return the keys of a bundle's certificates, nothing for a bundle that another check refuses."""
    try:
        found = x509.load_pem_x509_certificates((checks.base / name).read_bytes())
    except (OSError, ValueError):
        return frozenset()
    return frozenset(each.public_bytes(Encoding.DER) for each in found)
