"""Where people put a rule off, ask an owner for some hours, and where the owner answers.

The owner's address is sealed: it names one request, and opens nothing without the sign-in of one of its owners.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol
from urllib.parse import quote

from aiohttp import web

from compliance.model import ComplianceState, RuleLevel, RuleResult
from gateway.config.schema import App
from gateway.decision.context import Situation
from gateway.feed.hub_side import NotEnforced
from gateway.hub import wording
from gateway.hub.desk import Desk
from gateway.hub.front import Front, read_front
from gateway.hub.pages import Pages
from gateway.hub.returns import SealedReturns
from gateway.hub.runtime import Runtime
from gateway.hub.signin_front import Front as Origin
from gateway.hub.signin_front import is_same_origin
from gateway.hub.views import Offer
from gateway.hub.wording.exceptions import approve, offer
from gateway.remediation.exception_desk import Asker, ExceptionDesk
from gateway.remediation.exceptions import Ask, ExceptionRefused, approval_of, snooze_of
from gateway.sessions.model import Session
from risk.database import StoreFault, StoreOverloaded
from risk.model import RISK_ORDER

CARRIED = ("c", "t", "f")
MAX_OFFERS = 10


class SignedIn(Protocol):
    """What this module asks of sign-in."""

    def session_of(self, request: web.Request) -> Session | None:
        """Return the live session of the cookie on this host, or None."""
        ...

    async def start(self, request: web.Request) -> web.StreamResponse:
        """Begin a sign-in."""
        ...


class ExceptionPages:
    """The handlers. `seals` makes the owner's address unforgeable."""

    def __init__(
        self,
        *,
        desk: Desk,
        exceptions: ExceptionDesk,
        sign_in: SignedIn,
        pages: Pages,
        seals: SealedReturns,
        runtime: Callable[[], Runtime],
        clock: Callable[[], datetime],
    ) -> None:
        self._desk = desk
        self._exceptions = exceptions
        self._sign_in = sign_in
        self._pages = pages
        self._seals = seals
        self._runtime = runtime
        self._clock = clock

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.post("/.gate/snooze", self.snooze),
            web.post("/.gate/ask", self.ask),
            web.get("/.gate/approve", self.approve),
            web.post("/.gate/approve", self.answer),
        ]

    # --- the person ------------------------------------------------------------------------------------------

    def put_off(self, device_id: str) -> Mapping[str, datetime]:
        """Return the rules that do not count on a device for now, each with when they do again."""
        return {each.rule: each.expires_at for each in self._exceptions.of_device(device_id)}

    async def offers(self, request: web.Request, session: Session, facts: Situation) -> Mapping[str, Offer]:
        """Return what the person may do about each rule that their device fails, by the key of the problem."""
        if facts.context.device_id is None or not self._may_except(facts):
            return {}
        config = self._runtime().config.remediation
        if not config.snoozes and not config.approvals:
            return {}
        waiting = await self._exceptions.waiting(_person(session), facts.context.device_id)
        query = _carried(request)
        found: dict[str, Offer] = {}
        for result in _failed(facts)[:MAX_OFFERS]:
            snooze = snooze_of(result.policy, result.rule, config.snoozes)
            approval = approval_of(result.policy, result.rule, config.approvals)
            asked = waiting.get(f"{result.policy}/{result.rule}")
            left = 0 if snooze is None else await self._exceptions.left(result, facts.context.device_id)
            if not left and approval is None and asked is None:
                continue
            found[f"rule:{result.policy}/{result.rule}"] = offer(
                self._context(session),
                query=query,
                policy=result.policy,
                rule=result.rule,
                snooze_s=snooze.lasts if snooze is not None and left else 0.0,
                ask_s=approval.lasts if approval is not None else 0.0,
                waiting=asked,
                approve_url="" if asked is None else self._approve_url(asked),
            )
        return found

    def _may_except(self, facts: Situation) -> bool:
        """Return whether exceptions count at the device's risk at all: nothing is offered that would change nothing."""
        risk, ceiling = facts.context.risk, self._runtime().config.compliance.exemption_ceiling
        return risk.is_known and RISK_ORDER.get(risk.level, len(RISK_ORDER)) <= RISK_ORDER.get(ceiling, -1)

    def _approve_url(self, ask: Ask) -> str:
        return f"{self._runtime().config.public_url.rstrip('/')}/.gate/approve?a={self._seals.seal(ask.id)}"

    async def snooze(self, request: web.Request) -> web.StreamResponse:
        """POST `/.gate/snooze?p=POLICY&r=RULE`: put a rule off, within what the policy allows."""
        return await self._wanted(request, is_ask=False)

    async def ask(self, request: web.Request) -> web.StreamResponse:
        """POST `/.gate/ask?p=POLICY&r=RULE`: ask the owners of a rule."""
        return await self._wanted(request, is_ask=True)

    async def _wanted(self, request: web.Request, *, is_ask: bool) -> web.StreamResponse:
        front, session = read_front(request), self._sign_in.session_of(request)
        if session is None:
            return await self._sign_in.start(request)
        if not _is_from_here(request, front):
            return self._error(session, "cross-site-request")
        reason = str((await request.post()).get("reason", ""))
        facts = self._desk.situation(session, self._app(front), front.evidence, self._clock())
        named = (request.query.get("p", ""), request.query.get("r", ""))
        result = next((each for each in _failed(facts) if (each.policy, each.rule) == named), None)
        try:
            if result is None or facts.context.device_id is None:
                said = "exception_none_left"
            elif is_ask:
                await self._exceptions.ask(result, self._asker(session, facts), reason)
                said = "asked"
            else:
                await self._exceptions.snooze(result, self._asker(session, facts), reason)
                said = "snoozed"
        except ExceptionRefused as refused:
            said = refused.why
        except (StoreFault, StoreOverloaded, NotEnforced):
            said = "exception_store"
        query = _carried(request)
        return _redirect(f"/.gate/fix?said={said}" + (f"&{query}" if query else ""))

    # --- the owner -------------------------------------------------------------------------------------------

    async def approve(self, request: web.Request) -> web.StreamResponse:
        """GET `/.gate/approve?a=…`: show an owner what is asked."""
        session = self._sign_in.session_of(request)
        if session is None:
            return await self._sign_in.start(request)
        ask = await self._asked(request)
        if ask is None or not ask.is_waiting(self._clock()):
            return self._error(session, "approve-too-late")
        if _person(session) == ask.person or not ask.is_owner(*_names(session)):
            return self._error(session, "approve-not-owner")
        url = f"/.gate/approve?a={quote(request.query.get('a', ''))}"
        return self._pages.approve(approve(self._context(session), ask, answer_url=url))

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """POST `/.gate/approve?a=…`: grant some hours, or refuse. What is granted is enforced when the page comes."""
        front, session = read_front(request), self._sign_in.session_of(request)
        if session is None:
            return await self._sign_in.start(request)
        if not _is_from_here(request, front):
            return self._error(session, "cross-site-request")
        form = await request.post()
        ask = await self._asked(request)
        hours = _hours(str(form.get("hours", ""))) if form.get("answer") == "grant" else None
        try:
            granted = await self._exceptions.answer(
                "" if ask is None else ask.id,
                by=_person(session),
                label=_label(session),
                names=_names(session),
                hours=hours,
            )
        except ExceptionRefused as refused:
            return self._error(session, refused.why.replace("_", "-"))
        except (StoreFault, StoreOverloaded, NotEnforced):
            return self._error(session, "cannot-check")
        context = self._context(session)
        return self._pages.approved(wording.approved(context, granted))

    async def _asked(self, request: web.Request) -> Ask | None:
        ask_id = self._seals.open(request.query.get("a", ""))
        return None if ask_id is None else await self._exceptions.find(ask_id)

    # --- parts -----------------------------------------------------------------------------------------------

    def _app(self, front: Front) -> str:
        found: App | None = self._runtime().app_at(front.hostname, "/")
        return "" if found is None else found.name

    def _asker(self, session: Session, facts: Situation) -> Asker:
        return Asker(
            person=_person(session),
            name=_label(session),
            device_id=str(facts.context.device_id),
            device=facts.context.device_name,
        )

    def _context(self, session: Session) -> wording.PageContext:
        runtime = self._runtime()
        return wording.PageContext(
            now=self._clock(), account=_label(session), texts=runtime.texts, rules=runtime.rules
        )

    def _error(self, session: Session, code: str) -> web.Response:
        return self._pages.error(wording.error(self._context(session), code))


def _failed(facts: Situation) -> list[RuleResult]:
    return [
        each
        for each in facts.context.compliance.results
        if each.level is not RuleLevel.REPORT
        and each.policy
        and each.state in (ComplianceState.NONCOMPLIANT, ComplianceState.IN_GRACE_PERIOD)
    ]


def _person(session: Session) -> str:
    return f"{session.user.issuer}|{session.user.subject}"


def _names(session: Session) -> tuple[str, ...]:
    """Return by which names the person may be an owner. Never what people call themselves: anybody chooses that."""
    return (session.user.email, session.user.subject)


def _label(session: Session) -> str:
    user = session.user
    return user.email or user.name or user.subject


def _hours(untrusted: str) -> float:
    try:
        hours = float(untrusted)
    except ValueError:
        return 0.0
    return hours if 0 < hours < 1000 else 0.0  # noqa: PLR2004 - cut to what is allowed by the desk


def _carried(request: web.Request) -> str:
    return "&".join(f"{key}={quote(request.query[key])}" for key in CARRIED if key in request.query)


def _is_from_here(request: web.Request, front: Front) -> bool:
    return is_same_origin(request, Origin(front.scheme, front.host))


def _redirect(location: str) -> web.Response:
    return web.Response(status=303, headers={"Location": location, "Cache-Control": "no-store"})
