"""Makes the pages that workers have ready for when we cannot be asked, in every language of the deployment."""

from datetime import datetime
from http import HTTPStatus

from gateway.hub import wording
from gateway.hub.ambience import Ambience
from gateway.hub.pages import Pages
from gateway.wire.problem import RETRY_AFTER_S
from gateway.wire.spare import SparePage, SparePages, pack

CODES = {
    400: "bad-request",
    405: "method-not-allowed",
    408: "request-timeout",
    413: "too-large",
    414: "fields-too-large",
    417: "bad-request",
    421: "misdirected",
    429: "too-many-requests",
    431: "fields-too-large",
    500: "internal",
    502: "cannot-check",
    503: "restarting",
    504: "cannot-check",
    505: "bad-request",
}
"""Which words go with a status. An app that fails is told of by the hub: here it is the hub that cannot be asked."""


def spare_pages(pages: Pages, ambience: Ambience, now: datetime) -> bytes:
    """Return the pages, packed for the settings of workers. Takes a while: on a thread of its own beside traffic."""
    made: dict[int, dict[str, SparePage]] = {status: {} for status in CODES}
    for language in ambience.languages:
        with ambience.entered(language, "", "/"):
            for status, code in CODES.items():
                wait_s = RETRY_AFTER_S if status == HTTPStatus.SERVICE_UNAVAILABLE else None
                view = wording.error(wording.PageContext(now=now), code, status=status, retry_after_s=wait_s)
                answer = pages.error(view)
                headers = [(str(name), value) for name, value in answer.headers.items()]
                made[status][language] = SparePage((*headers, ("Server", "posturegate")), str(answer.text))
    return pack(SparePages(ambience.languages, made))
