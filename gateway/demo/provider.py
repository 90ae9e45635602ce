"""The demo OpenID provider as a web app. NOT FOR PRODUCTION: whoever clicks a name is that person.

The protocol is in `gateway.demo.openid`; here are its pages and the browser's session. `acr_values`,
`max_age` and `prompt=login` are honoured by a second click, *confirm with your security key*, whenever what
the person did before is not enough.
"""

import secrets
import time

import msgspec
from aiohttp import web
from cachetools import TTLCache
from multidict import MultiDict
from yarl import URL

from gateway.demo.openid import ACR_PHISHING_RESISTANT, Client, OpenIdServer, Reply, SignIn
from gateway.demo.pages import page
from gateway.demo.people import PEOPLE

COOKIE = "demo_provider"
SESSION_LIFETIME_S = 8 * 3600
INTERACTION_LIFETIME_S = 600
MOST_SESSIONS = 10_000
MOST_INTERACTIONS = 1000


class _Interaction(msgspec.Struct):
    """An authorization request that waits for its person; `chosen` is set once a name was clicked."""

    parameters: MultiDict[str]
    chosen: SignIn | None = None


class Provider:
    """An OpenID provider for one client, with clickable people."""

    def __init__(
        self, *, issuer: str, client: Client, client_name: str, post_logout_redirect_uris: tuple[str, ...]
    ) -> None:
        self._server = OpenIdServer(issuer, client)
        self._client_name = client_name
        self._post_logout_redirect_uris = post_logout_redirect_uris
        self._sessions: TTLCache[str, SignIn] = TTLCache(MOST_SESSIONS, SESSION_LIFETIME_S)
        self._interactions: TTLCache[str, _Interaction] = TTLCache(MOST_INTERACTIONS, INTERACTION_LIFETIME_S)

    def app(self) -> web.Application:
        """Return the web app; it has to be reachable at the issuer's URL."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/", self._home),
                web.get("/.well-known/openid-configuration", self._metadata),
                web.get("/jwks", self._jwks),
                web.get("/authorize", self._authorize),
                web.post("/authorize", self._authorize),
                web.post("/interaction/{interaction}", self._interact),
                web.post("/token", self._token),
                web.get("/userinfo", self._user_info),
                web.post("/userinfo", self._user_info),
                web.get("/end-session", self._end_session),
                web.post("/end-session", self._end_session),
            ]
        )
        return app

    # --- documents ------------------------------------------------------------------------------------

    async def _home(self, _request: web.Request) -> web.Response:
        return page("provider.html", view="home")

    async def _metadata(self, _request: web.Request) -> web.Response:
        return web.json_response(self._server.metadata())

    async def _jwks(self, _request: web.Request) -> web.Response:
        return web.json_response(self._server.keys.jwks())

    # --- authorization --------------------------------------------------------------------------------

    async def _authorize(self, request: web.Request) -> web.StreamResponse:
        parameters = await _parameters(request)
        session = self._session(request)
        refusal = self._server.check_authorization(str(request.url), parameters, session)
        if refusal is not None:
            return _authorization_response(refusal)
        if "none" in parameters.get("prompt", "").split():
            return self._authorize_silently(request, parameters, session)
        interaction = secrets.token_urlsafe(24)
        self._interactions[interaction] = _Interaction(parameters)
        return page(
            "provider.html",
            view="choose",
            interaction=interaction,
            client=self._client_name,
            people=tuple(PEOPLE.values()),
            current=session.subject if session else None,
        )

    def _authorize_silently(
        self, request: web.Request, parameters: MultiDict[str], session: SignIn | None
    ) -> web.StreamResponse:
        if session is None or not is_enough(session, parameters, now=time.time()):
            reply = self._server.refuse_authorization(
                parameters, "login_required", "nobody is signed in here, or not strongly enough"
            )
        else:
            reply = self._server.answer_authorization(str(request.url), parameters, session)
        return _authorization_response(reply)

    async def _interact(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["interaction"]
        interaction = self._interactions.get(name)
        if interaction is None:
            return page(
                "provider.html",
                status=400,
                view="error",
                error="interaction-expired",
                description="This page is too old, or was answered already. Open the app again.",
            )
        form = await request.post()
        if form.get("key") == "touched" and interaction.chosen is not None:
            return self._finish(request, name, _with_key(interaction.chosen))
        person = form.get("person")
        if not isinstance(person, str) or person not in PEOPLE:
            return self._finish(request, name, None)
        session = self._session(request)
        is_same = session is not None and session.subject == person
        # The same person again proves nothing new: age and strength stay those of then.
        sign_in = session if is_same and session is not None else SignIn(person, int(time.time()))
        if is_enough(sign_in, interaction.parameters, now=time.time()):
            return self._finish(request, name, sign_in)
        interaction.chosen = sign_in
        return page(
            "provider.html",
            view="confirm",
            interaction=name,
            client=self._client_name,
            person=sign_in.person,
        )

    def _finish(self, request: web.Request, name: str, sign_in: SignIn | None) -> web.StreamResponse:
        interaction = self._interactions.pop(name)
        uri = str(request.url.with_path("/authorize"))
        reply = self._server.answer_authorization(uri, interaction.parameters, sign_in)
        response = _authorization_response(reply)
        if sign_in is not None:
            self._forget(request)
            session = secrets.token_urlsafe(24)
            self._sessions[session] = sign_in
            response.set_cookie(COOKIE, session, httponly=True, samesite="Lax", path="/")
        return response

    # --- back channel ---------------------------------------------------------------------------------

    async def _token(self, request: web.Request) -> web.Response:
        form = await _parameters(request)
        reply = self._server.answer_token(str(request.url), dict(request.headers), form)
        response = web.json_response(reply.body, status=reply.status)
        response.headers["Cache-Control"] = "no-store"
        if reply.status == web.HTTPUnauthorized.status_code:
            response.headers["WWW-Authenticate"] = 'Basic realm="demo provider"'
        return response

    async def _user_info(self, request: web.Request) -> web.Response:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        claims = self._server.user_info(token) if scheme.lower() == "bearer" else None
        if claims is None:
            return web.json_response(
                {"error": "invalid_token"},
                status=401,
                headers={"WWW-Authenticate": 'Bearer error="invalid_token"'},
            )
        return web.json_response(claims, headers={"Cache-Control": "no-store"})

    # --- signing out ----------------------------------------------------------------------------------

    async def _end_session(self, request: web.Request) -> web.StreamResponse:
        """Source: OpenID Connect RP-Initiated Logout 1.0 section 2."""
        parameters = await _parameters(request)
        hint = parameters.get("id_token_hint", "")
        is_ours = bool(hint) and self._server.keys.is_ours(hint, self._server.client.client_id)
        if not is_ours and request.method == "GET" and self._session(request) is not None:
            return page("provider.html", view="leave")  # nobody vouches for the request: ask the person
        self._forget(request)
        target = parameters.get("post_logout_redirect_uri", "")
        names_client = is_ours or parameters.get("client_id") == self._server.client.client_id
        response: web.StreamResponse
        if names_client and target in self._post_logout_redirect_uris:
            state = parameters.get("state")
            location = URL(target).update_query({"state": state} if state else {})
            response = web.Response(status=303, headers={"Location": str(location)})
        else:
            response = page("provider.html", view="left")
        response.del_cookie(COOKIE, path="/")
        return response

    def _session(self, request: web.Request) -> SignIn | None:
        return self._sessions.get(request.cookies.get(COOKIE, ""))

    def _forget(self, request: web.Request) -> None:
        self._sessions.pop(request.cookies.get(COOKIE, ""), None)


def is_enough(sign_in: SignIn, parameters: MultiDict[str], *, now: float) -> bool:
    """Return whether the sign-in is as strong and as fresh as the request asks; `now` is in unix seconds.

    Source: OpenID Connect Core 1.0 section 3.1.2.1.
    """
    if "login" in parameters.get("prompt", "").split():
        return False
    wanted = parameters.get("acr_values", "").split()
    if wanted and sign_in.acr not in wanted:
        return False
    max_age = parameters.get("max_age", "")
    return not max_age.isascii() or not max_age.isdecimal() or now - sign_in.at < int(max_age)


def _with_key(sign_in: SignIn) -> SignIn:
    return SignIn(sign_in.subject, int(time.time()), ACR_PHISHING_RESISTANT, ("hwk", "user", "mfa"))


async def _parameters(request: web.Request) -> MultiDict[str]:
    """Return the parameters of a query or of a form, whichever the method carries; files are left out."""
    if request.method == "GET":
        return MultiDict(request.query)
    form = await request.post()
    return MultiDict((name, value) for name, value in form.items() if isinstance(value, str))


def _authorization_response(reply: Reply) -> web.Response:
    if reply.location is not None:
        return web.Response(status=303, headers={"Location": reply.location, "Cache-Control": "no-store"})
    # The relying party cannot be told: its redirect URI is not one that we know.
    return page(
        "provider.html",
        status=reply.status,
        view="error",
        error=str(reply.body.get("error", "invalid_request")),
        description=str(reply.body.get("error_description", "")),
    )
