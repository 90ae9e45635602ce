"""What a hypothetical request comes to, as an answer for machines and as lines for people. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from compliance.why import why
from gateway.decision.explain import DecisionRecord, facts_asked, trace_lines
from gateway.decision.hypothetical import Meaning, Supposed
from gateway.decision.nearest import would_change


def changes_of(supposed: Supposed, meaning: Meaning) -> tuple[str, ...]:
    """Return what would lead to a better decision."""
    context = supposed.context
    policies = meaning.policies_of(context.app)
    return would_change(meaning.config, policies, context, supposed.request, supposed.decision.outcome)


def answer_of(supposed: Supposed, changes: tuple[str, ...], places: Mapping[str, str]) -> dict[str, Any]:
    """Return the decision with its device, the trace of every policy, and where each stands."""
    context = supposed.context
    return {
        "decision": supposed.decision,
        "device": {"id": context.device_id, "compliance": context.compliance, "risk": context.risk},
        "policies": supposed.traces,
        "places": dict(places),
        "would_change": changes,
    }


def answer_lines(supposed: Supposed, changes: tuple[str, ...], places: Mapping[str, str]) -> Iterator[str]:
    """Yield the decision, the device, the trace of every policy and what would lead to a better decision."""
    decision, context = supposed.decision, supposed.context
    by = f" by {decision.policy}" if decision.policy else ": no policy lets anybody in"
    yield f"{decision.outcome}{by}" + (f" ({decision.reason})" if decision.reason else "")
    for what, names in (("controls", decision.controls), ("profiles", decision.profiles)):
        if names:
            yield f"  session {what}: {', '.join(sorted(names))}"
    if decision.would_be is not None:
        yield f"  with the policies in report mode: {decision.would_be}"
    device = "not known" if context.device_id is None else context.compliance.state
    yield f"device {device}, risk {context.risk.level}{'' if context.risk.is_known else ' (not known for sure)'}"
    for result in context.compliance.results:
        name = f"{result.policy}/{result.rule}" if result.rule else result.title
        yield f"  {name}: {result.state} ({result.reason}), {result.seen or 'nothing seen'}"
    yield "policies"
    yield from trace_lines(supposed.traces, decision.policy, places)
    if changes:
        yield "nearest better decisions"
        yield from (f"  {change}" for change in changes)


def record_of(supposed: Supposed, meaning: Meaning, revision: str) -> DecisionRecord:
    """Return the record that the decision would have, were it made."""
    context, policies = supposed.context, meaning.policies_of(supposed.context.app)
    return DecisionRecord.of(
        code="-",
        app=context.app,
        context=context,
        request=supposed.request,
        client="-",
        session="-",
        decision=supposed.decision,
        traces=supposed.traces,
        would_change=changes_of(supposed, meaning),
        why=why(supposed.decision, policies, supposed.traces, context),
        revision=revision,
        places=meaning.places,
        facts=facts_asked(policies, context),
    )
