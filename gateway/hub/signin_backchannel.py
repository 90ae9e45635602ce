"""Back-channel logout: `/.gate/backchannel-logout`, where a provider ends sessions without a browser (B1 to B12).

The 200 is sent when no worker lets an ended session through any more and its open streams are cut. A sign-in that
is on its way while its logout arrives does not become a session.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime
from urllib.parse import parse_qs

import msgspec
import structlog
from aiohttp import web
from cachetools import TTLCache

from gateway.hub.signin_front import Fronts, client_address
from gateway.oidc.backchannel import LIFE_S, LogoutToken, untrusted_issuer
from gateway.oidc.faults import ProviderFault, TokenReason, TokenRefused
from gateway.sessions.endings import Ending, EndingKind, Endings
from gateway.sessions.model import Session
from gateway.sessions.pending import PENDING_S
from gateway.sessions.registry import SessionRegistry
from gateway.tasks import together

log = structlog.get_logger("signin")

MAX_BODY = 65536
ENDED_S = PENDING_S + LIFE_S
"""How long an end counts for sign-ins: none that began before it is on its way any more."""

SETTLES_S = 1.0
"""How long after its message a provider is given to end its own session, which most do when all have been told."""

REFUSALS_S = 60.0
MOST_REFUSALS = 60
"""Refused messages of one address in `REFUSALS_S` after which it is not listened to; good ones are never counted."""

MOST_SOURCES = 10_000


class LogoutRefused(Exception):
    """The message ended nothing. `reason` is for the log, the text for the sender."""

    def __init__(self, reason: str, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text
        self.status = status


class BackChannelLogout:
    """The handler. `endings` remembers what was ended, and which tokens did it.

    `on_session_changed` returns when every worker knows that a session is over.
    """

    def __init__(
        self,
        *,
        fronts: Fronts,
        sessions: SessionRegistry,
        endings: Endings,
        now: Callable[[], datetime],
        mono: Callable[[], float],
        on_session_changed: Callable[[Session], Awaitable[None]],
    ) -> None:
        self._fronts = fronts
        self._sessions = sessions
        self._endings = endings
        self._now = now
        self._on_session_changed = on_session_changed
        self._refused: TTLCache[str, int] = TTLCache(MOST_SOURCES, REFUSALS_S, timer=mono)

    def routes(self) -> list[web.RouteDef]:
        """Return the route. It answers every method itself, so that no app ever sees one of them."""
        return [web.route("*", "/.gate/backchannel-logout", self.handle)]

    def has_ended(self, issuer: str, subject: str, sid: str | None, started_at: float) -> bool:
        """Return whether a logout came for this person or provider session since a sign-in began (B12)."""
        return started_at <= self._last_end(issuer, subject, sid)

    def is_of_ended(
        self, issuer: str, subject: str, sid: str | None, authenticated_at: datetime | None
    ) -> bool:
        """Return whether a sign-in may rest on a provider session that has ended, for all that the provider proves.

        Providers announce an end before it is complete, and an open tab that was cut is back there within that time.
        """
        ended_at = self._last_end(issuer, subject, sid)
        if not ended_at:
            return False
        return authenticated_at is None or authenticated_at.timestamp() <= ended_at

    def settling_s(self, former: Session) -> float:
        """Return for how many seconds the provider of a session that it just ended may still be ending its own.

        Its form for the next sign-in would be of that one, and good for nothing when it is gone.
        """
        ended_at = self._last_end(former.user.issuer, former.user.subject, former.provider_sid)
        return min(SETTLES_S, max(0.0, ended_at + SETTLES_S - self._now().timestamp()))

    def _last_end(self, issuer: str, subject: str, sid: str | None) -> float:
        names = [("sub", subject)] + ([] if sid is None else [("sid", sid)])
        ends = (self._endings.find(EndingKind.PROVIDER_SESSION, issuer, *name) for name in names)
        return max(0.0 if end is None else float(end) for end in ends)

    def note_ended(self, issuer: str, subject: str, sid: str | None) -> Awaitable[None]:
        """Remember an end told by other means, so that no sign-in that began before it becomes a session.

        `sid` None ends all of the person's, else that session of the provider alone. It counts at once; what is
        returned is to be awaited, keeps it across a restart, and may raise `StoreFault`, `StoreOverloaded`.
        """
        return self._endings.keep(self._remember_end(issuer, subject, sid))

    def _remember_end(self, issuer: str, subject: str, sid: str | None) -> Ending:
        name = ("sub", subject) if sid is None else ("sid", sid)
        at = repr(self._now().timestamp())
        return self._endings.remember(EndingKind.PROVIDER_SESSION, issuer, *name, value=at, seconds=ENDED_S)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Take one logout token (B10): 200 when what it names has ended, 400 when it is not to be believed."""
        if request.method != "POST":
            return _answer(405, "invalid_request", "send the logout token by POST", Allow="POST")
        source = client_address(request)
        if self._refused.get(source, 0) >= MOST_REFUSALS:
            seconds = str(int(REFUSALS_S))
            return _answer(429, "invalid_request", "too many refused messages", **{"Retry-After": seconds})
        try:
            await self._take(request)
        except LogoutRefused as refused:
            self._refused[source] = self._refused.get(source, 0) + 1
            log.warning("back-channel-logout-refused", reason=refused.reason, status=refused.status)
            return _answer(refused.status, "invalid_request", refused.text)
        except Exception:
            # Source: section 2.8: a logout that failed is a 400, whatever the cause.
            log.exception("back-channel-logout-failed")
            return _answer(400, "logout_failed", "the sessions could not be ended everywhere; send it again")
        return web.Response(status=200, headers={"Cache-Control": "no-store"})

    async def _take(self, request: web.Request) -> None:
        if self._fronts.front(request) != self._fronts.login:
            raise LogoutRefused("wrong-host", "this host takes no logout tokens")
        token = await self._verified(await _logout_token(request))
        # Several requests with one token: the first counts, and only once it has ended what it names.
        used = self._endings.remember(
            EndingKind.LOGOUT_TOKEN, token.issuer, token.jti, value="", seconds=LIFE_S
        )
        try:
            ended = await self._end(token)
            await self._endings.keep(used)
        except BaseException:
            self._endings.forget(used)
            raise
        log.info("back-channel-logout", issuer=token.issuer, ended=[session.id for session in ended])

    async def _verified(self, raw: str) -> LogoutToken:
        """Return the verified token of the one provider that it can be from. Raises `LogoutRefused`."""
        refused = LogoutRefused("unknown-issuer", "the logout token is of no issuer that is known here")
        for client in self._fronts.providers_of(untrusted_issuer(raw)):
            try:
                token = await client.verify_logout(raw)
            except TokenRefused as fault:
                refused = LogoutRefused(fault.reason, f"the logout token is refused: {_public(fault.reason)}")
            except ProviderFault as fault:
                refused = LogoutRefused(fault.reason, "the issuer's keys are not available; send it again")
            else:
                if self._endings.find(EndingKind.LOGOUT_TOKEN, token.issuer, token.jti) is not None:
                    raise LogoutRefused(
                        TokenReason.LOGOUT_REPLAYED, "the logout token is refused: it was seen before"
                    )
                return token
        raise refused

    async def _end(self, token: LogoutToken) -> tuple[Session, ...]:
        """End what the token names (B9), everywhere, and remember it for sign-ins that are still on their way."""
        subject = token.subject or ""
        end = self._remember_end(token.issuer, subject, token.sid)
        if token.sid is not None:
            named = self._sessions.by_sid(token.issuer, token.sid)
            named = tuple(each for each in named if token.subject in (None, each.user.subject))
        else:
            named = self._sessions.by_subject(token.issuer, subject)
        try:
            await together(self._endings.keep(end), self._sessions.end_all(named))
        finally:
            # They are over in memory already, even when the store lags behind: every worker must know.
            await together(*map(self._on_session_changed, named))
        return named


async def _logout_token(request: web.Request) -> str:
    """Return the one `logout_token` of a form. Raises `LogoutRefused`."""
    if request.content_type != "application/x-www-form-urlencoded":
        raise LogoutRefused("wrong-content-type", "send application/x-www-form-urlencoded")
    body = bytearray()
    async for chunk in request.content.iter_chunked(MAX_BODY):
        body += chunk
        if len(body) > MAX_BODY:
            raise LogoutRefused("too-large", f"the body has more than {MAX_BODY} bytes", 413)
    try:
        form = parse_qs(body.decode("ascii"), keep_blank_values=True, max_num_fields=20)
    except ValueError as error:
        raise LogoutRefused("malformed", "the body is no form") from error
    tokens = form.get("logout_token", [])
    if len(tokens) != 1:
        raise LogoutRefused("no-logout-token", "send exactly one `logout_token`")
    return tokens[0]


def _public(reason: TokenReason) -> str:
    return reason.removeprefix("id-token-").removeprefix("logout-token-").replace("-", " ")


def _answer(status: int, error: str, description: str, **headers: str) -> web.Response:
    return web.Response(
        status=status,
        body=msgspec.json.encode({"error": error, "error_description": description}),
        content_type="application/json",
        headers={"Cache-Control": "no-store", **headers},
    )
