"""The words about exceptions: what a person may do about a rule, and what an owner is asked. Pure."""

from urllib.parse import quote

from gateway.hub.texts import text
from gateway.hub.views import ApproveView, BlockedView, Offer, Words
from gateway.hub.wording.context import PageContext
from gateway.hub.wording.times import lasting
from gateway.hub.wording.untrusted import NAME_MAX, SENTENCE_MAX, clean
from gateway.remediation.exceptions import Ask, Granted

_HOUR_S = 3600.0
_HOURS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 24.0)


def offer(
    context: PageContext,
    *,
    query: str,
    policy: str,
    rule: str,
    snooze_s: float = 0.0,
    ask_s: float = 0.0,
    waiting: Ask | None = None,
    approve_url: str = "",
) -> Offer:
    """Return what a person may do about a rule; 0 seconds leave a way out. `query` is that of the page."""
    ends = f"p={quote(policy, safe='')}&r={quote(rule, safe='')}" + (f"&{query}" if query else "")
    if waiting is not None:
        subject = quote(text("ask_mail_subject", person=clean(context.account, NAME_MAX)))
        body = quote(text("ask_mail_body", url=approve_url, reason=waiting.reason))
        to = quote(",".join(owner for owner in waiting.owners if "@" in owner), safe="@,+")
        owners = text("list_comma").join(clean(each, NAME_MAX) for each in waiting.owners)
        return Offer(
            waiting=text("ask_waiting", owners=owners),
            link_url=approve_url,
            mail_url=f"mailto:{to}?subject={subject}&body={body}",
        )
    return Offer(
        snooze_url=f"/.gate/snooze?{ends}" if snooze_s else "",
        snooze=text("snooze_go", length=lasting(snooze_s)) if snooze_s else "",
        ask_url=f"/.gate/ask?{ends}" if ask_s else "",
        ask=text("ask_go", length=lasting(ask_s)) if ask_s else "",
    )


def approve(context: PageContext, ask: Ask, *, answer_url: str) -> ApproveView:
    """Return the view in which an owner answers."""
    policy, _, name = ask.rule.partition("/")
    rule = context.rule_title(policy, name, ask.title)
    return ApproveView(
        title=text("approve_title", person=clean(ask.person_name, NAME_MAX)),
        lead=text("approve_lead"),
        facts=(
            (text("device_label"), Words(clean(ask.device, NAME_MAX) or text("your_device"))),
            (text("approve_rule"), rule if rule.text else Words(ask.rule)),
        ),
        times=(
            (text("approve_asked"), context.moment(ask.asked_at)),
            (text("approve_by"), context.moment(ask.answer_by)),
        ),
        reason=clean(ask.reason, SENTENCE_MAX),
        hours=tuple(
            (f"{hours:g}", lasting(hours * _HOUR_S)) for hours in _HOURS if hours * _HOUR_S <= ask.longest_s
        )
        or ((f"{ask.longest_s / _HOUR_S:g}", lasting(ask.longest_s)),),
        answer_url=answer_url,
        account=clean(context.account, NAME_MAX),
        sign_out_url=context.sign_out_url,
    )


def approved(context: PageContext, granted: Granted | None) -> BlockedView:
    """Return what an owner sees after the answer; None is a refusal."""
    if granted is None:
        title, lead = text("approved_no_title"), text("approved_no_lead")
    else:
        until = context.moment(granted.expires_at)
        title = text("approved_yes_title")
        lead = text(
            "approved_yes_lead", person=clean(granted.person_name, NAME_MAX), until=until.text, ago=until.ago
        )
    return BlockedView(
        title=title, lead=lead, account=clean(context.account, NAME_MAX), sign_out_url=context.sign_out_url
    )
