"""What a page's own Content-Security-Policy lets us add to it. Pure. Source: CSP Level 3, sections 6.7 and 6.8.3."""

import html
import re

_CONTENT = re.compile(rb"""\bcontent\s*=\s*(?:"([^"]*)"|'([^']*)')""", re.IGNORECASE)
_NONCE = re.compile(r"'nonce-([A-Za-z0-9+/_-]+={0,2})'", re.IGNORECASE)


class StyleSource:
    """Finds out whether a stylesheet of the page's own `origin` can apply under all policies of a page.

    `nonce` is by which one, "" while none is needed.
    """

    __slots__ = ("_origin", "nonce")

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self.nonce = ""

    def lets_stand(self, policies: str) -> bool:
        """Return whether the style may still stand when a header value holds too.

        >>> StyleSource("https://wiki.test").lets_stand("default-src 'none'; style-src 'self'")
        True
        >>> StyleSource("https://wiki.test").lets_stand("default-src 'self', style-src 'none'")
        False
        """
        return all(self._holds(policy) for policy in policies.split(","))

    def lets_stand_in_meta(self, attributes: bytes) -> bool:
        """Return the same for the policy in a `<meta>` tag, by its attributes; false when it cannot be read."""
        match = _CONTENT.search(attributes)
        if match is None:
            return False
        raw = match[1] if match[1] is not None else match[2]
        return self._holds(html.unescape(raw.decode("latin-1")))

    def _holds(self, policy: str) -> bool:
        sources = _style_sources(policy)
        if sources is None:
            return True
        scheme = self._origin.partition("://")[0]
        own = {"'self'", "*", f"{scheme}:", self._origin, self._origin + "/"}
        if not own.isdisjoint(source.lower() for source in sources):
            return True
        nonces = [match[1] for match in map(_NONCE.fullmatch, sources) if match is not None]
        if not self.nonce and nonces:
            self.nonce = nonces[0]
        return self.nonce in nonces


def _style_sources(policy: str) -> list[str] | None:
    """Return the sources that a policy allows for stylesheets, None where it says nothing of them."""
    directives: dict[str, list[str]] = {}
    for text in policy.split(";"):
        words = text.split()
        if words:
            directives.setdefault(words[0].lower(), words[1:])
    for name in ("style-src-elem", "style-src", "default-src"):
        if name in directives:
            return directives[name]
    return None
