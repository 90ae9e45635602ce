"""The JSON Schema (draft 2020-12) of the configuration, from the types that decode it.

For editors: completion, hover texts and red lines while typing. `posturegate check` knows more (names that
refer to each other, files, secrets), and where the schema and `check` differ, `check` is right.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Any

import msgspec
import msgspec.inspect as mi

from gateway.config.docs import field_texts, summary
from gateway.config.kinds import alternatives, is_localised, is_secret, type_of, unit_of, words_of
from gateway.config.schema import Config, Sensor
from gateway.config.show import with_unit

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ID = "urn:posturegate:configuration:1"

_REFERENCE = {"$ref": "#/$defs/Reference"}

_COMMON: dict[str, Any] = {
    "Reference": {
        "description": "A text kept elsewhere: `{env: NAME}` or `{file: PATH}`, relative to this file.",
        "oneOf": [
            {
                "type": "object",
                "properties": {key: {"type": "string", "minLength": 1}},
                "required": [key],
                "additionalProperties": False,
            }
            for key in ("env", "file")
        ],
    },
    "Duration": {
        "description": "A number and a unit: `500ms`, `30s`, `15m`, `24h`, `7d`, `2w`.",
        "type": "string",
        "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*(ms|s|m|h|d|w)\s*$",
    },
    "ByteSize": {
        "description": "A number and a unit: `512B`, `64KiB`, `10MiB`, `1GiB`.",
        "type": "string",
        "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*(B|KiB|MiB|GiB)\s*$",
    },
    "Secret": {
        "description": "A secret: better `{env: NAME}` or `{file: PATH}` than the text itself.",
        "oneOf": [{"type": "string", "minLength": 1}, _REFERENCE],
    },
}

_BY_LANGUAGE: dict[str, Any] = {
    "description": "Texts by language tag (`en`, `pt-BR`), the default language of the pages among them.",
    "type": "object",
    "propertyNames": {"pattern": "^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$"},
    "additionalProperties": {"anyOf": [{"type": ["string", "number"]}, _REFERENCE]},
    "minProperties": 1,
}


def json_schema(sensor_kinds: Mapping[str, type[msgspec.Struct]]) -> dict[str, Any]:
    """Return the schema. `sensor_kinds` gives the type of the `options` of each installed sensor kind."""
    builder = _Builder()
    root = builder.struct(type_of(Config))
    root["patternProperties"] = {"^x-": {"description": "Yours: the gateway ignores it."}}
    builder.struct_ref(type_of(Sensor))
    builder.definitions["Sensor"]["allOf"] = [
        {
            "if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]},
            "then": {"properties": {"options": builder.struct_ref(type_of(options))}},
        }
        for kind, options in sorted(sensor_kinds.items())
    ]
    return {
        "$schema": DIALECT,
        "$id": ID,
        "title": "Posturegate configuration",
        **root,
        "$defs": dict(sorted(builder.definitions.items())),
    }


def options_schema(options: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the schema of the `options` of one sensor kind."""
    builder = _Builder()
    root = builder.struct(type_of(options))
    return {**root, "$defs": dict(sorted(builder.definitions.items()))}


def schema_text(sensor_kinds: Mapping[str, type[msgspec.Struct]]) -> str:
    """Return the schema as the text of `conf/posturegate.schema.json`."""
    return msgspec.json.format(msgspec.json.encode(json_schema(sensor_kinds)), indent=2).decode() + "\n"


class _Builder:
    """Builds schemas of types; each struct once, in `definitions`."""

    def __init__(self) -> None:
        self.definitions: dict[str, Any] = dict(_COMMON)

    def struct_ref(self, kind: mi.StructType) -> dict[str, Any]:
        """Return a reference to a struct's definition, made on first use."""
        name = kind.cls.__name__
        if name not in self.definitions:
            self.definitions[name] = {}
            self.definitions[name].update(self.struct(kind))
        return {"$ref": f"#/$defs/{name}"}

    def struct(self, kind: mi.StructType) -> dict[str, Any]:
        """Return the schema of a struct: closed, with the meaning and default of every key."""
        texts = field_texts(kind.cls)
        properties: dict[str, Any] = {}
        required = [field.encode_name for field in kind.fields if field.required]
        if kind.tag_field:
            properties[kind.tag_field] = {"const": kind.tag}
            required.insert(0, kind.tag_field)
        for field in kind.fields:
            schema = self.any_of(field.type)
            if field.name in texts:
                schema = {**schema, "description": texts[field.name]}
            default = default_of(field)
            if default is not None:
                schema = {**schema, "default": default}
            properties[field.encode_name] = schema
        return {
            "description": summary(kind.cls),
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": False,
        }

    def any_of(self, kind: mi.Type) -> dict[str, Any]:
        """Return the schema of a type; a reference may stand for whatever is written as a text."""
        kinds = alternatives(kind)
        schemas = [schema for each in kinds for schema in self.one(each)]
        if any(
            isinstance(each, mi.StrType | mi.EnumType | mi.LiteralType) or unit_of(each) for each in kinds
        ):
            schemas.append(_REFERENCE)
        if is_localised(kind):
            self.definitions.setdefault("ByLanguage", _BY_LANGUAGE)
            schemas.append({"$ref": "#/$defs/ByLanguage"})
        unique = [schema for at, schema in enumerate(schemas) if schema not in schemas[:at]]
        return unique[0] if len(unique) == 1 else {"anyOf": unique}

    def one(self, kind: mi.Type) -> list[dict[str, Any]]:  # noqa: C901, PLR0911 - one line a type
        """Return the schemas of one alternative."""
        if unit_of(kind):
            return [{"$ref": "#/$defs/Duration" if unit_of(kind) == "duration" else "#/$defs/ByteSize"}]
        if is_secret(kind):
            return [{"$ref": "#/$defs/Secret"}]
        match kind:
            case mi.StructType():
                return [self.struct_ref(kind)]
            case mi.EnumType() | mi.LiteralType():
                values = kind.values if isinstance(kind, mi.LiteralType) else words_of(kind)
                return [{"enum": list(values)}]
            case mi.StrType():
                # A plain number is taken as it is written (`14.10`), so that editors must not object to it.
                return [
                    {"type": "string", "pattern": kind.pattern}
                    if kind.pattern
                    else {"type": ["string", "number"]}
                ]
            case mi.IntType():
                return [_bounded("integer", kind)]
            case mi.FloatType():
                return [_bounded("number", kind)]
            case mi.BoolType():
                return [{"type": "boolean"}]
            case mi.NoneType():
                return [{"type": "null"}]
            case mi.VarTupleType() | mi.ListType() | mi.SetType() | mi.FrozenSetType():
                return [{"type": "array", "items": self.any_of(kind.item_type)}]
            case mi.DictType():
                names = kind.key_type.extra_json_schema if isinstance(kind.key_type, mi.Metadata) else None
                keys = {"propertyNames": names} if names else {}
                return [{"type": "object", **keys, "additionalProperties": self.any_of(kind.value_type)}]
            case _:
                return [{}]


def _bounded(name: str, kind: mi.IntType | mi.FloatType) -> dict[str, Any]:
    bounds = {
        "minimum": kind.ge,
        "exclusiveMinimum": kind.gt,
        "maximum": kind.le,
        "exclusiveMaximum": kind.lt,
    }
    return {"type": name, **{key: value for key, value in bounds.items() if value is not None}}


def default_of(field: mi.Field) -> Any:
    """Return a field's default as it would be written, None for none, an empty one, or a whole section."""
    value = field.default
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        items = [item.value if isinstance(item, Enum) else item for item in value]
        return items or None
    if value is msgspec.NODEFAULT or value == "" or isinstance(value, msgspec.Struct):
        return None
    return with_unit(value, field.type)
