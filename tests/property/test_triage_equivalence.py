"""Arbitrary histories of a device: with triage, the same incidents and tasks begin and end as when all is looked at."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import count

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from compliance.model import ComplianceState, Exemption
from gateway.config.remediation import Sla
from gateway.decision.judge import Interpretation, judge
from gateway.hub.triage import Triage
from gateway.incidents.model import Change, Incident, causes
from gateway.incidents.model import advance as advance_incidents
from gateway.remediation.tasks import SecurityTask, TaskChange, TaskState, change, task_causes
from gateway.remediation.tasks import advance as advance_tasks
from risk.model import DeviceId, Posture
from tests.property.test_screening import NOW, SENSORS, _said_again, policies, postures, weighings

DEVICE = DeviceId("dev_1")
EXEMPTIONS = (Exemption(rule="b", reason="r", author="a", expires="2030-01-02", devices=(DEVICE,)),)


class Incidents:
    def __init__(self) -> None:
        self.all: dict[str, Incident] = {}

    def open(self) -> list[Incident]:
        return [each for each in self.all.values() if each.is_open]

    def has_open(self, device_id: str) -> bool:
        return device_id == DEVICE and bool(self.open())


class Tasks:
    def __init__(self) -> None:
        self.all: dict[str, SecurityTask] = {}

    def open(self) -> list[SecurityTask]:
        return [each for each in self.all.values() if each.is_open]

    def has_open(self, device_id: str) -> bool:
        return device_id == DEVICE and bool(self.open())

    def awaits_evidence(self, _device_id: str) -> bool:
        return any(each.state is TaskState.VERIFYING for each in self.open())


class World:
    """What is known of one device, and what the real functions make of it whenever it is looked at."""

    def __init__(self, meaning: Interpretation) -> None:
        self.meaning, self.now = meaning, NOW
        self.posture = Posture(device_id=DEVICE)
        self.incidents, self.tasks = Incidents(), Tasks()
        self.looks = 0

    def look(self, _devices: Sequence[str], told: Change | None) -> None:
        self.looks += 1
        risk, compliance = judge(self.posture, self.meaning, self.now)
        rules = self.meaning.policies
        for incident in advance_incidents(
            self.incidents.open(), causes(risk, compliance, rules), device_id=DEVICE, device="lt-1",
            change=told, now=self.now, new_ids=(f"i{self.looks}-{each}" for each in count()),
        ):  # fmt: skip
            self.incidents.all[incident.id] = incident
        for happened in advance_tasks(
            tuple(self.tasks.all.values()), task_causes(self.posture, risk, compliance, rules),
            posture=self.posture, sla=Sla(), now=self.now, new_ids=(f"t{self.looks}-{each}" for each in count()),
        ):  # fmt: skip
            self.tasks.all[happened.task.id] = happened.task

    def say_done(self) -> None:
        for task in self.tasks.open():
            happened = change(task, TaskChange(done=True), by="ana", now=self.now)
            if happened is not None:
                self.tasks.all[task.id] = happened.task

    def shown(self) -> list[object]:
        """Return everything that there is but ids."""
        bare = msgspec.structs.replace
        incidents = [bare(each, id="") for each in self.incidents.all.values()]
        tasks = [bare(each, id="") for each in self.tasks.all.values()]
        return [sorted(map(repr, incidents)), sorted(map(repr, tasks))]


steps = st.lists(
    st.tuples(
        st.sampled_from([0.0, 1.0, 61.0, 3500.0, 90000.0]),
        st.one_of(postures, st.lists(st.booleans(), min_size=16, max_size=16), st.just("done")),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=400)
@given(policies=policies, steps=steps, weighing=weighings)
def test_triage_leaves_out_nothing_that_a_look_would_have_changed(policies, steps, weighing):
    meaning = Interpretation(
        SENSORS, policies, ComplianceState.NONCOMPLIANT, exemptions=EXEMPTIONS, weighing=weighing
    )
    direct, triaged = World(meaning), World(meaning)
    triage = Triage(
        posture=lambda _: triaged.posture, interpretation=lambda: meaning, incidents=triaged.incidents,
        tasks=triaged.tasks, interpret=judge, suspected=triaged.look, clock=lambda: triaged.now,
    )  # fmt: skip
    for seconds, said in steps:
        for world in (direct, triaged):
            world.now += timedelta(seconds=seconds)
            if said == "done":
                world.say_done()
            else:
                world.posture = _as_said(world.posture, said, world.now)
        told = Change(sensor="edr", received_at=direct.now, durable_in_s=0.001, enforced_in_s=0.002)
        direct.look([DEVICE], told)
        triage.look(frozenset({DEVICE}), told)
        assert triaged.shown() == direct.shown()


def _as_said(posture: Posture, said: Posture | list[bool], now: datetime) -> Posture:
    if isinstance(said, Posture):
        shift = now - NOW  # what a fresh posture says is as old as it was meant to be
        return _shifted(said, shift)
    return _said_again(posture, said, now)


def _shifted(posture: Posture, by: timedelta) -> Posture:
    replace = msgspec.structs.replace

    def later(moment: datetime | None) -> datetime | None:
        return None if moment is None else moment + by

    return replace(
        posture,
        facts={
            key: replace(
                fact, observed_at=fact.observed_at + by, received_at=fact.received_at + by,
                expires_at=later(fact.expires_at),
            )
            for key, fact in posture.facts.items()
        },
        findings={
            key: replace(
                each, observed_at=each.observed_at + by, received_at=each.received_at + by,
                first_observed_at=each.first_observed_at + by, expires_at=later(each.expires_at),
            )
            for key, each in posture.findings.items()
        },
        heard={sensor: moment + by for sensor, moment in posture.heard.items()},
    )  # fmt: skip
