"""Sensors that are part of every gateway: the operator, and the inventory that an operator imports. Pure.

What they say is kept, folded and shown like the word of any sensor. Neither makes a device known: nobody has looked at
a device that is merely listed somewhere.
"""

from collections.abc import Mapping

from risk.model import Finding, Posture, SensorRules

OPERATOR = "operator"
INVENTORY = "inventory"

OVERRIDE = "override"
"""Condition of the operator that says what the risk level of a device is, until it expires."""

RULES: Mapping[str, SensorRules] = {name: SensorRules(name=name) for name in (OPERATOR, INVENTORY)}


def override_of(posture: Posture) -> Finding | None:
    """Return the operator's word on the risk level, None without an open one; it may have expired."""
    found = posture.findings.get((OPERATOR, OVERRIDE))
    return found if found is not None and found.is_open else None
