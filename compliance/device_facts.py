"""What policies ask of a device under one name, whatever its sensors call it: platform, ownership, tags. Pure.

The facts that are read, in this order: `platform`, `os_platform`, `os`, `os_name`, `operating_system` for the platform;
`ownership`, `owner_type` for the ownership; `tag.<name>` (a truth value) and `tags` (a text with commas) for tags. A
fact of a silent sensor, or one that has expired, says nothing.
"""

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache

from risk.model import Posture, SensorRules
from risk.scoring import fact_value

PLATFORMS = ("macos", "windows", "linux", "ios", "android", "chromeos")
PLATFORM_FACTS = ("platform", "os_platform", "os", "os_name", "operating_system")
OWNERSHIP_FACTS = ("ownership", "owner_type")
TAG_PREFIX = "tag."
TAG_LIST = "tags"

_PLATFORM_WORDS: tuple[tuple[str, str], ...] = (
    ("chrome", "chromeos"),
    ("cros", "chromeos"),
    ("android", "android"),
    ("ipados", "ios"),
    ("ipad", "ios"),
    ("iphone", "ios"),
    ("macos", "macos"),
    ("mac os", "macos"),
    ("os x", "macos"),
    ("osx", "macos"),
    ("darwin", "macos"),
    ("windows", "windows"),
    ("linux", "linux"),
    ("ubuntu", "linux"),
    ("debian", "linux"),
    ("rhel", "linux"),
    ("red hat", "linux"),
    ("centos", "linux"),
    ("fedora", "linux"),
    ("suse", "linux"),
    ("arch", "linux"),
)
_OWNERSHIP_WORDS = {
    "corporate": "corporate",
    "company": "corporate",
    "managed": "corporate",
    "personal": "personal",
    "byod": "personal",
    "employee": "personal",
}


def platform_of(posture: Posture, sensors: Mapping[str, SensorRules], now: datetime) -> str | None:
    """Return one of `PLATFORMS`, None when nothing live names one."""
    for name in PLATFORM_FACTS:
        fact = fact_value(posture, name, sensors, now)
        if fact is not None and isinstance(fact.value, str):
            found = normal_platform(fact.value)
            if found is not None:
                return found
    return None


@lru_cache(maxsize=1024)
def normal_platform(text: str) -> str | None:
    """Return the platform that a product's word means, None for an unknown one.

    >>> normal_platform("Microsoft Windows 11 Pro"), normal_platform("iOS"), normal_platform("BeOS")
    ('windows', 'ios', None)
    """
    word = text.strip().casefold()
    if word in {"ios", "mac", "win"}:
        return {"ios": "ios", "mac": "macos", "win": "windows"}[word]
    if word.startswith("ios "):
        return "ios"
    return next((platform for mark, platform in _PLATFORM_WORDS if mark in word), None)


def ownership_of(posture: Posture, sensors: Mapping[str, SensorRules], now: datetime) -> str | None:
    """Return `corporate` or `personal`, None when nothing live says so."""
    for name in OWNERSHIP_FACTS:
        fact = fact_value(posture, name, sensors, now)
        if fact is not None and isinstance(fact.value, str):
            found = _OWNERSHIP_WORDS.get(fact.value.strip().casefold())
            if found is not None:
                return found
    return None


def tags_of(posture: Posture, sensors: Mapping[str, SensorRules], now: datetime) -> frozenset[str]:
    """Return the tags of a device that live sources give it."""
    names = {fact.name for fact in posture.facts.values() if fact.name.startswith(TAG_PREFIX)}
    found = {
        name.removeprefix(TAG_PREFIX)
        for name in names
        if (fact := fact_value(posture, name, sensors, now)) is not None and fact.value is True
    }
    listed = fact_value(posture, TAG_LIST, sensors, now)
    if listed is not None and isinstance(listed.value, str):
        found |= {word for part in listed.value.split(",") if (word := part.strip())}
    return frozenset(found)


def fact_moments(
    posture: Posture, names: tuple[str, ...], sensors: Mapping[str, SensorRules], now: datetime
) -> list[datetime]:
    """Return when time alone changes what these facts say."""
    found = [fact_value(posture, name, sensors, now) for name in names]
    return [fact.changes_at for fact in found if fact is not None and fact.changes_at is not None]


def tag_facts(posture: Posture) -> tuple[str, ...]:
    """Return the names of the facts that tags are read from."""
    return (TAG_LIST, *sorted({f.name for f in posture.facts.values() if f.name.startswith(TAG_PREFIX)}))
