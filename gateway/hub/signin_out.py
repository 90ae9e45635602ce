"""Signing out: `/.gate/` `logout` and `signed-out`.

Whoever signs out stays out: beside the ended session, the login host gets a mark for half a day. While it is there,
nothing goes to the provider by itself - its own session would sign the person in again behind an open tab - until
somebody follows the link of our own page, which alone knows what belongs to the mark.
"""

import base64
import hashlib
import hmac
from collections.abc import Awaitable, Callable
from datetime import datetime

import msgspec
import structlog
from aiohttp import web
from cachetools import TTLCache

from gateway.hub.signin_front import (
    Front,
    Fronts,
    add_cookie,
    cookie_headers,
    finished,
    is_same_origin,
    query_of,
    redirect,
)
from gateway.hub.signin_refusals import Refusals, guarded
from gateway.hub.signin_views import SignInPages
from gateway.oidc.authorize import random_text
from gateway.oidc.logout import is_our_return
from gateway.sessions import cookies
from gateway.sessions.cookies import CookieName
from gateway.sessions.endings import EndingKind, Endings
from gateway.sessions.model import Session
from gateway.sessions.pending import SignOutProof, open_sign_out, safe_path, seal_sign_out
from gateway.sessions.registry import SessionRegistry
from gateway.sessions.seal import SealBroken, Sealer

log = structlog.get_logger("signin")

SIGN_OUT_S = 600.0
MOST_SIGN_OUTS = 2_000
MARK_S = 43200
"""How long a browser that signed out is asked before it is signed in again: a working day of open tabs."""

PASS_BYTES = 16


class _SignOut(msgspec.Struct, frozen=True):
    """A session that was ended a moment ago, with what its provider needs to end its own."""

    provider: str
    issuer: str
    subject: str
    id_token: str | None


class SignOut:
    """The handlers of signing out. `on_session_changed` returns when every worker knows that a session is over."""

    def __init__(
        self,
        *,
        fronts: Fronts,
        sessions: SessionRegistry,
        endings: Endings,
        sealer: Sealer,
        pages: SignInPages,
        refusals: Refusals,
        now: Callable[[], datetime],
        mono: Callable[[], float],
        random_bytes: Callable[[int], bytes],
        on_session_changed: Callable[[Session], Awaitable[None]],
    ) -> None:
        self.refusals = refusals
        self._fronts = fronts
        self._sessions = sessions
        self._endings = endings
        self._sealer = sealer
        self._pages = pages
        self._now = now
        self._random_bytes = random_bytes
        self._on_session_changed = on_session_changed
        self._sign_outs: TTLCache[str, _SignOut] = TTLCache(MOST_SIGN_OUTS, SIGN_OUT_S, timer=mono)

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/.gate/logout", self.confirm),
            web.post("/.gate/logout", self.logout),
            web.get("/.gate/signed-out", self.signed_out, allow_head=False),
        ]

    async def end(self, session: Session) -> None:
        """End a session; afterwards no worker lets it through any more, even if the store lags behind."""
        try:
            await self._sessions.end(session.id)
        finally:
            await self._on_session_changed(session)

    # --- the mark ------------------------------------------------------------------------------------------------

    def mark(self, request: web.Request) -> str | None:
        """Return the mark of a browser that signed out, None without one. Only the login host has it.

        Signing out cuts other tabs before the browser has fetched its mark from here: until then the name of its
        last session finds it.
        """
        headers, secure = cookie_headers(request), self._fronts.login.is_secure
        last = cookies.find(headers, CookieName.LAST, is_secure=secure)
        kept = cookies.find(headers, CookieName.SIGNED_OUT, is_secure=secure)
        return kept or (None if last is None else self._endings.find(EndingKind.SIGN_OUT, last))

    def is_asked(self, request: web.Request, untrusted_pass: str) -> bool:
        """Return whether a browser that signed out now asks to sign in again.

        `untrusted_pass` is `again` of the address: only our page for this very mark has the right one, so that
        no other site can send a browser back in.
        """
        mark = self.mark(request)
        return mark is not None and hmac.compare_digest(untrusted_pass.encode(), _pass_of(mark).encode())

    def unmark(self, request: web.Request, response: web.StreamResponse) -> None:
        """Forget that the browser signed out, if it did."""
        if self.mark(request) is not None:
            secure = self._fronts.login.is_secure
            for name in (CookieName.SIGNED_OUT, CookieName.LAST):
                add_cookie(response, cookies.delete_cookie(name, is_secure=secure))

    def signed_in(self, request: web.Request, response: web.StreamResponse, session: Session) -> None:
        """Note in the browser whose session it has now; it is no longer one that signed out."""
        self.unmark(request, response)
        secure = self._fronts.login.is_secure
        add_cookie(
            response, cookies.set_cookie(CookieName.LAST, _digest("last:", session.id), is_secure=secure)
        )

    def stay_out_page(self, request: web.Request, sealed_return: str) -> web.Response:
        """Return the page that a held-back sign-in shows; its one link continues to what was wanted."""
        mark = self.mark(request) or ""
        url = f"/.gate/login?again={_pass_of(mark)}&t={sealed_return}"
        page = finished(self._pages.signed_out(request, provider="", provider_url="", sign_in_url=url))
        self._set_mark(page, mark)
        return page

    def _set_mark(self, response: web.Response, mark: str) -> None:
        secure = self._fronts.login.is_secure
        add_cookie(
            response, cookies.set_cookie(CookieName.SIGNED_OUT, mark, is_secure=secure, max_age_s=MARK_S)
        )

    # --- /.gate/logout -------------------------------------------------------------------------------------------

    async def confirm(self, request: web.Request) -> web.StreamResponse:
        """Ask whether to sign out; a mere link must not do it."""
        front = self._fronts.front(request)
        if front is None:
            return self.refusals.front(request)
        session = self._fronts.session(request, front)
        if session is None:
            return redirect(303, f"{self._fronts.login.origin}/.gate/signed-out")
        page = self._pages.confirm_sign_out(
            request,
            user=session.user,
            back_url=safe_path(query_of(request).get("rd", "/")),
            form_targets=(front.origin, self._fronts.login.origin),
        )
        # `no-referrer` would make the form's Origin `null`, which is what we check.
        return finished(page, referrer="same-origin")

    @guarded
    async def logout(self, request: web.Request) -> web.StreamResponse:
        """End the session on all hosts (L1), then show what the provider offers."""
        front = self._fronts.front(request)
        if front is None:
            return self.refusals.front(request)
        if not is_same_origin(request, front):
            return self.refusals.cross_site(request)
        session = self._fronts.session(request, front)
        code, mark = "", random_text(self._random_bytes)
        if session is not None:
            last = _digest("last:", session.id)
            noted = self._endings.remember(EndingKind.SIGN_OUT, last, value=mark, seconds=SIGN_OUT_S)
            id_token = self._sessions.id_token(session)
            try:
                await self.end(session)
            finally:
                await self._endings.keep(noted)
            log.info("signed-out", session=session.id, subject=session.user.subject)
            code = random_text(self._random_bytes)
            self._sign_outs[code] = _SignOut(
                session.user.provider,
                session.user.issuer,
                session.user.subject,
                id_token,
            )
        proof = SignOutProof(front.origin, self._now().timestamp(), mark, code)
        address = f"{self._fronts.login.origin}/.gate/signed-out?c={seal_sign_out(self._sealer, proof)}"
        response = redirect(303, address)
        add_cookie(response, cookies.delete_cookie(CookieName.SESSION, is_secure=front.is_secure))
        return response

    # --- /.gate/signed-out ---------------------------------------------------------------------------------------

    @guarded
    async def signed_out(self, request: web.Request) -> web.StreamResponse:
        """Say that the session is over, offer to end the provider's, receive the return from there (L2)."""
        front = self._fronts.front(request)
        if front is None:
            return self.refusals.front(request)
        if front != self._fronts.login:
            return redirect(303, f"{self._fronts.login.origin}/.gate/signed-out")
        query = query_of(request)
        if "go" in query:
            return self._to_end_session(request, query["go"])
        if "c" in query:
            return await self._left(request, front, query["c"])
        sent = cookies.find(cookie_headers(request), CookieName.SIGN_OUT, is_secure=front.is_secure)
        if sent or "state" in query:
            return self._returned(request, query.get("state"), sent)
        response = self._page(request)
        self._drop_dead_cookie(request, front, response)
        return response

    async def _left(self, request: web.Request, front: Front, untrusted: str) -> web.StreamResponse:
        """Finish a sign-out that a moment ago began on any host: here the browser is told to stay out."""
        try:
            proof = open_sign_out(self._sealer, untrusted)
        except SealBroken:
            return self._page(request)
        ended = self._sign_outs.get(proof.code)
        mine = self._fronts.session(request, front)
        if mine is not None and mine.created_at.timestamp() > proof.at:
            # The address of an earlier sign-out: whoever has signed in since then stays.
            return self._page(request)
        if mine is not None and ended is not None and _is_of(mine, ended):
            # Parallel sign-ins may have left the login host a session of its own: the person has left, all of
            # it goes.
            await self.end(mine)
        if self._now().timestamp() - proof.at > SIGN_OUT_S:
            return self._page(request)
        mark = self.mark(request) or proof.mark
        label, url = self._offer(proof.code)
        response = self._page(request, label, url, mark=mark, origin=proof.origin)
        self._set_mark(response, mark)
        self._drop_dead_cookie(request, front, response)
        return response

    def _drop_dead_cookie(self, request: web.Request, front: Front, response: web.Response) -> None:
        if self._fronts.session(request, front) is None:
            add_cookie(response, cookies.delete_cookie(CookieName.SESSION, is_secure=front.is_secure))

    def _offer(self, code: str) -> tuple[str, str]:
        """Return label and link of the provider that can end its session too; "" and "" without one."""
        ended = self._sign_outs.get(code)
        client = None if ended is None else self._fronts.provider(ended.provider)
        if client is None:
            return "", ""
        can_end = (
            client.end_session_url(id_token_hint=None, post_logout_redirect_uri="", state="") is not None
        )
        return (client.label, f"/.gate/signed-out?go={code}") if can_end else ("", "")

    def _to_end_session(self, request: web.Request, code: str) -> web.StreamResponse:
        ended = self._sign_outs.pop(code, None)
        client = None if ended is None else self._fronts.provider(ended.provider)
        state = random_text(self._random_bytes)
        url = None
        if ended is not None and client is not None:
            url = client.end_session_url(
                id_token_hint=ended.id_token,
                post_logout_redirect_uri=f"{self._fronts.login.origin}/.gate/signed-out",
                state=state,
            )
        if url is None:
            return self._page(request)
        response = redirect(302, url)
        add_cookie(
            response,
            cookies.set_cookie(
                CookieName.SIGN_OUT,
                state,
                is_secure=self._fronts.login.is_secure,
                max_age_s=int(SIGN_OUT_S),
            ),
        )
        return response

    def _returned(self, request: web.Request, state: str | None, sent: str | None) -> web.StreamResponse:
        response = (
            self._page(request) if is_our_return(state, sent) else self.refusals.sign_out_state(request)
        )
        secure = self._fronts.login.is_secure
        add_cookie(response, cookies.delete_cookie(CookieName.SIGN_OUT, is_secure=secure))
        return response

    def _page(
        self,
        request: web.Request,
        provider: str = "",
        provider_url: str = "",
        *,
        mark: str | None = None,
        origin: str = "",
    ) -> web.Response:
        """Return the page. Its link signs in again at the app that the person left, else on this host."""
        mark = mark or self.mark(request)
        url = f"{origin}/.gate/login" + ("" if mark is None else f"?again={_pass_of(mark)}")
        return finished(
            self._pages.signed_out(request, provider=provider, provider_url=provider_url, sign_in_url=url)
        )


def _is_of(session: Session, ended: _SignOut) -> bool:
    return (session.user.issuer, session.user.subject) == (ended.issuer, ended.subject)


def _pass_of(mark: str) -> str:
    """Return what the page's link carries: made from the mark, which no page and no script can read."""
    return _digest("again:", mark)


def _digest(purpose: str, text: str) -> str:
    digest = hashlib.sha256((purpose + text).encode("utf-8", "replace")).digest()[:PASS_BYTES]
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
