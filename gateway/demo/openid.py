"""The protocol of the demo provider: authlib's authorization server for one client, without a web framework.

NOT FOR PRODUCTION: whoever clicks a name is that person. What a relying party sees is real nevertheless:
exact redirect URI, PKCE S256, one-time codes that expire, client authentication, nonce, `auth_time`, `acr`
and `amr`.
"""

import hmac
import secrets
import time
from collections import defaultdict
from typing import Any

import jwt
import msgspec
from authlib.oauth2 import rfc9207
from authlib.oauth2.rfc6749 import (
    AuthorizationCodeGrant,
    AuthorizationServer,
    ClientMixin,
    InvalidRequestError,
    OAuth2Error,
    OAuth2Payload,
    OAuth2Request,
    list_to_scope,
    scope_to_list,
)
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oidc.core import OpenIDCode
from authlib.oidc.core.models import AuthorizationCodeMixin
from authlib.oidc.core.util import create_half_hash
from authlib.oidc.discovery import OpenIDProviderMetadata
from cachetools import TTLCache
from cryptography.hazmat.primitives.asymmetric import rsa
from multidict import MultiMapping

from gateway.demo.people import PEOPLE, Person

# The classes of authlib have no types, so each class that extends one carries an ignore.

CODE_LIFETIME_S = 60
TOKEN_LIFETIME_S = 3600
MOST_CODES = 1000
MOST_TOKENS = 10_000
SCOPES = ("openid", "profile", "email")
_PROTOCOL_CLAIMS = ("sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "at_hash")
CLAIMS = (*_PROTOCOL_CLAIMS, "name", "email", "email_verified", "groups", "device_id")

ACR_BASIC = "basic"
ACR_PHISHING_RESISTANT = "phr"
"""`acr` after the security key; the value is that of OpenID Connect EAP ACR Values 1.0."""


class SignIn(msgspec.Struct, frozen=True):
    """How a person proved who they are: the moment in unix seconds, and with what."""

    subject: str
    at: int
    acr: str = ACR_BASIC
    amr: tuple[str, ...] = ("pwd",)

    @property
    def person(self) -> Person:
        """Return the person who signed in."""
        return PEOPLE[self.subject]


class Client(ClientMixin):  # type: ignore[misc]
    """The one registered relying party."""

    id_token_signed_response_alg = "RS256"  # noqa: S105 - an algorithm

    def __init__(self, client_id: str, client_secret: str, redirect_uri: str) -> None:
        self.client_id = client_id
        self._secret = client_secret
        self._redirect_uri = redirect_uri

    def get_client_id(self) -> str:
        """Return the client id."""
        return self.client_id

    def get_default_redirect_uri(self) -> None:
        """Return None: the redirect URI has to be in the request."""

    def get_allowed_scope(self, scope: str | None) -> str:
        """Return those requested scopes that exist."""
        return list_to_scope([each for each in scope_to_list(scope) or [] if each in SCOPES]) or ""

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        """Return whether it is the registered redirect URI, character by character."""
        return redirect_uri == self._redirect_uri

    def check_client_secret(self, client_secret: str) -> bool:
        """Return whether it is the client's secret."""
        return hmac.compare_digest(client_secret.encode(), self._secret.encode())

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        """Return whether the client may authenticate that way."""
        return endpoint == "token" and method in {"client_secret_basic", "client_secret_post"}

    def check_response_type(self, response_type: str) -> bool:
        """Return whether it is the code flow."""
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        """Return whether it is the code grant: there are no refresh tokens."""
        return grant_type == "authorization_code"


class _Code(AuthorizationCodeMixin):  # type: ignore[misc]
    """An authorization code that was issued and not yet used."""

    def __init__(self, code: str, request: "_Request") -> None:
        parameters = request.payload.data
        self.code = code
        self.sign_in: SignIn = request.user
        self.code_challenge: str = parameters["code_challenge"]
        self.code_challenge_method: str = parameters["code_challenge_method"]
        self._redirect_uri: str = parameters["redirect_uri"]
        self._scope: str = request.scope
        self._nonce: str | None = parameters.get("nonce")

    def get_redirect_uri(self) -> str:
        return self._redirect_uri

    def get_scope(self) -> str:
        return self._scope

    def get_nonce(self) -> str | None:
        return self._nonce

    def get_auth_time(self) -> int:
        return self.sign_in.at

    def get_acr(self) -> str:
        return self.sign_in.acr

    def get_amr(self) -> list[str]:
        return list(self.sign_in.amr)


class _Grant(AuthorizationCodeGrant):  # type: ignore[misc]
    """The authorization code grant over codes in memory."""

    def save_authorization_code(self, code: str, request: "_Request") -> None:
        self.server.codes[code] = _Code(code, request)

    def query_authorization_code(self, code: str, _client: Client) -> _Code | None:
        # One-time: taken out by the first who asks, whether or not that request succeeds.
        found: _Code | None = self.server.codes.pop(code, None)
        return found

    def delete_authorization_code(self, authorization_code: _Code) -> None:
        """Do nothing: the code went when it was asked for."""

    def authenticate_user(self, authorization_code: _Code) -> SignIn:
        return authorization_code.sign_in


class _S256Only(CodeChallenge):  # type: ignore[misc]
    """PKCE with S256, required from every client. Source: RFC 9700 section 2.1.1."""

    SUPPORTED_CODE_CHALLENGE_METHOD = ("S256",)

    def validate_code_challenge(self, grant: _Grant, redirect_uri: str) -> None:
        parameters = grant.request.payload.data
        if "code_challenge" not in parameters or parameters.get("code_challenge_method") != "S256":
            raise InvalidRequestError("'code_challenge' with method S256 is required")
        super().validate_code_challenge(grant, redirect_uri)


class _IdTokens(OpenIDCode):  # type: ignore[misc]
    """ID tokens, signed by PyJWT."""

    def __init__(self, issuer: str, keys: "Keys") -> None:
        super().__init__(require_nonce=True)
        self._issuer = issuer
        self._keys = keys

    def exists_nonce(self, nonce: str, _request: OAuth2Request) -> bool:
        """Return False: to notice a replay is the relying party's part, which makes the nonce."""
        del nonce
        return False

    def get_client_claims(self, client: Client) -> dict[str, Any]:
        return {"iss": self._issuer, "aud": client.client_id, "exp": int(time.time()) + TOKEN_LIFETIME_S}

    def generate_user_info(self, user: SignIn, scope: str) -> dict[str, Any]:
        return claims_of(user.person, scope)

    def encode_id_token(self, token: dict[str, Any], request: "_Request") -> str:
        claims = self.get_compatible_claims(request)
        claims |= self.get_authorization_code_claims(request.authorization_code)
        half = create_half_hash(token["access_token"], self._keys.algorithm)
        claims["at_hash"] = half.decode()
        claims |= self.generate_user_info(request.user, token["scope"])
        return self._keys.sign(claims)


class _Issuer(rfc9207.IssuerParameter):  # type: ignore[misc]
    """Names the issuer in every authorization response. Source: RFC 9207 section 2."""

    def __init__(self, server: "OpenIdServer") -> None:
        self._server = server
        self(server)

    def get_issuer(self) -> str:
        return self._server.issuer


class _Payload(OAuth2Payload):  # type: ignore[misc]
    def __init__(self, parameters: MultiMapping[str]) -> None:
        self._data = dict(
            reversed(list(parameters.items()))
        )  # the first of several wins; several are refused
        self._lists: defaultdict[str, list[str]] = defaultdict(list)
        for name, value in parameters.items():
            self._lists[name].append(value)

    @property
    def data(self) -> dict[str, str]:
        return self._data

    @property
    def datalist(self) -> defaultdict[str, list[str]]:
        return self._lists


class _Request(OAuth2Request):  # type: ignore[misc]
    """What authlib asks of a request."""

    def __init__(self, method: str, uri: str, headers: dict[str, str], parameters: MultiMapping[str]) -> None:
        super().__init__(method, uri, headers=headers)
        self.payload = _Payload(parameters)

    @property
    def args(self) -> dict[str, str]:
        return self.payload.data if self.method == "GET" else {}

    @property
    def form(self) -> dict[str, str]:
        return self.payload.data if self.method == "POST" else {}


class Reply(msgspec.Struct):
    """An answer of the protocol: `body` is a JSON object or empty, `location` is set on redirects."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str]
    location: str | None


class Keys:
    """The provider's signing key, made anew at every start."""

    algorithm = "RS256"

    def __init__(self) -> None:
        self._private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._kid = secrets.token_hex(8)

    def jwks(self) -> dict[str, Any]:
        """Return the public key as a JWK set."""
        key = jwt.algorithms.RSAAlgorithm.to_jwk(self._private.public_key(), as_dict=True)
        return {"keys": [key | {"kid": self._kid, "alg": self.algorithm, "use": "sig"}]}

    def sign(self, claims: dict[str, Any]) -> str:
        """Return the claims as a signed JWT."""
        return jwt.encode(claims, self._private, algorithm=self.algorithm, headers={"kid": self._kid})

    def is_ours(self, token: str, audience: str) -> bool:
        """Return whether we signed this ID token for that client; its age does not matter."""
        try:
            jwt.decode(
                token,
                self._private.public_key(),
                algorithms=[self.algorithm],
                audience=audience,
                options={"verify_exp": False},
            )
        except jwt.InvalidTokenError:
            return False
        return True


class OpenIdServer(AuthorizationServer):  # type: ignore[misc]
    """An OpenID provider for one client: its endpoints as plain functions."""

    def __init__(self, issuer: str, client: Client) -> None:
        super().__init__(scopes_supported=list(SCOPES))
        self.issuer = issuer
        self.client = client
        self.keys = Keys()
        self.codes: TTLCache[str, _Code] = TTLCache(MOST_CODES, CODE_LIFETIME_S)
        self._tokens: TTLCache[str, tuple[SignIn, str]] = TTLCache(MOST_TOKENS, TOKEN_LIFETIME_S)
        self.register_grant(_Grant, [_S256Only(required=True), _IdTokens(issuer, self.keys)])
        self.register_token_generator("default", _bearer_token)
        self.register_extension(_Issuer)

    # --- endpoints ------------------------------------------------------------------------------------

    def check_authorization(
        self, uri: str, parameters: MultiMapping[str], session: SignIn | None
    ) -> Reply | None:
        """Return None for an authorization request that a person may answer, else the error reply."""
        try:
            self.get_consent_grant(_Request("GET", uri, {}, parameters), end_user=session)
        except OAuth2Error as error:
            return self._authorization_error(error)
        return None

    def answer_authorization(self, uri: str, parameters: MultiMapping[str], sign_in: SignIn | None) -> Reply:
        """Return the redirect with a code, or with `access_denied` when `sign_in` is None."""
        request = _Request("GET", uri, {}, parameters)
        try:
            grant = self.get_consent_grant(request, end_user=sign_in)
        except OAuth2Error as error:
            return self._authorization_error(error)
        reply: Reply = self.create_authorization_response(request, grant_user=sign_in, grant=grant)
        return reply

    def refuse_authorization(self, parameters: MultiMapping[str], error: str, description: str) -> Reply:
        """Return the redirect that tells the relying party of an error; the request was checked before."""
        fault = OAuth2Error(description, error=error, redirect_uri=parameters["redirect_uri"])
        fault.state = parameters.get("state")
        return self._authorization_error(fault)

    def answer_token(self, uri: str, headers: dict[str, str], form: MultiMapping[str]) -> Reply:
        """Return the tokens for a code, or the error."""
        reply: Reply = self.create_token_response(_Request("POST", uri, headers, form))
        return reply

    def user_info(self, access_token: str) -> dict[str, Any] | None:
        """Return the claims about the holder of the token, None when the token is not valid."""
        found = self._tokens.get(access_token)
        if found is None:
            return None
        sign_in, scope = found
        return claims_of(sign_in.person, scope)

    def metadata(self) -> dict[str, Any]:
        """Return the discovery document."""
        document = OpenIDProviderMetadata(
            issuer=self.issuer,
            authorization_endpoint=f"{self.issuer}/authorize",
            token_endpoint=f"{self.issuer}/token",
            userinfo_endpoint=f"{self.issuer}/userinfo",
            jwks_uri=f"{self.issuer}/jwks",
            end_session_endpoint=f"{self.issuer}/end-session",
            scopes_supported=list(SCOPES),
            response_types_supported=["code"],
            response_modes_supported=["query"],
            grant_types_supported=["authorization_code"],
            subject_types_supported=["public"],
            acr_values_supported=[ACR_BASIC, ACR_PHISHING_RESISTANT],
            prompt_values_supported=["none", "login", "select_account"],
            id_token_signing_alg_values_supported=[self.keys.algorithm],
            token_endpoint_auth_methods_supported=["client_secret_basic", "client_secret_post"],
            code_challenge_methods_supported=["S256"],
            claims_supported=list(CLAIMS),
            claims_parameter_supported=False,
            request_parameter_supported=False,
            request_uri_parameter_supported=False,
            authorization_response_iss_parameter_supported=True,
        )
        return dict(document)

    # --- what authlib asks of a framework -------------------------------------------------------------

    def query_client(self, client_id: str) -> Client | None:
        """Return the registered client of that id."""
        return self.client if client_id == self.client.client_id else None

    def save_token(self, token: dict[str, Any], request: _Request) -> None:
        """Keep whom an access token speaks for."""
        self._tokens[token["access_token"]] = (request.user, token["scope"])

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Tell nobody: there are no listeners."""

    def create_oauth2_request(self, request: _Request) -> _Request:
        """Return the request as it is: callers make it in the right form."""
        return request

    def handle_response(
        self, status: int, body: dict[str, Any] | str, headers: list[tuple[str, str]]
    ) -> Reply:
        """Return authlib's answer as a value."""
        fields = dict(headers)
        location = fields.pop("Location", None)
        return Reply(status, body if isinstance(body, dict) else {}, fields, location)

    def _authorization_error(self, error: OAuth2Error) -> Reply:
        reply: Reply = self.handle_error_response(None, error)
        _Issuer(self).add_issuer_parameter(self, reply)
        return reply


def claims_of(person: Person, scope: str) -> dict[str, Any]:
    """Return the claims about a person that the scope covers.

    `device_id` is the serial number of the laptop that the person signs in from, absent without a managed
    one.
    """
    scopes = set(scope.split())
    claims: dict[str, Any] = {"sub": person.subject}
    if "profile" in scopes:
        claims |= {"name": person.name, "groups": list(person.groups)}
    if "email" in scopes:
        claims |= {"email": person.email, "email_verified": True}
    if person.laptop is not None:
        claims["device_id"] = person.laptop.serial
    return claims


def _bearer_token(*, scope: str, **_: Any) -> dict[str, Any]:
    return {
        "token_type": "Bearer",
        "access_token": secrets.token_urlsafe(32),
        "expires_in": TOKEN_LIFETIME_S,
        "scope": scope,
    }
