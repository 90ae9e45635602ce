"""What people and programs see when a sign-in fails: words, place, reference, one form of problem."""

import json
from datetime import UTC, datetime

import pytest
from aiohttp.test_utils import make_mocked_request

from gateway.hub.pages import Pages
from gateway.hub.signin_pages import HubSignInPages
from gateway.hub.signin_views import PageAction, Refusal

PAGES = HubSignInPages(Pages(), lambda: datetime(2026, 11, 22, tzinfo=UTC))
AWAY = Refusal(
    status=503,
    code="provider-unreachable",
    words="provider-unavailable",
    provider="Corp <sign-in>",
    app="Notes",
    owner="it@corp.example",
    action=PageAction("https://app.corp.example/a", "Try again"),
    retry_after_s=10,
)


def request(kind: str):
    return make_mocked_request("GET", "/.gate/login", headers={"X-Gate-Client-Kind": kind})


def test_a_page_says_what_where_and_whom_to_ask():
    response = PAGES.error(request("browser"), AWAY, reference="ABCD-2345")
    page = response.text
    assert (response.status, response.headers["Retry-After"]) == (503, "10")
    for part in (
        "We can&#39;t reach the sign-in service",
        "Corp &lt;sign-in&gt;",
        "Notes",
        "it@corp.example",
        "ABCD-2345",
        'href="https://app.corp.example/a"',
        "Not answering",
        "about 10 seconds",
    ):
        assert part in page, part
    assert "<sign-in>" not in page


@pytest.mark.parametrize("kind", ["api", "websocket", ""])
def test_programs_get_the_same_as_a_problem(kind):
    response = PAGES.error(request(kind), AWAY, reference="ABCD-2345")
    assert response.content_type == "application/problem+json"
    assert response.headers["Retry-After"] == "10"
    document = json.loads(response.body)
    assert document["type"] == "urn:posturegate:problem:provider-unreachable"
    assert document["code"] == "provider-unreachable"
    assert (document["status"], document["reference"]) == (503, "ABCD-2345")
    assert document["title"] == "We can't reach the sign-in service"


def test_own_words_come_before_the_general_ones():
    refusal = Refusal(
        status=403, code="x-y", words="provider-refused", title="T1", text="Text one.", advice=("A1",)
    )
    page = PAGES.error(request("browser"), refusal, reference="ABCD-2345").text
    for part in ("T1", "Text one.", "A1", "Did not work"):
        assert part in page, part
    assert "If you pressed Cancel" not in page
