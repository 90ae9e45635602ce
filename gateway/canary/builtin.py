"""What is built in for the canary: an app, a sensor, a device, a person and one access policy. Pure.

Nobody else can meet them: the sensor's secret and the claim that names the device are random and new in every
process, and the policy names a person whom no provider can sign in.
"""

import msgspec

from compliance.model import AccessPolicy, Assignment, Conditions, Outcome, User
from gateway.config.schema import App, Bearer, DeviceClaim, Sensor
from gateway.devices.claim import ClaimedDevice
from risk.model import Identifier, RiskLevel
from risk.values import Secret

NAME = "canary"
"""Name of the app and of the sensor."""

HOST = "canary.posturegate.localhost"
"""Host of the app: no browser on another machine can ask for it. Source: RFC 6761 section 6.3."""

DEVICE = Identifier(kind="device-id", value="posturegate-canary")

CONDITION = "canary"
RATE = 1000.0


class Builtin(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of the canary. `device` is the claim that the session carries."""

    app: App
    sensor: Sensor
    source: DeviceClaim
    device: ClaimedDevice
    policy: AccessPolicy
    user: User
    secret: str


def builtin(secret: str, claim: str, upstream: str) -> Builtin:
    """Return the parts of a canary whose app is at `upstream`; `secret` and `claim` are random texts."""
    user = User(provider=NAME, issuer=f"https://{HOST}", subject=claim, names=frozenset({claim}))
    return Builtin(
        app=App(name=NAME, host=HOST, upstream=upstream, title="Canary", identity_headers=False),
        sensor=Sensor(
            name=NAME,
            kind="generic",
            auth=Bearer(secrets=(Secret(secret),)),
            rate=RATE,
            options={
                "device": [{"kind": DEVICE.kind, "path": "device"}],
                "type": "detection",
                "external_id": "condition",
                "event_id": "event",
                "level": {"path": "level"},
                "title": "title",
                "resolves": {"path": "status", "equals": ["resolved"]},
            },
        ),
        source=DeviceClaim(claim=claim, kind=DEVICE.kind),
        device=ClaimedDevice(claim, DEVICE),
        policy=AccessPolicy(
            name="canary-without-risk",
            decision=Outcome.ALLOW,
            apps=(NAME,),
            include=Assignment(users=(claim,)),
            when=Conditions(risk=(RiskLevel.NONE,)),
        ),
        user=user,
        secret=secret,
    )
