"""Every page renders, says what it must, carries strict headers, and shows hostile texts as text."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import msgspec
import pytest

from gateway.hub import pages as pages_module
from gateway.hub import wording
from gateway.hub.pages import Pages, problem
from gateway.hub.views import ErrorView, ProviderChoice
from tests.unit.hub import page_samples as samples
from tests.unit.hub.page_samples import SAMPLES, WANTED, context

PAGES = Pages()
SIZE_MAX = 30_000


class Outline(HTMLParser):
    """Collects the tags of a page, its attributes and what it shows."""

    VOID = frozenset({"meta", "link", "input", "br", "img", "circle", "path", "rect", "hr"})

    def __init__(self, html):
        super().__init__()
        self.tags = []
        self.stack = []
        self.shown = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.stack.pop() == tag

    def handle_data(self, data):
        if not {"script", "style"} & set(self.stack):
            self.shown += data + " "

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def allowed(policy, directive):
    return next(part for part in policy.split("; ") if part.startswith(directive + " "))


@pytest.fixture(params=SAMPLES)
def response(request):
    return SAMPLES[request.param](PAGES)


def test_every_page_is_well_formed_and_has_one_outline(response):
    page = Outline(response.text)
    assert page.stack == []
    assert len(page.all("h1")) == 1
    assert [len(page.all(tag)) for tag in ("html", "header", "main", "footer")] == [1, 1, 1, 1]
    assert page.all("html")[0]["lang"] == "en"
    assert response.text.startswith("<!doctype html>")
    assert "{{" not in response.text
    assert "None" not in page.shown


def test_every_page_loads_nothing_from_anywhere(response):
    """One document: no source attribute, no style or handler attribute, one data: icon."""
    page = Outline(response.text)
    for tag, attrs in page.tags:
        assert "src" not in attrs
        assert "style" not in attrs
        assert not [name for name in attrs if name.startswith("on")], tag
    assert [attrs["href"][:5] for attrs in page.all("link")] == ["data:"]


def test_every_page_has_strict_headers(response):
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    for part in ("img-src data:", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"):
        assert part in policy.split("; ")
    assert "unsafe" not in policy
    assert "*" not in policy
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] in {"no-referrer", "same-origin", "strict-origin"}
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"


def test_the_content_policy_allows_exactly_the_style_and_scripts_of_the_page(response):
    policy = response.headers["Content-Security-Policy"]
    for tag, directive in (("style", "style-src"), ("script", "script-src")):
        for source in re.findall(rf"<{tag}>(.*?)</{tag}>", response.text, re.DOTALL):
            digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
            assert f"'sha256-{digest}'" in allowed(policy, directive)


def test_a_page_with_a_form_lets_the_browser_send_its_origin(response):
    """Under `no-referrer` a form sends `Origin: null`, and the hub's check of the origin would refuse it."""
    has_form = bool(Outline(response.text).all("form"))
    policy = allowed(response.headers["Content-Security-Policy"], "form-action")
    if has_form:
        assert response.headers["Referrer-Policy"] in {"same-origin", "strict-origin"}
        assert policy.startswith("form-action 'self'")
    elif response.headers["Referrer-Policy"] == "no-referrer":
        assert policy == "form-action 'none'"


@pytest.mark.parametrize("name", [name for name in SAMPLES if name != "fix-hostile"])
def test_every_page_is_small(name):
    assert len(SAMPLES[name](PAGES).body) < SIZE_MAX


def test_the_scripts_are_small_and_write_no_html():
    for source in (pages_module.SCRIPT, pages_module.LIVE_SCRIPT, pages_module.RESUME_SCRIPT):
        assert len(source) < 5000
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|</", source)


@pytest.mark.parametrize("name", SAMPLES)
def test_the_reference_code_is_on_every_page_that_has_one(name):
    response = SAMPLES[name](PAGES)
    without = {"sign-out", "signed-out", "choose-provider", "me", "me-full", "resume", "approve", "approved"}
    has_code = name not in without and not name.startswith("carried")
    assert (f'<b class="code">{samples.REFERENCE}</b>' in response.text) is has_code


# --- the remediation page ----------------------------------------------------------------------------------


def test_the_remediation_page_says_everything_a_person_needs():
    shown = " ".join(Outline(SAMPLES["fix-risk"](PAGES).text).shown.split())
    for words in (
        "ANA-MBP needs attention before you can open Payroll",
        "Signed in as ana@corp.example",
        "Access to Payroll is paused until this is fixed.",
        "To do A program that steals passwords was found",
        "invoice_2026.pkg",
        "How to fix it Do not open the file.",
        "Why it matters It copies saved passwords",
        "How serious Serious",
        "Found by Wazuh",
        "When Fri 20 Nov, 13:58 UTC 4 minutes ago",
        "Wazuh last reported 4 minutes ago",
        "Check again",
        "Not you?",
        "Not this device?",
        "What we hold about this device",
        "Done",
    ):
        assert words in shown


@pytest.mark.parametrize("status", [403, 200])
def test_the_caller_chooses_the_status(status):
    assert PAGES.remediation(samples.fix_risk(), status=status).status == status


def test_check_again_is_a_form_with_its_token():
    html = PAGES.remediation(msgspec.structs.replace(samples.fix_risk(), csrf='a"b')).text
    page = Outline(html)
    assert page.all("form") == [{"id": "recheck", "method": "post", "action": "/.gate/recheck"}]
    assert {"type": "hidden", "name": "csrf", "value": 'a"b'} in page.all("input")


def test_the_page_refreshes_itself_only_while_access_is_paused():
    refresh = '<noscript><meta http-equiv="refresh" content="15;url={}"></noscript>'
    assert refresh.format("/.gate/fix") in SAMPLES["fix-risk"](PAGES).text
    waits = msgspec.structs.replace(samples.fix_risk(), refresh_url="/.gate/fix?c=1&w=1")
    assert refresh.format("/.gate/fix?c=1&amp;w=1") in PAGES.remediation(waits).text
    assert "http-equiv" not in SAMPLES["fix-grace"](PAGES).text
    assert "http-equiv" not in SAMPLES["fix-clear"](PAGES).text


def test_without_javascript_whoever_needs_time_can_have_the_page_stay():
    """WCAG 2.2.1: the refresh can be turned off, and on again."""
    view = msgspec.structs.replace(
        samples.fix_risk(), refresh_url="/.gate/fix?w=1", still_url="/.gate/fix?still=1"
    )
    assert '<a href="/.gate/fix?still=1">' in PAGES.remediation(view).text
    still = PAGES.remediation(msgspec.structs.replace(view, is_still=True)).text
    assert "http-equiv" not in still
    assert '<a href="/.gate/fix?w=1">' in still


def test_without_javascript_the_clear_page_leads_back_when_asked_to():
    view = msgspec.structs.replace(samples.fix_clear(), returns_by_itself=True)
    assert f'<meta http-equiv="refresh" content="5;url={WANTED}">' in PAGES.remediation(view).text


def test_times_are_machine_readable():
    assert (
        '<time datetime="2026-11-20T13:58:11+00:00">Fri 20 Nov, 13:58 UTC</time>'
        in SAMPLES["fix-risk"](PAGES).text
    )


def test_the_page_of_a_silent_sensor_shows_nothing_as_dangerous():
    shown = Outline(SAMPLES["fix-silent"](PAGES).text).shown
    assert "How serious" not in shown
    assert "Found by" not in shown


# --- hostile texts -----------------------------------------------------------------------------------------


def test_hostile_texts_are_shown_as_text():
    html = SAMPLES["fix-hostile"](PAGES).text
    page = Outline(html)
    assert len(page.all("script")) == 2
    assert page.all("img") == []
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert not re.search("[\u202a-\u202e\u2066\u2067\u200e\u200f]", html)
    assert not re.search("W{600}", html)
    assert "javascript:" not in html
    assert len(html) < 120_000


def test_even_a_view_that_nobody_cleaned_is_harmless():
    view = ErrorView(
        status=400,
        code="x",
        title="<b>\u202eevil\x00" + "x" * 50_000,
        lead="</p><script>alert(1)</script>",
        advice=("\x1b[2J",),
        action_url="javascript:alert(1)",
        action_text="<i>go</i>",
        account="</header>",
        owner='"><img src=x>',
        reference="<u>",
    )
    html = PAGES.error(view).text
    page = Outline(html)
    assert len(page.all("script")) == 1
    assert page.all("img") == page.all("u") == page.all("i") == []
    assert [attrs["href"] for attrs in page.all("a") if "button" in attrs.get("class", "")] == ["/"]
    assert len(html) < SIZE_MAX


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("/payslips?a=1&b=2", "/payslips?a=1&amp;b=2"),
        ("https://app.example.org/x", "https://app.example.org/x"),
        ("http://app.localhost:8080/x", "http://app.localhost:8080/x"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("JaVaScRiPt:alert(1)", "/"),
        ("data:text/html,x", "/"),
        ("https:evil", "/"),
        ("/a\nb", "/"),
        (" /a", "/"),
        ("http://[", "/"),
        ("", "/"),
        ("/" + "a" * 9000, "/"),
        ('/"onmouseover="x', "/&#34;onmouseover=&#34;x"),
    ],
)
def test_links_lead_to_the_web_only(url, shown):
    view = wording.choose_provider(context(), (ProviderChoice("x", url),))
    assert f'href="{shown}"><span>Sign in with' in PAGES.choose_provider(view).text


MARKDOWN = """\
# Big heading
Press **OK**, then `run`. <b onclick=x>raw</b> ![pic](https://evil.example/x.png)
[web](https://help.example/a) [mail](mailto:it@corp.example) [settings](ms-settings:windowsupdate)
[bad](javascript:alert(1)) [worse](data:text/html,x) [file](file:///etc/passwd) <https://auto.example>

<script>alert(1)</script>

```
echo "<hi>"
```
"""


def test_instructions_are_rendered_without_html_images_or_strange_links():
    view = wording.remediation(samples.access(samples.rule(fix=MARKDOWN)), context(), can_continue=False)
    html = PAGES.remediation(view).text
    page = Outline(html)
    links = [attrs["href"] for attrs in page.all("a")]
    assert "<p><strong>Big heading</strong></p>" in html
    assert len(page.all("h1")) == 1
    assert "&lt;b onclick=x&gt;" in html
    assert page.all("img") == []
    assert "https://help.example/a" in links
    assert "ms-settings:windowsupdate" in links
    assert not [link for link in links if link.startswith(("javascript", "data", "file"))]
    assert 'data-copy="echo &#34;&lt;hi&gt;&#34;"' in html
    outside = [attrs for attrs in page.all("a") if attrs.get("target")]
    assert all(attrs["rel"] == "noopener noreferrer" for attrs in outside)


def test_a_sensors_words_are_never_markdown():
    """A compromised device must not put a link of its choice on a page that people trust."""
    found = samples.finding(recommended_actions=("[Click here](https://evil.example)",), rationale="**bold**")
    seen = samples.access(samples.RISKY, risk=samples.risk(found))
    view = wording.remediation(seen, context(), can_continue=False, posture=samples.posture(found))
    html = PAGES.remediation(view).text
    assert "[Click here](https://evil.example)" in html
    assert "**bold**" in html
    assert "https://evil.example" not in [attrs["href"] for attrs in Outline(html).all("a")]


@pytest.mark.parametrize(
    ("owner", "link"),
    [
        ("it@corp.example", "mailto:it@corp.example"),
        ("https://help.corp.example", "https://help.corp.example"),
        ("The service desk", None),
        ("evil@x.example?bcc=all@corp.example", None),
    ],
)
def test_whom_to_ask_is_a_link_when_it_can_be(owner, link):
    page = Outline(PAGES.blocked(wording.blocked(context(owner=owner), samples.refused())).text)
    links = [attrs["href"] for attrs in page.all("a") if attrs["href"].startswith(("mailto", "http"))]
    assert links == ([link] if link else [])


# --- the other pages ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("blocked", 403),
        ("restricted-read-only", 403),
        ("sign-in-needed", 401),
        ("step-up", 403),
        ("sign-out", 200),
        ("signed-out", 200),
        ("choose-provider", 200),
        ("me", 200),
        *[(f"error-{code}", status) for code, status in wording.ERROR_STATUS.items()],
    ],
)
def test_each_page_has_its_status(name, status):
    assert SAMPLES[name](PAGES).status == status


def test_signing_out_is_a_form_and_its_answer_may_lead_to_the_provider():
    pages = Pages(form_targets=("https://login.corp.example",))
    view = wording.sign_out_confirm(context(), csrf="t", form_targets=("https://op.example",))
    response = pages.sign_out_confirm(view)
    assert Outline(response.text).all("form") == [
        {"class": "actions", "method": "post", "action": "/.gate/logout"}
    ]
    policy = response.headers["Content-Security-Policy"]
    assert (
        allowed(policy, "form-action") == "form-action 'self' https://login.corp.example https://op.example"
    )


def test_too_many_requests_says_when_to_come_back():
    response = SAMPLES["error-too-many-requests"](PAGES)
    assert response.headers["Retry-After"] == "30"
    assert "Try again in about 30 seconds." in response.text


def test_the_brand_can_be_changed_and_is_escaped():
    html = Pages(brand="<Acme>").error(wording.error(context(), "internal")).text
    assert "<title>Something broke on our side · &lt;Acme&gt;</title>" in html


# --- problems ----------------------------------------------------------------------------------------------


def test_a_problem_document_follows_rfc_9457():
    response = problem(
        429,
        "rate-limited",
        "Too many",
        "slow down",
        reference="7F3K-9QXM",
        retry_after_s=3,
        limit=5,
        nothing=None,
    )
    assert response.status == 429
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["Retry-After"] == "3"
    assert response.headers["Cache-Control"] == "no-store"
    assert json.loads(response.body) == {
        "type": "urn:posturegate:problem:rate-limited",
        "title": "Too many",
        "status": 429,
        "detail": "slow down",
        "code": "rate-limited",
        "reference": "7F3K-9QXM",
        "retry_after": 3,
        "limit": 5,
    }


def test_a_problem_may_carry_headers():
    response = problem(401, "sign-in-required", "Sign in", headers={"WWW-Authenticate": "Bearer"})
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert "detail" not in json.loads(response.body)
