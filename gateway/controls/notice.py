"""The notice in pages of limited sessions, as bytes that mean the same in every charset that builds on ASCII. Pure."""

import hashlib
import html
from collections.abc import Iterable
from typing import NamedTuple

STYLE_PATH = "/.gate/static/notice.css"
FIX_PATH = "/.gate/fix"
HIDE_PATH = "/.gate/notice/hide"
HIDING_COOKIE = "gate-notice"
"""Names the notice that a person does not want to see for a while."""
MAX_REASON_CHARACTERS = 200
WATERMARK_REPEATS = 60
_NO_BREAK = "\u00a0\u202f"
"""Spaces at which no line breaks, as French has before a question mark: they are not printable, but meant."""


class NoticeTexts(NamedTuple):
    """What a notice says, in one language. `limits` are texts by name of the limit."""

    language: str
    direction: str
    lead: str
    link: str
    hide: str
    limits: dict[str, str]


class Notice(NamedTuple):
    """The HTML of a notice, in two parts: between them goes the nonce of a page's policy, where it asks for one."""

    begin: bytes
    end: bytes

    def html(self, nonce: str) -> bytes:
        """Return the notice for a page whose style needs `nonce`, "" for none."""
        return self.begin + (f' nonce="{nonce}"'.encode("ascii") if nonce else b"") + self.end


def hiding_key(names: Iterable[str], reason: str) -> str:
    """Return what names a notice: another limit or another reason is another notice."""
    return hashlib.sha256("\n".join((*names, reason)).encode()).hexdigest()[:16]


def make_notice(
    texts: NoticeTexts,
    *,
    origin: str,
    names: tuple[str, ...],
    reason: str,
    said: str = "",
    said_language: str = "",
    watermark: str = "",
    is_hidden: bool = False,
) -> Notice | None:
    """Return the notice, None when nothing of it is to be seen. Addresses are absolute: pages may have a `<base>`.

    `reason` is in the default language and names the notice; `said` is what the reader sees of it (default: the same),
    in `said_language` ("" is that of the notice).

    No style, script or handler stands in it: whatever the page's policy allows inline, none is needed. The watermark
    stays when the notice is hidden.
    """
    if is_hidden and not watermark:
        return None
    mark = ""
    if watermark:
        line = " ".join([_text(watermark)] * WATERMARK_REPEATS)
        mark = f'<gate-watermark aria-hidden="true">{line}</gate-watermark>'
    begin = f'<link rel="stylesheet" href="{_text(origin + STYLE_PATH)}"'
    end = (
        ">"
        + ("" if is_hidden else _region(texts, origin, names, reason, (said or reason, said_language)))
        + mark
    )
    return Notice(begin.encode("ascii", "xmlcharrefreplace"), end.encode("ascii", "xmlcharrefreplace"))


def _region(
    texts: NoticeTexts, origin: str, names: tuple[str, ...], reason: str, words: tuple[str, str]
) -> str:
    said = words[0] or " ".join(texts.limits[name] + "." for name in names if name in texts.limits)
    shown = said if len(said) <= MAX_REASON_CHARACTERS else said[: MAX_REASON_CHARACTERS - 1] + "…"
    hide = f"{origin}{HIDE_PATH}?n={hiding_key(names, reason)}"
    is_foreign = bool(reason) and words[1] not in ("", texts.language)
    lang = f' lang="{_text(words[1])}"' if is_foreign else ""
    # The address of the page has to come along, or hiding leads to the start page.
    return (
        f'<gate-notice role="region" aria-label="{_text(texts.lead)}" '
        f'lang="{_text(texts.language)}" dir="{_text(texts.direction)}">'
        f"<gate-text><strong>{_text(texts.lead)}</strong> <bdi{lang}>{_text(shown)}</bdi></gate-text>"
        f'<gate-links><a href="{_text(origin + FIX_PATH)}">{_text(texts.link)}</a> '
        f'<a href="{_text(hide)}" referrerpolicy="same-origin">{_text(texts.hide)}</a></gate-links>'
        f"</gate-notice>"
    )


def _text(text: str) -> str:
    return html.escape("".join(sign for sign in text if sign.isprintable() or sign in _NO_BREAK))
