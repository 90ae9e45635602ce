"""The hub's web application: every URL below `/.gate/` and `/.well-known/gate`, and the requests handed to it.

It listens on a Unix socket that only workers reach. Whatever goes wrong here ends as a page or a problem with a
reference, never as a traceback.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

import structlog
from aiohttp import web

from compliance.model import ClientKind
from gateway import __version__
from gateway.decision.assertion import AssertionSigner
from gateway.decision.verdict import Failed, NoSuchHost, Refused
from gateway.decision.verdict import SignIn as SignInVerdict
from gateway.hub import wording
from gateway.hub.delivery_request import DeliveryRequest
from gateway.hub.front import FrontFault, read_front
from gateway.hub.hooks import Hooks
from gateway.hub.pace import GivingWay
from gateway.hub.pages import Pages, problem, spoken_problem
from gateway.hub.remediation import Remediation
from gateway.hub.shortcut import Accepted, Deliveries
from gateway.hub.signin import SignIn
from gateway.tasks import spawn

log = structlog.get_logger("hub")

MAX_FIELD_BYTES = 65536
"""Longest header field that a worker may send: verdicts and certificates are longer than browsers' fields."""
MAX_BODY_BYTES = 16 * 1024 * 1024

HOOKS = "/.gate/hooks/"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class HubWeb:
    """Routes requests to their handlers."""

    def __init__(
        self,
        *,
        sign_in: SignIn,
        remediation: Remediation,
        hooks: Hooks,
        signer: AssertionSigner,
        pages: Pages,
        issuer: Callable[[], str],
        clock: Callable[[], datetime],
        make_code: Callable[[], str],
        giving_way: GivingWay,
        further: Sequence[web.RouteDef] = (),
    ) -> None:
        self._further = further
        self._sign_in = sign_in
        self._remediation = remediation
        self._hooks = hooks
        self._signer = signer
        self._pages = pages
        self._issuer = issuer
        self._clock = clock
        self._make_code = make_code
        self._giving_way = giving_way

    def application(self) -> web.Application:
        """Return the application."""
        application = web.Application(middlewares=[self._guard], client_max_size=MAX_BODY_BYTES)
        application.on_response_prepare.append(_name_server)
        routes = application.router
        routes.add_route("*", f"{HOOKS}{{sensor}}", self._deliver)
        routes.add_routes(self._further)
        routes.add_routes(self._sign_in.routes())
        routes.add_get("/.gate/fix", self._remediation.fix)
        routes.add_post("/.gate/recheck", self._remediation.recheck)
        routes.add_get("/.gate/status", self._remediation.status)
        routes.add_get("/.gate/status/stream", self._remediation.stream)
        routes.add_get("/.well-known/gate", self._discovery)
        routes.add_get("/.well-known/gate/jwks.json", self._jwks)
        routes.add_route("*", "/{path:.*}", self._handed_over)
        return application

    async def _deliver(self, request: web.Request) -> web.StreamResponse:
        """Take a delivery of a sensor.

        INVARIANT: what has become durable is enforced, also when the sender hangs up meanwhile: the delivery is a task
        of its own, which the end of the connection does not cancel.
        """
        delivery = self._hooks.handle(request)
        response = await asyncio.shield(spawn(delivery, name="delivery"))
        response.force_close()  # the next on this connection may be one that is taken without us
        return response

    def deliveries(self, rest: Callable[[], asyncio.Protocol]) -> Deliveries:
        """Return what takes small deliveries without routes and middlewares; all else goes to what `rest` makes."""
        return Deliveries(HOOKS, lambda: self._hooks.names, self._taken, rest)

    async def _taken(self, request: DeliveryRequest, sensor: str) -> web.Response | Accepted:
        """Take a delivery that nothing but its task waits for."""
        try:
            return await self._hooks.deliver(request, sensor)
        except Exception:
            code = self._make_code()
            log.exception("handler-failed", path=f"{HOOKS}{sensor}", method=request.method, reference=code)
            return problem(500, "internal", "Not available", _TELL.format(code), reference=code)

    async def _handed_over(self, request: web.Request) -> web.StreamResponse:
        """Answer a request for an app that a worker may not forward."""
        front = read_front(request)
        await self._giving_way.turn()
        match front.verdict:
            case SignInVerdict():
                return await self._remediation.signed_out(request, front.verdict)
            case Refused():
                return await self._remediation.refused(request, front, front.verdict)
            case Failed():
                return await self._remediation.failed(request, front, front.verdict)
            case NoSuchHost():
                return self._not_found(request, "no-such-host")
            case None:
                return self._not_found(request, "not-found")

    def _not_found(self, request: web.Request, code: str) -> web.StreamResponse:
        return self._answer_error(request, 404, code)

    def _answer_error(
        self, request: web.Request, status: int, code: str, *, reference: str = ""
    ) -> web.StreamResponse:
        context = wording.PageContext(now=self._clock(), reference=reference)
        view = wording.error(context, code, status=status)
        if read_front(request).kind is not ClientKind.BROWSER:
            return spoken_problem(status, code, view.title, view.lead, reference=reference)
        return self._pages.error(view)

    async def _discovery(self, request: web.Request) -> web.StreamResponse:
        """GET `/.well-known/gate`: what an app needs to know to verify assertions."""
        front = read_front(request)
        body = {
            "issuer": self._issuer(),
            "jwks_uri": f"{front.origin}/.well-known/gate/jwks.json",
            "assertion_header": "X-Gate-Jwt",
            "assertion_audience": front.hostname,
            "algorithms": ["ES256"],
            "user_endpoint": f"{front.origin}/.gate/user",
            "events_endpoint": f"{front.origin}/.gate/events",
            "logout_endpoint": f"{front.origin}/.gate/logout",
            "version": __version__,
        }
        return web.json_response(body, headers={"Cache-Control": "public, max-age=300"})

    async def _jwks(self, _request: web.Request) -> web.StreamResponse:
        """GET `/.well-known/gate/jwks.json`: the keys of assertions (RFC 7517)."""
        return web.json_response(
            self._signer.jwks(),
            headers={"Cache-Control": "public, max-age=3600"},
            content_type="application/jwk-set+json",
        )

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Turn every fault into an answer; nothing of ours leaves the house but a code."""
        try:
            return await handler(request)
        except FrontFault as fault:
            log.error("front-fault", error=str(fault), path=request.path)
            return problem(500, "internal", "Something went wrong here", "the gateway's log has the details")
        except web.HTTPException as answer:
            return self._answer_error(request, answer.status, _CODES.get(answer.status, "refused"))
        except ConnectionError:
            raise
        except Exception:
            code = self._make_code()
            log.exception("handler-failed", path=request.path, method=request.method, reference=code)
            return self._answer_error(request, 500, "internal", reference=code)


async def _name_server(_request: web.Request, response: web.StreamResponse) -> None:
    """Say no more of what we run on than our name."""
    response.headers["Server"] = "posturegate"


_TELL = "tell the service desk this code: {}"
_CODES = {404: "not-found", 405: "method-not-allowed", 413: "too-large"}
