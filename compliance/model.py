"""The vocabulary of what it means: compliance policies and states, access policies, requests and decisions.

Frozen values, no I/O, no clock. The configuration is decoded straight into the `*Policy` types, so the YAML
keys are these field names with `-` for `_` in values only, never in keys.
"""

from datetime import datetime
from enum import StrEnum
from typing import Literal

import msgspec

from risk.model import RiskAssessment, RiskLevel
from risk.values import Duration, Strict


class ComplianceState(StrEnum):
    """Compliance state of a device.

    The worst of all rules wins: noncompliant, unknown, in grace, compliant.

    `UNKNOWN` satisfies nothing: no policy may take it for compliant. Noncompliant is worse because it is
    certain.
    """

    COMPLIANT = "compliant"
    IN_GRACE_PERIOD = "in-grace-period"
    NONCOMPLIANT = "noncompliant"
    UNKNOWN = "unknown"


class Outcome(StrEnum):
    """Outcome of an access decision, least strict first; the strictest of all matching policies wins."""

    ALLOW = "allow"
    RESTRICT = "restrict"
    STEP_UP = "step-up"
    REMEDIATE = "remediate"
    BLOCK = "block"


STRICTNESS: dict[Outcome, int] = {outcome: rank for rank, outcome in enumerate(Outcome)}


class SessionControl(StrEnum):
    """How a session that is let in is limited. Controls of all matching policies add up."""

    READ_ONLY = "read-only"
    NO_DOWNLOADS = "no-downloads"
    NO_UPLOADS = "no-uploads"
    NO_WEBSOCKET = "no-websocket"
    NO_STORE = "no-store"


class ClientKind(StrEnum):
    """What kind of client sent the request, by fetch metadata, `Accept` and `Upgrade`."""

    BROWSER = "browser"
    API = "api"
    WEBSOCKET = "websocket"


class Mode(StrEnum):
    """Whether a policy is enforced or only evaluated and recorded."""

    ENFORCE = "enforce"
    REPORT = "report"


# --- compliance policies -------------------------------------------------------------------------------


class RiskRule(Strict, tag="risk", tag_field="type", frozen=True):
    """Met while the device's risk level is known and at most `max`.

    Field: name: unique within the policy.
    Field: max: highest acceptable level: `none`, `low`, `medium` or `high`.
    Field: grace: how long a device that fails is still `in-grace-period`, counted from the first evidence.
    Field: title: what the pages call this requirement.
    Field: why: why it matters, for people; Markdown.
    Field: fix: what to do, for people; Markdown.
    """

    name: str
    max: RiskLevel
    grace: Duration = 0.0
    title: str = ""
    why: str = ""
    fix: str = ""


class FactRule(Strict, tag="fact", tag_field="type", frozen=True):
    """Met while a fact is known, fresh enough, and compares as asked. Exactly one comparison is given.

    A fact of another type than the comparison asks for, never reported, too old or from a silent sensor is
    `unknown`.

    Field: name: unique within the policy.
    Field: fact: name of the fact as the sensor's kind reports it.
    Field: equals: the value that the fact must have; a text is not equal to a number that looks like it.
    Field: at_least: lowest version, compared number by number (`14.10` is above `14.9`).
    Field: one_of: texts, one of which the fact must be.
    Field: max_age: how old the observation may be.
    Field: grace: how long a device that fails is still `in-grace-period`, counted from the first evidence.
    Field: title: what the pages call this requirement.
    Field: why: why it matters, for people; Markdown.
    Field: fix: what to do, for people; Markdown.
    """

    name: str
    fact: str
    equals: str | int | float | bool | None = None
    at_least: str | None = None
    one_of: tuple[str, ...] | None = None
    max_age: Duration | None = None
    grace: Duration = 0.0
    title: str = ""
    why: str = ""
    fix: str = ""


class SensorRule(Strict, tag="sensor", tag_field="type", frozen=True):
    """Met while the sensor spoke about the device within `seen_within`.

    Field: name: unique within the policy.
    Field: sensor: name of the sensor.
    Field: seen_within: how long ago it may have spoken last; a sensor that never spoke leaves the rule
        `unknown`.
    Field: grace: how long after that the device is still `in-grace-period`.
    Field: title: what the pages call this requirement.
    Field: why: why it matters, for people; Markdown.
    Field: fix: what to do, for people; Markdown.
    """

    name: str
    sensor: str
    seen_within: Duration
    grace: Duration = 0.0
    title: str = ""
    why: str = ""
    fix: str = ""


ComplianceRule = RiskRule | FactRule | SensorRule


class CompliancePolicy(Strict, frozen=True):
    """A named set of rules. A device is held to every policy.

    Field: name: unique among compliance policies.
    Field: rules: all of them must be met; the worst result is the state.
    """

    name: str
    rules: tuple[ComplianceRule, ...]


class RuleResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one rule made of one device.

    `seen` and `wanted` are short texts for people; `since` is when it first failed as far as evidence
    shows, `deadline` is when grace ends or ended, `source` names the sensor. `reason` is a
    `compliance.state.ComplianceReason`.
    """

    policy: str
    rule: str
    state: ComplianceState
    reason: str
    title: str
    seen: str
    wanted: str
    source: str = ""
    observed_at: datetime | None = None
    since: datetime | None = None
    deadline: datetime | None = None
    why: str = ""
    fix: str = ""


class ComplianceResult(msgspec.Struct, frozen=True, kw_only=True):
    """Compliance of one device at one instant: the worst rule wins. `changes_at` as in `RiskAssessment`.

    `deadline` is the nearest end of a grace period that is still running.
    """

    state: ComplianceState
    results: tuple[RuleResult, ...]
    changes_at: datetime | None = None
    deadline: datetime | None = None


# --- access policies -----------------------------------------------------------------------------------


class Assignment(Strict, frozen=True):
    """Whom a policy covers. Empty means everyone; a match in `users` or in `groups` is enough.

    Field: users: subjects (`sub`) or verified e-mail addresses.
    Field: groups: groups as the provider names them, in exactly this spelling.
    """

    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


class Conditions(Strict, frozen=True):
    """When a policy applies: every key that is given must hold; the values of one key are alternatives.

    What is not known (`acr`, `amr` or the time of sign-in that the provider never told) holds in a policy
    that limits and does not hold in a policy that allows. All but `networks`, `methods`, `paths` and
    `clients` are known per session; those four belong to the request.

    Field: compliance: states of the device; a device that is not known is `unknown`.
    Field: risk: risk levels of the device; while a sensor is silent the level counts as `unknown` too.
    Field: device: whether we know which device this is.
    Field: acr: authentication context classes of the sign-in.
    Field: not_acr: holds when the sign-in had none of these.
    Field: amr: authentication methods, one of which was used.
    Field: not_amr: holds when none of these methods was used.
    Field: auth_older_than: holds when the sign-in is at least this old.
    Field: providers: names of providers that the user signed in at.
    Field: networks: names of networks, one of which holds the client address.
    Field: not_networks: holds when none of these networks holds the client address.
    Field: methods: HTTP methods in capitals; `GET` does not include `HEAD`.
    Field: paths: a prefix (`/admin` covers `/admin` and `/admin/x`, not `/administrator`) or a glob of the
        whole path: `*` within a segment, `**` for any number of segments.
    Field: not_paths: holds when the path is none of these.
    Field: clients: kind of client: `browser`, `api`, `websocket`.
    """

    compliance: tuple[ComplianceState, ...] = ()
    risk: tuple[RiskLevel, ...] = ()
    device: tuple[Literal["known", "unknown"], ...] = ()
    acr: tuple[str, ...] = ()
    not_acr: tuple[str, ...] = ()
    amr: tuple[str, ...] = ()
    not_amr: tuple[str, ...] = ()
    auth_older_than: Duration | None = None
    providers: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    not_networks: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    not_paths: tuple[str, ...] = ()
    clients: tuple[ClientKind, ...] = ()


class StepUp(Strict, frozen=True):
    """What a stronger sign-in must bring (RFC 9470). A session that brings it already is not asked.

    Field: acr_values: authentication context classes, one of which the sign-in must have.
    Field: max_age: how old the sign-in may be.
    """

    acr_values: tuple[str, ...] = ()
    max_age: Duration | None = None


class AccessPolicy(Strict, frozen=True):
    """One access policy: of all that match, the strictest decides; without a match the answer is block.

    Field: name: unique among access policies.
    Field: decision: `allow`, `restrict`, `step-up`, `remediate` or `block`, from least to most strict.
    Field: apps: names of the apps it covers; empty means every app.
    Field: include: whom it covers; absent means everyone who has signed in.
    Field: exclude: whom it does not cover, whatever `include` says.
    Field: when: what must hold besides.
    Field: controls: for `restrict`: how the session is limited. Controls of all matching policies add up.
    Field: step_up: for `step-up`: what the stronger sign-in must bring.
    Field: reason: shown to the person when this policy decides.
    Field: mode: `enforce`, or `report` to record only what it would have done.
    """

    name: str
    decision: Outcome
    apps: tuple[str, ...] = ()
    include: Assignment = Assignment()
    exclude: Assignment | None = None
    when: Conditions = Conditions()
    controls: tuple[SessionControl, ...] = ()
    step_up: StepUp | None = None
    reason: str = ""
    mode: Mode = Mode.ENFORCE


class User(msgspec.Struct, frozen=True, kw_only=True):
    """The signed-in person: keyed by (`issuer`, `subject`); `email` and `name` are for display.

    `names` are the texts by which policies may name the user: the subject, and the e-mail address only when
    the provider says that it is verified.
    """

    provider: str
    issuer: str
    subject: str
    name: str = ""
    email: str = ""
    names: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    are_groups_known: bool = True
    acr: str | None = None
    amr: tuple[str, ...] | None = None
    auth_at: datetime | None = None


class AccessContext(msgspec.Struct, frozen=True, kw_only=True):
    """The slow facts of an access request: they change only by events and by time.

    `now` is an argument, not read.

    `device_id` None means that we do not know which device this is; then `compliance` is `UNKNOWN` and
    `risk` is `UNKNOWN` too.
    """

    app: str
    user: User
    now: datetime
    device_id: str | None
    device_name: str
    device_source: str
    risk: RiskAssessment
    compliance: ComplianceResult


class RequestFacts(msgspec.Struct, frozen=True):
    """What only the request itself knows.

    `path` is the canonical path; `networks` the names of the configured networks that contain the client
    address.
    """

    method: str
    path: str
    client: ClientKind
    networks: frozenset[str]


class PolicyTrace(msgspec.Struct, frozen=True, kw_only=True):
    """Whether one policy matched, and the first condition that kept it from matching."""

    policy: str
    decision: Outcome
    matched: bool
    mode: Mode
    missed: str = ""
    seen: str = ""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """An access decision with what made it so. `policy` names the deciding policy, "" for the default deny.

    `reason` is for the person at the page. `would_be` is the outcome if report-mode policies were enforced.
    """

    outcome: Outcome
    policy: str
    reason: str
    controls: frozenset[SessionControl] = frozenset()
    step_up: StepUp | None = None
    matched: tuple[str, ...] = ()
    would_be: Outcome | None = None


class ResidualEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A policy whose slow conditions hold; what is left to test depends on the request alone.

    `is_sure` is false when they hold only because what is not known must not widen access: then the policy
    limits, but a `restrict` lets nobody in by itself.
    """

    policy: str
    outcome: Outcome
    reason: str
    controls: frozenset[SessionControl]
    step_up: StepUp | None
    mode: Mode
    when: Conditions
    is_sure: bool = True


class Residual(msgspec.Struct, frozen=True, kw_only=True):
    """Access policy after the slow facts are known: decides a request by its `RequestFacts` alone.

    `constant` is the decision when no entry depends on the request (then `entries` is empty). `valid_until`
    is the nearest instant at which time alone could change the result, None when time never does.
    """

    entries: tuple[ResidualEntry, ...]
    constant: Decision | None
    valid_until: datetime | None
