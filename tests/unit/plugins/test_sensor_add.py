"""What `posturegate sensor add` prints is a section that loads, and a delivery that is believed and read."""

import io
import subprocess
import time
from base64 import b64encode
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from ruamel.yaml import YAML

from gateway.cli.adding import SCHEMES, added_lines, as_of, scheme_for
from gateway.cli.sending import ASKED, sample_payloads
from gateway.config.schema import Sensor
from gateway.config.sensors import installed
from gateway.hub.hooks import hook_sensor
from plugins.payload import parse_payloads
from risk.model import Severity
from risk.values import Secret

WEIGHTY = (Severity.MEDIUM, Severity.HIGH, Severity.CRITICAL)

KINDS = [kind for kind in installed().kinds if kind not in ASKED]


def ran(script: str, folder: Path) -> list[str]:
    """Return the arguments that `curl` was given by a script."""
    made = "set -eu\ncurl() { printf '%s\\n' \"$@\"; }\n" + script
    command = ["/bin/bash", "-c", made]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)  # noqa: S603 - what `add` printed
    return done.stdout.splitlines()


def headers_of(arguments: list[str]) -> list[tuple[str, str]]:
    found = [arguments[at + 1].split(": ", 1) for at, each in enumerate(arguments) if each == "-H"]
    users = [arguments[at + 1] for at, each in enumerate(arguments) if each == "-u"]
    basic = [("Authorization", f"Basic {b64encode(each.encode()).decode()}") for each in users]
    return [*((name, value) for name, value in found), *basic]


def decoded(of: type, value: Any) -> Any:
    assert of is Secret
    return Secret(value)


@pytest.mark.parametrize(
    ("kind", "scheme"),
    [*((kind, scheme_for(kind)) for kind in KINDS), *(("generic", scheme) for scheme in SCHEMES)],
)
def test_what_add_prints_loads_is_believed_and_is_read(kind: str, scheme: str, tmp_path: Path) -> None:
    sample, url = sample_payloads(kind)[0], "https://gate.example/.gate/hooks/new"
    lines = added_lines(kind, "new", scheme, url=url, config="gate.yaml", sample=sample, has_sensors=False)
    first, second, third, fourth = "\n".join(lines).split("\n\n")
    ran(first, tmp_path)
    tested = ran("posturegate() { printf '%s\\n' \"$@\"; }\n" + third, tmp_path)
    assert tested == ["sensor", "test-event", "new", "body.json"]
    (section,) = YAML(typ="safe").load(io.StringIO(second))["sensors"]
    files = [each["file"] for each in section["auth"]["secrets"]]
    section["auth"]["secrets"] = [(tmp_path / file).read_text() for file in files]
    sensor = hook_sensor(msgspec.convert(section, Sensor, dec_hook=decoded), installed())
    headers = headers_of(ran(fourth, tmp_path))
    body = (tmp_path / "body.json").read_bytes()
    sensor.verifier.verify(headers, body, time.time())
    normalized = sensor.facade.normalize(
        parse_payloads(body), sensor.options, sensor="new", received_at=datetime.now(UTC), headers={}
    )
    assert normalized.signals
    assert not normalized.rejections
    now = datetime.now(UTC)
    lasting = [each for each in normalized.signals if each.expires_at is None or each.expires_at > now]
    assert lasting, "what the first delivery says has expired: nothing comes of it"
    assert any(each.level in WEIGHTY for each in lasting), "the first delivery shows no effect"


def test_fleet_is_given_its_credentials_in_the_address() -> None:
    """It sends no header that could be chosen."""
    url = "https://gate.example/.gate/hooks/new"
    lines = list(
        added_lines("fleet", "new", scheme_for("fleet"), url=url, config="g", sample={}, has_sensors=True)
    )
    secret = lines[1].split()[lines[1].split().index("%s") + 1]
    assert f"with name and secret: https://new:{secret}@gate.example/.gate/hooks/new" in "\n".join(lines)


def test_a_sample_is_of_now() -> None:
    """In each way in which it is written; what is no moment of the sample stays as it is."""
    sample = {
        "at": "2026-03-02T09:15:30.25Z",
        "before": ["2026-03-02T14:35:30.5+0530", 1772442900, 1772442900_250, True],
        "never": "0001-01-01T00:00:00Z",
        "number": 1_234_567_890,
        "text": "2026-03-02 was a Monday",
    }
    now = datetime(2027, 3, 2, 9, 15, 30, 250_000, tzinfo=UTC)
    year = 365 * 86400
    assert as_of(sample, now) == {
        "at": "2027-03-02T09:15:30.25Z",
        "before": ["2027-03-02T14:35:30.5+0530", 1772442900 + year, (1772442900 + year) * 1000 + 250, True],
        "never": "0001-01-01T00:00:00Z",
        "number": 1_234_567_890,
        "text": "2026-03-02 was a Monday",
    }
    assert as_of({"a": 1}, now) == {"a": 1}
