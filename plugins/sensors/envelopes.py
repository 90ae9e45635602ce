"""What pipelines, SOARs and search engines put around the payloads of a product. Pure.

A kind says by a test what one item of its product looks like. `items_of` finds the items of a payload: the product's
own lists first, then those of the usual envelopes; `inside` takes one item out of the usual boxes. Neither opens what
is an item already, and neither guesses: what the test does not recognise is left as it is, to be rejected by name.
"""

from collections.abc import Callable
from typing import Any

from plugins.payload import MAX_ITEMS, PayloadFault, parse_payloads
from plugins.reading import Reader, look, rows

Test = Callable[[Any], bool]

LISTS = (
    *("alerts", "events", "records", "value", "items", "data", "results", "resources", "messages"),
    *("hits.hits", "detail.findings"),
)
"""Where envelopes keep several items."""

BOXES = (
    *("alert", "event", "detail", "data", "payload", "body", "result", "record", "incident", "finding"),
    *("_source", "_raw", "json", "message", "Message", "log", "value"),
)
"""Where envelopes keep one item, as an object or as JSON in a text."""

MAX_BOXES = 3
"""How many boxes are opened, one inside the other."""

LOOKED_AT = 20
"""How many elements of a list are looked at to tell whether it holds items."""


def items_of(payload: Any, is_item: Test, *paths: str) -> tuple[list[Any], str]:
    """Return the items of a payload and where they stand, as `rows` does.

    `paths` are the product's own lists. A list of an envelope counts when it holds an item, boxed or not.
    """
    if is_item(payload):
        return [payload], ""
    found, prefix = rows(payload, *paths)
    if prefix:
        return found, prefix
    return _listed(payload, is_item, paths, MAX_BOXES) or ([payload], "")


def _listed(value: Any, is_item: Test, paths: tuple[str, ...], depth: int) -> tuple[list[Any], str] | None:
    for path in (*paths, *LISTS):
        found = look(value, path)
        if isinstance(found, list) and any(opened(each, is_item) is not None for each in found[:LOOKED_AT]):
            return found[: MAX_ITEMS + 1], f"{path}[{{n}}]."
    if depth == 0:
        return None
    for name, inner in _boxes(value):
        if (deeper := _listed(inner, is_item, paths, depth - 1)) is not None:
            return deeper[0], f"{name}.{deeper[1]}"
    return None


def inside(reader: Reader, is_item: Test) -> Reader:
    """Return a reader of the item that stands in boxes, the same reader where there is none in them."""
    found = opened(reader.item, is_item)
    if found is None or not found[1]:
        return reader
    return Reader(reader.frame, found[0], reader.prefix + found[1])


def opened(value: Any, is_item: Test, depth: int = MAX_BOXES) -> tuple[Any, str] | None:
    """Return the item in a value and the path before it, "" for a value that is one; None without any."""
    if is_item(value):
        return value, ""
    if depth == 0:
        return None
    for name, inner in _boxes(value):
        if (found := opened(inner, is_item, depth - 1)) is not None:
            return found[0], f"{name}.{found[1]}"
    return None


def _boxes(value: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return the objects in the boxes of a value."""
    if not isinstance(value, dict):
        return []
    named = ((name, _as_object(value.get(name))) for name in BOXES)
    return [(name, inner) for name, inner in named if inner is not None]


def _as_object(value: Any) -> dict[str, Any] | None:
    if isinstance(value, str) and value.lstrip()[:1] == "{":
        try:
            payloads = parse_payloads(value.encode("utf-8", "replace"))
        except PayloadFault:
            return None
        value = payloads[0] if len(payloads) == 1 else None
    return value if isinstance(value, dict) else None
