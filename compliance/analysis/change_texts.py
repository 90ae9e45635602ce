"""Changes of a decision's inputs, in words. Pure."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from compliance.analysis.domains import OTHER, Space
from compliance.analysis.nearest import Change
from compliance.analysis.values import Ago
from compliance.model import AccessContext, ComplianceState, FindingCondition
from compliance.texts import duration_text, shown_value


def change_texts(change: Change, space: Space, context: AccessContext) -> Iterator[str]:
    """Yield what would be otherwise, as short texts for people."""
    name, _, rest = change.name.partition(" ")
    say = _BY_NAME.get(change.name) or _BY_KIND.get(name)
    if change.name == "compliance":
        yield _compliance(change.then, context)
    elif change.name == "age":
        yield _age(change.then, space)
    elif say is None:
        yield f"{change.name} is {change.then}"
    else:
        yield from say(change, rest)


def _compliance(state: Any, context: AccessContext) -> str:
    if state is not ComplianceState.COMPLIANT:
        return f"the device is {state}"
    unmet = [
        f"{result.title}: {result.seen}, wanted {result.wanted}"
        for result in context.compliance.results
        if result.state is not ComplianceState.COMPLIANT and result.is_required and result.rule
    ]
    why = f" ({'; '.join(unmet)})" if unmet else ""
    return f"the device becomes compliant{why}"


def _age(least: Any, space: Space) -> str:
    if least is None:
        return "the provider does not tell when the sign-in was"
    above = [
        value.key for value in space.variable("age").values if value.key is not None and value.key > least
    ]
    if above:
        return f"the sign-in is younger than {duration_text(min(above))}"
    return f"the sign-in is at least {duration_text(least)} old"


def _risk(whose: str) -> Callable[[Change, str], Iterator[str]]:
    def say(change: Change, _rest: str) -> Iterator[str]:
        level, is_known = change.then
        yield f"the risk of {whose} is {level}{'' if is_known else ', not known for sure'}"

    return say


def _member(yes: str, no: str) -> Callable[[Change, str], Iterator[str]]:
    def say(change: Change, rest: str) -> Iterator[str]:
        match change.then:
            case "unknown":
                yield f"nobody tells whether {yes} {rest}"
            case then:
                yield f"{yes if then == 'yes' else no} {rest}"

    return say


def _plain(text: str) -> Callable[[Change, str], Iterator[str]]:
    def say(change: Change, rest: str) -> Iterator[str]:
        value = change.then or "not known"
        if change.then == OTHER:
            value = change.says.get("platform", "another")
        yield text.format(value=value, rest=rest)

    return say


def _network(change: Change, _rest: str) -> Iterator[str]:
    now, then = frozenset(change.now or ()), frozenset(change.then or ())
    yield from (f"the request comes from network {name}" for name in sorted(then - now))
    yield from (f"the request does not come from network {name}" for name in sorted(now - then))


def _moment(change: Change, _rest: str) -> Iterator[str]:
    yield f"it is {datetime.fromisoformat(str(change.says['at'])):%A, %Y-%m-%d %H:%M} UTC"


def _finding(change: Change, _rest: str) -> Iterator[str]:
    asked, is_open = change.then
    meant = " and ".join(sorted(_meant(each) for each in asked))
    yield f"a finding ({meant}) is open" if is_open else f"no finding ({meant}) is open"


def _meant(asked: FindingCondition) -> str:
    parts = [asked.category, f"{asked.at_least} or worse" if asked.at_least else "", asked.sensor]
    parts.append(f"older than {duration_text(asked.older_than)}" if asked.older_than is not None else "")
    return " ".join(part for part in parts if part)


def _fact(change: Change, rest: str) -> Iterator[str]:
    says: Any = change.says
    if "facts" not in says:
        yield f"{rest} is from a silent sensor" if "silent_facts" in says else f"{rest} is not known"
        return
    value = says["facts"][rest]
    if isinstance(value, Ago):
        yield f"{rest} is {duration_text(value.seconds)} ago"
        return
    age = says.get("fact_ages", {}).get(rest, 0.0)
    yield f"{rest} is {shown_value(value)}" + (f", reported {duration_text(age)} ago" if age else "")


_BY_NAME: dict[str, Callable[[Change, str], Iterator[str]]] = {
    "risk": _risk("the device"),
    "user_risk": _risk("the person"),
    "session_risk": _risk("the session"),
    "device": _plain("the device is {value}"),
    "acr": _plain("the sign-in has acr {value}"),
    "binding": _plain("the request is bound to the device by {value}"),
    "platform": _plain("the device runs {value}"),
    "ownership": _plain("the device is {value}"),
    "provider": _plain("the sign-in is at {value}"),
    "host": _plain("the request is for {value}"),
    "client": _plain("the client is of kind {value}"),
    "method": _plain("the method is {value}"),
    "path": _plain("the path is {value}"),
    "network": _network,
    "moment": _moment,
}

_BY_KIND: dict[str, Callable[[Change, str], Iterator[str]]] = {
    "groups": _member("the user is in group", "the user is not in group"),
    "roles": _member("the user has role", "the user has not role"),
    "amr": _member("the sign-in was by", "the sign-in was not by"),
    "tag": _member("the device is tagged", "the device is not tagged"),
    "claim": _member("the sign-in says", "the sign-in does not say"),
    "sensor": _plain("sensor {rest} is {value}"),
    "finding": _finding,
    "fact": _fact,
}
