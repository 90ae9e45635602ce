"""Which languages texts of the configuration (`{en: …, de: …}`) may be in: those of the pages."""

from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from compliance.device_facts import PLATFORMS
from gateway.config.errors import nearest, shown
from gateway.config.remediation import PageSettings
from gateway.wire.languages import canonical, lookup

ENGLISH = "en"


class TagFault(NamedTuple):
    """Why a key names no language, and what to write instead."""

    message: str
    hint: str


class Languages(NamedTuple):
    """The languages of the pages: those that are `offered`, the default first, and all that there are."""

    offered: tuple[str, ...]
    known: tuple[str, ...]

    @property
    def default(self) -> str:
        """The language of whoever reads none of the others, and of operators' views."""
        return self.offered[0]

    def is_offered(self, tag: str) -> bool:
        """Return whether a page may be in this language, or in a wider one (`pt` for `pt-BR`)."""
        return lookup([tag], self.offered) is not None

    def fault_of(self, word: str) -> TagFault | None:
        """Return why texts cannot be in the language `word`, None when they can.

        >>> Languages(("en", "pt"), ("en", "pt")).fault_of("pt-BR") is None
        True
        >>> Languages(("en", "de"), ("en", "de")).fault_of("german")
        TagFault(message='unknown language `german`', hint='did you mean `de`? languages of the pages: en, de')
        """
        tag = canonical(word)
        if tag is not None and lookup([tag], self.known) is not None:
            return None
        listed = f"languages of the pages: {', '.join(self.offered)}"
        if word in PLATFORMS:
            return TagFault(
                f"{shown(word)} is an operating system, not a language",
                f"what to do on each system stands in `fixes`; {listed}",
            )
        near = self._near(word)
        return TagFault(
            f"unknown language {shown(word)}", (f"did you mean `{near}`? " if near else "") + listed
        )

    def _near(self, word: str) -> str | None:
        """Return the tag that was probably meant: written with `_`, a name instead of the tag, or mistyped."""
        dashed = canonical(word.replace("_", "-"))
        if dashed is not None and lookup([dashed], self.known) is not None:
            return dashed
        # Only a configuration with such a fault pays for the names of languages.
        from babel import Locale, UnknownLocaleError  # noqa: PLC0415

        names: dict[str, str] = {}
        for tag in self.known:
            try:
                locale = Locale.parse(tag, sep="-")
            except (UnknownLocaleError, ValueError):
                continue
            for name in (locale.get_display_name(ENGLISH), locale.get_display_name()):
                if name:
                    names[name.casefold()] = tag
        named = nearest(word.casefold(), names)
        return names[named] if named is not None else nearest(word, self.known)


def languages_of(pages: PageSettings, base: Path) -> Languages:
    """Return the languages of pages that are set so in folder `base`, by the names of catalogues alone."""
    folders = [Path(str(files("gateway"))) / "hub" / "texts" / "locale"]
    if pages.style.texts is not None:
        folders.append(base / pages.style.texts)
    found = [path.stem.replace("_", "-") for folder in folders for path in sorted(folder.glob("*.po"))]
    known = tuple(dict.fromkeys([ENGLISH, *found, *pages.languages]))
    return Languages(pages.languages or known, known)
