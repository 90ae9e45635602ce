"""`/.gate/me`: my session, my devices, what the sensors say, what is stored about me, and the way out everywhere."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Protocol

import msgspec
import structlog
from aiohttp import web

from compliance.model import AccessContext
from gateway.config.schema import App
from gateway.decision.context import Situation
from gateway.feed.hub_side import NotEnforced
from gateway.hub import wording
from gateway.hub.desk import Desk
from gateway.hub.front import Front, read_front
from gateway.hub.limited_pages import nobody_problem
from gateway.hub.pages import Pages
from gateway.hub.runtime import Runtime
from gateway.hub.signin_front import Front as Origin
from gateway.hub.signin_front import is_same_origin
from gateway.remediation.exception_desk import ExceptionDesk
from gateway.remediation.letters import task_data
from gateway.remediation.task_desk import TaskDesk
from gateway.sessions.model import Session
from gateway.sessions.registry import SessionRegistry
from risk.database import StoreFault, StoreOverloaded

log = structlog.get_logger("me")


class SignedIn(Protocol):
    """What this module asks of sign-in."""

    def session_of(self, request: web.Request) -> Session | None:
        """Return the live session of the cookie on this host, or None."""
        ...

    async def start(self, request: web.Request) -> web.StreamResponse:
        """Begin a sign-in."""
        ...


class AboutMe:
    """The handlers. `ended` returns when workers know that sessions are over."""

    def __init__(
        self,
        *,
        desk: Desk,
        sessions: SessionRegistry,
        sign_in: SignedIn,
        tasks: TaskDesk,
        exceptions: ExceptionDesk,
        pages: Pages,
        runtime: Callable[[], Runtime],
        ended: Callable[[tuple[Session, ...]], Awaitable[None]],
        clock: Callable[[], datetime],
    ) -> None:
        self._desk = desk
        self._sessions = sessions
        self._sign_in = sign_in
        self._tasks = tasks
        self._exceptions = exceptions
        self._pages = pages
        self._runtime = runtime
        self._ended = ended
        self._clock = clock

    def routes(self) -> list[web.RouteDef]:
        """Return the routes; every host has them."""
        return [
            web.get("/.gate/me", self.me),
            web.get("/.gate/me/data", self.data),
            web.post("/.gate/me/sign-out-everywhere", self.everywhere),
        ]

    async def me(self, request: web.Request) -> web.StreamResponse:
        """GET `/.gate/me`."""
        front, session = read_front(request), self._sign_in.session_of(request)
        if session is None:
            return await self._sign_in.start(request)
        await self._tasks.caught_up()
        app, facts = self._facts(front, session)
        device = facts.context.device_id or ""
        user, mine = session.user, self._mine(session)
        view = wording.me(
            facts.context,
            wording.PageContext(
                now=self._clock(),
                account=user.email or user.name or user.subject,
                app="" if app is None else app.title or app.name,
                owner="" if app is None else app.owner,
                system=wording.detect_os(request.headers.get("User-Agent", "")),
                texts=self._runtime().texts,
                rules=self._runtime().rules,
            ),
            signed_in_at=session.created_at,
            ends_at=session.ends_at,
            posture=facts.posture,
            provider=self._label(user.provider),
            sessions=mine,
            devices={each.id: self._device_of(each, session, facts) for each in mine[: wording.HELD_MAX]},
            this=session.id,
            tasks=self._tasks.of_device(device),
            exceptions=self._exceptions.of_device(device),
        )
        return self._pages.me(view)

    async def data(self, request: web.Request) -> web.StreamResponse:
        """GET `/.gate/me/data`: everything that is stored about me and this device, as JSON to keep."""
        front, session = read_front(request), self._sign_in.session_of(request)
        if session is None:
            return nobody_problem()
        await self._tasks.caught_up()
        _, facts = self._facts(front, session)
        device = facts.context.device_id or ""
        body: dict[str, Any] = {
            "made_at": self._clock(),
            "account": session.user,
            "sessions": [
                {
                    "id": each.id,
                    "since": each.created_at,
                    "last_used": each.last_seen_at,
                    "ends": each.ends_at,
                    "devices_claimed": each.devices,
                }
                for each in self._mine(session)
            ],
            "device": None if facts.posture is None else _posture(facts),
            "compliance": facts.context.compliance,
            "tasks": [task_data(task) for task in self._tasks.of_device(device)],
            "exceptions": self._exceptions.of_device(device),
        }
        headers = {
            "Content-Disposition": 'attachment; filename="about-me.json"',
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
        }
        return web.Response(
            body=msgspec.json.format(msgspec.json.encode(body, order="deterministic")),
            content_type="application/json",
            headers=headers,
        )

    async def everywhere(self, request: web.Request) -> web.StreamResponse:
        """POST `/.gate/me/sign-out-everywhere`: end all my other sessions, then ask whether to sign out here too."""
        front, session = read_front(request), self._sign_in.session_of(request)
        if session is None:
            return await self._sign_in.start(request)
        user = session.user
        if not is_same_origin(request, Origin(front.scheme, front.host)):
            context = wording.PageContext(now=self._clock(), account=user.email or user.name or user.subject)
            return self._pages.error(wording.error(context, "cross-site-request"))
        others = tuple(each for each in self._mine(session) if each.id != session.id)
        try:
            try:
                await self._sessions.end_all(others)
            finally:
                await self._ended(others)
        except (StoreFault, StoreOverloaded, NotEnforced) as error:
            log.error("sign-out-everywhere-failed", subject=user.subject, error=str(error))
            context = wording.PageContext(now=self._clock(), account=user.email or user.name or user.subject)
            return self._pages.error(wording.error(context, "cannot-check", action_url="/.gate/me"))
        log.info("signed-out-everywhere", subject=user.subject, sessions=len(others))
        return web.Response(
            status=303, headers={"Location": "/.gate/logout?rd=/.gate/me", "Cache-Control": "no-store"}
        )

    def _label(self, provider: str) -> str:
        """Return what people call a provider, "" for one that is not configured any more."""
        found = (each for each in self._runtime().config.providers if each.name == provider)
        return next((each.label or each.name for each in found), "")

    def _device_of(self, each: Session, this: Session, facts: Situation) -> AccessContext:
        """Return what is known of the device of one of my sessions: of others only what their sign-in told."""
        if each.id == this.id:
            return facts.context
        return self._desk.situation(each, "", b"", self._clock()).context

    def _mine(self, session: Session) -> tuple[Session, ...]:
        """Return all live sessions of the person, the newest first."""
        now = self._clock()
        mine = self._sessions.by_subject(session.user.issuer, session.user.subject)
        return tuple(each for each in reversed(mine) if self._sessions.get(each.id, now) is not None)

    def _facts(self, front: Front, session: Session) -> tuple[App | None, Situation]:
        app = self._runtime().app_at(front.hostname, "/")
        name = "" if app is None else app.name
        return app, self._desk.situation(session, name, front.evidence, self._clock())


def _posture(facts: Situation) -> dict[str, Any]:
    posture = facts.posture
    assert posture is not None  # noqa: S101 - asked only of a device that is known
    return {
        "id": posture.device_id,
        "name": posture.name,
        "told_by": facts.context.device_source,
        "identifiers": posture.identifiers,
        "facts": list(posture.facts.values()),
        "findings": list(posture.findings.values()),
        "last_reports": posture.heard,
    }
