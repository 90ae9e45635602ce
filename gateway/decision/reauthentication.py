"""The re-authentication interval of session profiles, as the access policies that it means. Pure."""

from collections.abc import Iterable

import msgspec

from compliance.model import AccessPolicy, Outcome, StepUp
from gateway.config.profiles import SessionProfile

SIGN_IN_SUFFIX = " (sign-in)"
"""What follows the name of a policy in the name of the one that asks for a fresh sign-in."""


def with_reauthentication(
    policies: Iterable[AccessPolicy], profiles: Iterable[SessionProfile]
) -> tuple[AccessPolicy, ...]:
    """Return `policies`, each with a profile that bounds the age of the sign-in followed by one that asks for it.

    Whoever such a policy limits, in the very same cases, is asked to sign in again once the sign-in is too old. As any
    `step-up` it counts before `restrict`, and tickets end at the moment when it begins to.
    """
    bounds = {each.name: each.reauthenticate for each in profiles}
    found: list[AccessPolicy] = []
    for policy in policies:
        found.append(policy)
        ages = [age for age in (bounds.get(name) for name in policy.profiles) if age is not None]
        if policy.decision is Outcome.RESTRICT and ages:
            found.append(
                msgspec.structs.replace(
                    policy,
                    name=policy.name + SIGN_IN_SUFFIX,
                    decision=Outcome.STEP_UP,
                    controls=(),
                    profiles=(),
                    step_up=StepUp(max_age=min(ages)),
                )
            )
    return tuple(found)
