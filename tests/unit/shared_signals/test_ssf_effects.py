"""What each event does to sessions, users and devices, by every way of naming them."""

import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest

from risk.model import Identifier, Severity
from tests.op.stub import sign as sign_id_token
from tests.ssf.transmitter import CAEP, RISC, Transmitter, running_transmitter
from tests.ssf.world import ISSUER, World, running_world

ALICE = {"format": "iss_sub", "iss": ISSUER, "sub": "alice"}
LAPTOP = {"format": "opaque", "id": "SER-1"}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running_world() as made:
        yield made


@pytest.fixture
async def transmitter(world: World) -> AsyncIterator[Transmitter]:
    async with running_transmitter(world.clock.timestamp) as made:
        await world.receiver(made)
        yield made


# --- who is named -----------------------------------------------------------------------------------------

NAMES: dict[str, dict[str, Any]] = {
    "iss_sub": ALICE,
    "issuer with a final slash": {**ALICE, "iss": ISSUER + "/"},
    "email": {"format": "email", "email": "Alice@CORP.example"},
    "account": {"format": "account", "uri": "acct:alice@corp.example"},
    "phone": {"format": "phone_number", "phone_number": "+41000000"},
    "aliases": {
        "format": "aliases",
        "identifiers": [{"format": "opaque", "id": "x"}, {"format": "email", "email": "alice@corp.example"}],
    },
    "aliases with one unknown": {"format": "aliases", "identifiers": [{"format": "new"}, ALICE]},
    "opaque session": {"format": "opaque", "id": "sid-alice"},
    "complex user": {"format": "complex", "user": ALICE},
    "complex user, device": {"format": "complex", "user": ALICE, "device": LAPTOP},
    "complex device": {"format": "complex", "device": LAPTOP},
    "complex session": {"format": "complex", "session": {"format": "opaque", "id": "sid-alice"}},
    "complex session by issuer": {
        "format": "complex",
        "session": {"format": "iss_sub", "iss": ISSUER, "sub": "sid-alice"},
    },
    "complex group": {"format": "complex", "group": {"format": "opaque", "id": "admins"}},
    "complex user, tenant": {"format": "complex", "user": ALICE, "tenant": {"format": "opaque", "id": "t"}},
    "complex user, unread session": {
        "format": "complex",
        "user": ALICE,
        "session": {"format": "new", "id": "x"},
    },
    "complex without its format": {"user": ALICE},
    "old spelling": {"subject_type": "iss-sub", "iss": ISSUER, "sub": "alice"},
    "issuer spelt out": {"format": "iss_sub", "issuer": ISSUER, "sub": "alice"},
    "jwt_id": {"format": "jwt_id", "iss": ISSUER, "jti": "id-token-1"},
}
NOBODY: dict[str, dict[str, Any]] = {
    "another issuer": {**ALICE, "iss": "https://other.example"},
    "another person": {**ALICE, "sub": "bobby"},
    "user on another device": {
        "format": "complex",
        "user": ALICE,
        "device": {"format": "opaque", "id": "SER-9"},
    },
    "user with another session": {
        "format": "complex",
        "user": ALICE,
        "session": {"format": "opaque", "id": "sid-bob"},
    },
    "only what cannot be compared": {"format": "complex", "tenant": {"format": "opaque", "id": "t"}},
    "saml": {"format": "saml_assertion_id", "issuer": ISSUER, "assertion_id": "a"},
    "did": {"format": "did", "url": "did:example:123"},
    "uri": {"format": "uri", "uri": "urn:x"},
    "address": {"format": "ip-addresses", "ip-addresses": ["192.0.2.1"]},
    "nested aliases": {"format": "aliases", "identifiers": [{"format": "aliases", "identifiers": [ALICE]}]},
}


async def sign_in_all(world: World) -> None:
    id_token = sign_id_token(b"k" * 64, "HS256", {"alg": "HS256"}, {"jti": "id-token-1"})
    claims = {"phone_number": ("+41000000",)}
    await world.sign_in("alice", device="SER-1", groups=("admins",), claims=claims, id_token=id_token)
    await world.sign_in("bob", device="SER-2")


@pytest.mark.parametrize("name", NAMES)
async def test_every_way_to_name_somebody(world: World, transmitter: Transmitter, name: str) -> None:
    """I1 to I5: simple, complex and aliases; absent members are wildcards."""
    await sign_in_all(world)
    assert (await world.push(transmitter.caep("session-revoked", NAMES[name])))[0] == 202
    assert world.signed_in() == ["bob"]


@pytest.mark.parametrize("name", NOBODY)
async def test_who_is_not_meant_stays(world: World, transmitter: Transmitter, name: str) -> None:
    """I3, I6: 202 all the same."""
    await sign_in_all(world)
    assert (await world.push(transmitter.caep("session-revoked", NOBODY[name])))[0] == 202
    assert world.signed_in() == ["alice", "bob"]


async def test_the_subject_where_drafts_put_it(world: World, transmitter: Transmitter) -> None:
    """I4: `subject` inside the event, with and without a `sub_id` beside it."""
    await sign_in_all(world)
    token = transmitter.token({CAEP + "session-revoked": {"subject": ALICE}})
    assert (await world.push(token))[0] == 202
    assert world.signed_in() == ["bob"]


async def test_critical_members_that_cannot_be_read_discard_the_event(
    world: World, transmitter: Transmitter
) -> None:
    """I2."""
    transmitter.metadata_changes = {"critical_subject_members": ["device"]}
    await sign_in_all(world)
    subject = {"format": "complex", "user": ALICE, "device": {"format": "new", "id": "x"}}
    assert (await world.push(transmitter.caep("session-revoked", subject)))[0] == 202
    assert world.signed_in() == ["alice", "bob"]


async def test_only_users_of_configured_providers(world: World, transmitter: Transmitter) -> None:
    """A transmitter speaks about whom it may speak."""
    await world.receivers["idp"].stop()
    await world.receiver(transmitter, providers=("corp",))
    await world.sign_in("alice")
    await world.sign_in("alice", issuer="https://second.example", provider="second")
    subject = {"format": "email", "email": "alice@corp.example"}
    await world.push(transmitter.caep("session-revoked", subject))
    assert [each.user.provider for each in world.sessions] == ["second"]


async def test_an_address_of_two_providers_names_both(world: World, transmitter: Transmitter) -> None:
    """I5: what is ambiguous counts when it restricts."""
    await world.sign_in("alice")
    await world.sign_in("alice", issuer="https://second.example", provider="second")
    await world.push(transmitter.caep("session-revoked", {"format": "email", "email": "alice@corp.example"}))
    assert world.signed_in() == []


async def test_a_session_that_began_after_the_event_stays(world: World, transmitter: Transmitter) -> None:
    """E9: a late delivery must not throw out who has signed in since."""
    token = transmitter.caep("session-revoked", ALICE, {"event_timestamp": int(transmitter.now())})
    await world.sign_in("alice")
    world.clock.advance(600)
    await world.sign_in("alice")
    await world.push(token)
    assert len(world.sessions) == 1


async def test_who_is_just_signing_in_does_not_slip_past(world: World, transmitter: Transmitter) -> None:
    """By person, and by provider session where the subject tells both."""
    await world.push(transmitter.caep("session-revoked", ALICE))
    session = {"format": "opaque", "id": "sid-7"}
    await world.push(
        transmitter.caep("session-revoked", {"format": "complex", "user": ALICE, "session": session})
    )
    assert [each for each in world.ended_sign_ins if each[0] == ISSUER] == [
        (ISSUER, "alice", None),
        (ISSUER, "", "sid-7"),
    ]


# --- what happens -----------------------------------------------------------------------------------------

ENDING: dict[str, tuple[str, dict[str, Any]]] = {
    "session-revoked": (CAEP, {}),
    "token-claims-change": (CAEP, {"claims": {"role": "guest"}}),
    "credential-change": (CAEP, {"credential_type": "password", "change_type": "revoke"}),
    "assurance-level-change": (
        CAEP,
        {"namespace": "NIST-AAL", "current_level": "nist-aal1", "change_direction": "decrease"},
    ),
    "risk-level-change": (CAEP, {"principal": "USER", "current_level": "HIGH"}),
    "account-disabled": (RISC, {"reason": "hijacking"}),
    "account-purged": (RISC, {}),
    "credential-compromise": (RISC, {"credential_type": "password"}),
    "account-credential-change-required": (RISC, {}),
    "identifier-changed": (RISC, {"new-value": "new@corp.example"}),
    "identifier-recycled": (RISC, {}),
    "sessions-revoked": (RISC, {}),
}
HARMLESS: dict[str, tuple[str, dict[str, Any]]] = {
    "session-established": (CAEP, {}),
    "session-presented": (CAEP, {"ext_id": "1"}),
    "credential-change": (CAEP, {"credential_type": "fido2-platform", "change_type": "create"}),
    "assurance-level-change": (
        CAEP,
        {"namespace": "NIST-AAL", "current_level": "nist-aal3", "change_direction": "increase"},
    ),
    "risk-level-change": (CAEP, {"principal": "USER", "current_level": "LOW"}),
    "account-enabled": (RISC, {}),
    "opt-in": (RISC, {}),
    "opt-out-effective": (RISC, {}),
    "recovery-activated": (RISC, {}),
    "recovery-information-changed": (RISC, {}),
}


@pytest.mark.parametrize("name", ENDING)
async def test_events_that_end_sessions(world: World, transmitter: Transmitter, name: str) -> None:
    """Each as documented: of the person who is named, and of nobody else."""
    await sign_in_all(world)
    base, payload = ENDING[name]
    assert (await world.push(transmitter.token({base + name: payload}, ALICE)))[0] == 202
    assert world.signed_in() == ["bob"]


@pytest.mark.parametrize("name", HARMLESS)
async def test_events_that_end_no_session(world: World, transmitter: Transmitter, name: str) -> None:
    """Recorded, or a statement that policies may read."""
    await sign_in_all(world)
    base, payload = HARMLESS[name]
    assert (await world.push(transmitter.token({base + name: payload}, ALICE)))[0] == 202
    assert world.signed_in() == ["alice", "bob"]
    assert world.observed[-1].verdict != "malformed"


@pytest.mark.parametrize(
    ("principal", "level", "severity"),
    [
        ("DEVICE", "HIGH", Severity.HIGH),
        ("DEVICE", "MEDIUM", Severity.MEDIUM),
        ("DEVICE", "LOW", Severity.LOW),
        ("DEVICE", "low", Severity.LOW),
        ("DEVICE", "CRITICAL", Severity.HIGH),
        ("WORKLOAD", "HIGH", Severity.HIGH),
    ],
)
async def test_risk_of_a_device(
    world: World, transmitter: Transmitter, principal: str, level: str, severity: Severity
) -> None:
    """C3, C4: an unknown principal counts as what the subject names, an unknown level as configured."""
    payload = {"principal": principal, "current_level": level, "risk_reason": "odd traffic"}
    await world.push(transmitter.caep("risk-level-change", {"format": "complex", "device": LAPTOP}, payload))
    (finding,) = posture_of(world).findings.values()
    assert (finding.level, finding.is_open, finding.external_id) == (severity, True, "ssf:risk-level")
    assert finding.title == f"Risk level {level.lower()}: odd traffic"
    assert world.enforced == [(posture_of(world).device_id,)]


async def test_a_simple_subject_is_what_the_event_is_about(world: World, transmitter: Transmitter) -> None:
    """N6: the profile knows only simple subjects."""
    await world.push(
        transmitter.caep("risk-level-change", LAPTOP, {"principal": "DEVICE", "current_level": "HIGH"})
    )
    await world.push(
        transmitter.caep("device-compliance-change", LAPTOP, {"current_status": "not-compliant"})
    )
    assert {each.external_id for each in posture_of(world).findings.values()} == {
        "ssf:risk-level",
        "ssf:device-compliance",
    }


async def test_risk_of_a_session(world: World, transmitter: Transmitter) -> None:
    """High ends that session alone, anything less is recorded."""
    await world.sign_in("alice")
    await world.sign_in("alice", provider_sid="sid-other")
    subject = {"format": "complex", "user": ALICE, "session": {"format": "opaque", "id": "sid-alice"}}
    payload = {"principal": "SESSION", "current_level": "MEDIUM"}
    await world.push(transmitter.caep("risk-level-change", subject, payload))
    assert len(world.sessions) == 2
    await world.push(transmitter.caep("risk-level-change", subject, {**payload, "current_level": "HIGH"}))
    assert [each.provider_sid for each in world.sessions] == ["sid-other"]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_the_newest_event_counts_in_whatever_order(
    world: World, transmitter: Transmitter, order: tuple[int, ...]
) -> None:
    """E9: compliance falls, is restored, falls again; deliveries are shuffled."""
    now = int(transmitter.now())
    tokens = [
        transmitter.caep(
            "device-compliance-change",
            {"format": "complex", "device": LAPTOP},
            {"current_status": status, "event_timestamp": now - 100 + at},
        )
        for at, status in enumerate(("not-compliant", "compliant", "not-compliant"))
    ]
    for at in order:
        assert (await world.push(tokens[at]))[0] == 202
    posture = posture_of(world)
    assert posture.facts["idp", "compliant"].value is False
    assert [each.is_open for each in posture.findings.values()] == [True]


async def test_one_event_cannot_lift_what_another_source_holds(
    world: World, transmitter: Transmitter
) -> None:
    """E10: levels are kept per source."""
    subject = {"format": "complex", "device": LAPTOP}
    await world.push(
        transmitter.caep("risk-level-change", subject, {"principal": "DEVICE", "current_level": "HIGH"})
    )
    async with running_transmitter(world.clock.timestamp) as other:
        first = world.receivers.pop("idp")
        await world.receiver(other, name="other")
        world.receivers["idp"] = world.receivers.pop("idp")
        payload = {"principal": "DEVICE", "current_level": "LOW"}
        assert (await world.push(other.caep("risk-level-change", subject, payload)))[0] == 202
        await first.stop()
    assert {(each.sensor, each.level) for each in posture_of(world).findings.values()} == {
        ("idp", Severity.HIGH),
        ("other", Severity.LOW),
    }


async def test_what_is_too_old_cannot_make_access_easier(world: World, transmitter: Transmitter) -> None:
    """E5: a replay after its `jti` was forgotten may restrict, never relax."""
    subject = {"format": "complex", "device": LAPTOP}
    old = int(transmitter.now()) - 8 * 86_400
    await world.push(
        transmitter.caep("device-compliance-change", subject, {"current_status": "compliant"}, iat=old)
    )
    assert world.signals == []
    await world.push(
        transmitter.caep("device-compliance-change", subject, {"current_status": "bad"}, iat=old)
    )
    assert [each.level for each in world.signals] == [Severity.HIGH]


async def test_account_states_become_statements_about_the_user(
    world: World, transmitter: Transmitter
) -> None:
    """K1: enabled lifts what this source said, a changed credential settles a compromised one."""
    for name in ("account-disabled", "account-enabled", "credential-compromise"):
        await world.push(transmitter.risc(name, ALICE, {"credential_type": "password"}))
    payload = {"credential_type": "password", "change_type": "update"}
    await world.push(transmitter.caep("credential-change", ALICE, payload))
    assert [(each.external_id, each.level, each.resolves) for each in world.signals] == [
        ("ssf:account", Severity.HIGH, False),
        ("ssf:account", None, True),
        ("ssf:credential", Severity.HIGH, False),
        ("ssf:credential", None, True),
    ]
    assert {each.user_ids[0] for each in world.signals} == {Identifier("iss-sub", "alice", ISSUER)}
    assert all(not each.device_ids for each in world.signals)


async def test_reasons_reach_the_person_and_stay_texts(world: World, transmitter: Transmitter) -> None:
    """C5: only `reason_user` is for people; strange values are no reason at all."""
    subject = {"format": "complex", "device": LAPTOP}
    reasons = {
        "reason_user": {"de": "Platte", "en": "Encrypt <b>the</b> disk"},
        "reason_admin": {"en": "secret"},
    }
    payload = {"current_status": "not-compliant", **reasons}
    await world.push(transmitter.caep("device-compliance-change", subject, payload))
    assert world.signals[-1].description == "Encrypt <b>the</b> disk"
    assert "secret" not in repr(world.signals[-1])
    for strange in (1, [], {"en": 1}, {"en": "a\x00b"}, {}, "x" * 5000):
        payload = {"current_status": "not-compliant", "reason_user": strange}
        assert (await world.push(transmitter.caep("device-compliance-change", subject, payload)))[0] == 202
        assert len(world.signals[-1].description) <= 1024


def posture_of(world: World) -> Any:
    (device_id,) = world.state.device_ids()
    return world.state.posture(device_id)
