"""Path prefixes on the way to an app: the public one goes, the app's own one comes.

What is changed is the canonical path that has been decided on, so nothing is left in it that could climb out of a
prefix again; see `gateway.wire.target`.
"""

import msgspec

from gateway.wire.target import Target


class PathRewrite(msgspec.Struct, frozen=True):
    """`strip` is a prefix of whole segments that every path of the route begins with; `add` comes in its place.

    Neither ends in a slash; both may be empty.
    """

    strip: str = ""
    add: str = ""

    def apply(self, target: Target) -> bytes:
        """Return the path and query for the upstream.

        >>> from gateway.wire.target import parse_target
        >>> rewrite = PathRewrite(strip="/wiki", add="/v2")
        >>> [rewrite.apply(parse_target(raw, b"a")) for raw in (b"/wiki", b"/wiki/a?b=c", b"/wiki/%2e%2e/wiki/x")]
        [b'/v2/', b'/v2/a?b=c', b'/v2/x']
        """
        rest = target.path.removeprefix(self.strip) or "/"
        path = self.add + rest
        return path.encode() if target.query is None else f"{path}?{target.query}".encode()
