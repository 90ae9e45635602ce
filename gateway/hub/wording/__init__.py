"""From decisions to what people read: view models from compliance, risk and decisions.

Pure: no clock (`now` is in the context), no I/O. The words themselves stand in `gateway.hub.texts`; this package
chooses among them. It also makes hostile texts harmless: device names and finding titles come from machines that
somebody else may control.
"""

from gateway.hub.wording.about_me import me
from gateway.hub.wording.apps import app_state
from gateway.hub.wording.checks import as_checks
from gateway.hub.wording.context import PageContext
from gateway.hub.wording.errors import ERROR_STATUS, error
from gateway.hub.wording.exceptions import approve, approved, offer
from gateway.hub.wording.fix import PROBLEMS_MAX, checked_notice, remediation
from gateway.hub.wording.kept import carried, kept, resume
from gateway.hub.wording.refusals import blocked, restricted, step_up
from gateway.hub.wording.signing import choose_provider, sign_in_needed, sign_out_confirm, signed_out
from gateway.hub.wording.stored import held
from gateway.hub.wording.systems import Instructions, detect_os, instructions
from gateway.hub.wording.times import by_day, moment, relative, since
from gateway.hub.wording.to_fix import HELD_MAX, is_silence, problems
from gateway.hub.wording.untrusted import (
    MARKDOWN_MAX,
    NAME_MAX,
    NO_BREAK,
    SENTENCE_MAX,
    TITLE_MAX,
    clean,
    name_in_sentence,
    sensor_label,
)

__all__ = [
    "ERROR_STATUS",
    "HELD_MAX",
    "MARKDOWN_MAX",
    "NAME_MAX",
    "NO_BREAK",
    "PROBLEMS_MAX",
    "SENTENCE_MAX",
    "TITLE_MAX",
    "Instructions",
    "PageContext",
    "app_state",
    "approve",
    "approved",
    "as_checks",
    "blocked",
    "by_day",
    "carried",
    "checked_notice",
    "choose_provider",
    "clean",
    "detect_os",
    "error",
    "held",
    "instructions",
    "is_silence",
    "kept",
    "me",
    "moment",
    "name_in_sentence",
    "offer",
    "problems",
    "relative",
    "remediation",
    "restricted",
    "resume",
    "sensor_label",
    "sign_in_needed",
    "sign_out_confirm",
    "signed_out",
    "since",
    "step_up",
]
