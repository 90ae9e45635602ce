"""Provider metadata: where it is, and what it must hold before anything uses it (rules D1 to D5)."""

from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import msgspec

from gateway.oidc.faults import ProviderFault, ProviderReason
from gateway.oidc.strict_json import parse_object

MAX_METADATA_BYTES = 256 * 1024
MAX_URL = 2048
MAX_LIST = 200


class ProviderMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """What the gateway uses of a provider's metadata.

    URLs have been checked; None means that it offers none.
    """

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    end_session_endpoint: str | None = None
    is_issuer_in_response: bool = False
    acr_values: tuple[str, ...] = ()
    token_auth_methods: tuple[str, ...] = ("client_secret_basic",)


def metadata_url(issuer: str) -> str:
    """Return where the issuer's metadata is.

    One trailing slash is dropped first. Source: Discovery 1.0 section 4.

    >>> metadata_url("https://idp.example/realms/x/")
    'https://idp.example/realms/x/.well-known/openid-configuration'
    """
    return issuer.removesuffix("/") + "/.well-known/openid-configuration"


def is_loopback_host(host: str) -> bool:
    """Return whether a host name can only be this machine: `localhost`, `*.localhost`, 127/8, ::1."""
    name = host.lower().removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False


def is_safe_url(url: Any, *, is_http_allowed: bool) -> bool:
    """Return whether `url` may be called or redirected to: absolute, https, no user part, no fragment.

    `is_http_allowed` lets plain http through to loopback hosts only.
    """
    if (
        not isinstance(url, str)
        or len(url) > MAX_URL
        or not url.isascii()
        or not url.isprintable()
        or " " in url
    ):
        return False
    try:
        parts = urlsplit(url)
        has_port = parts.port is None or parts.port > 0
    except ValueError:
        return False
    if not parts.hostname or not has_port or "@" in parts.netloc or "#" in url or "\\" in url:
        return False
    if parts.scheme == "https":
        return True
    return parts.scheme == "http" and is_http_allowed and is_loopback_host(parts.hostname)


def parse_metadata(body: bytes, *, issuer: str, algorithms: tuple[str, ...]) -> ProviderMetadata:
    """Return the checked metadata of the configured `issuer`.

    Raises `ProviderFault`: not JSON, another issuer than exactly `issuer` (D2), a required member missing or
    an unsafe URL (D3), or no ID-token algorithm in common with `algorithms`.
    """
    try:
        document = parse_object(body)
    except ValueError as error:
        raise ProviderFault(ProviderReason.NOT_JSON, f"metadata: {error}") from error
    if document.get("issuer") != issuer:
        raise ProviderFault(
            ProviderReason.ISSUER_MISMATCH,
            f"metadata says issuer `{str(document.get('issuer'))[:200]}`, the configuration says `{issuer}`",
        )
    is_http_allowed = is_safe_url(issuer, is_http_allowed=True) and issuer.startswith("http://")
    if "code" not in _texts(document, "response_types_supported", is_required=True):
        raise ProviderFault(ProviderReason.METADATA_INCOMPLETE, "`response_types_supported` lacks `code`")
    offered = _texts(document, "id_token_signing_alg_values_supported", is_required=True)
    if not set(offered) & set(algorithms):
        raise ProviderFault(
            ProviderReason.NO_COMMON_ALGORITHM,
            f"provider signs with {', '.join(offered)[:200]}, the configuration allows {', '.join(algorithms)}",
        )

    def url(name: str) -> str:
        value = optional_url(name)
        if value is None:
            raise ProviderFault(ProviderReason.METADATA_INCOMPLETE, f"`{name}` is missing")
        return value

    def optional_url(name: str) -> str | None:
        value = document.get(name)
        if value is None:
            return None
        if not is_safe_url(value, is_http_allowed=is_http_allowed):
            raise ProviderFault(ProviderReason.METADATA_BAD_URL, f"`{name}` is no safe https URL")
        return str(value)

    return ProviderMetadata(
        issuer=issuer,
        authorization_endpoint=url("authorization_endpoint"),
        token_endpoint=url("token_endpoint"),
        jwks_uri=url("jwks_uri"),
        userinfo_endpoint=optional_url("userinfo_endpoint"),
        end_session_endpoint=optional_url("end_session_endpoint"),
        is_issuer_in_response=document.get("authorization_response_iss_parameter_supported") is True,
        acr_values=_texts(document, "acr_values_supported"),
        token_auth_methods=_texts(document, "token_endpoint_auth_methods_supported")
        or ("client_secret_basic",),
    )


def _texts(document: dict[str, Any], name: str, *, is_required: bool = False) -> tuple[str, ...]:
    value = document.get(name)
    if value is None and not is_required:
        return ()
    if (
        not isinstance(value, list)
        or not all(isinstance(item, str) for item in value)
        or len(value) > MAX_LIST
    ):
        raise ProviderFault(ProviderReason.METADATA_INCOMPLETE, f"`{name}` is missing or no list of texts")
    return tuple(value)
