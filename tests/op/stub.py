"""A provider that can break each rule on demand: metadata, keys, token response, ID token, userinfo.

It is a small real server on loopback; `authorize` plays the browser's visit without any page.
"""

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlencode, urlsplit

import jwt
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

RSA_1, RSA_2 = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
EC_1 = ec.generate_private_key(ec.SECP256R1())
ED_1 = ed25519.Ed25519PrivateKey.generate()

DROP = object()
"""As the value of a member: leave it out."""


def jwk(key: Any, key_id: str | None, **extra: Any) -> dict[str, Any]:
    """Return the public JWK of a private key."""
    public = key.public_key()
    algorithm = {
        rsa.RSAPrivateKey: RSAAlgorithm,
        ec.EllipticCurvePrivateKey: ECAlgorithm,
        ed25519.Ed25519PrivateKey: OKPAlgorithm,
    }
    convert = next(value for kind, value in algorithm.items() if isinstance(key, kind))
    made = json.loads(convert.to_jwk(public))
    made.pop("key_ops", None)
    members = {"use": "sig", **({} if key_id is None else {"kid": key_id}), **extra}
    return {name: value for name, value in {**made, **members}.items() if value is not DROP}


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def sign(key: Any, algorithm: str, header: dict[str, Any] | bytes, payload: dict[str, Any] | bytes) -> str:
    """Return a compact JWS over exactly these members or bytes: no library's opinion is in between."""
    raw_header = header if isinstance(header, bytes) else json.dumps(header).encode()
    raw_payload = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    signed = f"{b64(raw_header)}.{b64(raw_payload)}"
    signature = jwt.get_algorithm_by_name(algorithm).sign(signed.encode(), key)
    return f"{signed}.{b64(signature)}"


class Stub:
    """The provider's state; a test changes what it wants broken."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.issuer = ""
        self.client_id = "gate"
        self.client_secret: str | None = "a secret: with %+ signs"
        self.metadata: dict[str, Any] = {}
        self.metadata_response: Callable[[], web.Response] | None = None
        self.keys: list[dict[str, Any]] = [jwk(RSA_1, "rsa-1", alg="RS256")]
        self.keys_response: Callable[[], web.Response] | None = None
        self.keys_headers: dict[str, str] = {}
        self.signing_key: Any = RSA_1
        self.algorithm = "RS256"
        self.header: dict[str, Any] = {"kid": "rsa-1"}
        self.claims: dict[str, Any] = {}
        self.claims_of: dict[str, dict[str, Any]] = {}
        self.make_token: Callable[[dict[str, Any], dict[str, Any]], str] | None = None
        self.token_response: Callable[[dict[str, Any]], web.Response] | None = None
        self.token_members: dict[str, Any] = {}
        self.userinfo: dict[str, Any] = {}
        self.subjects: dict[str, str] = {}
        self.userinfo_response: Callable[[], web.Response] | None = None
        self.callback: dict[str, Any] = {}
        self.codes: dict[str, dict[str, str]] = {}
        self.calls: dict[str, int] = {}
        self.token_requests: list[tuple[dict[str, str], str | None]] = []
        self.is_down = False
        self.token_wait: asyncio.Event | None = None
        self.token_asked = asyncio.Event()
        self.issued = 0

    def authorize(self, url: str, *, subject: str = "u-1", **callback: Any) -> str:
        """Return the callback URL that the browser is sent back to."""
        parts = urlsplit(url)
        assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"{self.issuer}/authorize"
        asked = dict(parse_qsl(parts.query))
        self.issued += 1
        code = f"code-{self.issued}"
        self.codes[code] = {**asked, "subject": subject}
        answer = {"code": code, "state": asked["state"], "iss": self.issuer, **self.callback, **callback}
        kept = {name: value for name, value in answer.items() if value is not DROP}
        return f"{asked['redirect_uri']}?{urlencode(kept)}"

    def document(self) -> dict[str, Any]:
        """Return the metadata with the test's changes."""
        members = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "end_session_endpoint": f"{self.issuer}/end",
            "response_types_supported": ["code"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "authorization_response_iss_parameter_supported": True,
            **self.metadata,
        }
        return {name: value for name, value in members.items() if value is not DROP}

    def id_token(self, asked: dict[str, str], access_token: str) -> str:
        """Return the ID token of a code, with the test's changes."""
        now = int(self.now())
        digest = hashlib.sha256(access_token.encode()).digest()
        claims = {
            "iss": self.issuer,
            "sub": asked["subject"],
            "aud": self.client_id,
            "exp": now + 300,
            "iat": now,
            "auth_time": now,
            "nonce": asked.get("nonce"),
            "at_hash": b64(digest[:16]),
            "sid": f"sid-{asked['subject']}",
            **self.claims,
            **self.claims_of.get(asked["subject"], {}),
        }
        claims = {name: value for name, value in claims.items() if value is not DROP}
        header = {"alg": self.algorithm, "typ": "JWT", **self.header}
        header = {name: value for name, value in header.items() if value is not DROP}
        if self.make_token is not None:
            return self.make_token(header, claims)
        return sign(self.signing_key, self.algorithm, header, claims)

    def logout_token(
        self,
        header: dict[str, Any] | None = None,
        *,
        key: Any = RSA_1,
        algorithm: str = "RS256",
        **claims: Any,
    ) -> str:
        """Return a logout token with these members; a member that is `DROP` is left out."""
        now = int(self.now())
        self.issued += 1
        made = {
            "iss": self.issuer,
            "aud": self.client_id,
            "iat": now,
            "exp": now + 120,
            "jti": f"lt-{self.issued}",
            "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
            **claims,
        }
        head = {"alg": "RS256", "typ": "logout+jwt", "kid": "rsa-1", **(header or {})}
        head, made = ({name: v for name, v in each.items() if v is not DROP} for each in (head, made))
        return sign(key, algorithm, head, made)

    # --- handlers -----------------------------------------------------------------------------------------

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [
                web.get("/.well-known/openid-configuration", self._metadata),
                web.get("/jwks", self._jwks),
                web.post("/token", self._token),
                web.get("/userinfo", self._userinfo),
            ],
        )
        return app

    def _count(self, name: str) -> None:
        self.calls[name] = self.calls.get(name, 0) + 1
        if self.is_down:
            raise web.HTTPServiceUnavailable

    async def _metadata(self, _request: web.Request) -> web.Response:
        self._count("metadata")
        return self.metadata_response() if self.metadata_response else web.json_response(self.document())

    async def _jwks(self, _request: web.Request) -> web.Response:
        self._count("jwks")
        if self.keys_response:
            return self.keys_response()
        return web.json_response({"keys": self.keys}, headers=self.keys_headers)

    async def _token(self, request: web.Request) -> web.Response:
        self._count("token")
        self.token_asked.set()
        if self.token_wait is not None:
            await self.token_wait.wait()
        form = dict(parse_qsl((await request.read()).decode(), keep_blank_values=True))
        self.token_requests.append((form, request.headers.get("Authorization")))
        if not self._is_client(request, form):
            return web.json_response({"error": "invalid_client"}, status=401)
        asked = self.codes.pop(form.get("code", ""), None)
        verifier = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if (
            asked is None
            or form.get("grant_type") != "authorization_code"
            or form.get("redirect_uri") != asked["redirect_uri"]
            or asked.get("code_challenge_method") != "S256"
            or asked.get("code_challenge") != b64(verifier)
        ):
            return web.json_response({"error": "invalid_grant"}, status=400)
        access_token = f"at-{form['code']}"
        self.subjects[access_token] = asked["subject"]
        members = {
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": 300,
            "id_token": self.id_token(asked, access_token),
            **self.token_members,
        }
        members = {name: value for name, value in members.items() if value is not DROP}
        return self.token_response(members) if self.token_response else web.json_response(members)

    def _is_client(self, request: web.Request, form: dict[str, str]) -> bool:
        if self.client_secret is None:
            return form.get("client_id") == self.client_id and "Authorization" not in request.headers
        authorization = request.headers.get("Authorization", "")
        if authorization.startswith("Basic "):
            user, _, secret = base64.b64decode(authorization[6:]).decode().partition(":")
            return (unquote_plus(user), unquote_plus(secret)) == (self.client_id, self.client_secret)
        return (form.get("client_id"), form.get("client_secret")) == (self.client_id, self.client_secret)

    async def _userinfo(self, request: web.Request) -> web.Response:
        self._count("userinfo")
        if self.userinfo_response:
            return self.userinfo_response()
        subject = self.subjects[request.headers["Authorization"].removeprefix("Bearer ")]
        return web.json_response({"sub": subject, **self.userinfo})


@asynccontextmanager
async def running_stub(now: Callable[[], float]) -> AsyncIterator[Stub]:
    """Run a stub provider on loopback until the block ends."""
    stub = Stub(now)
    server = TestServer(stub.app())
    await server.start_server()
    stub.issuer = f"http://127.0.0.1:{server.port}"
    try:
        yield stub
    finally:
        await server.close()
