"""What people meet when access is not simply allowed: refusals, the remediation page, its live status, `/.gate/me`.

Every handler decides by the same `Desk` as the tickets, so that a page never says other than what is enforced.
"""

import asyncio
import hmac
from collections.abc import Callable
from datetime import datetime
from typing import Protocol
from urllib.parse import quote, urlsplit

import msgspec
from aiohttp import web

from compliance.model import ClientKind, Decision, Outcome, RequestFacts, RiskRule, StepUp
from gateway.config.schema import App
from gateway.decision.context import Situation
from gateway.decision.enforce import is_admitted
from gateway.decision.recorder import DecisionRecorder
from gateway.decision.routing import is_below
from gateway.decision.verdict import Failed, Refused
from gateway.hub import wording
from gateway.hub.changes import Changes, TooManySubscribers
from gateway.hub.desk import Desk
from gateway.hub.front import Front, read_front
from gateway.hub.pages import Pages, problem
from gateway.hub.runtime import Runtime
from gateway.hub.views import RemediationView, status_payload
from gateway.hub.wording import PageContext
from gateway.sessions.model import Session
from risk.model import RISK_ORDER, RiskLevel

KEEPALIVE_S = 15.0
STREAM_MAX_S = 3600.0
"""A status stream ends after this long; the browser opens it again by itself."""


class SignedIn(Protocol):
    """What this module asks of sign-in."""

    def session_of(self, request: web.Request) -> Session | None:
        """Return the live session of the cookie on this host, or None."""
        ...

    async def start(self, request: web.Request, *, step_up: StepUp | None = None) -> web.StreamResponse:
        """Begin a sign-in, a stronger one for `step_up`, or answer 401 to what is not a navigation."""
        ...

    def sign_in_path(self, path: str, step_up: StepUp | None = None) -> str:
        """Return the path where a (stronger) sign-in begins that comes back to `path`."""
        ...


class ReturnTargets(Protocol):
    """Keeps the address that a person wanted out of every URL: it travels sealed."""

    def seal(self, url: str) -> str:
        """Return an opaque text for `url`."""
        ...

    def open(self, untrusted: str) -> str | None:
        """Return the URL again, None when the text is not ours or too old."""
        ...


class Wanted(msgspec.Struct, frozen=True):
    """Where the person wants to go: the app, the canonical-enough path, and the URL to return to ("" unknown)."""

    app: App | None
    path: str
    url: str


class Standing(msgspec.Struct, frozen=True):
    """How it stands with a session: where it wants to go, on which facts, and what is decided (None without an app)."""

    wanted: Wanted
    facts: Situation
    decision: Decision | None


class Remediation:
    """The handlers of refusals and of `/.gate/fix`, `/.gate/status`, `/.gate/me`, `/.gate/user`."""

    def __init__(
        self,
        *,
        desk: Desk,
        pages: Pages,
        sign_in: SignedIn,
        returns: ReturnTargets,
        changes: Changes,
        recorder: DecisionRecorder,
        runtime: Callable[[], Runtime],
        clock: Callable[[], datetime],
        make_code: Callable[[], str],
    ) -> None:
        self._desk = desk
        self._pages = pages
        self._sign_in = sign_in
        self._returns = returns
        self._changes = changes
        self._recorder = recorder
        self._runtime = runtime
        self._clock = clock
        self._make_code = make_code

    # --- refusals --------------------------------------------------------------------------------------------

    async def refused(self, request: web.Request, front: Front, verdict: Refused) -> web.StreamResponse:
        """Answer a request that was refused: record it, then a page, a redirect to the page, or a problem."""
        app = self._runtime().app(verdict.app)
        session = self._sign_in.session_of(request)
        if app is None or session is None:
            return await self._sign_in.start(request)
        code = await self._record(front, verdict, app, session)
        if front.kind is ClientKind.BROWSER:
            return await self._refusal_page(
                request, front, verdict, self._context(request, app, session, code)
            )
        return self._refusal_problem(front, verdict, code)

    async def _record(self, front: Front, verdict: Refused, app: App, session: Session) -> str:
        """Keep the record of a refusal; return its reference code, "" when it could not be kept."""
        code = self._make_code()
        issued = self._desk.issued(verdict.decision, session, app, front.evidence)
        if issued is None:
            return ""
        facts = RequestFacts(verdict.method, verdict.path, verdict.client, frozenset(verdict.networks))
        record = self._desk.record(code, issued, app, facts, client=front.client)
        if verdict.control is not None:
            record = msgspec.structs.replace(record, reason=f"session control {verdict.control.value}")
        return code if await self._recorder.now(record) else ""

    async def _refusal_page(
        self,
        request: web.Request,
        front: Front,
        verdict: Refused,
        context: PageContext,
    ) -> web.StreamResponse:
        code = context.reference
        decision = Decision(outcome=verdict.outcome, policy=verdict.policy, reason=verdict.reason)
        wanted = front.origin + request.raw_path
        if verdict.control is not None:
            controls = frozenset(verdict.controls)
            view = wording.restricted(context, verdict.control, controls=controls, reason=verdict.reason)
            return self._pages.restricted(view)
        if verdict.outcome is Outcome.REMEDIATE:
            return _redirect(f"/.gate/fix?c={quote(code)}&t={self._returns.seal(wanted)}")
        if verdict.outcome is Outcome.STEP_UP:
            if request.method in ("GET", "HEAD"):
                return await self._sign_in.start(request, step_up=_step_up(verdict))
            url = self._sign_in.sign_in_path(request.raw_path, _step_up(verdict))
            return self._pages.step_up(wording.step_up(context, decision, continue_url=url))
        return self._pages.blocked(wording.blocked(context, decision, retry_url=request.raw_path))

    def _refusal_problem(self, front: Front, verdict: Refused, code: str) -> web.Response:
        if verdict.control is not None:
            text = f"this session is limited ({verdict.control.value})"
            return problem(403, "session-restricted", "Limited access", text, reference=code, app=verdict.app)
        if verdict.outcome is Outcome.STEP_UP:
            return self._step_up_problem(front, verdict, code)
        if verdict.outcome is Outcome.REMEDIATE:
            return problem(
                403,
                "remediation-required",
                "Access is paused until a problem is fixed",
                verdict.reason or "open the remediation page to see what to do",
                reference=code,
                app=verdict.app,
                remediation_url=f"{front.origin}/.gate/fix?c={quote(code)}",
            )
        return problem(
            403,
            "access-blocked",
            "Access policy does not allow this",
            verdict.reason or "no policy allows this request",
            reference=code,
            app=verdict.app,
        )

    def _step_up_problem(self, front: Front, verdict: Refused, code: str) -> web.Response:
        """Answer as RFC 9470 section 3 asks."""
        parts = [
            'Bearer error="insufficient_user_authentication"',
            'error_description="a stronger or fresher sign-in is needed"',
        ]
        if verdict.acr_values:
            parts.append(f'acr_values="{" ".join(verdict.acr_values)}"')
        if verdict.max_age is not None:
            parts.append(f'max_age="{int(verdict.max_age)}"')
        response = problem(
            401,
            "insufficient-user-authentication",
            "A stronger sign-in is needed",
            "sign in again with the authentication that this app asks for",
            reference=code,
            app=verdict.app,
            sign_in_url=front.origin + self._sign_in.sign_in_path("/", _step_up(verdict)),
        )
        response.headers["WWW-Authenticate"] = ", ".join(parts)
        return response

    def failed(self, request: web.Request, front: Front, verdict: Failed) -> web.StreamResponse:
        """Answer a request whose app gave no usable answer."""
        app = self._runtime().app(verdict.app)
        if front.kind is not ClientKind.BROWSER:
            text = "the app behind the gateway gave no usable answer"
            return problem(verdict.status, verdict.code, "The app did not answer", text, app=verdict.app)
        context = self._context(request, app, self._sign_in.session_of(request), "")
        view = wording.error(context, verdict.code, status=verdict.status, action_url=request.raw_path)
        return self._pages.error(view)

    # --- the remediation page --------------------------------------------------------------------------------

    async def fix(self, request: web.Request) -> web.StreamResponse:
        """GET `/.gate/fix`: what is wrong with this device, and what to do. 403 while access is paused."""
        front = read_front(request)
        session = self._sign_in.session_of(request)
        if session is None:
            return await self._sign_in.start(request)
        view = self._view(request, front, session)
        if "checked" in request.query:
            view = msgspec.structs.replace(view, notice=wording.checked_notice(view))
        return self._pages.remediation(view, status=200 if view.can_continue else 403)

    async def recheck(self, request: web.Request) -> web.StreamResponse:
        """POST `/.gate/recheck`: look again. Nothing but a sensor's evidence changes anything."""
        front = read_front(request)
        if not is_same_origin(request, front):
            return problem(
                403, "cross-site-request", "Not from this page", "send the form from the page itself"
            )
        query = {"checked": "1", **{key: request.query[key] for key in ("c", "t") if key in request.query}}
        return _redirect("/.gate/fix?" + "&".join(f"{key}={quote(value)}" for key, value in query.items()))

    async def status(self, request: web.Request) -> web.StreamResponse:
        """GET `/.gate/status`: the state of this device as JSON, for pages and scripts."""
        front = read_front(request)
        session = self._sign_in.session_of(request)
        if session is None:
            return problem(401, "sign-in-required", "Sign in first", "this tells only about your own device")
        payload = status_payload(self._view(request, front, session))
        return web.json_response(payload, headers={"Cache-Control": "no-store"})

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """GET `/.gate/status/stream`: the same as server-sent events, one at each change that is enforced."""
        front = read_front(request)
        session = self._sign_in.session_of(request)
        if session is None:
            return problem(401, "sign-in-required", "Sign in first", "this tells only about your own device")
        facts = self._facts(front, session, self._wanted(request, front))
        headers = {
            "Content-Type": "text/event-stream",
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",
        }
        response = web.StreamResponse(headers=headers)
        try:
            with self._changes.subscribed(facts.keys) as changed:
                await response.prepare(request)
                await self._send_events(request, front, response, changed)
        except TooManySubscribers:
            return problem(
                503, "too-many-streams", "Too many open pages", "the page refreshes itself instead"
            )
        except ConnectionError:
            return response
        return response

    async def _send_events(
        self,
        request: web.Request,
        front: Front,
        response: web.StreamResponse,
        changed: asyncio.Event,
    ) -> None:
        loop = asyncio.get_running_loop()
        ends = loop.time() + STREAM_MAX_S
        last = b""
        while loop.time() < ends:
            session = self._sign_in.session_of(request)
            if session is None:
                await response.write(b"event: signed-out\ndata: {}\n\n")
                return
            changed.clear()
            now = self._standing(request, front, session)
            data = msgspec.json.encode(status_payload(self._view_of(request, session, now)))
            if data != last:
                await response.write(b"event: status\ndata: " + data + b"\n\n")
                last = data
            else:
                await response.write(b": still here\n\n")
            try:
                async with asyncio.timeout(self._wait_s(now, session)):
                    await changed.wait()
            except TimeoutError:
                continue

    def _wait_s(self, standing: Standing, session: Session) -> float:
        """Return how long nothing can change by time alone, at most the keep-alive interval."""
        context = standing.facts.context
        moments = [at for at in (context.risk.changes_at, context.compliance.changes_at) if at is not None]
        moments.append(self._desk.ends_at(session))
        return min(KEEPALIVE_S, max(0.05, (min(moments) - self._clock()).total_seconds()))

    def _view(self, request: web.Request, front: Front, session: Session) -> RemediationView:
        return self._view_of(request, session, self._standing(request, front, session))

    def _view_of(self, request: web.Request, session: Session, standing: Standing) -> RemediationView:
        wanted, facts, decision = standing.wanted, standing.facts, standing.decision
        query = "&".join(f"{key}={quote(request.query[key])}" for key in ("c", "t") if key in request.query)
        suffix = f"?{query}" if query else ""
        return wording.remediation(
            facts.context,
            self._context(request, wanted.app, session, request.query.get("c", "")),
            can_continue=decision is None or is_admitted(decision),
            decision=decision,
            posture=facts.posture,
            risk_max=self._risk_max(),
            continue_url=wanted.url or "/",
            page_url=f"/.gate/fix{suffix}",
            stream_url=f"/.gate/status/stream{suffix}",
            status_url=f"/.gate/status{suffix}",
            recheck_url=f"/.gate/recheck{suffix}",
        )

    # --- about oneself ---------------------------------------------------------------------------------------

    async def me(self, request: web.Request) -> web.StreamResponse:
        """GET `/.gate/me`: my session, my device, what is held about it."""
        front = read_front(request)
        session = self._sign_in.session_of(request)
        if session is None:
            return await self._sign_in.start(request)
        wanted = self._wanted(request, front)
        facts = self._facts(front, session, wanted)
        view = wording.me(
            facts.context,
            self._context(request, wanted.app, session, ""),
            signed_in_at=session.created_at,
            ends_at=session.ends_at,
            posture=facts.posture,
        )
        return self._pages.me(view)

    async def user(self, request: web.Request) -> web.StreamResponse:
        """GET `/.gate/user`: who is signed in, for an app's own pages. Not for authorization."""
        front = read_front(request)
        session = self._sign_in.session_of(request)
        if session is None:
            return problem(401, "sign-in-required", "Sign in first", "nobody is signed in here")
        standing = self._standing(request, front, session)
        decision = standing.decision
        user, context = session.user, standing.facts.context
        body = {
            "sub": user.subject,
            "name": user.name,
            "email": user.email,
            "groups": sorted(user.groups),
            "device": context.device_name,
            "compliance": context.compliance.state,
            "outcome": None if decision is None else decision.outcome,
            "restrictions": [] if decision is None else sorted(decision.controls),
        }
        return web.Response(
            body=msgspec.json.encode(body),
            content_type="application/json",
            headers={"Cache-Control": "no-store"},
        )

    # --- parts -----------------------------------------------------------------------------------------------

    def _standing(self, request: web.Request, front: Front, session: Session) -> Standing:
        """Decide about the page that is wanted, as a worker would if it were asked for now."""
        wanted = self._wanted(request, front)
        facts = self._facts(front, session, wanted)
        if wanted.app is None:
            return Standing(wanted, facts, None)
        asked = RequestFacts("GET", wanted.path, ClientKind.BROWSER, self._networks(front))
        decision, _ = self._desk.decide(wanted.app, facts, asked)
        return Standing(wanted, facts, decision)

    def _wanted(self, request: web.Request, front: Front) -> Wanted:
        """Return where the person wants to go: the sealed target, only ever on this very host."""
        url = self._returns.open(request.query.get("t", "")) or ""
        parts = urlsplit(url)
        if f"{parts.scheme}://{parts.netloc}" != front.origin:
            url, path = "", "/"
        else:
            path = parts.path or "/"
        return Wanted(self._app_at(front.hostname, path), path, url)

    def _app_at(self, hostname: str, path: str) -> App | None:
        """Return the app of this host and path, else the first app of the host."""
        wildcard = "*." + hostname.partition(".")[2]
        apps = [app for app in self._runtime().apps.values() if app.host.lower() in (hostname, wildcard)]
        apps.sort(key=lambda app: (app.host.startswith("*."), -len(app.path_prefix)))
        return next((app for app in apps if is_below(path, app.path_prefix)), apps[0] if apps else None)

    def _facts(self, front: Front, session: Session, wanted: Wanted) -> Situation:
        name = wanted.app.name if wanted.app is not None else ""
        return self._desk.situation(session, name, front.evidence, self._clock())

    def _networks(self, front: Front) -> frozenset[str]:
        return self._runtime().networks.containing_text(front.client)

    def _risk_max(self) -> RiskLevel | None:
        """Return the strictest highest acceptable risk level of all compliance rules."""
        policies = self._runtime().config.compliance.policies
        levels = [rule.max for policy in policies for rule in policy.rules if isinstance(rule, RiskRule)]
        return min(levels, key=RISK_ORDER.__getitem__) if levels else None

    def _context(
        self, request: web.Request, app: App | None, session: Session | None, code: str
    ) -> PageContext:
        account = "" if session is None else (session.user.email or session.user.name or session.user.subject)
        return PageContext(
            now=self._clock(),
            reference=code,
            account=account,
            app="" if app is None else (app.title or app.name),
            owner="" if app is None else app.owner,
            system=wording.detect_os(request.headers.get("User-Agent", "")),
        )


def _step_up(verdict: Refused) -> StepUp:
    return StepUp(acr_values=verdict.acr_values, max_age=verdict.max_age)


def is_same_origin(request: web.Request, front: Front) -> bool:
    """Return whether a state-changing request comes from our own page (`Sec-Fetch-Site`, else `Origin`)."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site == "same-origin"
    return hmac.compare_digest(request.headers.get("Origin", "").encode(), front.origin.encode())


def _redirect(location: str) -> web.Response:
    return web.Response(
        status=303,
        headers={"Location": location, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"},
    )
