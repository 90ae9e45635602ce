"""Forms of single values that several checks ask about: URLs, hosts, addresses, secrets. Pure."""

import base64
import binascii
import ipaddress
import re
import ssl
from urllib.parse import SplitResult, urlsplit

from compliance.model import AccessPolicy
from gateway.wire.faults import RequestFault
from gateway.wire.target import canonical_path, is_ambiguous, plain_signs
from plugins.verify import parse_public_key
from risk.values import Secret

WHSEC_BYTES = (24, 64)

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"

_HOST = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})*\.?", re.ASCII)


def reason(error: Exception) -> str:
    """Return what OpenSSL said, in words: `key values mismatch` of `[X509: KEY_VALUES_MISMATCH] key values ...`."""
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    return getattr(error, "strerror", None) or str(error)


def is_for_everyone(policy: AccessPolicy) -> bool:
    """Return whether a policy covers every person."""
    return policy.include.is_for_everyone


def parse_url(text: str) -> SplitResult | None:
    """Return the parts of a URL without spaces, controls or a bad port, None when it is none."""
    if not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
        return None
    try:
        url = urlsplit(text)
        _ = url.port
    except ValueError:
        return None
    return url if url.scheme and url.netloc and url.hostname else None


def path_fault(path: str) -> str | None:
    """Return why a text is not the one spelling of a path that every app reads alike, None when it is."""
    raw = path.encode()
    try:
        canonical = canonical_path(raw)
    except RequestFault as fault:
        return fault.detail
    plain = plain_signs(canonical.decode())
    if plain != path:
        return f"write `{plain}`"
    return "apps may disagree about what it means" if is_ambiguous(canonical) else None


def parse_listen(text: str) -> tuple[str, int] | None:
    """Return address and port of `127.0.0.1:8080`, `[::1]:8080` or `localhost:8080`, None when it is none."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:  # noqa: PLR2004 - ports
        return None
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        return None
    if host in {"", "*"}:
        return None
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if _HOST.fullmatch(host.lower()) is None or is_bad_host(host) or "*" in host:
            return None
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Return whether a host can only be this machine: a loopback address, `localhost` or a name below it."""
    name = host.lower().rstrip(".").removeprefix("[").removesuffix("]")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def is_bad_host(host: str) -> bool:
    """Return whether a host looks like an address but is none (`10.0.0.300`), or is too long."""
    name = host.rstrip(".")
    looks_like_address = all(label.isdigit() for label in name.split("."))
    if looks_like_address:
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return True
    return len(name) > 253  # noqa: PLR2004 - RFC 1035


def is_whsec(secret: Secret) -> bool:
    """Return whether a secret is `whsec_` and base64 of 24 to 64 bytes. Source: Standard Webhooks 1.0."""
    text = secret.reveal()
    if not text.startswith("whsec_"):
        return False
    try:
        raw = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        return False
    low, high = WHSEC_BYTES
    return low <= len(raw) <= high


def is_whpk(secret: Secret) -> bool:
    """Return whether a secret is `whpk_` and base64 of an Ed25519 public key. Source: Standard Webhooks 1.0."""
    try:
        parse_public_key(secret)
    except ValueError:
        return False
    return True


def cidr_hint(cidr: str) -> str:
    """Return what to write instead of a text that is no address range."""
    try:
        return f"did you mean `{ipaddress.ip_network(cidr, strict=False)}`?"
    except ValueError:
        return "such as `10.0.0.0/8` or `2001:db8::/32`"


def host_hint(host: str) -> str:
    """Return what to write instead of a text that is no host name."""
    if "://" in host:
        name = parse_url(host)
        return f"did you mean `{name.hostname}`? without scheme and port" if name else "without scheme"
    if host != host.lower():
        return f"did you mean `{host.lower()}`?"
    if re.fullmatch(r"[^:]+:[0-9]+", host):
        return f"did you mean `{host.rpartition(':')[0]}`? the port is `server.listen`'s"
    if not host.isascii():
        return "write international names in their `xn--` form"
    if "*" in host:
        return "`*.example.org` stands for one label; `*` stands nowhere else"
    return "such as `app.example.org`"
