"""Texts of rules and policies in the reader's language: which is chosen, and where a person reads it."""

import re
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from compliance.evaluate import DEFAULT_DENY_REASON
from compliance.model import ComplianceState, Outcome
from gateway.config.remediation import PageSettings
from gateway.controls.effective import Limit
from gateway.controls.notice import NoticeTexts, make_notice
from gateway.hub import wording
from gateway.hub.ambience import load_ambience, shipped
from gateway.hub.pages import Pages
from gateway.hub.runtime import make_runtime
from gateway.hub.texts import preferred
from gateway.hub.views import OperatingSystem, SystemFix
from gateway.localised import LocalisedTexts, Said, chosen
from gateway.remediation.exceptions import Ask, ExceptionKind, Granted
from gateway.remediation.tasks import SecurityTask
from gateway.wire.languages import canonical, lookup, ranges
from risk.model import Fact, SensorRules
from tests.unit.config.config_samples import BASE, load
from tests.unit.hub.page_samples import NOW, access, context, posture, refused, rule

CONFIG = (
    BASE
    + """\
sensors:
  - {name: edr, kind: fleet, max_silence: 1d, auth: {scheme: bearer, secrets: [{env: SECRET}]}}
session_profiles:
  - {name: slow, no_store: true, reauthenticate: 1h}
compliance:
  policies:
    - name: laptops
      escalation:
        - {after: 1d, decision: restrict, controls: [read-only], reason: {en: Too late, de: Zu spät}}
        - {after: 2d, decision: block}
      rules:
        - type: fact
          name: disk
          fact: disk_encrypted
          equals: true
          title: {en: Disk encryption, de: Verschlüsselte Platte, pt-BR: Disco criptografado}
          why: {en: Laptops get lost., de: Laptops gehen verloren.}
          fix: {en: Ask for help., ar: اطلب المساعدة.}
          fixes:
            macos: {en: Open *FileVault*., de: Öffnen Sie *FileVault*.}
            windows: Open *BitLocker*.
        - {type: fact, name: lock, fact: lock, equals: true, title: Screen lock}
        - {type: risk, name: risk, max: low}
        - {type: fact, name: os, fact: os_version, at_least: 14.6, max_age: 3d}
        - {type: fact, name: channel, fact: update_channel, one_of: [stable, lts]}
        - {type: fact, name: bugs, fact: bug_count, max: 3}
        - {type: fact, name: patched, fact: last_update, newer_than: 30d}
        - {type: fact, name: not-beta, fact: beta, not_equals: true}
        - {type: fact, name: not-these, fact: shell, not_one_of: [fish, zsh]}
        - {type: fact, name: range, fact: kernel, at_least: "5", below: "15"}
        - {type: finding, name: critical, at_least: critical}
        - {type: finding, name: few, max: 2}
        - {type: sensor, name: reports, sensor: edr, seen_within: 48h}
access:
  policies:
    - {name: closed, decision: block, reason: {en: For finance only., de: Nur für die Buchhaltung.}}
    - name: careful
      decision: restrict
      include: {groups: [staff]}
      profiles: [slow]
      reason: {en: Handle with care., de: Bitte vorsichtig.}
    - {name: plain, decision: block, reason: Not today.}
"""
)
LOADED = load(CONFIG)
RUNTIME = make_runtime(LOADED.config, "1", translations=LOADED.translations, language=LOADED.language)
TEXTS = RUNTIME.texts
AMBIENCE = load_ambience(PageSettings(), Path())

DISK = rule(title="Disk encryption", why="Laptops get lost.", fix="Ask for help.")


def in_language(language: str, *accepted: str):
    return AMBIENCE.entered(language, "", "/", AMBIENCE.dialects(language, *accepted))


def page(view) -> str:
    return Pages().remediation(view).text


def fix_page(*results, system=OperatingSystem.MACOS, known=None, **changes):
    return wording.remediation(
        access(*(results or (DISK,)), **changes),
        context(texts=TEXTS, system=system),
        can_continue=False,
        decision=refused(),
        posture=known or posture(),
    )


# --- which language ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "language"),
    [
        (["de-AT", "en"], "de"),
        (["pt-br"], "pt-BR"),
        (["pt"], "en"),
        (["fr", "de"], "de"),
        (["tlh"], "en"),
        ([], "en"),
        (["DE"], "de"),
    ],
)
def test_the_language_that_is_wanted_most_else_the_default(wanted, language):
    texts = {"en": "Disk", "de": "Platte", "pt-BR": "Disco"}
    assert chosen(texts, wanted) == Said(texts[language], language)


def test_ranges_lookup_and_the_case_of_tags():
    assert ranges("de;q=0.8, pt-BR, fr;q=0, *;q=0.1") == ("pt-br", "de", "*")
    assert lookup(["zh-Hant-TW"], ["zh", "zh-Hant"]) == "zh-Hant"
    assert [canonical(each) for each in ("pt-br", "ZH-HANT-tw", "de_DE", "e", "", "macos-")] == [
        "pt-BR",
        "zh-Hant-TW",
        None,
        None,
        None,
        None,
    ]


def test_a_reader_prefers_a_dialect_of_the_language_that_is_spoken():
    with in_language("pt", "de, pt-BR;q=0.9, en;q=0.1"):
        assert preferred() == ("pt-br", "pt")
    assert preferred() == ("en",)


# --- reasons of decisions ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "reason", "said"),
    [
        ("closed", "For finance only.", ("Nur für die Buchhaltung.", "de")),
        ("careful (sign-in)", "Handle with care.", ("Bitte vorsichtig.", "de")),
        ("plain", "Not today.", ("Not today.", "en")),
        ("closed", "as it was before a reload", ("as it was before a reload", "en")),
        ("compliance:laptops/disk", "Too late", ("Zu spät", "de")),
        ("compliance:laptops/disk", "Disk encryption: 14.1", ("Verschlüsselte Platte: 14.1", "de")),
        ("compliance:laptops/disk", "Disk encryption: no", ("Verschlüsselte Platte", "de")),
        ("compliance:laptops/lock", "Screen lock: no", ("Screen lock: no", "en")),
        ("compliance:gone/rule", "x", ("x", "en")),
        ("", "No policy lets you into this app.", ("No policy lets you into this app.", "en")),
    ],
)
def test_the_reason_of_a_decision(policy, reason, said):
    assert TEXTS.reason(policy, reason, ["de"]) == said
    assert TEXTS.in_several().reason(policy, reason, ["de"]) == said, "a worker says the same"


def test_a_worker_is_told_only_what_has_several_languages():
    few = TEXTS.in_several()
    assert set(few.reasons) == {"closed", "careful"}
    assert few.rules["laptops/disk"].why == {}
    assert "laptops/lock" not in few.rules
    assert msgspec.json.decode(msgspec.json.encode(few), type=LocalisedTexts) == few


def test_everything_in_all_languages_for_other_systems():
    assert TEXTS.reason_in_all("closed", "For finance only.") == {
        "en": "For finance only.",
        "de": "Nur für die Buchhaltung.",
    }
    assert TEXTS.reason_in_all("closed", "") == {}
    assert TEXTS.titles_in_all(
        [("laptops", "disk", "Disk encryption"), ("laptops", "lock", "Screen lock")]
    ) == {
        "en": "Disk encryption; Screen lock",
        "de": "Verschlüsselte Platte; Screen lock",
        "pt-BR": "Disco criptografado; Screen lock",
    }
    assert TEXTS.titles_in_all([]) == {}


def test_operators_read_the_default_language():
    (policy,) = RUNTIME.config.compliance.policies
    assert (policy.rules[0].title, policy.escalation[0].reason) == ("Disk encryption", "Too late")
    assert RUNTIME.config.access.policies[0].reason == "For finance only."


# --- the pages ---------------------------------------------------------------------------------------------


def test_a_rule_speaks_the_language_of_the_page():
    with in_language("de"):
        view = fix_page()
        html = page(view)
    (problem,) = view.problems
    assert (problem.title, problem.title_lang) == ("Verschlüsselte Platte", "")
    assert (problem.why_md, problem.why_lang) == ("Laptops gehen verloren.", "")
    assert (problem.fix_md, problem.fix_lang) == ("Ask for help.", "en")
    assert (problem.own_fix_md, problem.own_fix_lang) == ("Öffnen Sie *FileVault*.", "")
    assert problem.other_fixes == (SystemFix("Windows", "Open *BitLocker*.", "en"),)
    assert "<bdi>Verschlüsselte Platte</bdi>" in html
    assert '<div class="md" dir="auto" lang="en"><p>Ask for help.</p>' in html
    assert '<div class="md" dir="auto"><p>Öffnen Sie <em>FileVault</em>.</p>' in html
    assert '<div class="md" dir="auto" lang="en"><p>Open <em>BitLocker</em>.</p>' in html


def test_a_text_that_falls_back_is_marked_on_an_arabic_page():
    with in_language("ar"):
        html = page(fix_page())
    assert '<html lang="ar" dir="rtl">' in html
    assert re.search(r'<h3 id="[^"]+"><bdi lang="en">Disk encryption</bdi></h3>', html)
    assert '<div class="md" dir="auto"><p>اطلب المساعدة.</p>' in html
    assert '<div class="md muted" dir="auto" lang="en"><p>Laptops get lost.</p>' in html


def test_a_dialect_is_read_by_whoever_asks_for_it():
    with in_language("pt", "pt-BR, pt;q=0.9"):
        (brazilian,) = fix_page().problems
    with in_language("pt", "pt-PT, pt;q=0.9"):
        (portuguese,) = fix_page().problems
    assert (brazilian.title, brazilian.title_lang) == ("Disco criptografado", "pt-BR")
    assert (portuguese.title, portuguese.title_lang) == ("Disk encryption", "en")


def test_the_devices_own_platform_counts_where_it_is_known():
    fact = Fact(name="platform", sensor="fleet", value="windows", observed_at=NOW, received_at=NOW)
    known = posture(facts={("fleet", "platform"): fact})
    with in_language("de"):
        (problem,) = fix_page(known=known, sensors={"fleet": SensorRules(name="fleet")}).problems
    assert (problem.fix_md, problem.fix_lang, problem.own_fix_md, problem.other_fixes) == (
        "Open *BitLocker*.",
        "en",
        "",
        (),
    )


def test_what_waits_for_a_silent_sensor_is_named_in_its_language():
    silent = {"state": ComplianceState.UNKNOWN, "reason": "sensor-silent"}
    results = (
        rule(title="Disk encryption", why="", fix="", **silent),
        rule(rule="lock", title="Screen lock", why="", fix="", **silent),
    )
    with in_language("ar"):
        view = fix_page(*results)
        html = page(view)
    (problem,) = view.problems
    assert problem.wanted == "Disk encryption، Screen lock"
    assert '<bdi lang="en">Disk encryption</bdi>، <bdi lang="en">Screen lock</bdi>' in html
    with in_language("de"):
        assert '<bdi>Verschlüsselte Platte</bdi>, <bdi lang="en">Screen lock</bdi>' in page(
            fix_page(*results)
        )


def test_the_page_is_new_when_its_texts_are():
    with in_language("de"):
        german = fix_page().revision
    assert german != fix_page().revision


def test_reasons_on_refusal_pages():
    decision = refused(Outcome.BLOCK, policy="closed", reason="For finance only.")
    with in_language("de"):
        html = Pages().blocked(wording.blocked(context(texts=TEXTS), decision)).text
        assert "<blockquote><bdi>Nur für die Buchhaltung.</bdi></blockquote>" in html
    with in_language("fr"):
        html = Pages().blocked(wording.blocked(context(texts=TEXTS), decision)).text
        assert '<blockquote><bdi lang="en">For finance only.</bdi></blockquote>' in html
        step_up = refused(Outcome.STEP_UP, policy="careful (sign-in)", reason="Handle with care.")
        html = Pages().step_up(wording.step_up(context(texts=TEXTS), step_up, continue_url="/")).text
        assert '<bdi lang="en">Handle with care.</bdi>' in html
    with in_language("de"):
        limited = wording.restricted(
            context(texts=TEXTS), Limit.NO_STORE, policy="careful", reason="Handle with care."
        )
        assert "<bdi>Bitte vorsichtig.</bdi>" in Pages().restricted(limited).text


def test_the_owner_reads_the_rule_in_their_own_language():
    ask = Ask(
        id="ask_1",
        rule="laptops/disk",
        title="Disk encryption",
        device_id="dev_1",
        device="ANA-MBP",
        person="p",
        person_name="ana",
        reason="tomorrow",
        owners=("pat",),
        longest_s=3600.0,
        asked_at=NOW,
        answer_by=NOW,
    )
    with in_language("de"):
        html = Pages().approve(wording.approve(context(texts=TEXTS), ask, answer_url="/x")).text
        assert "<bdi>Verschlüsselte Platte</bdi>" in html
    with in_language("es"):
        html = Pages().approve(wording.approve(context(texts=TEXTS), ask, answer_url="/x")).text
        assert '<bdi lang="en">Disk encryption</bdi>' in html


def test_my_page_calls_tasks_and_exceptions_as_the_rules_are_called():
    task = SecurityTask(
        id="t1",
        device_id="dev_1",
        device="ANA-MBP",
        cause="rule:laptops/disk",
        title="Disk encryption",
        opened_at=NOW,
        due_at=NOW,
    )
    found = msgspec.structs.replace(task, id="t2", cause="finding:edr:1", title="Stealer")
    granted = Granted(
        id="exc_1",
        kind=ExceptionKind.SNOOZE,
        rule="laptops/disk",
        device_id="dev_1",
        device="ANA-MBP",
        person="p",
        person_name="ana",
        reason="later",
        by="ana",
        granted_at=NOW,
        expires_at=NOW + timedelta(hours=1),
    )
    with in_language("de"):
        view = wording.me(access(DISK), context(texts=TEXTS), tasks=[task, found], exceptions=[granted])
        html = Pages().me(view).text
    assert [each.title for each in view.tasks] == ["Verschlüsselte Platte", "Stealer"]
    assert view.exceptions[0].rule == "Verschlüsselte Platte"
    assert "<bdi>Verschlüsselte Platte</bdi>: bis" in html


def test_checks_of_a_problem_document_speak_it_too():
    with in_language("de"):
        (check,) = wording.as_checks(wording.problems(access(DISK), context(texts=TEXTS), posture=posture()))
    assert (check["title"], check["why"]) == ("Verschlüsselte Platte", "Laptops gehen verloren.")


# --- the notice in pages of limited sessions ---------------------------------------------------------------


@pytest.mark.parametrize(("language", "mark"), [("en", ""), ("de", ' lang="de"'), ("", "")])
def test_the_notice_marks_another_language(language, mark):
    texts = NoticeTexts("en", "ltr", "Limited access", "See how", "Hide", {"no-store": "Nothing is kept"})
    made = make_notice(
        texts,
        origin="https://wiki.test",
        names=("no-store",),
        reason="Handle with care.",
        said="Bitte vorsichtig.",
        said_language=language,
    )
    assert f"<bdi{mark}>Bitte vorsichtig.</bdi>".encode() in made.html("")
    without = make_notice(
        texts, origin="https://wiki.test", names=("no-store",), reason="", said_language="de"
    )
    assert b"<bdi>Nothing is kept.</bdi>" in without.html("")


# --- what a rule asks for, and what was seen ---------------------------------------------------------------


def said(name: str, seen: str, *, language: str = "de", **changes) -> tuple[str, str, str]:
    """Return title, what was seen and what is wanted, as the page says them of a rule."""
    result = rule(
        policy="laptops",
        rule=name,
        title="(English)",
        seen=seen,
        wanted="(English)",
        why="",
        fix="",
        **changes,
    )
    with in_language(language):
        found = wording.problems(
            access(result), context(texts=TEXTS, rules=RUNTIME.rules), posture=posture(findings={})
        )
    problem = next(each for each in found if each.key == f"rule:laptops/{name}")
    return problem.title, problem.seen, problem.wanted


@pytest.mark.parametrize(
    ("name", "seen", "expected"),
    [
        ("risk", "high: Stealer", ("Risiko des Geräts", "hoch: Stealer", "höchstens niedrig")),
        ("risk", "medium", ("Risiko des Geräts", "mittel", "höchstens niedrig")),
        ("os", "14.1", ("Systemversion", "14.1", "14.6 oder neuer, Meldung höchstens 3 Tage alt")),
        ("channel", "beta", ("Update channel", "beta", "stable oder lts")),
        ("bugs", "7", ("Bug count", "7", "höchstens 3")),
        ("patched", "2026-01-01", ("Last update", "2026-01-01", "höchstens 30 Tage her")),
        ("not-beta", "maybe", ("Beta", "maybe", "nicht ja")),
        ("not-these", "zsh", ("Shell", "zsh", "keines von fish, zsh")),
        ("range", "16", ("Kernel", "16", "5 oder neuer, älter als 15")),
        ("critical", "2 open: CVE-2026-1", ("Offene Befunde", "2 offen: CVE-2026-1", "keine")),
        ("few", "3 open: CVE-2026-1", ("Offene Befunde", "3 offen: CVE-2026-1", "höchstens 2")),
    ],
)
def test_what_was_seen_and_what_is_wanted_are_in_the_language_of_the_page(name, seen, expected):
    reason = {"risk": "risk-too-high", "critical": "finding-open", "few": "finding-open"}.get(
        name, "fact-differs"
    )
    assert said(name, seen, reason=reason) == expected


def test_what_is_fine_is_said_in_it_too():
    done = {"state": ComplianceState.COMPLIANT, "reason": "met"}
    assert said("few", "0 open", **done)[:2] == ("Offene Befunde", "0 offen")
    assert said("risk", "none", **done)[:2] == ("Risiko des Geräts", "")
    # The page says when a sensor reported last; it does not say so twice.
    assert said("reports", "last 3 h ago", **done)[:2] == ("Bericht von Edr", "")
    assert said("few", "2 open", language="ar", **done)[1] == "اثنتان مفتوحتان"


def test_english_is_as_compliance_says_it():
    assert said("os", "14.1", language="en") == (
        "System version",
        "14.1",
        "14.6 or newer, reported within 3 days",
    )
    assert said("risk", "high", language="en", reason="risk-too-high")[2] == "at most low"


def test_that_no_policy_lets_in_is_said_in_our_own_words():
    decision = refused(Outcome.BLOCK, policy="", reason=DEFAULT_DENY_REASON)
    with in_language("de"):
        view = wording.blocked(context(texts=TEXTS), decision)
    assert view.reason == ""
    assert view.lead == shipped()["de"].texts["blocked_lead_unmatched"]


def test_what_is_held_is_named_in_the_language_of_the_page():
    with in_language("fr"):
        labels = [item.label for item in fix_page().held]
    assert {"Numéro de série", "Nom sur le réseau", "Chiffrement du disque"} <= set(labels)
