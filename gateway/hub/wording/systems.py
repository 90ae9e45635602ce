"""Which operating system a browser runs on, and the instructions that are meant for it. Pure."""

import re

import msgspec

from gateway.hub.views import OperatingSystem
from gateway.hub.wording.untrusted import MARKDOWN_MAX, clean


def detect_os(user_agent: str) -> OperatingSystem:
    """Return the operating system that a User-Agent tells of.

    A wrong guess only shows other instructions first.
    """
    for mark, system in _SYSTEM_MARKS:
        if mark in user_agent:
            return system
    return OperatingSystem.UNKNOWN


_SYSTEM_MARKS = (
    ("Android", OperatingSystem.ANDROID),
    ("CrOS", OperatingSystem.CHROMEOS),
    ("iPhone", OperatingSystem.IOS),
    ("iPad", OperatingSystem.IOS),
    ("iPod", OperatingSystem.IOS),
    ("Windows", OperatingSystem.WINDOWS),
    ("Macintosh", OperatingSystem.MACOS),
    ("Mac OS X", OperatingSystem.MACOS),
    ("Linux", OperatingSystem.LINUX),
    ("X11", OperatingSystem.LINUX),
)


_SYSTEM_HEADING = re.compile(
    r"^#{1,6}[ \t]+(macos|mac|os x|windows|linux|ios|ipados|android|chromeos)[ \t]*:?[ \t]*#*[ \t]*$",
    re.IGNORECASE | re.MULTILINE,
)


_SYSTEM_NAMES = {
    "macos": OperatingSystem.MACOS,
    "mac": OperatingSystem.MACOS,
    "os x": OperatingSystem.MACOS,
    "windows": OperatingSystem.WINDOWS,
    "linux": OperatingSystem.LINUX,
    "ios": OperatingSystem.IOS,
    "ipados": OperatingSystem.IOS,
    "android": OperatingSystem.ANDROID,
    "chromeos": OperatingSystem.CHROMEOS,
}


class Instructions(msgspec.Struct, frozen=True):
    """Markdown taken apart by operating system: for all, for this one, and (system, text) for others."""

    common: str
    own: str = ""
    others: tuple[tuple[OperatingSystem, str], ...] = ()


def instructions(markdown: str, system: OperatingSystem) -> Instructions:
    """Return `markdown` divided at headings that name an operating system (``## macOS``).

    What stands before the first such heading is for everyone.
    """
    parts = _SYSTEM_HEADING.split(clean(markdown, MARKDOWN_MAX, keep_lines=True))
    own = ""
    others: list[tuple[OperatingSystem, str]] = []
    for heading, body in zip(parts[1::2], parts[2::2], strict=True):
        found = _SYSTEM_NAMES[heading.lower()]
        if found is system:
            own = f"{own}\n{body.strip()}".strip()
        else:
            others.append((found, body.strip()))
    return Instructions(parts[0].strip(), own, tuple(others))
