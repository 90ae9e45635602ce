"""A small sound configuration, and loading of texts that differ from it in one place."""

import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import msgspec

from gateway.config.errors import ConfigInvalid
from gateway.config.load import LoadedConfig, load_text
from plugins.catalog import Catalog

PROJECT = Path(__file__).parents[3] / "pyproject.toml"
DECLARED = tomllib.loads(PROJECT.read_text())["project"]["entry-points"]["gateway.sensors"]
CATALOG = Catalog.discover(EntryPoint(name, value, "gateway.sensors") for name, value in DECLARED.items())
KINDS = {kind: CATALOG.sensor(kind).options_type for kind in CATALOG.kinds}

WHSEC = "whsec_" + "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
ENV = {
    "SECRET": "0123456789abcdef",
    "WHSEC": WHSEC,
    "WHPK": "whpk_jN5npjQdyGpiBS8dpovD8KmFmoQVUDhqd02QQQ0zGGk=",
    "EMPTY": "",
    "NUMBER": "7",
    "DURATION": "15m",
    "NAME": "wiki",
}

BASE = """\
version: 1
public_url: https://login.corp.example
providers:
  - {name: corp, issuer: "https://idp.corp.example", client_id: gate, client_secret: {env: SECRET}}
apps:
  - {name: wiki, host: wiki.corp.example, upstream: "http://10.0.0.5:8080"}
"""
ACCESS = """\
access:
  policies:
    - {name: all, decision: allow}
"""
GOOD = BASE + ACCESS


def load(text, *, base=None, env=ENV, now=None) -> LoadedConfig:
    """Return the configuration of a text as if it stood in `gate.yaml` in the folder `base`, at `now`."""
    file = (base or Path("/nowhere")) / "gate.yaml"
    return load_text(text, file, env, sensor_options=KINDS.get, sensor_kinds=KINDS, now=now)


def invalid(text, **more) -> ConfigInvalid:
    """Return the fault list of a text that must not load."""
    try:
        loaded = load(text, **more)
    except ConfigInvalid as error:
        return error
    raise AssertionError(f"loaded: {msgspec.json.encode(loaded.config, enc_hook=repr)!r}")


def faults(text, **more):
    """Return the faults of a text as (code, key path, message) triples."""
    return [(fault.code, fault.path, fault.message) for fault in invalid(text, **more).faults]


def one(text, **more):
    """Return the only fault of a text."""
    (fault,) = invalid(text, **more).faults
    return fault


def warnings(text, **more):
    """Return the codes of the warnings of a text that loads."""
    return [fault.code for fault in load(text, **more).warnings]
