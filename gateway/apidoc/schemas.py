"""JSON Schemas (draft 2020-12) of what is sent to us and what we answer. Pure.

The schema of a kind's payload is drawn from the samples that its author wrote on the product's documented fields: it
says which fields are read and how they look. Nothing is required by it and further fields are welcome; what a payload
really becomes, `posturegate sensor test` says.
"""

from collections.abc import Iterable, Mapping, Sequence
from inspect import cleandoc
from typing import Any

import msgspec

from gateway.config.schema_json import DIALECT, options_schema
from gateway.deliveries.model import DeliveryRecord
from gateway.hub.hooks import MAX_SHOWN, TEST_KEY, TITLES
from plugins.catalog import Catalog, SensorFacade
from risk.model import Identifier, Signal

NAMED: Mapping[str, type[msgspec.Struct]] = {
    "signal": Signal,
    "identifier": Identifier,
    "delivery-record": DeliveryRecord,
}
"""Types that are shown as they are."""

MAX_EXAMPLES = 1


def schemas(catalog: Catalog) -> dict[str, dict[str, Any]]:
    """Return every schema by its name: those of answers, and for each kind `KIND-payload` and `KIND-options`."""
    found = {name: _of_type(kind) for name, kind in NAMED.items()}
    found |= {"problem": _problem(), "delivery-answer": _answer(), "test-event": _test_event()}
    found["test-answer"] = _test_answer()
    for kind in catalog.kinds:
        facade = catalog.sensor(kind)
        found[f"{kind}-payload"] = payload_schema(facade)
        found[f"{kind}-options"] = options_schema(facade.options_type)
    return {name: _named(name, schema) for name, schema in sorted(found.items())}


def payload_schema(facade: SensorFacade) -> dict[str, Any]:
    """Return what the payloads of a kind look like, drawn from its samples."""
    payloads = [sample.payload for sample in facade.samples]
    return {
        "description": f"{facade.title}: fields that are read, drawn from its samples; others are ignored.",
        **_drawn(payloads),
        "examples": payloads[:MAX_EXAMPLES],
    }


def _named(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"$schema": DIALECT, "$id": f"urn:posturegate:schema:{name}", "title": name, **schema}


def _of_type(kind: type[msgspec.Struct]) -> dict[str, Any]:
    _, definitions = msgspec.json.schema_components((kind,), ref_template="#/$defs/{name}")
    for each in definitions.values():
        each["description"] = cleandoc(each.get("description", ""))
    own = definitions.pop(kind.__name__)
    return {**own, **({"$defs": definitions} if definitions else {})}


# --- drawn from samples ------------------------------------------------------------------------------

_NAMES = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}


def _drawn(values: Sequence[Any]) -> dict[str, Any]:
    """Return a schema that all these values satisfy, and says no more than they show."""
    objects = [value for value in values if isinstance(value, dict)]
    arrays = [value for value in values if isinstance(value, list)]
    types = [_NAMES[type(value)] for value in values if not isinstance(value, dict | list)]
    types += (["object"] if objects else []) + (["array"] if arrays else [])
    unique = sorted(set(types))
    drawn: dict[str, Any] = {"type": unique[0] if len(unique) == 1 else unique} if unique else {}
    if objects:
        drawn["properties"] = {name: _drawn(list(_all(objects, name))) for name in _keys(objects)}
    if any(arrays):
        drawn["items"] = _drawn([each for array in arrays for each in array])
    return drawn


def _keys(objects: Iterable[Mapping[str, Any]]) -> list[str]:
    return sorted({name for each in objects for name in each})


def _all(objects: Iterable[Mapping[str, Any]], name: str) -> Iterable[Any]:
    return (each[name] for each in objects if name in each)


# --- answers -----------------------------------------------------------------------------------------


def _counts(*names: str) -> dict[str, Any]:
    return {name: {"type": "integer", "minimum": 0} for name in names}


def _parked(are: str) -> dict[str, Any]:
    text = f"how many of the devices {are} known by nothing but a name, and wait for the device that it names"
    return {"type": "integer", "minimum": 0, "description": text}


def _rejections() -> dict[str, Any]:
    item = {
        "type": "object",
        "properties": {
            "index": {"type": "integer", "minimum": 0, "description": "the item of the delivery, from 0"},
            "code": {"type": "string"},
            "error": {"type": "string"},
        },
        "required": ["index", "code", "error"],
    }
    text = f"the first {MAX_SHOWN}, in the order of the items"
    return {"type": "array", "items": item, "maxItems": MAX_SHOWN, "description": text}


def _answer() -> dict[str, Any]:
    pull = {
        "type": "object",
        "description": "The product only said that these have changed; they are fetched if that is configured.",
        "properties": {
            "resources": {"type": "array", "items": {"type": "string"}},
            "configured": {"type": "boolean"},
        },
        "required": ["resources", "configured"],
    }
    properties = {
        **_counts("accepted", "duplicates", "ignored", "devices", "users"),
        "parked": _parked("are"),
        "rejected": _rejections(),
        **_counts("rejected_count"),
        "enforced": {"const": True, "description": "access already follows from it, open streams included"},
        "enforced_in_ms": {"type": "number", "minimum": 0},
        "id": {"type": "string", "description": "the sender's message id, else ours"},
        "delivery": {"type": "string", "description": "our id of the delivery"},
        "pull_required": pull,
        "requestId": {"type": "string", "description": "that of Amazon Data Firehose, for no other sender"},
        "timestamp": {"type": "integer", "description": "milliseconds, beside `requestId`"},
    }
    required = [name for name in properties if name not in {"pull_required", "requestId", "timestamp"}]
    return {"type": "object", "properties": properties, "required": required}


def _test_answer() -> dict[str, Any]:
    properties = {
        "test": {"const": True},
        "enforced": {"const": False},
        **_counts("would_accept", "would_be_duplicates", "would_ignore"),
        "would_reject": _rejections(),
        **_counts("would_reject_count"),
        "would_be_parked": _parked("would be"),
        "verified": {
            "type": "object",
            "properties": {"scheme": {"type": "string"}, "secret": {"type": "integer", "minimum": 1}},
        },
        "delivery": {"type": "string"},
    }
    return {"type": "object", "properties": properties, "required": list(properties)}


def _test_event() -> dict[str, Any]:
    return {
        "description": "A delivery that is verified, read and answered, and changes nothing.",
        "type": "object",
        "properties": {TEST_KEY: {"type": "array", "description": "payloads to try"}},
        "required": [TEST_KEY],
        "additionalProperties": False,
    }


def _problem() -> dict[str, Any]:
    return {
        "description": "RFC 9457. `received` says what arrived when a signature did not match it.",
        "type": "object",
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"enum": sorted(TITLES)},
            "detail": {"type": "string"},
            "code": {"type": "string"},
            "instance": {"type": "string", "description": "ends in our id of the delivery"},
            "retry_after": {"type": "integer", "minimum": 1},
            "rejected": _rejections(),
            **_counts("rejected_count"),
            "received": {
                "type": "object",
                "properties": {"bytes": {"type": "integer"}, "sha256": {"type": "string"}},
            },
        },
        "required": ["type", "title", "status", "code"],
    }
