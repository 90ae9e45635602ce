"""From what somebody supposes to the context that the gateway would decide on. Pure.

The posture that the given facts describe goes through `situation`, as any device's does; what is given as a result
(`compliance`, `risk`) then replaces what came of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import msgspec

from compliance.evaluate import decide
from compliance.model import (
    AccessContext,
    AccessPolicy,
    CompliancePolicy,
    ComplianceResult,
    Decision,
    PolicyTrace,
    RequestFacts,
    User,
)
from compliance.policy_tests import DEFAULT_MOMENT, Given, GivenFinding
from compliance.state import supposed_failing
from compliance.texts import duration_text
from gateway.config.schema import App, Config
from gateway.decision.context import DeviceEvidence, situation
from gateway.decision.judge import Interpretation
from gateway.decision.routing import NamedNetworks
from risk.builtin import RULES as BUILT_IN
from risk.model import (
    DeviceId,
    Fact,
    Finding,
    Identifier,
    Posture,
    RiskAssessment,
    SensorRules,
    SignalType,
)
from risk.users import UserId

DEVICE = DeviceId("dev_hypothetical")
SENSOR = "hypothetical-sensor"
"""Reports what is given where the configuration has no sensor."""

MUTE = "silent-sensor"
"""Told the facts that are said to be silent, long ago."""

_IDENTIFIER = Identifier("device-id", "hypothetical")


class Meaning(Protocol):
    """What of a configuration in force is needed to decide: `gateway.hub.runtime.Runtime` has it."""

    @property
    def config(self) -> Config:
        """The configuration itself."""
        ...

    @property
    def networks(self) -> NamedNetworks:
        """The named networks."""
        ...

    @property
    def interpretation(self) -> Interpretation:
        """How posture is interpreted."""
        ...

    @property
    def places(self) -> Mapping[str, str]:
        """Where access policies stand, by name."""
        ...

    def app(self, name: str) -> App | None:
        """Return the app of this name, or None."""
        ...

    def host_of(self, app: str) -> str:
        """Return the host name of an app, "" for one that has several."""
        ...

    def policies_of(self, app: str) -> tuple[AccessPolicy, ...]:
        """Return the access policies that can apply to an app."""
        ...


class Supposed(msgspec.Struct, frozen=True):
    """A hypothetical request with what it comes to."""

    context: AccessContext
    request: RequestFacts
    decision: Decision
    traces: tuple[PolicyTrace, ...]


class _OneDevice:
    """A posture source that knows one device, or none, and what is known of one person."""

    def __init__(self, posture: Posture | None, person: Posture | None) -> None:
        self._posture = posture
        self._person = person

    def resolve(self, identifiers: Sequence[Identifier]) -> DeviceId | None:
        """Return the device that is supposed."""
        return self._posture.device_id if self._posture is not None and identifiers else None

    def posture(self, device_id: DeviceId) -> Posture | None:
        """Return its posture."""
        return self._posture if self._posture is not None and device_id == self._posture.device_id else None

    def user(self, identifiers: Sequence[Identifier]) -> tuple[tuple[UserId, ...], Posture | None]:
        """Return what is known of the person; of the session nothing is: a supposed risk is given, not worked out."""
        is_session = any(each.kind == "session" for each in identifiers)
        return (), None if is_session else self._person


class Real(msgspec.Struct, frozen=True, kw_only=True):
    """What is really so, to which a hypothesis adds: a device, a signed-in person, and what is known of them."""

    posture: Posture | None = None
    user: User | None = None
    person: Posture | None = None


NOTHING_REAL = Real()


def suppose(given: Given, meaning: Meaning, *, real: Real = NOTHING_REAL) -> Supposed:
    """Return what the configuration decides about a hypothetical request; its app must be configured.

    `real` is what the given facts are added to. Raises `ValueError` for an app that there is not, and for an `at` that
    is no instant.
    """
    context, request = supposed_facts(given, meaning, real=real)
    decision, traces = decide(meaning.policies_of(given.app), context, request)
    return Supposed(context, request, decision, traces)


def supposed_facts(
    given: Given, meaning: Meaning, *, real: Real = NOTHING_REAL
) -> tuple[AccessContext, RequestFacts]:
    """Return the context and the request that a hypothesis describes. Raises as `suppose` does."""
    app = meaning.app(given.app)
    if app is None:
        raise ValueError(f"no app is named `{given.app}`")
    now = moment(given.at)
    sensors = _sensors(meaning)
    told = _posture(given, real.posture, sensors, now)
    interpretation = msgspec.structs.replace(meaning.interpretation, sensors=sensors)
    facts = situation(
        app=given.app,
        session_id="hypothetical",
        user=real.user or _user(given, app, meaning.config, now),
        evidence=_evidence(given, told),
        source=_OneDevice(told, real.person),
        interpretation=interpretation,
        now=now,
        host=_host(given, app),
    )
    results = _with_results(facts.context, given, interpretation.policies)
    return results, request_of(given, meaning.networks)


def moment(text: str | None) -> datetime:
    """Return the instant of an RFC 3339 text, the default for None. Raises `ValueError`."""
    if text is None:
        return DEFAULT_MOMENT
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError("the time needs an offset, such as `Z` or `+01:00`")
    return at.astimezone(UTC)


def request_of(given: Given, networks: NamedNetworks) -> RequestFacts:
    """Return what only the request knows."""
    inside = networks.containing_text(given.address or "", given.country)
    return RequestFacts(
        method=given.method,
        path=given.path,
        client=given.client,
        networks=inside | frozenset(given.networks),
    )


def _host(given: Given, app: App) -> str:
    if given.host is not None:
        return given.host.lower().rstrip(".")
    return "" if app.host.startswith("*.") else app.host.lower().rstrip(".")


def _user(given: Given, app: App, config: Config, now: datetime) -> User:
    wanted = given.provider or app.provider
    provider = next((each for each in config.providers if each.name == wanted), config.providers[0])
    claims = {
        name: value if isinstance(value, tuple) else (_claim_text(value),)
        for name, value in given.claims.items()
    }
    email = given.email if given.email_verified else ""
    is_service = given.service is not None
    subject = given.user if given.service is None else given.service
    return User(
        provider=provider.name,
        issuer=provider.issuer,
        subject=subject,
        name=subject,
        email="" if is_service else given.email,
        names=frozenset() if is_service else frozenset(each for each in (subject, email) if each),
        is_service=is_service,
        roles=frozenset(given.roles or ()),
        are_roles_known=is_service or given.roles is not None,
        groups=frozenset(given.groups or ()),
        are_groups_known=is_service or given.groups is not None,
        acr=given.acr,
        amr=given.amr,
        auth_at=None if given.signed_in is None else now - timedelta(seconds=given.signed_in),
        claims=claims,
    )


def _claim_text(value: str | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _evidence(given: Given, posture: Posture | None) -> tuple[DeviceEvidence, ...]:
    if posture is None:
        return ()
    identifiers = posture.identifiers or (_IDENTIFIER,)
    is_proof = given.binding == "certificate"
    return (DeviceEvidence(source="what is supposed", identifiers=identifiers, is_proof=is_proof),)


def told(given: Given) -> str:
    """Return a hypothetical request in one line, what is said of it only: for people."""
    usual = Given(app=given.app)
    said = []
    for name in Given.__struct_fields__:
        value = getattr(given, name)
        if name not in {"app", "method", "path"} and value != getattr(usual, name):
            said.append(f"{name} {_value_text(value)}")
    return f"{given.method} {given.path} of {given.app}" + (f" with {', '.join(said)}" if said else "")


def _value_text(value: Any) -> str:  # noqa: PLR0911 - one line a type
    match value:
        case None:
            return "not told"
        case True | False:
            return "yes" if value else "no"
        case dict():
            return " and ".join(f"{name}={_value_text(each)}" for name, each in value.items())
        case tuple():
            return " and ".join(_value_text(each) for each in value) or "none"
        case GivenFinding():
            return " ".join(part for part in (value.severity, value.category, value.sensor) if part)
        case float():
            return duration_text(value) if value >= 1 else f"{value:g}"
        case _:
            return str(value)


def is_device_known(given: Given) -> bool:
    """Return whether anything that is given says which device it is."""
    if given.device is not None:
        return given.device == "known"
    told = (given.facts, given.findings, given.heard, given.tags, given.silent_facts, given.expired_facts)
    said = (*told, given.device_name, given.failing)
    results = (given.platform, given.ownership, given.binding, given.compliance, given.risk)
    return any(said) or any(each is not None for each in results)


def _sensors(meaning: Meaning) -> dict[str, SensorRules]:
    """Return the sensors, first one that can tell of a device by itself."""
    known = dict(meaning.interpretation.sensors)
    witnesses = {name: rules for name, rules in known.items() if name not in BUILT_IN}
    mute = SensorRules(name=MUTE, max_silence_s=1.0)
    return {**(witnesses or {SENSOR: SensorRules(name=SENSOR)}), **known, MUTE: mute}


def _posture(
    given: Given, real: Posture | None, sensors: Mapping[str, SensorRules], now: datetime
) -> Posture | None:
    """Return the posture that is described, on top of a real one; None when the device is not known."""
    if given.device == "unknown" or (real is None and not is_device_known(given)):
        return None
    base = real or Posture(device_id=DEVICE, name="supposed device", identifiers=(_IDENTIFIER,))
    sensor = given.facts_from or next(iter(sensors))
    heard = {name: now - timedelta(seconds=age) for name, age in given.heard.items()}
    facts = [*_facts(given, sensor, now), *_lost_facts(given, sensor, now)]
    findings = [_finding(at, each, sensor, now) for at, each in enumerate(given.findings)]
    spoke = {sensor: now - timedelta(seconds=given.facts_age)} if facts else {}
    spoke |= {each.sensor: now for each in findings}
    spoke |= {MUTE: now - timedelta(days=1)} if given.silent_facts else {}
    return msgspec.structs.replace(
        base,
        name=given.device_name or base.name,
        facts={
            **_without(base.facts, {fact.name for fact in facts}),
            **{(f.sensor, f.name): f for f in facts},
        },
        findings={**base.findings, **{(each.sensor, each.external_id): each for each in findings}},
        heard={**base.heard, **spoke, **heard},
    )


def _without(facts: Mapping[tuple[str, str], Fact], names: set[str]) -> dict[tuple[str, str], Fact]:
    return {key: fact for key, fact in facts.items() if fact.name not in names}


def _facts(given: Given, sensor: str, now: datetime) -> list[Fact]:
    at = now - timedelta(seconds=given.facts_age)
    told: dict[str, str | int | float | bool] = {}
    if given.platform is not None:
        told["platform"] = given.platform
    if given.ownership is not None:
        told["ownership"] = given.ownership
    told |= {f"tag.{tag}": True for tag in given.tags}
    told |= given.facts
    observed = {name: now - timedelta(seconds=age) for name, age in given.fact_ages.items()}
    return [
        Fact(name=name, sensor=sensor, value=value, observed_at=observed.get(name, at), received_at=at)
        for name, value in told.items()
    ]


def _lost_facts(given: Given, sensor: str, now: datetime) -> Iterator[Fact]:
    """Yield facts that were told and say nothing any more."""
    at = now - timedelta(days=1)
    for name in given.silent_facts:
        yield Fact(name=name, sensor=MUTE, value=True, observed_at=at, received_at=at)
    for name in given.expired_facts:
        yield Fact(name=name, sensor=sensor, value=True, observed_at=at, received_at=at, expires_at=at)


def _finding(number: int, given: GivenFinding, sensor: str, now: datetime) -> Finding:
    at = now - timedelta(seconds=given.age)
    return Finding(
        sensor=given.sensor or sensor,
        external_id=f"supposed-{number}",
        type=SignalType.DETECTION,
        level=given.severity,
        is_open=True,
        observed_at=at,
        received_at=at,
        first_observed_at=at,
        title=given.title,
        category=given.category,
    )


def _with_results(
    context: AccessContext, given: Given, policies: Sequence[CompliancePolicy]
) -> AccessContext:
    """Return the context with the results that are given in place of those that came of the facts."""
    risk = context.risk
    if given.risk is not None:
        risk = RiskAssessment(level=given.risk, is_known=given.risk != "unknown")
    if given.silent:
        risk = msgspec.structs.replace(
            risk, is_known=False, silent_sensors=risk.silent_sensors or ("supposed",)
        )
    compliance = context.compliance
    if given.compliance is not None:
        compliance = ComplianceResult(state=given.compliance, results=())
    if given.failing:
        compliance = supposed_failing(compliance, policies, given.failing, context.now)
    if given.compliance is not None:
        compliance = msgspec.structs.replace(compliance, state=given.compliance)
    more: dict[str, Any] = {}
    if given.user_risk is not None:
        is_known = given.user_risk != "unknown" and not given.user_silent
        more["user_risk"] = RiskAssessment(level=given.user_risk, is_known=is_known)
    if given.session_risk is not None:
        is_known = given.session_risk != "unknown" and not given.session_silent
        more["session_risk"] = RiskAssessment(level=given.session_risk, is_known=is_known)
    return msgspec.structs.replace(context, risk=risk, compliance=compliance, **more)
