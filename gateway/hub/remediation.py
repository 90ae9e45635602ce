"""What people meet when access is not simply allowed: refusals, the remediation page, its live status, `/.gate/me`.

Every handler decides by the same `Desk` as the tickets, so that a page never says other than what is enforced.
"""

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from typing import Protocol
from urllib.parse import quote, urlsplit

import msgspec
import structlog
from aiohttp import web

from compliance.model import ClientKind, Decision, Outcome, RequestFacts, RiskRule, StepUp
from compliance.reasons import AccessReason
from compliance.why import next_step
from gateway.config.schema import App
from gateway.decision.context import Situation
from gateway.decision.enforce import is_admitted
from gateway.decision.recorder import DecisionRecorder
from gateway.decision.verdict import Failed, Refused
from gateway.decision.verdict import SignIn as SignInFirst
from gateway.hub import wording
from gateway.hub.changes import STREAM_HEADERS, Changes, TooManySubscribers
from gateway.hub.desk import Desk
from gateway.hub.exception_pages import ExceptionPages
from gateway.hub.front import Front, read_front
from gateway.hub.keeping import Keeping, kept_view
from gateway.hub.kept_forms import KeptForms
from gateway.hub.limited_pages import nobody_problem, restricted_problem
from gateway.hub.pace import GivingWay
from gateway.hub.pages import Pages, problem, spoken_problem
from gateway.hub.runtime import Runtime
from gateway.hub.signin_front import TOKEN_CHALLENGE, referring_path
from gateway.hub.signin_front import Front as Origin
from gateway.hub.texts import text
from gateway.hub.views import AppState, Offer, RemediationView, status_payload
from gateway.hub.wording import PageContext
from gateway.pulls.hub import RefreshOutcome, RefreshResult
from gateway.remediation.forms import Lost
from gateway.remediation.task_desk import TaskDesk
from gateway.service_tokens.registry import ServiceTokens
from gateway.sessions.model import Session
from risk.database import StoreFault, StoreOverloaded
from risk.model import RISK_ORDER, DeviceId, RiskLevel

log = structlog.get_logger("remediation")

KEEPALIVE_S = 15.0
CARRIED = ("c", "t", "f", "lost", "ui_locales")
"""What stays in the address of the remediation page: code, sealed target, kept form or why there is none, language."""

WAITED, STILL = "w", "still"
"""What a page without a script adds: it has waited, and so may lead back; it stays as it is until it is asked."""

NOTICES = frozenset(
    {
        "snoozed",
        "asked",
        "exception_reason_needed",
        "exception_none_left",
        "exception_too_often",
        "exception_store",
    }
)
"""What the page may be told to say after a form of its own."""

ANSWERED = (RefreshOutcome.CHANGED, RefreshOutcome.UNCHANGED)
"""What asking a sensor may come to when it answered."""

MOST_APPS = 12
"""Most other apps that the page lists."""

SERVICE_HEADER = "X-Gate-Service"
"""What a worker names a service token by, on requests that it hands over."""

STREAM_MAX_S = 3600.0
"""A status stream ends after this long; the browser opens it again by itself."""


class SignedIn(Protocol):
    """What this module asks of sign-in."""

    def session_of(self, request: web.Request) -> Session | None:
        """Return the live session of the cookie on this host, or None."""
        ...

    async def start(
        self, request: web.Request, *, step_up: StepUp | None = None, kept: Keeping | None = None
    ) -> web.StreamResponse:
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
    """The handlers of refusals and of `/.gate/fix`, `/.gate/status`, `/.gate/me`."""

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
        forms: KeptForms,
        exceptions: ExceptionPages,
        tasks: TaskDesk,
        service_tokens: ServiceTokens,
        looked_at: Callable[[Iterable[str]], None],
        refresh: Callable[[DeviceId], Awaitable[Mapping[str, RefreshResult]]],
        giving_way: GivingWay,
    ) -> None:
        self._giving_way = giving_way
        self._forms = forms
        self._exceptions = exceptions
        self._tasks = tasks
        self._service_tokens = service_tokens
        self._looked_at = looked_at
        self._refresh = refresh
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

    async def signed_out(self, request: web.Request, verdict: SignInFirst) -> web.StreamResponse:
        """Answer a request that needs a sign-in; a form that it sends is kept until afterwards."""
        if SERVICE_HEADER in request.headers:
            return self._bad_token(request, verdict.app)
        carried = await self._forms.carry(request, verdict.app)
        if carried is not None:
            return carried
        return await self._sign_in.start(request, kept=await self._forms.keep(request, verdict.app))

    async def refused(self, request: web.Request, front: Front, verdict: Refused) -> web.StreamResponse:
        """Answer a request that was refused: record it, then a page, a redirect to the page, or a problem."""
        app = self._runtime().app(verdict.app)
        session = self._who(request)
        if session is None and SERVICE_HEADER in request.headers:
            return self._bad_token(request, verdict.app)
        kept = await self._forms.keep(request, verdict.app)
        if app is None or session is None:
            return await self._sign_in.start(request, kept=kept)
        code, reason = await self._record(front, verdict, app, session)
        # Records are written together: without this, all who wait for theirs would go on at once.
        await self._giving_way.turn()
        context = self._context(request, app, session, code)
        is_service = session.user.is_service
        if front.kind is ClientKind.BROWSER and not is_service:
            answer = await self._refusal_page(request, front, verdict, context, kept)
        else:
            checks = self._checks(front, app, session, context)
            answer = self._refusal_problem(front, verdict, context, reason, checks, is_service=is_service)
        if code and not answer.prepared:
            answer.headers["X-Gate-Decision-Id"] = code
        return answer

    def _who(self, request: web.Request) -> Session | None:
        """Return who sent a request that was handed over: a service identity by its token, else who is signed in."""
        digest = request.headers.get(SERVICE_HEADER)
        if digest is None:
            return self._sign_in.session_of(request)
        return self._service_tokens.lookup(digest, self._clock())

    def _bad_token(self, request: web.Request, app: str) -> web.Response:
        """Answer a request with a service token that does not count, or not any more. Source: RFC 6750 section 3."""
        token, now = self._service_tokens.find(request.headers[SERVICE_HEADER]), self._clock()
        state = "unknown" if token is None else token.state(now).value
        log.info(
            "service-token-refused",
            why=state,
            app=app,
            token_id=None if token is None else token.id,
            client=read_front(request).client,
        )
        response = spoken_problem(
            401,
            f"service-token-{state}",
            text("program_token_title"),
            text(f"program_token_{state}"),
            app=app,
            ended_at=None if token is None else token.ended_at.isoformat(timespec="seconds"),
        )
        for challenge in ('Bearer error="invalid_token"', TOKEN_CHALLENGE):
            response.headers.add("WWW-Authenticate", challenge)
        return response

    def _checks(
        self, front: Front, app: App, session: Session, context: PageContext
    ) -> list[dict[str, object]]:
        """Return what the remediation page would list as open, for whoever is no browser."""
        facts = self._desk.situation(session, app.name, front.evidence, self._clock())
        found = wording.problems(facts.context, context, posture=facts.posture, risk_max=self._risk_max())
        return wording.as_checks(found)

    async def _record(
        self, front: Front, verdict: Refused, app: App, session: Session
    ) -> tuple[str, AccessReason | None]:
        """Keep the record of a refusal; return its reference code, "" when it could not be kept, and the reason."""
        code = self._make_code()
        issued = self._desk.issued(verdict.decision, session, app, front.evidence)
        if issued is None:
            return "", None
        facts = RequestFacts(verdict.method, verdict.path, verdict.client, frozenset(verdict.networks))
        record = self._desk.record(code, issued, app, facts, client=front.client)
        if verdict.control is not None:
            record = msgspec.structs.replace(record, reason=f"session control {verdict.control.value}")
        if not await self._recorder.now(record):
            return "", record.why
        self._recorder.complete(record, self._desk.nearest_of(issued, record, facts))
        return code, record.why

    async def _refusal_page(
        self,
        request: web.Request,
        front: Front,
        verdict: Refused,
        context: PageContext,
        kept: Keeping | None,
    ) -> web.StreamResponse:
        decision = Decision(outcome=verdict.outcome, policy=verdict.policy, reason=verdict.reason)
        shown = None if kept is None else kept_view(context, kept, is_signed_in=True)
        if verdict.control is not None:
            controls = frozenset(verdict.controls)
            view = wording.restricted(
                context,
                verdict.control,
                controls=controls,
                policy=verdict.policy,
                reason=verdict.reason,
                kept=shown,
            )
            page = self._pages.restricted(view)
            if verdict.retry_after:
                page.headers["Retry-After"] = str(verdict.retry_after)
            return page
        if verdict.outcome is Outcome.REMEDIATE:
            return _redirect(self._fix_path(request, front, context.reference, kept))
        if verdict.outcome is Outcome.STEP_UP:
            if request.method in ("GET", "HEAD"):
                return await self._sign_in.start(request, step_up=_step_up(verdict))
            path = kept.resume_url if kept is not None and kept.key else _page_of(request, front)
            url = self._sign_in.sign_in_path(path, _step_up(verdict))
            return self._pages.step_up(wording.step_up(context, decision, continue_url=url, kept=shown))
        retry_url = _page_of(request, front)
        return self._pages.blocked(wording.blocked(context, decision, retry_url=retry_url, kept=shown))

    def _fix_path(self, request: web.Request, front: Front, code: str, kept: Keeping | None) -> str:
        """Return the address of the remediation page that leads back, to the form where one is kept."""
        is_kept = kept is not None and bool(kept.key)
        wanted = front.origin + (request.raw_path if is_kept else _page_of(request, front))
        path = f"/.gate/fix?c={quote(code)}&t={self._returns.seal(wanted)}"
        if kept is None:
            return path
        return f"{path}&f={kept.key}" if kept.key else f"{path}&lost={kept.lost or Lost.STORE}"

    def _refusal_problem(
        self,
        front: Front,
        verdict: Refused,
        context: PageContext,
        reason: AccessReason | None,
        checks: list[dict[str, object]],
        *,
        is_service: bool,
    ) -> web.Response:
        """Return what a program is told: codes to go by, and texts for people in the language that they prefer.

        A service identity has no page to open and no stronger sign-in.
        """
        code = context.reference
        step = None if reason is None or is_service else next_step(reason)
        url = None if is_service else f"{front.origin}/.gate/fix?c={quote(code)}"
        said = context.reason(verdict.policy, verdict.reason).text
        if verdict.control is not None:
            return restricted_problem(verdict, code, checks, reason=said, fix_url=url)
        if verdict.outcome is Outcome.STEP_UP and not is_service:
            return self._step_up_problem(front, verdict, code)
        if verdict.outcome is Outcome.REMEDIATE:
            return spoken_problem(
                403,
                "remediation-required",
                text("program_paused_title"),
                said or text("program_paused_detail"),
                reference=code,
                app=verdict.app,
                why=reason,
                next_step=step,
                remediation_url=url,
                checks=checks,
            )
        return spoken_problem(
            403,
            "access-blocked",
            text("program_blocked_title"),
            text("program_token_step_up")
            if verdict.outcome is Outcome.STEP_UP
            else said or text("program_blocked_detail"),
            reference=code,
            app=verdict.app,
            why=reason,
            next_step=step,
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
        response = spoken_problem(
            401,
            "insufficient-user-authentication",
            text("signin_stronger_title"),
            text("program_stronger_detail"),
            reference=code,
            app=verdict.app,
            sign_in_url=front.origin + self._sign_in.sign_in_path("/", _step_up(verdict)),
        )
        response.headers["WWW-Authenticate"] = ", ".join(parts)
        return response

    async def failed(self, request: web.Request, front: Front, verdict: Failed) -> web.StreamResponse:
        """Answer a request whose app gave no usable answer, or that nobody may send."""
        app = self._runtime().app(verdict.app)
        session = self._who(request)
        code = await self._record_failure(request, front, verdict, app, session)
        context = self._context(request, app, session, code)
        view = wording.error(context, verdict.code, status=verdict.status, action_url=request.raw_path)
        if front.kind is not ClientKind.BROWSER:
            return spoken_problem(
                verdict.status, verdict.code, view.title, view.lead, reference=code, app=verdict.app
            )
        return self._pages.error(view)

    async def _record_failure(
        self, request: web.Request, front: Front, verdict: Failed, app: App | None, session: Session | None
    ) -> str:
        """Return a reference code: of the log line that tells of a failure, and of the decision that went before it."""
        code = self._make_code()
        path = request.rel_url.raw_path
        log.warning(
            "app-failed",
            reference=code,
            app=verdict.app,
            fault=verdict.code,
            detail=verdict.detail or None,
            method=request.method,
            path=path,
        )
        if app is None or session is None or not verdict.decision:
            return code
        issued = self._desk.issued(verdict.decision, session, app, front.evidence)
        if issued is not None:
            facts = RequestFacts(request.method, path, front.kind, frozenset(verdict.networks))
            record = self._desk.record(code, issued, app, facts)
            reason = f"admitted, but the app gave no usable answer ({verdict.code})"
            await self._recorder.now(msgspec.structs.replace(record, reason=reason, client=front.client))
        return code

    # --- the remediation page --------------------------------------------------------------------------------

    async def fix(self, request: web.Request) -> web.StreamResponse:
        """GET `/.gate/fix`: what is wrong with this device, and what to do. 403 while access is paused."""
        front = read_front(request)
        session = self._sign_in.session_of(request)
        if session is None:
            return await self._sign_in.start(request)
        standing = self._standing(request, front, session)
        view = self._view_of(
            request,
            session,
            standing,
            await self._kept(request, session),
            offers=await self._exceptions.offers(request, session, standing.facts),
            apps=self._apps(front, session, standing),
        )
        if standing.facts.context.device_id is not None:
            self._looked_at((standing.facts.context.device_id,))
        said = request.query.get("said", "")
        if "checked" in request.query:
            notice = wording.checked_notice(
                view, asked=self._sensors(request, "asked"), unasked=self._sensors(request, "unasked")
            )
            view = msgspec.structs.replace(view, notice=notice)
        elif said in NOTICES:
            view = msgspec.structs.replace(view, notice=text(f"notice_{said}"))
        return self._pages.remediation(view, status=200 if view.can_continue else 403)

    async def recheck(self, request: web.Request) -> web.StreamResponse:
        """POST `/.gate/recheck`: look again. Nothing but a sensor's evidence changes anything."""
        front = read_front(request)
        if not is_same_origin(request, front):
            return problem(
                403, "cross-site-request", "Not from this page", "send the form from the page itself"
            )
        asked: dict[str, str] = {}
        session = self._sign_in.session_of(request)
        if session is not None:
            facts = self._facts(front, session, self._wanted(request, front))
            if facts.context.device_id is not None:
                asked = await self._check(facts.context.device_id, session)
        query = {
            "checked": "1",
            **asked,
            **{key: request.query[key] for key in (*CARRIED, WAITED, STILL) if key in request.query},
        }
        return _redirect("/.gate/fix?" + "&".join(f"{key}={quote(value)}" for key, value in query.items()))

    async def _check(self, device_id: str, session: Session) -> dict[str, str]:
        """The person says that it is done: ask the sensors that can be asked, and have the tasks wait for evidence.

        Return what the page is to say of it: who answered, and who could not be asked.
        """
        user = session.user
        results = await self._refresh(DeviceId(device_id))
        said = {
            "asked": ",".join(name for name, each in results.items() if each.outcome in ANSWERED),
            "unasked": ",".join(
                name for name, each in results.items() if each.outcome is RefreshOutcome.FAILED
            ),
        }
        try:
            await self._tasks.said_done(device_id, user.email or user.name or user.subject)
        except (StoreFault, StoreOverloaded) as error:
            log.error("check-again-failed", device=device_id, error=str(error))
        return {key: names for key, names in said.items() if names}

    def _sensors(self, request: web.Request, key: str) -> str:
        """Return the labels of configured sensors that an address of ours names, and of nothing else."""
        named = request.query.get(key, "").split(",")
        known = {sensor.name for sensor in self._runtime().sensors}
        return text("list_comma").join(wording.sensor_label(name) for name in named if name in known)

    def _apps(self, front: Front, session: Session, standing: Standing) -> tuple[AppState, ...]:
        """Return what else this person may use, and whether it can be used now; apps closed to them are not named."""
        found: list[AppState] = []
        port = front.host[len(front.hostname) :]
        here = standing.wanted.app.name if standing.wanted.app is not None else ""
        for app in sorted(self._runtime().apps.values(), key=lambda each: each.title or each.name):
            if app.name == here or app.host.startswith("*.") or len(found) >= MOST_APPS:
                continue
            facts = self._desk.situation(session, app.name, front.evidence, self._clock())
            asked = RequestFacts("GET", app.path_prefix, ClientKind.BROWSER, self._networks(front))
            decision, _ = self._desk.decide(app, facts, asked)
            state = wording.app_state(
                decision, app.title or app.name, f"{front.scheme}://{app.host}{port}{app.path_prefix}"
            )
            if state is not None:
                found.append(state)
        return tuple(found)

    async def status(self, request: web.Request) -> web.StreamResponse:
        """GET `/.gate/status`: the state of this device as JSON, for pages and scripts."""
        front = read_front(request)
        session = self._sign_in.session_of(request)
        if session is None:
            return nobody_problem()
        payload = status_payload(self._view(request, front, session, await self._kept(request, session)))
        return web.json_response(payload, headers={"Cache-Control": "no-store"})

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """GET `/.gate/status/stream`: the same as server-sent events, one at each change that is enforced."""
        front = read_front(request)
        session = self._sign_in.session_of(request)
        if session is None:
            return nobody_problem()
        facts = self._facts(front, session, self._wanted(request, front))
        response = web.StreamResponse(headers=STREAM_HEADERS)
        try:
            with self._changes.subscribed(facts.keys) as changed:
                await response.prepare(request)
                kept = await self._kept(request, session)
                await self._send_events(request, front, response, changed, kept)
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
        kept: Keeping | None,
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
            data = msgspec.json.encode(status_payload(self._view_of(request, session, now, kept)))
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

    async def _kept(self, request: web.Request, session: Session) -> Keeping | None:
        """Return what became of the form that was sent before the person came here, None when there was none."""
        form = await self._forms.find(request, session, request.query.get("f", ""))
        if form is not None:
            key = request.query["f"]
            return Keeping(key=key, until=form.expires_at, uploads=form.typed.uploads)
        lost = request.query.get("lost", "")
        return Keeping(lost=Lost(lost)) if lost in set(Lost) else None

    def _view(
        self, request: web.Request, front: Front, session: Session, kept: Keeping | None
    ) -> RemediationView:
        return self._view_of(request, session, self._standing(request, front, session), kept)

    def _view_of(
        self,
        request: web.Request,
        session: Session,
        standing: Standing,
        kept: Keeping | None,
        *,
        offers: Mapping[str, Offer] | None = None,
        apps: tuple[AppState, ...] = (),
    ) -> RemediationView:
        wanted, facts, decision = standing.wanted, standing.facts, standing.decision
        query = "&".join(f"{key}={quote(request.query[key])}" for key in CARRIED if key in request.query)
        suffix = f"?{query}" if query else ""
        can_continue = decision is None or is_admitted(decision)
        is_still = STILL in request.query
        extra = f"&{WAITED}=1" * (not can_continue) + f"&{STILL}=1" * is_still
        context = self._context(request, wanted.app, session, request.query.get("c", ""))
        return wording.remediation(
            facts.context,
            context,
            kept=None if kept is None else kept_view(context, kept, is_signed_in=True),
            offers=offers,
            apps=apps,
            put_off=self._exceptions.put_off(facts.context.device_id or ""),
            can_continue=can_continue,
            decision=decision,
            posture=facts.posture,
            risk_max=self._risk_max(),
            continue_url=(kept.resume_url if kept is not None else "") or wanted.url or "/",
            page_url=f"/.gate/fix{suffix}",
            stream_url=f"/.gate/status/stream{suffix}",
            status_url=f"/.gate/status{suffix}",
            recheck_url=f"/.gate/recheck{_with(suffix, extra)}",
            returns_by_itself=can_continue and WAITED in request.query and not is_still,
            refresh_url=f"/.gate/fix{_with(suffix, f'&{WAITED}=1')}",
            still_url=f"/.gate/fix{_with(suffix, f'&{STILL}=1')}",
            is_still=is_still,
        )

    # --- parts -----------------------------------------------------------------------------------------------

    def _standing(self, request: web.Request, front: Front, session: Session) -> Standing:
        """Decide about the page that is wanted, as a worker would if it were asked for now."""
        wanted = self._wanted(request, front)
        facts = self._facts(front, session, wanted)
        if wanted.app is None:
            return Standing(wanted, facts, None)
        method = "POST" if "f" in request.query else "GET"
        asked = RequestFacts(method, wanted.path, ClientKind.BROWSER, self._networks(front))
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
        return Wanted(self._runtime().app_at(front.hostname, path), path, url)

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
            texts=self._runtime().texts,
            rules=self._runtime().rules,
        )


def _step_up(verdict: Refused) -> StepUp:
    return StepUp(acr_values=verdict.acr_values, max_age=verdict.max_age)


def _with(suffix: str, extra: str) -> str:
    """Return the query `suffix` with `extra`, which begins with `&`, added."""
    return suffix + extra if suffix or not extra else f"?{extra[1:]}"


def is_same_origin(request: web.Request, front: Front) -> bool:
    """Return whether a state-changing request comes from our own page (`Sec-Fetch-Site`, else `Origin`)."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site == "same-origin"
    return hmac.compare_digest(request.headers.get("Origin", "").encode(), front.origin.encode())


def _page_of(request: web.Request, front: Front) -> str:
    """Return where the person was: the address of a navigation, or the page from which something was sent."""
    if request.method in ("GET", "HEAD"):
        return request.raw_path
    return referring_path(request, Origin(front.scheme, front.host))


def _redirect(location: str) -> web.Response:
    return web.Response(
        status=303,
        headers={"Location": location, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"},
    )
