"""Catalogues are whole, fit their places, follow the rules of their languages; the right one is spoken."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.config.remediation import PageSettings, PageStyle
from gateway.hub import wording
from gateway.hub.ambience import StyleFault, contrast, load_ambience, shipped
from gateway.hub.pages import Pages
from gateway.hub.texts import plural, speaking, text
from gateway.hub.texts.catalogue import (
    MANY,
    MESSAGES,
    ONE,
    PLURALS,
    CatalogueFault,
    english_places,
    parse_catalogue,
    places,
    template_po,
)
from gateway.hub.texts.english import TEXTS
from gateway.wire.languages import best
from tests.unit.hub.page_samples import NOW, SAMPLES, context, fix_grace

LANGUAGES = [code for code in shipped() if code != "en"]
HEAD = """msgid ""
msgstr ""
"Content-Type: text/plain; charset=UTF-8\\n"
"Plural-Forms: nplurals=2; plural=(n != 1);\\n"

"""


def test_there_are_six_languages_one_of_them_from_right_to_left():
    assert {"en", "de", "fr", "es", "pt", "ar"} <= set(shipped())
    assert [code for code, each in shipped().items() if each.direction == "rtl"] == ["ar"]


@pytest.mark.parametrize("code", LANGUAGES)
def test_every_catalogue_is_complete(code):
    catalogue = shipped()[code]
    assert MESSAGES - set(catalogue.texts) - set(catalogue.plurals) == set()


@pytest.mark.parametrize("code", LANGUAGES)
def test_no_place_for_a_value_is_lost(code):
    """A number may be written as a word in the forms for one and two; nothing else may be left out."""
    catalogue = shipped()[code]
    for key in MESSAGES - PLURALS:
        assert places(catalogue.texts[key]) == english_places(key), key
    for key, forms in catalogue.plurals.items():
        for form in forms:
            assert english_places(key) - {"count"} <= places(form), key


SAME = frozenset(
    {
        "brand",
        "system_label",
        "me_name",
        "me_email",
        "task_ticket",
        "fact_firewall_enabled",
        "list_comma",
        "app_label",
        "value_no",
        "for_minutes",
    }
    | {f"system_{name}" for name in ("windows", "macos", "linux", "android", "chromeos")}
    | {key for key in MESSAGES if re.sub(r"\{\w+\}", "", TEXTS.get(key, key)).strip(" ,:") == ""}
)
"""Messages that may read the same in another language: names, and words that languages share."""


@pytest.mark.parametrize("code", LANGUAGES)
def test_nothing_is_left_in_english(code):
    catalogue = shipped()[code]
    assert {key for key, said in catalogue.texts.items() if said == TEXTS[key]} <= SAME
    for key, forms in catalogue.plurals.items():
        assert key in SAME or {TEXTS[key + ONE], TEXTS[key + MANY]}.isdisjoint(forms), key


@pytest.mark.parametrize("code", LANGUAGES)
def test_signs_are_those_of_the_language(code):
    """No straight quotes; French breaks no line before `?`; a Spanish question begins with its sign."""
    catalogue = shipped()[code]
    said = [
        *catalogue.texts.items(),
        *((key, form) for key, forms in catalogue.plurals.items() for form in forms),
    ]
    for key, form in said:
        assert "'" not in form, key
        assert '"' not in form, key
        english = TEXTS.get(key, TEXTS.get(key + MANY, ""))
        if code != "ar":
            assert (form[:1] == " ", form[-1:] == " ") == (english[:1] == " ", english[-1:] == " "), key
        if code == "fr":
            assert re.search(r"(?<![\u00a0\u202f])[;?!»]|[^\u00a0:]:(?=\s|$)|«(?!\u00a0)", form) is None, key
        if code == "es":
            assert form.count("¿") == form.count("?"), key
            assert form.count("¡") == form.count("!"), key


@pytest.mark.parametrize("code", LANGUAGES)
def test_a_catalogue_translates_what_english_says_now(code):
    """The messages in the file are today's English: a text that changed has to be translated again."""
    from importlib.resources import files

    from babel.messages.pofile import read_po

    with (files("gateway.hub.texts") / "locale" / f"{code}.po").open("rb") as file:
        read = read_po(file)
    for message in read:
        if message.id:
            key = message.context
            english = (TEXTS[key + ONE], TEXTS[key + MANY]) if key in PLURALS else TEXTS[key]
            assert message.id == english, key


@pytest.mark.parametrize("code", LANGUAGES)
@pytest.mark.parametrize("name", SAMPLES)
def test_every_page_speaks_every_language(code, name):
    with load_ambience(PageSettings(), Path()).entered(code, "", "/x?y=1"):
        page = SAMPLES[name](Pages())
    catalogue = shipped()[code]
    assert f'<html lang="{code}" dir="{catalogue.direction}">' in page.text
    assert page.headers["Content-Language"] == code
    assert catalogue.texts["skip"] in page.text
    assert "/.gate/language?l=en&amp;rd=/x%3Fy%3D1" in page.text
    assert "{" not in page.text.partition("<body")[2].partition("<script>")[0]


@pytest.mark.parametrize(
    ("count", "said"),
    [(1, "دقيقة واحدة"), (2, "دقيقتين"), (3, "3 دقائق"), (11, "11 دقيقة"), (103, "103 دقائق")],
)
def test_arabic_has_six_forms(count, said):
    with speaking(shipped()["ar"]):
        assert plural("for_minutes", count) == said


def test_spaces_at_which_no_line_breaks_reach_the_page():
    with load_ambience(PageSettings(), Path()).entered("fr", "", "/"):
        page = next(iter(SAMPLES.values()))(Pages()).text
    assert "aide\u202f?" in page


def test_french_counts_the_first_of_a_month():
    first = datetime(2026, 12, 1, 9, 5, tzinfo=UTC)
    with speaking(shipped()["fr"]):
        assert wording.moment(first, NOW).text.startswith("mar. 1er déc.")
        assert wording.moment(first + timedelta(days=1), NOW).text.startswith("mer. 2 déc.")


def test_until_a_day_includes_it_in_spanish():
    """`antes de mañana` would end today."""
    with speaking(shipped()["es"]):
        assert wording.by_day(NOW + timedelta(days=1), NOW) == "a más tardar mañana"


def test_dates_are_those_of_the_language():
    at = datetime(2026, 12, 3, 9, 5, tzinfo=UTC)
    with speaking(shipped()["de"]):
        assert wording.moment(at, NOW).text == "Do., 3. Dez., 09:05 UTC"
        assert wording.by_day(at, at - timedelta(days=3)) == "bis Donnerstag"
        assert "Beheben" in fix_grace().title
    assert wording.moment(at, NOW).text == "Thu 3 Dec, 09:05 UTC"


@pytest.mark.parametrize(
    ("accepted", "spoken"),
    [
        ("de-CH,de;q=0.9,en;q=0.1", "de"),
        ("en;q=0.2, fr;q=0.9", "fr"),
        ("tlh, *;q=0.5", None),
        ("pt-BR", "pt"),
        ("de;q=0", None),
        ("", None),
        ("x" * 100_000, None),
        ("de;q=nonsense, es", "es"),
    ],
)
def test_the_best_language_is_spoken(accepted, spoken):
    assert best(accepted, tuple(shipped())) == spoken


def test_a_choice_wins_and_an_unknown_one_is_ignored():
    ambience = load_ambience(PageSettings(languages=("fr", "ar")), Path())
    assert ambience.language("ar", "fr") == "ar"
    assert ambience.language("de", "ar") == "ar"
    assert ambience.language("<x>", "tlh") == "fr"


def test_an_address_may_ask_for_a_language():
    """`ui_locales` is a list by preference, divided by spaces; what is not offered is passed over."""
    ambience = load_ambience(PageSettings(languages=("fr", "ar")), Path())
    assert ambience.language("ar", "ar", ui_locales="tlh fr-CA ar") == "fr"
    assert ambience.language("ar", "fr", ui_locales="tlh <x>") == "ar"


# --- overrides ---------------------------------------------------------------------------------------------


def test_texts_and_looks_are_replaced_for_all_and_for_one_app(tmp_path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "pay").mkdir()
    (tmp_path / "texts" / "en.po").write_text(HEAD + 'msgctxt "help_title"\nmsgid "x"\nmsgstr "Call 4711"\n')
    (tmp_path / "pay" / "de.po").write_text(HEAD + 'msgctxt "help_title"\nmsgid "x"\nmsgstr "Lohnbüro"\n')
    (tmp_path / "logo.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    style = PageStyle(brand="Corp", texts="texts", logo="logo.svg", accent="#7a1fa2")
    ambience = load_ambience(
        PageSettings(style=style, apps={"pay": PageStyle(texts="pay")}), tmp_path, ["pay"]
    )
    with ambience.entered("en", "", "/"):
        assert text("help_title") == "Call 4711"
        page = SAMPLES["blocked"](Pages())
        for said in ("Corp</span>", "data:image/svg+xml;base64,", "--accent:#7a1fa2"):
            assert said in page.text
    with ambience.entered("de", "pay", "/"):
        assert text("help_title") == "Lohnbüro"
        assert "Corp</span>" in SAMPLES["blocked"](Pages()).text
    with ambience.entered("de", "", "/"):
        assert text("help_title") == shipped()["de"].texts["help_title"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('msgctxt "no-such"\nmsgid "x"\nmsgstr "y"\n', "no text has this msgctxt"),
        ('msgctxt "fix_title"\nmsgid "x"\nmsgstr "{devise}"\n', "{devise} is not filled in here"),
        ('msgctxt "fix_title"\nmsgid "x"\nmsgstr "{device!r}"\n', "no plain place"),
        ('msgctxt "fix_title"\nmsgid "x"\nmsgstr "{device.__class__}"\n', "no plain place"),
        ('msgctxt "fix_title"\nmsgid "x"\nmsgstr "{device"\n', "line"),
        ('msgctxt "fix_lead"\nmsgid "x"\nmsgstr "y"\n', "has plural forms"),
        ("this is no catalogue\n", "no readable .po"),
    ],
)
def test_a_wrong_catalogue_is_refused_with_its_place(body, said):
    with pytest.raises(CatalogueFault) as refused:
        parse_catalogue((HEAD + body).encode(), "en")
    assert said in str(refused.value)


def test_looks_that_cannot_be_read_are_refused(tmp_path):
    for style, key in ((PageStyle(accent="#ffee00"), "accent"), (PageStyle(logo="x.gif"), "logo")):
        with pytest.raises(StyleFault) as refused:
            load_ambience(PageSettings(style=style), tmp_path)
        assert refused.value.key == key
    assert round(contrast("#000000", "#ffffff")) == 21


def test_a_colour_has_to_be_readable_on_the_ground_of_the_page():
    """Links stand on the ground, not on white: `#757575` has 4.6 to white and 4.2 to the ground."""
    with pytest.raises(StyleFault, match="#f5f3ee"):
        load_ambience(PageSettings(style=PageStyle(accent="#757575")), Path())


def test_the_template_is_a_catalogue_without_translations():
    assert parse_catalogue(template_po().encode(), "en").texts == {}
    assert template_po().count("msgctxt") == len(MESSAGES)
    assert context().app == "Payroll"
