"""The administration socket: a Unix socket in the run folder that only the gateway's own user can open."""

from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web

from gateway.administration import json_answer, operator_of
from gateway.hub.revocation import MAX_TEXT, Revocation, Revoked


class ReloadReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a reload did. `faults` non-empty means that the old configuration stays in force."""

    applied: bool
    revision: str
    faults: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()


class AdminActions(msgspec.Struct, frozen=True):
    """What can be asked of a running hub."""

    reload: Callable[[], Awaitable[ReloadReport]]
    status: Callable[[], dict[str, object]]
    revoke: Callable[[Revocation, str], Awaitable[Revoked]]


def admin_application(actions: AdminActions) -> web.Application:
    """Return the application of the administration socket."""

    async def reload(_request: web.Request) -> web.Response:
        report = await actions.reload()
        return web.Response(
            body=msgspec.json.encode(report),
            content_type="application/json",
            status=200 if report.applied else 422,
        )

    async def status(_request: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(actions.status()), content_type="application/json")

    async def revoke(request: web.Request) -> web.Response:
        try:
            wanted = msgspec.json.decode(await request.read(), type=Revocation)
        except msgspec.MsgspecError as error:
            return json_answer({"fault": str(error)}, 422)
        if not 0 < len(wanted.id) <= MAX_TEXT or not 0 < len(wanted.reason) <= MAX_TEXT:
            return json_answer({"fault": f"`id` and `reason` have 1 to {MAX_TEXT} characters"}, 422)
        done = await actions.revoke(wanted, operator_of(request, names_process=True))
        status = 404 if not done.sessions else 200 if done.is_enforced else 503
        return json_answer(done, status)

    application = web.Application(client_max_size=4096)
    application.router.add_post("/revoke", revoke)
    application.router.add_post("/reload", reload)
    application.router.add_get("/status", status)
    return application
