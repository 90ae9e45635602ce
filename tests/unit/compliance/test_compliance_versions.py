"""Versions are ordered as vendors mean them, and what has no safe order is refused."""

from itertools import pairwise

import pytest

from compliance.versions import MAX_VERSION_CHARACTERS, parse_version

ASCENDING = [
    ["14.9", "14.10", "14.10.1", "15"],
    ["10.0.19045.4170", "10.0.22631.3007", "10.0.22631.5189"],
    ["1.2.0-alpha1", "1.2.0-beta2", "1.2.0-rc1", "1.2.0-rc2", "1.2.0", "1.2.1"],
    ["1.2.0b2", "1.2.0rc1", "1.2.0"],
    ["5.15.0", "5.15.0-91", "5.15.1", "6.1.0-18-amd64", "6.1.0-20-amd64"],
    ["2024-05-01", "2024-12-01"],
    ["15.0 Beta 3", "15.0 (24A335)", "15.1"],
    ["macOS 14.2.1", "macOS 14.10"],
    ["1.0.0-SNAPSHOT", "v1.0.0"],
]


@pytest.mark.parametrize("versions", ASCENDING)
def test_order(versions):
    parsed = [parse_version(text) for text in versions]
    for low, high in pairwise(parsed):
        assert high.is_at_least(low) is True
        assert low.is_at_least(high) is False


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("14", "14.0.0"),
        ("14.2", "14.2 (23C64)"),
        ("v1.2.3", "1.2.3+build.7"),
        ("01.2", "1.02"),
        (" 1.2 ", "1.2"),
    ],
)
def test_equal(one, other):
    assert parse_version(one).is_at_least(parse_version(other))
    assert parse_version(other).is_at_least(parse_version(one))


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "1.",
        "1..2",
        "1.x",
        "23C64",
        "22H2",
        "1.1.1w",
        "latest",
        "\uff15.1",
        "-1",
        "1" * (MAX_VERSION_CHARACTERS + 1),
    ],
)
def test_what_has_no_safe_order_is_no_version(text):
    assert parse_version(text) is None


def test_different_products_are_not_compared():
    assert parse_version("Ubuntu 22.04").is_at_least(parse_version("14.4")) is None
    assert parse_version("Ubuntu 22.04.3 LTS").is_at_least(parse_version("Ubuntu 22.04")) is True
