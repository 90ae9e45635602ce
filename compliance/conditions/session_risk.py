"""`session_risk`: the risk level of this very session; while a sensor that told of it is silent it is `unknown` too."""

from compliance.analysis.inputs import Inputs
from compliance.conditions.kind import Input, Kind, saying
from compliance.conditions.levels import changing, clauses_of, holding, place_of, say_of, seeing, values_of
from compliance.model import AccessContext
from compliance.reasons import AccessReason
from risk.model import RiskAssessment


def _risk(context: AccessContext) -> RiskAssessment:
    return context.session_risk


KIND = Kind(
    holds=holding(_risk),
    clauses=clauses_of("session_risk"),
    reason=AccessReason.PERSON_AT_RISK,
    seen=seeing(_risk),
    moments=changing(_risk),
    is_about_unknown=True,
)


def _add(inputs: Inputs) -> None:
    """Nothing ties it to the device."""
    inputs.add("session_risk", values_of("session_risk", "session_silent"))


INPUT = Input(
    word="session_risk",
    add=_add,
    place=lambda here, variable, _rest: place_of(variable, here.context.session_risk),
    say=saying(say_of("the session")),
)
