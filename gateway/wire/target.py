"""One canonical path: what route, policy, log and upstream all see of a request target, or a refusal.

Four things can become of a spelling:

*made canonical* - where all readers agree on the meaning: escapes of unreserved characters are decoded (once), other
    escapes get upper-case digits, dot segments are resolved, repeated slashes become one. The upstream is sent the
    result, so there is nothing left for it to read otherwise.
*read as a sign* - escapes of signs that may stand for themselves (`%40`, `%2B`): nearly every app reads both alike, but
    some want the one that was sent. It is passed on as it is, and what is said of either spelling holds for it.
*ambiguous* - where real apps and their frameworks disagree, and honest clients use the spelling: `%2F` (GitLab), `%5C`,
    `;params`, an escaped percent sign that begins another escape, escapes that are not UTF-8, characters that some
    systems take for a dot or slash (the full-width ones). It is passed on as it is, with `is_ambiguous` set: such a
    path is never public and never benefits from a path-based allowance.
*refused* - where no honest client goes: raw backslash, `#`, spaces, control and non-ASCII characters, broken escapes,
    escaped control characters, overlong UTF-8, dot segments above the root, and dot segments that appear only after
    another round of decoding, or where an upstream ends a segment early (`..%2f`, `%252e%252e/`, `..;/`, `..%3f`).

INVARIANT: canonicalising is idempotent, and a path that is not ambiguous contains no escape, dot segment, parameter or
empty segment that an upstream could still resolve.

Source: RFC 9112 section 3.2, RFC 3986 sections 5.2.4 and 6.2.2.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from itertools import product
from typing import NamedTuple
from unicodedata import normalize
from urllib.parse import unquote_to_bytes

from gateway.wire.faults import FaultCode, RequestFault
from gateway.wire.host import parse_host


class Target(NamedTuple):
    """A request target.

    `raw` as it was sent. `path` is canonical, begins with a slash, and keeps its escapes. `query` without its question
    mark, None when there is none. `canonical` is path and query as the upstream is sent them. `readings` are the
    canonical paths that the upstream may take it for, `path` first. `is_ambiguous`: they may be different resources.
    """

    raw: bytes
    path: str
    query: str | None
    canonical: bytes
    readings: tuple[str, ...]
    is_ambiguous: bool = False


_PLAIN = re.compile(rb"((?:/[A-Za-z0-9_~-][A-Za-z0-9._~!$&'()*+,=:@-]*)*/?)(?:\?([\x21\x22\x24-\x7e]*))?")
_ALLOWED_PATH = re.compile(rb"/[\x21\x22\x24-\x3e\x40-\x5b\x5d-\x7e]*")
_ALLOWED_QUERY = re.compile(rb"[\x21\x22\x24-\x7e]*")
_ABSOLUTE = re.compile(rb"(?i:(https?))://([^/?#]*)([^#]*)")
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_ESCAPED_CONTROL = re.compile(rb"%(?:[01][0-9A-F]|7F)")
_OVERLONG = re.compile(rb"%C[01]%[89AB]|%E0%[89]|%F0%8")
_AMBIGUOUS = re.compile(rb";|%3B|%2F|%5C|%25(?=[0-9A-Fa-f]{2})")
_PARAMETERS = re.compile(rb"(?:;|%3[Bb])[^/]*")
_SEGMENT_END = re.compile(rb"[;?#]")
_SIGNS = "./\\%;?#"
_SLASHES = re.compile(rb"//+")
_SIGN = re.compile(rb"%(2[1246789ABC]|3[ACDE]|40|5[BDE]|60|7[BCD])")
"""An escape of what a path may also have as it is, and what is nothing special there."""
_UNSPELT = re.compile(rb"[^\x21\x22\x24-\x3e\x40-\x5b\x5d-\x7e]")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_DECODING_ROUNDS = 3

MAX_REMEMBERED_BYTES = 256
"""Longest target that is remembered from one request to the next."""


def parse_target(raw: bytes, host: bytes) -> Target:
    """Return the target of an origin-form or absolute-form request; `host` is the value of its `Host` header.

    Raises `RequestFault` as the module says, and when an absolute form names another authority than `host`.
    """
    plain = _plain_target(raw) if len(raw) <= MAX_REMEMBERED_BYTES else _match_plain(raw)
    if plain is not None:
        return plain
    if not raw.startswith(b"/"):
        raw, untouched = _origin_form(raw, host), raw
        return parse_target(raw, host)._replace(raw=untouched)
    path, mark, query = raw.partition(b"?")
    if _ALLOWED_QUERY.fullmatch(query) is None:
        raise RequestFault(FaultCode.TARGET, "the query has a fragment, a space, or a non-ASCII character")
    canonical = canonical_path(path)
    text, may_differ = canonical.decode(), is_ambiguous(canonical)
    return Target(
        raw=raw,
        path=text,
        query=query.decode() if mark else None,
        canonical=canonical + mark + query,
        readings=readings(text) if may_differ else spellings(text),
        is_ambiguous=may_differ,
    )


def _match_plain(raw: bytes) -> Target | None:
    """Return the target of the common case, a path that is its own canonical form; None for any other."""
    match = _PLAIN.fullmatch(raw)
    if match is None or not match[1]:
        return None
    path, query = match[1].decode(), match[2]
    return Target(raw, path, None if query is None else query.decode(), raw, (path,))


_plain_target = lru_cache(maxsize=2048)(_match_plain)


def _origin_form(raw: bytes, host: bytes) -> bytes:
    """Return the path and query of an absolute-form target. Raises `RequestFault` unless it agrees with `host`."""
    match = _ABSOLUTE.fullmatch(raw)
    if match is None:
        raise RequestFault(FaultCode.TARGET, "the target is neither a path nor an http URL")
    scheme, authority, rest = match.groups()
    default = 443 if scheme.lower() == b"https" else 80
    theirs, ours = parse_host(authority), parse_host(host)
    if theirs[0] != ours[0] or (theirs[1] or default) != (ours[1] or default):
        raise RequestFault(FaultCode.TARGET, "the target names another host than the Host header")
    return rest if rest.startswith(b"/") else b"/" + rest


def canonical_path(path: bytes) -> bytes:
    """Return the one spelling of `path`. Raises `RequestFault` where the module says *refused*.

    >>> canonical_path(b"/a//%7euser/./b/../%c3%a9")
    b'/a/~user/%C3%A9'
    """
    if _ALLOWED_PATH.fullmatch(path) is None:
        raise RequestFault(
            FaultCode.TARGET, "the path has a backslash, a fragment, a space, or a non-ASCII character"
        )
    if _BROKEN_ESCAPE.search(path) is not None:
        raise RequestFault(FaultCode.TARGET, "the path has a percent sign that begins no escape")
    path = _ESCAPE.sub(_normal_escape, path)
    if _ESCAPED_CONTROL.search(path) is not None:
        raise RequestFault(FaultCode.TARGET, "the path has an escaped control character")
    if _OVERLONG.search(path) is not None:
        raise RequestFault(FaultCode.TARGET, "the path has a character in more bytes of UTF-8 than it takes")
    path = _without_dot_segments(_SLASHES.sub(b"/", path))
    if _hides_dot_segments(path):
        raise RequestFault(FaultCode.TARGET, "the path hides dot segments behind escapes or parameters")
    return path


def readings(path: str) -> tuple[str, ...]:
    """Return every way in which servers are known to read a canonical path, itself first, each in canonical form.

    Some strip `;parameters` of a segment, some decode escaped slashes, backslashes and percent signs before they look
    for segments, some replace characters by their plain likeness, some do two of these or all. Signs stand for
    themselves in all readings but the first.

    >>> readings("/office;v=1/a%2Fb")
    ('/office;v=1/a%2Fb', '/office;v=1/a/b', '/office/a%2Fb', '/office/a/b')
    >>> readings("/~%C3%BC%2B%2F")
    ('/~%C3%BC%2B%2F', '/~%C3%BC+%2F', '/~%C3%BC+/')
    """
    found = {path: None}
    raw = plain_signs(path).encode()
    for strips, folds in product((False, True), repeat=2):
        for each in _decoded(raw, strips=strips, folds=folds):
            # Dot segments that hide were refused with the request itself; one that is left resolves nothing here.
            with suppress(RequestFault):
                found.setdefault(_respelt(_without_dot_segments(_SLASHES.sub(b"/", each) or b"/")))
    return tuple(found)


def _decoded(raw: bytes, *, strips: bool, folds: bool) -> Iterator[bytes]:
    """Yield what one kind of server makes of a path, after each round of decoding."""
    for _ in range(_DECODING_ROUNDS):
        yield raw
        if strips:
            raw = _PARAMETERS.sub(b"", raw)
            yield raw
        decoded = unquote_to_bytes(raw)
        decoded = (_folded(decoded) if folds else decoded).replace(b"\\", b"/")
        if decoded == raw:
            return
        raw = decoded


def plain_signs(path: str) -> str:
    """Return a canonical path with the signs themselves in place of their escapes.

    >>> plain_signs("/%40me/c%2B%2B/a%20b")
    '/@me/c++/a%20b'
    """
    return _SIGN.sub(_sign, path.encode()).decode()


def _sign(match: re.Match[bytes]) -> bytes:
    return bytes.fromhex(match[1].decode())


def spellings(path: str) -> tuple[str, ...]:
    """Return a canonical path that is not ambiguous and, where it is another, the one with signs for themselves."""
    plain = plain_signs(path)
    return (path,) if plain == path else (path, plain)


def _respelt(path: bytes) -> str:
    """Return what some upstream has decoded as a canonical path spells it."""
    whole = _BROKEN_ESCAPE.sub(b"%25", path)
    return _UNSPELT.sub(lambda match: b"%%%02X" % match[0][0], whole).decode()


def is_ambiguous(canonical: bytes) -> bool:
    """Return whether upstreams may disagree about the meaning of a canonical path."""
    if _AMBIGUOUS.search(canonical) is not None:
        return True
    try:
        text = unquote_to_bytes(canonical).decode()
    except UnicodeDecodeError:
        return True
    if text.isascii():
        return False
    plain = normalize("NFKC", text)
    return any(plain.count(sign) > text.count(sign) for sign in _SIGNS)


def _folded(path: bytes) -> bytes:
    """Return `path` with characters that have a plain likeness replaced by it, as some file systems do."""
    return path if path.isascii() else normalize("NFKC", path.decode(errors="replace")).encode()


def _normal_escape(match: re.Match[bytes]) -> bytes:
    byte = int(match[1], 16)
    return bytes((byte,)) if byte in _UNRESERVED else match[0].upper()


def _without_dot_segments(path: bytes) -> bytes:
    """Return `path`, which has no empty segments, with its dot segments resolved. Refuses to climb above the root."""
    if b"/." not in path:
        return path
    kept: list[bytes] = []
    segments = path[1:].split(b"/")
    for segment in segments:
        if segment == b"..":
            if not kept:
                raise RequestFault(FaultCode.TARGET, "the path climbs above the root")
            kept.pop()
        elif segment != b".":
            kept.append(segment)
    if kept and segments[-1] in {b".", b".."}:
        kept.append(b"")
    return b"/" + b"/".join(kept)


def _hides_dot_segments(path: bytes) -> bool:
    """Return whether some further decoding, as careless upstreams do it, would bring dot segments to light.

    A path that still changes after `_DECODING_ROUNDS` is taken to do so.
    """
    for _ in range(_DECODING_ROUNDS):
        for segment in path.replace(b"\\", b"/").split(b"/"):
            if _SEGMENT_END.split(segment, maxsplit=1)[0].rstrip(b" ") in {b".", b".."}:
                return True
        decoded = unquote_to_bytes(path)
        if decoded == path:
            return False
        path = decoded
    return True
