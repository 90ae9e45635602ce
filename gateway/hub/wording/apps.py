"""The words about whether an app can be used now. Pure."""

from compliance.model import Decision, Outcome
from gateway.hub.texts import text
from gateway.hub.views import AppState, StepState
from gateway.hub.wording.untrusted import NAME_MAX, clean


def app_state(decision: Decision, title: str, url: str) -> AppState | None:
    """Return how it stands with an app; None for one that is closed to the person, whose name is nobody's business."""
    match decision.outcome:
        case Outcome.ALLOW:
            state, said = StepState.OK, text("app_open")
        case Outcome.RESTRICT:
            state, said = StepState.ATTENTION, text("app_limited")
        case Outcome.STEP_UP:
            state, said = StepState.ATTENTION, text("app_step_up")
        case Outcome.REMEDIATE:
            state, said = StepState.PAUSED, text("app_paused")
        case Outcome.BLOCK:
            return None
    return AppState(title=clean(title, NAME_MAX), url=url, state=state, text=said)
