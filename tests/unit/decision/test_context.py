"""Which device a request comes from, and what a situation rests on."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import ClassVar

import msgspec

from compliance.model import CompliancePolicy, ComplianceState, Exemption, FactRule, User
from gateway.decision.context import DeviceEvidence, device_keys, situation
from gateway.decision.judge import Interpretation
from risk.model import DeviceId, Fact, Identifier, Posture, RiskLevel, SensorRules
from risk.users import UserId

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
USER = User(provider="corp", issuer="https://idp.example", subject="u1")
ANA, BEN = DeviceId("dev_ana"), DeviceId("dev_ben")


class Known:
    """Two laptops by their serial."""

    devices: ClassVar = {"ana": ANA, "ben": BEN}

    def resolve(self, identifiers: Sequence[Identifier]) -> DeviceId | None:
        return self.devices.get(identifiers[0].value)

    def posture(self, device_id: DeviceId) -> Posture | None:
        return Posture(device_id=device_id, name=device_id, identifiers=(Identifier("serial", "SN-1"),))

    def user(self, identifiers: Sequence[Identifier]) -> tuple[tuple[UserId, ...], Posture | None]:
        return (), None


def said(value: str, *, source: str = "claim", is_proof: bool = False) -> DeviceEvidence:
    return DeviceEvidence(source=source, identifiers=(Identifier("serial", value),), is_proof=is_proof)


def at(*evidence: DeviceEvidence):
    return situation(
        app="wiki",
        session_id="s1",
        user=USER,
        evidence=evidence,
        source=Known(),
        interpretation=Interpretation({}, (), ComplianceState.COMPLIANT),
        now=NOW,
    )


def test_a_claimed_device_that_is_known_is_the_device() -> None:
    found = at(said("ana"))
    assert found.context.device_id == ANA
    assert found.context.compliance.state is ComplianceState.COMPLIANT


def test_no_evidence_is_an_unknown_device_and_never_compliant() -> None:
    found = at()
    assert found.context.device_id is None
    assert found.context.compliance.state is ComplianceState.UNKNOWN
    assert found.context.risk.level is RiskLevel.UNKNOWN
    assert not found.context.risk.is_known


def test_sources_that_contradict_each_other_make_the_device_unknown() -> None:
    found = at(said("ana", source="certificate", is_proof=True), said("ben"))
    assert found.context.device_id is None
    assert "contradiction" in found.context.device_source


def test_a_proof_of_an_unknown_device_is_not_overruled_by_a_claim() -> None:
    found = at(said("stranger", source="certificate", is_proof=True), said("ana"))
    assert found.context.device_id is None


def test_a_claim_that_names_nothing_known_leaves_the_proof_alone() -> None:
    found = at(said("ana", source="certificate", is_proof=True), said("stranger"))
    assert found.context.device_id == ANA


def test_a_device_that_becomes_known_invalidates_who_claimed_it_before() -> None:
    """The ticket of an unknown device rests on its identifiers, whatever their spelling."""
    waiting = at(said("sn-1"))
    assert waiting.context.device_id is None
    posture = Known().posture(ANA)
    assert set(waiting.keys) & set(device_keys(posture))


def test_the_keys_of_a_record_are_those_of_its_identifiers_now() -> None:
    posture = Known().posture(ANA)
    assert posture is not None
    for serial in ("SN-8", "SN-9"):
        posture = msgspec.structs.replace(posture, identifiers=(Identifier("serial", serial),))
        keys = (f"device:{ANA}", f"identifier:serial:{serial.lower()}")
        assert device_keys(posture) == device_keys(posture, ANA) == keys
    assert set(device_keys(posture, DeviceId("dev_merged"))) == {*keys, "device:dev_merged"}


def test_a_situation_rests_on_session_user_and_device() -> None:
    keys = at(said("ana")).keys
    assert "session:s1" in keys
    assert "user:https://idp.example|u1" in keys
    assert "device:dev_ana" in keys


def test_an_exemption_of_a_person_counts_for_that_person_alone() -> None:
    rule = FactRule(name="disk", fact="disk", equals=True)
    policy = CompliancePolicy(name="p", rules=(rule,))
    common = {"rule": "p/disk", "reason": "loan", "author": "it", "expires": "2027-01-01"}

    def state(user: User, **whom: tuple[str, ...]) -> ComplianceState:
        exemption = Exemption(**common, **whom)
        found = situation(
            app="wiki",
            session_id="s1",
            user=user,
            evidence=[said("ana")],
            source=Sound(),
            interpretation=Interpretation(
                {"edr": SensorRules(name="edr")},
                (policy,),
                ComplianceState.COMPLIANT,
                exemptions=(exemption,),
            ),
            now=NOW,
        )
        return found.context.compliance.state

    named = msgspec.structs.replace(USER, names=frozenset({"u1", "Ana@corp.example"}))
    other = msgspec.structs.replace(USER, subject="u2", names=frozenset({"u2"}))
    assert state(named, users=("ana@corp.example",)) is ComplianceState.COMPLIANT
    assert state(other, users=("ana@corp.example",)) is ComplianceState.NONCOMPLIANT
    assert state(named, users=("u1",), devices=("dev_ben",)) is ComplianceState.NONCOMPLIANT
    assert state(other, devices=("dev_ana",)) is ComplianceState.COMPLIANT


class Sound(Known):
    """Laptops of which a sensor says that nothing is wrong but the disk."""

    def posture(self, device_id: DeviceId) -> Posture | None:
        at = NOW
        fact = Fact(name="disk", sensor="edr", value=False, observed_at=at, received_at=at)
        return Posture(device_id=device_id, facts={("edr", "disk"): fact}, heard={"edr": at})
