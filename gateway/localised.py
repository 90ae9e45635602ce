"""The texts of rules and policies that people see, in every language that the configuration gives. Pure.

What compliance says and what operators see is in the default language; only where a person reads, another one is
chosen: by RFC 4647 lookup among the languages of that very text, the default language when none fits.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from compliance.model import CompliancePolicy, ComplianceRule, EscalationStep
from gateway.config.schema import Config
from gateway.decision.reauthentication import SIGN_IN_SUFFIX
from gateway.wire.languages import lookup

ENGLISH = "en"
COMPLIANCE = "compliance:"
"""What the name of a policy begins with that is a step of an escalation: `compliance:policy/rule`."""

Texts = dict[str, str]
"""A text by language tag, the default language first; never empty where there is a text."""


class Said(NamedTuple):
    """A text and the language that it is in."""

    text: str
    language: str


class RuleTexts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a rule says; empty where the configuration says nothing. `fixes` are by platform."""

    title: Texts = {}
    why: Texts = {}
    fix: Texts = {}
    fixes: dict[str, Texts] = {}


class LocalisedTexts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All of them: `rules` by `policy/rule`, `reasons` by access policy, `steps` (escalation) by compliance policy.

    `language` is the default one.
    """

    language: str = ENGLISH
    rules: dict[str, RuleTexts] = {}
    reasons: dict[str, Texts] = {}
    steps: dict[str, tuple[Texts, ...]] = {}

    def rule(self, policy: str, rule: str) -> RuleTexts:
        """Return the texts of a rule; none of a rule that is not configured."""
        return self.rules.get(f"{policy}/{rule}", _NO_TEXTS)

    def reason(self, policy: str, reason: str, wanted: Iterable[str]) -> Said:
        """Return the reason of a decision in the language that is wanted most. `policy` is the one that decided."""
        texts, rest = self._reason(policy, reason)
        said = chosen(texts, wanted)
        return Said(said.text + _after(rest, said.language), said.language)

    def reason_in_all(self, policy: str, reason: str) -> Texts:
        """Return the reason of a decision in every language that it is given in; none for no reason."""
        texts, rest = self._reason(policy, reason)
        return {tag: text + _after(rest, tag) for tag, text in texts.items()} if reason else {}

    def titles_in_all(self, rules: Sequence[tuple[str, str, str]]) -> Texts:
        """Return the titles of failed rules, as (policy, rule, default title), in every language that one of them has.

        A rule that lacks a language is called by its default title there.
        """
        texts = [
            self.rule(policy, rule).title or {self.language: title} for policy, rule, title in rules if title
        ]
        tags = dict.fromkeys([self.language, *(tag for each in texts for tag in each)]) if texts else {}
        return {tag: "; ".join(dict.fromkeys(chosen(each, [tag]).text for each in texts)) for tag in tags}

    def _reason(self, policy: str, reason: str) -> tuple[Texts, str]:
        """Return the texts that a reason is in, and what follows them in every language."""
        if policy.startswith(COMPLIANCE):
            return self._demand(policy.removeprefix(COMPLIANCE), reason)
        texts = self.reasons.get(policy) or self.reasons.get(policy.removesuffix(SIGN_IN_SUFFIX), {})
        if texts and _default(texts) == reason:
            return texts, ""
        return {self.language if policy else ENGLISH: reason}, ""

    def _demand(self, place: str, reason: str) -> tuple[Texts, str]:
        """Return the reason of an escalation: the step's own, else the title of the rule and what was seen."""
        steps = self.steps.get(place.partition("/")[0], ())
        found = next((each for each in steps if _default(each) == reason), None)
        if found is not None:
            return found, ""
        title = self.rules.get(place, _NO_TEXTS).title
        begin = _default(title)
        if title and reason.startswith(f"{begin}: "):
            return title, reason.removeprefix(begin)
        return {self.language if title else ENGLISH: reason}, ""

    def in_several(self) -> "LocalisedTexts":
        """Return only what is given in several languages and can be the reason of a decision: what a worker needs."""
        steps = {
            policy: tuple(each for each in steps if len(each) > 1) for policy, steps in self.steps.items()
        }
        return LocalisedTexts(
            language=self.language,
            rules={
                place: RuleTexts(title=each.title)
                for place, each in self.rules.items()
                if len(each.title) > 1
            },
            reasons={policy: texts for policy, texts in self.reasons.items() if len(texts) > 1},
            steps={policy: each for policy, each in steps.items() if each},
        )


_NO_TEXTS = RuleTexts()


def chosen(texts: Texts, wanted: Iterable[str]) -> Said:
    """Return the text whose language is wanted most, else the first, which is the default. `texts` is not empty.

    >>> chosen({"en": "Disk", "de": "Platte"}, ["de-AT", "en"])
    Said(text='Platte', language='de')
    >>> chosen({"en": "Disk", "de": "Platte"}, ["fr"])
    Said(text='Disk', language='en')
    """
    tag = lookup(wanted, texts) or next(iter(texts))
    return Said(texts[tag], tag)


def localised_texts(
    config: Config, translations: Mapping[str, Mapping[str, str]] | None = None, language: str = ENGLISH
) -> LocalisedTexts:
    """Return the texts of a configuration. `translations` are by the path of each text, as the loader gives them."""
    given = _Given(translations or {}, language)
    policies = [
        (f"compliance.policies[{at}]", policy) for at, policy in enumerate(config.compliance.policies)
    ]
    return LocalisedTexts(
        language=language,
        rules={
            f"{policy.name}/{rule.name}": given.rule(f"{where}.rules[{at}]", rule)
            for where, policy in policies
            for at, rule in enumerate(policy.rules)
        },
        reasons={
            policy.name: given.texts(f"access.policies[{at}].reason", policy.reason)
            for at, policy in enumerate(config.access.policies)
            if policy.reason
        },
        steps={policy.name: given.steps(where, policy) for where, policy in policies if _has_reasons(policy)},
    )


class _Given(NamedTuple):
    """What the loader found, by path, and the default language."""

    translations: Mapping[str, Mapping[str, str]]
    language: str

    def texts(self, path: str, text: str) -> Texts:
        return dict(self.translations.get(path) or ({self.language: text} if text else {}))

    def rule(self, path: str, rule: ComplianceRule) -> RuleTexts:
        return RuleTexts(
            title=self.texts(f"{path}.title", rule.title),
            why=self.texts(f"{path}.why", rule.why),
            fix=self.texts(f"{path}.fix", rule.fix),
            fixes={name: self.texts(f"{path}.fixes.{name}", text) for name, text in rule.fixes.items()},
        )

    def steps(self, path: str, policy: CompliancePolicy) -> tuple[Texts, ...]:
        steps: tuple[EscalationStep, ...] = policy.escalation
        return tuple(
            self.texts(f"{path}.escalation[{at}].reason", step.reason)
            for at, step in enumerate(steps)
            if step.reason
        )


def _has_reasons(policy: CompliancePolicy) -> bool:
    return any(step.reason for step in policy.escalation)


def _after(rest: str, language: str) -> str:
    """Return what was seen, after a title in this language: a bare English word after another one says nothing."""
    is_word = rest in {": yes", ": no", ": none"}
    return "" if is_word and lookup([language], [ENGLISH]) is None else rest


def _default(texts: Texts) -> str:
    return next(iter(texts.values()), "")
