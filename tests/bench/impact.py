"""`impact`: what `posturegate impact` costs, with a draft that changes much, over a store full of devices."""

import asyncio
import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from compliance.model import ClientKind, ComplianceResult, ComplianceState, Outcome, User
from gateway.app import SCHEMAS
from gateway.decision.explain import DecisionRecord
from risk.database import Database
from risk.model import Fact, Identifier, Posture, RiskAssessment, RiskLevel
from risk.packing import pack_posture
from risk.sqlite import SqliteDecisionStore, SqliteRiskStore
from risk.store import Batch, DeviceRow
from tests.bench.bench import Bench
from tests.bench.gate import CONFIG, Seeds, device_row
from tests.bench.processes import BenchFault
from tests.bench.report import Section, at_most

POLICIES = 20
PLATFORMS = ("macOS 15.1", "Windows 11", "Debian 12", "iOS 18")


_NOTE = (
    "`posturegate impact DRAFT` as a process of its own over the SQLite store, its start included. Ten of the twenty"
    " compliance policies and eight of the twenty access policies are others in the draft; three apps. Half of the"
    " devices have a silent sensor."
)


async def run(bench: Bench) -> Section:
    """Seed a store and run the command over it, without and with the records of a week."""
    devices, sessions, records = (10_000, 1_000, 2_000) if bench.is_quick else (100_000, 10_000, 20_000)
    config, draft = bench.folder / "impact.yaml", bench.folder / "draft.yaml"
    config.write_text(_config(bench.folder, is_draft=False))
    draft.write_text(_config(bench.folder, is_draft=True))
    await _plant(bench.folder / "state.db", devices, sessions, records)
    rows, figures = [], {}
    for title, more in (("now", ()), ("and the records of seven days", ("--replay", "7d"))):
        wall_s, cpu_s, told = await _timed(config, draft, *more)
        impact, replay = told["impact"], told["replay"]
        changed = f"{impact['devices_changed']:,} / {impact['access_changed']:,}"
        again = "" if replay is None else f"{replay['changed']:,} of {replay['records']:,}"
        rows.append((title, f"{wall_s:.1f}", f"{cpu_s:.1f}", changed, again))
        figures |= {f"{title}: wall": wall_s, f"{title}: cpu": cpu_s}
    return Section(
        name="impact",
        title=f"A draft held against {devices:,} devices and {sessions:,} sessions, {POLICIES} policies of each kind",
        columns=("", "s", "CPU s", "devices / decisions changed", "records changed"),
        rows=rows,
        notes=[_NOTE],
        targets=[at_most(f"{devices:,} devices x {POLICIES} policies", 60, figures["now: cpu"], "s")],
        figures=figures,
    )


def _config(folder: Path, *, is_draft: bool) -> str:
    """Return the bench's configuration with twenty policies of each kind; a draft has ten others of each."""
    text = CONFIG.format(
        scheme="http", port=8080, ops=8081, workers=1, folder=folder, tls="", issuer="http://127.0.0.1:1",
        client_secret="bench", sensor_secret="bench-sensor-secret-of-32-letters", upstream=9,
    )  # fmt: skip
    text = text[: text.index("compliance:\n")]
    apps = "".join(
        f'  - {{name: app-{n}, host: app-{n}.localhost, upstream: "http://127.0.0.1:9"}}\n' for n in (1, 2)
    )
    text = text.replace("devices:\n", f"{apps}devices:\n", 1)
    return text + "\n".join(_policies(is_draft=is_draft)) + "\n"


def _policies(*, is_draft: bool) -> Iterator[str]:
    yield "compliance:\n  policies:"
    for number in range(POLICIES):
        is_other = is_draft and number % 2 == 0
        platform = ("macos", "windows", "linux", "ios")[number % 4]
        yield f"    - name: devices {number}\n      include: {{platforms: [{platform}]}}\n      rules:"
        yield f"        - {{type: risk, name: risk, max: {'none' if is_other else 'low'}}}"
        yield f"        - {{type: fact, name: disk, fact: disk_encrypted, equals: true, grace: {number}d}}"
        yield f"        - {{type: fact, name: os, fact: os_version, at_least: '{14 + is_other}.{number}'}}"
        yield f"        - {{type: sensor, name: seen, sensor: edr, seen_within: {30 - number}h}}"
    yield "access:\n  policies:"
    for number in range(POLICIES):
        is_other = is_draft and number % 2 == 0
        yield f"    - {{name: access {number}, {_access(number, is_other=is_other)}}}"


def _access(number: int, *, is_other: bool) -> str:
    """Return an access policy: each fifth lets in, the others limit."""
    platform = ("macos", "windows", "linux", "ios")[number % 4]
    match number % 5:
        case 0:
            states = "compliant" if is_other else "compliant, in-grace-period, noncompliant"
            return f"decision: allow, include: {{groups: [staff]}}, when: {{compliance: [{states}]}}"
        case 1:
            who = "include: {groups: [staff]}, controls: [no-store]"
            return f"decision: restrict, {who}, when: {{platforms: [{platform}]}}"
        case 2:
            version = f"'{15 if is_other else 13}.{number}'"
            return (
                f"decision: remediate, when: {{facts: [{{fact: os_version, below: {version}, max_age: 2d}}]}}"
            )
        case 3:
            return "decision: block, when: {risk: [high], paths: [/admin]}"
        case _:
            return f"decision: step-up, apps: [app-1], when: {{auth_older_than: {number}h}}, step_up: {{max_age: 1h}}"


def _device(number: int) -> DeviceRow:
    """Return a device of one of four platforms; one in ten is not encrypted, versions differ."""
    row = device_row(number)
    at = datetime.now(UTC) - timedelta(hours=number % 20)
    said = {
        "os": PLATFORMS[number % 4],
        "disk_encrypted": number % 10 != 0,
        "os_version": f"{14 + number % 3}.{number % 30}",
        "firewall": True,
        "last_update": at.isoformat(),
    }
    facts = {
        ("edr", name): Fact(name=name, sensor="edr", value=value, observed_at=at, received_at=at)
        for name, value in said.items()
    }
    identifiers = (Identifier("serial", f"SER-{number:07}"), Identifier("hostname", f"lt-{number:07}"))
    posture = Posture(
        device_id=row.device_id,
        name=f"lt-{number:07}",
        identifiers=identifiers,
        facts=facts,
        heard={"edr": at},
    )
    return DeviceRow(row.device_id, row.keys, pack_posture(posture))


async def _plant(path: Path, devices: int, sessions: int, records: int) -> None:
    """Write devices, sessions on them, and decision records of the last six days."""
    seeds = Seeds(1, sessions)
    seeds.owners = devices
    await seeds.plant(path)
    database = Database(path, SCHEMAS)
    database.start()
    try:
        store = SqliteRiskStore(database)
        for start in range(0, devices, 5000):
            batch = [_device(number) for number in range(start, min(start + 5000, devices))]
            await store.commit(Batch(devices=batch))
        await store.file_all()
    finally:
        await asyncio.to_thread(database.close)
    await _records(path, records)


async def _records(path: Path, records: int) -> None:
    """Write decision records of the last six days."""
    database = Database(path, SCHEMAS)
    database.start()
    try:
        store = SqliteDecisionStore(database)
        for start in range(0, records, 1000):
            rows = [_record(number) for number in range(start, min(start + 1000, records))]
            await store.put_many(rows)
    finally:
        await asyncio.to_thread(database.close)


def _record(number: int) -> tuple[str, datetime, bytes]:
    at = datetime.now(UTC) - timedelta(seconds=number * 20)
    row = _device(number)
    compliance = (ComplianceState.COMPLIANT, ComplianceState.NONCOMPLIANT)[number % 2]
    record = DecisionRecord(
        code=f"bench-{number}", decided_at=at, outcome=Outcome.ALLOW, policy="access 0", reason="",
        user=_user(number), session=f"ses_{number}", device_id=row.device_id, device_name=f"lt-{number:07}",
        device_source="claim device_id", app=("app", "app-1", "app-2")[number % 3], method="GET", path="/",
        client="203.0.113.7", client_kind=ClientKind.BROWSER,
        risk=RiskAssessment(level=RiskLevel.NONE, is_known=True),
        compliance=ComplianceResult(state=compliance, results=()),
    )  # fmt: skip
    return record.code, at, msgspec.json.encode(record)


def _user(number: int) -> User:
    return User(
        provider="demo", issuer="http://127.0.0.1", subject=f"u{number}", email=f"u{number}@demo.example",
        groups=frozenset({"staff"}), acr="pwd", amr=("pwd",), auth_at=datetime.now(UTC),
    )  # fmt: skip


async def _timed(config: Path, draft: Path, *more: str) -> tuple[float, float, dict[str, Any]]:
    """Run the command; return its seconds by the clock and of CPU, and what it said."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    command = [
        sys.executable,
        "-m",
        "gateway",
        "impact",
        str(draft),
        "--config",
        str(config),
        "--json",
        *more,
    ]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, env=os.environ)
    said, _ = await process.communicate()
    if process.returncode != 0:
        raise BenchFault(f"`posturegate impact` returned {process.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - began, cpu_s, json.loads(said)
