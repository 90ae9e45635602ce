"""What every page is told, and the words that depend on it. Pure."""

import itertools
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo

import msgspec

from compliance.evaluate import DEFAULT_DENY_REASON
from compliance.model import AccessContext, ComplianceRule
from gateway.hub.texts import TEXTS, preferred, spoken, text
from gateway.hub.views import Moment, OperatingSystem, StepState, Stop, Words
from gateway.hub.wording.measured import rule_name
from gateway.hub.wording.times import moment
from gateway.hub.wording.untrusted import NAME_MAX, NO_BREAK, SENTENCE_MAX, TITLE_MAX, clean, name_in_sentence
from gateway.localised import LocalisedTexts, Said, Texts, chosen


class PageContext(msgspec.Struct, frozen=True, kw_only=True):
    """What every page is told. `app` is the app's title and `owner` whom to ask; "" where there is none.

    `account` names the signed-in person ("" when nobody is). `sensor_labels` maps sensor names to labels. `texts` are
    those of rules and policies in every language, `rules` the rules themselves by `policy/rule`. `system` is that of
    the browser, `platform` that of the device, "" while no sensor tells it.
    """

    now: datetime
    reference: str = ""
    account: str = ""
    app: str = ""
    owner: str = ""
    sign_out_url: str = "/.gate/logout"
    system: OperatingSystem = OperatingSystem.UNKNOWN
    platform: str = ""
    zone: tzinfo = UTC
    sensor_labels: dict[str, str] = {}
    texts: LocalisedTexts = LocalisedTexts()
    rules: Mapping[str, ComplianceRule] = {}

    @property
    def app_name(self) -> str:
        """The app's title made harmless, "" without one."""
        return name_in_sentence(self.app)

    def moment(self, at: datetime) -> Moment:
        """Return `at` for people, as seen from this page."""
        return moment(at, self.now, self.zone)

    def reason(self, policy: str, reason: str) -> Words:
        """Return the reason of a decision in the reader's language, else in the default one. `policy` decided it.

        That no policy lets anybody in is no reason of anybody's: pages have words of their own for it.
        """
        if not reason or (not policy and reason == DEFAULT_DENY_REASON):
            return Words()
        return words(self.texts.reason(policy, reason, preferred()), SENTENCE_MAX)

    def rule_title(self, policy: str, rule: str, title: str) -> Words:
        """Return what a rule is called in the reader's language; `title` is what it is called in the default one."""
        given = self.texts.rule(policy, rule).title
        if given:
            return localised(given, TITLE_MAX)
        known = self.rules.get(f"{policy}/{rule}")
        return Words(clean(title, TITLE_MAX)) if known is None else Words(rule_name(known))


def localised(texts: Texts, limit: int, *, keep_lines: bool = False) -> Words:
    """Return a text of the configuration in the reader's language, else in the default one; none of none."""
    return words(chosen(texts, preferred()), limit, keep_lines=keep_lines) if texts else Words()


def words(said: Said, limit: int, *, keep_lines: bool = False) -> Words:
    """Return a text made harmless, with its language where it is not that of the page."""
    lang = "" if said.language == spoken().language else said.language
    return Words(clean(said.text, limit, keep_lines=keep_lines, keep=NO_BREAK), lang)


def sentence(key: str, context: PageContext, **values: object) -> str:
    """Return text `key` naming the app, or its form ``…_no_app`` when no app is known."""
    if context.app_name or f"{key}_no_app" not in TEXTS:
        return text(key, app=context.app_name or text("the_app_inside"), **values)
    return text(f"{key}_no_app", **values)


def numbered(prefix: str) -> tuple[str, ...]:
    """Return the texts `prefix_1`, `prefix_2` and so on."""
    keys = itertools.takewhile(TEXTS.__contains__, (f"{prefix}_{number}" for number in itertools.count(1)))
    return tuple(text(key) for key in keys)


def you_stop(state: StepState, key: str) -> Stop:
    """Return the person's stop of the access line, its state in the words of text `key`."""
    return Stop("person", text("stop_you"), state, text(key))


def app_stop(context: PageContext, state: StepState, key: str) -> Stop:
    """Return the app's stop of the access line."""
    return Stop("app", clean(context.app, NAME_MAX) or text("stop_app"), state, text(key))


def gate_stop(state: StepState, key: str) -> Stop:
    """Return our own stop of the access line."""
    return Stop("gate", text("stop_gate"), state, text(key))


def device_inside(access: AccessContext) -> str:
    """Return the device's name for the middle of a sentence."""
    return name_in_sentence(access.device_name) or text("your_device_inside")


def device_first(access: AccessContext) -> str:
    """Return the device's name for the beginning of a sentence."""
    return name_in_sentence(access.device_name) or text("your_device")
