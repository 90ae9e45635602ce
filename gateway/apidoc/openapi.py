"""The OpenAPI 3.1 document: what sensors send us, what we answer, and the webhooks that we send. Pure.

Under `webhooks` stands what each product sends, by kind, and what task targets are sent by us. The address of a
sensor's webhook is of the operator's making, so `paths` has it with a placeholder.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway import __version__
from gateway.apidoc.schemas import schemas
from gateway.hub.hooks import TITLES
from plugins.catalog import Catalog

VERSION = "3.1.1"
_SECURITY: list[dict[str, list[str]]] = [
    {"standardWebhooks": []},
    {"hmac": []},
    {"bearer": []},
    {"basic": []},
    {"clientCertificate": []},
]
RETRYABLE = frozenset({408, 429, 503})


def openapi(catalog: Catalog, public_url: str = "https://login.example.org") -> dict[str, Any]:
    """Return the document for a gateway at `public_url`."""
    named = {name: _embedded(name, schema) for name, schema in schemas(catalog).items()}
    return {
        "openapi": VERSION,
        "info": {
            "title": "Posturegate: sensors",
            "version": __version__,
            "description": "A 2xx to a delivery means that access already follows from it, open streams included.",
        },
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "servers": [{"url": public_url.rstrip("/")}],
        "paths": {"/.gate/hooks/{sensor}": _hook(catalog)},
        "webhooks": {
            **{f"sensor-{kind}": _webhook(catalog, kind) for kind in catalog.kinds},
            "task": _task(),
        },
        "components": {"schemas": named, "securitySchemes": _schemes()},
    }


def openapi_text(catalog: Catalog) -> str:
    """Return the document as the text of `conf/openapi.json`."""
    return msgspec.json.format(msgspec.json.encode(openapi(catalog)), indent=2).decode() + "\n"


def _embedded(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema as part of this document: what it defines stays below itself, and is referred to from the top."""
    bare = {key: value for key, value in schema.items() if key not in {"$schema", "$id"}}
    moved: dict[str, Any] = _moved(bare, f"#/components/schemas/{name}/$defs/")
    return moved


def _moved(value: Any, prefix: str) -> Any:
    if isinstance(value, list):
        return [_moved(each, prefix) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key: each.replace("#/$defs/", prefix)
        if key == "$ref" and isinstance(each, str)
        else _moved(each, prefix)
        for key, each in value.items()
    }


def _reference(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _hook(catalog: Catalog) -> dict[str, Any]:
    body = {
        "oneOf": [
            _reference("test-event"),
            {"description": "a payload of the sensor's kind", "type": ["object", "array"]},
        ]
    }
    parameter = {"name": "sensor", "in": "path", "required": True, "schema": {"type": "string"}}
    return {
        "parameters": [{**parameter, "description": "the name of a configured sensor"}],
        "post": {
            "operationId": "deliver",
            "summary": "Deliver what a sensor has to say.",
            "description": f"One JSON value, an array of payloads, or NDJSON. Kinds: {', '.join(catalog.kinds)}.",
            "security": _SECURITY,
            "requestBody": _content(body),
            "responses": _responses(),
        },
    }


def _webhook(catalog: Catalog, kind: str) -> dict[str, Any]:
    return {
        "post": {
            "operationId": f"deliver-{kind}",
            "summary": f"What {catalog.sensor(kind).title} sends to `/.gate/hooks/NAME`.",
            "security": _SECURITY,
            "requestBody": _content(_reference(f"{kind}-payload")),
            "responses": _responses(),
        }
    }


def _task() -> dict[str, Any]:
    """Return the webhook that we send to task targets (`remediation.tasks.targets`)."""
    properties = {
        "type": {"type": "string", "pattern": r"^task\."},
        "timestamp": {"type": "string", "format": "date-time"},
        "data": {"type": "object", "description": "the security task"},
    }
    body = {"type": "object", "properties": properties, "required": list(properties)}
    return {
        "post": {
            "operationId": "task",
            "summary": "What a target of security tasks is sent, signed as Standard Webhooks 1.0 asks.",
            "security": [{"standardWebhooks": []}],
            "requestBody": _content(body),
            "responses": {"2XX": {"description": "Taken; anything else is sent again."}},
        }
    }


def _content(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _responses() -> dict[str, Any]:
    answer = {"oneOf": [_reference("delivery-answer"), _reference("test-answer")]}
    found: dict[str, Any] = {
        "200": {"description": "Durable and enforced.", "content": {"application/json": {"schema": answer}}}
    }
    for status, title in sorted(TITLES.items()):
        found[str(status)] = {
            "description": title + ("; sent again later it may be taken." if status in RETRYABLE else "."),
            "content": {"application/problem+json": {"schema": _reference("problem")}},
        }
        if status in RETRYABLE - {408}:
            wait = {"schema": {"type": "integer"}, "description": "seconds"}
            found[str(status)]["headers"] = {"Retry-After": wait}
    return found


def _schemes() -> dict[str, Any]:
    return {
        "standardWebhooks": {
            "type": "apiKey",
            "in": "header",
            "name": "webhook-signature",
            "description": "Standard Webhooks 1.0, with `webhook-id` and `webhook-timestamp`.",
        },
        "hmac": {
            "type": "apiKey",
            "in": "header",
            "name": "X-Hub-Signature-256",
            "description": "HMAC-SHA256 over the raw body; header, encoding and message are configured.",
        },
        "bearer": {"type": "http", "scheme": "bearer"},
        "basic": {"type": "http", "scheme": "basic"},
        "clientCertificate": {
            "type": "mutualTLS",
            "description": "A client certificate of the sensor's own CA.",
        },
    }
