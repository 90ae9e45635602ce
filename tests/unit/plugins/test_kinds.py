"""What the samples leave open: message ids, pairs of open and close, the corners of the mapping."""

from datetime import UTC, datetime, timedelta

import pytest

from plugins.catalog import SensorFacade
from plugins.sensors.alertmanager import AlertmanagerSensor
from plugins.sensors.falco import FalcoSensor
from plugins.sensors.fleet import FleetSensor
from plugins.sensors.generic import GenericSensor
from plugins.sensors.wazuh import WazuhSensor
from risk.folding import fold
from risk.model import DeviceId, Posture, Severity, SignalType

RECEIVED = datetime(2026, 3, 2, 12, tzinfo=UTC)
FACADES = {
    facade.kind: facade
    for facade in map(
        SensorFacade,
        (AlertmanagerSensor(), FalcoSensor(), WazuhSensor(), FleetSensor(), GenericSensor()),
    )
}


def read(kind, payload, options=None, at=RECEIVED, headers=None):
    facade = FACADES[kind]
    parsed = facade.parse_options(options or {})
    return facade.normalize([payload], parsed, sensor="s", received_at=at, headers=headers or {})


def one(kind, payload, options=None, **rest):
    (signal,) = read(kind, payload, options, **rest).signals
    return signal


def sample(kind, name):
    return next(each.payload for each in FACADES[kind].samples if each.name == name)


@pytest.mark.parametrize(
    ("opening", "closing"), [("sca-failed", "sca-passed"), ("vulnerability-active", "vulnerability-solved")]
)
def test_wazuh_closes_what_it_opened(opening, closing):
    """Also when both alerts carry the same time, and whatever the level of the news is."""
    posture = Posture(device_id=DeviceId("dev_1"))
    opened = fold(posture, one("wazuh", sample("wazuh", opening)))
    assert [finding.is_open for finding in opened.findings.values()] == [True]
    late = one("wazuh", sample("wazuh", closing), at=RECEIVED + timedelta(seconds=1))
    assert [finding.is_open for finding in fold(opened, late).findings.values()] == [False]


@pytest.mark.parametrize(
    ("level", "severity"),
    [
        (0, "informational"),
        (3, "informational"),
        (4, "low"),
        (6, "low"),
        (7, "medium"),
        (11, "medium"),
        (12, "high"),
        (14, "high"),
        (15, "critical"),
        ("10", "medium"),
        (None, "unknown"),
        ([], "unknown"),
    ],
)
def test_wazuh_levels(level, severity):
    alert = sample("wazuh", "file-integrity")
    alert = alert | {"rule": alert["rule"] | {"level": level}}
    assert one("wazuh", alert).level == severity


def test_wazuh_levels_can_be_changed():
    assert one("wazuh", sample("wazuh", "file-integrity"), {"levels": {"high": 7}}).level is Severity.HIGH


def test_wazuh_never_names_the_attacker():
    alert = sample("wazuh", "file-integrity") | {"data": {"srcip": "203.0.113.7", "dstuser": "root"}}
    signal = one("wazuh", alert)
    assert {each.value for each in signal.device_ids} == {"023", "LT-SALES-7"}
    assert signal.user_ids == ()


def test_wazuh_alert_without_an_id_is_still_recognised_when_sent_again():
    alert = {name: value for name, value in sample("wazuh", "file-integrity").items() if name != "id"}
    assert one("wazuh", alert).event_id == one("wazuh", alert, at=RECEIVED + timedelta(hours=1)).event_id


def test_fleet_message_ids_differ_by_host_and_by_run():
    payload = sample("fleet", "failing-policy-of-two-hosts")
    first = [each.event_id for each in read("fleet", payload).signals]
    again = [each.event_id for each in read("fleet", payload, at=RECEIVED + timedelta(hours=1)).signals]
    later = [each.event_id for each in read("fleet", payload | {"timestamp": "2026-03-03T09:15:30Z"}).signals]
    assert first == again
    assert len({*first, *later}) == 4


def test_fleet_message_without_a_time_is_new_unless_its_sender_names_it():
    payload = sample("fleet", "hosts-that-do-not-report")
    later = RECEIVED + timedelta(hours=1)
    unnamed = {read("fleet", payload, at=at).signals[0].event_id for at in (RECEIVED, later)}
    named = {
        read("fleet", payload, at=at, headers={"webhook-id": "m1"}).signals[0].event_id
        for at in (RECEIVED, later)
    }
    assert (len(unnamed), len(named)) == (2, 1)


@pytest.mark.parametrize(
    ("score", "is_exploited", "severity"),
    [
        (0.0, False, "none"),
        (3.9, False, "low"),
        (6.9, False, "medium"),
        ("8.8", False, "high"),
        (9.0, False, "critical"),
        (8.8, True, "critical"),
        (None, True, "high"),
        (None, False, "unknown"),
        (9.8, True, "critical"),
    ],
)
def test_fleet_vulnerability_levels(score, is_exploited, severity):
    payload = {
        "vulnerability": {
            "cve": "CVE-1",
            "cvss_score": score,
            "cisa_known_exploit": is_exploited,
            "hosts_affected": [{"id": 1}],
        }
    }
    assert one("fleet", payload).level == severity


def test_fleet_admin_is_nobodys_device():
    payload = sample("fleet", "left-management")
    assert one("fleet", payload).user_ids == ()
    assert one("fleet", payload | {"type": "mdm_enrolled"}).facts == {"managed": True}


def test_fleet_names_a_condition_alike_in_its_webhooks_its_calendar_and_its_api():
    failing = one("fleet", sample("fleet", "noncritical-policy"))
    calendar = read("fleet", sample("fleet", "policies-that-still-fail-when-the-calendar-says-so")).signals[1]
    host = {"id": 88, "hardware_serial": "S88", "policies": [{"id": 8, "name": "x", "response": "pass"}]}
    passing = read("fleet", {"host": host}).signals[1]
    assert {failing.external_id, calendar.external_id, passing.external_id} == {"policy:8:host:88"}
    assert passing.resolves


@pytest.mark.parametrize(
    "around", [lambda host: host, lambda host: {"host": host}, lambda host: {"hosts": [host]}]
)
def test_fleet_host_of_the_api_is_read_alone_and_in_a_list(around):
    """Also the phone that somebody brought along, which Fleet knows by a number of its own only."""
    host = {"id": 3, "uuid": "u-3", "platform": "ios", "hardware_serial": "", "hostname": "iPhone"}
    host |= {"mdm": {"enrollment_status": "On (personal)"}, "seen_time": "2026-03-02T09:00:00Z"}
    signal = one("fleet", around(host))
    assert [(each.kind, each.value) for each in signal.device_ids] == [("sensor-device-id", "3")]
    assert signal.facts == {"platform": "ios", "managed": True}


def test_fleet_calendar_takes_no_weight_from_a_finding():
    """A policy that blocks at high risk must not let a device in because Fleet speaks of it without a level."""
    options = {"facts": {"7": "disk_encrypted"}}
    failing = read("fleet", sample("fleet", "failing-policy-of-two-hosts"), options).signals[0]
    event = sample("fleet", "policies-that-still-fail-when-the-calendar-says-so")
    late = read("fleet", event | {"timestamp": "2026-03-02T11:00:00Z"}, options).signals[0]
    assert late.external_id == failing.external_id
    posture = fold(fold(Posture(device_id=DeviceId("dev_1")), failing), late)
    assert [(each.is_open, each.level) for each in posture.findings.values()] == [(True, Severity.HIGH)]
    assert posture.facts[("s", "disk_encrypted")].value is False


def firing(**rest):
    return {
        "status": "firing",
        "labels": {"alertname": "FirewallOff", "severity": "high", "hostname": "lt-1"},
        "startsAt": "2026-03-02T08:00:00Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "fingerprint": "f1",
    } | rest


def test_alertmanager_repetition_is_a_duplicate_and_with_a_ttl_lets_the_alert_last():
    """Alertmanager says the same again at every `repeat_interval`, for as long as the alert fires."""
    alert, later = {"alerts": [firing()]}, RECEIVED + timedelta(hours=20)
    assert one("alertmanager", alert).event_id == one("alertmanager", alert, at=later).event_id
    posture = Posture(device_id=DeviceId("dev_1"))
    for at in (RECEIVED, later):
        signal = one("alertmanager", alert, {"ttl": "1d"}, at=at)
        posture = fold(posture, signal)
        assert signal.expires_at == at + timedelta(days=1)
    (finding,) = posture.findings.values()
    assert finding.is_open
    assert finding.expires_at == later + timedelta(days=1)
    over = firing(status="resolved", endsAt="2026-03-03T08:00:30Z")
    closed = fold(posture, one("alertmanager", {"alerts": [over]}, {"ttl": "1d"}, at=later))
    assert [each.is_open for each in closed.findings.values()] == [False]


def test_alertmanager_alert_of_the_api_lasts_as_long_as_it_is_listed():
    """Each poll finds a later `endsAt`: it is a new statement, no duplicate of the first."""
    polls = [
        firing(status={"state": "active"}, endsAt=f"2026-03-02T12:0{minute}:00Z", updatedAt="x")
        for minute in (4, 8)
    ]
    first, second = (one("alertmanager", poll) for poll in polls)
    assert first.event_id != second.event_id
    assert (second.external_id, second.expires_at) == (first.external_id, RECEIVED + timedelta(minutes=8))


@pytest.mark.parametrize(
    ("labels", "code"),
    [
        ({"device": "eth0", "instance": "10.0.0.1:9100"}, "no-subject"),
        ({"pod": "shop-1", "namespace": "shop"}, "no-subject"),
        ({}, "no-device"),
    ],
)
def test_alertmanager_alert_without_a_device_of_ours(labels, code):
    """A disk, a network card or a pod is no device; what names nothing at all is the fault of its rule."""
    alert = firing(labels={"alertname": "x", "severity": "high"} | labels)
    assert [each.code for each in read("alertmanager", {"alerts": [alert]}).rejections] == [code]


def test_alertmanager_tells_of_what_it_left_out():
    read_ = read("alertmanager", {"alerts": [firing()], "truncatedAlerts": 2})
    assert (len(read_.signals), read_.items) == (1, 2)
    (rejection,) = read_.rejections
    assert (rejection.index, rejection.code) == (1, "alerts-left-out")


def test_falco_snapshot_of_its_metrics_is_no_sign_of_anything():
    """It comes every few minutes from a Falco that is well; dropped system calls are another rule."""
    snapshot = one("falco", sample("falco", "metrics-snapshot"))
    assert (snapshot.type, snapshot.facts, snapshot.level) == (SignalType.HEARTBEAT, {}, None)
    dropped = sample("falco", "metrics-snapshot") | {"rule": "Falco internal: syscall event drop"}
    assert one("falco", dropped).facts == {"sensor_degraded": True}


def test_falco_never_blames_the_host_that_reads_a_stream():
    event = sample("falco", "bare-event") | {"output_fields": {"ka.user.name": "robin@example.com"}}
    assert one("falco", event).device_ids
    audited = one("falco", event | {"source": "k8s_audit"})
    assert (audited.device_ids, [each.value for each in audited.user_ids]) == ((), ["robin@example.com"])


DEVICE = {"device": [{"kind": "serial", "path": "sn"}]}


def test_generic_needs_no_more_than_a_device():
    signal = one("generic", {"sn": "S1"}, DEVICE)
    assert (signal.type, signal.level, signal.observed_at) == (SignalType.HEARTBEAT, None, RECEIVED)


@pytest.mark.parametrize(
    ("word", "severity"),
    [
        ("HIGH", "high"),
        ("Moderate", "medium"),
        ("info", "informational"),
        ("ok", "none"),
        (None, "unknown"),
        (3, "unknown"),
        ({}, "unknown"),
    ],
)
def test_generic_words_without_a_table(word, severity):
    assert one("generic", {"sn": "S1", "l": word}, DEVICE | {"level": {"path": "l"}}).level == severity


@pytest.mark.parametrize(
    ("value", "severity"),
    [(5, "critical"), (5.0, "critical"), ("5", "critical"), (True, "high"), ("high", "low"), (None, "low")],
)
def test_generic_table(value, severity):
    """With a table only the table counts: `high` may mean something else there."""
    level = {"path": "l", "table": {"5": "critical", "true": "high"}, "default": "low"}
    assert one("generic", {"sn": "S1", "l": value}, DEVICE | {"level": level}).level == severity


@pytest.mark.parametrize(
    ("score", "severity"),
    [(-1, "unknown"), (0, "none"), ("39.9", "none"), (40, "medium"), (1e9, "high"), ("x", "unknown")],
)
def test_generic_ranges(score, severity):
    ranges = [
        {"at_least": 70, "level": "high"},
        {"at_least": 0, "level": "none"},
        {"at_least": 40, "level": "medium"},
    ]
    assert (
        one("generic", {"sn": "S1", "l": score}, DEVICE | {"level": {"path": "l", "ranges": ranges}}).level
        == severity
    )


def test_generic_reads_the_whole_payload_and_literals():
    options = DEVICE | {
        "items": "rows",
        "title": "$.product.name",
        "description": {"value": "always this"},
        "why": {"path": ["nothing", "sn"]},
        "category": {"path": "nothing", "value": "fallback"},
        "actions": ["steps[*]", {"value": "Call us"}],
        "level": {"path": {"value": "high"}},
    }
    signal = one(
        "generic", {"product": {"name": "Acme"}, "rows": [{"sn": "S1", "steps": ["a", "b", 3]}]}, options
    )
    assert (signal.title, signal.description, signal.rationale, signal.category) == (
        "Acme",
        "always this",
        "S1",
        "fallback",
    )
    assert signal.recommended_actions == ("a", "b", "3", "Call us")
    assert signal.level is Severity.HIGH


def test_generic_type_from_the_payload():
    options = DEVICE | {"type": {"path": "t", "table": {"Vuln": "exposure"}}}
    assert one("generic", {"sn": "S1", "t": "vuln"}, options).type is SignalType.EXPOSURE
    (rejection,) = read("generic", {"sn": "S1", "t": "?"}, options).rejections
    assert rejection.code == "type-unknown"


def test_generic_message_ids():
    options = DEVICE | {"observed_at": "t"}
    timed = {"sn": "S1", "t": "2026-03-02T09:00:00Z"}
    later = RECEIVED + timedelta(hours=1)
    assert one("generic", timed, options).event_id == one("generic", timed, options, at=later).event_id
    untimed = {"sn": "S1"}
    assert one("generic", untimed, options).event_id != one("generic", untimed, options, at=later).event_id
    headers = {"webhook-id": "m1"}
    ids = {one("generic", untimed, options, at=at, headers=headers).event_id for at in (RECEIVED, later)}
    assert ids == {"m1#0"}
    assert one("generic", {"sn": "S1", "e": 7}, DEVICE | {"event_id": "e"}, headers=headers).event_id == "7"


def test_generic_gives_each_sensors_numbers_its_own_name():
    options = {"device": [{"kind": "sensor-device-id", "path": "id"}, {"kind": "serial", "path": "sn"}]}
    assert [each.issuer for each in one("generic", {"id": 7, "sn": "S1"}, options).device_ids] == ["s", ""]


def test_generic_reads_a_list_at_any_depth():
    options = DEVICE | {"items": "groups[*].hosts[*]"}
    payload = {"groups": [{"hosts": [{"sn": "S1"}]}, {"hosts": [{"sn": "S2"}, {"sn": "S3"}]}]}
    assert [each.device_ids[0].value for each in read("generic", payload, options).signals] == [
        "S1",
        "S2",
        "S3",
    ]


def test_generic_close_keeps_no_severity_and_never_expires():
    options = DEVICE | {
        "level": {"path": "l"},
        "expires_after": "1h",
        "resolves": {"path": "open", "equals": [False]},
    }
    closing = one("generic", {"sn": "S1", "l": "high", "open": False}, options)
    assert (closing.type, closing.level, closing.expires_at, closing.resolves) == (
        SignalType.REMEDIATION,
        None,
        None,
        True,
    )
    opening = one("generic", {"sn": "S1", "l": "high", "open": True}, options)
    assert (opening.external_id, opening.expires_at) == (closing.external_id, RECEIVED + timedelta(hours=1))


def test_our_own_words_for_a_type_need_no_table() -> None:
    """And a report of facts without a severity opens no finding, although other items of the mapping have one."""
    options = FACADES["generic"].parse_options(
        {
            "device": [{"kind": "serial", "path": "serial"}],
            "type": {"path": "kind"},
            "level": {"path": "severity"},
            "facts": {"disk_encrypted": "disk"},
        },
    )
    items = [
        {"serial": "A1", "kind": "posture-fact", "disk": True},
        {"serial": "A1", "kind": "detection"},
        {"serial": "A1", "kind": "Detection", "severity": "high"},
    ]
    made = FACADES["generic"].normalize(items, options, sensor="edr", received_at=RECEIVED, headers={})
    assert [(signal.type.value, signal.level) for signal in made.signals] == [
        ("posture-fact", None),
        ("detection", "unknown"),
        ("detection", "high"),
    ]


def test_generic_items_have_their_own_numbers_and_places_however_many_there_are():
    """Items are read some at a time, and what is shown of where their fields stood is shared where it is equal."""
    options = FACADES["generic"].parse_options(
        {
            "items": "hosts",
            "device": [{"kind": "serial", "path": ["serial", "other.serial"]}],
            "event_id": {"path": "id", "value": "none"},
            "ignore": {"path": "test", "equals": [True]},
            "facts": {"disk": "disk"},
        },
    )
    hosts = [{"serial": f"S{number}", "id": number, "disk": True} for number in range(40)]
    hosts[17] = {"id": 17}
    hosts[18] = {"other": {"serial": "S18"}, "disk": None}
    hosts[33] = {"serial": "S33", "test": True}
    made = FACADES["generic"].normalize(
        [{"hosts": hosts}, {"hosts": hosts[:1]}], options, sensor="edr", received_at=RECEIVED, headers={}
    )
    assert made.origins == (*range(17), *range(18, 33), *range(34, 40), 40)
    assert [(each.index, each.code) for each in made.rejections] == [(17, "no-device")]
    assert (made.ignored, made.items) == (1, 41)
    assert [signal.device_ids[0].value for signal in made.signals[16:19]] == ["S16", "S18", "S19"]
    assert made.sources[0] == {"device.serial": "serial", "event_id": "id", "facts.disk": "disk"}
    assert made.sources[0] is made.sources[20]
    assert made.sources[17] == {"device.serial": "other.serial", "event_id": "literal 'none'"}
    assert made.signals[17].facts == {"disk": None}
