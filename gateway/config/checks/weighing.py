"""Checks of how findings become a risk level, and of whom sensors may speak about."""

from gateway.config.checks.shared import Checks
from gateway.config.errors import Code, KeyPath, shown
from gateway.config.schema import Sensor
from gateway.config.weighing import Risk
from risk.builtin import RULES
from risk.correlation import CORRELATION, Correlation, Decay
from risk.model import RISK_ORDER, RiskLevel
from risk.subjects import Subjects

RESERVED = frozenset({*RULES, CORRELATION})


def check_sensor_name(checks: Checks, path: KeyPath, sensor: Sensor) -> None:
    """Check that no sensor takes the name of one that is built in."""
    if sensor.name in RESERVED:
        message = f"{shown(sensor.name)} is the name of a sensor that every gateway has"
        checks.fault(Code.DUPLICATE_NAME, (*path, "name"), message, "choose another name")


def check_risk(checks: Checks, path: KeyPath, risk: Risk) -> None:
    """Check that the lines of the table have names of their own."""
    names = [((*path, "correlation", at, "name"), each.name) for at, each in enumerate(risk.correlation)]
    checks.unique(names, "lines of the correlation table")


def check_correlation(checks: Checks, path: KeyPath, line: Correlation) -> None:
    """Check that a line can ever hold, and that it raises something."""
    checks.positive(path, line, "within")
    if line.count < 2 and not line.categories:  # noqa: PLR2004 - one finding is no several
        checks.fault(
            Code.RANGE, (*path, "count"), "one finding is weighed by itself", "at least 2, or `categories`"
        )
    elif line.count < 1:
        checks.fault(Code.RANGE, (*path, "count"), "at least 1")


def check_decay(checks: Checks, path: KeyPath, line: Decay) -> None:
    """Check that a resolved finding counts no more than it did."""
    checks.positive(path, line, "lasts")
    if RISK_ORDER[RiskLevel(line.level)] > RISK_ORDER[RiskLevel(line.after)]:
        message = f"a finding that was `{line.after}` cannot count as `{line.level}` once it is resolved"
        checks.fault(Code.RANGE, (*path, "level"), message)


def check_subjects(checks: Checks, path: KeyPath, subjects: Subjects) -> None:
    """Check that the sensor may speak about somebody."""
    if not subjects.about:
        checks.fault(
            Code.RANGE, (*path, "about"), "the sensor could speak about nobody", "`[device]` or `[user]`"
        )
