"""What is generated from the section types is up to date, complete, and agrees with the loader."""

import re
from pathlib import Path

import msgspec
import pytest
from config_samples import ACCESS, BASE, ENV, GOOD, KINDS, WHSEC, load
from country_samples import write_countries
from ruamel.yaml import YAML

from gateway.config.docs import field_texts, summary
from gateway.config.errors import ConfigInvalid
from gateway.config.kinds import type_of
from gateway.config.load import load as load_file
from gateway.config.reference import reference, sections
from gateway.config.schema_json import json_schema, schema_text
from gateway.config.show import duration, show, show_origins, size
from risk.values import parse_bytes, parse_duration

ROOT = Path(__file__).parents[3]
EXAMPLE_ENV = {
    "POSTUREGATE_CLIENT_SECRET": "0123456789abcdef",
    "POSTUREGATE_FLEET_SECRET": "0123456789abcdef",
    "POSTUREGATE_WAZUH_SECRET": WHSEC,
}
SCHEMA = json_schema(KINDS)


# --- a small validator: the keywords that the schema uses ----------------------------------------------


def is_valid(value, schema):  # noqa: C901, PLR0911 - one line a keyword
    """Return whether a JSON value meets a schema. Knows only the keywords that our schema uses."""
    assert schema.keys() <= KEYWORDS, schema.keys() - KEYWORDS
    if "$ref" in schema and not is_valid(value, SCHEMA["$defs"][schema["$ref"].removeprefix("#/$defs/")]):
        return False
    if "anyOf" in schema and not any(is_valid(value, each) for each in schema["anyOf"]):
        return False
    if "oneOf" in schema and sum(is_valid(value, each) for each in schema["oneOf"]) != 1:
        return False
    for each in schema.get("allOf", ()):
        if is_valid(value, each["if"]) and not is_valid(value, each["then"]):
            return False
    if "const" in schema and value != schema["const"]:
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    types = schema.get("type", [])
    if types and not any(is_of(value, each) for each in ([types] if isinstance(types, str) else types)):
        return False
    if "pattern" in schema and isinstance(value, str) and not re.search(schema["pattern"], value):
        return False
    if isinstance(value, list):
        return all(is_valid(item, schema.get("items", {})) for item in value)
    if isinstance(value, dict):
        return is_valid_object(value, schema)
    return True


def is_valid_object(value, schema):
    known = schema.get("properties", {})
    if any(key not in value for key in schema.get("required", ())):
        return False
    if len(value) < schema.get("minProperties", 0):
        return False
    if not all(is_valid(key, schema.get("propertyNames", {})) for key in value):
        return False
    rest = schema.get("additionalProperties", {})
    for key, item in value.items():
        if key in known:
            if not is_valid(item, known[key]):
                return False
        elif any(re.search(pattern, key) for pattern in schema.get("patternProperties", ())):
            continue
        elif rest is False or not is_valid(item, rest):
            return False
    return True


KEYWORDS = {
    "$schema", "$id", "$defs", "$ref", "title", "description", "default", "type", "properties", "required",
    "additionalProperties", "patternProperties", "items", "enum", "const", "anyOf", "oneOf", "allOf", "if",
    "then",
    "pattern", "propertyNames", "minProperties", "minLength",
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
}  # fmt: skip


def is_of(value, name):
    if isinstance(value, bool):
        return name == "boolean"
    types = {
        "object": dict,
        "array": list,
        "string": str,
        "integer": int,
        "number": (int, float),
        "null": type(None),
    }
    return name in types and isinstance(value, types[name])


def document(text):
    return YAML(typ="safe", pure=True).load(text)


# --- the schema ----------------------------------------------------------------------------------------


def test_the_shipped_schema_is_up_to_date():
    """Run `posturegate config schema > conf/posturegate.schema.json` when this fails."""
    assert (ROOT / "conf/posturegate.schema.json").read_text() == schema_text(KINDS)


def test_the_schema_is_json_and_its_references_lead_somewhere():
    text = schema_text(KINDS)
    names = set(re.findall(r'"#/\$defs/([A-Za-z]+)"', text))
    assert names <= set(SCHEMA["$defs"])
    assert msgspec.json.decode(text)["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_what_loads_is_valid_by_the_schema():
    for text in (GOOD, (ROOT / "conf/posturegate.yaml").read_text()):
        assert is_valid(document(text), SCHEMA)


@pytest.mark.parametrize(
    "text",
    [
        BASE.replace("version: 1", "version: 2"),
        BASE.replace("client_id: gate", "client_id: [gate]"),
        BASE.replace("name: wiki", "name: Wiki"),
        BASE.replace("{env: SECRET}", "{evn: SECRET}"),
        BASE + "servr: {}\n",
        BASE + "server: {drain: 5}\n",
        BASE + "server: {drain: 5 minutes}\n",
        BASE + "server: {limits: {body_bytes: 10MB}}\n",
        BASE + "devices: [{from: claims, claim: x}]\n",
        BASE + "devices: [{claim: x}]\n",
        BASE + "access: {policies: [{name: a, decision: alow}]}\n",
        BASE + "access: {policies: [{name: a, decision: allow, when: {risk: [sky-high]}}]}\n",
        BASE + "compliance: {policies: [{name: p, rules: [{type: risk, name: r}]}]}\n",
        BASE + "sensors: [{name: s, kind: generic, auth: {scheme: bearer, secrets: [x]}, options: {x: 1}}]\n",
        BASE.replace("providers:", "provider:"),
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(text):
    assert not is_valid(document(text), SCHEMA)
    with pytest.raises(ConfigInvalid):
        load(text)


# --- the reference -------------------------------------------------------------------------------------


def test_the_reference_is_up_to_date():
    """Run `posturegate config reference > docs/configuration.md` when this fails."""
    assert (ROOT / "docs/configuration.md").read_text() == reference()


@pytest.mark.parametrize("kind", [kind for _, kind in sections()], ids=lambda kind: kind.cls.__name__)
def test_every_key_is_documented(kind):
    texts = field_texts(kind.cls)
    assert set(texts) == {field.name for field in kind.fields}
    assert summary(kind.cls)


# --- examples ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted((ROOT / "conf").glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_configurations_load_without_a_warning(path):
    loaded = load_file(path, EXAMPLE_ENV, sensor_options=KINDS.get, sensor_kinds=KINDS)
    assert loaded.warnings == ()


def examples(name):
    return re.findall(r"^```yaml\n(.*?)^```", (ROOT / "docs" / name).read_text(), re.DOTALL | re.MULTILINE)


EXAMPLES = examples("policies.md") + examples("policy-templates.md")

AROUND = """\
sensors:
  - {name: fleet, kind: fleet, max_silence: 1d, auth: {scheme: bearer, secrets: [{env: SECRET}]}}
"""
OFFICE = "networks: [{name: office, cidrs: [203.0.113.0/24]}]\n"


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_examples_of_the_policy_guide_load(example, tmp_path):
    (tmp_path / "networks").mkdir()
    (tmp_path / "networks/partners.txt").write_text("198.51.100.0/24\n")
    write_countries(tmp_path / "GeoLite2-Country.mmdb")
    text = BASE.replace("client_id: gate", "client_id: gate, roles_claim: roles, keep_claims: [terms]")
    text += "  - {name: payroll, host: payroll.corp.example, upstream: 'http://10.0.0.6:8080'}\n" + AROUND
    text += "" if "\nnetworks:" in f"\n{example}" else OFFICE
    text += example if "\naccess:" in f"\n{example}" else ACCESS + example
    load(text, base=tmp_path)
    assert is_valid(document(text), SCHEMA)


# --- show ----------------------------------------------------------------------------------------------


def test_what_is_shown_is_in_force_and_hides_secrets():
    text = GOOD.replace("client_id: gate", "client_id: {env: SECRET}") + "server: {drain: 90s}\n"
    loaded = load(text)
    shown = show(loaded)
    assert ENV["SECRET"] not in shown
    assert "client_secret: (set) by env SECRET" in shown
    again = document(shown)
    assert again["server"]["drain"] == "90s"
    assert again["server"]["limits"]["body_bytes"] == "1GiB"
    assert again["access"]["policies"][0]["decision"] == "allow"


def test_a_literal_secret_is_hidden_too():
    loaded = load(GOOD.replace("{env: SECRET}", "hunter2-hunter2"))
    assert "hunter2" not in show(loaded) + show_origins(loaded)


def test_origins_are_shown_for_each_value():
    lines = show_origins(load(GOOD)).splitlines()
    assert 'public_url = "https://login.corp.example"   # /nowhere/gate.yaml:2' in lines
    assert 'providers[0].client_secret = "(set) by env SECRET"   # env SECRET' in lines
    assert 'server.drain = "10s"   # default' in lines


def test_what_is_shown_loads_again():
    """Sections, tags, units and words are written as the loader reads them."""
    text = (ROOT / "conf/posturegate.yaml").read_text()
    loaded = load(text, env=EXAMPLE_ENV)
    shown = show(loaded)
    for name, value in EXAMPLE_ENV.items():
        shown = shown.replace(f"(set) by env {name}", value)
    assert load(shown, env={}).config == loaded.config


@pytest.mark.parametrize(
    "seconds", [0.0, 0.25, 1.0, 59.0, 60.0, 90.0, 3600.0, 5400.0, 86400.0, 604800.0, 1209600.0]
)
def test_durations_are_shown_as_they_are_read(seconds):
    assert parse_duration(duration(seconds)) == seconds


@pytest.mark.parametrize("count", [0, 1, 1000, 1024, 65536, 1 << 20, 5 << 30])
def test_sizes_are_shown_as_they_are_read(count):
    assert parse_bytes(size(count)) == count


def test_the_type_of_a_section_is_a_struct():
    with pytest.raises(TypeError):
        type_of(int)
