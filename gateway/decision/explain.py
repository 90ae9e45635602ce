"""The decision record, and its rendering as text for `posturegate explain`. Pure.

INVARIANT: a record explains its decision by itself, after the device, the policies and the configuration
have changed.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

import msgspec

from compliance.model import (
    STRICTNESS,
    AccessContext,
    AccessPolicy,
    ClientKind,
    ComplianceResult,
    ComplianceState,
    Decision,
    Mode,
    Outcome,
    PolicyTrace,
    RequestFacts,
    RuleResult,
    SessionControl,
    StepUp,
    User,
)
from compliance.reasons import AccessReason
from compliance.texts import duration_text, shown_value
from compliance.why import next_step
from gateway.decision.context import CONTRADICTION
from gateway.decision.judge import UNKNOWN_RISK
from risk.model import RiskAssessment
from risk.scoring import fact_value

UNITS_OF_SESSION_SHOWN = 12
"""Characters of the session's id that a record keeps: enough to compare, too few to use."""


class SeenFact(msgspec.Struct, frozen=True, kw_only=True):
    """A fact that some policy asks for, as it was known; `sensor` is "" when it was not."""

    name: str
    value: str | int | float | bool | None = None
    sensor: str = ""
    observed_at: datetime | None = None


def facts_asked(policies: Iterable[AccessPolicy], context: AccessContext) -> tuple[SeenFact, ...]:
    """Return every fact that some policy asks for, sorted by name; none for an unknown device."""
    whens = [policy.when for policy in policies]
    names = {asked.fact for when in whens for asked in when.facts}
    names |= {asked.fact for when in whens for asked in when.fact_states}
    if context.posture is None:
        return ()
    found = []
    for name in sorted(names):
        fact = fact_value(context.posture, name, context.sensors, context.now)
        if fact is None:
            found.append(SeenFact(name=name))
        else:
            found.append(
                SeenFact(name=name, value=fact.value, sensor=fact.source, observed_at=fact.observed_at)
            )
    return tuple(found)


class DecisionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One decision with every input that it rested on.

    `client` is the client address, `client_kind` what kind of client it was; `device_source` says how the
    device was told; `revision` names the configuration. `would_be` is the outcome with report-mode policies
    enforced. `places` says where each policy stood (`file:line`) when the decision was made.
    """

    code: str
    decided_at: datetime
    outcome: Outcome
    policy: str
    reason: str
    controls: tuple[SessionControl, ...] = ()
    profiles: tuple[str, ...] = ()
    step_up: StepUp | None = None
    user: User
    session: str
    device_id: str | None
    device_name: str
    device_source: str
    app: str
    method: str
    path: str
    client: str
    client_kind: ClientKind
    networks: tuple[str, ...] = ()
    risk: RiskAssessment
    compliance: ComplianceResult
    user_risk: RiskAssessment = UNKNOWN_RISK
    session_risk: RiskAssessment = UNKNOWN_RISK
    host: str = ""
    facts: tuple[SeenFact, ...] = ()
    traces: tuple[PolicyTrace, ...] = ()
    would_change: tuple[str, ...] = ()
    would_be: Outcome | None = None
    why: AccessReason | None = None
    revision: str = ""
    places: dict[str, str] = {}

    @classmethod
    def of(
        cls,
        *,
        code: str,
        app: str,
        context: AccessContext,
        request: RequestFacts,
        client: str,
        session: str,
        decision: Decision,
        traces: Sequence[PolicyTrace],
        would_change: Sequence[str] = (),
        why: AccessReason | None = None,
        revision: str = "",
        places: Mapping[str, str] | None = None,
        facts: Sequence[SeenFact] = (),
    ) -> "DecisionRecord":
        """Return the record of a decision that was made at `context.now`."""
        return cls(
            code=code,
            decided_at=context.now,
            outcome=decision.outcome,
            policy=decision.policy,
            reason=decision.reason,
            controls=tuple(sorted(decision.controls)),
            profiles=tuple(sorted(decision.profiles)),
            step_up=decision.step_up,
            user=context.user,
            # The id of a service token opens nothing: whoever looks into a leak wants all of it.
            session=session if context.user.is_service else session[:UNITS_OF_SESSION_SHOWN],
            device_id=context.device_id,
            device_name=context.device_name,
            device_source=context.device_source,
            app=app,
            method=request.method,
            path=request.path,
            client=client,
            client_kind=request.client,
            networks=tuple(sorted(request.networks)),
            risk=context.risk,
            compliance=context.compliance,
            user_risk=context.user_risk,
            session_risk=context.session_risk,
            host=context.host,
            facts=tuple(facts),
            traces=tuple(traces),
            would_change=tuple(would_change),
            would_be=decision.would_be,
            why=why,
            revision=revision,
            places=dict(places or {}),
        )


def render(record: DecisionRecord) -> str:
    """Return the record as text: the decision, its inputs with their ages, every rule, every policy."""
    return "\n".join(_lines(record)) + "\n"


def _lines(record: DecisionRecord) -> Iterator[str]:
    limits = (*record.controls, *(f"profile {each}" for each in record.profiles))
    controls = f"({', '.join(limits)})" if limits else ""
    policy = f"policy {record.policy}" if record.policy else "no policy matched (default deny)"
    yield f"DECISION  {record.outcome}{controls}   {policy}   revision {record.revision or '-'}"
    if record.reason:
        yield f"  reason     {_one_line(record.reason)}"
    if record.why is not None:
        yield f"  why        {record.why}; next step: {next_step(record.why)}"
    if record.policy in record.places:
        yield f"  stands in  {record.places[record.policy]}"
    if record.step_up is not None:
        yield f"  wanted     {_step_up(record.step_up)}"
    if record.would_be is not None:
        yield f"  report     {record.would_be}, if report-mode policies were enforced"
    yield f"  code       {record.code}"
    yield f"  decided    {_moment(record.decided_at)}"
    yield ""
    yield "INPUTS"
    yield from _inputs(record)
    yield ""
    yield f"COMPLIANCE  {record.compliance.state}{_changes(record.compliance.changes_at, record.decided_at)}"
    yield from _rules(record.compliance.results, record.decided_at)
    yield ""
    yield "POLICIES    * decided, + matched, ~ nearly matched, - missed"
    yield from _policies(record)
    if record.would_change:
        yield ""
        yield "WOULD BECOME"
        yield from (f"  {_one_line(text)}" for text in record.would_change)


def _inputs(record: DecisionRecord) -> Iterator[str]:
    at = record.decided_at
    yield from _holder(record)
    if record.device_id is None:
        yield f"  device     unknown: {_why_unknown(record)}"
    else:
        name = _one_line(record.device_name) or record.device_id
        yield f"  device     {name} ({record.device_id}), told by {_one_line(record.device_source)}"
    yield from _risk("risk", record.risk, at)
    if record.user_risk != UNKNOWN_RISK:
        yield from _risk("user risk", record.user_risk, at)
    if record.session_risk != UNKNOWN_RISK:
        yield from _risk("session risk", record.session_risk, at)
    for fact in record.facts:
        said = (
            "not known"
            if fact.observed_at is None
            else f"{shown_value(fact.value)} ({fact.sensor}, {_ago(fact.observed_at, at)})"
        )
        yield f"  fact       {_one_line(f'{fact.name} {said}')}"
    yield f"  request    {record.app}: {record.method} {_one_line(record.path)} ({record.client_kind})"
    yield f"  client     {record.client}, networks {', '.join(record.networks) or 'none'}"


def _holder(record: DecisionRecord) -> Iterator[str]:
    """Yield who asked: a person with their sign-in, or a service identity with its token."""
    user = record.user
    if user.is_service:
        yield f"  service    {_one_line(user.subject)}"
        yield f"  token      {record.session}"
        return
    yield f"  user       {_user(user)}"
    groups = ", ".join(sorted(user.groups)) or "none"
    yield f"  groups     {groups if user.are_groups_known else 'not known'}"
    if user.roles:
        yield f"  roles      {', '.join(sorted(user.roles))}"
    signed_in = "time not told" if user.auth_at is None else _ago(user.auth_at, record.decided_at)
    amr = "not told" if user.amr is None else ", ".join(user.amr) or "none"
    yield f"  sign-in    {signed_in}, acr {user.acr or 'not told'}, amr {amr}"
    yield f"  session    {record.session}"


def _why_unknown(record: DecisionRecord) -> str:
    source, name = _one_line(record.device_source), _one_line(record.device_name)
    if not source:
        return "nothing told which device this is"
    if source.startswith(CONTRADICTION):
        return f"its sources name different devices ({source.removeprefix(CONTRADICTION)})"
    return f"{source} told `{name}`, and no sensor has reported such a device"


def _risk(name: str, risk: RiskAssessment, at: datetime) -> Iterator[str]:
    sure = "" if risk.is_known else ", not sure"
    silent = f", silent: {', '.join(risk.silent_sensors)}" if risk.silent_sensors else ""
    rivals = ", ".join(_one_line(f"{each.kind} {each.value}") for each in risk.contested)
    contested = f", claimed by another device too: {rivals}" if rivals else ""
    yield f"  {name:<10} {risk.level}{sure}{silent}{contested}{_changes(risk.changes_at, at)}"
    for each in risk.contributions:
        title = _one_line(each.title) or each.external_id
        yield f"             {each.level}: {title} ({each.sensor}, {_ago(each.observed_at, at)})"


def _rules(results: Iterable[RuleResult], at: datetime) -> Iterator[str]:
    for result in results:
        name = f"{result.policy}/{result.rule}" if result.rule else result.title
        mark = "hit " if result.state is ComplianceState.COMPLIANT else "miss"
        level = "" if result.is_required else f" ({result.level})"
        yield f"  {mark}  {name}  {result.state}: {result.reason}{level}"
        yield f"        seen {_one_line(result.seen)}, wanted {_one_line(result.wanted)}{_source(result, at)}"
        if result.deadline is not None:
            ends = "ends" if result.deadline > at else "ended"
            yield f"        failing since {_moment(result.since)}, grace {ends} {_moment(result.deadline)}"
        elif result.since is not None:
            yield f"        failing since {_moment(result.since)}"


def _source(result: RuleResult, at: datetime) -> str:
    parts = [result.source, _ago(result.observed_at, at) if result.observed_at else ""]
    told = ", ".join(part for part in parts if part)
    return f" ({told})" if told else ""


def trace_lines(
    traces: Iterable[PolicyTrace], deciding: str, places: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Yield one line a policy: `*` decided, `+` matched, `~` nearly matched, `-` missed; and by what.

    `deciding` names the policy that decided, `places` says where each policy stands (`file:line`).
    """
    traces = tuple(traces)
    # The steps of an escalation have one name: the strictest of them decided.
    named = [each for each in traces if each.matched and each.policy == deciding]
    decided = max(named, key=lambda each: STRICTNESS[each.decision], default=None)
    for trace in traces:
        mark = "*" if trace is decided else "+" if trace.matched else "~" if trace.is_near else "-"
        mode = "" if trace.mode is Mode.ENFORCE else " (report only)"
        missed = f"  {trace.missed}: {_one_line(trace.seen)}" if not trace.matched else ""
        missed += f", and {', '.join(trace.misses[1:])}" if trace.misses[1:] else ""
        place = f"  {places[trace.policy]}" if places and trace.policy in places else ""
        yield f"  {mark} {trace.policy}  {trace.decision}{mode}{missed}{place}"


def _policies(record: DecisionRecord) -> Iterator[str]:
    yield from trace_lines(record.traces, record.policy, record.places)
    if not record.traces:
        yield "  none is configured"


def _user(user: User) -> str:
    shown = user.name or user.email or user.subject
    email = f" <{user.email}>" if user.email and user.email != shown else ""
    return f"{_one_line(shown)}{_one_line(email)}, {_one_line(user.subject)} at {user.provider}"


def _step_up(step_up: StepUp) -> str:
    parts = [f"acr {' or '.join(step_up.acr_values)}"] if step_up.acr_values else []
    parts += [f"sign-in within {duration_text(step_up.max_age)}"] if step_up.max_age is not None else []
    return ", ".join(parts)


def _changes(moment: datetime | None, at: datetime) -> str:
    if moment is None:
        return ""
    return f", changes by time in {duration_text((moment - at).total_seconds())}"


def _ago(moment: datetime, at: datetime) -> str:
    return f"{duration_text((at - moment).total_seconds())} ago"


def _moment(moment: datetime | None) -> str:
    return "?" if moment is None else moment.strftime("%Y-%m-%d %H:%M:%S UTC")


def _one_line(text: str) -> str:
    """Return a text that a sensor, user or provider wrote, without anything that a terminal would obey."""
    return "".join(each if each.isprintable() else " " for each in text)
