"""Signing in and out: `/.gate/` `login`, `callback`, `session`, `logout` and `signed-out`.

The login host (`public_url`) talks to the provider and has a session cookie of its own; every app host gets
its cookie through a one-time code that counts only in the browser that began. Nothing is remembered before
somebody has signed in. What a client or a provider sends ends in a page with a reference code, never in a
traceback.
"""

import functools
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Protocol
from urllib.parse import parse_qsl, quote, urlsplit

import msgspec
import structlog
from aiohttp import web
from cachetools import TTLCache

from compliance.model import StepUp, User
from gateway.config.schema import App, Config
from gateway.decision.reference import new_reference
from gateway.oidc.authorize import NOTHING_WANTED, Attempt, Wanted, new_attempt, random_text
from gateway.oidc.callback import Callback, check_issuer, meaning_of_error, parse_callback
from gateway.oidc.discovery import is_loopback_host
from gateway.oidc.faults import (
    STEP_UP_UNMET,
    CallbackReason,
    CallbackRefused,
    ProviderFault,
    ProviderReason,
    TokenRefused,
)
from gateway.oidc.io import ProviderClient, SignedIn
from gateway.oidc.logout import is_our_return
from gateway.sessions import cookies
from gateway.sessions.cookies import CookieName
from gateway.sessions.model import Session, cookie_hash, host_name
from gateway.sessions.pending import (
    LOOP_WINDOW_S,
    MAX_PENDING_TEXT,
    PENDING_COOKIE_S,
    PENDING_S,
    RETURN_S,
    STATE_IN_NAME,
    PendingLogin,
    ReturnTo,
    count_start,
    names_to_evict,
    open_pending,
    open_return,
    open_wanted,
    safe_path,
    seal_pending,
    seal_return,
    seal_wanted,
)
from gateway.sessions.registry import SessionRegistry, SignInFacts
from gateway.sessions.seal import SealBroken, Sealer
from risk.database import StoreFault, StoreOverloaded

log = structlog.get_logger("signin")

CODE_S = 60.0
MOST_CODES = 20_000
USED_STATE_S = 3600.0
MOST_USED_STATES = 10_000
SIGN_OUT_S = 600.0
MOST_SIGN_OUTS = 2_000
STEP_UP_ATTEMPTS = 2
STEP_UP_S = 600.0
MOST_STEP_UPS = 10_000
MAX_CODE_RESTARTS = 1
MAX_QUERY = 16384
RETRY_AFTER_S = 10
AUTH_AGE_LEEWAY_S = 5.0

Handler = Callable[["SignIn", web.Request], Awaitable[web.StreamResponse]]


class PageAction(msgspec.Struct, frozen=True):
    """A link that a page offers."""

    url: str
    text: str


class SignInPages(Protocol):
    """The pages of signing in and out: HTML for people, problem documents for others."""

    def error(
        self,
        request: web.Request,
        *,
        status: int,
        title: str,
        text: str,
        code: str,
        reference: str,
        actions: tuple[PageAction, ...],
        retry_after_s: int | None,
    ) -> web.Response:
        """Return a page that says what went wrong.

        `code` names the cause, `reference` finds it in the log.
        """
        ...

    def sign_in_needed(self, request: web.Request, *, sign_in_url: str) -> web.Response:
        """Return a 401 page with a link: a form was sent without a session; it is not sent again by itself."""
        ...

    def confirm_sign_out(
        self,
        request: web.Request,
        *,
        user: User,
        back_url: str,
        form_targets: tuple[str, ...],
    ) -> web.Response:
        """Return a page with a form to `/.gate/logout`; its answer leads to one of `form_targets`."""
        ...

    def signed_out(
        self,
        request: web.Request,
        *,
        provider: str,
        provider_url: str,
        sign_in_url: str,
    ) -> web.Response:
        """Return a page that says that the session is over. `provider_url` "" offers nothing more."""
        ...


class Front(msgspec.Struct, frozen=True):
    """How the client reached us, by the worker's word: never by what the client itself says."""

    scheme: str
    host: str

    @property
    def origin(self) -> str:
        """Scheme and host with port, as a browser shows them."""
        return f"{self.scheme}://{self.host}"

    @property
    def is_secure(self) -> bool:
        """Whether cookies are Secure and carry the `__Host-` prefix."""
        return self.scheme == "https"


class _Code(msgspec.Struct, frozen=True):
    """A one-time code on its way to the app host.

    `is_used` keeps the target for a browser that asks twice.
    """

    session: str
    to: ReturnTo
    is_used: bool = False


class _SignOut(msgspec.Struct, frozen=True):
    """A session that was ended a moment ago, with what its provider needs to end its own."""

    provider: str
    issuer: str
    subject: str
    id_token: str | None


def _guarded(handler: Handler) -> Handler:
    """Answer 503 when the store cannot keep what the handler did."""

    @functools.wraps(handler)
    async def run(self: "SignIn", request: web.Request) -> web.StreamResponse:
        try:
            return await handler(self, request)
        except (StoreFault, StoreOverloaded) as fault:
            return self._refuse(
                request,
                503,
                "store-unavailable",
                "Sign-in is not possible right now",
                "The gateway cannot save sessions at the moment. Try again shortly.",
                detail=str(fault),
                retry_after_s=RETRY_AFTER_S,
            )

    return run


class SignIn:
    """The handlers of signing in and out.

    `now` is the wall clock, `mono` a monotonic clock, `random_bytes` a CSPRNG. `on_session_changed` is
    awaited after a session was strengthened or ended and before the answer is sent: when it returns, every
    worker must know.
    """

    def __init__(
        self,
        *,
        config: Config,
        providers: Mapping[str, ProviderClient],
        sessions: SessionRegistry,
        sealer: Sealer,
        pages: SignInPages,
        now: Callable[[], datetime],
        mono: Callable[[], float],
        random_bytes: Callable[[int], bytes],
        on_session_changed: Callable[[Session], Awaitable[None]],
        home_path: str = "/",
    ) -> None:
        self._sessions = sessions
        self._sealer = sealer
        self._pages = pages
        self._now = now
        self._random_bytes = random_bytes
        self._on_session_changed = on_session_changed
        self._home_path = home_path
        self._codes: TTLCache[str, _Code] = TTLCache(MOST_CODES, CODE_S, timer=mono)
        self._used_states: TTLCache[str, ReturnTo] = TTLCache(MOST_USED_STATES, USED_STATE_S, timer=mono)
        self._sign_outs: TTLCache[str, _SignOut] = TTLCache(MOST_SIGN_OUTS, SIGN_OUT_S, timer=mono)
        self._step_ups: TTLCache[tuple[str, Wanted], int] = TTLCache(MOST_STEP_UPS, STEP_UP_S, timer=mono)
        self.configure(config, providers)

    def configure(self, config: Config, providers: Mapping[str, ProviderClient]) -> None:
        """Use this configuration from now on; sign-ins under way end by it."""
        self._providers = dict(providers)
        self._default_provider = config.providers[0].name
        self._apps = config.apps
        url = urlsplit(config.public_url)
        self._login = Front(url.scheme.lower(), _plain_host(url.scheme.lower(), url.netloc))

    def routes(self) -> list[web.RouteDef]:
        """Return the routes; every host has them. Those that use something up do not answer HEAD."""
        return [
            web.get("/.gate/login", self.login),
            web.get("/.gate/callback", self.callback, allow_head=False),
            web.get("/.gate/session", self.session, allow_head=False),
            web.get("/.gate/logout", self.confirm_logout),
            web.post("/.gate/logout", self.logout),
            web.get("/.gate/signed-out", self.signed_out, allow_head=False),
        ]

    # --- what the rest of the hub asks --------------------------------------------------------------------

    def sign_in_path(self, path: str, step_up: StepUp | None = None) -> str:
        """Return the address on an app's own host that signs in (or steps up) and comes back to `path`."""
        address = "/.gate/login?rd=" + quote(safe_path(path), safe="/")
        if step_up is not None:
            address += "&step_up=" + seal_wanted(self._sealer, _wanted(step_up))
        return address

    def session_of(self, request: web.Request) -> Session | None:
        """Return the live session of a request on its own host, None without one."""
        front = self._front(request)
        return None if front is None else self._session(request, front)

    async def start(self, request: web.Request, *, step_up: StepUp | None = None) -> web.StreamResponse:
        """Answer a request that needs a sign-in: redirect a navigation, tell everybody else (A6).

        Only a GET or HEAD navigation sets a cookie or begins anything.
        """
        front = self._front(request)
        if front is None:
            return self._refuse_front(request)
        path = safe_path(request.raw_path)
        if request.headers.get("X-Gate-Client-Kind", "api") != "browser":
            return self._problem(request, front)
        if request.method not in ("GET", "HEAD"):
            return _finished(
                self._pages.sign_in_needed(request, sign_in_url=self.sign_in_path(path, step_up))
            )
        return self._to_login_host(
            request, front, path, NOTHING_WANTED if step_up is None else _wanted(step_up)
        )

    # --- /.gate/login -------------------------------------------------------------------------------------

    @_guarded
    async def login(self, request: web.Request) -> web.StreamResponse:
        """Begin a sign-in.

        On an app host: go to the login host. There: hand over at once, or go to the provider.
        """
        front = self._front(request)
        if front is None:
            return self._refuse_front(request)
        query = _query(request)
        if "t" not in query:
            return self._login_here(request, front, query)
        if front != self._login:
            return self._refuse_link(request, "login-on-wrong-host")
        try:
            to = open_return(self._sealer, query["t"])
        except SealBroken:
            return self._refuse_link(request, "login-link-broken")
        if self._now().timestamp() - to.made_at > RETURN_S:
            return self._refuse_link(request, "login-link-expired", to)
        return await self._sign_in(request, to)

    def _login_here(self, request: web.Request, front: Front, query: Mapping[str, str]) -> web.StreamResponse:
        wanted = NOTHING_WANTED
        if "step_up" in query:
            try:
                wanted = open_wanted(self._sealer, query["step_up"])
            except SealBroken:
                return self._refuse_link(request, "step-up-link-broken")
        is_app = self._app(front, "/") is not None
        path = safe_path(query.get("rd", "/" if is_app or front != self._login else self._home_path))
        return self._to_login_host(request, front, path, wanted)

    def _to_login_host(
        self, request: web.Request, front: Front, path: str, wanted: Wanted
    ) -> web.StreamResponse:
        start = cookies.find(_cookie_headers(request), CookieName.START, is_secure=front.is_secure)
        binding = None if start is None else cookie_hash(start)
        fresh = None
        if binding is None:
            fresh = random_text(self._random_bytes)
            binding = cookie_hash(fresh) or ""
        app = self._app(front, path)
        to = ReturnTo(
            scheme=front.scheme,
            host=front.host,
            path=path,
            made_at=self._now().timestamp(),
            binding=binding,
            provider=None if app is None else app.provider,
            wanted=wanted,
        )
        response = _redirect(302, f"{self._login.origin}/.gate/login?t={seal_return(self._sealer, to)}")
        if fresh is not None:
            _add_cookie(response, cookies.set_cookie(CookieName.START, fresh, is_secure=front.is_secure))
        return response

    async def _sign_in(self, request: web.Request, to: ReturnTo) -> web.StreamResponse:
        loop_cookie = cookies.find(_cookie_headers(request), CookieName.LOOP, is_secure=self._login.is_secure)
        target = hashlib.sha256(to.url.encode()).hexdigest()[:12]
        counted, is_looping = count_start(self._sealer, loop_cookie, target, self._now())
        if is_looping:
            return self._refuse(
                request,
                429,
                "sign-in-loop",
                "Signing in goes round in circles",
                "You were signed in several times, but the app keeps asking. Wait a minute and open the app again; if"
                " that does not help, tell your administrator the code below.",
                retry_after_s=int(LOOP_WINDOW_S),
            )
        session = self._session(request, self._login)
        if session is not None and self._is_enough(session, to):
            response = await self._hand_over(session, to)
        else:
            response = await self._to_provider(request, to, session)
        _add_cookie(
            response,
            cookies.set_cookie(CookieName.LOOP, counted, is_secure=self._login.is_secure, max_age_s=60),
        )
        return response

    def _is_enough(self, session: Session, to: ReturnTo) -> bool:
        user, wanted = session.user, to.wanted
        if to.provider is not None and user.provider != to.provider:
            return False
        if user.provider not in self._providers:
            return False
        if wanted.acr_values and user.acr not in wanted.acr_values:
            return False
        if wanted.max_age_s is None:
            return True
        if user.auth_at is None:
            return False
        return (self._now() - user.auth_at).total_seconds() <= wanted.max_age_s + AUTH_AGE_LEEWAY_S

    async def _to_provider(
        self,
        request: web.Request,
        to: ReturnTo,
        session: Session | None,
        *,
        restarts: int = 0,
    ) -> web.StreamResponse:
        """Send the browser to the provider, with a new attempt in a cookie of its own."""
        name = to.provider or self._default_provider
        client = self._providers.get(name)
        if client is None:
            return self._refuse_link(request, "provider-not-configured", to)
        wanted = to.wanted
        tries = 0
        if session is not None and wanted != NOTHING_WANTED:
            tries = self._step_ups.get((session.id, wanted), 0)
            if tries >= STEP_UP_ATTEMPTS:
                return self._refuse_step_up(request, client, to)
        attempt = new_attempt(self._random_bytes)
        try:
            # The second time the credentials are asked for again: some providers ignore `acr_values`
            # otherwise.
            url = await client.authorization_url(attempt, wanted=wanted, is_login_forced=tries > 0)
        except ProviderFault as fault:
            return self._refuse_provider(request, client, fault, to)
        pending = PendingLogin(
            attempt=attempt,
            provider=name,
            to=to,
            started_at=self._now().timestamp(),
            session=None if session is None else session.id,
            restarts=restarts,
            wanted=wanted,
        )
        text = seal_pending(self._sealer, pending)
        if len(text) > MAX_PENDING_TEXT:
            text = seal_pending(self._sealer, msgspec.structs.replace(pending, to=_shortened(to)))
        response = _redirect(302 if request.path == "/.gate/login" else 303, url)
        secure = self._login.is_secure
        present = cookies.find_below(_cookie_headers(request), CookieName.LOGIN, is_secure=secure)
        for old in names_to_evict(self._sealer, present, self._now()):
            if _is_cookie_name(old):
                _add_cookie(response, cookies.delete_cookie(CookieName.LOGIN + old, is_secure=secure))
        _add_cookie(
            response,
            cookies.set_cookie(
                CookieName.LOGIN + attempt.state[:STATE_IN_NAME],
                text,
                is_secure=secure,
                max_age_s=PENDING_COOKIE_S,
            ),
        )
        return response

    async def _hand_over(self, session: Session, to: ReturnTo) -> web.StreamResponse:
        """Send a signed-in browser to where it wanted to go, by way of the app host's own cookie."""
        if to.origin == self._login.origin:
            return _redirect(303, to.url)
        code = random_text(self._random_bytes)
        self._codes[code] = _Code(session.id, to)
        return _redirect(303, f"{to.origin}/.gate/session?code={code}")

    # --- /.gate/callback ----------------------------------------------------------------------------------

    @_guarded
    async def callback(self, request: web.Request) -> web.StreamResponse:
        """Finish a sign-in at the provider. The state counts once, whatever comes of it (C1)."""
        if self._front(request) != self._login:
            return self._refuse_link(request, "callback-on-wrong-host")
        try:
            answer = parse_callback(request.raw_path.partition("?")[2])
        except CallbackRefused as refused:
            return self._refuse_callback(request, refused.reason)
        secure = self._login.is_secure
        name = CookieName.LOGIN + answer.state[:STATE_IN_NAME]
        kept = cookies.find(_cookie_headers(request), name, is_secure=secure)
        pending = self._pending(kept, answer)
        if pending is None or answer.state in self._used_states:
            return self._stale(request, answer, pending)
        self._used_states[answer.state] = pending.to
        response = await self._finish(request, answer, pending)
        _add_cookie(response, cookies.delete_cookie(name, is_secure=secure))
        return response

    def _pending(self, kept: str | None, answer: Callback) -> PendingLogin | None:
        if kept is None:
            return None
        try:
            pending = open_pending(self._sealer, kept)
        except SealBroken:
            return None
        return pending if hmac.compare_digest(pending.attempt.state.encode(), answer.state.encode()) else None

    def _stale(
        self, request: web.Request, answer: Callback, pending: PendingLogin | None
    ) -> web.StreamResponse:
        """Answer a callback that cannot count (again): whoever is signed in meanwhile just continues."""
        to = pending.to if pending is not None else self._used_states.get(answer.state)
        if to is not None and self._session(request, self._login) is not None:
            return _redirect(303, to.url)
        is_used = answer.state in self._used_states
        reason = CallbackReason.STATE_USED if is_used else CallbackReason.STATE_UNKNOWN
        return self._refuse_callback(request, reason, to)

    async def _finish(
        self, request: web.Request, answer: Callback, pending: PendingLogin
    ) -> web.StreamResponse:
        to = pending.to
        if self._now().timestamp() - pending.started_at > PENDING_S:
            if self._session(request, self._login) is not None:
                return _redirect(303, to.url)
            return self._refuse_callback(request, CallbackReason.STATE_EXPIRED, to)
        client = self._providers.get(pending.provider)
        if client is None:
            return self._refuse_link(request, "provider-not-configured", to)
        try:
            check_issuer(answer, await client.metadata())
            if answer.code is not None:
                signed_in = await client.redeem(answer.code, pending.attempt, wanted=pending.wanted)
                return await self._accept(request, client, signed_in, pending)
            response: web.StreamResponse = self._refuse_error(request, client, answer, to)
        except CallbackRefused as refused:
            response = self._refuse_callback(request, refused.reason, to)
        except TokenRefused as refused:
            response = await self._refuse_token(request, client, refused, pending)
        except ProviderFault as fault:
            response = await self._after_fault(request, client, fault, pending)
        return response

    async def _after_fault(
        self,
        request: web.Request,
        client: ProviderClient,
        fault: ProviderFault,
        pending: PendingLogin,
    ) -> web.StreamResponse:
        """Begin once more when the provider no longer knows the code; otherwise say what is wrong (T5)."""
        if fault.reason is not ProviderReason.CODE_REFUSED or pending.restarts >= MAX_CODE_RESTARTS:
            return self._refuse_provider(request, client, fault, pending.to)
        log.warning("sign-in-restarted", provider=pending.provider, detail=fault.detail)
        session = self._session(request, self._login)
        return await self._to_provider(request, pending.to, session, restarts=pending.restarts + 1)

    async def _accept(
        self,
        request: web.Request,
        client: ProviderClient,
        signed_in: SignedIn,
        pending: PendingLogin,
    ) -> web.StreamResponse:
        """Turn a verified sign-in into a session: the same person's grows, another person's ends (S2, C6)."""
        user = signed_in.user
        facts = SignInFacts(
            user=user,
            devices=signed_in.devices,
            provider_sid=signed_in.token.sid,
            id_token=signed_in.raw_id_token,
            refresh_token=signed_in.refresh_token,
        )
        before = self._session(request, self._login)
        session = None
        if before is not None and (before.user.issuer, before.user.subject) == (user.issuer, user.subject):
            session = await self._sessions.reauthenticate(before.id, facts)
            if session is not None:
                await self._on_session_changed(session)
        elif before is not None and (before.user.provider == user.provider or before.id == pending.session):
            await self._end(before)
        if session is None:
            session = await self._sessions.create(facts)
        is_step_up = pending.wanted != NOTHING_WANTED
        if is_step_up:
            self._step_ups.pop((session.id, pending.wanted), None)
        value = await self._sessions.add_cookie(session.id, self._login.host, is_only=is_step_up)
        if value is None:
            return self._refuse_callback(request, CallbackReason.STATE_EXPIRED, pending.to)
        log.info("signed-in", session=session.id, provider=client.provider.name, subject=user.subject)
        response = await self._hand_over(session, pending.to)
        _add_cookie(
            response,
            cookies.set_cookie(CookieName.SESSION, value, is_secure=self._login.is_secure),
        )
        return response

    # --- /.gate/session -----------------------------------------------------------------------------------

    @_guarded
    async def session(self, request: web.Request) -> web.StreamResponse:
        """Give an app host its own cookie for a one-time code, in the browser that began and nowhere else."""
        front = self._front(request)
        if front is None:
            return self._refuse_front(request)
        code = _query(request).get("code", "")
        entry = self._codes.get(code)
        if entry is None or entry.to.origin != front.origin:
            self._codes.pop(code, None)
            return self._refuse_link(request, "session-code-unknown")
        if entry.is_used:
            # A reload or a second fetch of the same address: fine for whoever has got the cookie.
            is_signed_in = self._session(request, front) is not None
            return (
                _redirect(303, entry.to.url)
                if is_signed_in
                else self._refuse_link(request, "session-code-used", entry.to)
            )
        self._codes[code] = msgspec.structs.replace(entry, is_used=True)
        return await self._take_cookie(request, front, entry)

    async def _take_cookie(self, request: web.Request, front: Front, entry: _Code) -> web.StreamResponse:
        start = cookies.find(_cookie_headers(request), CookieName.START, is_secure=front.is_secure)
        if start is None:
            return self._refuse(
                request,
                400,
                "start-cookie-missing",
                "Your browser keeps no cookies for this app",
                "Signing in needs a cookie of this site. Allow cookies here, or begin again in this window.",
                actions=(PageAction(entry.to.url, "Begin again"),),
            )
        if not hmac.compare_digest((cookie_hash(start) or "").encode(), entry.to.binding.encode()):
            # Another tab began later and replaced the start cookie, or this link is somebody else's. In both
            # cases the right thing is to begin again from here: it grants nothing and costs an honest tab one
            # redirect.
            return _redirect(303, entry.to.url)
        value = await self._sessions.add_cookie(
            entry.session,
            front.host,
            is_only=entry.to.wanted != NOTHING_WANTED,
        )
        response = _redirect(303, entry.to.url)
        if value is not None:
            _add_cookie(response, cookies.set_cookie(CookieName.SESSION, value, is_secure=front.is_secure))
        return response

    # --- /.gate/logout and /.gate/signed-out --------------------------------------------------------------

    async def confirm_logout(self, request: web.Request) -> web.StreamResponse:
        """Ask whether to sign out; a mere link must not do it."""
        front = self._front(request)
        if front is None:
            return self._refuse_front(request)
        session = self._session(request, front)
        if session is None:
            return _redirect(303, f"{self._login.origin}/.gate/signed-out")
        page = self._pages.confirm_sign_out(
            request,
            user=session.user,
            back_url=safe_path(_query(request).get("rd", "/")),
            form_targets=(front.origin, self._login.origin),
        )
        # `no-referrer` would make the form's Origin `null`, which is what we check.
        return _finished(page, referrer="same-origin")

    @_guarded
    async def logout(self, request: web.Request) -> web.StreamResponse:
        """End the session on all hosts (L1), then show what the provider offers."""
        front = self._front(request)
        if front is None:
            return self._refuse_front(request)
        if not _is_same_origin(request, front):
            return self._refuse(
                request,
                403,
                "cross-site-sign-out",
                "Sign-out was not sent from here",
                "Another site tried to sign you out. If it was you, use the button.",
                actions=(PageAction("/.gate/logout", "Sign out"),),
            )
        session = self._session(request, front)
        address = f"{self._login.origin}/.gate/signed-out"
        if session is not None:
            id_token = self._sessions.id_token(session)
            await self._end(session)
            log.info("signed-out", session=session.id, subject=session.user.subject)
            code = random_text(self._random_bytes)
            self._sign_outs[code] = _SignOut(
                session.user.provider,
                session.user.issuer,
                session.user.subject,
                id_token,
            )
            address += f"?c={code}"
        response = _redirect(303, address)
        _add_cookie(response, cookies.delete_cookie(CookieName.SESSION, is_secure=front.is_secure))
        return response

    @_guarded
    async def signed_out(self, request: web.Request) -> web.StreamResponse:
        """Say that the session is over, offer to end the provider's, receive the return from there (L2)."""
        front = self._front(request)
        if front != self._login:
            return (
                self._refuse_front(request)
                if front is None
                else _redirect(
                    303,
                    f"{self._login.origin}/.gate/signed-out",
                )
            )
        query = _query(request)
        if "go" in query:
            return self._to_end_session(request, query["go"])
        sent = cookies.find(_cookie_headers(request), CookieName.SIGN_OUT, is_secure=front.is_secure)
        if "c" not in query and (sent or "state" in query):
            return self._returned(request, query, sent)
        provider, url = await self._offer(request, query.get("c", ""))
        response = self._signed_out_page(request, provider, url)
        if self._session(request, front) is None:
            _add_cookie(response, cookies.delete_cookie(CookieName.SESSION, is_secure=front.is_secure))
        return response

    async def _offer(self, request: web.Request, code: str) -> tuple[str, str]:
        """Return label and link of the provider that can end its session too; "" and "" without one."""
        ended = self._sign_outs.get(code)
        if ended is None:
            return "", ""
        mine = self._session(request, self._login)
        if mine is not None and (mine.user.issuer, mine.user.subject) == (ended.issuer, ended.subject):
            # Parallel sign-ins may have left the login host a session of its own: the person has left, all of
            # it goes.
            await self._end(mine)
        client = self._providers.get(ended.provider)
        if client is None:
            return "", ""
        can_end = (
            client.end_session_url(id_token_hint=None, post_logout_redirect_uri="", state="") is not None
        )
        return (client.label, f"/.gate/signed-out?go={code}") if can_end else ("", "")

    def _to_end_session(self, request: web.Request, code: str) -> web.StreamResponse:
        ended = self._sign_outs.pop(code, None)
        client = None if ended is None else self._providers.get(ended.provider)
        state = random_text(self._random_bytes)
        url = None
        if ended is not None and client is not None:
            url = client.end_session_url(
                id_token_hint=ended.id_token,
                post_logout_redirect_uri=f"{self._login.origin}/.gate/signed-out",
                state=state,
            )
        if url is None:
            return self._signed_out_page(request, "", "")
        response = _redirect(302, url)
        _add_cookie(
            response,
            cookies.set_cookie(
                CookieName.SIGN_OUT,
                state,
                is_secure=self._login.is_secure,
                max_age_s=int(SIGN_OUT_S),
            ),
        )
        return response

    def _returned(
        self, request: web.Request, query: Mapping[str, str], sent: str | None
    ) -> web.StreamResponse:
        response: web.StreamResponse
        if not is_our_return(query.get("state"), sent):
            response = self._refuse(
                request,
                400,
                "sign-out-state-mismatch",
                "This sign-out was not begun here",
                "The sign-in service sent you back, but not for a sign-out of this browser. Check there whether you"
                " are signed out.",
            )
        else:
            response = self._signed_out_page(request, "", "")
        _add_cookie(response, cookies.delete_cookie(CookieName.SIGN_OUT, is_secure=self._login.is_secure))
        return response

    def _signed_out_page(self, request: web.Request, provider: str, url: str) -> web.Response:
        sign_in_url = (
            "/.gate/login" if self._home_path != "/" or self._app(self._login, "/") is not None else ""
        )
        return _finished(
            self._pages.signed_out(request, provider=provider, provider_url=url, sign_in_url=sign_in_url),
        )

    async def _end(self, session: Session) -> None:
        """End a session; afterwards no worker lets it through any more, even if the store lags behind."""
        try:
            await self._sessions.end(session.id)
        finally:
            await self._on_session_changed(session)

    # --- refusals -----------------------------------------------------------------------------------------

    def _refuse(
        self,
        request: web.Request,
        status: int,
        code: str,
        title: str,
        text: str,
        *,
        detail: str = "",
        actions: tuple[PageAction, ...] = (),
        retry_after_s: int | None = None,
    ) -> web.Response:
        reference = new_reference(self._random_bytes)
        write = log.error if status == 500 else log.warning  # noqa: PLR2004 - only our own mistakes wake somebody
        write("sign-in-refused", reference=reference, status=status, reason=code, detail=detail)
        response = self._pages.error(
            request,
            status=status,
            title=title,
            text=text,
            code=code,
            reference=reference,
            actions=actions,
            retry_after_s=retry_after_s,
        )
        if retry_after_s is not None:
            response.headers["Retry-After"] = str(retry_after_s)
        return _finished(response)

    def _refuse_front(self, request: web.Request) -> web.Response:
        return self._refuse(
            request,
            400,
            "address-not-served",
            "This address cannot be used to sign in",
            "Signing in needs https and a host name that the gateway serves.",
        )

    def _refuse_link(self, request: web.Request, code: str, to: ReturnTo | None = None) -> web.Response:
        return self._refuse(
            request,
            400,
            code,
            "This sign-in link no longer works",
            "Sign-in links are short-lived and count once. Open the app again to get a new one.",
            actions=() if to is None else (PageAction(to.url, "Open the app"),),
        )

    def _refuse_callback(
        self,
        request: web.Request,
        reason: CallbackReason,
        to: ReturnTo | None = None,
    ) -> web.Response:
        return self._refuse(
            request,
            400,
            reason,
            "Signing in did not finish",
            "This return from the sign-in service does not belong to a sign-in of this browser, came too late, or was"
            " used before. Open the app again to sign in.",
            actions=() if to is None else (PageAction(to.url, "Open the app"),),
        )

    def _refuse_error(
        self,
        request: web.Request,
        client: ProviderClient,
        answer: Callback,
        to: ReturnTo,
    ) -> web.Response:
        error = answer.error or ""
        meaning = meaning_of_error(error)
        said = "".join(sign for sign in answer.error_description if sign.isprintable()).strip()
        return self._refuse(
            request,
            meaning.status,
            "provider-said-no",
            meaning.title,
            meaning.text + (f" {client.label} says: {said}" if said else ""),
            detail=f"{client.provider.name}: {error[:60]}",
            actions=(PageAction(to.url, "Try again"),) if meaning.is_retry_useful else (),
            retry_after_s=RETRY_AFTER_S if meaning.status == 503 else None,  # noqa: PLR2004 - the one that asks to wait
        )

    def _refuse_provider(
        self,
        request: web.Request,
        client: ProviderClient,
        fault: ProviderFault,
        to: ReturnTo,
    ) -> web.Response:
        again = (PageAction(to.url, "Try again"),)
        detail = f"{client.provider.name}: {fault.detail}"
        if fault.is_temporary:
            return self._refuse(
                request,
                503,
                fault.reason,
                "Signing in is not possible right now",
                f"{client.label} cannot be reached. Your apps come back by themselves as soon as it answers.",
                detail=detail,
                actions=again,
                retry_after_s=RETRY_AFTER_S,
            )
        if fault.reason in (ProviderReason.CLIENT_REFUSED, ProviderReason.TOKEN_REQUEST_REFUSED):
            return self._refuse(
                request,
                500,
                fault.reason,
                "Sign-in is misconfigured",
                f"{client.label} does not accept this gateway. An administrator has to look.",
                detail=detail,
            )
        return self._refuse(
            request,
            502,
            fault.reason,
            "Sign-in failed",
            f"{client.label} gave an answer that cannot be used.",
            detail=detail,
            actions=again,
        )

    async def _refuse_token(
        self,
        request: web.Request,
        client: ProviderClient,
        refused: TokenRefused,
        pending: PendingLogin,
    ) -> web.StreamResponse:
        session = self._session(request, self._login)
        if refused.reason in STEP_UP_UNMET and pending.wanted != NOTHING_WANTED:
            if session is None:
                return self._refuse_step_up(request, client, pending.to)
            key = (session.id, pending.wanted)
            self._step_ups[key] = self._step_ups.get(key, 0) + 1
            return await self._to_provider(request, pending.to, session)
        return self._refuse(
            request,
            502,
            refused.reason,
            "Sign-in failed",
            f"{client.label} gave an answer that cannot be trusted. Try again; if it happens again, tell your"
            " administrator the code below.",
            detail=f"{client.provider.name}: {refused.detail}",
            actions=(PageAction(pending.to.url, "Try again"),),
        )

    def _refuse_step_up(self, request: web.Request, client: ProviderClient, to: ReturnTo) -> web.Response:
        return self._refuse(
            request,
            403,
            "step-up-not-met",
            "A stronger sign-in is needed",
            f"This app asks for a stronger or fresher sign-in than {client.label} gave. Ask your administrator which"
            " second factor you need.",
            actions=(PageAction(f"{to.origin}/", "Back to the app"),),
        )

    def _problem(self, request: web.Request, front: Front) -> web.Response:
        """Tell a client that is no navigation where to sign in. No cookie, no state, no redirect."""
        body = {
            "type": "about:blank",
            "title": "Sign-in required",
            "status": 401,
            "detail": "nobody is signed in: open `sign_in_url` in a browser",
            "code": "sign-in-required",
            "sign_in_url": front.origin + self.sign_in_path(_referring_path(request, front)),
        }
        response = web.Response(
            status=401,
            body=msgspec.json.encode(body),
            content_type="application/problem+json",
            headers={"WWW-Authenticate": 'Gate realm="sign-in"'},
        )
        return _finished(response)

    # --- reading requests ---------------------------------------------------------------------------------

    def _front(self, request: web.Request) -> Front | None:
        """Return how the client reached us, None for a foreign host or plain http off this machine."""
        scheme = request.headers.get("X-Gate-Scheme", "")
        host = _plain_host(scheme, request.headers.get("X-Gate-Host", ""))
        if scheme not in ("http", "https") or (scheme == "http" and not is_loopback_host(host_name(host))):
            return None
        front = Front(scheme, host)
        return front if front == self._login or self._app(front, None) is not None else None

    def _app(self, front: Front, path: str | None) -> App | None:
        """Return the app of this host with the longest prefix of `path`; any of them when `path` is None."""
        name = host_name(front.host)
        of_host = [app for app in self._apps if _is_host_of(app.host.lower(), name)]
        if path is None:
            return of_host[0] if of_host else None
        plain = path.partition("?")[0]
        below = [app for app in of_host if plain.startswith(app.path_prefix)]
        return max(below, key=lambda app: len(app.path_prefix), default=None)

    def _session(self, request: web.Request, front: Front) -> Session | None:
        value = cookies.find(_cookie_headers(request), CookieName.SESSION, is_secure=front.is_secure)
        return None if value is None else self._sessions.lookup_cookie(value, front.host, self._now())


def _wanted(step_up: StepUp) -> Wanted:
    return Wanted(
        acr_values=step_up.acr_values,
        max_age_s=None if step_up.max_age is None else int(step_up.max_age),
    )


def _shortened(to: ReturnTo) -> ReturnTo:
    return msgspec.structs.replace(to, path="/")


def _is_host_of(pattern: str, name: str) -> bool:
    """Return whether a host belongs to an app; `*.` stands for exactly one label."""
    if pattern.startswith("*."):
        label, dot, rest = name.partition(".")
        return bool(label and dot) and rest == pattern[2:]
    return host_name(pattern) == name


def _plain_host(scheme: str, host: str) -> str:
    """Return the host in lower case without the scheme's default port, "" for what is no host.

    >>> _plain_host("https", "App.Example:443"), _plain_host("http", "a.localhost:8080"), _plain_host("http", "a/b")
    ('app.example', 'a.localhost:8080', '')
    """
    text = host.lower()
    if not text or len(text) > 261 or not all(sign.isalnum() or sign in ".-_:[]" for sign in text):  # noqa: PLR2004
        return ""
    if not text.isascii():
        return ""
    return text.removesuffix({"http": ":80", "https": ":443"}.get(scheme, ""))


def _is_cookie_name(text: str) -> bool:
    return 0 < len(text) <= 64 and all(sign.isalnum() or sign in "-_" for sign in text) and text.isascii()  # noqa: PLR2004


def _cookie_headers(request: web.Request) -> list[str]:
    return request.headers.getall("Cookie", [])


def _query(request: web.Request) -> dict[str, str]:
    """Return the query of one of our own addresses: the first of repeated parameters, nothing for garbage."""
    raw = request.raw_path.partition("?")[2]
    if len(raw) > MAX_QUERY:
        return {}
    try:
        pairs = parse_qsl(raw, keep_blank_values=True, max_num_fields=20, errors="strict")
    except ValueError:
        return {}
    query: dict[str, str] = {}
    for name, value in pairs:
        query.setdefault(name, value)
    return query


def _referring_path(request: web.Request, front: Front) -> str:
    """Return the page that sent a fetch, if it is of the same app: there the person wants to be again."""
    referrer = request.headers.get("Referer", "")
    return safe_path(referrer[len(front.origin) :]) if referrer.startswith(front.origin + "/") else "/"


def _is_same_origin(request: web.Request, front: Front) -> bool:
    """Return whether a POST comes from a page of the same host, by fetch metadata or by `Origin` (G3)."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if origin is not None and origin != "null":
        return origin.lower() == front.origin and site in (None, "same-origin")
    return site == "same-origin"


def _redirect(status: int, url: str) -> web.Response:
    return _finished(web.Response(status=status, headers={"Location": url}))


def _finished(response: web.Response, *, referrer: str = "no-referrer") -> web.Response:
    """Return the response with the headers that everything about signing in has (C5)."""
    response.headers["Cache-Control"] = "no-store"
    response.headers["Referrer-Policy"] = referrer
    return response


def _add_cookie(response: web.StreamResponse, value: str) -> None:
    response.headers.add("Set-Cookie", value)


__all__ = ["Attempt", "Front", "PageAction", "SignIn", "SignInPages"]
