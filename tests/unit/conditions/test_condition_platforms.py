"""`platforms`, `not_platforms`: by what the sensors call the system."""

import pytest
from condition_samples import HOUR, MAC, NOW, changes_at, check, context, posture

from compliance.device_facts import normal_platform

CASES = [
    ("platforms", ("macos",), context(MAC), True),
    ("platforms", ("windows", "linux"), context(MAC), False),
    ("platforms", ("macos",), context(), None),
    ("platforms", ("macos",), context(posture()), None),
    ("not_platforms", ("windows",), context(MAC), True),
    ("not_platforms", ("windows", "macos"), context(MAC), False),
    ("not_platforms", ("windows",), context(posture()), None),
]


@pytest.mark.parametrize(("key", "value", "given", "expected"), CASES)
def test_when_it_holds(key, value, given, expected):
    check(key, value, given, expected)


def test_when_time_changes_it():
    changes_at("platforms", ("macos",), context(MAC), NOW + HOUR)


@pytest.mark.parametrize(
    ("word", "platform"),
    [
        ("darwin", "macos"), ("Mac OS X 10.15", "macos"), ("Windows", "windows"), ("ubuntu", "linux"),
        ("iPadOS", "ios"),
        ("iOS 17.1", "ios"), ("Android 14", "android"), ("Chrome OS", "chromeos"), ("Solaris", None), ("", None),
    ],
)  # fmt: skip
def test_platform_words(word, platform):
    assert normal_platform(word) == platform
