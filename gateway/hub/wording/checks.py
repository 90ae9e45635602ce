"""The open problems of a device for whoever is no browser: what the remediation page says, as data. Pure."""

from collections.abc import Iterable

from gateway.hub.views import Moment, ProblemStatus, ProblemView

CHECKS_MAX = 20


def as_checks(found: Iterable[ProblemView]) -> list[dict[str, object]]:
    """Return the members of `checks` of a problem document, what is not known left out; at most `CHECKS_MAX`."""
    still_open = [each for each in found if each.status is not ProblemStatus.DONE]
    return [_check(each) for each in still_open[:CHECKS_MAX]]


def _check(problem: ProblemView) -> dict[str, object]:
    said: dict[str, object] = {
        "key": problem.key,
        "title": problem.title,
        "status": problem.status.value,
        "kind": "silence" if problem.is_silence else "problem",
        "severity": problem.severity,
        "seen": problem.seen,
        "wanted": problem.wanted,
        "sensor": problem.sensor,
        "observed_at": _instant(problem.observed),
        "due_at": _instant(problem.deadline),
        "steps": problem.steps,
        "fix": "\n\n".join(part for part in (problem.fix_md, problem.own_fix_md) if part),
        "why": problem.why or problem.why_md,
        "more": problem.link_url,
    }
    return {name: value for name, value in said.items() if value}


def _instant(moment: Moment | None) -> str:
    return "" if moment is None else moment.at.isoformat()
