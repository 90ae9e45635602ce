"""Checks of session profiles."""

import re
from collections.abc import Iterable

from compliance.paths import pattern_fault
from gateway.config.checks.shared import Checks
from gateway.config.errors import Code, KeyPath, shown
from gateway.config.profiles import BannerMode, ResponseHardening, SessionProfile

MAX_REQUESTS_PER_MINUTE = 100_000
"""Above this nobody could tell the bound from none."""
MIN_REAUTHENTICATE_S = 60.0
"""Below this a sign-in could be too old before its page has come."""

_METHOD = re.compile(r"[A-Z][A-Z0-9!#$%&'*+.^_`|~-]*", re.ASCII)
_MEDIA = re.compile(r"[a-z0-9!#$&^_.+-]+/(?:\*|[a-z0-9!#$&^_.+-]+)", re.ASCII)
_HOST = re.compile(
    r"(?:\*\.)?[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*", re.ASCII
)
_REFERRER_POLICIES = frozenset(
    {
        "no-referrer",
        "no-referrer-when-downgrade",
        "origin",
        "origin-when-cross-origin",
        "same-origin",
        "strict-origin",
        "strict-origin-when-cross-origin",
        "unsafe-url",
    }
)


def check_session_profile(checks: Checks, path: KeyPath, profile: SessionProfile) -> None:
    """Check that a profile limits something, and that its paths, types and bounds can be meant."""
    if profile == SessionProfile(name=profile.name):
        checks.fault(
            Code.ACCESS_POLICY, path, f"profile `{profile.name}` limits nothing", "such as `read_only: {}`"
        )
    _check_paths(checks, path, profile)
    checks.positive(path, profile, "reauthenticate", "requests_per_minute", "bytes_per_hour")
    if profile.reauthenticate is not None and 0 < profile.reauthenticate < MIN_REAUTHENTICATE_S:
        checks.fault(Code.RANGE, (*path, "reauthenticate"), "nobody signs in faster", "at least `1m`")
    if (profile.requests_per_minute or 0) > MAX_REQUESTS_PER_MINUTE:
        checks.fault(Code.RANGE, (*path, "requests_per_minute"), f"at most {MAX_REQUESTS_PER_MINUTE}")
    if profile.read_only is not None:
        _check_methods(checks, (*path, "read_only", "methods"), profile.read_only.methods)
    if profile.no_downloads is not None:
        _check_types(checks, (*path, "no_downloads", "display"), profile.no_downloads.display)
        _check_hosts(checks, (*path, "no_downloads", "hosts"), profile.no_downloads.hosts)
    _check_headers(checks, (*path, "headers"), profile.headers)
    if profile.watermark and profile.banner is not BannerMode.GATEWAY:
        checks.fault(Code.ACCESS_POLICY, (*path, "watermark"), "nobody draws it", "add `banner: gateway`")


def _check_paths(checks: Checks, path: KeyPath, profile: SessionProfile) -> None:
    _check_patterns(checks, (*path, "hidden_paths"), profile.hidden_paths)
    for key in ("read_only", "no_downloads", "no_uploads", "no_websocket"):
        control = getattr(profile, key)
        if control is not None:
            _check_patterns(checks, (*path, key, "allow"), control.allow)
    if profile.read_only is not None:
        _check_patterns(checks, (*path, "read_only", "graphql"), profile.read_only.graphql)


def _check_patterns(checks: Checks, path: KeyPath, patterns: Iterable[str]) -> None:
    for at, pattern in enumerate(patterns):
        fault = pattern_fault(pattern)
        if fault is not None:
            checks.fault(Code.PATTERN, (*path, at), f"{shown(pattern)} is no path pattern: {fault}")


def _check_methods(checks: Checks, path: KeyPath, methods: Iterable[str]) -> None:
    for at, method in enumerate(methods):
        if _METHOD.fullmatch(method) is None:
            hint = f"did you mean `{method.upper()}`?"
            checks.fault(Code.FORM, (*path, at), f"{shown(method)} is not a method", hint)


def _check_types(checks: Checks, path: KeyPath, types: Iterable[str]) -> None:
    for at, media in enumerate(types):
        if _MEDIA.fullmatch(media) is None:
            checks.fault(
                Code.FORM, (*path, at), f"{shown(media)} is no media type", "`image/*` or `text/plain`"
            )


def _check_hosts(checks: Checks, path: KeyPath, hosts: Iterable[str]) -> None:
    for at, host in enumerate(hosts):
        if _HOST.fullmatch(host) is None:
            hint = "`files.example.org` or `*.example.org`, without scheme, port and path"
            checks.fault(Code.FORM, (*path, at), f"{shown(host)} is no host name", hint)


def _check_headers(checks: Checks, path: KeyPath, headers: ResponseHardening) -> None:
    if not headers.csp.isascii() or not headers.csp.isprintable() or "," in headers.csp:
        message = "a policy is printable ASCII without a comma"
        checks.fault(Code.FORM, (*path, "csp"), message, "separate directives with `;`")
    if headers.referrer and headers.referrer not in _REFERRER_POLICIES:
        hint = ", ".join(sorted(_REFERRER_POLICIES))
        checks.fault(Code.FORM, (*path, "referrer"), f"{shown(headers.referrer)} is no referrer policy", hint)
