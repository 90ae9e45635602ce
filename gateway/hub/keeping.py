"""What became of a form that could not be sent, between whoever kept it and the pages. Pure."""

from datetime import datetime

import msgspec

from gateway.hub import wording
from gateway.hub.views import KeptView
from gateway.remediation.forms import Lost, Upload


class Keeping(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a form: kept under `key` until `until`, or `lost`."""

    key: str = ""
    until: datetime | None = None
    uploads: tuple[Upload, ...] = ()
    lost: Lost | None = None

    @property
    def resume_url(self) -> str:
        """Where it can be sent, "" when it is not kept."""
        return f"/.gate/resume?f={self.key}" if self.key else ""


def kept_view(context: wording.PageContext, kept: Keeping, *, is_signed_in: bool = False) -> KeptView:
    """Return what a page says of it; only somebody who is signed in is offered the text."""
    return wording.kept(
        context,
        until=kept.until,
        uploads=kept.uploads,
        lost=kept.lost,
        text_url=f"/.gate/resume/text?f={kept.key}" if is_signed_in and kept.key else "",
    )
