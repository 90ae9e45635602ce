"""View models of the pages: what a page shows, as frozen values. Pure: no clock, no I/O, no HTML.

`gateway.hub.wording` makes them from decisions; `gateway.hub.pages` renders them. Every text in a view is
plain text that the page escapes, except the fields named `*_md`, which are Markdown (rendered with HTML
switched off).
"""

import hashlib
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

import msgspec

from gateway.controls.effective import Limit


class OperatingSystem(StrEnum):
    """Operating system of the browser that asks, by its User-Agent; only used to choose instructions."""

    WINDOWS = "windows"
    MACOS = "macos"
    LINUX = "linux"
    IOS = "ios"
    ANDROID = "android"
    CHROMEOS = "chromeos"
    UNKNOWN = "unknown"


class StepState(StrEnum):
    """How one stop of the access line is doing."""

    OK = "ok"
    ATTENTION = "attention"
    PAUSED = "paused"
    UNKNOWN = "unknown"


class Stop(msgspec.Struct, frozen=True):
    """One stop of the access line at the top of a page: person, device, gate, provider, app.

    `text` says its state.
    """

    kind: str
    label: str
    state: StepState
    text: str


class Moment(msgspec.Struct, frozen=True):
    """An instant for people: `text` with its zone, `ago` relative to the page's time ("3 minutes ago")."""

    at: datetime
    text: str
    ago: str


class Words(msgspec.Struct, frozen=True):
    """A text of the configuration; `lang` is its language where the page is in another one, else ""."""

    text: str = ""
    lang: str = ""


class SystemFix(NamedTuple):
    """What to do on one operating system: its name, Markdown, and the language of that as in `Words`."""

    system: str
    fix_md: str
    lang: str = ""


class KeptView(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a form that could not be sent: kept until a moment, or `lost`, which says what to do.

    `uploads` are the names of files that have to be chosen again. `text_url` "" offers no text file.
    """

    until: Moment | None = None
    uploads: tuple[str, ...] = ()
    lost: str = ""
    text_url: str = ""


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What every page may show. An empty text leaves its part of the page out.

    `reference` is the reference code; `account` whom we think signed in; `app` what pages call the app
    wanted; `owner` whom to ask (a name, an e-mail address or a URL); `sign_out_url` is shown only beside an
    account.
    """

    reference: str = ""
    account: str = ""
    app: str = ""
    owner: str = ""
    sign_out_url: str = "/.gate/logout"
    stops: tuple[Stop, ...] = ()
    kept: KeptView | None = None


class ProblemStatus(StrEnum):
    """Whether a problem still has to be fixed.

    `DUE` is a problem in its grace period: access works until then.
    """

    TO_DO = "to-do"
    DUE = "due"
    DONE = "done"


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """How a person may go on although a rule is not met. "" leaves a way out.

    `snooze_url` puts the rule off, `ask_url` asks an owner; `waiting` says that an owner has been asked, `link_url` is
    the address that the owner opens, `mail_url` a letter with it.
    """

    snooze_url: str = ""
    snooze: str = ""
    ask_url: str = ""
    ask: str = ""
    waiting: str = ""
    link_url: str = ""
    mail_url: str = ""


class AppState(msgspec.Struct, frozen=True, kw_only=True):
    """Another app of this person, and whether it can be used now on this device."""

    title: str
    url: str
    state: StepState
    text: str


class ProblemView(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to fix, or one that was.

    `key` is stable while the same cause lasts. `is_silence` means that nothing is wrong as far as we know,
    we only have not heard. `text` describes it; `seen` is the value that was detected, `wanted` the one
    needed. `steps` are plain texts from a sensor; `fix_md` and `why_md` come from the configuration. `…_lang` is the
    language of a text where the page is in another one, else "". `waits_for` are the rules that wait for a silent
    sensor. `setting_url` opens the system's own settings, `link_url` says more.
    """

    key: str
    title: str
    status: ProblemStatus
    title_lang: str = ""
    is_silence: bool = False
    text: str = ""
    text_lang: str = ""
    seen: str = ""
    wanted: str = ""
    waits_for: tuple[Words, ...] = ()
    severity: str = ""
    sensor: str = ""
    observed: Moment | None = None
    deadline: Moment | None = None
    why_md: str = ""
    why_lang: str = ""
    why: str = ""
    fix_md: str = ""
    fix_lang: str = ""
    steps: tuple[str, ...] = ()
    own_fix_system: str = ""
    own_fix_md: str = ""
    own_fix_lang: str = ""
    other_fixes: tuple[SystemFix, ...] = ()
    setting_url: str = ""
    link_url: str = ""
    offer: Offer | None = None


class SensorView(msgspec.Struct, frozen=True, kw_only=True):
    """A sensor that the page waits for, and when it last reported (None: never about this device)."""

    name: str
    last: Moment | None = None


class HeldItem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is stored about the device: `source` names the sensor, "" for ourselves."""

    label: str
    value: str
    source: str = ""
    observed: Moment | None = None


class RemediationKind(StrEnum):
    """Which of the remediation pages: they differ in wording and advice, not in their controls."""

    FIX = "fix"
    GRACE = "grace"
    LIMITED = "limited"
    NOTICE = "notice"
    SILENT = "silent"
    UNKNOWN_DEVICE = "unknown-device"
    CLEAR = "clear"


class RemediationView(View, frozen=True, kw_only=True):
    """`/.gate/fix`. `problems` are open ones first, then done ones.

    `can_continue` says whether the wanted app may be used now; when it turns true while the page is open,
    the page takes the person to `continue_url`. `returns_by_itself` does the same without JavaScript (after
    five seconds). `deadline` is when access ends in the grace period. `recheck_url` "" leaves the button
    out. `csrf` is a hidden field of its form. Without JavaScript the page turns to `refresh_url` every 15 seconds,
    unless it `is_still`: `still_url` leads to a page that is, for whoever needs longer to read or to write.
    """

    kind: RemediationKind
    title: str
    lead: str
    access: str
    can_continue: bool
    deadline: Moment | None = None
    device: str = ""
    device_system: str = ""
    device_help: str = ""
    problems: tuple[ProblemView, ...] = ()
    more_problems: int = 0
    waiting: tuple[SensorView, ...] = ()
    held: tuple[HeldItem, ...] = ()
    notice: str = ""
    continue_url: str = ""
    page_url: str = "/.gate/fix"
    recheck_url: str = "/.gate/recheck"
    stream_url: str = "/.gate/status/stream"
    status_url: str = "/.gate/status"
    csrf: str = ""
    returns_by_itself: bool = False
    refresh_url: str = ""
    still_url: str = ""
    is_still: bool = False
    apps: tuple[AppState, ...] = ()

    @property
    def open_count(self) -> int:
        """Number of problems that still have to be fixed, those left out of the page included."""
        return sum(problem.status is not ProblemStatus.DONE for problem in self.problems) + self.more_problems

    @property
    def revision(self) -> str:
        """Short digest of what the page says, relative times left out: it changes when the page has news."""
        said = (
            self.kind,
            self.title,
            self.access,
            self.can_continue,
            self.device,
            self.more_problems,
            [
                (
                    problem.key,
                    problem.title,
                    problem.status,
                    problem.seen,
                    problem.wanted,
                    problem.deadline and problem.deadline.at,
                )
                for problem in self.problems
            ],
            [(sensor.name, sensor.last and sensor.last.at) for sensor in self.waiting],
        )
        return hashlib.sha256(msgspec.json.encode(said)).hexdigest()[:16]


class FileAgain(msgspec.Struct, frozen=True):
    """A file field of a kept form: the names of the files that were chosen, which have to be chosen again."""

    field: str
    filenames: tuple[str, ...]


class ResumeView(View, frozen=True, kw_only=True):
    """`/.gate/resume`: a kept form, to be sent by a click.

    `fields` are its fields exactly as they were, in order; `shown` are the names that may be listed. `can_send` is
    false for what no page can give back to a browser unchanged.
    """

    title: str
    lead: str
    target: str
    fields: tuple[tuple[str, str], ...]
    is_multipart: bool
    shown: tuple[str, ...]
    files: tuple[FileAgain, ...]
    can_send: bool
    typed: Moment
    forget_url: str
    back_url: str


class CarriedView(View, frozen=True, kw_only=True):
    """A form that nobody keeps: this page itself holds it, to be sent by a click.

    Fields and files as in `ResumeView`. `is_own`: the app's own page sent it, and nobody is signed in. `caution` says
    when to send it; `lost` why it cannot be sent, "" when it can. `sign_in_url` is opened beside the page, which holds
    what would be lost.
    """

    title: str
    lead: str
    is_own: bool
    caution: str
    target: str
    fields: tuple[tuple[str, str], ...]
    is_multipart: bool
    shown: tuple[str, ...]
    files: tuple[FileAgain, ...]
    lost: str
    sign_in_url: str
    back_url: str


class BlockedView(View, frozen=True, kw_only=True):
    """Access policy says no, and nothing on the device would change that.

    `reason` is the policy's own text.
    """

    title: str
    lead: str
    reason: str = ""
    reason_lang: str = ""
    advice: tuple[str, ...] = ()
    retry_url: str = ""


class ErrorView(View, frozen=True, kw_only=True):
    """Something went wrong; `code` is for the record. `action_url` "" leaves the button out."""

    status: int
    code: str
    title: str
    lead: str
    advice: tuple[str, ...] = ()
    action_url: str = ""
    action_text: str = ""
    retry_after_s: int | None = None


class SignOutView(View, frozen=True, kw_only=True):
    """Asks whether to sign out: a form to `sign_out_url`.

    `form_targets` are origins that its answer may lead to.
    """

    title: str
    lead: str
    csrf: str = ""
    back_url: str = ""
    form_targets: tuple[str, ...] = ()


class SignedOutView(View, frozen=True, kw_only=True):
    """The session is over.

    `provider_url` ends the session at the provider as well; `provider` is its name.
    """

    title: str
    lead: str
    provider: str = ""
    provider_url: str = ""
    sign_in_url: str = ""


class SignInView(View, frozen=True, kw_only=True):
    """A sign-in is needed and must not happen by itself (a form was sent)."""

    title: str
    lead: str
    sign_in_url: str


class StepUpView(View, frozen=True, kw_only=True):
    """Asks for a stronger or fresher sign-in. `reason` is the policy's own text."""

    title: str
    lead: str
    continue_url: str
    reason: str = ""
    reason_lang: str = ""


class ProviderChoice(msgspec.Struct, frozen=True):
    """One provider that a person may sign in at."""

    label: str
    url: str


class ChooseProviderView(View, frozen=True, kw_only=True):
    """Lets the person choose where to sign in."""

    title: str
    lead: str
    providers: tuple[ProviderChoice, ...]


class RestrictedView(View, frozen=True, kw_only=True):
    """A session control refused something. `limits` says what all is limited in this session."""

    title: str
    lead: str
    control: Limit
    limits: tuple[str, ...] = ()
    reason: str = ""
    reason_lang: str = ""
    fix_url: str = "/.gate/fix"
    back_url: str = ""


class SessionView(msgspec.Struct, frozen=True, kw_only=True):
    """One sign-in of this person, with the name of its device and how that is doing."""

    since: Moment
    last: Moment
    device: str
    is_this: bool
    state: str = ""


class SourceView(msgspec.Struct, frozen=True, kw_only=True):
    """What one sensor says about the device: its name, its last report, how many findings are open."""

    name: str
    last: Moment | None
    findings: str


class TaskView(msgspec.Struct, frozen=True, kw_only=True):
    """A task of the device."""

    title: str
    title_lang: str = ""
    state: str
    due: Moment
    ticket: str = ""


class ExceptionView(msgspec.Struct, frozen=True, kw_only=True):
    """An exception that is in force on the device."""

    rule: str
    by: str
    until: Moment
    rule_lang: str = ""


class ApproveView(View, frozen=True, kw_only=True):
    """Asks an owner whether somebody may go on for some hours. `hours` are the choices; `times` are (label, moment)."""

    title: str
    lead: str
    facts: tuple[tuple[str, Words], ...]
    times: tuple[tuple[str, Moment], ...]
    reason: str
    hours: tuple[tuple[str, str], ...]
    answer_url: str = ""


class MeView(View, frozen=True, kw_only=True):
    """`/.gate/me`: who is signed in since when, on which device, and what is held about it."""

    title: str
    name: str
    email: str = ""
    provider: str = ""
    groups: tuple[str, ...] = ()
    signed_in: Moment | None = None
    ends: Moment | None = None
    device: str = ""
    device_help: str = ""
    compliance: str = ""
    held: tuple[HeldItem, ...] = ()
    fix_url: str = "/.gate/fix"
    sessions: tuple[SessionView, ...] = ()
    sources: tuple[SourceView, ...] = ()
    tasks: tuple[TaskView, ...] = ()
    exceptions: tuple[ExceptionView, ...] = ()
    data_url: str = "/.gate/me/data"
    everywhere_url: str = "/.gate/me/sign-out-everywhere"


def status_payload(view: RemediationView) -> dict[str, object]:
    """Return what `/.gate/status` and each event of `/.gate/status/stream` say as JSON.

    `state` is `paused`, `clear`, or `open` (access works, something is still to fix). A page whose own
    `revision` differs fetches itself again; a page that was paused and learns `can_continue` leads back to
    `continue_url`.
    """
    state = "open" if view.can_continue else "paused"
    if view.kind is RemediationKind.CLEAR:
        state = "clear"
    return {
        "state": state,
        "kind": str(view.kind),
        "can_continue": view.can_continue,
        "revision": view.revision,
        "title": view.title,
        "message": view.access,
        "open": view.open_count,
        "problems": [
            {"key": problem.key, "title": problem.title, "status": str(problem.status)}
            for problem in view.problems
        ],
        "waiting": [
            {"sensor": sensor.name, "last": sensor.last.at.isoformat() if sensor.last else None}
            for sensor in view.waiting
        ],
        "continue_url": view.continue_url,
    }
