"""Signing in: `/.gate/` `login`, `callback` and `session`.

The login host (`public_url`) talks to the provider and has a session cookie of its own; every app host gets
its cookie through a one-time code that counts only in the browser that began. Before somebody has signed in,
nothing is remembered but addresses that are too long for a cookie. What a client or a provider sends ends in a
page with a reference code, never in a traceback.
"""

import asyncio
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from urllib.parse import quote

import msgspec
import structlog
from aiohttp import web
from cachetools import TTLCache

from compliance.model import StepUp
from gateway.config.schema import Config
from gateway.hub.keeping import Keeping
from gateway.hub.pages import spoken_problem
from gateway.hub.signin_addresses import KeptAddresses
from gateway.hub.signin_backchannel import BackChannelLogout
from gateway.hub.signin_front import (
    TOKEN_CHALLENGE,
    Front,
    Fronts,
    add_cookie,
    client_address,
    cookie_headers,
    finished,
    is_browser,
    is_cookie_name,
    is_program,
    query_of,
    redirect,
    referring_path,
)
from gateway.hub.signin_out import SignOut
from gateway.hub.signin_refusals import Refusals, guarded
from gateway.hub.signin_views import SignInPages
from gateway.hub.texts import text
from gateway.oidc.authorize import NOTHING_WANTED, Wanted, new_attempt, random_text
from gateway.oidc.callback import Callback, check_issuer, parse_callback
from gateway.oidc.faults import (
    STEP_UP_UNMET,
    CallbackReason,
    CallbackRefused,
    ProviderFault,
    ProviderReason,
    TokenRefused,
)
from gateway.oidc.io import ProviderClient, SignedIn
from gateway.sessions import cookies
from gateway.sessions.cookies import CookieName
from gateway.sessions.endings import Endings
from gateway.sessions.model import Session, cookie_hash
from gateway.sessions.pending import (
    MAX_CARRIED_PATH,
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

log = structlog.get_logger("signin")

CODE_S = 60.0
MOST_CODES = 20_000
USED_STATE_S = 3600.0
MOST_USED_STATES = 10_000
STEP_UP_ATTEMPTS = 2
STEP_UP_S = 600.0
MOST_STEP_UPS = 10_000
MAX_CODE_RESTARTS = 1
MAX_LINK = 8000
"""Longest address that a page links to; a longer one is linked by what is kept of it."""

NOT_KEPT = "-"
"""The id of an address for which there was no room: found by nobody."""


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Code(msgspec.Struct, frozen=True):
    """A one-time code on its way to the app host.

    `is_used` keeps the target for a browser that asks twice.
    """

    session: str
    to: ReturnTo
    is_used: bool = False


class SignIn:
    """The handlers of signing in, and the door to those of signing out.

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
        endings: Endings,
        sealer: Sealer,
        pages: SignInPages,
        now: Callable[[], datetime],
        mono: Callable[[], float],
        random_bytes: Callable[[int], bytes],
        on_session_changed: Callable[[Session], Awaitable[None]],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._sleep = sleep
        self._sessions = sessions
        self._endings = endings
        self._sealer = sealer
        self._pages = pages
        self._now = now
        self._random_bytes = random_bytes
        self._on_session_changed = on_session_changed
        self._fronts = Fronts(sessions, now)
        self._addresses = KeptAddresses(mono=mono, random_bytes=random_bytes)
        self._codes: TTLCache[str, _Code] = TTLCache(MOST_CODES, CODE_S, timer=mono)
        self._used_states: TTLCache[str, ReturnTo] = TTLCache(MOST_USED_STATES, USED_STATE_S, timer=mono)
        self._step_ups: TTLCache[tuple[str, Wanted], int] = TTLCache(MOST_STEP_UPS, STEP_UP_S, timer=mono)
        self.refusals = Refusals(pages, self._fronts, random_bytes, self._again)
        self._out = SignOut(
            fronts=self._fronts,
            sessions=sessions,
            endings=endings,
            sealer=sealer,
            pages=pages,
            refusals=self.refusals,
            now=now,
            mono=mono,
            random_bytes=random_bytes,
            on_session_changed=on_session_changed,
        )
        self._back_channel = BackChannelLogout(
            fronts=self._fronts,
            sessions=sessions,
            endings=endings,
            now=now,
            mono=mono,
            on_session_changed=on_session_changed,
        )
        self.configure(config, providers)

    def configure(self, config: Config, providers: Mapping[str, ProviderClient]) -> None:
        """Use this configuration from now on; sign-ins under way end by it."""
        self._fronts.configure(config, providers)

    async def load(self) -> None:
        """Take from the store what has ended a short time ago. Raises `StoreFault`."""
        await self._endings.load()

    def routes(self) -> list[web.RouteDef]:
        """Return the routes; every host has them. Those that use something up do not answer HEAD."""
        return [
            web.get("/.gate/login", self.login),
            web.get("/.gate/callback", self.callback, allow_head=False),
            web.get("/.gate/session", self.session, allow_head=False),
            *self._out.routes(),
            *self._back_channel.routes(),
        ]

    def note_ended(self, issuer: str, subject: str, sid: str | None) -> Awaitable[None]:
        """Let no sign-in that is on its way become a session of this person, or of that provider session alone.

        It counts at once, and across a restart when what is returned was awaited. Raises `StoreFault` there.
        """
        return self._back_channel.note_ended(issuer, subject, sid)

    def is_login_host(self, request: web.Request) -> bool:
        """Return whether a request came to the login host."""
        return self._fronts.front(request) == self._fronts.login

    # --- what the rest of the hub asks --------------------------------------------------------------------

    def sign_in_path(self, path: str, step_up: StepUp | None = None) -> str:
        """Return the address on an app's own host that signs in (or steps up) and comes back to `path`.

        A `path` too long for a link becomes `/`.
        """
        tail = "" if step_up is None else "&step_up=" + seal_wanted(self._sealer, _wanted(step_up))
        target = quote(safe_path(path), safe="/")
        if len(target) + len(tail) > MAX_LINK:
            target = "/"
        return f"/.gate/login?rd={target}{tail}"

    def session_of(self, request: web.Request) -> Session | None:
        """Return the live session of a request on its own host, None without one."""
        front = self._fronts.front(request)
        return None if front is None else self._fronts.session(request, front)

    async def start(
        self, request: web.Request, *, step_up: StepUp | None = None, kept: Keeping | None = None
    ) -> web.StreamResponse:
        """Answer a request that needs a sign-in: redirect a navigation, tell everybody else (A6).

        Only a GET or HEAD navigation sets a cookie or begins anything. `kept` is what became of a form that was sent:
        the sign-in then leads to where it can be sent again.
        """
        front = self._fronts.front(request)
        if front is None:
            return self.refusals.front(request)
        path = safe_path(request.raw_path)
        if not is_browser(request):
            return self._problem(request, front)
        wanted = NOTHING_WANTED if step_up is None else _wanted(step_up)
        if request.method in ("GET", "HEAD"):
            return self._to_login_host(request, front, self._target(front, path, wanted))
        if kept is not None and kept.resume_url:
            path = kept.resume_url
        url = self.sign_in_path(path, step_up)
        if len(path) > MAX_CARRIED_PATH:
            to = self._keep(request, self._target(front, path, wanted))
            url = f"/.gate/login?to={seal_return(self._sealer, to)}"
        return finished(self._pages.sign_in_needed(request, sign_in_url=url, kept=kept))

    @web.middleware
    async def home(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Lead whoever opens a login host that is no app to the page about themselves."""
        if request.path == "/" and request.method in ("GET", "HEAD") and is_browser(request):
            home = self._fronts.home
            if home != "/" and self._fronts.front(request) == self._fronts.login:
                return redirect(303, self._fronts.login.origin + home)
        return await handler(request)

    def _problem(self, request: web.Request, front: Front) -> web.Response:
        """Tell a client that is no navigation where to sign in. No cookie, no state, no redirect."""
        response = spoken_problem(
            401,
            "sign-in-required",
            text("program_sign_in_title"),
            text("program_sign_in_detail"),
            headers={"WWW-Authenticate": 'Gate realm="sign-in"'},
            sign_in_url=front.origin + self.sign_in_path(referring_path(request, front)),
        )
        if is_program(request):
            response.headers.add("WWW-Authenticate", TOKEN_CHALLENGE)
        return finished(response)

    # --- where a sign-in leads to -------------------------------------------------------------------------

    def _target(self, front: Front, path: str, wanted: Wanted) -> ReturnTo:
        app = self._fronts.app(front, path)
        return ReturnTo(
            scheme=front.scheme,
            host=front.host,
            path=path,
            made_at=self._now().timestamp(),
            provider=None if app is None else app.provider,
            wanted=wanted,
        )

    def _keep(self, request: web.Request, to: ReturnTo) -> ReturnTo:
        """Return a target that travels by the id of its path."""
        key = self._addresses.keep(client_address(request), to.path) or NOT_KEPT
        return msgspec.structs.replace(to, path="/", kept=key)

    def _path(self, to: ReturnTo) -> str | None:
        """Return the exact path with query that was wanted, None when it is not kept any more."""
        return self._addresses.find(to.kept) if to.kept else to.path

    def _again(self, to: ReturnTo) -> str:
        """Return the address for a link that leads to the target, through a sign-in where that is needed."""
        url = to.origin + (self._path(to) or "/")
        return url if len(url) <= MAX_LINK else f"{to.origin}/.gate/login?to={seal_return(self._sealer, to)}"

    def _arrive(self, request: web.Request, to: ReturnTo) -> web.Response:
        """Send the browser to the exact address, or say that it is not known any more."""
        path = self._path(to)
        if path is None:
            return self.refusals.address_forgotten(request, to)
        return redirect(303, to.origin + path)

    # --- /.gate/login -------------------------------------------------------------------------------------

    @guarded
    async def login(self, request: web.Request) -> web.StreamResponse:
        """Begin a sign-in.

        On an app host: go to the login host. There: hand over at once, or go to the provider; in a browser that
        signed out, only when asked to.
        """
        front = self._fronts.front(request)
        if front is None:
            return self.refusals.front(request)
        query = query_of(request)
        if "t" not in query:
            return self._login_here(request, front, query)
        if front != self._fronts.login:
            return self.refusals.link(request, "login-on-wrong-host")
        try:
            to = open_return(self._sealer, query["t"])
        except SealBroken:
            return self.refusals.link(request, "login-link-broken")
        is_asked = self._out.is_asked(request, query.get("again", ""))
        if self._out.mark(request) is not None and not is_asked and not self._is_known(request, to):
            return self._out.stay_out_page(request, query["t"])
        response: web.StreamResponse
        if self._now().timestamp() - to.made_at <= RETURN_S:
            response = await self._sign_in(request, to)
        elif is_asked:
            # The tab was left open over night: its address is old, the click is not.
            response = redirect(303, self._again(to))
        else:
            response = self.refusals.link(request, "login-link-expired", to)
        if is_asked:
            self._out.unmark(request, response)
        return response

    def _is_known(self, request: web.Request, to: ReturnTo) -> bool:
        """Return whether somebody is signed in here at the provider that the target needs."""
        session = self._fronts.session(request, self._fronts.login)
        if session is None or self._fronts.provider(session.user.provider) is None:
            return False
        return to.provider in (None, session.user.provider)

    def _login_here(self, request: web.Request, front: Front, query: Mapping[str, str]) -> web.StreamResponse:
        again = query.get("again", "")
        try:
            if "to" in query:
                to = open_return(self._sealer, query["to"])
                if to.origin != front.origin:
                    return self.refusals.link(request, "login-on-wrong-host")
                return self._to_login_host(request, front, to, again)
            wanted = open_wanted(self._sealer, query["step_up"]) if "step_up" in query else NOTHING_WANTED
        except SealBroken:
            return self.refusals.link(request, "step-up-link-broken")
        path = safe_path(query.get("rd", "/"))
        if path == "/" and front == self._fronts.login:
            path = self._fronts.home
        return self._to_login_host(request, front, self._target(front, path, wanted), again)

    def _to_login_host(
        self, request: web.Request, front: Front, to: ReturnTo, again: str = ""
    ) -> web.StreamResponse:
        start = cookies.find(cookie_headers(request), CookieName.START, is_secure=front.is_secure)
        binding = None if start is None else cookie_hash(start)
        fresh = None
        if binding is None:
            fresh = random_text(self._random_bytes)
            binding = cookie_hash(fresh) or ""
        to = msgspec.structs.replace(to, made_at=self._now().timestamp(), binding=binding)
        if len(to.path) > MAX_CARRIED_PATH:
            to = self._keep(request, to)
        address = f"{self._fronts.login.origin}/.gate/login?t={seal_return(self._sealer, to)}"
        if is_cookie_name(again):
            address += f"&again={again}"
        response = redirect(302, address)
        if fresh is not None:
            add_cookie(response, cookies.set_cookie(CookieName.START, fresh, is_secure=front.is_secure))
        return response

    async def _sign_in(self, request: web.Request, to: ReturnTo) -> web.StreamResponse:
        loop_cookie = cookies.find(
            cookie_headers(request), CookieName.LOOP, is_secure=self._fronts.login.is_secure
        )
        wanted_url = to.origin + (self._path(to) or "/")
        target = hashlib.sha256(wanted_url.encode()).hexdigest()[:12]
        counted, is_looping = count_start(self._sealer, loop_cookie, target, self._now())
        if is_looping:
            return self.refusals.loop(request, to)
        session = self._fronts.session(request, self._fronts.login)
        if session is not None and self._is_enough(session, to):
            response = await self._hand_over(request, session, to)
        else:
            if session is None:
                await self._let_provider_settle(request)
            response = await self._to_provider(request, to, session)
        add_cookie(
            response,
            cookies.set_cookie(
                CookieName.LOOP, counted, is_secure=self._fronts.login.is_secure, max_age_s=60
            ),
        )
        return response

    async def _let_provider_settle(self, request: web.Request) -> None:
        """Wait where a provider has just ended the session of this browser: a tab that was cut is back at once."""
        value = cookies.find(
            cookie_headers(request), CookieName.SESSION, is_secure=self._fronts.login.is_secure
        )
        former = None if value is None else self._sessions.lately(value, self._fronts.login.host)
        if former is not None and (left_s := self._back_channel.settling_s(former)):
            await self._sleep(left_s)

    def _is_enough(self, session: Session, to: ReturnTo) -> bool:
        user, wanted = session.user, to.wanted
        if to.provider is not None and user.provider != to.provider:
            return False
        if self._fronts.provider(user.provider) is None:
            return False
        if wanted.acr_values and user.acr not in wanted.acr_values:
            return False
        if wanted.max_age_s is None:
            return True
        if user.auth_at is None:
            return False
        # Exactly as access policies see it: a session that is enough here and too old there would be sent in circles.
        return (self._now() - user.auth_at).total_seconds() < wanted.max_age_s

    async def _to_provider(
        self,
        request: web.Request,
        to: ReturnTo,
        session: Session | None,
        *,
        restarts: int = 0,
        is_login_forced: bool = False,
    ) -> web.StreamResponse:
        """Send the browser to the provider, with a new attempt in a cookie of its own."""
        name = to.provider or self._fronts.default_provider
        if to.provider is None and session is not None and self._fronts.provider(session.user.provider):
            name = session.user.provider
        client = self._fronts.provider(name)
        if client is None:
            return self.refusals.link(request, "provider-not-configured", to)
        wanted = to.wanted
        tries = 0
        if session is not None and wanted != NOTHING_WANTED:
            tries = self._step_ups.get((session.id, wanted), 0)
            if tries >= STEP_UP_ATTEMPTS:
                # The page ends this round; whoever tries again from there may have the key by then.
                self._step_ups.pop((session.id, wanted), None)
                return self.refusals.step_up(request, client, to)
        attempt = new_attempt(self._random_bytes)
        # The second time the credentials are asked for again: some providers ignore `acr_values` otherwise.
        is_login_forced = is_login_forced or tries > 0
        try:
            url = await client.authorization_url(attempt, wanted=wanted, is_login_forced=is_login_forced)
        except ProviderFault as fault:
            return self.refusals.provider(request, client, fault, to)
        pending = PendingLogin(
            attempt=attempt,
            provider=name,
            to=to,
            started_at=self._now().timestamp(),
            session=None if session is None else session.id,
            restarts=restarts,
            wanted=wanted,
            is_login_forced=is_login_forced,
        )
        text = seal_pending(self._sealer, pending)
        if len(text) > MAX_PENDING_TEXT:
            pending = msgspec.structs.replace(pending, to=self._keep(request, to))
            text = seal_pending(self._sealer, pending)
        response = redirect(302 if request.path == "/.gate/login" else 303, url)
        secure = self._fronts.login.is_secure
        present = cookies.find_below(cookie_headers(request), CookieName.LOGIN, is_secure=secure)
        for old in names_to_evict(self._sealer, present, self._now()):
            if is_cookie_name(old):
                add_cookie(response, cookies.delete_cookie(CookieName.LOGIN + old, is_secure=secure))
        add_cookie(
            response,
            cookies.set_cookie(
                CookieName.LOGIN + attempt.state[:STATE_IN_NAME],
                text,
                is_secure=secure,
                max_age_s=PENDING_COOKIE_S,
            ),
        )
        return response

    async def _hand_over(self, request: web.Request, session: Session, to: ReturnTo) -> web.StreamResponse:
        """Send a signed-in browser to where it wanted to go, by way of the app host's own cookie."""
        if to.origin == self._fronts.login.origin:
            return self._arrive(request, to)
        code = random_text(self._random_bytes)
        self._codes[code] = _Code(session.id, to)
        return redirect(303, f"{to.origin}/.gate/session?code={code}")

    # --- /.gate/callback ----------------------------------------------------------------------------------

    @guarded
    async def callback(self, request: web.Request) -> web.StreamResponse:
        """Finish a sign-in at the provider. The state counts once, whatever comes of it (C1)."""
        if self._fronts.front(request) != self._fronts.login:
            return self.refusals.link(request, "callback-on-wrong-host")
        try:
            answer = parse_callback(request.raw_path.partition("?")[2])
        except CallbackRefused as refused:
            return self.refusals.callback(request, refused.reason)
        secure = self._fronts.login.is_secure
        name = CookieName.LOGIN + answer.state[:STATE_IN_NAME]
        kept = cookies.find(cookie_headers(request), name, is_secure=secure)
        pending = self._pending(kept, answer)
        if pending is None or answer.state in self._used_states:
            return self._stale(request, answer, pending)
        self._used_states[answer.state] = pending.to
        response = await self._finish(request, answer, pending)
        add_cookie(response, cookies.delete_cookie(name, is_secure=secure))
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
        if to is not None and self._fronts.session(request, self._fronts.login) is not None:
            return self._arrive(request, to)
        is_used = answer.state in self._used_states
        reason = CallbackReason.STATE_USED if is_used else CallbackReason.STATE_UNKNOWN
        return self.refusals.callback(request, reason, to)

    async def _finish(
        self, request: web.Request, answer: Callback, pending: PendingLogin
    ) -> web.StreamResponse:
        to = pending.to
        if self._now().timestamp() - pending.started_at > PENDING_S:
            if self._fronts.session(request, self._fronts.login) is not None:
                return self._arrive(request, to)
            return self.refusals.callback(request, CallbackReason.STATE_EXPIRED, to)
        client = self._fronts.provider(pending.provider)
        if client is None:
            return self.refusals.link(request, "provider-not-configured", to)
        try:
            check_issuer(answer, await client.metadata())
            if answer.code is not None:
                signed_in = await client.redeem(answer.code, pending.attempt, wanted=pending.wanted)
                return await self._accept(request, client, signed_in, pending)
            response: web.StreamResponse = self.refusals.error(request, client, answer, to)
        except CallbackRefused as refused:
            response = self.refusals.callback(request, refused.reason, to)
        except TokenRefused as refused:
            response = await self._after_refused_token(request, client, refused, pending)
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
            return self.refusals.provider(request, client, fault, pending.to)
        log.warning("sign-in-restarted", provider=pending.provider, detail=fault.detail)
        session = self._fronts.session(request, self._fronts.login)
        return await self._to_provider(request, pending.to, session, restarts=pending.restarts + 1)

    async def _after_refused_token(
        self,
        request: web.Request,
        client: ProviderClient,
        refused: TokenRefused,
        pending: PendingLogin,
    ) -> web.StreamResponse:
        """Ask once more for a step-up that the token does not prove; whatever else is wrong ends here."""
        if refused.reason not in STEP_UP_UNMET or pending.wanted == NOTHING_WANTED:
            return self.refusals.token(request, client, refused, pending.to)
        session = self._fronts.session(request, self._fronts.login)
        if session is None:
            return self.refusals.step_up(request, client, pending.to)
        key = (session.id, pending.wanted)
        self._step_ups[key] = self._step_ups.get(key, 0) + 1
        return await self._to_provider(request, pending.to, session)

    async def _accept(
        self,
        request: web.Request,
        client: ProviderClient,
        signed_in: SignedIn,
        pending: PendingLogin,
    ) -> web.StreamResponse:
        """Turn a verified sign-in into a session: the same person's grows, another person's ends (S2, C6)."""
        user = signed_in.user
        if self._is_over(signed_in, pending):
            return self.refusals.signed_out_meanwhile(request, pending.to)
        before = self._fronts.session(request, self._fronts.login)
        if not pending.is_login_forced and self._back_channel.is_of_ended(
            user.issuer, user.subject, signed_in.token.sid, user.auth_at
        ):
            return await self._to_provider(request, pending.to, before, is_login_forced=True)
        facts = SignInFacts(
            user=user,
            devices=signed_in.devices,
            provider_sid=signed_in.token.sid,
            id_token=signed_in.raw_id_token,
            refresh_token=signed_in.refresh_token,
        )
        session = None
        if before is not None and (before.user.issuer, before.user.subject) == (user.issuer, user.subject):
            session = await self._sessions.reauthenticate(before.id, facts)
            if session is not None:
                await self._on_session_changed(session)
        elif before is not None and (before.user.provider == user.provider or before.id == pending.session):
            await self._out.end(before)
        if session is None:
            session = await self._sessions.create(facts)
        if self._is_over(signed_in, pending):
            # The logout came while the store was writing: it found no session to end, so we end it.
            await self._out.end(session)
            return self.refusals.signed_out_meanwhile(request, pending.to)
        is_step_up = pending.wanted != NOTHING_WANTED
        if is_step_up:
            self._step_ups.pop((session.id, pending.wanted), None)
        value = await self._sessions.add_cookie(session.id, self._fronts.login.host, is_only=is_step_up)
        if value is None:
            return self.refusals.callback(request, CallbackReason.STATE_EXPIRED, pending.to)
        log.info("signed-in", session=session.id, provider=client.provider.name, subject=user.subject)
        response = await self._hand_over(request, session, pending.to)
        add_cookie(
            response,
            cookies.set_cookie(CookieName.SESSION, value, is_secure=self._fronts.login.is_secure),
        )
        self._out.signed_in(request, response, session)
        return response

    def _is_over(self, signed_in: SignedIn, pending: PendingLogin) -> bool:
        """Return whether the provider has ended this sign-in since it began (B12)."""
        user = signed_in.user
        return self._back_channel.has_ended(
            user.issuer, user.subject, signed_in.token.sid, pending.started_at
        )

    # --- /.gate/session -----------------------------------------------------------------------------------

    @guarded
    async def session(self, request: web.Request) -> web.StreamResponse:
        """Give an app host its own cookie for a one-time code, in the browser that began and nowhere else."""
        front = self._fronts.front(request)
        if front is None:
            return self.refusals.front(request)
        code = query_of(request).get("code", "")
        entry = self._codes.get(code)
        if entry is None or entry.to.origin != front.origin:
            self._codes.pop(code, None)
            return self.refusals.link(request, "session-code-unknown")
        if entry.is_used:
            # A reload or a second fetch of the same address: fine for whoever has got the cookie.
            is_signed_in = self._fronts.session(request, front) is not None
            return (
                self._arrive(request, entry.to)
                if is_signed_in
                else self.refusals.link(request, "session-code-used", entry.to)
            )
        self._codes[code] = msgspec.structs.replace(entry, is_used=True)
        return await self._take_cookie(request, front, entry)

    async def _take_cookie(self, request: web.Request, front: Front, entry: _Code) -> web.StreamResponse:
        start = cookies.find(cookie_headers(request), CookieName.START, is_secure=front.is_secure)
        if start is None:
            return self.refusals.start_cookie(request, entry.to)
        if not hmac.compare_digest((cookie_hash(start) or "").encode(), entry.to.binding.encode()):
            # Another tab began later and replaced the start cookie, or this link is somebody else's. In both
            # cases the right thing is to begin again from here: it grants nothing and costs an honest tab one
            # redirect.
            return self._arrive(request, entry.to)
        value = await self._sessions.add_cookie(
            entry.session,
            front.host,
            is_only=entry.to.wanted != NOTHING_WANTED,
        )
        response = self._arrive(request, entry.to)
        if value is not None:
            add_cookie(response, cookies.set_cookie(CookieName.SESSION, value, is_secure=front.is_secure))
        return response


def _wanted(step_up: StepUp) -> Wanted:
    return Wanted(
        acr_values=step_up.acr_values,
        max_age_s=None if step_up.max_age is None else int(step_up.max_age),
    )
