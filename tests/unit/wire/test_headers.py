"""Which fields pass: identity namespaces in every spelling, hop-by-hop fields, nominations, trailers."""

import pytest

from gateway.wire.faults import FaultCode, WireFault
from gateway.wire.headers import (
    HOP_BY_HOP,
    PASSES_UPSTREAM,
    connection_options,
    is_protected,
    passing_trailers,
)

IDENTITY_NAMES = [
    "Client-Cert",
    "Client-Cert-Chain",
    "X-Forwarded-Client-Cert",
    "X-SSL-Client-Verify",
    "X-SSL-Client-Cert",
    "SSL-Client-Verify",
    "SSL-Client-Cert",
    "SSL-Client-Subject-DN",
    "X-Client-Cert",
    "X-Client-Cert-Chain",
    "X-Forwarded-Tls-Client-Cert",
    "X-Forwarded-Tls-Client-Cert-Info",
    "X-Amzn-Mtls-Clientcert",
    "X-Amzn-Mtls-Clientcert-Leaf",
    "X-ARR-ClientCert",
    "CloudFront-Viewer-Cert-Present",
    "CloudFront-Viewer-Cert-Sha256",
    "Cf-Client-Cert-Der-Base64",
    "Cf-Access-Jwt-Assertion",
    "Cf-Access-Authenticated-User-Email",
    "X-Goog-Iap-Jwt-Assertion",
    "X-Goog-Authenticated-User-Email",
    "X-MS-CLIENT-PRINCIPAL",
    "X-MS-CLIENT-PRINCIPAL-NAME",
    "X-Amzn-Oidc-Data",
    "X-Amzn-Oidc-Identity",
    "X-Auth-Request-User",
    "X-Auth-Request-Email",
    "X-Forwarded-User",
    "X-Forwarded-Groups",
    "X-Forwarded-Email",
    "X-Forwarded-Preferred-Username",
    "X-Forwarded-Access-Token",
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "Forwarded",
    "Remote-User",
    "Remote-Groups",
    "Remote-Name",
    "Remote-Email",
    "X-Remote-User",
    "X-Remote-Group",
    "X-WebAuth-User",
    "X-Authentik-Username",
    "X-Device-Id",
    "X-Gate-User",
    "X-Gate-Assertion",
    "X-Gate-Anything",
    "X-Original-URL",
    "X-Original-Method",
    "X-Rewrite-URL",
]


@pytest.mark.parametrize("name", IDENTITY_NAMES)
def test_identity_never_passes(name: str) -> None:
    """In the dashed spelling, in the underscored one that CGI folds into it, and in any mixture."""
    lower = name.lower()
    for spelling in {lower, lower.replace("-", "_"), lower.replace("-", "_", 1)}:
        assert not PASSES_UPSTREAM[spelling.encode()]


@pytest.mark.parametrize(
    "name", ["accept", "authorization", "content-type", "range", "sec-websocket-key", "x-requested-with"]
)
def test_ordinary_names_pass(name: str) -> None:
    assert PASSES_UPSTREAM[name.encode()]


@pytest.mark.parametrize("name", sorted(HOP_BY_HOP))
def test_hop_by_hop_never_passes(name: bytes) -> None:
    assert not PASSES_UPSTREAM[name]


def test_any_underscore_is_dropped() -> None:
    assert not PASSES_UPSTREAM[b"my_header"]


@pytest.mark.parametrize(
    "named",
    [b"X-Gate-User", b"x_gate_user", b"Host", b"cookie", b"Authorization", b"Content-Length", b"Set-Cookie"],
)
def test_nominations_cannot_remove_what_matters(named: bytes) -> None:
    """`Connection: X-Gate-User` would otherwise make a later hop believe that nobody is signed in."""
    with pytest.raises(WireFault) as refusal:
        connection_options(b"close, " + named)
    assert refusal.value.code is FaultCode.NOMINATION


def test_nominations_of_other_fields() -> None:
    assert connection_options(b"close, X-Hop,, TE") == {b"close", b"x-hop", b"te"}


def test_protected_is_decided_on_the_folded_name() -> None:
    assert is_protected(b"x_forwarded_user")
    assert not is_protected(b"x-forward")


def test_trailers() -> None:
    fields = [
        (b"x-sum", b"1"),
        (b"x-gate-user", b"eve"),
        (b"content-length", b"1"),
        (b"set-cookie", b"a=b"),
        (b"te", b""),
    ]
    assert passing_trailers(fields) == [(b"x-sum", b"1")]
