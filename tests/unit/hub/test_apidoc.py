"""The OpenAPI document and the schemas say what is really sent and answered, and the shipped copy is the same."""

import json
from pathlib import Path

import pytest

from gateway.apidoc.openapi import openapi, openapi_text
from gateway.apidoc.schemas import schemas
from gateway.config.sensors import installed
from gateway.hub.hooks import TITLES, as_test_event

ROOT = Path(__file__).parents[3]
CATALOG = installed()
TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": int | float,
    "null": type(None),
}


def fits(value, schema):
    """Return whether a value satisfies the part of JSON Schema that drawn schemas use."""
    types = schema.get("type", [])
    wanted = [types] if isinstance(types, str) else types
    if wanted and not any(
        isinstance(value, TYPES[each]) and (each == "boolean" or not isinstance(value, bool))
        for each in wanted
    ):
        return False
    if isinstance(value, dict):
        return all(fits(each, schema.get("properties", {}).get(name, {})) for name, each in value.items())
    return not isinstance(value, list) or all(fits(each, schema.get("items", {})) for each in value)


def references(value):
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [each for inner in value.values() for each in references(inner)]
    return [each for inner in value for each in references(inner)] if isinstance(value, list) else []


def test_the_shipped_document_is_what_this_version_serves():
    """`make docs` brings it up to date."""
    assert (ROOT / "conf" / "openapi.json").read_text() == openapi_text(CATALOG)


def test_every_reference_leads_somewhere():
    document = json.loads(openapi_text(CATALOG))
    found = references(document)
    assert found
    for reference in found:
        at = document
        for step in reference.removeprefix("#/").split("/"):
            at = at[step]


def test_every_answer_and_every_kind_is_there():
    document = openapi(CATALOG)
    answers = document["paths"]["/.gate/hooks/{sensor}"]["post"]["responses"]
    assert set(answers) == {"200", *map(str, TITLES)}
    assert {f"sensor-{kind}" for kind in CATALOG.kinds} < set(document["webhooks"])


@pytest.mark.parametrize("kind", CATALOG.kinds)
def test_the_samples_of_a_kind_fit_its_schema(kind):
    schema = schemas(CATALOG)[f"{kind}-payload"]
    samples = [sample.payload for sample in CATALOG.sensor(kind).samples]
    assert samples
    assert all(fits(payload, schema) for payload in samples)
    assert schema["properties"]


def test_a_schema_that_a_payload_breaks_is_broken():
    schema = schemas(CATALOG)["test-event"]
    assert fits(as_test_event([{}]), schema)
    assert not fits({"posturegate.test": 7}, schema)
