"""What a configuration with a canary must be."""

from pathlib import Path

import pytest

from gateway.config.load import ConfigInvalid
from gateway.config.sensors import load_config

BASE = """
public_url: http://login.localhost:8080
server: {{listen: {listen}, run_dir: run{tls}}}
providers: [{{name: corp, issuer: "http://127.0.0.1:9", client_id: gate}}]
apps: [{{name: {app}, host: {host}, upstream: "http://127.0.0.1:1"}}]
access: {{policies: [{{name: all, decision: allow}}]}}
canary: {canary}
"""
USUAL = {
    "listen": "127.0.0.1:8080",
    "app": "notes",
    "host": "notes.localhost",
    "canary": "{every: 1m}",
    "tls": "",
}


def faults(tmp_path: Path, **changes: str) -> list[str]:
    file = tmp_path / "gate.yaml"
    file.write_text(BASE.format(**USUAL | changes))
    try:
        load_config(str(file))
    except ConfigInvalid as invalid:
        return [str(fault) for fault in invalid.faults if not fault.is_warning]
    return []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"canary": "{every: 0s}"}, "more than zero"),
        ({"canary": "{address: here}"}, "not `address:port`"),
        ({"listen": "systemd"}, "cannot know where to enter"),
        ({"app": "canary"}, "name of the built-in canary"),
        ({"host": "canary.posturegate.localhost"}, "host of the canary"),
    ],
)
def test_what_cannot_work_is_refused(tmp_path: Path, changes: dict[str, str], says: str) -> None:
    found = faults(tmp_path, **changes)
    assert len(found) == 1, found
    assert says in found[0]


def test_what_can_work_is_not(tmp_path: Path) -> None:
    assert faults(tmp_path) == []
    assert faults(tmp_path, canary='{address: "unix:/run/x.sock"}', listen="systemd") == []
