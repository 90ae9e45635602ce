"""Faults of a configuration: what, where, and what to write instead. Every fault has a stable code."""

from collections.abc import Iterable
from difflib import get_close_matches
from enum import StrEnum

import msgspec

KeyPath = tuple[str | int, ...]
"""Keys and list positions from the root to a value; empty for the whole file."""

MAX_SHOWN_CHARACTERS = 60
"""What was found is cut to this length in a message."""


class Code(StrEnum):
    """Stable codes of configuration faults. `GATE-C…` refuses the file, `GATE-W…` is a warning."""

    FILE = "GATE-C001"
    SYNTAX = "GATE-C002"
    DUPLICATE_KEY = "GATE-C003"
    UNBOUNDED = "GATE-C004"
    UNKNOWN_KEY = "GATE-C010"
    MISSING_KEY = "GATE-C011"
    UNKNOWN_WORD = "GATE-C012"
    WRONG_TYPE = "GATE-C013"
    UNIT = "GATE-C014"
    FORM = "GATE-C015"
    RANGE = "GATE-C016"
    REFERENCE = "GATE-C020"
    SECRET = "GATE-C021"  # noqa: S105 - a code, not a secret
    DUPLICATE_NAME = "GATE-C030"
    UNKNOWN_NAME = "GATE-C031"
    ADDRESS_CLASH = "GATE-C032"
    URL = "GATE-C033"
    HOST = "GATE-C034"
    NETWORK = "GATE-C035"
    UNSAFE = "GATE-C036"
    FILE_NEEDED = "GATE-C037"
    PATTERN = "GATE-C038"
    PROVIDER = "GATE-C039"
    DEVICE = "GATE-C040"
    SENSOR_KIND = "GATE-C041"
    COMPLIANCE_RULE = "GATE-C042"
    ACCESS_POLICY = "GATE-C043"
    POLICY_TEST = "GATE-C044"
    NEVER = "GATE-C045"
    SECRET_IN_FILE = "GATE-W001"  # noqa: S105 - a code, not a secret
    SECRET_READABLE = "GATE-W002"  # noqa: S105 - a code, not a secret
    NOBODY_GETS_IN = "GATE-W003"
    LENIENT = "GATE-W004"
    EXPOSED = "GATE-W005"
    NO_SILENCE = "GATE-W006"
    WEAK_DEVICE = "GATE-W007"
    WITHOUT_EFFECT = "GATE-W008"
    NOT_DECIDED = "GATE-W009"
    PAST = "GATE-W010"
    LOOKS_OTHERWISE = "GATE-W011"


CODE_TITLES: dict[Code, str] = {
    Code.FILE: "The file cannot be read: it is missing, not a file, too large, not UTF-8, or empty.",
    Code.SYNTAX: "The text is not YAML 1.2.",
    Code.DUPLICATE_KEY: "A key stands twice in one mapping.",
    Code.UNBOUNDED: "Aliases, nesting or the number of entries make the document larger or deeper than any real one.",
    Code.UNKNOWN_KEY: "A key that is not known here. At the top level, keys that begin with `x-` are yours.",
    Code.MISSING_KEY: "A key that must be given is missing.",
    Code.UNKNOWN_WORD: "A value that is none of the allowed words.",
    Code.WRONG_TYPE: "A value of another kind: a list instead of a text, a text instead of a number.",
    Code.UNIT: "A duration or size without a known unit, or out of bounds.",
    Code.FORM: "A text that has not the required form.",
    Code.RANGE: "A number out of range.",
    Code.REFERENCE: "An `{env: …}` or `{file: …}` that cannot be resolved, or is empty.",
    Code.SECRET: "A secret that is too short, or not in the form that its scheme needs.",
    Code.DUPLICATE_NAME: "Two things of one kind have one name.",
    Code.UNKNOWN_NAME: "A name that refers to nothing.",
    Code.ADDRESS_CLASH: "Two apps, or two listeners, claim one address.",
    Code.URL: "An address that is not of the required form.",
    Code.HOST: "A host name that is not one.",
    Code.NETWORK: "An address range that is not one.",
    Code.UNSAFE: "A combination that would let anybody listen in or pretend to be somebody else.",
    Code.FILE_NEEDED: "A file that is named does not exist or cannot be read.",
    Code.PATTERN: "A regular expression or path pattern that does not work.",
    Code.PROVIDER: "An OpenID provider that could not work as configured.",
    Code.DEVICE: "A device source that could never tell a device.",
    Code.SENSOR_KIND: "A sensor kind that is not installed.",
    Code.COMPLIANCE_RULE: "A compliance rule that could never be met, or says too much or too little.",
    Code.ACCESS_POLICY: "An access policy whose decision lacks what it needs, or that can never match.",
    Code.POLICY_TEST: "A test of the policies fails, or cannot be run: the configuration is not used.",
    Code.NEVER: "A `never` assertion does not hold: some request would be let in that it forbids.",
    Code.SECRET_IN_FILE: "A secret stands in the file itself: everyone who reads the file has it.",
    Code.SECRET_READABLE: "A secret file can be read by others than its owner.",
    Code.NOBODY_GETS_IN: "No policy lets anybody in: every request is blocked.",
    Code.LENIENT: "A setting that lets devices pass of which nothing is known.",
    Code.EXPOSED: "A listener or trusted network is wider than is wise.",
    Code.NO_SILENCE: "The silence of a sensor is never held against a device; say so by `max_silence: null`.",
    Code.WEAK_DEVICE: "A device is told by something that many devices may share.",
    Code.WITHOUT_EFFECT: "A setting that has no effect beside the others.",
    Code.NOT_DECIDED: "A `never` assertion could be neither proven nor refuted within the bounds of the analysis.",
    Code.PAST: "A date that has passed: what it was set for is over.",
    Code.LOOKS_OTHERWISE: "A value that reads like something else than it is.",
}


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One fault with its place. `line` and `column` count from 1, 0 when the fault is of no single place."""

    file: str
    line: int
    column: int
    path: str
    code: Code
    message: str
    hint: str = ""

    @property
    def is_warning(self) -> bool:
        """Whether the configuration may be used all the same."""
        return self.code.startswith("GATE-W")

    @property
    def place(self) -> str:
        """`file:line:column`, as editors understand it."""
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file

    def __str__(self) -> str:
        return ": ".join(part for part in (self.place, self.path, self.message, self.hint) if part)


class ConfigInvalid(Exception):
    """The configuration cannot be used.

    `faults` are all of them in the order of the file, `warnings` likewise.
    """

    def __init__(self, faults: Iterable[Fault], warnings: Iterable[Fault] = ()) -> None:
        self.faults = tuple(faults)
        self.warnings = tuple(warnings)
        super().__init__("\n".join(str(fault) for fault in self.faults))


def path_text(path: KeyPath) -> str:
    """Return a key path as people write it: `apps[2].upstream`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


_MEANT = {
    "deny": "block", "reject": "block", "permit": "allow", "grant": "allow", "mfa": "step-up", "challenge": "step-up",
    "critical": "high", "severe": "high", "mtls": "certificate", "cert": "certificate", "company": "corporate",
    "byod": "personal", "non-compliant": "noncompliant",
    "grace": "in-grace-period", "legacy": "api", "mac": "macos",
}  # fmt: skip
"""Words of other systems, and what they are called here."""

MAX_KNOWN = 60
"""Most known words that a hint lists."""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that was probably meant, None when none is near."""
    by_plain = {_plain(each): each for each in known}
    meant = _MEANT.get(_plain(word))
    if meant in by_plain:
        return by_plain[meant]
    found = get_close_matches(_plain(word), by_plain, n=1, cutoff=0.6)
    found = found or [each for each in by_plain if len(word) > 2 and each.startswith(f"{_plain(word)}-")]  # noqa: PLR2004
    return by_plain[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a hint: the nearest known word if there is one, and all of them if they are few."""
    known = list(known)
    near = nearest(word, known)
    parts = [f"did you mean `{near}`?"] if near else []
    if known and len(known) <= MAX_KNOWN:
        parts.append(f"known: {', '.join(known)}")
    return " ".join(parts)


def shown(text: str) -> str:
    """Return what was found in backticks, on one line and cut to `MAX_SHOWN_CHARACTERS`."""
    flat = "".join(each if each.isprintable() else "�" for each in text)
    return f"`{flat if len(flat) <= MAX_SHOWN_CHARACTERS else flat[: MAX_SHOWN_CHARACTERS - 1] + '…'}`"


def _plain(word: str) -> str:
    return word.lower().replace("_", "-").replace(" ", "-")
