"""What unit tests of several packages begin with."""

import pytest

from gateway.config.sensors import load_config
from tests.faults.world import World


@pytest.fixture
def small_config(tmp_path, monkeypatch):
    """A configuration with one provider, one sensor and two apps, as it is after loading."""
    for name in ("GATE_CLIENT_SECRET", "GATE_SENSOR_SECRET"):
        monkeypatch.setenv(name, "a-secret-of-more-than-thirty-two-letters")
    return load_config(str(World(tmp_path, [1, 2, 3], 0).config_path)).config
