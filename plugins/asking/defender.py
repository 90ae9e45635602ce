"""Asking Microsoft for alerts (Graph) or machines (Defender for Endpoint).

Source: Microsoft Graph, "List alerts_v2"; Defender for Endpoint, "List machines API", "Get machine by ID API".
"""

import json
import re
from collections.abc import Sequence
from typing import Any, ClassVar
from urllib.parse import quote

import msgspec

from plugins.graph import ACCESS, one_of, page_of, quoted
from plugins.payload import list_at, text_at
from plugins.pulling import PullAccess, PullCode, PullFault, PullHttp, PullPage, values
from risk.model import Identifier

ALERTS = "/v1.0/security/alerts_v2"
MACHINES = "/api/machines"

_ALERT = re.compile(r"(?:security/)?alerts(?:_v2)?(?:/|\(')([A-Za-z0-9_.-]{1,200})(?:'\))?", re.ASCII)


class _Place(msgspec.Struct, frozen=True):
    """Where a round of alerts is: from when on, the link of the next page, the newest change seen so far."""

    since: str = ""
    link: str = ""
    newest: str = ""


class AsksDefender:
    """Alerts that changed since the last round, or pages of machines, as the option `pull` says."""

    pull_access: ClassVar[PullAccess] = ACCESS

    async def pull(self, cursor: str, http: PullHttp, options: Any) -> PullPage:
        """Return a page of alerts or machines."""
        if options.pull == "machines":
            _, page = await page_of(http, cursor, MACHINES, {"$top": str(http.page_size)})
            return page
        place = _place(cursor)
        params = {"$top": str(http.page_size)}
        if place.since:
            # What changed at that very instant is asked for again: it is known already, or would be missed.
            params["$filter"] = f"lastUpdateDateTime ge {place.since}"
        answer, page = await page_of(http, place.link, ALERTS, params)
        changed = [text_at(each, "lastUpdateDateTime") for each in list_at(answer, "value")]
        newest = max([place.newest, place.since, *changed])
        after = _Place(newest) if page.is_last else _Place(place.since, page.cursor, newest)
        return PullPage(payloads=page.payloads, cursor=_text(after), is_last=page.is_last)

    async def refresh(
        self,
        identifiers: Sequence[Identifier],
        http: PullHttp,
        options: Any,
        *,
        sensor: str,  # noqa: ARG002 - the contract
    ) -> PullPage | None:
        """Return one machine; alerts cannot be asked for by device."""
        if options.pull != "machines":
            return None
        for number in values(identifiers, "mde-machine-id")[:2]:
            machine = await one_of(http, f"{MACHINES}/{quote(number, safe='')}")
            if machine is not None:
                return PullPage(payloads=({"value": [machine]},))
        for value in values(identifiers, "entra-device-id")[:2]:
            machine = await one_of(http, MACHINES, {"$filter": f"aadDeviceId eq {quoted(value)}"})
            if machine is not None:
                return PullPage(payloads=({"value": [machine]},))
        return None

    async def fetch(self, resource: str, http: PullHttp, options: Any) -> PullPage | None:  # noqa: ARG002 - the contract
        """Return the alert that a change notification named. Nothing else of the directory is ever asked for."""
        named = _ALERT.fullmatch(resource.strip("/"))
        if named is None:
            raise PullFault(PullCode.NOT_FOUND, "a change notification names no alert")
        alert = await one_of(http, f"{ALERTS}/{quote(named[1], safe='')}")
        return None if alert is None else PullPage(payloads=({"value": [alert]},))


def _place(cursor: str) -> _Place:
    try:
        return msgspec.json.decode(cursor, type=_Place) if cursor else _Place()
    except msgspec.MsgspecError as error:
        raise PullFault(PullCode.CURSOR_LOST, "the cursor cannot be read") from error


def _text(place: _Place) -> str:
    return json.dumps(msgspec.to_builtins(place), separators=(",", ":"))
