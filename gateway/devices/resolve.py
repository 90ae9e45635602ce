"""What each configured source says of the device of a request, strongest first.

Which device record that is, and whether the sources contradict each other, is decided where the records are.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import IntEnum

import msgspec

from gateway.config.schema import DeviceCertificate, DeviceClaim, DeviceSource
from gateway.devices.certificate import CertificateRefused, DeviceCa, device_of, verify_leaf
from gateway.devices.claim import ClaimedDevice
from risk.model import Identifier


class Strength(IntEnum):
    """How well a source proves which device sends this request (rule Z1)."""

    NONE = 0
    PROVIDER_CLAIM = 1
    CERTIFICATE = 2


class DeviceStatement(msgspec.Struct, frozen=True, kw_only=True):
    """What one source says. `source` is for people: `certificate subject.CN`, `claim device_id`."""

    source: str
    strength: Strength
    identifiers: tuple[Identifier, ...]


class DeviceIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """What all sources say, strongest first; empty means unknown.

    `refused` says why a certificate did not count.
    """

    statements: tuple[DeviceStatement, ...] = ()
    refused: str = ""

    @property
    def identifiers(self) -> tuple[Identifier, ...]:
        """All identifiers, those of the strongest source first."""
        return tuple(each for statement in self.statements for each in statement.identifiers)

    @property
    def source(self) -> str:
        """The strongest source, "" without any."""
        return self.statements[0].source if self.statements else ""

    @property
    def strength(self) -> Strength:
        """The strength of the strongest source."""
        return self.statements[0].strength if self.statements else Strength.NONE


def identify_device(
    claimed: Sequence[ClaimedDevice],
    evidence: bytes,
    sources: Sequence[DeviceSource],
    ca: DeviceCa | None,
    now: datetime,
) -> DeviceIdentity:
    """Return what the session's claims and the connection's certificate say of the device. Never raises.

    `claimed` is from the session, `evidence` the DER of the client certificate (empty without one).
    Certificates count only with a device `ca`; claims count only while the configuration still names them. A
    certificate that is refused says nothing: whoever shows it could as well have shown none.
    """
    from_certificate, refused = _certificate_statements(evidence, sources, ca, now)
    from_claims = [
        DeviceStatement(
            source=f"claim {each.claim}",
            strength=Strength.PROVIDER_CLAIM,
            identifiers=(each.identifier,),
        )
        for each in claimed
        if any(isinstance(source, DeviceClaim) and _is_of(each, source) for source in sources)
    ]
    return DeviceIdentity(statements=(*from_certificate, *from_claims), refused=refused)


def _is_of(claimed: ClaimedDevice, source: DeviceClaim) -> bool:
    return claimed.claim == source.claim and claimed.identifier.kind == source.kind


def _certificate_statements(
    evidence: bytes,
    sources: Sequence[DeviceSource],
    ca: DeviceCa | None,
    now: datetime,
) -> tuple[list[DeviceStatement], str]:
    wanted = [source for source in sources if isinstance(source, DeviceCertificate)]
    if not evidence or not wanted:
        return [], ""
    if ca is None:
        return [], "no device CA is configured"
    statements, refused = [], ""
    try:
        leaf = verify_leaf(evidence, ca, now)
    except CertificateRefused as error:
        return [], str(error)
    for source in wanted:
        try:
            identifier = device_of(leaf, source)
        except CertificateRefused as error:
            refused = str(error)
        else:
            statements.append(
                DeviceStatement(
                    source=f"certificate {source.field}",
                    strength=Strength.CERTIFICATE,
                    identifiers=(identifier,),
                ),
            )
    return statements, refused
