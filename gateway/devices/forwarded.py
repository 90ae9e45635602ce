"""`Client-Cert` of a proxy that ended TLS: a structured-field byte sequence (RFC 9440 section 2.2).

Who may send it is decided elsewhere (`server.trusted_proxies`); the certificate is verified again by
`certificate.verify_leaf`, because a header is not a handshake.
"""

import base64
import binascii
import re
from collections.abc import Sequence

from gateway.devices.certificate import MAX_LEAF_BYTES

MAX_HEADER = (MAX_LEAF_BYTES * 4 + 2) // 3 + 4

_BYTE_SEQUENCE = re.compile(rb"[ ]*:([A-Za-z0-9+/]+={0,2}):[ ]*\Z")


class ForwardedCertificateRefused(Exception):
    """The header lines are not exactly one byte sequence; the request must not go on with any of them."""


def parse_client_cert(values: Sequence[bytes]) -> bytes | None:
    """Return the DER of the one `Client-Cert` line, None when there is no line.

    Raises `ForwardedCertificateRefused` for repeated lines, parameters, other spellings and what is too
    large. A sequence whose last group lacks padding is accepted, as RFC 8941 section 4.2.7 wishes.
    """
    if not values:
        return None
    if len(values) > 1:
        raise ForwardedCertificateRefused("`Client-Cert` is repeated")
    if len(values[0]) > MAX_HEADER:
        raise ForwardedCertificateRefused("`Client-Cert` is too large")
    found = _BYTE_SEQUENCE.match(values[0])
    if found is None:
        raise ForwardedCertificateRefused("`Client-Cert` is no byte sequence")
    text = found[1].rstrip(b"=")
    try:
        return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error as error:
        raise ForwardedCertificateRefused("`Client-Cert` is no base64") from error
