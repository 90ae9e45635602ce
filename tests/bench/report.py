"""Results as tables for people and as JSON for comparison."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

MIB = float(1 << 20)


class Target(msgspec.Struct, frozen=True):
    """One target of the design: what was wanted, what was measured, and whether that meets it.

    `is_met` None: not measured, or not to be judged on this machine.
    """

    what: str
    wanted: str
    measured: str
    is_met: bool | None


class Section(msgspec.Struct, kw_only=True):
    """What one bench has to say."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    notes: list[str] = []
    targets: list[Target] = []
    figures: dict[str, Any] = {}


def shown(section: Section) -> str:
    """Return the section as Markdown that is readable as it is."""
    parts = [f"### {section.title}", ""]
    parts += table(section.columns, section.rows)
    if section.targets:
        parts += ["", *table(("target", "wanted", "measured", ""), [_row(each) for each in section.targets])]
    if section.notes:
        parts += ["", *(f"* {note}" for note in section.notes)]
    return "\n".join([*parts, ""])


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table whose columns are aligned; all but the first to the right."""
    widths = [max(len(line[at]) for line in (columns, *rows)) for at in range(len(columns))]
    lines = [_line(columns, widths)]
    lines.append(
        "|"
        + "|".join(("-" * (width + 1)) + ("-" if at == 0 else ":") for at, width in enumerate(widths))
        + "|"
    )
    return lines + [_line(row, widths) for row in rows]


def write_json(path: Path, machine: dict[str, str], sections: Sequence[Section]) -> None:
    """Write everything that was measured."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"machine": machine, "sections": msgspec.to_builtins(list(sections))}
    path.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=1))


def median(values: Sequence[float]) -> float:
    """Return the median, 0 of nothing."""
    return statistics.median(values) if values else 0.0


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` of all are not above; 0 of nothing."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(len(ranked) * share))] if ranked else 0.0


def at_least(what: str, wanted: float, measured: float, unit: str = "x") -> Target:
    """Return a target that is met from `wanted` upwards."""
    return Target(what, f"≥ {wanted:g} {unit}", f"{measured:.2f} {unit}", measured >= wanted)


def at_most(what: str, wanted: float, measured: float, unit: str) -> Target:
    """Return a target that is met up to `wanted`."""
    return Target(what, f"≤ {wanted:g} {unit}", f"{measured:.2f} {unit}", measured <= wanted)


def _row(target: Target) -> tuple[str, str, str, str]:
    verdict = {True: "met", False: "**missed**", None: "not judged"}[target.is_met]
    return target.what, target.wanted, target.measured, verdict


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [
        cell.ljust(width) if at == 0 else cell.rjust(width)
        for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "| " + " | ".join(padded) + " |"
