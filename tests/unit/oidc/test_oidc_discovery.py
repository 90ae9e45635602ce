"""Provider metadata: what is required, what is refused (D1 to D4)."""

import json
from typing import Any

import pytest

from gateway.oidc.discovery import is_loopback_host, is_safe_url, metadata_url, parse_metadata
from gateway.oidc.faults import ProviderFault, ProviderReason
from tests.op.stub import DROP

ISSUER = "https://idp.example"
GOOD: dict[str, Any] = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/authorize",
    "token_endpoint": f"{ISSUER}/token",
    "jwks_uri": "https://keys.idp.example/jwks",
    "response_types_supported": ["code", "id_token"],
    "id_token_signing_alg_values_supported": ["RS256", "HS256"],
}


def parsed(changes: dict[str, Any], issuer: str = ISSUER) -> Any:
    members = {name: value for name, value in {**GOOD, **changes}.items() if value is not DROP}
    return parse_metadata(json.dumps(members).encode(), issuer=issuer, algorithms=("RS256", "ES256"))


def reason(changes: dict[str, Any], issuer: str = ISSUER) -> ProviderReason:
    with pytest.raises(ProviderFault) as caught:
        parsed(changes, issuer)
    assert caught.value.is_temporary
    return caught.value.reason


def test_metadata_url_drops_one_slash() -> None:
    """D1."""
    assert metadata_url("https://a/b/") == "https://a/b/.well-known/openid-configuration"
    assert metadata_url("https://a") == "https://a/.well-known/openid-configuration"


def test_what_is_used_is_read() -> None:
    """D4: optional members change what the gateway does."""
    plain = parsed({})
    assert (plain.userinfo_endpoint, plain.end_session_endpoint, plain.is_issuer_in_response) == (
        None,
        None,
        False,
    )
    full = parsed(
        {
            "userinfo_endpoint": f"{ISSUER}/me",
            "end_session_endpoint": f"{ISSUER}/out",
            "authorization_response_iss_parameter_supported": True,
            "acr_values_supported": ["a", "b"],
            "token_endpoint_auth_methods_supported": ["none"],
        },
    )
    assert full.userinfo_endpoint == f"{ISSUER}/me"
    assert full.end_session_endpoint == f"{ISSUER}/out"
    assert full.is_issuer_in_response
    assert full.acr_values == ("a", "b")
    assert full.token_auth_methods == ("none",)


@pytest.mark.parametrize(
    "issuer", [ISSUER + "/", ISSUER.upper(), ISSUER + ":443", "https://idp.example.evil"]
)
def test_another_issuer_is_refused(issuer: str) -> None:
    """D2: exact text, no normalisation in either direction."""
    assert reason({"issuer": issuer}) is ProviderReason.ISSUER_MISMATCH
    assert reason({}, issuer) is ProviderReason.ISSUER_MISMATCH


@pytest.mark.parametrize("name", sorted(set(GOOD) - {"issuer"}))
@pytest.mark.parametrize("value", [DROP, None, 7, {}, ["", 1]])
def test_each_required_member(name: str, value: Any) -> None:
    """D3: missing and mistyped members."""
    assert reason({name: value}) in {ProviderReason.METADATA_INCOMPLETE, ProviderReason.METADATA_BAD_URL}


@pytest.mark.parametrize(
    "name", ["authorization_endpoint", "token_endpoint", "jwks_uri", "end_session_endpoint"]
)
@pytest.mark.parametrize(
    "url",
    [
        "http://idp.example/x",
        "http://127.0.0.1/x",
        "ftp://a/x",
        "//a/x",
        "https:///x",
        "https://u@a/x",
        "https://a/x#f",
        "https://a/\nx",
        "https://a\\b",
        "javascript:x",
        "https://a:99999/x",
        "https://[::1/x",
        "https://a/" + "x" * 3000,
        "/x",
    ],
)
def test_unsafe_urls(name: str, url: str) -> None:
    """D3: everything the gateway calls or sends browsers to is https with a host, and nothing else."""
    assert reason({name: url}) is ProviderReason.METADATA_BAD_URL


def test_http_is_for_loopback_issuers_only() -> None:
    local = "http://127.0.0.1:3000"
    changes = {
        "issuer": local,
        "authorization_endpoint": f"{local}/a",
        "token_endpoint": f"{local}/t",
        "jwks_uri": "http://localhost:3000/k",
    }
    assert parsed(changes, local).token_endpoint == f"{local}/t"
    assert (
        reason({**changes, "token_endpoint": "http://idp.example/t"}, local)
        is ProviderReason.METADATA_BAD_URL
    )


def test_algorithms_in_common() -> None:
    assert (
        reason({"id_token_signing_alg_values_supported": ["HS256", "none"]})
        is ProviderReason.NO_COMMON_ALGORITHM
    )
    assert reason({"response_types_supported": ["id_token"]}) is ProviderReason.METADATA_INCOMPLETE


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b'{"issuer": "a", "issuer": "b"}', b"[" * 20000])
def test_what_is_no_object(body: bytes) -> None:
    with pytest.raises(ProviderFault) as caught:
        parse_metadata(body, issuer=ISSUER, algorithms=("RS256",))
    assert caught.value.reason is ProviderReason.NOT_JSON


@pytest.mark.parametrize(
    ("host", "is_local"),
    [("localhost", True), ("App.Localhost", True), ("127.8.9.1", True), ("[::1]", True), ("::1", True),
     ("localhost.evil.example", False), ("10.0.0.1", False), ("127.0.0.1.evil.example", False), ("", False)],
)  # fmt: skip
def test_loopback_hosts(host: str, is_local: bool) -> None:
    assert is_loopback_host(host) is is_local


def test_safe_url_takes_only_text() -> None:
    assert not is_safe_url(None, is_http_allowed=True)
    assert is_safe_url("https://[2001:db8::1]:8443/x?y=z", is_http_allowed=False)
