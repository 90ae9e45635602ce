"""Devices as the provider named them at sign-in.

A claim is a login-time fact, not proof that *this* request comes from the device (rule I1).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gateway.config.schema import DeviceClaim
from gateway.oidc.claims import device_value
from risk.model import JUNK_VALUES, Identifier


class ClaimedDevice(msgspec.Struct, frozen=True):
    """One identifier with the claim that it was read from; kept in the session."""

    claim: str
    identifier: Identifier


def claimed_devices(claims: Mapping[str, Any], sources: Sequence[DeviceClaim]) -> tuple[ClaimedDevice, ...]:
    """Return what each configured claim says, in the order of the configuration. Junk values say nothing."""
    found = []
    for source in sources:
        value = device_value(claims, source.claim)
        if value is not None and value.casefold() not in JUNK_VALUES:
            found.append(ClaimedDevice(source.claim, Identifier(kind=source.kind, value=value)))
    return tuple(found)
