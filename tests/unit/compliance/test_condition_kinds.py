"""Each kind of condition: when it holds, when not, when it is not known, and when time changes that."""

# ruff: noqa: FBT003 - a fact is a name and a value

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from compliance.conditions import KINDS
from compliance.device_facts import normal_platform
from compliance.evaluate import decide
from compliance.model import (
    AccessContext,
    AccessPolicy,
    Binding,
    ClaimCondition,
    ClientKind,
    ComplianceResult,
    ComplianceState,
    Conditions,
    FactCondition,
    FactState,
    FactStateCondition,
    FindingCondition,
    Outcome,
    RequestFacts,
    SensorCondition,
    SensorState,
    TimeWindow,
    User,
)
from risk.model import (
    Fact,
    Finding,
    Posture,
    RiskAssessment,
    RiskLevel,
    SensorRules,
    Severity,
    SignalType,
)

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)  # a Monday
HOUR = timedelta(hours=1)
SENSORS = {"edr": SensorRules(name="edr", max_silence_s=7200.0), "mdm": SensorRules(name="mdm")}


def fact(name: str, value: object, *, age: timedelta = HOUR, sensor: str = "edr") -> Fact:
    return Fact(name=name, sensor=sensor, value=value, observed_at=NOW - age, received_at=NOW - age)


def finding(category: str = "malware", level: Severity = Severity.HIGH, *, is_open: bool = True) -> Finding:
    at = NOW - HOUR
    return Finding(
        sensor="edr", external_id=category, type=SignalType.DETECTION, level=level, is_open=is_open,
        observed_at=at, received_at=at, first_observed_at=at, category=category,
    )  # fmt: skip


def posture(*facts: Fact, findings: tuple[Finding, ...] = (), heard: timedelta = HOUR) -> Posture:
    return Posture(
        device_id="dev_1",
        facts={(each.sensor, each.name): each for each in facts},
        findings={(each.sensor, each.external_id): each for each in findings},
        heard={"edr": NOW - heard},
    )


def context(device: Posture | None = None, **changes: object) -> AccessContext:
    user = User(
        provider="idp", issuer="https://idp", subject="u1", auth_at=NOW - HOUR, claims={"dept": ("it", "ops")}
    )
    base = AccessContext(
        app="wiki",
        user=user,
        now=NOW,
        device_id=None if device is None else device.device_id,
        device_name="",
        device_source="",
        risk=RiskAssessment(level=RiskLevel.NONE, is_known=True),
        compliance=ComplianceResult(state=ComplianceState.COMPLIANT, results=()),
        posture=device,
        sensors=SENSORS,
        binding=Binding.NONE if device is None else Binding.CLAIM,
    )
    return msgspec.structs.replace(base, **changes)


MAC = posture(
    fact("os_name", "macOS 15"), fact("ownership", "BYOD"), fact("tag.kiosk", True), fact("tags", "lab, x")
)
SICK = posture(findings=(finding("malware, c2"), finding("policy", Severity.LOW)))
SILENT = posture(fact("disk", True, age=3 * HOUR), findings=(finding(is_open=False),), heard=3 * HOUR)
UNSURE = RiskAssessment(level=RiskLevel.NONE, is_known=False)
UNTOLD = RiskAssessment(level=RiskLevel.UNKNOWN, is_known=False)
KNOWN_HIGH = RiskAssessment(level=RiskLevel.HIGH, is_known=True)
EXPIRED = msgspec.structs.replace(fact("disk", True), expires_at=NOW)


def state_of(name: str, state: FactState, max_age: float | None = None) -> FactStateCondition:
    return FactStateCondition(fact=name, states=(state,), max_age=max_age)


OFFICE = TimeWindow(days=("mon", "fri"), start="09:00", end="17:00", zone="Europe/Berlin")
NIGHT = TimeWindow(days=("sun",), start="22:00", end="11:00", zone="UTC")

CASES = [
    ("binding", (Binding.CLAIM,), context(MAC), True),
    ("binding", (Binding.CERTIFICATE,), context(MAC), False),
    ("binding", (Binding.NONE,), context(), True),
    ("platforms", ("macos",), context(MAC), True),
    ("platforms", ("windows", "linux"), context(MAC), False),
    ("platforms", ("macos",), context(), None),
    ("platforms", ("macos",), context(posture()), None),
    ("not_platforms", ("windows",), context(MAC), True),
    ("not_platforms", ("windows",), context(posture()), None),
    ("ownership", ("personal",), context(MAC), True),
    ("ownership", ("corporate",), context(MAC), False),
    ("ownership", ("corporate",), context(posture()), None),
    ("tags", ("kiosk",), context(MAC), True),
    ("tags", ("lab", "y"), context(MAC), True),
    ("tags", ("office",), context(MAC), False),
    ("tags", ("kiosk",), context(), None),
    ("not_tags", ("kiosk",), context(MAC), False),
    ("findings", (FindingCondition(category="C2"),), context(SICK), True),
    ("findings", (FindingCondition(category="phishing"),), context(SICK), False),
    ("findings", (FindingCondition(at_least=Severity.CRITICAL),), context(SICK), False),
    ("findings", (FindingCondition(at_least=Severity.HIGH, sensor="edr"),), context(SICK), True),
    ("findings", (FindingCondition(sensor="mdm"),), context(SICK), False),
    ("findings", (FindingCondition(category="malware"),), context(SILENT), False),
    ("findings", (FindingCondition(category="malware"),), context(SILENT, risk=UNSURE), None),
    ("findings", (FindingCondition(older_than=3600.0),), context(SICK), True),
    ("findings", (FindingCondition(older_than=3601.0),), context(SICK), False),
    ("findings", (FindingCondition(sensor="edr"),), context(), None),
    ("not_findings", (FindingCondition(category="c2"),), context(SICK), False),
    ("facts", (FactCondition(fact="disk", equals=True),), context(posture(fact("disk", True))), True),
    ("facts", (FactCondition(fact="disk", equals=True),), context(posture(fact("disk", False))), False),
    ("facts", (FactCondition(fact="disk", equals=True),), context(posture(fact("disk", "true"))), None),
    ("facts", (FactCondition(fact="disk", equals=True),), context(SILENT), None),
    (
        "facts",
        (FactCondition(fact="disk", equals=True, max_age=60.0),),
        context(posture(fact("disk", True))),
        None,
    ),
    ("facts", (FactCondition(fact="os", at_least="14.10"),), context(posture(fact("os", "14.9"))), False),
    ("facts", (FactCondition(fact="os", below="14.10"),), context(posture(fact("os", "14.9"))), True),
    ("facts", (FactCondition(fact="n", min=1, max=3),), context(posture(fact("n", 3))), True),
    ("facts", (FactCondition(fact="n", max=2),), context(posture(fact("n", 3))), False),
    ("facts", (FactCondition(fact="n", max=2),), context(posture(fact("n", "3"))), None),
    (
        "facts",
        (FactCondition(fact="at", newer_than=86400.0),),
        context(posture(fact("at", "2026-11-22T12:00Z"))),
        True,
    ),
    (
        "facts",
        (FactCondition(fact="at", newer_than=86400.0),),
        context(posture(fact("at", "2026-11-01"))),
        False,
    ),
    ("facts", (FactCondition(fact="ch", not_one_of=("beta",)),), context(posture(fact("ch", "beta"))), False),
    (
        "facts",
        (FactCondition(fact="disk", equals=True), FactCondition(fact="none", equals=True)),
        context(posture(fact("disk", True))),
        None,
    ),
    ("sensors", (SensorCondition(sensor="edr", states=(SensorState.HEARD,)),), context(MAC), True),
    ("sensors", (SensorCondition(sensor="edr", states=(SensorState.SILENT,)),), context(SILENT), True),
    ("sensors", (SensorCondition(sensor="mdm", states=(SensorState.NEVER,)),), context(MAC), True),
    ("sensors", (SensorCondition(sensor="edr", states=(SensorState.HEARD,)),), context(SILENT), False),
    ("sensors", (SensorCondition(sensor="edr", states=(SensorState.HEARD,)),), context(), None),
    ("times", (OFFICE,), context(), True),
    ("times", (OFFICE,), context(now=NOW + 6 * HOUR), False),
    ("times", (OFFICE,), context(now=NOW + timedelta(days=1)), False),
    ("times", (NIGHT,), context(), True),
    ("times", (NIGHT,), context(now=NOW + HOUR), False),
    ("not_times", (OFFICE,), context(), False),
    ("claims", (ClaimCondition(claim="dept", one_of=("ops",)),), context(), True),
    ("claims", (ClaimCondition(claim="dept", one_of=("hr",)),), context(), False),
    ("claims", (ClaimCondition(claim="level", one_of=("1",)),), context(), None),
    (
        "user_risk",
        (RiskLevel.HIGH,),
        context(user_risk=RiskAssessment(level=RiskLevel.HIGH, is_known=True)),
        True,
    ),
    (
        "user_risk",
        (RiskLevel.HIGH,),
        context(user_risk=RiskAssessment(level=RiskLevel.LOW, is_known=True)),
        False,
    ),
    (
        "user_risk",
        (RiskLevel.LOW,),
        context(user_risk=RiskAssessment(level=RiskLevel.LOW, is_known=False)),
        None,
    ),
    ("user_risk", (RiskLevel.NONE, RiskLevel.LOW), context(), False),
    ("user_risk", (RiskLevel.UNKNOWN,), context(), True),
    ("session_risk", (RiskLevel.HIGH,), context(session_risk=KNOWN_HIGH), True),
    ("session_risk", (RiskLevel.NONE,), context(session_risk=KNOWN_HIGH), False),
    ("session_risk", (RiskLevel.NONE,), context(session_risk=UNSURE), None),
    ("session_risk", (RiskLevel.UNKNOWN,), context(), True),
    ("worst_risk", (RiskLevel.NONE,), context(), True),
    ("worst_risk", (RiskLevel.HIGH,), context(session_risk=KNOWN_HIGH), True),
    ("worst_risk", (RiskLevel.NONE, RiskLevel.LOW), context(user_risk=KNOWN_HIGH), False),
    ("worst_risk", (RiskLevel.NONE,), context(user_risk=UNSURE), None),
    ("worst_risk", (RiskLevel.HIGH,), context(risk=UNTOLD, user_risk=KNOWN_HIGH), None),
    ("worst_risk", (RiskLevel.UNKNOWN,), context(risk=UNTOLD), True),
    ("hosts", ("*.corp.example",), context(host="wiki.corp.example"), True),
    ("hosts", ("Wiki.corp.example.",), context(host="wiki.corp.example"), True),
    ("hosts", ("*.corp.example",), context(host="a.b.corp.example"), False),
    ("hosts", ("*.corp.example",), context(), None),
    ("not_hosts", ("*.corp.example",), context(host="wiki.corp.example"), False),
    ("fact_states", (state_of("disk", FactState.FRESH),), context(posture(fact("disk", False))), True),
    (
        "fact_states",
        (state_of("disk", FactState.STALE, 3600.0),),
        context(posture(fact("disk", False))),
        True,
    ),
    (
        "fact_states",
        (state_of("disk", FactState.FRESH, 3600.0),),
        context(posture(fact("disk", False))),
        False,
    ),
    ("fact_states", (state_of("disk", FactState.SILENT),), context(SILENT), True),
    ("fact_states", (state_of("disk", FactState.STALE),), context(posture(EXPIRED)), True),
    ("fact_states", (state_of("disk", FactState.NEVER),), context(MAC), True),
    ("fact_states", (state_of("disk", FactState.NEVER),), context(), None),
    ("auth_within", 3601.0, context(), True),
    ("auth_within", 3600.0, context(), False),
    ("auth_within", 60.0, context(user=User(provider="idp", issuer="i", subject="u")), None),
]


@pytest.mark.parametrize(("key", "value", "given", "expected"), CASES)
def test_when_it_holds(key: str, value: object, given: AccessContext, expected: bool | None) -> None:
    assert KINDS[key].holds(value, given) is expected
    assert KINDS[key].seen(given)


def test_every_kind_is_tried() -> None:
    assert {key for key, _, _, _ in CASES} | {"not_times"} == set(KINDS)


@pytest.mark.parametrize(("key", "value", "given", "expected"), CASES)
def test_what_is_not_known_limits_and_never_allows(
    key: str, value: object, given: AccessContext, expected: bool | None
) -> None:
    when = Conditions(**{key: value})
    request = RequestFacts("GET", "/", ClientKind.BROWSER, frozenset())
    allow = AccessPolicy(name="a", decision=Outcome.ALLOW, when=when)
    block = AccessPolicy(name="b", decision=Outcome.BLOCK, when=when)
    assert decide([allow], given, request)[1][0].matched is (expected is True)
    assert decide([block], given, request)[1][0].matched is (expected is not False)


@pytest.mark.parametrize(
    ("key", "value", "given", "moment"),
    [
        ("times", (OFFICE,), context(), NOW + 6 * HOUR),
        ("times", (NIGHT,), context(), NOW + HOUR),
        ("findings", (FindingCondition(older_than=7200.0),), context(SICK), NOW + HOUR),
        ("facts", (FactCondition(fact="disk", equals=True, max_age=5400.0),), context(posture(fact("disk", True))),
         NOW + HOUR / 2),
        ("sensors", (SensorCondition(sensor="edr", states=(SensorState.HEARD,)),), context(MAC), NOW + HOUR),
        ("platforms", ("macos",), context(MAC), NOW + HOUR),
        ("auth_within", 7200.0, context(), NOW + HOUR),
    ],
)  # fmt: skip
def test_when_time_changes_it(key: str, value: object, given: AccessContext, moment: datetime) -> None:
    assert moment in KINDS[key].moments(value, given)
    at = [msgspec.structs.replace(given, now=each) for each in (moment - timedelta(microseconds=1), moment)]
    assert KINDS[key].holds(value, at[0]) != KINDS[key].holds(value, at[1])


def test_daylight_saving_moves_windows_as_clocks_do() -> None:
    """On 29 March 2026 Berlin goes from UTC+1 to UTC+2 in the night: nine o'clock stays nine o'clock."""
    window = (TimeWindow(start="09:00", end="17:00", zone="Europe/Berlin"),)
    before, after = datetime(2026, 3, 28, 8, tzinfo=UTC), datetime(2026, 3, 29, 7, tzinfo=UTC)
    assert KINDS["times"].holds(window, context(now=before))
    assert KINDS["times"].holds(window, context(now=after))
    assert not KINDS["times"].holds(window, context(now=after - timedelta(seconds=1)))


@pytest.mark.parametrize(
    ("word", "platform"),
    [
        ("darwin", "macos"), ("Mac OS X 10.15", "macos"), ("Windows", "windows"), ("ubuntu", "linux"),
        ("iPadOS", "ios"),
        ("iOS 17.1", "ios"), ("Android 14", "android"), ("Chrome OS", "chromeos"), ("Solaris", None), ("", None),
    ],
)  # fmt: skip
def test_platform_words(word: str, platform: str | None) -> None:
    assert normal_platform(word) == platform
