"""Checks of OpenID providers."""

from gateway.config.checks.forms import is_loopback, parse_url
from gateway.config.checks.shared import Checks
from gateway.config.errors import Code, KeyPath, did_you_mean, shown
from gateway.config.schema import ClientAuth, Provider

SIGNATURES = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Asymmetric signatures that an ID token may have. `none` and HMAC are never accepted."""

RESERVED_PARAMETERS = frozenset(
    {
        "client_id", "client_secret", "code_challenge", "code_challenge_method", "nonce", "redirect_uri",
        "request", "request_uri", "response_mode", "response_type", "scope", "state",
    }
)  # fmt: skip
"""Parameters of the authorization request that the gateway sets itself."""


def check_provider(checks: Checks, path: KeyPath, provider: Provider) -> None:
    """Check that a provider could work and that nothing weak is accepted from it."""
    _issuer(checks, (*path, "issuer"), provider.issuer)
    if not provider.client_id.strip():
        checks.fault(Code.PROVIDER, (*path, "client_id"), "the client id is empty")
    needs_secret = provider.client_auth in {ClientAuth.BASIC, ClientAuth.POST}
    if needs_secret and provider.client_secret is None:
        message = f"`client_auth: {provider.client_auth}` needs `client_secret`"
        checks.fault(Code.PROVIDER, (*path, "client_auth"), message, "or `none` for a public client")
    if provider.client_auth is ClientAuth.NONE and provider.client_secret is not None:
        message = "`client_secret` has no effect: `client_auth` is `none`"
        checks.fault(Code.WITHOUT_EFFECT, (*path, "client_secret"), message)
    for at, algorithm in enumerate(provider.algorithms):
        if algorithm not in SIGNATURES:
            message = f"signature algorithm {shown(algorithm)} is not accepted"
            checks.fault(
                Code.PROVIDER, (*path, "algorithms", at), message, did_you_mean(algorithm, SIGNATURES)
            )
    if not provider.algorithms:
        checks.fault(Code.PROVIDER, (*path, "algorithms"), "no algorithm is accepted: nobody could sign in")
    if "openid" not in provider.scopes:
        message = "`openid` is not among the scopes: the provider would give no ID token"
        checks.fault(Code.PROVIDER, (*path, "scopes"), message)
    for name in provider.authorize_params:
        if name in RESERVED_PARAMETERS:
            where = (*path, "authorize_params", name)
            checks.fault(Code.PROVIDER, where, f"the gateway sets {shown(name)} itself")
    checks.bundle((*path, "ca"), provider.ca)


def _issuer(checks: Checks, path: KeyPath, issuer: str) -> None:
    url = parse_url(issuer)
    if url is None or url.scheme not in {"http", "https"} or url.query or url.fragment:
        hint = "exactly as `issuer` stands in the provider's metadata, such as `https://idp.example.org`"
        checks.fault(Code.URL, path, f"{shown(issuer)} is no issuer", hint)
    elif issuer.endswith("/.well-known/openid-configuration"):
        hint = f"did you mean `{issuer.removesuffix('/.well-known/openid-configuration')}`?"
        checks.fault(Code.URL, path, "this is the address of the metadata, not the issuer", hint)
    elif url.scheme == "http" and not is_loopback(url.hostname or ""):
        message = "an issuer over plain http lets anybody on the way sign in as anybody"
        checks.fault(Code.UNSAFE, path, message, "https, or a loopback host for a demo")
