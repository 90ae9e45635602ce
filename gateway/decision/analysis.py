"""The analysis of the policies of a configuration: what bounds its requests, and whether examples hold."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from ipaddress import ip_network

import msgspec

from compliance.analysis.devices import DeviceDifference, device_differences
from compliance.analysis.inputs import Surroundings
from compliance.analysis.questions import HOLES, REACHED, Analysis, Answer, Difference, Finding, Verdict
from compliance.analysis.supposed import Requirements
from compliance.evaluate import misses
from compliance.model import AccessPolicy, Outcome, SessionControl
from compliance.policy_tests import Given, Never
from gateway.config.profiles import NoUploads, NoWebsocket, ReadOnly, SessionProfile
from gateway.config.schema import App, Config
from gateway.decision.hypothetical import Meaning, suppose


def surroundings(config: Config) -> Surroundings:
    """Return what besides the policies bounds the requests that there can be."""
    return Surroundings(
        apps=tuple(app.name for app in config.apps),
        paths={app.name: (app.path_prefix, _inner(app, config.apps)) for app in config.apps},
        hosts={app.name: app.host.lower().rstrip(".") for app in config.apps},
        countries={each.name: each.countries for each in config.networks if each.countries},
        providers=tuple(provider.name for provider in config.providers),
        networks={each.name: tuple(ip_network(cidr) for cidr in each.cidrs) for each in config.networks},
        sensors={sensor.name: sensor.max_silence for sensor in config.sensors},
        compliance=config.compliance.policies,
        uncovered=config.compliance.uncovered,
        profiles={each.name: frozenset(_brought(each)) for each in config.session_profiles},
        exempted=frozenset(each.rule for each in config.compliance.exemptions),
    )


def _brought(profile: SessionProfile) -> Iterator[SessionControl]:
    """Yield the controls that a profile brings as strictly as `controls` do: without exceptions of its own."""
    if profile.read_only is not None and not profile.read_only.allow and not profile.read_only.graphql:
        usual = set(ReadOnly().methods)
        if usual.issuperset(profile.read_only.methods):
            yield SessionControl.READ_ONLY
    if (
        profile.no_downloads is not None
        and not profile.no_downloads.allow
        and not profile.no_downloads.display
    ):
        yield SessionControl.NO_DOWNLOADS
    if profile.no_uploads == NoUploads():
        yield SessionControl.NO_UPLOADS
    if profile.no_websocket == NoWebsocket():
        yield SessionControl.NO_WEBSOCKET
    if profile.no_store:
        yield SessionControl.NO_STORE


def _inner(app: App, apps: Sequence[App]) -> tuple[str, ...]:
    """Return the prefixes below an app's own that belong to other apps of its host."""
    same_host = [each for each in apps if each.host == app.host and each.name != app.name]
    return tuple(each.path_prefix for each in same_host if len(each.path_prefix) > len(app.path_prefix))


def analysis_of(config: Config, *, before: Sequence[AccessPolicy] = ()) -> Analysis:
    """Return the analysis of a configuration's access policies; `before` are those of a set to compare it with."""
    return Analysis(config.access.policies, surroundings(config), nevers=config.never, others=before)


def requirements(config: Config) -> Requirements:
    """Return what a configuration holds devices to."""
    compliance = config.compliance
    return Requirements(
        policies=compliance.policies,
        uncovered=compliance.uncovered,
        exemptions=compliance.exemptions,
        exemption_ceiling=compliance.exemption_ceiling,
    )


def compared_devices(after: Meaning, before: Meaning, now: datetime) -> Iterator[DeviceDifference]:
    """Yield devices that the compliance policies of two configurations treat differently from `now` on.

    Both are looked at with the sensors of the first, and those that only the second has. Raises `TooHard`.
    """
    sensors = {**before.interpretation.sensors, **after.interpretation.sensors}
    yield from device_differences(requirements(before.config), requirements(after.config), sensors, now)


def is_let_in(given: Given, meaning: Meaning) -> bool:
    """Return whether the evaluator lets a request in."""
    return suppose(given, meaning).decision.outcome in {Outcome.ALLOW, Outcome.RESTRICT}


def pared(given: Given, is_example: Callable[[Given], bool], kept: tuple[str, ...] = ()) -> Given:
    """Return the example without what does not matter: it is one all the same, by the evaluator.

    How long a rule has failed, and what is `kept`, is part of the answer, even where it would be one without that, too.
    """
    usual = Given(app=given.app)
    for key in Given.__struct_fields__:
        if key not in {"failing", *kept} and getattr(given, key) != getattr(usual, key):
            shorter = msgspec.structs.replace(given, **{key: getattr(usual, key)})
            if is_example(shorter):
                given = shorter
    return given


def findings_of(meaning: Meaning) -> Iterator[Finding]:
    """Yield what the analysis finds; examples of how open an app is are without what does not matter."""
    holes = {text: AccessPolicy(name="", decision=Outcome.BLOCK, when=when) for text, when in HOLES}
    alike: dict[tuple[str, str, str], Given] = {}
    for finding in analysis_of(meaning.config).findings():
        if finding.example is None:
            yield finding
            continue
        hole = holes[finding.text.removeprefix(REACHED)]
        key = (finding.text, finding.policy, repr(_anywhere(finding.example)))
        if key not in alike:
            alike[key] = pared(finding.example, partial(_is_hole, hole=hole, meaning=meaning), _OF_HOLES)
        yield msgspec.structs.replace(finding, example=_at(alike[key], finding.example))


_OF_HOLES = ("device", "compliance", "risk")
"""What the holes are about."""


def _is_hole(given: Given, hole: AccessPolicy, meaning: Meaning) -> bool:
    supposed = suppose(given, meaning)
    is_in = supposed.decision.outcome in {Outcome.ALLOW, Outcome.RESTRICT}
    return is_in and not misses(hole, supposed.context, supposed.request)


def differences_of(after: Meaning, before: Meaning) -> Iterator[Difference]:
    """Yield requests that only one of two sets of access policies lets in, without what does not matter.

    `before` has other access policies than `after`, and all else alike. Raises `TooHard`.
    """
    policies = before.config.access.policies
    alike: dict[tuple[bool, str, str], Given] = {}
    for each in analysis_of(after.config, before=policies).differences(policies):
        ins, outs = (after, before) if each.is_newly_let_in else (before, after)
        key = (each.is_newly_let_in, each.policy, repr(_anywhere(each.example)))
        if key not in alike:
            alike[key] = pared(each.example, partial(_is_difference, ins=ins, outs=outs))
        yield msgspec.structs.replace(each, example=_at(alike[key], each.example))


def _is_difference(given: Given, ins: Meaning, outs: Meaning) -> bool:
    return is_let_in(given, ins) and not is_let_in(given, outs)


def _anywhere(given: Given) -> Given:
    return msgspec.structs.replace(given, app="", host=None)


def _at(given: Given, other: Given) -> Given:
    """Return an example as one at the app of another."""
    host = None if given.host is None else other.host
    return msgspec.structs.replace(given, app=other.app, host=host)


def breaks(given: Given, never: Never, meaning: Meaning) -> bool:
    """Return whether the evaluator lets a request in that an assertion forbids."""
    try:
        supposed = suppose(given, meaning)
    except ValueError:
        return False
    decision = supposed.decision
    if decision.outcome not in {Outcome.ALLOW, Outcome.RESTRICT}:
        return False
    if misses(never.as_block(), supposed.context, supposed.request):
        return False
    profiles = {each.name: frozenset(_brought(each)) for each in meaning.config.session_profiles}
    held = decision.controls.union(*(profiles.get(name, frozenset()) for name in decision.profiles))
    return not never.without or not held.issuperset(never.without)


def prove(meaning: Meaning, nevers: Sequence[Never]) -> Iterator[Answer]:
    """Yield what came of each assertion. An example that the evaluator does not let in refutes nothing: undecided."""
    analysis = analysis_of(meaning.config)
    for never in nevers:
        answer = analysis.prove(never)
        if answer.example is not None:
            if breaks(answer.example, never, meaning):
                example = pared(answer.example, partial(breaks, never=never, meaning=meaning))
                answer = msgspec.structs.replace(answer, example=example)
            else:
                answer = Answer(
                    never=never.name, verdict=Verdict.UNDECIDED, app=answer.app, policy=answer.policy
                )
        yield answer
