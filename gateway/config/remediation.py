"""The sections `remediation` and `pages`: kept forms, tasks and who is told of them, exceptions, texts and looks."""

from typing import Annotated

import msgspec

from risk.model import Severity
from risk.values import ByteSize, Duration, Secret, Strict

TargetName = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
"""Name of a target: lower-case letters, digits, dot, dash, underscore."""

Colour = Annotated[str, msgspec.Meta(pattern=r"^#[0-9a-fA-F]{6}$")]
"""A colour as `#rrggbb`."""

DAY = 86400.0


class KeptForms(Strict, frozen=True):
    """What people typed and could not send because their access had ended: sealed, offered again after their return.

    Only whoever typed it gets it back, on the same device, by an explicit click.

    Field: keep: how long a form is kept; `0s` keeps none.
    Field: bytes: most bytes of one form without its files (files are never kept, they are named).
    Field: per_user: most forms of one person; the oldest goes.
    Field: most: most forms of all; the oldest goes.
    """

    keep: Duration = 1800.0
    bytes: ByteSize = 1048576
    per_user: int = 5
    most: int = 1000


class Sla(Strict, frozen=True):
    """How long a task of a severity may stay open; breached tasks are told to the targets.

    Field: critical: for critical ones.
    Field: high: for high ones.
    Field: medium: for medium ones.
    Field: low: for low ones, and those for information.
    """

    critical: Duration = DAY
    high: Duration = 3 * DAY
    medium: Duration = 14 * DAY
    low: Duration = 30 * DAY

    def of(self, severity: Severity) -> float:
        """Return the seconds for a severity; one that is unknown counts as medium."""
        match severity:
            case Severity.CRITICAL:
                return self.critical
            case Severity.HIGH:
                return self.high
            case Severity.LOW | Severity.INFORMATIONAL:
                return self.low
            case _:
                return self.medium


class TaskTarget(Strict, frozen=True):
    """Who is told of tasks: a signed POST (Standard Webhooks 1.0) for every change, retried until it is taken.

    Field: name: how logs and the command line call this target.
    Field: url: `https://` address (`http://` only on loopback). Nothing else is ever called; redirects are not
        followed.
    Field: secrets: one or two `whsec_…` secrets; a delivery is signed with each, so that the receiver can rotate.
    Field: events: which changes are told: of `opened`, `in-progress`, `verifying`, `resolved`, `reopened`, `overdue`,
        `changed`; default: all.
    Field: severity: lowest severity of tasks that are told of.
    Field: ca: PEM bundle that signs the target's certificate; default: the system store.
    Field: timeout: time for one attempt.
    Field: give_up: how long an event is tried; after that it is kept as failed.
    """

    name: TargetName
    url: str
    secrets: tuple[Secret, ...]
    events: tuple[str, ...] = ()
    severity: Severity = Severity.INFORMATIONAL
    ca: str | None = None
    timeout: Duration = 15.0
    give_up: Duration = 3 * DAY


class Tasks(Strict, frozen=True):
    """Security tasks: what has to be fixed on which device, until when, and who is told.

    Field: sla: how long a task may stay open, by severity.
    Field: targets: who is told of changes.
    Field: keep: how long resolved tasks are kept.
    Field: most: most tasks that are kept.
    """

    sla: Sla = Sla()
    targets: tuple[TaskTarget, ...] = ()
    keep: Duration = 90 * DAY
    most: int = 100000


class Snooze(Strict, frozen=True):
    """A rule that people may put off by themselves for a while; every time is recorded with their reason.

    Field: rule: `policy/rule`, or a policy for all of its rules.
    Field: lasts: how long one time lasts.
    Field: times: how often, per device and `per`.
    Field: per: the window in which `times` counts.
    """

    rule: str
    lasts: Duration = 4 * 3600.0
    times: int = 1
    per: Duration = 7 * DAY


class Approval(Strict, frozen=True):
    """A rule from which a named owner may except a device for some hours, asked by the person in front of it.

    Field: rule: `policy/rule`, or a policy for all of its rules.
    Field: owners: e-mail addresses or subjects of those who may grant it; never whoever asks.
    Field: lasts: longest time that can be granted.
    Field: answer_within: how long a request can be answered.
    """

    rule: str
    owners: tuple[str, ...]
    lasts: Duration = 4 * 3600.0
    answer_within: Duration = 8 * 3600.0


class Remediation(Strict, frozen=True):
    """What brings people back to work.

    Field: forms: what people typed and could not send.
    Field: tasks: security tasks and who is told of them.
    Field: snoozes: rules that people may put off by themselves.
    Field: approvals: rules from which an owner may except a device.
    """

    forms: KeptForms = KeptForms()
    tasks: Tasks = Tasks()
    snoozes: tuple[Snooze, ...] = ()
    approvals: tuple[Approval, ...] = ()


class PageStyle(Strict, frozen=True):
    """Texts and looks of the pages, of the whole deployment or of one app.

    Field: brand: what the head of every page says.
    Field: logo: SVG or PNG file shown beside it, at most 64 KiB; it stands in the page itself.
    Field: accent: colour of buttons and links on light ground, as `#rrggbb`; it must have a contrast of at least 4.5
        to white.
    Field: accent_dark: the same for dark ground; at least 4.5 to the dark ground.
    Field: texts: folder of message catalogues `<language>.po` that replace texts; see `docs/texts.md`.
    """

    brand: str = ""
    logo: str | None = None
    accent: Colour | None = None
    accent_dark: Colour | None = None
    texts: str | None = None


class PageSettings(Strict, frozen=True):
    """The pages that people see.

    Field: style: of the whole deployment.
    Field: apps: by app name, what is different there.
    Field: languages: languages that are offered, the first is the default; default: all there are.
    Field: help_url: page about the gateway in your own words, linked from every page.
    """

    style: PageStyle = PageStyle()
    apps: dict[str, PageStyle] = msgspec.field(default_factory=dict)
    languages: tuple[str, ...] = ()
    help_url: str = ""
