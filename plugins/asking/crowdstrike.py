"""Asking CrowdStrike Falcon for alerts and Zero Trust assessments.

Source: CrowdStrike, "OAuth2-Based APIs", "Alerts API" (v2), "Zero Trust Assessment API".
"""

import json
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from plugins.payload import list_at, text_at
from plugins.pulling import Grant, PullAccess, PullCode, PullFault, PullHttp, PullPage, listed, values
from risk.model import Identifier

QUERY = "/alerts/queries/alerts/v2"
ENTITIES = "/alerts/entities/alerts/v2"
ASSESSMENTS = "/zero-trust-assessment/entities/assessments/v1"

MAX_OFFSET = 9000
"""The API counts no further: the round then goes on from the newest change that was seen."""


class _Place(msgspec.Struct, frozen=True):
    since: str = ""
    offset: int = 0
    newest: str = ""


class AsksCrowdstrike:
    """Alerts in the order of their last change; the cursor is where in that order we are."""

    pull_access: ClassVar[PullAccess] = PullAccess(
        grant=Grant.CLIENT_CREDENTIALS,
        url="https://api.crowdstrike.com",
        token_path="/oauth2/token",  # noqa: S106 - an address
    )

    async def pull(self, cursor: str, http: PullHttp, options: Any) -> PullPage:  # noqa: ARG002 - the contract
        """Return a page of alerts."""
        place = _place(cursor)
        params = {
            "limit": str(http.page_size),
            "offset": str(place.offset),
            "sort": "updated_timestamp|asc",
        }
        if place.since:
            params["filter"] = f"updated_timestamp:>='{place.since}'"
        found = [str(each) for each in list_at(await http.get(QUERY, params), "resources")]
        alerts = await _alerts(http, found)
        changed = [text_at(each, "updated_timestamp") for each in alerts]
        newest = max([place.newest, place.since, *changed])
        is_last = len(found) < http.page_size
        if is_last or (place.offset + len(found) >= MAX_OFFSET and newest > place.since):
            after = _Place(since=newest)
        else:
            after = _Place(place.since, place.offset + len(found), newest)
        payloads = tuple(alerts)
        return PullPage(payloads=payloads, cursor=json.dumps(msgspec.to_builtins(after)), is_last=is_last)

    async def refresh(
        self,
        identifiers: Sequence[Identifier],
        http: PullHttp,
        options: Any,  # noqa: ARG002 - the contract
        *,
        sensor: str,
    ) -> PullPage | None:
        """Return the assessment of one device."""
        for number in values(identifiers, "sensor-device-id", issuer=sensor)[:1]:
            answer = await http.get(ASSESSMENTS, {"ids": number})
            if found := list_at(answer, "resources"):
                return PullPage(payloads=tuple(found))
        return None


async def _alerts(http: PullHttp, numbers: Sequence[str]) -> list[Any]:
    if not numbers:
        return []
    answer = await http.post(ENTITIES, {"composite_ids": list(numbers)})
    return listed(answer, "resources", ENTITIES)


def _place(cursor: str) -> _Place:
    try:
        return msgspec.json.decode(cursor, type=_Place) if cursor else _Place()
    except msgspec.MsgspecError as error:
        raise PullFault(PullCode.CURSOR_LOST, "the cursor cannot be read") from error
