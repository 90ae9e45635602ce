"""A message catalogue in memory: the texts of one language, above those that it lacks in English.

Catalogues are GNU gettext `.po` files. The context (`msgctxt`) is the key in `english.TEXTS`, the message its English
text; a pair `…_one`, `…_many` there is one message with plural forms here. Source: GNU gettext manual, "PO Files".
"""

import gettext
import io
import string
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal

import msgspec
from babel.core import Locale, UnknownLocaleError
from babel.messages.pofile import PoFileError, read_po

from gateway.hub.texts.english import TEXTS

MAX_FILE_BYTES = 1024 * 1024
MAX_TEXT = 4000
ONE, MANY = "_one", "_many"

PLURALS: frozenset[str] = frozenset(
    key.removesuffix(ONE) for key in TEXTS if key.endswith(ONE) and key.removesuffix(ONE) + MANY in TEXTS
)
"""The keys whose texts have plural forms, without their ends."""

MESSAGES: frozenset[str] = (
    frozenset(TEXTS) - {key + ONE for key in PLURALS} - {key + MANY for key in PLURALS} | PLURALS
)
"""Every key that a catalogue may have."""


class CatalogueFault(Exception):
    """A catalogue cannot be used; the text names the line and the key."""


class Catalogue(msgspec.Struct, frozen=True):
    """The texts of one language. `form` gives the plural form of a number: an index into the texts of `plurals`."""

    language: str
    texts: Mapping[str, str] = {}
    plurals: Mapping[str, tuple[str, ...]] = {}
    form: Callable[[int], int] = lambda count: int(count != 1)

    @property
    def direction(self) -> Literal["ltr", "rtl"]:
        """The direction of writing, as the attribute `dir` has it."""
        return "rtl" if Locale.parse(self.language, sep="-").text_direction == "rtl" else "ltr"

    @property
    def own_name(self) -> str:
        """What the language calls itself."""
        locale = Locale.parse(self.language, sep="-")
        name = locale.get_display_name(locale) or self.language
        return name[:1].upper() + name[1:]

    def template(self, key: str) -> str:
        """Return text `key` with its places for values. Raises `KeyError` for an unknown key."""
        return self.texts.get(key) or TEXTS[key]

    def plural_template(self, key: str, count: int) -> str:
        """Return text `key` in its form for `count`. Raises `KeyError` for an unknown key."""
        forms = self.plurals.get(key)
        if forms is None:
            return TEXTS[key + (ONE if count == 1 else MANY)]
        return forms[min(self.form(count), len(forms) - 1)]

    def above(self, other: "Catalogue") -> "Catalogue":
        """Return the texts of this catalogue, and those of `other` where it has none."""
        return msgspec.structs.replace(
            self, texts={**other.texts, **self.texts}, plurals={**other.plurals, **self.plurals}
        )


ENGLISH = Catalogue("en")


def places(text: str) -> frozenset[str]:
    """Return the names of the places for values in a text. Raises `ValueError` when its braces are broken.

    >>> sorted(places("{sensor} last reported {ago}"))
    ['ago', 'sensor']
    """
    found: set[str] = set()
    for _, name, spec, conversion in string.Formatter().parse(text):
        if name is None:
            continue
        if not name.isidentifier() or spec or conversion:
            raise ValueError(f"`{{{name}}}` is no plain place for a value")
        found.add(name)
    return frozenset(found)


def english_places(key: str) -> frozenset[str]:
    """Return the places of the English text; of a plural those of all its forms."""
    if key in PLURALS:
        return places(TEXTS[key + ONE]) | places(TEXTS[key + MANY])
    return places(TEXTS[key])


def parse_catalogue(raw: bytes, language: str) -> Catalogue:
    """Return the catalogue that a `.po` file holds. Messages without a translation are left out.

    Raises `CatalogueFault` for what is no `.po`, an unknown key, or a translation whose places for values differ.
    """
    if len(raw) > MAX_FILE_BYTES:
        raise CatalogueFault(f"the file is longer than {MAX_FILE_BYTES} bytes")
    try:
        Locale.parse(language, sep="-")
        read = read_po(io.BytesIO(raw), abort_invalid=True)
        form = gettext.c2py(read.plural_expr)
    except (UnknownLocaleError, ValueError) as error:
        raise CatalogueFault(f"`{language}` is no language: {error}") from error
    except (PoFileError, UnicodeDecodeError) as error:
        raise CatalogueFault(f"no readable .po file: {error}") from error
    texts: dict[str, str] = {}
    plurals: dict[str, tuple[str, ...]] = {}
    for message in read:
        if not message.id or message.fuzzy:
            continue
        said = message.string if isinstance(message.string, tuple | list) else (message.string,)
        forms = tuple(str(each or "") for each in said)
        if not any(forms):
            continue
        key = message.context or ""
        _check(key, forms, message.lineno, is_plural=isinstance(message.id, tuple), count=read.num_plurals)
        if key in PLURALS:
            plurals[key] = forms
        else:
            texts[key] = forms[0]
    return Catalogue(language, texts, plurals, form)


def _check(key: str, forms: tuple[str, ...], line: int | None, *, is_plural: bool, count: int) -> None:
    where = f"line {line}: `{key}`"
    if key not in MESSAGES:
        raise CatalogueFault(f"{where}: no text has this msgctxt")
    if is_plural != (key in PLURALS):
        raise CatalogueFault(f"{where}: {'has' if key in PLURALS else 'has no'} plural forms")
    if is_plural and (len(forms) != count or not all(forms)):
        raise CatalogueFault(f"{where}: {count} plural forms are needed")
    allowed = english_places(key)
    for text in forms:
        if len(text) > MAX_TEXT:
            raise CatalogueFault(f"{where}: longer than {MAX_TEXT} characters")
        try:
            named = places(text)
        except ValueError as error:
            raise CatalogueFault(f"{where}: {error}") from error
        if not named <= allowed:
            wrong = ", ".join(f"{{{name}}}" for name in sorted(named - allowed))
            known = ", ".join(f"{{{name}}}" for name in sorted(allowed)) or "none"
            raise CatalogueFault(f"{where}: {wrong} is not filled in here; allowed: {known}")


def load_folder(folder: Path) -> dict[str, Catalogue]:
    """Return the catalogues `<language>.po` of a folder, by language.

    Raises `CatalogueFault`, `OSError`.
    """
    found: dict[str, Catalogue] = {}
    for path in sorted(folder.glob("*.po")):
        language = path.stem.replace("_", "-")
        try:
            found[language] = parse_catalogue(path.read_bytes(), language)
        except CatalogueFault as fault:
            raise CatalogueFault(f"{path}: {fault}") from fault
    return found


def template_po(keys: Iterable[str] = ()) -> str:
    """Return the template `.pot` of all messages (or of `keys`), to be translated."""
    lines = ['msgid ""', 'msgstr ""', '"Content-Type: text/plain; charset=UTF-8\\n"', ""]
    wanted = frozenset(keys) or MESSAGES
    for key in dict.fromkeys(_message_of(key) for key in TEXTS):
        if key not in wanted:
            continue
        lines.append(f"msgctxt {quoted(key)}")
        if key in PLURALS:
            lines += [f"msgid {quoted(TEXTS[key + ONE])}", f"msgid_plural {quoted(TEXTS[key + MANY])}"]
            lines += ['msgstr[0] ""', 'msgstr[1] ""', ""]
        else:
            lines += [f"msgid {quoted(TEXTS[key])}", 'msgstr ""', ""]
    return "\n".join(lines)


def _message_of(key: str) -> str:
    for end in (ONE, MANY):
        if key.endswith(end) and key.removesuffix(end) in PLURALS:
            return key.removesuffix(end)
    return key


def quoted(text: str) -> str:
    """Return a text as a `.po` file writes it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
