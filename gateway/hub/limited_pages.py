"""What people and apps are told of a limited session: `/.gate/user`, `/.gate/events`, the notice in pages, problems.

Every answer is decided by the same `Desk` as the tickets, so that nobody is told other than what is enforced.
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from importlib.resources import files
from typing import Protocol

import msgspec
from aiohttp import web

from compliance.model import ClientKind, Decision, Outcome, RequestFacts
from compliance.residual import valid_until
from gateway.config.schema import App
from gateway.controls.effective import Limit
from gateway.controls.notice import HIDE_PATH, HIDING_COOKIE, STYLE_PATH, NoticeTexts
from gateway.decision.context import Situation
from gateway.decision.verdict import Refused
from gateway.hub.ambience import Ambience
from gateway.hub.changes import STREAM_HEADERS, Changes, TooManySubscribers
from gateway.hub.desk import Desk
from gateway.hub.front import Front, read_front
from gateway.hub.pages import problem, spoken_problem
from gateway.hub.runtime import Runtime
from gateway.hub.signin_front import Front as Origin
from gateway.hub.signin_front import add_cookie, redirect, referring_path
from gateway.hub.texts import preferred, text
from gateway.sessions.cookies import set_cookie
from gateway.sessions.model import Session
from gateway.sessions.pending import safe_path

FIX_PATH = "/.gate/fix"
KEEPALIVE_S = 15.0
STREAM_MAX_S = 3600.0
"""How long one stream lasts; the browser then opens the next by itself."""
HIDDEN_S = 3600
"""How long a notice that somebody hid stays away."""
_KEY = re.compile(r"[0-9a-f]{16}")
_ADMITTED = (Outcome.ALLOW, Outcome.RESTRICT)


class SignedIn(Protocol):
    """What this module asks of sign-in."""

    def session_of(self, request: web.Request) -> Session | None:
        """Return the live session of the cookie on this host, or None."""
        ...


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What an app's own pages may show of the person and of the limits. Not for authorization.

    `reason` is in the reader's language where the policy has it, else in the default one; `reason_lang` says in which.
    """

    sub: str
    name: str
    email: str
    groups: list[str]
    app: str
    device: str
    compliance: str
    outcome: Outcome | None
    restrictions: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    banner: str = "off"
    reason: str = ""
    reason_lang: str = ""
    fix_url: str = ""


class LimitedPages:
    """The handlers of what limited sessions are told."""

    def __init__(
        self,
        *,
        desk: Desk,
        sign_in: SignedIn,
        changes: Changes,
        runtime: Callable[[], Runtime],
        clock: Callable[[], datetime],
    ) -> None:
        self._desk = desk
        self._sign_in = sign_in
        self._changes = changes
        self._runtime = runtime
        self._clock = clock
        self._style = (files("gateway.hub") / "static" / "notice.css").read_bytes()

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/.gate/user", self.user),
            web.get("/.gate/events", self.events),
            web.get(STYLE_PATH, self.style),
            web.get(HIDE_PATH, self.hide),
        ]

    async def user(self, request: web.Request) -> web.StreamResponse:
        """GET `/.gate/user`: who is signed in and what is limited. `path` tells which page; default: the asking one."""
        front = read_front(request)
        session = self._sign_in.session_of(request)
        if session is None:
            return nobody_problem()
        return web.Response(
            body=msgspec.json.encode(self._told(request, front, session)[0]),
            content_type="application/json",
            headers={"Cache-Control": "no-store"},
        )

    async def events(self, request: web.Request) -> web.StreamResponse:
        """GET `/.gate/events`: the same as server-sent events `user`, now and at each change that is enforced."""
        front = read_front(request)
        session = self._sign_in.session_of(request)
        if session is None:
            return nobody_problem()
        _, facts = self._told(request, front, session)
        response = web.StreamResponse(headers=STREAM_HEADERS)
        try:
            with self._changes.subscribed(facts.keys) as changed:
                await response.prepare(request)
                await self._tell(request, front, response, changed)
        except TooManySubscribers:
            return problem(503, "too-many-streams", "Too many open pages", "ask `/.gate/user` now and then")
        except ConnectionError:
            return response
        return response

    async def style(self, _request: web.Request) -> web.StreamResponse:
        """GET the style of the notice; it is the same for everybody."""
        headers = {"Cache-Control": "public, max-age=3600", "X-Content-Type-Options": "nosniff"}
        return web.Response(body=self._style, content_type="text/css", charset="utf-8", headers=headers)

    async def hide(self, request: web.Request) -> web.StreamResponse:
        """GET: hide the notice that says `n` for an hour, and go back. Only a page of the same host can."""
        front = read_front(request)
        own = Origin(front.scheme, front.host)
        key = request.query.get("n", "")
        response = redirect(303, referring_path(request, own))
        is_own = request.headers.get("Sec-Fetch-Site", "same-origin") == "same-origin"
        if is_own and _KEY.fullmatch(key):
            is_secure = front.scheme == "https"
            add_cookie(response, set_cookie(HIDING_COOKIE, key, is_secure=is_secure, max_age_s=HIDDEN_S))
        return response

    async def _tell(
        self, request: web.Request, front: Front, response: web.StreamResponse, changed: asyncio.Event
    ) -> None:
        loop = asyncio.get_running_loop()
        ends = loop.time() + STREAM_MAX_S
        last: Told | None = None
        while loop.time() < ends:
            session = self._sign_in.session_of(request)
            if session is None:
                await response.write(b"event: signed-out\ndata: {}\n\n")
                return
            changed.clear()
            told, facts = self._told(request, front, session)
            if told != last:
                await response.write(b"event: user\ndata: " + msgspec.json.encode(told) + b"\n\n")
                last = told
            else:
                await response.write(b": still here\n\n")
            try:
                async with asyncio.timeout(self._wait_s(told, facts, session)):
                    await changed.wait()
            except TimeoutError:
                continue

    def _wait_s(self, told: Told, facts: Situation, session: Session) -> float:
        """Return how long nothing can change by time alone, at most the keep-alive interval."""
        policies = self._runtime().policies_of(told.app) if told.app else ()
        moments = [valid_until(policies, facts.context), self._desk.ends_at(session)]
        ends = min(moment for moment in moments if moment is not None)
        return min(KEEPALIVE_S, max(0.05, (ends - self._clock()).total_seconds()))

    def _told(self, request: web.Request, front: Front, session: Session) -> tuple[Told, Situation]:
        runtime = self._runtime()
        asked = request.query.get("path", "")
        path = safe_path(asked) if asked else referring_path(request, Origin(front.scheme, front.host))
        app = runtime.app_at(front.hostname, path.partition("?")[0])
        facts = self._desk.situation(session, "" if app is None else app.name, front.evidence, self._clock())
        decision = None if app is None else self._decision(app, facts, path.partition("?")[0], front)
        return _told(runtime, app, facts, decision), facts

    def _decision(self, app: App, facts: Situation, path: str, front: Front) -> Decision:
        networks = self._runtime().networks.containing_text(front.client)
        return self._desk.decide(app, facts, RequestFacts("GET", path, ClientKind.BROWSER, networks))[0]


def _told(runtime: Runtime, app: App | None, facts: Situation, decision: Decision | None) -> Told:
    user, context = facts.context.user, facts.context
    told = Told(
        sub=user.subject,
        name=user.name,
        email=user.email,
        groups=sorted(user.groups),
        app="" if app is None else app.name,
        device=context.device_name,
        compliance=context.compliance.state,
        outcome=None if decision is None else decision.outcome,
    )
    if app is None or decision is None or decision.outcome is Outcome.ALLOW:
        return told
    effective = runtime.profiles.effective(decision.controls, decision.profiles, app.banner)
    is_in = decision.outcome in _ADMITTED
    said = runtime.texts.reason(decision.policy, decision.reason, preferred())
    return msgspec.structs.replace(
        told,
        restrictions=effective.names if is_in else (),
        profiles=effective.profiles if is_in else (),
        banner=effective.banner.value if is_in else "off",
        reason=said.text,
        reason_lang=said.language if said.text else "",
        fix_url=FIX_PATH,
    )


def notice_texts(ambience: Ambience) -> tuple[NoticeTexts, ...]:
    """Return what the notice says in each language, the default language first."""
    catalogues = ambience.catalogues[""]
    return tuple(
        NoticeTexts(
            language=code,
            direction=catalogues[code].direction,
            lead=catalogues[code].template("banner_lead"),
            link=catalogues[code].template("restricted_see_fix"),
            hide=catalogues[code].template("banner_hide"),
            limits={limit.value: catalogues[code].template(f"limit_{limit}") for limit in Limit},
        )
        for code in ambience.languages
    )


def restricted_problem(
    verdict: Refused, code: str, checks: Sequence[dict[str, object]], *, reason: str, fix_url: str | None
) -> web.Response:
    """Return what a program is told whose request or response a limit of the session stopped.

    `checks` are what is wrong with the device, `reason` is why the session is limited, in the language that is spoken.
    `fix_url` is where a person sees what to do, None for a service identity.
    """
    assert verdict.control is not None  # noqa: S101 - the caller has looked
    is_rate = verdict.control is Limit.RATE
    return spoken_problem(
        429 if is_rate else 403,
        "session-restricted",
        text("banner_lead"),
        text(f"limit_{verdict.control}"),
        reference=code,
        retry_after_s=verdict.retry_after if is_rate and verdict.retry_after else None,
        app=verdict.app,
        control=verdict.control.value,
        restrictions=[each.value for each in verdict.controls],
        reason=reason or None,
        remediation_url=fix_url,
        checks=list(checks),
    )


def nobody_problem() -> web.Response:
    """Return what is said to whoever asks about a session without having one."""
    return spoken_problem(
        401, "sign-in-required", text("program_sign_in_title"), text("program_nobody_detail")
    )
