"""What the samples of the products leave open: pairs of open and close, order, words, and who is meant."""

from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest

from plugins.catalog import DEFAULT_OVERLOAD_STATUS, Catalog
from plugins.contract import Handshake
from plugins.reading import Frame, ItemFault, Reader, is_junk, known, look, rows, truth
from plugins.sensors.alertmanager import AlertmanagerSensor
from plugins.sensors.crowdstrike import CrowdstrikeSensor
from plugins.sensors.defender import DefenderSensor
from plugins.sensors.elastic import ElasticSensor
from plugins.sensors.falco import FalcoSensor
from plugins.sensors.intune import IntuneSensor
from plugins.sensors.jamf import JamfSensor
from plugins.sensors.kolide import KolideSensor
from plugins.sensors.ocsf import OcsfSensor
from plugins.sensors.okta import OktaSensor
from plugins.sensors.sentinelone import SentineloneSensor
from risk.folding import fold
from risk.model import DeviceId, Posture, Severity, SignalType

RECEIVED = datetime(2026, 3, 3, 12, tzinfo=UTC)
CATALOG = Catalog(
    [
        *(AlertmanagerSensor(), CrowdstrikeSensor(), DefenderSensor(), ElasticSensor(), FalcoSensor()),
        *(IntuneSensor(), JamfSensor(), KolideSensor(), OcsfSensor(), OktaSensor(), SentineloneSensor()),
    ]
)


def read(kind, payload, options=None, at=RECEIVED):
    facade = CATALOG.sensor(kind)
    parsed = facade.parse_options(options or {})
    return facade.normalize([payload], parsed, sensor="s", received_at=at, headers={})


def one(kind, payload, options=None, **rest):
    return read(kind, payload, options, **rest).signals[0]


def sample(kind, name):
    return next(each.payload for each in CATALOG.sensor(kind).samples if each.name == name)


@pytest.mark.parametrize(
    ("kind", "opening", "closing"),
    [
        ("crowdstrike", "fusion-new", "fusion-closed"),
        ("crowdstrike", "event-stream", "fusion-closed"),
        ("crowdstrike", "incident-whose-host-is-in-its-id", "incident-closed"),
        ("defender", "alert", "alert-resolved"),
        ("defender", "machine-at-risk", "machine-cleared"),
        ("elastic", "webhook-of-a-rule", "closed-document-with-dotted-keys"),
        ("kolide", "issue", "issue-resolved"),
        ("kolide", "device-will-be-blocked", "device-is-good-again"),
        ("ocsf", "detection", "detection-closed"),
        ("ocsf", "compliance-fails", "compliance-passes"),
        ("ocsf", "incident", "incident-closed"),
        ("ocsf", "device-at-risk", "device-secure-again"),
        ("sentinelone", "threat", "threat-mitigated"),
        ("sentinelone", "activity-new-threat", "activity-quarantined"),
    ],
)
def test_what_was_opened_is_closed(kind, opening, closing):
    """Also when both carry the same time: then the one that was received later counts."""
    opened = fold(Posture(device_id=DeviceId("d")), one(kind, sample(kind, opening)))
    later = one(kind, sample(kind, closing), at=RECEIVED + timedelta(seconds=1))
    assert [each.is_open for each in opened.findings.values()] == [True]
    assert [each.is_open for each in fold(opened, later).findings.values()] == [False]


def test_alertmanager_closes_and_fires_again():
    firing = sample("alertmanager", "grafana")["alerts"][0]
    history = [
        firing,
        firing | {"status": "resolved", "endsAt": "2026-03-02T08:45:00Z"},
        firing | {"startsAt": "2026-03-02T09:00:00Z"},
    ]
    signals = [one("alertmanager", {"alerts": [each]}) for each in history]
    for order in permutations(signals):
        posture = Posture(device_id=DeviceId("d"))
        for signal in order:
            posture = fold(posture, signal)
        (finding,) = posture.findings.values()
        assert (finding.is_open, finding.observed_at.hour) == (True, 9)


def test_alertmanager_repeats_are_the_same_message():
    firing = sample("alertmanager", "grafana")
    assert (
        one("alertmanager", firing).event_id
        == one("alertmanager", firing | {"groupKey": "x"}, at=RECEIVED + timedelta(hours=4)).event_id
    )


def test_an_older_machine_object_never_wins():
    """Defender's list of machines may be read in any order."""
    machine = sample("defender", "machine-at-risk")["value"][0]
    cleared = one("defender", machine | {"riskScore": "None", "lastSeen": "2026-03-02T13:00:00Z"})
    high = one("defender", machine)
    for order in permutations((cleared, high)):
        posture = Posture(device_id=DeviceId("d"))
        for signal in order:
            posture = fold(posture, signal)
        assert [each.is_open for each in posture.findings.values()] == [False]


def test_intune_recovers_from_what_only_its_log_told():
    rows_of = sample("intune", "mixed-rows")["records"]
    failing, passing = (read("intune", {"records": [rows_of[n]]}).signals[0] for n in (0, 3))
    opened = fold(Posture(device_id=DeviceId("d")), failing)
    later = read("intune", {"records": [rows_of[3]]}, at=RECEIVED + timedelta(seconds=1)).signals[0]
    (finding,) = fold(opened, later).findings.values()
    assert (failing.external_id, finding.level) == (passing.external_id, Severity.NONE)


def test_a_row_about_compliance_mends_no_jailbreak():
    posture = Posture(device_id=DeviceId("d"))
    row = sample("intune", "mixed-rows")["records"][3] | {"time": "2026-03-03T00:00:00Z"}
    for payload in (sample("intune", "jailbroken-in-its-grace-period"), {"records": [row]}):
        for signal in read("intune", payload).signals:
            posture = fold(posture, signal)
    levels = {name.partition(":")[0]: each.level for (_, name), each in posture.findings.items()}
    assert levels == {"compliance": Severity.NONE, "jailbroken": Severity.CRITICAL}


@pytest.mark.parametrize(
    ("word", "fact", "level"),
    [
        ("compliant", True, Severity.NONE),
        ("Compliant", True, Severity.NONE),
        ("noncompliant", False, Severity.HIGH),
        ("Not compliant", False, Severity.HIGH),
        ("inGracePeriod", False, Severity.MEDIUM),
        ("In grace period", False, Severity.MEDIUM),
        ("conflict", False, Severity.HIGH),
        ("error", None, Severity.UNKNOWN),
        ("unknown", None, None),
        ("Purple", None, Severity.UNKNOWN),
    ],
)
def test_intune_states(word, fact, level):
    signal = one("intune", sample("intune", "compliant") | {"complianceState": word})
    assert (signal.facts.get("compliant"), signal.level) == (fact, level)


@pytest.mark.parametrize(
    ("score", "level"),
    [(0, "high"), (39, "high"), (52, "medium"), ("65", "low"), (80, "none"), (100, "none"), ("x", "unknown")],
)
def test_a_high_assessment_is_a_low_risk(score, level):
    assessment = sample("crowdstrike", "the-best-assessment") | {"assessment": {"overall": score}}
    assert read("crowdstrike", assessment).signals[1].level == level


@pytest.mark.parametrize(
    ("severity", "name", "level"),
    [
        (19, None, "informational"),
        (20, None, "low"),
        ("59", None, "medium"),
        (79, None, "high"),
        (80, None, "critical"),
        (80, "Low", "low"),
        (None, None, "unknown"),
        ("Purple", None, "unknown"),
    ],
)
def test_crowdstrike_levels(severity, name, level):
    alert = sample("crowdstrike", "fusion-new") | {"severity": severity, "severity_name": name}
    assert one("crowdstrike", alert).level == level


@pytest.mark.parametrize(
    ("priority", "level"),
    [
        ("Emergency", "critical"),
        ("error", "high"),
        ("Debug", "informational"),
        ("", "unknown"),
        (4, "unknown"),
    ],
)
def test_falco_levels(priority, level):
    assert one("falco", sample("falco", "bare-event") | {"priority": priority}).level == level


@pytest.mark.parametrize(
    ("score", "level"), [(1, "informational"), (21, "low"), (47, "medium"), (73, "high"), (99, "critical")]
)
def test_elastic_scores(score, level):
    alert = {"kibana.alert.uuid": "u", "kibana.alert.risk_score": score, "host.name": "lt-1"}
    assert one("elastic", alert).level == level


@pytest.mark.parametrize(
    ("kind", "name", "change"),
    [
        ("falco", "bare-event", {"hostname": "LOCALHOST."}),
        ("alertmanager", "grafana", {"alerts": [{"status": "firing", "labels": {"hostname": "localhost"}}]}),
        ("ocsf", "detection", {"device": {"hostname": "unknown", "hw_info": {"serial_number": "0000"}}}),
        ("crowdstrike", "fusion-new", {"device_id": "", "host": "n/a", "serial_number": "None"}),
        ("intune", "compliant", dict.fromkeys(["id", "azureADDeviceId", "serialNumber", "deviceName"], "0")),
    ],
)
def test_junk_is_nobody(kind, name, change):
    normalized = read(kind, sample(kind, name) | change)
    assert all(not signal.device_ids for signal in normalized.signals)
    assert normalized.signals or [each.code for each in normalized.rejections] == ["no-device"]


def test_accounts_of_the_system_and_analysts_are_nobody():
    people = {each.value for each in one("defender", sample("defender", "alert")).user_ids}
    assert people == {"robin@example.com"}
    for local in ("root", "CORP\\robin", "robin", "SYSTEM"):
        assert one("crowdstrike", sample("crowdstrike", "fusion-new") | {"user": local}).user_ids == ()


def test_an_alert_of_two_machines_is_a_condition_of_each():
    alert = sample("defender", "alert")
    both = [piece | {"roles": []} if "roles" in piece else piece for piece in alert["evidence"]]
    signals = read("defender", alert | {"evidence": both}).signals
    assert len({each.event_id for each in signals}) == len(signals) == 2
    assert len({each.external_id for each in signals}) == 1


def test_what_a_kind_says_of_its_sender():
    assert CATALOG.sensor("alertmanager").overload_status == 503
    assert CATALOG.sensor("falco").overload_status == DEFAULT_OVERLOAD_STATUS == 429
    assert CATALOG.sensor("defender").handshakes == {Handshake.GRAPH}
    assert CATALOG.sensor("okta").handshakes == {Handshake.OKTA}
    assert CATALOG.sensor("jamf").handshakes == frozenset()


# --- reading -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        {"a": {"b": {"c": 1}}},
        {"a.b.c": 1},
        {"a": {"b.c": 1}},
        {"a.b": {"c": 1}},
        {"a": None, "a.b.c": 1},
        {"a.b": {"x": 2}, "a": {"b.c": 1}},
    ],
)
def test_keys_are_found_nested_dotted_and_mixed(value):
    assert look(value, "a.b.c") == 1
    assert look(value, "a.b.c.d") is None


def test_rows_are_where_the_first_list_is():
    assert rows({"b": [1, 2]}, "a", "b") == ([1, 2], "b[{n}].")
    assert rows({"b": 1}, "a", "b") == ([{"b": 1}], "")
    assert rows([], "a") == ([[]], "")


def test_a_time_that_is_not_set_is_the_time_of_receipt():
    frame = Frame("s", RECEIVED)
    for unset in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "", 0, None):
        assert Reader(frame, {"at": unset}).time("at") == RECEIVED
    with pytest.raises(ItemFault):
        Reader(frame, {"at": "soon"}).time("at", "other")
    assert Reader(frame, {"at": "soon", "other": 1772442930}).time("at", "other").year == 2026


def test_a_message_without_a_time_is_new_each_time():
    def event_id(item, at):
        reader = Reader(Frame("s", at), item)
        observed_at = reader.time("at")
        made, _ = reader.signal(SignalType.HEARTBEAT, external_id="x", observed_at=observed_at)
        return made.event_id

    later = RECEIVED + timedelta(seconds=1)
    assert event_id({}, RECEIVED) != event_id({}, later)
    assert event_id({"at": 1772442930}, RECEIVED) == event_id({"at": 1772442930}, later)


def test_small_readings():
    assert [truth(each) for each in (True, "True", "yes", "NO", 0, "Unknown", None)] == [
        *(True, True, True, False, False, None, None)
    ]
    assert known(a=None, b="", c=False, d=0) == {"c": False, "d": 0}
    assert is_junk("hostname", "localhost.localdomain")
    assert is_junk("serial", "To be filled by O.E.M.")
    assert not is_junk("hostname", "lt-1")
