"""The section `risk`: what several findings mean together, and how names of devices join."""

from typing import Annotated

import msgspec

from risk.correlation import Correlation, Decay
from risk.joining import JoinRules
from risk.values import Strict

Domain = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]
"""A DNS domain in lower case, without dots around it."""


class Risk(Strict, frozen=True):
    """How findings become a risk level beyond *the worst one wins*; see `docs/devices.md`.

    Field: correlation: what several open findings mean together.
    Field: decay: how a finding still counts after it was resolved.
    Field: join_hostnames: whether a hostname joins a statement to the one device that has the name; else what names a
        device by nothing but its hostname waits apart.
    Field: hostname_domains: domains that are left out of hostnames: with `corp.example`, `LT-014.corp.example` is
        `lt-014`.
    Field: max_parked: how many names of devices that nobody knows wait at most; what names another is a dead letter.
    """

    correlation: tuple[Correlation, ...] = ()
    decay: tuple[Decay, ...] = ()
    join_hostnames: bool = False
    hostname_domains: tuple[Domain, ...] = ()
    max_parked: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 50_000

    @property
    def joining(self) -> JoinRules:
        """How names of devices join."""
        return JoinRules(
            joins_hostnames=self.join_hostnames, domains=self.hostname_domains, max_parked=self.max_parked
        )
