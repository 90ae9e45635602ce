"""`user_risk`: the risk level of the person; while a sensor that told of them is silent it is `unknown` too."""

from compliance.conditions.levels import apart_from_device
from compliance.model import AccessContext
from risk.model import RiskAssessment


def _risk(context: AccessContext) -> RiskAssessment:
    return context.user_risk


KIND, INPUT = apart_from_device("user_risk", "user_silent", _risk, of="the person")
