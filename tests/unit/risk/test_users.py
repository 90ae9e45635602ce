"""Who is who: identifiers of people, how they are compared, and where they lead."""

from datetime import UTC, datetime, timedelta

import pytest

from risk.folding import fold
from risk.intake import Intake
from risk.memory import MemoryRiskStore
from risk.model import Identifier, RiskLevel, SensorRules, Severity, Signal, SignalType
from risk.scoring import assess
from risk.snapshot import RiskState
from risk.users import linked, new_record, normalise_user, reach, spelled, user_record_id

T0 = datetime(2026, 3, 1, tzinfo=UTC)
EMAIL, OKTA = Identifier("email", "ana@example.org"), Identifier("okta-user-id", "00uA")
ENTRA, OTHER = Identifier("entra-user-id", "e-1"), Identifier("entra-user-id", "e-2")
SENSORS = {"idp": SensorRules(name="idp")}


def signal(event, *users, level=Severity.HIGH, at=T0, **rest):
    return Signal(
        sensor="idp",
        type=SignalType.RISK_LEVEL,
        observed_at=at,
        received_at=at,
        external_id="risk",
        event_id=event,
        user_ids=users,
        level=level,
        **rest,
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Identifier("upn", "ANA@example.ORG "), EMAIL),
        (Identifier("email", "ana@example.org", "any sensor"), EMAIL),
        (Identifier("entra-user-id", "{E-1}"), ENTRA),
        (Identifier("sub", "7", "https://op"), Identifier("iss-sub", "7", "https://op")),
    ],
)
def test_the_same_person_in_two_spellings(one, other):
    assert user_record_id(one) == user_record_id(other) is not None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Identifier("okta-user-id", "00ua"), OKTA),
        (Identifier("iss-sub", "7", "https://a"), Identifier("iss-sub", "7", "https://b")),
        (Identifier("iss-sub", "A", "https://a"), Identifier("iss-sub", "a", "https://a")),
        (Identifier("user-name", "ana", "edr"), Identifier("user-name", "ana", "siem")),
    ],
)
def test_two_people_who_look_alike(one, other):
    assert user_record_id(one) != user_record_id(other)


@pytest.mark.parametrize(
    "nobody",
    [
        Identifier("upn", "SYSTEM"),
        Identifier("user-name", "NT AUTHORITY\\SYSTEM"),
        Identifier("entra-user-id", "00000000-0000-0000-0000-000000000000"),
        Identifier("email", "@"),
        Identifier("email", "a\x00@b"),
        Identifier("sub", ""),
        Identifier("email", "a" * 600 + "@b"),
    ],
)
def test_a_name_of_nobody(nobody):
    assert normalise_user(nobody) is None


def records(*statements):
    found = {}
    for number, names in enumerate(statements):
        named = spelled(names)
        for user_id, identifier in named.items():
            record = linked(found.get(user_id) or new_record(user_id, identifier), named.values())
            found[user_id] = fold(record, signal(f"e{number}"))
    return found


def test_identifiers_that_were_named_together_lead_to_each_other():
    known = records([EMAIL, OKTA], [OKTA, ENTRA])
    _, found = reach([EMAIL], known.get)
    assert {each.identifiers[0].kind for each in found} == {"email", "okta-user-id", "entra-user-id"}


def test_a_shared_mailbox_makes_no_two_people_one():
    known = records([EMAIL, ENTRA], [EMAIL, OTHER])
    _, found = reach([ENTRA, EMAIL], known.get)
    assert user_record_id(OTHER) not in {each.device_id for each in found}


@pytest.fixture
async def rig():
    state, store = RiskState(), MemoryRiskStore()
    intake = Intake(state, store, clock=lambda: T0)
    await intake.start()
    yield state, store, intake
    await intake.stop()


async def test_a_statement_about_a_person_is_durable_and_known(rig):
    state, store, intake = rig
    result = await intake.submit("idp", [signal("e1", EMAIL, OKTA)])
    assert (result.accepted, result.changed_devices) == (1, frozenset())
    assert result.changed == {user_record_id(EMAIL), user_record_id(OKTA)}
    assert assess(state.user([OKTA])[1], SENSORS, T0).level is RiskLevel.HIGH
    again = RiskState()
    again.load(await store.load(), await store.load_users())
    assert again.user([EMAIL])[1] == state.user([EMAIL])[1]
    assert len(state) == 0


async def test_a_repetition_waits_for_the_same_people_and_changes_nothing(rig):
    state, _, intake = rig
    first = await intake.submit("idp", [signal("e1", EMAIL)])
    before = state.user([EMAIL])[1]
    again = await intake.submit("idp", [signal("e1", EMAIL)])
    assert (again.accepted, again.duplicates, again.changed) == (0, 1, first.changed)
    assert state.user([EMAIL])[1] == before


async def test_a_close_lowers_the_risk_again(rig):
    state, _, intake = rig
    await intake.submit("idp", [signal("e1", EMAIL)])
    later = T0 + timedelta(minutes=1)
    await intake.submit("idp", [signal("e2", EMAIL, level=None, at=later, resolves=True)])
    assert assess(state.user([EMAIL])[1], SENSORS, later).level is RiskLevel.NONE


async def test_a_statement_about_nobody_is_a_dead_letter(rig):
    _, store, intake = rig
    result = await intake.submit("idp", [signal("e1", Identifier("upn", "SYSTEM"))])
    assert [each.code for each in result.rejected] == ["no-user"]
    assert len(await store.dead_letters("idp", 9)) == 1
