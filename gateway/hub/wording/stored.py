"""What is stored about a device, for the person who uses it. Pure."""

from compliance.model import AccessContext
from gateway.hub.texts import text
from gateway.hub.views import HeldItem
from gateway.hub.wording.context import PageContext, device_inside
from gateway.hub.wording.measured import fact_name, kind_name
from gateway.hub.wording.to_fix import HELD_MAX
from gateway.hub.wording.untrusted import NAME_MAX, TITLE_MAX, clean, sensor_label
from risk.model import Posture


def device_help(access: AccessContext) -> str:
    """Return what a person on another device than we think can do."""
    if access.device_id is None:
        return text("device_help_unknown")
    source = access.device_source.partition(" ")[0]  # `claim device_id`, `certificate subject.CN`
    if source in {"claim", "certificate"}:
        return text(f"device_help_{source}", device=device_inside(access))
    return text("device_help_other")


def held(posture: Posture | None, context: PageContext) -> tuple[HeldItem, ...]:
    """Return what is stored about the device: identifiers, facts, open findings, last reports.

    At most `HELD_MAX`.
    """
    if posture is None:
        return ()
    items = [
        HeldItem(
            label=clean(kind_name(identifier.kind), NAME_MAX),
            value=clean(identifier.value, TITLE_MAX),
            source=sensor_label(identifier.issuer, context.sensor_labels) if identifier.issuer else "",
        )
        for identifier in posture.identifiers
    ]
    items += [
        HeldItem(
            label=clean(fact_name(fact.name), NAME_MAX),
            value=clean(_shown(fact.value), TITLE_MAX),
            source=sensor_label(fact.sensor, context.sensor_labels),
            observed=context.moment(fact.observed_at),
        )
        for fact in posture.facts.values()
    ]
    items += [
        HeldItem(
            label=text("held_finding"),
            value=clean(finding.title, TITLE_MAX) or text("problem_finding_title"),
            source=sensor_label(finding.sensor, context.sensor_labels),
            observed=context.moment(finding.observed_at),
        )
        for finding in posture.findings.values()
        if finding.is_open
    ]
    items += [
        HeldItem(
            label=text("held_heard"),
            value=context.moment(at).text,
            source=sensor_label(name, context.sensor_labels),
            observed=context.moment(at),
        )
        for name, at in posture.heard.items()
    ]
    return tuple(items[:HELD_MAX])


def _shown(value: str | float | bool | None) -> str:
    if isinstance(value, bool):
        return text("value_yes") if value else text("value_no")
    return text("value_none") if value is None else str(value)
