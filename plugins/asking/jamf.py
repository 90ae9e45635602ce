"""Asking Jamf Pro for the inventory of computers.

Source: Jamf Pro API, "Return paginated Computer Inventory records".
"""

from collections.abc import Sequence
from typing import Any, ClassVar
from urllib.parse import quote

from plugins.pulling import (
    Grant,
    PullAccess,
    PullCode,
    PullFault,
    PullHttp,
    PullPage,
    listed,
    numbered_page,
    page_number,
    values,
)
from risk.model import Identifier

INVENTORY = "/api/v1/computers-inventory"
SECTIONS = "GENERAL,HARDWARE,OPERATING_SYSTEM,DISK_ENCRYPTION,USER_AND_LOCATION"


class AsksJamf:
    """Pages of computers; the cursor is the number of the page."""

    pull_access: ClassVar[PullAccess] = PullAccess(
        grant=Grant.CLIENT_CREDENTIALS,
        token_path="/api/oauth/token",  # noqa: S106 - an address
    )

    async def pull(self, cursor: str, http: PullHttp, options: Any) -> PullPage:  # noqa: ARG002 - the contract
        """Return a page of computers."""
        number = page_number(cursor)
        params = {"page": str(number), "page-size": str(http.page_size), "sort": "id:asc"}
        return numbered_page(number, "computers", await _computers(http, params), http)

    async def refresh(
        self,
        identifiers: Sequence[Identifier],
        http: PullHttp,
        options: Any,  # noqa: ARG002 - the contract
        *,
        sensor: str,
    ) -> PullPage | None:
        """Return one computer."""
        for name in values(identifiers, "sensor-device-id", issuer=sensor):
            family, _, number = name.partition(":")
            if family != "computer" or not number:
                continue
            path = f"/api/v1/computers-inventory-detail/{quote(number, safe='')}"
            try:
                return PullPage(payloads=({"computers": [await http.get(path)]},))
            except PullFault as fault:
                if fault.code is not PullCode.NOT_FOUND:
                    raise
        for serial in values(identifiers, "serial")[:2]:
            quoted = serial.replace("\\", "").replace('"', "")
            if found := await _computers(http, {"filter": f'hardware.serialNumber=="{quoted}"'}):
                return PullPage(payloads=({"computers": found[:1]},))
        return None


async def _computers(http: PullHttp, params: dict[str, str]) -> list[Any]:
    return listed(await http.get(INVENTORY, {**params, "section": SECTIONS}), "results", INVENTORY)
