"""`posturegate analyze`: what access policies mean for every request, without making one."""

import argparse
import sys
from collections.abc import Iterator, Sequence
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
    from compliance.analysis.questions import FindingKind, Verdict  # noqa: PLC0415 - lazy: `--help` must not pay for it
    from compliance.analysis.solver import TooHard  # noqa: PLC0415
    from gateway.cli.proving import load_unproven  # noqa: PLC0415
    from gateway.decision.analysis import analysis_of, compared_devices, prove  # noqa: PLC0415
    from gateway.hub.runtime import make_runtime  # noqa: PLC0415

    loaded = load_unproven(arguments.file or arguments.config)
    other = load_unproven(arguments.against) if arguments.against else None
    if loaded is None or (arguments.against and other is None):
        return EXIT_INVALID
    meaning = make_runtime(loaded.config, loaded.revision)
    answers = list(prove(meaning, loaded.config.never))
    findings = analysis_of(loaded.config).findings()
    differences: list[Difference] | None = None
    devices: list[DeviceDifference] | None = None
    if other is not None:
        before = other.config.access.policies
        try:
            differences = list(analysis_of(loaded.config, before=before).differences(before))
            then = make_runtime(other.config, other.revision)
            devices = list(compared_devices(meaning, then, datetime.now(UTC)))
        except TooHard:
            print("the difference of the two sets is too large to decide", file=sys.stderr)
            return EXIT_FAILED
    if arguments.json:
        print(_json(answers, findings, differences, devices))
    else:
        print("\n".join([*_lines(loaded, answers, findings, differences), *_device_lines(devices)]))
    bad = {FindingKind.UNREACHABLE, FindingKind.SHADOWED, FindingKind.CLOSED}
    is_bad = any(each.verdict is Verdict.REFUTED for each in answers) or any(
        each.kind in bad for each in findings
    )
    return EXIT_FAILED if is_bad else EXIT_OK


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
        if finding.policy and not finding.app:
            yield f"{finding.kind:<11} {_place_of(loaded, finding.policy)}  {finding.policy}: {finding.text}"
            continue
        by = f" (policy {finding.policy})" if finding.policy else ""
        yield f"{finding.kind:<11} app {finding.app}: {finding.text}{by}"
        if finding.example is not None:
            yield from _example(finding.example)
    for difference in differences or ():
        which = "newly let in" if difference.is_newly_let_in else "no longer let in"
        yield f"{which} at {difference.app}, by {difference.policy}:"
        yield from _example(difference.example)
    if differences is not None and not differences:
        yield "both sets let in the same requests"
    if not answers and not findings:
        yield "nothing found"


def _device_lines(devices: Sequence["DeviceDifference"] | None) -> Iterator[str]:
    from compliance.analysis.supposed import said_of  # noqa: PLC0415 - lazy: `--help` must not pay for it

    for each in devices or ():
        yield f"a device that is {_treated(each.before)} becomes {_treated(each.after)}:"
        yield f"            at {each.device.at:%Y-%m-%d %H:%M} UTC: {said_of(each.device)}"
        for which, side in (("before", each.before), ("now", each.after)):
            yield from (f"            {which}: {text}" for text in side.because)
    if devices is not None and not devices:
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
