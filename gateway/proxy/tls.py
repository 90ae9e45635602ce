"""TLS of the listener: several certificates by SNI, and client certificates of a device CA where asked for."""

import ssl
from typing import Any
from weakref import WeakKeyDictionary

from cryptography import x509

from gateway.config.schema import Certificate, ClientCertificates, Tls

_TOLD = b"This port speaks https, and was sent plain http. Use an https:// address.\n"
PLAIN_HTTP = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n%b"
) % (len(_TOLD), _TOLD)
"""What whoever speaks plain http to a TLS listener is told, in plain http."""

_NAMES: WeakKeyDictionary[ssl.SSLObject, str] = WeakKeyDictionary()
"""What clients asked for by SNI, for as long as their connections live: the library does not keep it for a server."""


def asked_name(connection: ssl.SSLObject) -> str:
    """Return the server name that the client asked for, in lower case; empty when it named none."""
    return _NAMES.get(connection, "")


def _matches(pattern: str, name: str) -> bool:
    """Return whether a certificate's name is for this host; `*.` stands for one label (RFC 6125 section 6.4.3)."""
    return pattern == name or (pattern.startswith("*.") and name.partition(".")[2] == pattern[2:])


def listener_tls(tls: Tls) -> ssl.SSLContext:
    """Return the server context: the first certificate is the default, the others answer to their names by SNI.

    Raises `OSError` or `ssl.SSLError` when a file cannot be used.
    """
    context = _context(tls, tls.certificates[0])
    _choose_by_name(context, tls)
    return context


def renew(context: ssl.SSLContext, tls: Tls) -> None:
    """Use the certificate files as they are now. Raises as `listener_tls`, and changes nothing then."""
    _context(tls, tls.certificates[0])
    _choose_by_name(context, tls)
    context.load_cert_chain(tls.certificates[0].cert, tls.certificates[0].key)


def _choose_by_name(context: ssl.SSLContext, tls: Tls) -> None:
    contexts = [_context(tls, each) for each in tls.certificates]
    by_name = [
        (name, chosen)
        for each, chosen in zip(tls.certificates, contexts, strict=True)
        for name in _names(each)
    ]

    def choose(connection: ssl.SSLObject, name: str | None, _default: ssl.SSLContext) -> None:
        asked = (name or "").lower()
        if asked:
            _NAMES[connection] = asked
        # Never the listener's own context: what that one was told about authorities of clients cannot be renewed.
        matching = (chosen for pattern, chosen in by_name if _matches(pattern, asked))
        connection.context = next(matching, contexts[0])

    context.sni_callback = choose


class _Connection(ssl.SSLObject):
    """The server's side of a connection, which answers plain http instead of hanging up without a word."""

    incoming: ssl.MemoryBIO
    outgoing: ssl.MemoryBIO
    has_answered = False

    def do_handshake(self) -> None:
        """Go on with the handshake. When plain http came, send the answer; whatever comes then ends the connection."""
        if self.has_answered:
            raise ssl.SSLError("plain http was answered")
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as fault:
            if not self._is_http(fault):
                raise
            self.has_answered = True
            self.outgoing.read()  # an alert, which nobody could read
            self.outgoing.write(PLAIN_HTTP)
            raise ssl.SSLWantReadError from fault

    def _is_http(self, fault: ssl.SSLError) -> bool:
        """Return whether a request line came. OpenSSL knows some methods; it has read five bytes and left the rest."""
        return fault.reason == "HTTP_REQUEST" or b" HTTP/1." in self.incoming.read().partition(b"\r\n")[0]


class _Context(ssl.SSLContext):
    """A server context whose connections are of `_Connection`."""

    sslobject_class = _Connection

    def wrap_bio(
        self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *arguments: Any, **options: Any
    ) -> ssl.SSLObject:
        """Return a connection that knows where its bytes come from and go to."""
        connection = super().wrap_bio(incoming, outgoing, *arguments, **options)
        if isinstance(connection, _Connection):
            connection.incoming, connection.outgoing = incoming, outgoing
        return connection


def _context(tls: Tls, certificate: Certificate) -> ssl.SSLContext:
    context = _Context(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(certificate.cert, certificate.key)
    if tls.client_certificates is not ClientCertificates.OFF:
        # INVARIANT: only the device CA; the system store would let any public certificate in.
        context.load_verify_locations(cafile=tls.client_ca)
        is_required = tls.client_certificates is ClientCertificates.REQUIRED
        context.verify_mode = ssl.CERT_REQUIRED if is_required else ssl.CERT_OPTIONAL
    return context


def _names(certificate: Certificate) -> list[str]:
    """Return the DNS names that a certificate is for, lower-case."""
    with open(certificate.cert, "rb") as file:  # noqa: PTH123 - one read of a small file
        leaf = x509.load_pem_x509_certificates(file.read())[0]
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [name.lower() for name in names.get_values_for_type(x509.DNSName)]
