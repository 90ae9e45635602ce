"""Device records on the administration socket: what `posturegate device` asks for."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Literal

import msgspec
from aiohttp import web

from gateway.administration import json_answer, operator_of
from gateway.devices.desk import MAX_LISTED, DeskFault, DeviceDesk
from gateway.feed.hub_side import NotEnforced
from risk.database import StoreFault, StoreOverloaded
from risk.folding import PostureFull
from risk.model import Identifier

MAX_BODY = 4 * 1024 * 1024
MAX_TEXT = 1000


class Change(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One change of a record that an operator asks for."""

    action: Literal["merge", "split", "settle", "override", "end-override"]
    device: str
    reason: str
    other: str = ""
    identifiers: tuple[Identifier, ...] = ()
    level: str = ""
    lasts_s: float = 0.0


class Import(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rows of an inventory."""

    rows: list[dict[str, Any]]


def device_routes(desk: DeviceDesk) -> list[web.RouteDef]:
    """Return the routes of `posturegate device`."""

    async def devices(request: web.Request) -> web.Response:
        query = request.query
        most = int(query["most"]) if query.get("most", "").isdecimal() else MAX_LISTED
        found = desk.listed(
            most, parked="parked" in query, contested="contested" in query, owner=query.get("owner", "")
        )
        return json_answer({"devices": found})

    async def device(request: web.Request) -> web.Response:
        return json_answer(desk.show(request.query.get("device", "")))

    async def cases(_request: web.Request) -> web.Response:
        return json_answer({"cases": desk.cases()})

    async def change(request: web.Request) -> web.Response:
        wanted = msgspec.json.decode(await _body(request), type=Change)
        if not 0 < len(wanted.reason.strip()) <= MAX_TEXT:
            raise DeskFault(f"`reason` has 1 to {MAX_TEXT} characters")
        return json_answer(await _changed(desk, wanted, operator_of(request)))

    async def take(request: web.Request) -> web.Response:
        wanted = msgspec.json.decode(await _body(request), type=Import)
        return json_answer(await desk.take_inventory(wanted.rows))

    return [
        web.get("/devices", _answered(devices)),
        web.get("/device", _answered(device)),
        web.get("/device/cases", _answered(cases)),
        web.post("/device/change", _answered(change)),
        web.post("/device/import", _answered(take)),
    ]


async def _changed(desk: DeviceDesk, wanted: Change, who: str) -> object:
    match wanted.action:
        case "merge":
            return await desk.merge(wanted.device, wanted.other, wanted.reason, who)
        case "split":
            return await desk.split(wanted.device, wanted.identifiers, wanted.reason, who)
        case "settle":
            if len(wanted.identifiers) != 1:
                raise DeskFault("one identifier is settled at a time")
            return await desk.settle(wanted.identifiers[0], wanted.device, wanted.reason, who)
        case "override":
            lasts = timedelta(seconds=wanted.lasts_s)
            return await desk.override(wanted.device, wanted.level, lasts, wanted.reason, who)
        case "end-override":
            return await desk.end_override(wanted.device, wanted.reason, who)


Handler = Callable[[web.Request], Awaitable[web.Response]]


def _answered(handler: Handler) -> Handler:
    """Turn what can go wrong into an answer."""

    async def answer(request: web.Request) -> web.Response:
        try:
            return await handler(request)
        except DeskFault as fault:
            return json_answer({"fault": str(fault)}, 404 if fault.is_missing else 422)
        except (msgspec.MsgspecError, OverflowError, PostureFull) as error:
            return json_answer({"fault": str(error)}, 422)
        except NotEnforced:
            return json_answer({"fault": "kept, but not every worker enforces it yet: do it again"}, 503)
        except (StoreFault, StoreOverloaded) as error:
            return json_answer({"fault": str(error)}, 503)

    return answer


async def _body(request: web.Request) -> bytes:
    body = bytearray()
    while chunk := await request.content.readany():
        body += chunk
        if len(body) > MAX_BODY:
            raise DeskFault(f"at most {MAX_BODY} bytes are taken")
    return bytes(body)
