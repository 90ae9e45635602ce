"""Asking Microsoft Graph, and APIs that page like it, for one page of a collection. OData: `nextLink`, `deltaLink`.

Source: Microsoft Graph, "Paging", "Use delta query to track changes", "Get access without a user".
"""

from collections.abc import Mapping
from typing import Any

from plugins.payload import text_at
from plugins.pulling import Grant, PullAccess, PullCode, PullFault, PullHttp, PullPage, listed

ACCESS = PullAccess(
    grant=Grant.CLIENT_CREDENTIALS,
    url="https://graph.microsoft.com",
    token_url="https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token",  # noqa: S106 - an address
    scope="{origin}/.default",
    headers={"ConsistencyLevel": "eventual"},
)


async def page_of(http: PullHttp, cursor: str, path: str, params: Mapping[str, str]) -> tuple[Any, PullPage]:
    """Return the answer at a link (or at the beginning, for "") and the page that it makes.

    After the last page the cursor is the product's `deltaLink`, "" where it gives none. Raises `PullFault`.
    """
    answer = await (http.get(cursor) if cursor else http.get(path, params))
    rows = listed(answer, "value", path)
    following = text_at(answer, "@odata.nextLink")
    delta = text_at(answer, "@odata.deltaLink")
    return answer, PullPage(payloads=({"value": rows},), cursor=following or delta, is_last=not following)


async def one_of(http: PullHttp, path: str, params: Mapping[str, str] | None = None) -> Any | None:
    """Return one object (the first of a collection), None when there is none. Raises `PullFault`."""
    try:
        answer = await http.get(path, params)
    except PullFault as fault:
        if fault.code is PullCode.NOT_FOUND:
            return None
        raise
    if isinstance(answer, dict) and isinstance(answer.get("value"), list):
        return next(iter(answer["value"]), None)
    return answer


def quoted(value: str) -> str:
    """Return a text as an OData literal. Source: OData 4.01 URL Conventions, section 5.1.1.14.1.

    >>> quoted("o'neill")
    "'o''neill'"
    """
    return "'" + value.replace("'", "''") + "'"
