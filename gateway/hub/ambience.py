"""What surrounds every page of a request: language, looks, and where it stands. Set once by a middleware.

The language is negotiated: `ui_locales` of the address, the person's own choice (a cookie), then `Accept-Language`,
then the deployment's default.
Source: RFC 9110 section 12.5.4; RFC 4647 section 3.4 (lookup); OpenID Connect Core 1.0 section 3.1.2.1 (`ui_locales`).
"""

import base64
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path

import msgspec
from babel.dates import get_month_names

from gateway.config.remediation import PageSettings, PageStyle
from gateway.hub.texts import speaking
from gateway.hub.texts.catalogue import ENGLISH, Catalogue, CatalogueFault, load_folder
from gateway.wire.languages import best, lookup, ranges

MAX_LOGO_BYTES = 65536
LIGHT_GROUND, DARK_GROUND = "#f5f3ee", "#172225"
"""The grounds of the pages on which a colour stands out least: links stand on them, and white or dark on the colour."""
MIN_CONTRAST = 4.5

_LOGO_TYPES = {".svg": "image/svg+xml", ".png": "image/png"}


class StyleFault(Exception):
    """The looks cannot be used; `key` is the key below the style."""

    def __init__(self, key: str, text: str) -> None:
        super().__init__(text)
        self.key = key


class Look(msgspec.Struct, frozen=True):
    """The looks of pages: what the head says, a logo as a `data:` URL ("" ours), and style rules of their own."""

    brand: str = ""
    logo: str = ""
    css: str = ""


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What a page is surrounded by. `path` is where the person is, `languages` are codes with their own names."""

    look: Look = Look()
    path: str = "/"
    languages: tuple[tuple[str, str], ...] = ()
    help_url: str = ""


_NOTHING = Surroundings()
_around: ContextVar[Surroundings] = ContextVar("around", default=_NOTHING)


def around() -> Surroundings:
    """Return what surrounds the pages of this request."""
    return _around.get()


class Ambience(msgspec.Struct, frozen=True, kw_only=True):
    """All languages and looks of a configuration, loaded and checked: of the deployment (`""`) and of each app."""

    languages: tuple[str, ...]
    catalogues: Mapping[str, Mapping[str, Catalogue]]
    looks: Mapping[str, Look]
    help_url: str = ""

    def language(self, chosen: str | None, accepted: str, *, ui_locales: str = "") -> str:
        """Return the language to speak: of `ui_locales`, else the one chosen, else of an `Accept-Language` value."""
        asked = best(ui_locales.replace(" ", ","), self.languages) if ui_locales else None
        if asked is not None:
            return asked
        if chosen in self.languages:
            return str(chosen)
        return best(accepted, self.languages) or self.languages[0]

    def dialects(self, language: str, *asked: str) -> tuple[str, ...]:
        """Return the ranges of some `Accept-Language` values that lead to `language`, the most preferred first."""
        found = (each for value in asked for each in ranges(value))
        return tuple(dict.fromkeys(each for each in found if lookup([each], self.languages) == language))

    @contextmanager
    def entered(self, language: str, app: str, path: str, dialects: tuple[str, ...] = ()) -> Iterator[None]:
        """Surround what happens in the block; `app` is "" outside every app."""
        catalogues = self.catalogues.get(app) or self.catalogues[""]
        surroundings = Surroundings(
            look=self.looks.get(app, self.looks[""]),
            path=path,
            languages=tuple((code, catalogues[code].own_name) for code in self.languages),
            help_url=self.help_url,
        )
        before = _around.set(surroundings)
        try:
            with speaking(catalogues[language], dialects):
                yield
        finally:
            _around.reset(before)


@cache
def shipped() -> Mapping[str, Catalogue]:
    """Return the catalogues that come with the program, English among them."""
    with as_file(files("gateway.hub.texts") / "locale") as folder:
        return {"en": ENGLISH, **load_folder(folder)}


def load_ambience(settings: PageSettings, base: Path, apps: Iterable[str] = ()) -> Ambience:
    """Return languages and looks of the configuration in folder `base`.

    Raises `CatalogueFault`, `StyleFault`, `OSError`.
    """
    catalogues = {"": _with_texts(shipped(), settings.style, base)}
    looks = {"": _look(settings.style, base)}
    for name in apps:
        style = settings.apps.get(name)
        if style is not None:
            catalogues[name] = _with_texts(catalogues[""], style, base)
            looks[name] = _look(_below(style, settings.style), base)
    languages = settings.languages or tuple(catalogues[""])
    for code in languages:
        if code not in catalogues[""]:
            known = ", ".join(catalogues[""])
            raise CatalogueFault(f"there is no catalogue of the language `{code}`; there are: {known}")
    return Ambience(languages=languages, catalogues=catalogues, looks=looks, help_url=settings.help_url)


def warm(ambience: Ambience) -> None:
    """Load what the first page in each language would wait for: about 50 ms each, and all else with it."""
    for catalogue in ambience.catalogues[""].values():
        get_month_names("wide", "format", locale=catalogue.language.replace("-", "_"))
        _ = catalogue.direction, catalogue.own_name


def _with_texts(below: Mapping[str, Catalogue], style: PageStyle, base: Path) -> Mapping[str, Catalogue]:
    if style.texts is None:
        return below
    folder = base / style.texts
    if not folder.is_dir():
        raise CatalogueFault(f"`{folder}` is no folder")
    own = load_folder(folder)
    merged = {code: own[code].above(each) if code in own else each for code, each in below.items()}
    return merged | {code: each for code, each in own.items() if code not in merged}


def _below(style: PageStyle, other: PageStyle) -> PageStyle:
    """Return the style of an app with what it leaves open taken from the deployment's."""
    return PageStyle(
        brand=style.brand or other.brand,
        logo=style.logo or other.logo,
        accent=style.accent or other.accent,
        accent_dark=style.accent_dark or other.accent_dark,
    )


def _look(style: PageStyle, base: Path) -> Look:
    css = ""
    if style.accent is not None:
        css += _accent("accent", style.accent, LIGHT_GROUND, on="#ffffff")
    if style.accent_dark is not None:
        rules = _accent("accent_dark", style.accent_dark, DARK_GROUND, on=DARK_GROUND)
        css += f"@media (prefers-color-scheme:dark){{{rules}}}"
    elif style.accent is not None:
        # Without one of its own, dark ground keeps ours: a colour made for white cannot be read on black.
        css = f"@media (prefers-color-scheme:light){{{css}}}"
    return Look(style.brand, "" if style.logo is None else _logo(base / style.logo), css)


def _accent(key: str, colour: str, ground: str, *, on: str) -> str:
    ratio = contrast(colour, ground)
    if ratio < MIN_CONTRAST:
        raise StyleFault(
            key, f"`{colour}` has a contrast of {ratio:.2f} to `{ground}`; {MIN_CONTRAST} is needed"
        )
    return f":root{{--accent:{colour};--accent-hover:{colour};--on-accent:{on}}}"


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours `#rrggbb`, 1 to 21. Source: WCAG 2.2, contrast ratio.

    >>> round(contrast("#000000", "#ffffff"))
    21
    """
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    linear = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)  # noqa: PLR2004
    return sum(part * weight for part, weight in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))


def _logo(path: Path) -> str:
    kind = _LOGO_TYPES.get(path.suffix.lower())
    if kind is None:
        raise StyleFault("logo", f"`{path}` is neither .svg nor .png")
    with path.open("rb") as file:
        raw = file.read(MAX_LOGO_BYTES + 1)
    if len(raw) > MAX_LOGO_BYTES:
        raise StyleFault("logo", f"`{path}` is longer than {MAX_LOGO_BYTES} bytes")
    return f"data:{kind};base64,{base64.b64encode(raw).decode()}"
