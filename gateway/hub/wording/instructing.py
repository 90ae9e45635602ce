"""What a rule says to do, and why, in the reader's language and for the device's operating system. Pure."""

import msgspec

from compliance.model import RuleResult
from gateway.hub.texts import text
from gateway.hub.views import ProblemView, SystemFix, Words
from gateway.hub.wording.context import PageContext, localised
from gateway.hub.wording.systems import instructions
from gateway.hub.wording.untrusted import MARKDOWN_MAX, clean
from gateway.localised import Texts


class Fix(msgspec.Struct, frozen=True, kw_only=True):
    """What to do: on every system, on this one, and on others."""

    common: Words
    own: Words = Words()
    others: tuple[SystemFix, ...] = ()


def with_fix(problem: ProblemView, result: RuleResult, context: PageContext) -> ProblemView:
    """Return a problem with what its rule says to do; where the rule says nothing, its steps stay."""
    fix = fix_of(result, context)
    return msgspec.structs.replace(
        problem,
        fix_md=fix.common.text,
        fix_lang=fix.common.lang,
        own_fix_md=fix.own.text,
        own_fix_lang=fix.own.lang,
        own_fix_system=text(f"system_{context.system}") if fix.own.text else "",
        other_fixes=fix.others,
        steps=() if result.fix.strip() else problem.steps,
    )


def fix_of(result: RuleResult, context: PageContext) -> Fix:
    """Return what a rule says to do on the device's platform.

    While no sensor has told that, it is what is said for all, for the browser's system, and for others beside it.
    """
    given = context.texts.rule(result.policy, result.rule)
    if given.fixes and not context.platform:
        fixes = {system: _markdown(texts) for system, texts in given.fixes.items()}
        return Fix(
            common=_markdown(given.fix),
            own=fixes.pop(context.system, Words()),
            others=tuple(
                SystemFix(text(f"system_{system}"), each.text, each.lang) for system, each in fixes.items()
            ),
        )
    texts = given.fixes.get(context.platform) or given.fix
    whole = _markdown(texts) if texts else Words(clean(result.fix, MARKDOWN_MAX, keep_lines=True))
    parts = instructions(whole.text, context.system)
    return Fix(
        common=Words(parts.common, whole.lang),
        own=Words(parts.own, whole.lang if parts.own else ""),
        others=tuple(SystemFix(text(f"system_{each}"), body, whole.lang) for each, body in parts.others),
    )


def why_of(result: RuleResult | None, context: PageContext) -> Words:
    """Return why a rule matters."""
    if result is None:
        return Words()
    given = context.texts.rule(result.policy, result.rule).why
    return _markdown(given) if given else Words(clean(result.why, MARKDOWN_MAX, keep_lines=True))


def _markdown(texts: Texts) -> Words:
    return localised(texts, MARKDOWN_MAX, keep_lines=True)
