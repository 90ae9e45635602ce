"""Searches of the AuthZEN Authorization API 1.0 in pages. Source: its section 8."""

import base64
import binascii
from collections.abc import Iterable
from heapq import nsmallest
from typing import Any

import msgspec

MAX_PAGE = 100
"""Most candidates that are evaluated for one page."""


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Which page is wanted: the first without a `token`; `limit` is how many candidates are looked at."""

    token: str = ""
    limit: int | None = None


class SearchFault(Exception):
    """The search cannot be made; the text is for the caller."""


def page_of(candidates: Iterable[str], wanted: Page) -> tuple[list[str], str]:
    """Return the candidates of a page in their order, and the token of the next page, "" at the end.

    A token names the last candidate of the page before, so that nobody is left out or told twice when others come or
    go in between. Raises `SearchFault`.
    """
    limit = MAX_PAGE if wanted.limit is None else wanted.limit
    if not 1 <= limit <= MAX_PAGE:
        raise SearchFault(f"`page.limit` is between 1 and {MAX_PAGE}")
    after = _read(wanted.token)
    left = nsmallest(limit + 1, (each for each in candidates if after is None or each > after))
    chosen = left[:limit]
    return chosen, _token(chosen[-1]) if len(left) > limit else ""


def answer(results: list[dict[str, Any]], next_token: str) -> dict[str, Any]:
    """Return a page of results as it is sent."""
    return {"results": results, "page": {"next_token": next_token, "count": len(results)}}


def _token(last: str) -> str:
    return base64.urlsafe_b64encode(b"1" + last.encode()).decode().rstrip("=")


def _read(token: str) -> str | None:
    if not token:
        return None
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        if raw[:1] == b"1":
            return raw[1:].decode()
    except (binascii.Error, ValueError):
        pass
    raise SearchFault("`page.token` is not one of ours")
