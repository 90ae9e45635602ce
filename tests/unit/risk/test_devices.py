"""Which record identifiers name: junk, strength, conflicts, and drafts."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk import devices
from risk.devices import (
    MAX_IDENTIFIERS,
    MAX_VALUE_CHARS,
    DeviceIndex,
    ParkingFull,
    keys_text,
    name_of,
    names_nothing,
    normalise_identifier,
    random_device_id,
)
from risk.joining import JoinRules
from risk.model import DeviceId, Identifier


def serial(value):
    return Identifier("serial", value)


def host(value):
    return Identifier("hostname", value)


def agent(value, sensor="wazuh"):
    return Identifier("sensor-device-id", value, sensor)


class Records:
    """An index whose records remember their identifiers, as the state does."""

    def __init__(self):
        numbers = itertools.count(1)
        self.known = {}
        self.index = DeviceIndex(
            lambda device_id: self.known.get(device_id, ()), lambda: DeviceId(f"d{next(numbers)}")
        )

    def take(self, *identifiers):
        return self.change(lambda draft: draft.resolve_or_create(identifiers))

    def change(self, work):
        draft = self.index.draft()
        made = work(draft)
        self.known.update(draft.changed)
        draft.commit()
        return made

    def find(self, *identifiers):
        return self.index.resolve(identifiers)


@pytest.fixture
def records():
    return Records()


@pytest.mark.parametrize(
    "identifier",
    [
        host(""),
        host("  "),
        host("localhost"),
        host("LOCALHOST.localdomain"),
        host("localhost.example.org"),
        host("172.17.0.1"),
        host("fe80::1"),
        host("3f4e1a2b9c0d"),
        host("a" * 64),
        serial("0"),
        serial("00000000"),
        serial("0000-0000"),
        serial("To be filled by O.E.M."),
        serial("System Serial Number"),
        serial("ffffffff-ffff-ffff-ffff-ffffffffffff"),
        serial("a\nb"),
        serial("x" * (MAX_VALUE_CHARS + 1)),
        agent(""),
        Identifier("", "x"),
    ],
)
def test_junk_names_nothing(records, identifier):
    assert normalise_identifier(identifier) is None
    assert records.take(identifier) is None
    assert records.find(identifier) is None


@pytest.mark.parametrize(
    ("identifier", "value"),
    [
        (serial(" 5cg2149XVW "), "5cg2149xvw"),
        (host("LT-014.Example.ORG."), "lt-014.example.org"),
        (Identifier("certificate-sha256", "AB:CD"), "abcd"),
        (Identifier("udid", "{AB-1}"), "ab-1"),
        (host("STRASSE-1"), "strasse-1"),
        (host("Straße-1"), "strasse-1"),
        (agent("0"), "0"),
    ],
)
def test_values_are_compared_in_one_form(identifier, value):
    assert normalise_identifier(identifier).value == value


def test_case_and_space_do_not_make_another_device(records):
    assert records.take(serial("ABC-1")) == records.find(serial(" abc-1 "))


def test_the_issuer_of_a_serial_does_not_matter_but_that_of_a_sensors_number_does(records):
    device = records.take(Identifier("serial", "S1", "mdm"), agent("001"))
    assert records.find(serial("S1")) == device
    assert records.find(agent("001", "other")) is None


def test_identifiers_add_up(records):
    device = records.take(agent("001"), host("lt-1"))
    assert records.take(host("lt-1"), serial("S1")) == device
    assert records.find(serial("s1")) == device
    assert records.known[device] == (agent("001"), host("lt-1"), serial("S1"))


def test_a_strong_identifier_beats_a_hostname(records):
    first = records.take(serial("S1"), host("laptop"))
    second = records.take(serial("S2"), host("other"))
    assert records.take(serial("S2"), host("laptop")) == second
    assert first != second


def test_a_hostname_that_contradicts_a_strong_identifier_makes_a_new_record(records):
    first = records.take(agent("001"), host("laptop"))
    second = records.take(agent("002"), host("laptop"))
    assert first != second
    assert records.find(host("laptop")) is None, "two records have this name"
    assert [conflict.reason for conflict in records.index.conflicts] == ["another record has this name"]


def test_an_ambiguous_hostname_never_joins_a_strong_identifier(records):
    devices = {records.take(agent("001"), host("laptop")), records.take(agent("002"), host("laptop"))}
    assert records.take(serial("S9"), host("laptop")) not in devices


def test_signals_with_an_ambiguous_hostname_alone_share_one_record(records):
    strong = {records.take(agent("001"), host("laptop")), records.take(agent("002"), host("laptop"))}
    alone = records.take(host("laptop"))
    assert alone not in strong
    assert records.take(host("laptop")) == alone


def test_a_recycled_agent_number_does_not_drag_a_new_serial_along(records):
    old = records.take(serial("S1"), agent("001"))
    new = records.take(serial("S2"), agent("001"))
    assert new != old
    assert records.find(agent("001")) == old
    (conflict,) = records.index.conflicts
    assert (conflict.device_id, conflict.owner, conflict.identifier) == (new, old, agent("001"))


def test_records_that_turn_out_to_be_one_device_are_merged(records):
    one, other = records.take(serial("S1")), records.take(agent("001"), host("lt-1"))
    assert one != other
    assert records.take(serial("S1"), agent("001")) == one
    assert records.find(agent("001")) == records.find(host("lt-1")) == one
    assert records.index.survivor(other) == one
    assert set(records.known[one]) == {serial("S1"), agent("001"), host("lt-1")}
    assert records.index.conflicts == records.index.cases == ()


def test_two_serials_are_never_one_device_and_what_both_claim_is_a_case(records):
    one, other = records.take(serial("S1"), agent("001")), records.take(serial("S2"), agent("002"))
    records.take(serial("S1"), agent("002"))
    assert records.find(serial("S1")) == one
    assert records.find(serial("S2")) == other
    (case,) = records.index.cases
    assert (case.identifier, case.owner, set(case.claimants)) == (agent("002"), other, {one, other})
    assert records.index.contested(one) == records.index.contested(other) == (agent("002"),)


def test_an_operator_says_whose_it_is(records):
    one, other = records.take(serial("S1"), agent("001")), records.take(serial("S2"), agent("002"))
    records.take(serial("S1"), agent("002"))
    records.change(lambda draft: draft.move(agent("002"), one))
    assert records.index.cases == ()
    assert records.find(agent("002")) == one
    assert agent("002") not in records.known[other]
    records.take(serial("S2"), agent("002"))
    assert records.index.cases == (), "settled is settled"


def test_an_operator_says_that_two_are_one(records):
    one, other = records.take(serial("S1"), agent("001")), records.take(serial("S2"), agent("002"))
    records.take(serial("S1"), agent("002"))
    records.change(lambda draft: draft.merge(one, other))
    assert records.index.cases == ()
    assert records.find(serial("S2")) == records.find(agent("002")) == one


def test_merges_cases_and_decisions_survive_a_restart(records):
    one, other = records.take(serial("S1"), agent("001")), records.take(serial("S2"), agent("002"))
    gone = records.take(agent("003"))
    records.take(serial("S1"), agent("003"))
    records.take(serial("S1"), agent("002"))
    again = DeviceIndex(lambda device: records.known[device])
    again.load_merged(records.index.merged.items())
    for device in (one, other):
        again.load([(device, records.index.record_keys(device, records.known[device]))])
    assert again.cases == records.index.cases
    assert again.survivor(gone) == one
    assert again.contested(other) == (agent("002"),)


def test_names_join_nothing_that_has_a_number_when_they_may_not(records):
    records.index.rules = JoinRules(joins_hostnames=False)
    strong = records.take(serial("S1"), host("lt-1"))
    weak = records.take(host("lt-1"))
    assert weak != strong
    assert records.take(serial("S2"), host("lt-1")) not in (weak, strong)
    assert records.take(host("lt-1")) == weak
    assert records.index.attributed([host("lt-1")]) == weak
    assert records.find(host("lt-1")) is None, "two devices have it"


def test_whoever_asks_by_name_is_answered_although_names_join_nothing(records):
    records.index.rules = JoinRules(joins_hostnames=False)
    strong = records.take(serial("S1"), host("lt-1"))
    assert records.find(host("LT-1")) == strong
    assert records.index.attributed([host("lt-1")]) is None


def test_a_name_that_one_device_has_joins_whichever_came_first(records):
    by_agent = records.take(agent("001"))
    by_serial = records.take(serial("S1"), host("lt-1"))
    assert by_agent != by_serial
    both = records.take(agent("001"), host("LT-1"))
    assert records.find(serial("S1")) == records.find(agent("001")) == both


def test_a_name_joins_nothing_that_contradicts(records):
    one = records.take(serial("S1"), agent("001"), host("lt-1"))
    other = records.take(agent("002"))
    assert records.take(agent("002"), host("lt-1")) == other != one
    records.take(agent("003"), host("lt-1"))
    assert records.find(host("lt-1")) is None, "three have it"


def test_domains_of_ours_are_left_out_of_names(records):
    records.index.rules = JoinRules(domains=("corp.example",))
    device = records.take(serial("S1"), host("lt-1.Corp.example"))
    assert records.find(host("LT-1")) == device
    assert records.take(serial("S1"), host("lt-1"), host("lt-1.other.example")) == device
    assert records.find(host("lt-1.other.example")) == device
    again = DeviceIndex(lambda device: records.known[device])
    again.rules = JoinRules(domains=("other.example",))
    again.load([(device, records.index.record_keys(device, records.known[device]))])
    assert again.resolve([host("lt-1")]) == device
    assert again.resolve([host("lt-1.corp.example")]) == device


def test_as_long_as_nothing_is_parked_no_record_is_looked_at_for_that(records):
    device = records.index.resolve_or_create([Identifier("serial", "SN-77")])
    records.index.draft()

    def looked_at():
        raise AssertionError("nothing is parked")
        yield device

    assert records.index.draft().waiting(looked_at()) == frozenset()


def test_parked_is_what_has_nothing_strong(records):
    device = records.take(host("lt-1"))
    assert (records.index.parked, records.index.is_parked(device)) == (1, True)
    records.index.rules = JoinRules(max_parked=1)
    with pytest.raises(ParkingFull):
        records.take(host("lt-2"))
    assert records.take(host("lt-1"), serial("S1")) == device
    assert (records.index.parked, records.index.is_parked(device)) == (0, False)


def test_a_reinstalled_agent_of_one_serial_keeps_its_record(records):
    device = records.take(serial("S1"), agent("001"))
    assert records.take(serial("S1"), agent("007")) == device
    assert records.find(agent("007")) == device


def test_a_full_hostname_and_its_first_label_are_two_names(records):
    device = records.take(host("lt-1.example.org"))
    assert records.find(host("lt-1")) is None
    assert records.find(host("LT-1.example.org.")) == device


def test_other_weak_kinds_join_when_they_do_not_contradict(records):
    device = records.take(serial("S1"), Identifier("asset-tag", "A7"))
    assert records.find(Identifier("asset-tag", "a7")) == device
    assert records.take(serial("S2"), Identifier("asset-tag", "A7")) != device


def test_a_draft_is_invisible_until_it_is_committed(records):
    draft = records.index.draft()
    device = draft.resolve_or_create([serial("S1"), host("lt-1")])
    assert draft.resolve([host("lt-1")]) == device
    assert records.find(serial("S1")) is None
    assert records.find(host("lt-1")) is None
    draft.commit()
    assert records.find(host("lt-1")) == device


def test_a_draft_that_is_thrown_away_leaves_nothing(records):
    records.take(serial("S1"), host("lt-1"))
    draft = records.index.draft()
    draft.resolve_or_create([serial("S2"), host("lt-1")])
    assert records.find(host("lt-1")) == "d1"
    assert records.index.conflicts == ()


def test_identifiers_of_a_record_are_bounded(records):
    device = records.take(serial("S1"))
    for number in range(MAX_IDENTIFIERS + 5):
        records.take(serial("S1"), host(f"name-{number}"))
    assert len(records.known[device]) == MAX_IDENTIFIERS
    assert records.find(host("name-1")) == device


def test_stored_keys_give_the_same_index(records):
    device = records.take(serial("S1"), agent("001"), host("lt-1"))
    again = DeviceIndex(lambda _: records.known[device])
    again.load([(device, keys_text(records.known[device]))])
    for identifier in records.known[device]:
        assert again.resolve([identifier]) == device


def test_people_call_a_device_by_its_hostname():
    assert name_of([agent("1"), serial("S1"), host("lt-1")]) == "lt-1"
    assert name_of([agent("1"), serial("S1")]) == "S1"
    assert name_of([]) == ""


def test_ids_are_random_and_recognisable():
    made = {random_device_id() for _ in range(100)}
    assert len(made) == 100
    assert all(each.startswith("dev_") and len(each) == 24 for each in made)


kinds = st.sampled_from(["serial", "hostname", "udid", "certificate-sha256", "sensor-device-id", "mac", ""])
spellings = st.one_of(
    st.text("0fFxX?-:. \t\x1f{}aB9", max_size=8),
    st.text("0123456789abcdef", min_size=11, max_size=65),
    st.text(max_size=4),
    st.sampled_from(["localhost", "Localhost.x", "unknown", "N/A", "SER-0", "lt-014.corp.example."]),
    st.sampled_from([255, 256, 257]).map(lambda size: "a" * size + "9"),
)


@given(st.builds(Identifier, kinds, spellings, st.sampled_from(["", "edr"])))
def test_what_is_plainly_no_junk_is_what_a_closer_look_finds(identifier):
    found = devices._normalised(identifier)
    assert normalise_identifier(identifier) == found
    assert names_nothing(identifier) == (found is None)
