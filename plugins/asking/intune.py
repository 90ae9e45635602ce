"""Asking Microsoft Graph for the devices that Intune manages. Source: Microsoft Graph, "List managedDevices"."""

from collections.abc import Sequence
from typing import Any, ClassVar
from urllib.parse import quote

from plugins.graph import ACCESS, one_of, page_of, quoted
from plugins.pulling import PullAccess, PullHttp, PullPage, values
from risk.model import Identifier

DEVICES = "/v1.0/deviceManagement/managedDevices"


class AsksIntune:
    """Pages of managed devices; the cursor is Graph's own link."""

    pull_access: ClassVar[PullAccess] = ACCESS

    async def pull(self, cursor: str, http: PullHttp, options: Any) -> PullPage:  # noqa: ARG002 - the contract
        """Return a page of managed devices."""
        _, page = await page_of(http, cursor, DEVICES, {"$top": str(http.page_size)})
        return page

    async def refresh(
        self,
        identifiers: Sequence[Identifier],
        http: PullHttp,
        options: Any,  # noqa: ARG002 - the contract
        *,
        sensor: str,  # noqa: ARG002 - the contract
    ) -> PullPage | None:
        """Return one managed device."""
        for number in values(identifiers, "intune-device-id")[:2]:
            device = await one_of(http, f"{DEVICES}/{quote(number, safe='')}")
            if device is not None:
                return PullPage(payloads=({"value": [device]},))
        by = [("azureADDeviceId", each) for each in values(identifiers, "entra-device-id")[:2]]
        by += [("serialNumber", each) for each in values(identifiers, "serial")[:2]]
        for field, value in by:
            device = await one_of(http, DEVICES, {"$filter": f"{field} eq {quoted(value)}"})
            if device is not None:
                return PullPage(payloads=({"value": [device]},))
        return None

    async def fetch(self, resource: str, http: PullHttp, options: Any) -> PullPage | None:  # noqa: ARG002 - the contract
        """Return the managed device that a change notification named."""
        _, _, number = resource.rpartition("/")
        device = await one_of(http, f"{DEVICES}/{quote(number, safe='')}")
        return None if device is None else PullPage(payloads=({"value": [device]},))
