"""`session_risk`: the risk level of this very session; while a sensor that told of it is silent it is `unknown` too."""

from compliance.conditions.levels import apart_from_device
from compliance.model import AccessContext
from risk.model import RiskAssessment


def _risk(context: AccessContext) -> RiskAssessment:
    return context.session_risk


KIND, INPUT = apart_from_device("session_risk", "session_silent", _risk, of="the session")
