"""`posturegate analyze`: what access policies mean for every request, without making one."""

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from gateway.cli import EXIT_FAILED, EXIT_INVALID, EXIT_OK, add_config_argument

if TYPE_CHECKING:
    from compliance.analysis.devices import DeviceDifference, Treatment
    from compliance.analysis.questions import Answer, Difference, Finding
    from compliance.policy_tests import Given
    from gateway.config.load import LoadedConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `analyze`."""
    parser.add_argument("file", nargs="?", metavar="FILE", help="configuration file, in place of --config")
    parser.add_argument(
        "--against",
        metavar="OTHER",
        help="also whom this file lets in, and which devices it treats otherwise, than OTHER",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    add_config_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the analysis. Returns 1 when an assertion or a policy fails its purpose, 2 for a bad configuration."""
    import msgspec  # noqa: PLC0415 - lazy: `--help` must not pay for it

    from compliance.analysis.questions import FindingKind, Verdict  # noqa: PLC0415
    from compliance.analysis.solver import TooHard  # noqa: PLC0415
    from gateway.cli.proving import load_unproven  # noqa: PLC0415
    from gateway.decision.analysis import compared_devices, differences_of, findings_of, prove  # noqa: PLC0415
    from gateway.hub.runtime import make_runtime  # noqa: PLC0415

    loaded = load_unproven(arguments.file or arguments.config)
    other = load_unproven(arguments.against) if arguments.against else None
    if loaded is None or (arguments.against and other is None):
        return EXIT_INVALID
    meaning = make_runtime(loaded.config, loaded.revision)
    answers = list(prove(meaning, loaded.config.never))
    findings = list(findings_of(meaning))
    differences: list[Difference] | None = None
    devices: list[DeviceDifference] | None = None
    is_whole = True
    if other is not None:
        before = msgspec.structs.replace(loaded.config, access=other.config.access)
        try:
            differences = list(differences_of(meaning, make_runtime(before, other.revision)))
        except TooHard:
            print("the difference of the two sets is too large to decide", file=sys.stderr)
            return EXIT_FAILED
        devices = []
        try:
            for each in compared_devices(
                meaning, make_runtime(other.config, other.revision), datetime.now(UTC)
            ):
                devices.append(each)
        except TooHard:
            is_whole = False
    if arguments.json:
        print(_json(answers, findings, differences, devices))
    else:
        print(
            "\n".join(
                [*_lines(loaded, answers, findings, differences), *_device_lines(devices, is_whole=is_whole)]
            )
        )
    if not is_whole:
        print("whether more devices are treated differently is too much to decide", file=sys.stderr)
    bad = {FindingKind.UNREACHABLE, FindingKind.SHADOWED, FindingKind.CLOSED}
    is_bad = any(each.verdict is Verdict.REFUTED for each in answers) or any(
        each.kind in bad for each in findings
    )
    return EXIT_FAILED if is_bad or not is_whole else EXIT_OK


def _lines(
    loaded: "LoadedConfig",
    answers: Sequence["Answer"],
    findings: Sequence["Finding"],
    differences: Sequence["Difference"] | None,
) -> Iterator[str]:
    for at, answer in enumerate(answers):
        place = loaded.origins.get(f"never[{at}].name", str(loaded.path))
        yield f"{answer.verdict:<11} {place}  {answer.never}"
        if answer.example is not None:
            yield f"            let in by {answer.policy}:"
            yield from _example(answer.example)
    for finding in findings:
        if not finding.app:
            yield f"{finding.kind:<11} {_place_of(loaded, finding.policy)}  {finding.policy}: {finding.text}"
    for lines in _by_app(_of_app(each) for each in findings if each.app):
        yield from lines
    for lines in _by_app(_of_difference(each) for each in differences or ()):
        yield from lines
    if differences is not None and not differences:
        yield "both sets let in the same requests"
    if not answers and not findings:
        yield "nothing found"


_AtApp = tuple[str, str, "Given | None"]
"""An app, what is said of it with `{}` in its place, and an example."""


def _of_app(finding: "Finding") -> _AtApp:
    by = f" (policy {finding.policy})" if finding.policy else ""
    return finding.app, f"{finding.kind:<11} {{}}: {finding.text}{by}", finding.example


def _of_difference(difference: "Difference") -> _AtApp:
    which = "newly let in" if difference.is_newly_let_in else "no longer let in"
    return difference.app, f"{which} at {{}}, by {difference.policy}:", difference.example


def _by_app(said: Iterable[_AtApp]) -> Iterator[list[str]]:
    """Yield what is said of apps, once for all of which the same is said; the example is one at the first of them."""
    import msgspec  # noqa: PLC0415 - lazy: `--help` must not pay for it

    alike: dict[str, list[_AtApp]] = {}
    for each in said:
        _, text, example = each
        bare = None if example is None else msgspec.structs.replace(example, app="", host=None)
        alike.setdefault(f"{text} {bare!r}", []).append(each)
    for group in alike.values():
        apps = [app for app, _, _ in group]
        noun = "app" if len(apps) == 1 else "apps"
        _, text, example = group[0]
        example_lines = [] if example is None else list(_example(example))
        yield [text.format(f"{noun} {', '.join(apps)}"), *example_lines]


def _device_lines(devices: Sequence["DeviceDifference"] | None, *, is_whole: bool) -> Iterator[str]:
    from compliance.analysis.supposed import said_of  # noqa: PLC0415 - lazy: `--help` must not pay for it

    for each in devices or ():
        yield f"a device that is {_treated(each.before)} becomes {_treated(each.after)}:"
        yield f"            at {each.device.at:%Y-%m-%d %H:%M} UTC: {said_of(each.device)}"
        for which, side in (("before", each.before), ("now", each.after)):
            yield from (f"            {which}: {text}" for text in side.because)
    if devices is not None and not devices and is_whole:
        yield "both sets treat every device alike"


def _treated(treatment: "Treatment") -> str:
    demanded = f", {treatment.demanded} at every app" if treatment.demanded else ""
    controls = f" ({', '.join(sorted(treatment.controls))})" if treatment.controls else ""
    return f"{treatment.state}{demanded}{controls}"


def _example(given: "Given") -> Iterator[str]:
    from gateway.decision.hypothetical import told  # noqa: PLC0415 - lazy: `--help` must not pay for it

    yield f"            {told(given)}"


def _place_of(loaded: "LoadedConfig", policy: str) -> str:
    names = [each.name for each in loaded.config.access.policies]
    return loaded.origins.get(f"access.policies[{names.index(policy)}].name", str(loaded.path))


def _json(
    answers: Sequence["Answer"],
    findings: Sequence["Finding"],
    differences: Sequence["Difference"] | None,
    devices: Sequence["DeviceDifference"] | None,
) -> str:
    import msgspec  # noqa: PLC0415 - lazy: `--help` must not pay for it

    result: dict[str, Any] = {
        "never": answers,
        "findings": findings,
        "differences": differences,
        "devices": devices,
    }
    return msgspec.json.format(msgspec.json.encode(result)).decode()
