"""Asking Kolide for devices and issues. Source: Kolide K2 API, "List all devices", "List all issues"."""

from collections.abc import Sequence
from typing import Any, ClassVar
from urllib.parse import quote

from plugins.payload import digest, list_at, text_at
from plugins.pulling import Grant, PullAccess, PullCode, PullFault, PullHttp, PullPage, listed, values
from risk.model import Identifier

LISTS = ("devices", "issues")


class AsksKolide:
    """All devices, then all issues; the cursor is the list and Kolide's own cursor in it."""

    pull_access: ClassVar[PullAccess] = PullAccess(
        grant=Grant.TOKEN,
        url="https://api.kolide.com",
        headers={"X-Kolide-Api-Version": "2023-05-26"},
    )

    async def pull(self, cursor: str, http: PullHttp, options: Any) -> PullPage:  # noqa: ARG002 - the contract
        """Return a page of devices or issues, as the webhooks that would tell of them."""
        name, _, at = cursor.partition(":")
        name = name if name in LISTS else LISTS[0]
        params = {"per_page": str(min(100, http.page_size)), **({"cursor": at} if at else {})}
        answer = await http.get(f"/{name}", params)
        event = device_event if name == "devices" else issue_event
        payloads = tuple(event(each) for each in listed(answer, "data", f"/{name}"))
        following = text_at(answer, "pagination", "next_cursor")
        if following:
            return PullPage(payloads=payloads, cursor=f"{name}:{following}", is_last=False)
        if name == LISTS[0]:
            return PullPage(payloads=payloads, cursor="issues:", is_last=False)
        return PullPage(payloads=payloads)

    async def refresh(
        self,
        identifiers: Sequence[Identifier],
        http: PullHttp,
        options: Any,  # noqa: ARG002 - the contract
        *,
        sensor: str,
    ) -> PullPage | None:
        """Return one device with its open issues."""
        for number in values(identifiers, "sensor-device-id", issuer=sensor)[:2]:
            path = f"/devices/{quote(number, safe='')}"
            try:
                device = await http.get(path)
                issues = await http.get(f"{path}/open_issues", {"per_page": "100"})
            except PullFault as fault:
                if fault.code is PullCode.NOT_FOUND:
                    continue
                raise
            return PullPage(
                payloads=(device_event(device), *(issue_event(each) for each in list_at(issues, "data")))
            )
        return None


def device_event(device: Any) -> dict[str, Any]:
    """Return a device of the API as the webhook that would tell of its state."""
    return {
        "event": "device_trust.status_changed",
        "id": digest("device", device),
        "timestamp": text_at(device, "last_authenticated_at") or None,
        "data": {"device": device},
    }


def issue_event(issue: Any) -> dict[str, Any]:
    """Return an issue of the API as the webhook that would tell of it."""
    resolved_at = text_at(issue, "resolved_at")
    return {
        "event": "issues.resolved" if resolved_at else "issues.new",
        "id": digest("issue", issue),
        "timestamp": resolved_at or text_at(issue, "detected_at") or text_at(issue, "timestamp") or None,
        "data": issue,
    }
