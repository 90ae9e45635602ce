"""Sensor kind `cloudflare`: Cloudflare One as a custom posture provider. It tells nothing: it asks.

Cloudflare posts the devices of its WARP client to `/.gate/posture/NAME` and expects a score of 0 to 100 for each.
Source: Cloudflare One, "Custom device posture integration".
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

import msgspec

from plugins.contract import Collector, Normalized, Sample
from plugins.payload import list_at, text_at
from plugins.reading import is_junk
from risk.model import Identifier, RiskLevel
from risk.values import Strict

MAX_DEVICES = 5000
"""Most devices of one question."""


class CloudflareOptions(Strict, frozen=True):
    """Settings of the kind.

    Field: scores: the score of a device by its compliance (`compliant`, `in-grace-period`, `noncompliant`, `unknown`);
        a state that is not named scores 0.
    Field: risk_scores: the most that a device scores by its risk level; a level that is not named takes nothing away.
    Field: hostnames: whether a device that has no serial number is known by its name.
    """

    scores: dict[str, int] = msgspec.field(
        default_factory=lambda: {"compliant": 100, "in-grace-period": 60, "noncompliant": 0, "unknown": 0}
    )
    risk_scores: dict[RiskLevel, int] = msgspec.field(
        default_factory=lambda: {RiskLevel.HIGH: 0, RiskLevel.MEDIUM: 50, RiskLevel.UNKNOWN: 0}
    )
    hostnames: bool = False


class AskedDevice(msgspec.Struct, frozen=True):
    """One device that Cloudflare asks about. `key` is Cloudflare's own id, under which the answer stands."""

    key: str
    identifiers: tuple[Identifier, ...]


class CloudflareSensor:
    """Reads the questions of Cloudflare One."""

    kind: ClassVar[str] = "cloudflare"
    title: ClassVar[str] = "Cloudflare One, which asks"
    options_type: ClassVar[type[Strict]] = CloudflareOptions
    samples: ClassVar[tuple[Sample, ...]] = (
        Sample(
            name="a-question-is-no-news",
            payload={
                "devices": [
                    {
                        "device_id": "9e1f0d4c-0000-4000-8000-000000000001",
                        "email": "robin@example.com",
                        "serial_number": "SER1",
                        "mac_address": "00:00:5e:00:53:01",
                        "virtual_ipv4": "100.96.0.7",
                        "hostname": "robin-mac",
                    }
                ]
            },
            ignored=1,
        ),
    )

    def normalize(
        self,
        payload: Any,
        options: CloudflareOptions,  # noqa: ARG002 - the contract
        *,
        sensor: str,  # noqa: ARG002 - the contract
        received_at: datetime,  # noqa: ARG002 - the contract
        headers: Mapping[str, str],  # noqa: ARG002 - the contract
    ) -> Normalized:
        """Return nothing: a question is no news of a device."""
        gathered = Collector()
        devices = list_at(payload, "devices")
        gathered.ignore(max(1, len(devices)))
        return gathered.done(max(1, len(devices)))


def asked_devices(payload: Any, options: CloudflareOptions) -> list[AskedDevice]:
    """Return the devices of a question; those without an id cannot be answered and are left out.

    Raises `ValueError` for what is no question.
    """
    devices = payload.get("devices") if isinstance(payload, dict) else None
    if not isinstance(devices, list):
        raise ValueError("`devices` is not a list")  # noqa: TRY004 - a value somebody sent
    if len(devices) > MAX_DEVICES:
        raise ValueError(f"{len(devices)} devices are asked for, at most {MAX_DEVICES} at once")
    return [_asked(each, options) for each in devices if text_at(each, "device_id")]


def score(state: str, risk: RiskLevel, options: CloudflareOptions) -> int:
    """Return the score of a device, 0 to 100."""
    most = options.risk_scores.get(risk, 100)
    return max(0, min(100, options.scores.get(state, 0), most))


def _asked(device: Any, options: CloudflareOptions) -> AskedDevice:
    found = []
    serial, name = text_at(device, "serial_number"), text_at(device, "hostname")
    if serial and not is_junk("serial", serial):
        found.append(Identifier("serial", serial))
    elif name and options.hostnames and not is_junk("hostname", name):
        found.append(Identifier("hostname", name))
    return AskedDevice(text_at(device, "device_id"), tuple(found))
