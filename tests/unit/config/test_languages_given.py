"""Texts by language in the configuration: what loads, what is refused where, and what to write instead."""

import re

import pytest

from gateway.config.errors import Code
from gateway.config.show import show, show_origins
from tests.unit.config.config_samples import GOOD, faults, load, one

RULE = """\
compliance:
  policies:
    - name: laptop
      escalation: [{after: 1d, decision: block, reason: {en: Too late, de: Zu spät}}]
      rules:
        - type: risk
          name: threat
          max: low
          title: %s
          fixes: %s
"""
ONE = "compliance.policies[0].rules[0]"


def with_rule(title: str = "No threat", fixes: str = "{}", more: str = "") -> str:
    return GOOD + RULE % (title, fixes) + more


def test_the_value_is_the_text_in_the_default_language_and_the_others_are_kept():
    loaded = load(
        with_rule("{de-CH: Kei Gfohr, en: No threat, pt-BR: Sem ameaça}", "{macos: {en: A, de: B}, linux: C}")
    )
    (rule,) = loaded.config.compliance.policies[0].rules
    assert (rule.title, rule.fixes) == ("No threat", {"macos": "A", "linux": "C"})
    assert loaded.language == "en"
    assert loaded.translations == {
        "compliance.policies[0].escalation[0].reason": {"en": "Too late", "de": "Zu spät"},
        f"{ONE}.title": {"en": "No threat", "de-CH": "Kei Gfohr", "pt-BR": "Sem ameaça"},
        f"{ONE}.fixes.macos": {"en": "A", "de": "B"},
    }
    assert list(loaded.translations[f"{ONE}.title"]) == ["en", "de-CH", "pt-BR"], "the default stands first"
    assert loaded.warnings == ()


def test_the_default_language_is_the_first_of_the_pages_wherever_it_stands():
    text = with_rule("{de: Keine Gefahr, en: No threat}", more="pages: {languages: [de, en]}\n")
    loaded = load(text)
    assert loaded.config.compliance.policies[0].rules[0].title == "Keine Gefahr"
    assert loaded.language == "de"
    assert next(iter(loaded.translations[f"{ONE}.title"])) == "de"


def test_a_wider_tag_serves_a_narrower_default(tmp_path):
    """`de` stands for the default `de-AT`, as it would on a page."""
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "de-AT.po").write_text(
        'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=UTF-8\\n"\n'
    )
    pages = "pages: {languages: [de-AT, en], style: {texts: texts}}\n"
    loaded = load(
        with_rule("{de: Keine Gefahr}", more=pages).replace("de: Zu spät", "de-AT: Zu spät"), base=tmp_path
    )
    assert loaded.config.compliance.policies[0].rules[0].title == "Keine Gefahr"


def test_texts_may_stand_in_files_and_the_environment(tmp_path):
    (tmp_path / "fix.de.md").write_text("Platte\n")
    text = with_rule("{en: {env: NAME}, de: {file: fix.de.md}}")
    assert load(text, base=tmp_path).translations[f"{ONE}.title"] == {"en": "wiki", "de": "Platte"}
    assert load(with_rule("{env: NAME}")).config.compliance.policies[0].rules[0].title == "wiki"


def test_a_reason_of_an_access_policy_may_be_given_by_language():
    text = GOOD.replace("decision: allow}", "decision: block, reason: {en: Closed, ar: مغلق}}")
    loaded = load(text)
    assert loaded.config.access.policies[0].reason == "Closed"
    assert loaded.translations == {"access.policies[0].reason": {"en": "Closed", "ar": "مغلق"}}


@pytest.mark.parametrize(
    ("title", "fixes", "path", "code", "said"),
    [
        ("{ge: x, en: y}", "{}", "title.ge", Code.UNKNOWN_KEY, "unknown language `ge`"),
        ("{german: x, en: y}", "{}", "title.german", Code.UNKNOWN_KEY, "did you mean `de`?"),
        ("{Français: x, en: y}", "{}", "title.Français", Code.UNKNOWN_KEY, "did you mean `fr`?"),
        ("{pt_BR: x, en: y}", "{}", "title.pt_BR", Code.UNKNOWN_KEY, "did you mean `pt-BR`?"),
        (
            "{sv: x, en: y}",
            "{}",
            "title.sv",
            Code.UNKNOWN_KEY,
            "languages of the pages: en, ar, de, es, fr, pt",
        ),
        ("{de: x}", "{}", "title", Code.MISSING_KEY, "`en` is missing"),
        ("{}", "{}", "title", Code.MISSING_KEY, "`en` is missing"),
        ('{en: ""}', "{}", "title.en", Code.FORM, "empty"),
        ("{en: }", "{}", "title.en", Code.WRONG_TYPE, "found nothing"),
        ("{en: {de: x}}", "{}", "title.en", Code.WRONG_TYPE, "found a mapping"),
        ("[x]", "{}", "title", Code.WRONG_TYPE, "found a list"),
        ("{EN: a, en: b}", "{}", "title.en", Code.DUPLICATE_KEY, "stands twice"),
        ("{macos: x}", "{}", "title.macos", Code.UNKNOWN_KEY, "stands in `fixes`"),
        ("x", "{macoss: {en: b}}", "fixes.macoss", Code.FORM, "did you mean `macos`?"),
        ("x", "{de: b}", "fixes.de", Code.FORM, "`fixes: {macos: {de: …}}`"),
        ("x", "{macos: {de: b}}", "fixes.macos", Code.MISSING_KEY, "`en` is missing"),
        ("x", "{macos: {en: a, dee: b}}", "fixes.macos.dee", Code.UNKNOWN_KEY, "did you mean `de`?"),
    ],
)
def test_what_is_wrong_is_said_where_it_stands(title, fixes, path, code, said):
    fault = one(with_rule(title, fixes))
    assert (fault.path, fault.code) == (f"{ONE}.{path}", code)
    assert said in f"{fault.message}: {fault.hint}"
    assert fault.file == "/nowhere/gate.yaml"
    line = 18 if path.startswith("title") else 19
    assert fault.line == line


def test_a_language_that_nobody_reads_is_pointed_at_once():
    text = with_rule("{en: a, de: b}", "{macos: {en: a, de: b}}", more="pages: {languages: [en, fr]}\n")
    (warning,) = load(text).warnings
    assert warning.code is Code.WITHOUT_EFFECT
    assert "nobody reads `de`" in warning.message


def test_faults_of_the_pages_bring_no_further_ones():
    """Which languages there are is not known then: their own fault is the only one."""
    found = faults(with_rule("{tlh: x}", more="pages: {languages: 7}\n"))
    assert {path for _, path, _ in found} == {"pages.languages"}


def test_show_prints_every_language_with_its_origin():
    loaded = load(with_rule("{en: No threat, de: Keine Gefahr}", "{macos: {en: A, de: B}}"))
    assert re.search(r"title:\n +en: No threat\n +de: Keine Gefahr\n", show(loaded))
    assert f'{ONE}.title.de = "Keine Gefahr"   # /nowhere/gate.yaml:18' in show_origins(loaded)
    assert f'{ONE}.fixes.macos.de = "B"   # /nowhere/gate.yaml:19' in show_origins(loaded)
