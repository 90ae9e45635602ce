"""Path patterns: what they cover, what is no pattern, and that no path makes one expensive."""

import time

import pytest

from compliance.paths import compile_paths, path_matches, pattern_fault

COVERED = [
    ("/admin", "/admin"),
    ("/admin", "/admin/"),
    ("/admin", "/admin/x/y"),
    ("/admin/", "/admin"),
    ("/", "/"),
    ("/", "/anything/at/all"),
    ("/api/*/keys", "/api/v1/keys"),
    ("/api/*/keys", "/api/v1/keys/"),
    ("/api/**", "/api"),
    ("/api/**", "/api/v1/keys"),
    ("/**/*.php", "/index.php"),
    ("/**/*.php", "/a/b/index.php"),
    ("/a/**/b/**/c", "/a/b/c"),
    ("/a/**/b/**/c", "/a/x/b/b/y/c"),
    ("/f*o", "/foo"),
]
NOT_COVERED = [
    ("/admin", "/administrator"),
    ("/admin", "/Admin"),
    ("/admin", "/"),
    ("/admin/x", "/admin"),
    ("/api/*/keys", "/api/v1/v2/keys"),
    ("/api/*/keys", "/api/v1/keys/x"),
    ("/api/*", "/api"),
    ("/api/*", "/api/"),
    ("/*", "/"),
    ("/f*o", "/f/o"),
    ("/a.c", "/abc"),
]


@pytest.mark.parametrize(("pattern", "path"), COVERED)
def test_covered(pattern, path):
    assert pattern_fault(pattern) is None
    assert path_matches(pattern, path)
    assert compile_paths([pattern])(path)


@pytest.mark.parametrize(("pattern", "path"), NOT_COVERED)
def test_not_covered(pattern, path):
    assert pattern_fault(pattern) is None
    assert not path_matches(pattern, path)
    assert not compile_paths([pattern])(path)


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "admin",
        "*",
        "/a//b",
        "/a/../b",
        "/./a",
        "/a**",
        "/a/**b",
        "/a?b",
        "/a#b",
        "/" + "*/" * 17,
        "/" + "a" * 1024,
    ],
)
def test_no_pattern(pattern):
    assert pattern_fault(pattern)


@pytest.mark.parametrize(
    "path", ["/" + "aaab/ccc/" * 1700 + "y", "/" + "aaab" * 4000 + "y", "/" + "a/" * 8000]
)
def test_no_path_is_expensive(path):
    """Sixteen wildcards against a path of 16 KiB: backtracking would take for ever, not milliseconds."""
    matches = compile_paths(["/**/*a*a*a*b/**/*c*c*c/**/*a*a*b/**/x"])
    started = time.process_time()
    assert not matches(path)
    assert time.process_time() - started < 1
