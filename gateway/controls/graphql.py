"""Whether a GraphQL request only reads. Pure. Source: GraphQL specification, October 2021, sections 2.1 and 2.3."""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl

MAX_BODY_BYTES = 262_144
"""Longest body that is looked at; a longer one is taken for a change."""
MAX_BATCH = 100
"""Most requests in one body."""

_TOKEN = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*"""|"(?:[^"\\\n]|\\.)*"|#[^\n\r]*|[A-Za-z_][A-Za-z0-9_]*|[{}()\[\]]|"|[^"#{}()\[\]A-Za-z_]+',
    re.DOTALL,
)
_READING = frozenset({"query", "fragment"})
_OPENING, _CLOSING = frozenset("{(["), frozenset("})]")


def reads_only(document: str) -> bool:
    """Return whether every operation of a GraphQL document is a query; false for what cannot be read.

    >>> reads_only("query A { a } { b }"), reads_only("fragment F on T { a } mutation { b }")
    (True, False)
    """
    return _is_document(document) and all(word in _READING or word == "{" for word in _beginnings(document))


def _is_document(document: str) -> bool:
    depth = 0
    for sign in _tokens(document):
        if sign == '"':
            return False
        depth += (sign in _OPENING) - (sign in _CLOSING)
        if depth < 0:
            return False
    return depth == 0 and next(_beginnings(document), None) is not None


def _tokens(document: str) -> Iterator[str]:
    """Yield names, brackets, strings and a lone quotation mark; without comments and all else."""
    for match in _TOKEN.finditer(document):
        token = match[0]
        if token[0] in '{}()[]"_' or token[0].isalpha():
            yield token


def _beginnings(document: str) -> Iterator[str]:
    """Yield what each definition of a document begins with."""
    depth = 0
    is_inside = False
    for sign in _tokens(document):
        if not is_inside and not sign.startswith('"'):
            is_inside = True
            yield sign
        if sign in _OPENING:
            depth += 1
        elif sign in _CLOSING:
            depth -= 1
            if depth == 0 and sign == "}":
                is_inside = False


def asks_for_change(query: str | None) -> bool:
    """Return whether the query part of an address carries a GraphQL operation that is not a query.

    Text that is no GraphQL at all, such as the words of a search, asks for nothing.
    """
    if not query or "query" not in query:
        return False
    return any(
        name == "query"
        and "{" in value
        and any(word in {"mutation", "subscription"} for word in _beginnings(value))
        for name, value in parse_qsl(query, keep_blank_values=True)
    )


def address_reads_only(query: str | None) -> bool:
    """Return whether the query part of an address of a GraphQL endpoint asks for nothing but queries.

    >>> address_reads_only("query=%7Ba%7D"), address_reads_only("extensions=%7B%22persistedQuery%22%3A1%7D")
    (True, False)
    """
    parameters = parse_qsl(query or "", keep_blank_values=True)
    documents = [value for name, value in parameters if name == "query"]
    return not parameters or (len(documents) == 1 and reads_only(documents[0]))


def body_reads_only(body: bytes, content_type: bytes | None) -> bool:
    """Return whether a POST to a GraphQL endpoint holds nothing but queries; whatever is doubtful does not.

    Documents that the app has stored (`persistedQuery` without a text) could be anything, and members that are given
    twice could be read either way.
    """
    if len(body) > MAX_BODY_BYTES:
        return False
    media = (content_type or b"").partition(b";")[0].strip().lower()
    try:
        text = body.decode()
        if media == b"application/graphql":
            return reads_only(text)
        if media != b"application/json":
            return False
        requests: Any = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        return False
    batch = requests if isinstance(requests, list) else [requests]
    return 0 < len(batch) <= MAX_BATCH and all(_is_reading(each) for each in batch)


def _is_reading(request: object) -> bool:
    if not isinstance(request, dict):
        return False
    document = request.get("query")
    return isinstance(document, str) and reads_only(document)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is given twice")
    return members
