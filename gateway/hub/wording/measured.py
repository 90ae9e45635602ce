"""What a rule asks for, and what was seen instead, in the language of the page. Pure.

Compliance says both in English, for operators; here they are said anew from the rule itself. A rule that is not
configured any more is said as it was recorded.
"""

from compliance.model import ComplianceRule, FactRule, FindingRule, RiskRule, RuleResult, SensorRule
from compliance.reasons import ComplianceReason
from compliance.texts import heading, shown_value
from gateway.hub.texts import TEXTS, plural, text
from gateway.hub.wording.times import lasting
from gateway.hub.wording.untrusted import NO_BREAK, TITLE_MAX, VALUE_MAX, clean, sensor_label
from risk.model import RiskLevel

_LEVELS = {level.value: f"level_{level}" for level in RiskLevel}


def rule_name(rule: ComplianceRule) -> str:
    """Return what a rule is called that the configuration gives no title."""
    match rule:
        case RiskRule():
            return text("rule_risk")
        case FindingRule():
            return text("rule_findings")
        case SensorRule():
            return text("rule_sensor", sensor=sensor_label(rule.sensor))
        case FactRule():
            return fact_name(rule.fact)


def fact_name(fact: str) -> str:
    """Return what people call a fact: the usual ones in the language of the page, others by their own name."""
    key = "fact_" + fact.strip().lower().replace("-", "_").replace(".", "_")
    return text(key) if key in TEXTS else clean(heading(fact), TITLE_MAX)


def kind_name(kind: str) -> str:
    """Return what people call a kind of identifier, as `fact_name` does."""
    return text(f"kind_{kind}") if f"kind_{kind}" in TEXTS else kind.replace("-", " ").capitalize()


def wanted(result: RuleResult, rule: ComplianceRule | None) -> str:
    """Return what a rule asks for."""
    match rule:
        case RiskRule():
            is_none = rule.max is RiskLevel.NONE
            return text("wanted_no_risk") if is_none else text("wanted_risk", level=text(f"level_{rule.max}"))
        case FactRule():
            return clean(text("list_comma").join(_fact_wanted(rule)), VALUE_MAX)
        case SensorRule():
            return text("wanted_reported", length=lasting(rule.seen_within))
        case FindingRule():
            return text("wanted_max", value=rule.max) if rule.max else text("wanted_none")
        case None:
            return clean(result.wanted, VALUE_MAX)


def _fact_wanted(rule: FactRule) -> list[str]:
    age = [] if rule.max_age is None else [text("wanted_reported", length=lasting(rule.max_age))]
    return [*_values(rule), *_bounds(rule), *age]


def _values(rule: FactRule) -> list[str]:
    said: list[str] = []
    if rule.equals is not None:
        said.append(_value(rule.equals))
    if rule.not_equals is not None:
        said.append(text("wanted_not", value=_value(rule.not_equals)))
    if rule.one_of is not None:
        said.append(text("list_or").join(rule.one_of))
    if rule.not_one_of is not None:
        said.append(text("wanted_none_of", values=text("list_comma").join(rule.not_one_of)))
    return said


def _bounds(rule: FactRule) -> list[str]:
    said: list[str] = []
    if rule.at_least is not None:
        said.append(text("wanted_at_least", value=rule.at_least))
    if rule.below is not None:
        said.append(text("wanted_below", value=rule.below))
    if rule.min is not None:
        said.append(text("wanted_min", value=f"{rule.min:g}"))
    if rule.max is not None:
        said.append(text("wanted_max", value=f"{rule.max:g}"))
    if rule.newer_than is not None:
        said.append(text("wanted_newer", length=lasting(rule.newer_than)))
    return said


def _value(value: str | float | bool) -> str:
    if isinstance(value, bool):
        return text("value_yes" if value else "value_no")
    return shown_value(value)


def seen(result: RuleResult, rule: ComplianceRule | None) -> str:
    """Return what was seen, "" where another line of the page says it."""
    begin, _, title = result.seen.partition(": ")
    match rule:
        case RiskRule() if begin in _LEVELS:
            return _with_title(text(_LEVELS[begin]), title)
        case FindingRule() if begin.partition(" ")[0].isdecimal():
            return _with_title(plural("seen_open", int(begin.partition(" ")[0])), title)
        case SensorRule() if result.reason == ComplianceReason.MET:
            return ""
        case _:
            return clean(result.seen, VALUE_MAX)


def _with_title(said: str, title: str) -> str:
    return clean(text("seen_what", seen=said, what=title) if title else said, VALUE_MAX, keep=NO_BREAK)
