"""Deliveries on the administration socket: what `posturegate sensor` asks a running gateway for."""

import base64
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import msgspec
from aiohttp import web

from gateway.administration import json_answer
from gateway.deliveries.again import MAX_LETTERS, Again, AgainFault
from gateway.deliveries.log import DeliveryLog
from gateway.deliveries.standing import Standings
from gateway.deliveries.whose import Devices, as_now
from plugins.payload import parse_time
from risk.database import StoreFault, StoreOverloaded
from risk.store import DeadLetter

MAX_LISTED = 1000


class Replay(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Deliveries to be run again: these ids, or those of a span of RFC 3339 times."""

    sensor: str
    ids: list[str] = []
    since: str = ""
    until: str = ""
    dry_run: bool = False


class Letters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Dead letters of a sensor to be tried again or discarded: these ids, or all of them without."""

    sensor: str
    ids: list[int] | None = None
    dry_run: bool = False


class LetterView(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter for people. `content` is the start of what was sent, as text."""

    id: int
    sensor: str
    received_at: datetime
    reason: str
    error: str
    delivery: str
    item: int
    content: str


MAX_CONTENT = 2000


def delivery_routes(
    log: DeliveryLog, again: Again, standings: Standings, devices: Devices
) -> list[web.RouteDef]:
    """Return the routes of deliveries."""
    return [*_log_routes(log, standings, devices), *_again_routes(again)]


def _log_routes(log: DeliveryLog, standings: Standings, devices: Devices) -> list[web.RouteDef]:
    async def status(request: web.Request) -> web.Response:
        name = request.query.get("sensor", "")
        found = [each for each in standings.all() if name in ("", each.sensor)]
        if name and not found:
            raise AgainFault(f"no sensor `{name}` is configured", is_missing=True)
        return json_answer({"sensors": found})

    async def listed(request: web.Request) -> web.Response:
        query = request.query
        since, until = _time(query.get("since", "")), _time(query.get("until", ""))
        found = await log.listed(query.get("sensor", ""), _most(request), since=since, until=until)
        return json_answer({"deliveries": [as_now(each, devices) for each in found]})

    async def one(request: web.Request) -> web.Response:
        record = await log.find(request.query.get("id", ""))
        if record is None:
            raise AgainFault("no delivery of this id is recorded", is_missing=True)
        answer = as_now(record, devices)
        if "body" in request.query:
            body = await log.body(record.id)
            answer["body_base64"] = None if body is None else base64.b64encode(body.body).decode()
        return json_answer(answer)

    return [
        web.get("/sensors", _answered(status)),
        web.get("/deliveries", _answered(listed)),
        web.get("/delivery", _answered(one)),
    ]


def _again_routes(again: Again) -> list[web.RouteDef]:
    async def replay(request: web.Request) -> web.Response:
        wanted = msgspec.json.decode(await request.read(), type=Replay)
        ids = wanted.ids
        if not ids:
            since, until = _time(wanted.since), _time(wanted.until)
            if since is None:
                raise AgainFault("an id or `since` is needed")
            ids = await again.span(wanted.sensor, since, until or datetime.now(UTC))
        outcomes = await again.run(wanted.sensor, ids, dry_run=wanted.dry_run)
        # Nobody who asks for a span means the test events in it.
        return json_answer({"outcomes": [each for each in outcomes if wanted.ids or not each.is_test]})

    async def letters(request: web.Request) -> web.Response:
        found = await again.letters(request.query.get("sensor") or None, _most(request))
        return json_answer({"dead_letters": [_view(each) for each in found]})

    async def retry(request: web.Request) -> web.Response:
        wanted = msgspec.json.decode(await request.read(), type=Letters)
        return json_answer({"outcomes": await again.retry(wanted.sensor, wanted.ids, dry_run=wanted.dry_run)})

    async def discard(request: web.Request) -> web.Response:
        wanted = msgspec.json.decode(await request.read(), type=Letters)
        return json_answer({"discarded": await again.discard(wanted.sensor, wanted.ids)})

    return [
        web.post("/deliveries/replay", _answered(replay)),
        web.get("/dead-letters", _answered(letters)),
        web.post("/dead-letters/retry", _answered(retry)),
        web.post("/dead-letters/discard", _answered(discard)),
    ]


Handler = Callable[[web.Request], Awaitable[web.Response]]


def _answered(handler: Handler) -> Handler:
    """Turn what can go wrong into an answer."""

    async def answer(request: web.Request) -> web.Response:
        try:
            return await handler(request)
        except AgainFault as fault:
            return json_answer({"fault": str(fault)}, 404 if fault.is_missing else 422)
        except msgspec.MsgspecError as error:
            return json_answer({"fault": str(error)}, 422)
        except (StoreFault, StoreOverloaded) as error:
            return json_answer({"fault": str(error)}, 503)

    return answer


def _view(letter: DeadLetter) -> LetterView:
    return LetterView(
        id=letter.id,
        sensor=letter.sensor,
        received_at=letter.received_at,
        reason=letter.reason,
        error=letter.error,
        delivery=letter.delivery,
        item=letter.item,
        content=letter.body[:MAX_CONTENT].decode("utf-8", "replace"),
    )


def _most(request: web.Request) -> int:
    text = request.query.get("most", "")
    most = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else MAX_LISTED  # noqa: PLR2004
    return min(most, MAX_LISTED, MAX_LETTERS)


def _time(text: str) -> datetime | None:
    """Return the time of a text, None for none. Raises `AgainFault`."""
    if not text:
        return None
    at = parse_time(text)
    if at is None:
        raise AgainFault(f"`{text[:64]}` is no time, such as 2026-03-01T12:00:00Z")
    return at
