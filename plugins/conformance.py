"""What every plugin must do, checked: its samples become what they say, and no damage to them makes it raise or lie.

`posturegate sensor check KIND` runs this for an installed kind; the project's own kinds are held to it by a test.
"""

import copy
import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from plugins.catalog import SensorFacade
from plugins.contract import Expected, Normalized, Sample
from risk.model import Signal, SignalType

RECEIVED = datetime(2026, 3, 2, 12, tzinfo=UTC)
SENSOR = "sample"
"""The name of the sensor that samples are read for: identifiers that a sensor hands out itself have it as issuer."""

DAMAGES = 60
"""Damaged copies of each sample that are read."""

_WRONG: tuple[Any, ...] = (
    *(
        None,
        True,
        -1,
        2**70,
        1e308,
        "",
        "x" * 50_000,
        "\U0001f4a5\x00",
        [],
        {},
        [[]],
        {"": {"": None}},
        ["x"] * 3,
    ),
    *("9999-12-31T23:59:59Z", "NaN", "localhost", "00000000-0000-0000-0000-000000000000"),
)


def faults(facade: SensorFacade) -> list[str]:
    """Return what is wrong with a plugin, nothing for a good one."""
    if not facade.samples:
        return ["it has no samples: nothing can be checked"]
    return [
        f"sample `{sample.name}`: {fault}"
        for sample in facade.samples
        for fault in _of_sample(facade, sample)
    ]


def _of_sample(facade: SensorFacade, sample: Sample) -> Iterator[str]:
    read = _read(facade, sample.payload, sample)
    yield from _differences(read, sample)
    yield from _undeclared(facade, read)
    yield from _unbounded(read)
    if _read(facade, json.loads(json.dumps(sample.payload)), sample) != read:
        yield "the same payload gives other signals the second time"
    for signal, sources in zip(read.signals, read.sources, strict=True):
        if signal.device_ids and not any(field.startswith("device.") for field in sources):
            yield f"`{signal.external_id}` does not tell which field its device came from"
    # Drawn from the name alone, so that a fault is found again.
    dice = random.Random(f"{facade.kind}-{sample.name}")  # noqa: S311 - not for secrets
    for _ in range(DAMAGES):
        damaged = _damaged(sample.payload, dice)
        found = next(_unbounded(_read(facade, damaged, sample)), None)
        if found is not None:
            yield f"damaged to `{json.dumps(damaged)[:300]}`: {found}"
            break


def _read(facade: SensorFacade, payload: Any, sample: Sample) -> Normalized:
    options = facade.parse_options(sample.options)
    return facade.normalize([payload], options, sensor=SENSOR, received_at=RECEIVED, headers=sample.headers)


def _differences(read: Normalized, sample: Sample) -> Iterator[str]:
    codes = tuple(each.code for each in read.rejections if each.code != "plugin-fault")
    for name, got, wanted in (
        ("signals", len(read.signals), len(sample.expected)),
        ("rejections", codes, sample.rejected),
        ("ignored items", read.ignored, sample.ignored),
        ("pulls", read.pulls, sample.pulls),
    ):
        if got != wanted:
            yield f"{name}: {got}, expected {wanted}"
    for number, (signal, expected) in enumerate(zip(read.signals, sample.expected, strict=False)):
        yield from (f"signal {number}: {each}" for each in _unlike(signal, expected))


def _unlike(signal: Signal, expected: Expected) -> Iterator[str]:
    always = ("type", "device_ids", "level", "resolves")
    whenever = ("external_id", "title", "observed_at", "expires_at", "facts", "user_ids")
    told = [name for name in whenever if getattr(expected, name) is not None]
    for name in (*always, *told):
        if getattr(signal, name) != getattr(expected, name):
            yield f"{name}: {getattr(signal, name)!r}, expected {getattr(expected, name)!r}"
    if expected.actions is not None and signal.recommended_actions != tuple(expected.actions):
        yield f"actions: {signal.recommended_actions!r}, expected {tuple(expected.actions)!r}"


def _undeclared(facade: SensorFacade, read: Normalized) -> Iterator[str]:
    """Yield the kinds of identifiers that the plugin does not declare, where it declares any."""
    used = {each.kind for signal in read.signals for each in (*signal.device_ids, *signal.user_ids)}
    if facade.identity_kinds:
        yield from (
            f"identifiers of kind `{kind}` are not declared in `identity_kinds`"
            for kind in sorted(used.difference(facade.identity_kinds))
        )


def _unbounded(read: Normalized) -> Iterator[str]:
    """Yield what no payload may lead to."""
    yield from (each.error for each in read.rejections if each.code == "plugin-fault")
    if not read.signals and not read.rejections and not read.ignored and not read.pulls:
        yield "an item vanished: it is neither a signal nor rejected nor ignored"
    for signal in read.signals:
        if not signal.device_ids and not signal.user_ids and signal.type is not SignalType.DETECTION:
            yield f"`{signal.external_id}` is about nobody"


def _damaged(payload: Any, dice: random.Random) -> Any:
    """Return a copy of the payload with something missing, enormous or of the wrong type, somewhere."""
    changed = copy.deepcopy(payload)
    at, steps = changed, []
    while isinstance(at, dict | list) and at:
        key = dice.choice(list(at) if isinstance(at, dict) else range(len(at)))
        steps.append((at, key))
        at = at[key]
    if not steps:
        return dice.choice(_WRONG)
    holder, key = dice.choice(steps)
    if dice.random() < 0.3:  # noqa: PLR2004 - about a third is taken away
        del holder[key]
    else:
        holder[key] = copy.deepcopy(dice.choice(_WRONG))
    return changed
