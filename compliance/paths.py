"""Path patterns of access policies: a prefix, or a glob of the whole canonical path. Pure.

* Without `*`, a pattern is a prefix of whole segments: `/admin` covers `/admin`, `/admin/` and `/admin/x`,
  never `/administrator`. `/` covers everything. A trailing `/` of the pattern means nothing.
* With `*`, it is the whole path: `*` stands for any characters within a segment (which is not empty), `**`
  as a segment for any number of segments, none included. A trailing `/` of the path means nothing, so that
  it evades no pattern.

Matching is case-sensitive and on the canonical path, the same one that the app gets.
"""

import re
from collections.abc import Callable, Iterable

MAX_WILDCARDS = 16
MAX_PATTERN_CHARACTERS = 1024


def pattern_fault(pattern: str) -> str | None:  # noqa: PLR0911 - one line a rule
    """Return why a text is no path pattern, None when it is one."""
    if not pattern.startswith("/"):
        return "a path starts with `/`"
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        return f"a path pattern has at most {MAX_PATTERN_CHARACTERS} characters"
    segments = pattern.split("/")
    if pattern != "/" and "" in segments[1:-1]:
        return "an empty segment (`//`) never occurs in a canonical path"
    if "." in segments or ".." in segments:
        return "`.` and `..` never occur in a canonical path"
    if any("**" in segment and segment != "**" for segment in segments):
        return "`**` stands alone between slashes; within a segment write `*`"
    if pattern.count("*") > MAX_WILDCARDS:
        return f"a path pattern has at most {MAX_WILDCARDS} `*`"
    if "{" in pattern or "}" in pattern:
        return "`{` and `}` stand for themselves; for any one segment write `*`"
    if "?" in pattern or "#" in pattern:
        return "a path has no query and no fragment"
    return None


def path_matches(pattern: str, path: str) -> bool:
    """Return whether a path is covered by a pattern: the plain meaning, segment by segment.

    Example:
    >>> path_matches("/admin", "/admin/x"), path_matches("/admin", "/administrator")
    (True, False)
    >>> path_matches("/api/*/keys", "/api/v1/keys"), path_matches("/api/**", "/api/v1/keys")
    (True, True)
    """
    wanted = _segments(pattern)
    seen = _segments(path)
    if "*" not in pattern:
        return seen[: len(wanted)] == wanted
    return _glob_matches(wanted, seen)


def compile_paths(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Return one function that tells whether any pattern covers a path: `path_matches`, only faster.

    The work is linear in the path for each `**`: no pattern makes a path expensive (atomic groups, no
    backtracking into what is settled).
    """
    expression = re.compile("|".join(_expression(pattern) for pattern in patterns), re.DOTALL)
    fullmatch = expression.fullmatch
    return lambda path: fullmatch(path) is not None


def _segments(path: str) -> list[str]:
    segments = path.split("/")[1:]
    if segments and segments[-1] == "":
        segments.pop()
    return segments


def _glob_matches(wanted: list[str], seen: list[str]) -> bool:
    """Return whether segments match, walking all ways that `**` may take at once."""
    reachable = {0}
    for pattern in wanted:
        if pattern == "**":
            reachable = set(range(min(reachable, default=len(seen) + 1), len(seen) + 1))
        else:
            reachable = {at + 1 for at in reachable if at < len(seen) and _segment_matches(pattern, seen[at])}
    return len(seen) in reachable


def _segment_matches(pattern: str, segment: str) -> bool:
    """Return whether one segment matches a pattern with `*`: each part at its leftmost place."""
    first, *rest = pattern.split("*")
    if not rest:
        return segment == pattern
    if not segment or not segment.startswith(first):
        return False
    *middle, last = rest
    at = len(first)
    for part in middle:
        found = segment.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return len(segment) - at >= len(last) and segment.endswith(last)


def _expression(pattern: str) -> str:
    segments = _segments(pattern)
    if "*" not in pattern:
        literal = "".join("/" + re.escape(segment) for segment in segments)
        return f"{literal}(?:/.*)?" if literal else "(?:/.*)?"
    groups: list[list[str]] = [[]]
    for segment in segments:
        if segment == "**":
            groups.append([])
        else:
            groups[-1].append("/" + _segment_expression(segment))
    head, *rest = ("".join(group) for group in groups)
    if not rest:
        return f"{head}/?"
    *middle, last = rest
    # Each middle group settles at its leftmost place (atomic); only the last one looks for the end.
    settled = "".join(f"(?>(?:/[^/]*)*?{group}(?=/|\\Z))" for group in middle if group)
    return f"{head}(?=/|\\Z){settled}(?:/[^/]*)*{last}/?" if last else f"{head}(?=/|\\Z){settled}(?:/.*)?"


def _segment_expression(segment: str) -> str:
    first, *rest = segment.split("*")
    if not rest:
        return re.escape(segment)
    *middle, last = rest
    settled = "".join(f"(?>[^/]*?{re.escape(part)})" for part in middle if part)
    return f"(?=[^/]){re.escape(first)}{settled}[^/]*{re.escape(last)}(?=/|\\Z)"
