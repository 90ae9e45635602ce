"""Asking Fleet for its hosts and what they pass and fail. Source: Fleet, "REST API: Hosts"."""

import contextlib
from collections.abc import Sequence
from typing import Any, ClassVar
from urllib.parse import quote

from plugins.payload import list_at, object_at, text_at
from plugins.pulling import (
    Grant,
    PullAccess,
    PullCode,
    PullFault,
    PullHttp,
    PullPage,
    numbered_page,
    page_number,
    values,
)
from risk.model import Identifier

HOSTS = "/api/v1/fleet/hosts"


class AsksFleet:
    """Pages of hosts; the cursor is the number of the page."""

    pull_access: ClassVar[PullAccess] = PullAccess(grant=Grant.TOKEN)

    async def pull(self, cursor: str, http: PullHttp, options: Any) -> PullPage:  # noqa: ARG002 - the contract
        """Return a page of hosts with their policies."""
        number = page_number(cursor)
        params = {
            "page": str(number),
            "per_page": str(http.page_size),
            "order_key": "id",
            "order_direction": "asc",
            "populate_policies": "true",
            "device_mapping": "true",
        }
        answer = await http.get(HOSTS, params)
        if not isinstance(answer, dict) or "hosts" not in answer:
            raise PullFault(PullCode.UNREADABLE, f"`{HOSTS}`: the answer has no list `hosts`")
        return numbered_page(number, "hosts", list_at(answer, "hosts"), http)

    async def refresh(
        self,
        identifiers: Sequence[Identifier],
        http: PullHttp,
        options: Any,  # noqa: ARG002 - the contract
        *,
        sensor: str,
    ) -> PullPage | None:
        """Return one host; Fleet is told to look at it again as well, which a later round will show."""
        names = values(identifiers, "serial", "hostname")
        numbers = values(identifiers, "sensor-device-id", issuer=sensor)
        paths = [f"{HOSTS}/{quote(each, safe='')}" for each in numbers]
        paths += [f"{HOSTS}/identifier/{quote(each, safe='')}" for each in names]
        for path in paths[:4]:
            try:
                answer = await http.get(path)
            except PullFault as fault:
                if fault.code is PullCode.NOT_FOUND:
                    continue
                raise
            host = object_at(answer, "host")
            if number := text_at(host, "id"):
                await _look_again(http, number)
                return PullPage(payloads=({"hosts": [host]},))
        return None


async def _look_again(http: PullHttp, number: str) -> None:
    """Ask for a fresh look at the host; where that is not allowed or not possible, the host's own rhythm counts."""
    with contextlib.suppress(PullFault):
        await http.post(f"{HOSTS}/{quote(number, safe='')}/refetch")
