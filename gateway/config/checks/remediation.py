"""Checks of `remediation` and `pages`: who is told, which rules may be put off, texts and looks."""

from compliance.model import CompliancePolicy
from gateway.config.checks.forms import is_loopback, is_whsec, parse_url
from gateway.config.checks.shared import Checks
from gateway.config.errors import Code, KeyPath, did_you_mean, shown
from gateway.config.remediation import (
    Approval,
    KeptForms,
    PageSettings,
    Remediation,
    Sla,
    Snooze,
    Tasks,
    TaskTarget,
)

EVENTS = ("opened", "in-progress", "verifying", "resolved", "reopened", "overdue", "changed")
MAX_SECRETS = 2
MAX_KEEP_S = 24 * 3600.0
MAX_FORM_BYTES = 16 * 1024 * 1024
MAX_EXCEPTION_S = 7 * 86400.0


def check_remediation(checks: Checks, path: KeyPath, remediation: Remediation) -> None:
    """Check that each rule has at most one way to be put off, and one to be granted."""
    checks.unique(
        [((*path, "snoozes", at, "rule"), each.rule) for at, each in enumerate(remediation.snoozes)],
        "snoozes",
    )
    checks.unique(
        [((*path, "approvals", at, "rule"), each.rule) for at, each in enumerate(remediation.approvals)],
        "approvals",
    )


def check_kept_forms(checks: Checks, path: KeyPath, forms: KeptForms) -> None:
    """Check that forms are kept for minutes and within what a worker hands over."""
    checks.positive(path, forms, "bytes", "per_user", "most")
    if forms.keep > MAX_KEEP_S:
        checks.fault(Code.RANGE, (*path, "keep"), "forms are kept for at most a day")
    if forms.bytes > MAX_FORM_BYTES:
        checks.fault(Code.RANGE, (*path, "bytes"), "a form has at most 16 MiB")


def check_tasks(checks: Checks, path: KeyPath, tasks: Tasks) -> None:
    """Check the bounds, and that no two targets have one name."""
    checks.positive(path, tasks, "keep", "most")
    checks.unique(
        [((*path, "targets", at, "name"), each.name) for at, each in enumerate(tasks.targets)], "targets"
    )


def check_sla(checks: Checks, path: KeyPath, sla: Sla) -> None:
    """Check that there is time."""
    checks.positive(path, sla, "critical", "high", "medium", "low")


def check_target(checks: Checks, path: KeyPath, target: TaskTarget) -> None:
    """Check where a target is, and what a delivery is signed with."""
    checks.positive(path, target, "timeout", "give_up")
    url = parse_url(target.url)
    if url is None or url.scheme not in ("https", "http") or url.username or url.fragment:
        checks.fault(
            Code.URL, (*path, "url"), f"{shown(target.url)} is no address of a target", "`https://…`"
        )
    elif url.scheme == "http" and not is_loopback(url.hostname or ""):
        message = f"{shown(target.url)} sends tasks in clear text"
        checks.fault(Code.UNSAFE, (*path, "url"), message, "`https://`; `http://` only on loopback")
    if not 1 <= len(target.secrets) <= MAX_SECRETS:
        checks.fault(Code.SECRET, (*path, "secrets"), "a target has one or two secrets")
    for at, secret in enumerate(target.secrets):
        if not is_whsec(secret):
            message = "a secret is `whsec_` and base64 of 24 to 64 bytes"
            hint = "echo whsec_$(openssl rand -base64 32)"
            checks.fault(Code.SECRET, (*path, "secrets", at), message, hint)
    for at, event in enumerate(target.events):
        if event not in EVENTS:
            hint = did_you_mean(event, EVENTS) or ", ".join(EVENTS)
            checks.fault(
                Code.UNKNOWN_WORD, (*path, "events", at), f"no change is called {shown(event)}", hint
            )
    checks.bundle((*path, "ca"), target.ca)


def check_snooze(checks: Checks, path: KeyPath, snooze: Snooze) -> None:
    """Check that a rule exists and is put off within bounds."""
    _rule(checks, (*path, "rule"), snooze.rule)
    checks.positive(path, snooze, "lasts", "times", "per")
    if snooze.lasts > MAX_EXCEPTION_S:
        checks.fault(Code.RANGE, (*path, "lasts"), "a rule is put off for at most seven days")


def check_approval(checks: Checks, path: KeyPath, approval: Approval) -> None:
    """Check that a rule exists, that somebody may grant, and for how long."""
    _rule(checks, (*path, "rule"), approval.rule)
    checks.positive(path, approval, "lasts", "answer_within")
    if not approval.owners:
        checks.fault(Code.COMPLIANCE_RULE, (*path, "owners"), "nobody may grant it: the list is empty")
    if approval.lasts > MAX_EXCEPTION_S:
        checks.fault(Code.RANGE, (*path, "lasts"), "an exception lasts at most seven days")


def _rule(checks: Checks, path: KeyPath, name: str) -> None:
    policies = [policy for _, policy in checks.all(CompliancePolicy)]
    known = [f"{policy.name}/{rule.name}" for policy in policies for rule in policy.rules]
    known += [policy.name for policy in policies]
    if name not in known:
        message = f"no rule or policy is named {shown(name)}"
        checks.fault(Code.UNKNOWN_NAME, path, message, did_you_mean(name, known))


def check_pages(checks: Checks, path: KeyPath, pages: PageSettings) -> None:
    """Check that texts, logos and colours can be used, by loading them."""
    if pages == PageSettings():
        return
    # Only a configuration with texts or looks of its own pays for reading catalogues here.
    from gateway.hub.ambience import StyleFault, load_ambience  # noqa: PLC0415
    from gateway.hub.texts.catalogue import CatalogueFault  # noqa: PLC0415

    for name in pages.apps:
        checks.reference((*path, "apps", name), name, "apps", "app")
    try:
        load_ambience(pages, checks.base, tuple(pages.apps))
    except CatalogueFault as fault:
        where = (*path, "languages") if "no catalogue" in str(fault) else path
        checks.fault(Code.FORM, where, str(fault))
    except StyleFault as fault:
        checks.fault(Code.FORM, (*path, "style", fault.key), str(fault))
    except OSError as error:
        checks.fault(Code.FILE_NEEDED, path, f"{error.filename}: {error.strerror}")
