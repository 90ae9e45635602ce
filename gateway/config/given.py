"""A hypothetical request as people write it on a command line, read as strictly as a configuration."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
from ruamel.yaml.nodes import MappingNode

from compliance.policy_tests import Given
from gateway.config.decode import INVALID, Decoder
from gateway.config.errors import Code, ConfigInvalid, Fault, did_you_mean, shown
from gateway.config.kinds import type_of
from gateway.config.schema import Config
from gateway.config.text import parse_text

_LISTS = frozenset(
    {"groups", "roles", "amr", "tags", "networks", "findings", "silent_facts", "expired_facts"}
)
WHERE = "arguments"


def read_given(app: str, entries: Sequence[str], env: Mapping[str, str]) -> Given:
    """Return the request that entries such as `groups=staff,admins` or `facts.disk_encrypted=true` describe.

    Keys and values are those of `given` in a test of policies; a value is YAML, a list may be written with commas.
    Raises `ConfigInvalid` with every fault.
    """
    lines = {"app": app}
    parts: dict[str, dict[str, str]] = {}
    decoder = Decoder(file=WHERE, base=Path(), env=env)
    for entry in entries:
        key, separator, value = entry.partition("=")
        name, dot, rest = key.partition(".")
        if not separator:
            decoder.fault(Code.FORM, (key,), f"{shown(entry)} has no value", "write `key=value`")
        elif dot:
            parts.setdefault(name, {})[rest] = value
        else:
            lines[key] = (
                f"[{value}]" if key in _LISTS and not value.startswith("[") and value != "null" else value
            )
    text = "\n".join(f"{_quoted(key)}: {value}" for key, value in lines.items())
    for name, inner in parts.items():
        text += f"\n{_quoted(name)}:" + "".join(
            f"\n  {_quoted(key)}: {value}" for key, value in inner.items()
        )
    return _decoded(text, decoder)


class _Untrusting(Decoder):
    """Reads what somebody else wrote: nothing in it may name a file or a variable of ours."""

    @staticmethod
    def _is_reference(node: MappingNode) -> bool:  # noqa: ARG004 - what it holds does not matter
        return False


def read_untrusted_given(text: str) -> Given:
    """Return the request that a text in JSON or YAML describes. Raises `ConfigInvalid` with every fault."""
    return _decoded(text, _Untrusting(file=WHERE, base=Path(), env={}))


def _decoded(text: str, decoder: Decoder) -> Given:
    given = decoder.decode(parse_text(text, WHERE), type_of(Given), ())
    if decoder.faults or given is INVALID:
        raise ConfigInvalid(tuple(decoder.faults), ())
    assert isinstance(given, Given)  # noqa: S101 - what the decoder was asked for
    return given


def refuse_unknown_names(given: Given, config: Config) -> None:
    """Raise `ConfigInvalid` when a hypothesis names what the configuration does not have: it would say nothing."""
    sensors = [each.name for each in config.sensors]
    if config.shared_signals is not None:
        sensors += [each.name for each in config.shared_signals.receivers]
    rules = [f"{each.name}/{rule.name}" for each in config.compliance.policies for rule in each.rules]
    findings = [each.sensor for each in given.findings if each.sensor is not None]
    named: tuple[tuple[str, str, Iterable[str], list[str]], ...] = (
        ("networks", "network", given.networks, [each.name for each in config.networks]),
        ("provider", "provider", _one(given.provider), [each.name for each in config.providers]),
        ("facts_from", "sensor", _one(given.facts_from), sensors),
        ("heard", "sensor", given.heard, sensors),
        ("findings", "sensor", findings, sensors),
        ("failing", "compliance rule", given.failing, rules),
    )
    faults = [
        Fault(
            file=WHERE, line=0, column=0, path=key, code=Code.UNKNOWN_NAME,
            message=f"no {noun} is named {shown(name)}", hint=did_you_mean(name, known),
        )
        for key, noun, names, known in named
        for name in names
        if name not in known
    ]  # fmt: skip
    if faults:
        raise ConfigInvalid(faults, ())


def _one(name: str | None) -> tuple[str, ...]:
    return () if name is None else (name,)


def _quoted(key: str) -> str:
    return msgspec.json.encode(key).decode()
