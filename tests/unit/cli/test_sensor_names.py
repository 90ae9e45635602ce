"""What the commands of `posturegate sensor` say of a name that no sensor has."""

from pathlib import Path

import pytest

from gateway.cli.deliveries import unknown_name
from gateway.config.load import load_text

CONFIG = """\
version: 1
public_url: https://login.corp.example
providers: [{name: corp, issuer: "https://idp.corp.example", client_id: gate, client_secret: {env: SECRET}}]
apps: [{name: wiki, host: wiki.corp.example, upstream: "http://10.0.0.5:8080"}]
access: {policies: [{name: all, decision: allow}]}
sensors: [{name: edr, kind: wazuh, max_silence: null, auth: {scheme: bearer, secrets: [{env: SECRET}]}}]
shared_signals:
  receivers: [{name: idp, issuer: "https://idp.corp.example", token: {env: SECRET}, secrets: [{env: SECRET}]}]
"""


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", ""),
        ("edr", ""),
        ("idp", "`idp` is a receiver of Shared Signals: `posturegate ssf status` tells how it is"),
        ("edrr", "no sensor is named `edrr`; did you mean `edr`? known: edr"),
    ],
)
def test_what_is_said_of_a_name(name: str, says: str) -> None:
    loaded = load_text(CONFIG, Path("gate.yaml"), {"SECRET": "a-secret-of-enough-characters"})
    assert unknown_name(loaded, name) == says
