"""From YAML nodes to typed values, leaf by leaf, so that every fault is found and has its place.

The types themselves say what is allowed (`msgspec.inspect`). What is invalid is reported once and left out;
a section is built with its defaults in place of invalid optional values, only so that the later checks can
see the rest of it: a configuration with any fault is never used.
"""

import math
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec.inspect as mi
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from gateway.config.errors import Code, Fault, KeyPath, did_you_mean, nearest, path_text, shown
from gateway.config.kinds import (
    alternatives,
    describe,
    describe_all,
    describe_unit,
    is_list,
    is_localised,
    is_secret,
    keys_of,
    keys_of_entries,
    main_key,
    takes_null,
    takes_numbers,
    takes_scalar,
    unit_hint,
    unit_of,
    words_of,
)
from gateway.config.languages import Languages
from gateway.config.text import file_of, position, scalar
from gateway.wire.languages import canonical, lookup
from risk.values import KeyFault, Secret, parse_bytes, parse_duration

MAX_REFERENCE_BYTES = 64 * 1024
"""Largest file that `{file: …}` may name."""

MAX_DURATION_S = 10 * 366 * 86400.0
MAX_BYTES = 1 << 50

REFERENCE_KEYS = ("env", "file")

FOREIGN_KEYS: dict[tuple[str, str], str] = {
    ("AccessPolicy", "enabled"): "`mode: report` records what it would do; leave it out to switch it off",
    ("AccessPolicy", "priority"): "order never matters: of all policies that match, the strictest decides",
    ("AccessPolicy", "conditions"): "they stand under `when`",
    ("FindingCondition", "severity"): "`at_least` is the lowest severity that counts",
    ("DeviceAssignment", "os"): "they are called `platforms`",
    ("CompliancePolicy", "grace"): "each rule has a `grace` of its own",
    ("GenericOptions", "severity"): "it is called `level`",
    ("GenericOptions", "timestamp"): "it is called `observed_at`",
    ("GenericOptions", "time"): "it is called `observed_at`",
    ("GenericOptions", "id"): "`external_id` names the condition, `event_id` the message",
    ("GenericOptions", "name"): "it is called `title`",
    ("GenericOptions", "message"): "it is called `title`, or `description`",
    (
        "GenericOptions",
        "status",
    ): "`resolves: {path: status, equals: [closed]}` says when an item closes its condition",
    ("GenericOptions", "hostname"): "it stands under `device`: `- {kind: hostname, path: …}`",
    ("GenericOptions", "serial"): "it stands under `device`: `- {kind: serial, path: …}`",
    ("GenericOptions", "email"): "it stands under `user`: `- {kind: email, path: …}`",
    ("LevelSource", "value"): "`default` is the severity of what is missing or not in `table`",
    ("LevelSource", "map"): "it is called `table`",
    ("LevelSource", "mapping"): "it is called `table`",
    ("LevelSource", "values"): "it is called `table`",
    ("ResolvesSource", "value"): "it is called `equals`, a list",
    ("ResolvesSource", "values"): "it is called `equals`",
    ("ResolvesSource", "in"): "it is called `equals`",
    ("DeviceSource", "value"): "it is called `path`; a literal is `path: {value: …}`",
    ("UserSource", "value"): "it is called `path`; a literal is `path: {value: …}`",
    ("DeviceSource", "type"): "it is called `kind`",
    ("UserSource", "type"): "it is called `kind`",
}
"""(section type, key) of keys that other systems have, and what is written here instead."""

REFUSED_WORDS: dict[tuple[str, str], tuple[str, ...]] = {
    ("EscalationStep", "decision"): ("allow", "step-up"),
    ("RiskRule", "max"): ("unknown",),
    ("FindingRule", "at_least"): ("unknown",),
    ("Compliance", "exemption_ceiling"): ("unknown",),
}
"""(section type, key) of values that are words of their type but refused there: no hint names them."""

REMOVED_KEYS: dict[tuple[str, str], str] = {}
"""(section type, key) of keys that once existed, and what to do instead. They stay here for ever."""

NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,62}$"

_TAG = "tag:yaml.org,2002:"
_TEXT_TAGS = {_TAG + "str", _TAG + "timestamp", _TAG + "value", "!"}
_KNOWN_TAGS = _TEXT_TAGS | {
    _TAG + each for each in ("null", "bool", "int", "float", "map", "seq", "omap", "merge")
}


class Invalid:
    """The one value that stands for what could not be decoded."""


INVALID = Invalid()
ABSENT = Invalid()


class Decoder:
    """Decodes the nodes of one file and gathers what it learns on the way.

    `faults` holds errors and warnings; `places` and `origins` say where each value stands and came from;
    `files` names the file of what an included file says; `sections` are all decoded structs with their paths;
    `invalid` are the paths of values that were left out; `translations` are the texts by language of those that are
    given so. `languages` are those of the pages, None while they are not known.
    """

    def __init__(self, *, file: str, base: Path, env: Mapping[str, str]) -> None:
        self.file = file
        self.base = base
        self.env = env
        self.faults: list[Fault] = []
        self.places: dict[KeyPath, tuple[int, int]] = {}
        self.files: dict[KeyPath, str] = {}
        self.origins: dict[KeyPath, str] = {}
        self.sections: list[tuple[KeyPath, Any]] = []
        self.nodes: dict[KeyPath, Node] = {}
        self.leaves: dict[KeyPath, Any] = {}
        self.invalid: set[KeyPath] = set()
        self.languages: Languages | None = None
        self.translations: dict[KeyPath, dict[str, str]] = {}
        self._unread: set[str] = set()
        self._kinds: dict[KeyPath, mi.StructType] = {}

    # --- reporting -----------------------------------------------------------------------------------------

    def fault(
        self, code: Code, path: KeyPath, message: str, hint: str = "", *, at: Node | None = None
    ) -> None:
        """Report a fault at a node, else at the nearest place that is known for its path. Once each."""
        line, column = position(at) if at is not None else self._place(path)
        fault = Fault(
            file=(file_of(at) if at is not None else self._file_at(path)) or self.file,
            line=line,
            column=column,
            path=path_text(path),
            code=code,
            message=message,
            hint=hint,
        )
        if fault not in self.faults:
            self.faults.append(fault)

    def _place(self, path: KeyPath) -> tuple[int, int]:
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, (1, 1))

    def _file_at(self, path: KeyPath) -> str | None:
        while path and path not in self.places:
            path = path[:-1]
        return self.files.get(path)

    def _note(self, path: KeyPath, node: Node) -> None:
        self.places[path] = position(node)
        other = file_of(node)
        if other is not None:
            self.files[path] = other

    def is_given(self, path: KeyPath) -> bool:
        """Return whether the file says anything at this path."""
        return path in self.places

    def is_sound(self, path: KeyPath) -> bool:
        """Return whether nothing at, above or below this path has been left out."""
        return not any(each[: len(path)] == path or path[: len(each)] == each for each in self.invalid)

    def origin_texts(self) -> dict[str, str]:
        """Return where each value came from, by its path as people write it."""
        return {path_text(path): origin for path, origin in self.origins.items()}

    def translation_texts(self) -> dict[str, dict[str, str]]:
        """Return the texts by language of each value that is given so, by its path as people write it."""
        return {path_text(path): texts for path, texts in self.translations.items()}

    # --- nodes ---------------------------------------------------------------------------------------------

    def decode(self, node: Node, kind: mi.Type, path: KeyPath) -> Any:
        """Return the value of a node as the type asks, `INVALID` after reporting why there is none."""
        if path not in self.places:
            self._note(path, node)
        self.nodes[path] = node
        value = self._decode(node, kind, path)
        # INVARIANT: what is left out is marked where the fault is, not above it: siblings are still checked.
        if value is INVALID and not any(each[: len(path)] == path for each in self.invalid):
            self.invalid.add(path)
        return value

    def _decode(self, node: Node, kind: mi.Type, path: KeyPath) -> Any:
        kinds = alternatives(kind)
        if str(node.tag or "") not in _KNOWN_TAGS:
            self.fault(Code.SYNTAX, path, f"the tag {shown(str(node.tag))} is not known here", at=node)
            return INVALID
        if any(isinstance(each, mi.AnyType) for each in kinds):
            return self._decode_any(node, path)
        if isinstance(node, ScalarNode):
            return self._decode_scalar(node, kinds, path)
        if isinstance(node, SequenceNode):
            return self._decode_list(node, kinds, path)
        if isinstance(node, MappingNode):
            is_by_language = is_localised(kind) and not self._is_reference(node)
            return (
                self._decode_languages(node, path)
                if is_by_language
                else self._decode_mapping(node, kinds, path)
            )
        return self._wrong(node, kinds, path)

    def _decode_languages(self, node: MappingNode, path: KeyPath) -> Any:
        """Return the text in the default language of a mapping from language tags to texts; keep all of them."""
        texts: dict[str, str] = {}
        is_whole = True
        for key, value in self._entries(node, path):
            inner = (*path, key.value)
            self._note(inner, value if isinstance(value, ScalarNode) and value.value else key)
            tag = self._language(key, inner)
            text: Any = INVALID if tag is None else self.decode(value, mi.StrType(), inner)
            if tag is None or text is INVALID:
                is_whole = False
            elif not text.strip():
                self.fault(Code.FORM, inner, "the text is empty", "leave the language out", at=value)
                is_whole = False
            elif tag in texts:
                self.fault(Code.DUPLICATE_KEY, inner, f"language `{tag}` stands twice", at=key)
                is_whole = False
            else:
                texts[tag] = text
        if not is_whole or self.languages is None:
            return INVALID if not is_whole else next(iter(texts.values()), "")
        default = self.languages.default
        found = lookup([default], texts)
        if found is None:
            message = f"`{default}` is missing: whoever reads none of these languages would see nothing"
            hint = f"`{default}` is the default language of the pages (`pages.languages`)"
            self.fault(Code.MISSING_KEY, path, message, hint, at=node)
            return INVALID
        self.translations[path] = {found: texts.pop(found), **texts}
        return self.translations[path][found]

    def _language(self, key: ScalarNode, path: KeyPath) -> str | None:
        """Return the language tag that a key is, None after reporting why it is none."""
        if self.languages is None:
            return canonical(key.value) or str(key.value)
        wrong = self.languages.fault_of(key.value)
        if wrong is not None:
            self.fault(Code.UNKNOWN_KEY, path, wrong.message, wrong.hint, at=key)
            return None
        tag = canonical(key.value) or ""
        if not self.languages.is_offered(tag) and tag not in self._unread:
            self._unread.add(tag)
            message = f"nobody reads `{tag}`: it is not among the languages of the pages"
            hint = f"they are {', '.join(self.languages.offered)} (`pages.languages`)"
            self.fault(Code.WITHOUT_EFFECT, path, message, hint, at=key)
        return tag

    def _decode_mapping(self, node: MappingNode, kinds: list[mi.Type], path: KeyPath) -> Any:
        structs = [each for each in kinds if isinstance(each, mi.StructType)]
        for each in kinds:
            if isinstance(each, mi.DictType):
                return self._decode_dict(node, each, path)
        if takes_scalar(kinds) and not any(_knows_key(each, node) for each in structs):
            text = self._resolve(node, kinds, path, is_expected=not structs)
            if text is not None:
                return self._decode_resolved(text, node, kinds, path)
            if not structs or self._is_reference(node):
                return INVALID
        if not structs:
            return self._wrong(node, kinds, path)
        if len(structs) == 1 and structs[0].tag_field is None:
            return self._decode_struct(node, structs[0], path)
        return self._decode_tagged(node, structs, path)

    def _decode_tagged(self, node: MappingNode, structs: list[mi.StructType], path: KeyPath) -> Any:
        field = structs[0].tag_field or "type"
        by_tag = {str(each.tag): each for each in structs}
        found = next((value for key, value in node.value if key.value == field), None)
        if found is None:
            hint = f"one of {', '.join(by_tag)}"
            self.fault(Code.MISSING_KEY, path, f"`{field}` is missing", hint, at=node)
            return INVALID
        word = found.value if isinstance(found, ScalarNode) else ""
        if word not in by_tag:
            hint = did_you_mean(word, by_tag)
            self.fault(Code.UNKNOWN_WORD, (*path, field), f"unknown {field} {shown(word)}", hint, at=found)
            return INVALID
        return self._decode_struct(node, by_tag[word], path)

    def _decode_struct(self, node: MappingNode, kind: mi.StructType, path: KeyPath) -> Any:
        fields = {field.encode_name: field for field in kind.fields}
        self._kinds[path] = kind
        values: dict[str, Any] = {}
        is_whole = True
        seen: set[str] = set()
        for key, value in self._entries(node, path):
            seen.add(key.value)
            field = fields.get(key.value)
            if field is None:
                self._unknown_key(key, kind, fields, path)
                continue
            decoded = self._decode_field(key, value, field, path)
            if decoded is INVALID:
                is_whole = is_whole and not field.required
            elif decoded is not ABSENT:
                values[field.name] = decoded
        misspelt = {nearest(word, fields) for word in seen if word not in fields}
        for field in kind.fields:
            if field.required and field.encode_name not in seen:
                self._missing_key(field, node, path, is_misspelt=field.encode_name in misspelt)
                is_whole = False
            if field.required and field.name not in values:
                values[field.name] = _placeholder(field.type)
        return self._build(kind, values, node, path, is_whole=is_whole)

    def _decode_field(self, key: ScalarNode, value: Node, field: mi.Field, path: KeyPath) -> Any:
        """Return the value of a key; a key without a value is as good as absent where there is a default."""
        inner = (*path, key.value)
        self._note(inner, value if isinstance(value, ScalarNode) and value.value else key)
        if _is_null(value) and not field.required and not takes_null(field.type):
            return ABSENT
        return self.decode(value, field.type, inner)

    def _build(
        self, kind: mi.StructType, values: dict[str, Any], node: Node, path: KeyPath, *, is_whole: bool
    ) -> Any:
        try:
            built = kind.cls(**values)
        except Exception as error:  # noqa: BLE001 - a plugin checks its own options, in its own way
            # Of a section with other faults it says nothing new.
            if is_whole and not any(each[: len(path)] == path for each in self.invalid):
                self._refused(error, node, path)
            return INVALID
        self.sections.append((path, built))
        return built if is_whole else INVALID

    def _refused(self, error: Exception, node: Node, path: KeyPath) -> None:
        """Report why a section refuses its values, at the one that it names, else at the section."""
        if not isinstance(error, KeyFault):
            self.fault(Code.FORM, path, str(error), at=node)
            return
        where = (*path, *error.key)
        self.fault(Code.FORM, where, str(error), error.hint, at=self.nodes.get(where, node))

    def _unknown_key(
        self, key: ScalarNode, kind: mi.StructType, fields: Mapping[str, mi.Field], path: KeyPath
    ) -> None:
        word = str(key.value)
        if word == kind.tag_field or (not path and word.startswith("x-")):
            return
        name = (kind.cls.__name__, word)
        known = [*([kind.tag_field] if kind.tag_field else []), *fields]
        hint = REMOVED_KEYS.get(name) or FOREIGN_KEYS.get(name)
        if hint is None and word.startswith("not_") and word.removeprefix("not_") in fields:
            hint = f"there is no such: name the other values under `{word.removeprefix('not_')}`"
        if hint is None and nearest(word, known) is None:
            hint = self._belongs(word, kind, path)
        hint = hint or did_you_mean(word, known)
        self.fault(Code.UNKNOWN_KEY, (*path, word), f"unknown key {shown(word)}", hint, at=key)
        # What the section lacks may be what was meant: that it lacks it is no second fault.
        self.invalid.add((*path, word))

    def _belongs(self, word: str, kind: mi.StructType, path: KeyPath) -> str:
        """Return a hint for a key that is known beside, or below, the place where it stands; "" for any other."""
        inside = [field.encode_name for field in kind.fields if _has_key(field.type, word)]
        if inside:
            return f"it belongs under {' or '.join(f'`{each}`' for each in inside)}"
        around = self._kinds.get(path[:-1]) if path else None
        if around is None:
            return ""
        if any(field.encode_name == word for field in around.fields):
            return f"it belongs beside `{path[-1]}`, not under it"
        beside = [field.encode_name for field in around.fields if _has_key(field.type, word)]
        return f"it belongs under {' or '.join(f'`{each}`' for each in beside)}" if beside else ""

    def _missing_key(self, field: mi.Field, node: MappingNode, path: KeyPath, *, is_misspelt: bool) -> None:
        """Report a key that must be there; one that is there with a slip was reported as that."""
        self.invalid.add((*path, field.encode_name))
        if is_misspelt:
            return
        wanted = describe(field.type)
        where = f" in `{path_text(path)}`" if path else ""
        name = next((v.value for k, v in node.value if k.value == "name" and isinstance(v, ScalarNode)), None)
        whose = f" of `{name}`" if name else where
        self.fault(
            Code.MISSING_KEY,
            (*path, field.encode_name),
            f"`{field.encode_name}`{whose} is missing",
            f"it is {wanted}",
            at=node,
        )

    def _entries(self, node: MappingNode, path: KeyPath) -> list[tuple[ScalarNode, Node]]:
        """Return keys and values of a mapping, merged (`<<`) ones after its own; duplicates are faults."""
        own: dict[str, tuple[ScalarNode, Node]] = {}
        merged: list[tuple[ScalarNode, Node]] = []
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                self.fault(Code.WRONG_TYPE, path, "a key must be a text", at=key)
            elif key.tag == _TAG + "merge":
                merged += self._merged(value, path)
            elif key.value in own:
                first = position(own[key.value][0])
                message = f"key {shown(key.value)} stands twice, first in line {first[0]}"
                self.fault(Code.DUPLICATE_KEY, (*path, key.value), message, "keep one of them", at=key)
            else:
                own[key.value] = (key, value)
        for key, value in merged:
            own.setdefault(key.value, (key, value))
        return list(own.values())

    def _merged(self, value: Node, path: KeyPath) -> list[tuple[ScalarNode, Node]]:
        sources = value.value if isinstance(value, SequenceNode) else [value]
        found: list[tuple[ScalarNode, Node]] = []
        for source in sources:
            if isinstance(source, MappingNode):
                found += self._entries(source, path)
            else:
                self.fault(Code.WRONG_TYPE, path, "`<<` merges mappings only", at=source)
        return found

    def _decode_dict(self, node: MappingNode, kind: mi.DictType, path: KeyPath) -> Any:
        built = {}
        for key, value in self._entries(node, path):
            decoded = self.decode(value, kind.value_type, (*path, key.value))
            if decoded is not INVALID:
                built[key.value] = decoded
        return built

    def _decode_list(self, node: SequenceNode, kinds: list[mi.Type], path: KeyPath) -> Any:
        for kind in kinds:
            if isinstance(kind, mi.VarTupleType | mi.ListType | mi.SetType | mi.FrozenSetType):
                items = [self.decode(item, kind.item_type, (*path, at)) for at, item in enumerate(node.value)]
                whole = [item for item in items if item is not INVALID]
                return _COLLECTIONS[type(kind)](whole)
        return self._wrong(node, kinds, path)

    def _decode_any(self, node: Node, path: KeyPath) -> Any:
        if isinstance(node, SequenceNode):
            items = [self._plain(item, (*path, at)) for at, item in enumerate(node.value)]
            return [item for item in items if item is not INVALID]
        if isinstance(node, MappingNode):
            if self._is_reference(node):
                text = self._resolve(node, [mi.StrType()], path, is_expected=True)
                return INVALID if text is None else text
            plain = {
                key.value: self._plain(value, (*path, key.value)) for key, value in self._entries(node, path)
            }
            return {key: value for key, value in plain.items() if value is not INVALID}
        return plain_scalar(node)

    def _plain(self, node: Node, path: KeyPath) -> Any:
        return self.decode(node, mi.AnyType(), path)

    # --- references ----------------------------------------------------------------------------------------

    @staticmethod
    def _is_reference(node: MappingNode) -> bool:
        return len(node.value) == 1 and node.value[0][0].value in REFERENCE_KEYS

    def _resolve(
        self, node: MappingNode, kinds: list[mi.Type], path: KeyPath, *, is_expected: bool
    ) -> str | None:
        """Return the text that `{env: NAME}` or `{file: PATH}` stands for, None after reporting why not."""
        if not self._is_reference(node) or not isinstance(node.value[0][1], ScalarNode):
            if is_expected:
                words = [str(key.value) for key, _ in node.value if isinstance(key, ScalarNode)]
                near = next((found for word in words if (found := nearest(word, REFERENCE_KEYS))), None)
                hint = f"did you mean `{near}`?" if near else "or write {env: NAME} or {file: PATH}"
                self.fault(
                    Code.WRONG_TYPE, path, f"expected {describe_all(kinds)}, found a mapping", hint, at=node
                )
            return None
        key, value = node.value[0]
        name = str(value.value)
        is_for_secret = any(is_secret(kind) for kind in kinds)
        text = (
            self._from_env(name, value, path)
            if key.value == "env"
            else self._from_file(name, value, path, is_secret=is_for_secret)
        )
        if text is not None:
            self.origins[path] = f"{key.value} {name}"
        return text

    def _from_env(self, name: str, node: Node, path: KeyPath) -> str | None:
        text = self.env.get(name)
        if text is None:
            self.fault(Code.REFERENCE, path, f"environment variable {shown(name)} is not set", at=node)
        elif not text:
            self.fault(Code.REFERENCE, path, f"environment variable {shown(name)} is empty", at=node)
        return text or None

    def _from_file(self, name: str, node: Node, path: KeyPath, *, is_secret: bool) -> str | None:
        file = self.base / Path(name).expanduser()
        try:
            text, mode = _read_small(file)
        except OSError as error:
            self.fault(Code.REFERENCE, path, f"file {shown(str(file))}: {error.strerror}", at=node)
            return None
        except ValueError as error:
            self.fault(Code.REFERENCE, path, f"file {shown(str(file))}: {error}", at=node)
            return None
        if not text:
            self.fault(Code.REFERENCE, path, f"file {shown(str(file))} is empty", at=node)
            return None
        if is_secret and mode & 0o044:
            who = "group" if not mode & 0o004 else "everyone"
            message = f"secret file {shown(str(file))} is readable by {who} (mode {mode & 0o777:04o})"
            self.fault(Code.SECRET_READABLE, path, message, f"chmod 600 {file}", at=node)
        return text

    def _decode_resolved(self, text: str, node: Node, kinds: list[mi.Type], path: KeyPath) -> Any:
        """Decode a text that came from elsewhere: as a text where one is accepted, else as plain YAML."""
        is_text = any(isinstance(each, mi.StrType) or is_secret(each) for each in kinds)
        tag = _TAG + "str" if is_text else _tag_of(text)
        return self._decode_scalar(scalar(text, node, tag), kinds, path, is_literal=False)

    # --- scalars -------------------------------------------------------------------------------------------

    def _decode_scalar(
        self, node: ScalarNode, kinds: list[mi.Type], path: KeyPath, *, is_literal: bool = True
    ) -> Any:
        if is_literal:
            self.origins[path] = f"{file_of(node) or self.file}:{position(node)[0]}"
        if _is_null(node):
            if any(isinstance(kind, mi.NoneType) for kind in kinds):
                return None
            return self._wrong(node, kinds, path)
        value = self._first_fitting(node, kinds, path, is_literal=is_literal)
        self.leaves[path] = value
        return value

    def _first_fitting(  # noqa: C901, PLR0911 - one line a type
        self, node: ScalarNode, kinds: list[mi.Type], path: KeyPath, *, is_literal: bool
    ) -> Any:
        """Return the value by the type that fits best: exact words, then its own kind, then text."""
        text, tag = str(node.value), str(node.tag)
        words = [word for kind in kinds for word in words_of(kind)]
        for kind in kinds:
            if isinstance(kind, mi.LiteralType) and plain_scalar(node) in kind.values:
                return plain_scalar(node)
            if isinstance(kind, mi.EnumType) and text in words_of(kind):
                return kind.cls(text)
        if tag == _TAG + "bool" and any(isinstance(kind, mi.BoolType) for kind in kinds):
            return plain_scalar(node)
        if tag in {_TAG + "int", _TAG + "float"}:
            number = self._number(node, kinds, path)
            if number is not None:
                return number
        for kind in kinds:
            if isinstance(kind, mi.Metadata) and unit_of(kind):
                return self._measure(node, unit_of(kind), path)
            if is_secret(kind) and tag != _TAG + "bool":
                return self._secret(text, node, path, is_literal=is_literal)
            # A number where a text is expected is taken as it is written: `14.10` stays `14.10`.
            if isinstance(kind, mi.StrType) and tag != _TAG + "bool":
                return self._text(text, kind, node, path)
        if words and (tag in _TEXT_TAGS or not takes_numbers(kinds)):
            return self._unknown_word(text, words, kinds, node, path)
        return self._wrong(node, kinds, path)

    def _unknown_word(
        self, text: str, words: list[str], kinds: list[mi.Type], node: Node, path: KeyPath
    ) -> Any:
        others = [
            describe(kind) + keys_of([kind], ", with the keys ")
            for kind in kinds
            if not words_of(kind) and not isinstance(kind, mi.NoneType)
        ]
        around = self._kinds.get(path[:-1])
        # Keys of a table are the writer's own words.
        what = "value" if around is None and isinstance(path[-1], str) else _noun(path)
        refused = REFUSED_WORDS.get(("" if around is None else around.cls.__name__, str(path[-1])), ())
        words = [word for word in words if word not in refused]
        hint = did_you_mean(text, words) + (f", or {' or '.join(others)}" if others else "")
        self.fault(Code.UNKNOWN_WORD, path, f"unknown {what} {shown(text)}", hint, at=node)
        return INVALID

    def _number(self, node: ScalarNode, kinds: list[mi.Type], path: KeyPath) -> Any:
        """Return the number as the first type that takes it, None when no type takes a number."""
        value = plain_scalar(node)
        for kind in kinds:
            if isinstance(kind, mi.IntType) and isinstance(value, int):
                return self._in_range(value, kind, node, path)
        for kind in kinds:
            if isinstance(kind, mi.FloatType):
                if not math.isfinite(value):
                    self.fault(Code.RANGE, path, f"{shown(str(node.value))} is not a finite number", at=node)
                    return INVALID
                return self._in_range(float(value), kind, node, path)
        return None

    def _in_range(self, value: float, kind: mi.IntType | mi.FloatType, node: Node, path: KeyPath) -> Any:
        bounds = (
            (kind.ge is not None and value < kind.ge, f"at least {kind.ge}"),
            (kind.gt is not None and value <= kind.gt, f"more than {kind.gt}"),
            (kind.le is not None and value > kind.le, f"at most {kind.le}"),
            (kind.lt is not None and value >= kind.lt, f"less than {kind.lt}"),
        )
        for is_outside, wanted in bounds:
            if is_outside:
                self.fault(Code.RANGE, path, f"{value} is out of range", f"it must be {wanted}", at=node)
                return INVALID
        return value

    def _measure(self, node: ScalarNode, unit: str, path: KeyPath) -> Any:
        text = str(node.value)
        is_duration = unit == "duration"
        if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
            example = f"{text}s" if is_duration else f"{text}B"
            units = "ms, s, m, h, d, w" if is_duration else "B, KiB, MiB, GiB"
            hint = f"did you mean `{example}`? units: {units}"
            self.fault(Code.UNIT, path, f"{shown(text)} has no unit", hint, at=node)
            return INVALID
        try:
            value = parse_duration(text) if is_duration else parse_bytes(text)
        except ValueError:
            wanted = describe_unit(unit)
            self.fault(Code.UNIT, path, f"{shown(text)} is not {wanted}", unit_hint(text, unit), at=node)
            return INVALID
        if value > (MAX_DURATION_S if is_duration else MAX_BYTES):
            self.fault(Code.UNIT, path, f"{shown(text)} is more than anybody can mean", at=node)
            return INVALID
        return value

    def _secret(self, text: str, node: Node, path: KeyPath, *, is_literal: bool) -> Any:
        if not text:
            self.fault(Code.SECRET, path, "the secret is empty", at=node)
            return INVALID
        if is_literal:
            message = "the secret stands in the file itself"
            self.fault(Code.SECRET_IN_FILE, path, message, "write {env: NAME} or {file: PATH}", at=node)
        return Secret(text)

    def _text(self, text: str, kind: mi.StrType, node: Node, path: KeyPath) -> Any:
        if kind.pattern is not None and re.search(kind.pattern, text) is None:
            if kind.pattern == NAME_PATTERN:
                hint = "lower-case letters, digits, dots, dashes and underscores, at most 63"
                self.fault(Code.FORM, path, f"{shown(text)} is not a name", hint, at=node)
            else:
                self.fault(Code.FORM, path, f"{shown(text)} does not match `{kind.pattern}`", at=node)
            return INVALID
        if (kind.min_length is not None and len(text) < kind.min_length) or (
            kind.max_length is not None and len(text) > kind.max_length
        ):
            message = f"{shown(text)} has {len(text)} characters"
            hint = f"between {kind.min_length or 0} and {kind.max_length or 'any number of'} are allowed"
            self.fault(Code.FORM, path, message, hint, at=node)
            return INVALID
        return text

    def _wrong(self, node: Node, kinds: list[mi.Type], path: KeyPath) -> Any:
        message = f"expected {describe_all(kinds)}, found {found_text(node)}"
        self.fault(Code.WRONG_TYPE, path, message, _meant_by(node, kinds), at=node)
        return INVALID


def _meant_by(node: Node, kinds: list[mi.Type]) -> str:  # noqa: PLR0911 - one line a kind
    """Return a hint for a value of another kind than any that is expected."""
    is_section = any(isinstance(kind, mi.StructType | mi.DictType) for kind in kinds)
    lists = [kind for kind in kinds if is_list(kind)]
    if isinstance(node, MappingNode) and lists:
        return f"begin each entry with `- `{keys_of_entries(lists)}"
    if isinstance(node, SequenceNode):
        hint = "write `key: value`, without `- `" if is_section else "write one value, without brackets"
        return hint + keys_of(kinds)
    if not isinstance(node, ScalarNode):
        return ""
    if _is_null(node):
        return "write a value, or leave the key out"
    if is_section:
        word = main_key(kinds)
        if word:
            return f"did you mean `{{{word}: {node.value}}}`?{keys_of(kinds, ' its keys are ')}"
        return f"write keys and values, `{{key: value}}`{keys_of(kinds)}"
    return _meant_by_scalar(node, kinds, lists)


def _meant_by_scalar(node: ScalarNode, kinds: list[mi.Type], lists: list[mi.Type]) -> str:
    text = str(node.value)
    is_boolean = any(isinstance(kind, mi.BoolType) for kind in kinds)
    if is_boolean and text.lower() in {"yes", "no", "on", "off", "true", "false"}:
        meant = "true" if text.lower() in {"yes", "on", "true"} else "false"
        return f"did you mean `{meant}`, without quotes?"
    if lists:
        keys = keys_of_entries(lists)
        return f"begin each entry with `- `{keys}" if keys else f"did you mean `[{text}]`?"
    if takes_numbers(kinds) and _tag_of(text) in {_TAG + "int", _TAG + "float"}:
        return "write it without quotes"
    return "put it into quotes" if node.tag == _TAG + "bool" else ""


_COLLECTIONS: dict[type, type] = {
    mi.VarTupleType: tuple,
    mi.ListType: list,
    mi.SetType: set,
    mi.FrozenSetType: frozenset,
}


# --- values of nodes -----------------------------------------------------------------------------------


def plain_scalar(node: Node) -> Any:
    """Return a scalar as YAML 1.2 reads it; dates stay texts."""
    text = str(node.value)
    match str(node.tag).removeprefix(_TAG):
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int":
            return _integer(text)
        case "float":
            return float(text.replace("_", "").replace(".inf", "inf").replace(".nan", "nan").lower())
        case _:
            return text


def _integer(text: str) -> int:
    digits = text.replace("_", "")
    for base in (10, 0):
        try:
            return int(digits, base)
        except ValueError:
            continue
    return 0


def _tag_of(text: str) -> str:
    """Return the tag that a plain scalar of this text would have."""
    if re.fullmatch(r"[-+]?[0-9]+", text):
        return _TAG + "int"
    if re.fullmatch(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", text):
        return _TAG + "float"
    return _TAG + ("bool" if text.lower() in {"true", "false"} else "str")


def _has_key(kind: mi.Type, word: str) -> bool:
    """Return whether a type is a mapping that knows a key, and is no list of such."""
    structs = [each for each in alternatives(kind) if isinstance(each, mi.StructType)]
    return any(field.encode_name == word for each in structs for field in each.fields)


def _is_null(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.tag == _TAG + "null"


def found_text(node: Node) -> str:
    """Return what a node is, for a message."""
    if isinstance(node, MappingNode):
        return "a mapping"
    if isinstance(node, SequenceNode):
        return "a list"
    return "nothing" if _is_null(node) else shown(str(node.value))


def _read_small(file: Path) -> tuple[str, int]:
    """Return the text of a small regular file without one trailing newline, and its mode."""
    with file.open("rb") as opened:
        status = os.fstat(opened.fileno())
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISFIFO(status.st_mode):
            raise ValueError("not a regular file")
        raw = opened.read(MAX_REFERENCE_BYTES + 1)
    if len(raw) > MAX_REFERENCE_BYTES:
        raise ValueError(f"larger than {MAX_REFERENCE_BYTES // 1024} KiB")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    text = text[:-2] if text.endswith("\r\n") else text.removesuffix("\n")
    return text, status.st_mode


def _knows_key(kind: mi.StructType, node: MappingNode) -> bool:
    names = {field.encode_name for field in kind.fields}
    return any(isinstance(key, ScalarNode) and key.value in names for key, _ in node.value)


def _placeholder(kind: mi.Type) -> Any:
    """Return what stands for an invalid required value while the rest of its section is checked."""
    if isinstance(kind, mi.StrType):
        return ""
    return () if is_list(kind) else INVALID


def _noun(path: KeyPath) -> str:
    """Return what a value is called in a message: its key in words, the item of a list in the singular."""
    key = next((part for part in reversed(path) if isinstance(part, str)), "value")
    words = key.replace("_", " ").removeprefix("unknown ")
    return words.removesuffix("s") if path and isinstance(path[-1], int) else words
