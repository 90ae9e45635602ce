"""The vocabulary of what it means: compliance policies and states, access policies, requests and decisions.

Frozen values, no I/O, no clock. The configuration is decoded straight into the `*Policy` types, so the YAML
keys are these field names with `-` for `_` in values only, never in keys.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal, get_args

import msgspec

from risk.model import Posture, RiskAssessment, RiskLevel, SensorRules, Severity
from risk.values import Duration, Localised, Strict


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


class RuleLevel(StrEnum):
    """Whether a rule is only recorded, only shown, shown until a date, or required."""

    REPORT = "report"
    NOTIFY = "notify"
    WARN_UNTIL = "warn-until"
    REQUIRE = "require"


Platform = Literal["macos", "windows", "linux", "ios", "android", "chromeos"]

PlatformName = Annotated[str, msgspec.Meta(extra_json_schema={"enum": list(get_args(Platform))})]
"""A platform where a key is meant; that it is one is checked on load, with a hint."""


class Rule(Strict, frozen=True, kw_only=True):
    """What every rule of a compliance policy has, whatever it asks.

    Field: grace: how long a device that fails is still `in-grace-period`, counted from the first evidence.
    Field: title: what the pages call this requirement.
    Field: why: why it matters, for people; Markdown.
    Field: fix: what to do, for people; Markdown.
    Field: level: `require`; or `report` (recorded only), `notify` (shown, changes no state), `warn-until`
        (as `notify` until `warn_until`, then as `require`).
    Field: warn_until: ISO date or instant from which a `warn-until` rule is required.
    Field: platforms: operating systems that the rule is for; a device whose own is not known is held to it.
    Field: fixes: what to do by platform, in place of `fix`; Markdown.
    Field: severity: how bad a failure is, for people.
    Field: link: where more is written about it.
    """

    grace: Duration = 0.0
    title: Localised = ""
    why: Localised = ""
    fix: Localised = ""
    level: RuleLevel = RuleLevel.REQUIRE
    warn_until: str = ""
    platforms: tuple[Platform, ...] = ()
    fixes: dict[PlatformName, Localised] = msgspec.field(default_factory=dict)
    severity: Severity = Severity.MEDIUM
    link: str = ""


class RiskRule(Rule, tag="risk", tag_field="type", frozen=True):
    """Met while the device's risk level is known and at most `max`.

    Field: name: unique within the policy.
    Field: max: highest acceptable level: `none`, `low`, `medium` or `high`.
    Field: sensor: only what this sensor says; default: the worst of all.
    """

    name: str
    max: RiskLevel
    sensor: str = ""


class FactRule(Rule, tag="fact", tag_field="type", frozen=True):
    """Met while a fact is known, fresh enough, and compares as asked: one comparison, or both ends of a range.

    A fact of another type than the comparison asks for, never reported, too old or from a silent sensor is
    `unknown`.

    Field: name: unique within the policy.
    Field: fact: name of the fact as the sensor's kind reports it.
    Field: equals: the value that the fact must have; a text is not equal to a number that looks like it.
    Field: not_equals: a value that the fact must not have.
    Field: at_least: lowest version, compared number by number (`14.10` is above `14.9`).
    Field: below: first version that is too high.
    Field: one_of: texts, one of which the fact must be.
    Field: not_one_of: texts, none of which the fact may be.
    Field: min: lowest number.
    Field: max: highest number.
    Field: newer_than: how long ago the date may lie that the fact states, such as the last update.
    Field: max_age: how old the observation may be.
    """

    name: str
    fact: str
    equals: str | int | float | bool | None = None
    not_equals: str | int | float | bool | None = None
    at_least: str | None = None
    below: str | None = None
    one_of: tuple[str, ...] | None = None
    not_one_of: tuple[str, ...] | None = None
    min: float | None = None
    max: float | None = None
    newer_than: Duration | None = None
    max_age: Duration | None = None


class SensorRule(Rule, tag="sensor", tag_field="type", frozen=True):
    """Met while the sensor spoke about the device within `seen_within`.

    Field: name: unique within the policy.
    Field: sensor: name of the sensor.
    Field: seen_within: how long ago it may have spoken last; a sensor that never spoke leaves the rule
        `unknown`.
    Field: grace: how long after that the device is still `in-grace-period`.
    """

    name: str
    sensor: str
    seen_within: Duration


class FindingRule(Rule, tag="finding", tag_field="type", frozen=True):
    """Met while at most `max` open findings of this kind are known, and no sensor is silent.

    Field: name: unique within the policy.
    Field: at_least: lowest severity that counts; one that is unknown counts as its sensor's `unknown_level`.
    Field: category: only findings of this category, without regard to case.
    Field: sensor: only findings of this sensor.
    Field: older_than: only findings that were first observed at least this long ago.
    Field: max: how many may be open.
    """

    name: str
    at_least: Severity = Severity.LOW
    category: str = ""
    sensor: str = ""
    older_than: Duration | None = None
    max: int = 0


ComplianceRule = RiskRule | FactRule | SensorRule | FindingRule


class DeviceAssignment(Strict, frozen=True):
    """Which devices a compliance policy covers; every key that is given must hold, its values are alternatives.

    What no live sensor says of the device covers it in `include`, and does not except it in `exclude`.

    Field: platforms: operating systems.
    Field: ownership: `corporate` or `personal`.
    Field: tags: tags that sensors give the device.
    Field: devices: patterns of names or identifiers of devices, `*` for any text.
    """

    platforms: tuple[Platform, ...] = ()
    ownership: tuple[Literal["corporate", "personal"], ...] = ()
    tags: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()


class EscalationStep(Strict, frozen=True):
    """What happens to a device that goes on failing a required rule of the policy.

    Field: after: how long after the first evidence of the failure.
    Field: decision: `restrict`, `remediate` or `block`, for every app.
    Field: controls: for `restrict`: how sessions are limited.
    Field: reason: shown to the person; default: the rule's title and what was seen.
    """

    after: Duration
    decision: Outcome
    controls: tuple[SessionControl, ...] = ()
    reason: Localised = ""


class Exemption(Strict, frozen=True):
    """A rule that does not count on some devices, for some people, or on some devices of some people, until it expires.

    Field: rule: `policy/rule`, or a policy for all of its rules.
    Field: devices: names, ids or identifiers of devices; absent means every device of `users`.
    Field: users: subjects or verified e-mail addresses; absent means everybody on `devices`.
    Field: reason: why, for the record and the pages.
    Field: author: who decided it.
    Field: expires: ISO date or instant at which it ends.
    """

    rule: str
    reason: str
    author: str
    expires: str
    devices: tuple[str, ...] = ()
    users: tuple[str, ...] = ()


class CompliancePolicy(Strict, frozen=True):
    """A named set of rules. A device is held to every policy that covers it, or may do so.

    Field: name: unique among compliance policies.
    Field: rules: all of them must be met; the worst result is the state.
    Field: include: devices that it covers; absent means every device.
    Field: exclude: devices that it does not cover, whatever `include` says.
    Field: escalation: what happens over time to a device that goes on failing.
    Field: description: what it is for; for whoever reads the policies.
    """

    name: str
    rules: tuple[ComplianceRule, ...]
    include: DeviceAssignment = DeviceAssignment()
    exclude: DeviceAssignment | None = None
    escalation: tuple[EscalationStep, ...] = ()
    description: str = ""


class RuleResult(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one rule made of one device.

    `seen` and `wanted` are short texts for people; `since` is when it first failed as far as evidence
    shows, `deadline` is when grace ends or ended, `source` names the sensor. `reason` is a
    `compliance.reasons.ComplianceReason`; `is_required` tells whether the result counts for the state.
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
    level: RuleLevel = RuleLevel.REQUIRE
    is_required: bool = True
    severity: Severity = Severity.MEDIUM
    link: str = ""


class Demand(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the escalation of a compliance policy demands for a device, since the instant `since`."""

    policy: str
    rule: str
    outcome: Outcome
    reason: str
    controls: frozenset[SessionControl] = frozenset()
    since: datetime | None = None


class ComplianceResult(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Compliance of one device at one instant: the worst rule wins. `changes_at` as in `RiskAssessment`.

    `deadline` is the nearest end of a grace period that is still running.
    """

    state: ComplianceState
    results: tuple[RuleResult, ...]
    changes_at: datetime | None = None
    deadline: datetime | None = None
    demands: tuple[Demand, ...] = ()


# --- access policies -----------------------------------------------------------------------------------


class Assignment(Strict, frozen=True):
    """Whom a policy covers; a match in one of the lists is enough.

    Field: users: subjects (`sub`) or verified e-mail addresses of people.
    Field: groups: groups as the provider names them, in exactly this spelling.
    Field: roles: roles as the provider's `roles_claim` lists them, in exactly this spelling.
    Field: services: service identities (programs that act for themselves) by subject; `*` is every one.
    """

    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    services: tuple[str, ...] = ()

    @property
    def is_for_everyone(self) -> bool:
        """Whether it names nobody, so that everyone is meant."""
        return not (self.users or self.groups or self.roles or self.services)


class Binding(StrEnum):
    """How strongly a request is bound to its device: not at all, by a claim of the sign-in, by its certificate."""

    NONE = "none"
    CLAIM = "claim"
    CERTIFICATE = "certificate"


class SensorState(StrEnum):
    """Whether a sensor speaks about a device: lately enough, not any more, or never."""

    HEARD = "heard"
    SILENT = "silent"
    NEVER = "never"


DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class FindingCondition(Strict, frozen=True):
    """Which open findings are meant; every key that is given must hold.

    Field: category: the finding's category, without regard to case; one of several suffices.
    Field: at_least: lowest severity; one that is unknown counts as its sensor's `unknown_level`.
    Field: sensor: name of the sensor that reported it.
    Field: older_than: how long ago it was first observed, at least.
    """

    category: str = ""
    at_least: Severity | None = None
    sensor: str = ""
    older_than: Duration | None = None


class FactCondition(Strict, frozen=True):
    """A comparison of one fact: exactly one key besides `fact` and `max_age`, or both ends of a range.

    Field: fact: name of the fact as the sensor's kind reports it.
    Field: equals: the value that it has; a text is not equal to a number that looks like it.
    Field: not_equals: a value that it does not have.
    Field: one_of: texts, one of which it is.
    Field: not_one_of: texts, none of which it is.
    Field: at_least: lowest version, compared number by number.
    Field: below: first version that is too high.
    Field: min: lowest number.
    Field: max: highest number.
    Field: newer_than: how long ago the date lies that it states, at most.
    Field: max_age: how old the observation may be; an older one is not known.
    """

    fact: str
    equals: str | int | float | bool | None = None
    not_equals: str | int | float | bool | None = None
    one_of: tuple[str, ...] | None = None
    not_one_of: tuple[str, ...] | None = None
    at_least: str | None = None
    below: str | None = None
    min: float | None = None
    max: float | None = None
    newer_than: Duration | None = None
    max_age: Duration | None = None


class SensorCondition(Strict, frozen=True):
    """States of one sensor towards the device.

    Field: sensor: name of the sensor.
    Field: states: `heard` within its `max_silence`, `silent` for longer, or `never` heard about this device.
    """

    sensor: str
    states: tuple[SensorState, ...]


class FactState(StrEnum):
    """What is known of a fact: stated lately, too long ago, by a sensor that is silent now, or never."""

    FRESH = "fresh"
    STALE = "stale"
    SILENT = "silent"
    NEVER = "never"


class FactStateCondition(Strict, frozen=True):
    """How well one fact is known, whatever it says.

    Field: fact: name of the fact as the sensor's kind reports it.
    Field: states: `fresh`; `stale`, observed at least `max_age` ago or past its own expiry; `silent`, when its sensors
        have been silent for longer than their `max_silence`; `never` told. `silent` goes before `stale`.
    Field: max_age: the age from which it is stale; without it, only its own expiry makes it so.
    """

    fact: str
    states: tuple[FactState, ...]
    max_age: Duration | None = None


class TimeWindow(Strict, frozen=True):
    """A window of local time.

    Field: days: days on which it begins; every day without.
    Field: start: wall-clock time, `HH:MM`.
    Field: end: wall-clock time, up to `24:00`; at or before `start` it is on the next day.
    Field: zone: IANA time zone, such as `Europe/Berlin`.
    """

    days: tuple[Day, ...] = ()
    start: str = "00:00"
    end: str = "24:00"
    zone: str = "UTC"


class ClaimCondition(Strict, frozen=True):
    """Values of a claim of the sign-in.

    Field: claim: path of the claim, as the provider's `keep_claims` names it.
    Field: one_of: values, one of which it has; truth values and numbers as text.
    """

    claim: str
    one_of: tuple[str, ...]


class Conditions(Strict, frozen=True, omit_defaults=True):
    """When a policy applies: every key that is given must hold; the values of one key are alternatives.

    What is not known (what the provider never told, what no live sensor says of the device) holds in a policy
    that limits and does not hold in a policy that allows. All but networks, methods, paths and clients are known
    per session; those four belong to the request.

    Field: compliance: states of the device; a device that is not known is `unknown`.
    Field: risk: risk levels of the device; while a sensor is silent the level counts as `unknown` too.
    Field: user_risk: risk levels of the person, as sensors tell of people; a person of whom none has told is `unknown`.
    Field: session_risk: risk levels of this very session; a session of which no sensor has told is `unknown`.
    Field: worst_risk: the worst risk level of device, person and session, of those that a sensor has told of; `unknown`
        counts too while one of these is not known for sure, and when none was told of.
    Field: device: whether we know which device this is.
    Field: acr: authentication context classes of the sign-in.
    Field: not_acr: holds when the sign-in had none of these.
    Field: amr: authentication methods, one of which was used.
    Field: not_amr: holds when none of these methods was used.
    Field: auth_older_than: holds when the sign-in is at least this old.
    Field: auth_within: holds when the sign-in is younger than this.
    Field: binding: how strongly the request is bound to the device: `none`, `claim`, `certificate`.
    Field: platforms: operating systems of the device.
    Field: not_platforms: holds when the operating system is none of these.
    Field: ownership: `corporate` or `personal`, as a sensor says.
    Field: tags: tags of the device, one of which it has.
    Field: not_tags: holds when the device has none of these tags.
    Field: findings: open findings on the device, one of which is there.
    Field: not_findings: holds when none of these findings is open.
    Field: facts: comparisons of posture facts, all of which hold.
    Field: fact_states: how well facts are known (`fresh`, `stale`, `silent`, `never`), one of which is so.
    Field: sensors: states of sensors towards the device, one of which is so.
    Field: times: windows of local time, one of which is now.
    Field: not_times: holds when none of these windows is now.
    Field: claims: claims of the sign-in, all of which hold.
    Field: not_claims: claims of the sign-in, none of which holds.
    Field: providers: names of providers that the user signed in at.
    Field: hosts: host names, one of which the request is for; `*.example.org` matches one label.
    Field: not_hosts: holds when the request is for none of these.
    Field: networks: names of networks, one of which holds the client address.
    Field: not_networks: holds when none of these networks holds the client address.
    Field: methods: HTTP methods in capitals; `GET` does not include `HEAD`.
    Field: not_methods: holds when the method is none of these.
    Field: paths: a prefix (`/admin` covers `/admin` and `/admin/x`, not `/administrator`) or a glob of the
        whole path: `*` within a segment, `**` for any number of segments.
    Field: not_paths: holds when the path is none of these.
    Field: clients: kind of client: `browser`, `api`, `websocket`.
    """

    compliance: tuple[ComplianceState, ...] = ()
    risk: tuple[RiskLevel, ...] = ()
    user_risk: tuple[RiskLevel, ...] = ()
    session_risk: tuple[RiskLevel, ...] = ()
    worst_risk: tuple[RiskLevel, ...] = ()
    device: tuple[Literal["known", "unknown"], ...] = ()
    acr: tuple[str, ...] = ()
    not_acr: tuple[str, ...] = ()
    amr: tuple[str, ...] = ()
    not_amr: tuple[str, ...] = ()
    auth_older_than: Duration | None = None
    auth_within: Duration | None = None
    binding: tuple[Binding, ...] = ()
    platforms: tuple[Platform, ...] = ()
    not_platforms: tuple[Platform, ...] = ()
    ownership: tuple[Literal["corporate", "personal"], ...] = ()
    tags: tuple[str, ...] = ()
    not_tags: tuple[str, ...] = ()
    findings: tuple[FindingCondition, ...] = ()
    not_findings: tuple[FindingCondition, ...] = ()
    facts: tuple[FactCondition, ...] = ()
    fact_states: tuple[FactStateCondition, ...] = ()
    sensors: tuple[SensorCondition, ...] = ()
    times: tuple[TimeWindow, ...] = ()
    not_times: tuple[TimeWindow, ...] = ()
    claims: tuple[ClaimCondition, ...] = ()
    not_claims: tuple[ClaimCondition, ...] = ()
    providers: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    not_hosts: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    not_networks: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    not_methods: tuple[str, ...] = ()
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
    Field: apps: names of the apps it covers; absent means every app.
    Field: not_apps: names of apps that it does not cover, whatever `apps` says.
    Field: include: whom it covers; absent means everyone who has signed in.
    Field: exclude: whom it does not cover, whatever `include` says.
    Field: when: what must hold besides.
    Field: controls: for `restrict`: how the session is limited. Controls of all matching policies add up.
    Field: profiles: for `restrict`: names of `session_profiles`, which limit the session too; the strictest of each
        limit counts.
    Field: step_up: for `step-up`: what the stronger sign-in must bring.
    Field: reason: shown to the person when this policy decides.
    Field: description: what it is for; for whoever reads the policies.
    Field: owner: whom to ask about it.
    Field: link: where more is written about it.
    Field: mode: `enforce`, or `report` to record only what it would have done.
    """

    name: str
    decision: Outcome
    apps: tuple[str, ...] = ()
    not_apps: tuple[str, ...] = ()
    include: Assignment = Assignment()
    exclude: Assignment | None = None
    when: Conditions = Conditions()
    controls: tuple[SessionControl, ...] = ()
    profiles: tuple[str, ...] = ()
    step_up: StepUp | None = None
    reason: Localised = ""
    description: str = ""
    owner: str = ""
    link: str = ""
    mode: Mode = Mode.ENFORCE

    def covers(self, app: str) -> bool:
        """Return whether the policy can apply to an app."""
        return app not in self.not_apps and (not self.apps or app in self.apps)


class User(msgspec.Struct, frozen=True, kw_only=True):
    """The signed-in person, or a service identity (`is_service`): keyed by (`issuer`, `subject`).

    `email` and `name` are for display.

    `names` are the texts by which policies may name the user: the subject, and the e-mail address only when
    the provider says that it is verified. `claims` are those that the provider's `keep_claims` names and the
    provider sent, their values as texts. A service is named by `subject` alone.
    """

    provider: str
    issuer: str
    subject: str
    name: str = ""
    email: str = ""
    names: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    are_groups_known: bool = True
    roles: frozenset[str] = frozenset()
    are_roles_known: bool = True
    is_service: bool = False
    acr: str | None = None
    amr: tuple[str, ...] | None = None
    auth_at: datetime | None = None
    claims: dict[str, tuple[str, ...]] = {}


class AccessContext(msgspec.Struct, frozen=True, kw_only=True):
    """The slow facts of an access request: they change only by events and by time.

    `now` is an argument, not read.

    `device_id` None means that we do not know which device this is; then `compliance` is `UNKNOWN` and
    `risk` is `UNKNOWN` too, and `posture` is None. `sensors` are the configured ones by name; `binding` says how the
    request is bound to the device. `user_risk` is the risk of the person, `session_risk` that of this session; each is
    `UNKNOWN` when no sensor has told of it. `host` is the host name that is asked, "" when it is not known.
    """

    app: str
    user: User
    now: datetime
    device_id: str | None
    device_name: str
    device_source: str
    risk: RiskAssessment
    compliance: ComplianceResult
    posture: Posture | None = None
    sensors: Mapping[str, SensorRules] = {}
    binding: Binding = Binding.NONE
    user_risk: RiskAssessment = RiskAssessment(level=RiskLevel.UNKNOWN, is_known=False)
    session_risk: RiskAssessment = RiskAssessment(level=RiskLevel.UNKNOWN, is_known=False)
    host: str = ""


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
    """Whether one policy matched; else the first condition that kept it from matching, and all of them."""

    policy: str
    decision: Outcome
    matched: bool
    mode: Mode
    missed: str = ""
    seen: str = ""
    misses: tuple[str, ...] = ()

    @property
    def is_near(self) -> bool:
        """Whether exactly one condition kept the policy from matching."""
        return len(self.misses) == 1


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """An access decision with what made it so. `policy` names the deciding policy, "" for the default deny.

    `reason` is for the person at the page. `would_be` is the outcome if report-mode policies were enforced.
    `controls` and the session profiles named `profiles` limit the session together.
    """

    outcome: Outcome
    policy: str
    reason: str
    controls: frozenset[SessionControl] = frozenset()
    step_up: StepUp | None = None
    matched: tuple[str, ...] = ()
    would_be: Outcome | None = None
    profiles: frozenset[str] = frozenset()


class ResidualEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
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
    profiles: frozenset[str] = frozenset()


class Residual(msgspec.Struct, frozen=True, kw_only=True):
    """Access policy after the slow facts are known: decides a request by its `RequestFacts` alone.

    `constant` is the decision when no entry depends on the request (then `entries` is empty). `valid_until`
    is the nearest instant at which time alone could change the result, None when time never does.
    """

    entries: tuple[ResidualEntry, ...]
    constant: Decision | None
    valid_until: datetime | None
