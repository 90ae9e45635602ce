"""The tour of the demo without a screen: every step over real HTTP, each with the time that it really took.

A step that did not happen ends the tour with what was expected and what was seen instead.
"""

import asyncio
import json
import re
import secrets
import sys
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TypeVar

from gateway.demo.browser import CUT_CODE, Answer, Browser, Stream, attribute_of, form_of, link_of
from gateway.demo.people import PEOPLE
from gateway.demo.simulator import DETECTION_TITLE, Action, Delivery, report, signed
from gateway.demo.world import World

T = TypeVar("T")

DEEP_PATH = "/reports/2026?quarter=3&note=a%20b&next=%2Fx"
"""A page somewhere in the app: after signing in, a person wants to be exactly there."""

CODE = re.compile(r"\b[2-9CFHJKMNPQRTVWXY]{4}-[2-9CFHJKMNPQRTVWXY]{4}\b")
PROBLEM = "application/problem+json"
SPOOFED = {"X-Gate-User": "dana", "X-Gate-Groups": "admins", "X-Gate-Jwt": "e30.e30.e30", "X-Gate-Evil": "1"}
READING_DELAY_S = 1.0
"""How late this process may notice what already lies in its sockets: it shares the cores with the gateway."""


MOST_SEEN = 1200
_TAGS = re.compile(r"<(script|style)\b.*?</\1>|<[^>]*>", re.DOTALL)


class StepFailedError(Exception):
    """A step did not happen as it should."""

    def __init__(self, expected: str, seen: object) -> None:
        super().__init__(f"expected {expected}; seen: {seen}")
        self.expected = expected
        text = " ".join(_TAGS.sub(" ", str(seen)).split())
        self.seen = text if len(text) <= MOST_SEEN else f"{text[:MOST_SEEN]} …"


def expect(is_so: bool, expected: str, seen: object) -> None:
    """Raise `StepFailedError` unless it is so."""
    if not is_so:
        raise StepFailedError(expected, seen)


def required(value: T | None, expected: str, seen: object) -> T:
    """Return the value. Raises `StepFailedError` when there is none."""
    if value is None:
        raise StepFailedError(expected, seen)
    return value


class Tour:
    """Drives the demo. `say_step` and `say_fact` print; a fact has the seconds that it took, or None."""

    def __init__(
        self,
        world: World,
        *,
        say_step: Callable[[int, str], None],
        say_fact: Callable[[str, float | None], None],
    ) -> None:
        self._world = world
        self._say_step = say_step
        self._fact = say_fact
        self._app = world.addresses.app_url
        self._laptop = PEOPLE["ana"].laptop
        self.exposure_window_s = float("nan")

    async def run(self) -> None:
        """Take every step in order. Raises `StepFailedError` at the first that does not happen."""
        async with Browser() as ana, Browser() as chloe, Browser() as dana:
            steps: list[tuple[str, Callable[[], Awaitable[None]]]] = [
                ("Nobody is signed in", self._not_signed_in),
                ("Ana signs in", lambda: self._sign_in(ana)),
                ("Two streams stay open, then Ana's laptop is compromised", lambda: self._compromise(ana)),
                ("Ana reads what to do, the service desk reads why", lambda: self._remediation(ana)),
                ("The laptop is cleaned", lambda: self._clean(ana)),
                ("Disk encryption goes off and on again", lambda: self._encryption(ana)),
                ("Chloe, a contractor, has limited access", lambda: self._contractor(chloe)),
                ("Dana opens the admin area with her security key", lambda: self._admin(ana, dana)),
                ("The webhook believes nobody without a signature", self._forged),
                ("Ana signs out", lambda: self._sign_out(ana)),
            ]
            for number, (title, step) in enumerate(steps, 1):
                self._say_step(number, title)
                await step()

    # --- steps ------------------------------------------------------------------------------------------

    async def _not_signed_in(self) -> None:
        async with Browser() as nobody:
            page = await nobody.navigate(self._app + DEEP_PATH)
            is_redirect = page.status in {302, 303} and page.location.startswith(
                self._world.addresses.login_url
            )
            expect(is_redirect, "a redirect to the login host", page)
            self._fact(f"a page is sent to sign in: {page.status} to the login host", page.took_s)
            api = await nobody.fetch(f"{self._app}/api/whoami")
            _expect_problem(api, HTTPStatus.UNAUTHORIZED)
            expect("set-cookie" not in api.headers, "no login state for an API client", api.headers)
            self._fact("an API client gets 401 problem+json, never a redirect", api.took_s)

    async def _sign_in(self, ana: Browser) -> None:
        wanted = self._app + DEEP_PATH
        began = time.monotonic()
        page = await ana.sign_in(wanted, "ana")
        took = time.monotonic() - began
        expect(
            page.status == HTTPStatus.OK and page.url == wanted, f"200 at {wanted}", f"{page} at {page.url}"
        )
        expect("Ana Torres" in page.text, "the app greets Ana Torres", page.text[:300])
        self._fact("signed in at the provider, and back at the exact URL", took)

        whoami = await ana.fetch(f"{self._app}/api/whoami")
        seen = whoami.json()
        assertion = seen["assertion"]
        expect(assertion["is_verified"], "an assertion that the published key verifies", assertion["fault"])
        expect(assertion["claims"]["sub"] == "ana", "an assertion for `ana`", assertion["claims"])
        headers = {name.lower(): value for name, value in seen["headers"].items()}
        expect(headers.get("x-gate-user") == "ana", "the header X-Gate-User: ana", headers)
        expect(seen["cookies"] == [], "no cookie of the gateway reaches the app", seen["cookies"])
        self._fact("the app got identity headers, and verified the signed assertion", whoami.took_s)

        spoofed = await ana.fetch(f"{self._app}/api/whoami", headers=SPOOFED)
        reached = {name.lower(): value for name, value in spoofed.json()["headers"].items()}
        is_clean = (
            reached.get("x-gate-user") == "ana"
            and "admins" not in reached.get("x-gate-groups", "")
            and "x-gate-evil" not in reached
            and spoofed.json()["assertion"]["is_verified"]
        )
        expect(is_clean, "only the gateway's own X-Gate-* headers at the app", reached)
        self._fact("identity headers that the client sent did not reach the app", spoofed.took_s)

        wiki = f"{self._world.addresses.wiki_url}/"
        began = time.monotonic()
        page = await ana.open(wiki)
        is_there = page.status == HTTPStatus.OK and page.url == wiki and "Ana Torres" in page.text
        expect(is_there, f"200 at {wiki} without another click", f"{page} at {page.url}")
        self._fact("a second app opened without another sign-in", time.monotonic() - began)

    async def _compromise(self, ana: Browser) -> None:
        socket_url = self._app.replace("http", "ws", 1) + "/live"
        async with ana.socket(socket_url) as socket, ana.events(f"{self._app}/events") as events:
            began = time.monotonic()
            for stream, what in ((socket, "WebSocket"), (events, "event stream")):
                expect(await stream.until_messages(2), f"a {what} that ticks", _end_of(stream))
            self._fact("a WebSocket and an event stream tick", time.monotonic() - began)

            delivery = await self._act(Action.COMPROMISE)
            answered = time.monotonic()
            self.exposure_window_s = delivery.took_s
            self._fact(f"webhook answered {delivery.status}, enforced: the exposure window", delivery.took_s)

            await socket.until_ended()
            await events.until_ended()
            self._expect_cut(socket, f"the WebSocket was closed with {CUT_CODE}", answered)
            expect(socket.close_code == CUT_CODE, f"close code {CUT_CODE}", _end_of(socket))
            self._expect_cut(events, "the event stream was ended", answered)

        api = await ana.fetch(f"{self._app}/api/whoami")
        _expect_problem(api, HTTPStatus.FORBIDDEN)
        expect("/.gate/fix" in api.text, "the URL of the remediation page in the problem", api.text)
        self._fact("an API request gets 403 problem+json that names the way out", api.took_s)
        page = await ana.navigate(self._app + DEEP_PATH)
        is_sent = page.status in {302, 303} and "/.gate/fix" in page.location
        expect(is_sent, "a redirect to /.gate/fix", page)
        self._fact(f"a page is sent to remediation: {page.status}", page.took_s)

    async def _remediation(self, ana: Browser) -> None:
        page = await ana.open(self._app + DEEP_PATH)
        expect("/.gate/fix" in page.url, "the remediation page", f"{page} at {page.url}")
        for what, text in (
            ("the device", self._hostname),
            ("what was detected", DETECTION_TITLE),
            ("the sensor", "Demo edr"),
            ("a first thing to do", "Disconnect from the company network"),
        ):
            expect(text in page.text, f"a remediation page that names {what} (`{text}`)", page.text)
        code = required(CODE.search(page.text), "a reference code on the page", page.text)
        self._fact("the page names device, finding, sensor and what to do", page.took_s)

        began = time.monotonic()
        record = await self._explain(code[0])
        for what, text in (
            ("the deciding policy", "staff have to repair first"),
            ("the device", self._hostname),
        ):
            expect(text in record, f"a decision record that names {what} (`{text}`)", record)
        self._fact(f"`posturegate explain {code[0]}` prints the decision record", time.monotonic() - began)

    async def _clean(self, ana: Browser) -> None:
        page = await ana.open(self._app + DEEP_PATH)
        stream_url = attribute_of(page, "data-stream")
        expect(bool(stream_url), "a status stream on the remediation page", page.text)
        async with ana.events(self._app + stream_url) as status:
            expect(
                await status.until('"can_continue":false'),
                "a status stream that says paused",
                _end_of(status),
            )
            delivery = await self._act(Action.CLEAN)
            answered = time.monotonic()
            self._fact(f"webhook answered {delivery.status}, enforced", delivery.took_s)
            is_restored = await status.until('"can_continue":true')
            expect(is_restored, "a status stream that says restored", status.messages[-1:])
            self._fact("the open remediation page was told: access is back", time.monotonic() - answered)
        await self._expect_open(ana)

    async def _encryption(self, ana: Browser) -> None:
        delivery = await self._act(Action.DECRYPT)
        page = await ana.open(self._app + DEEP_PATH)
        is_about_it = page.status == HTTPStatus.FORBIDDEN and "Turn on disk encryption" in page.text
        expect(is_about_it, "a remediation page that says how to turn it on", f"{page} {page.text}")
        self._fact("a fact, not a detection, closed the app", delivery.took_s)
        delivery = await self._act(Action.ENCRYPT)
        self._fact("and opened it again", delivery.took_s)
        await self._expect_open(ana)

    async def _contractor(self, chloe: Browser) -> None:
        page = await chloe.sign_in(f"{self._app}/", "chloe")
        is_in = page.status == HTTPStatus.OK and "Chloe Martin" in page.text and "read-only" in page.text
        expect(is_in, "a page that reads, and tells of limited access", f"{page}: {page.text[:300]}")
        self._fact("reading works; the app was told of the limits", page.took_s)
        posted = await chloe.fetch(f"{self._app}/notes", method="POST", form={"note": "mine"})
        expect(posted.status == HTTPStatus.FORBIDDEN, "403 for POST", posted)
        self._fact("writing is refused: 403", posted.took_s)
        download = await chloe.fetch(f"{self._app}/download/salaries.csv")
        expect(download.status == HTTPStatus.FORBIDDEN, "403 for a download", download)
        expect("71000" not in download.text, "no byte of the file", download.text)
        self._fact("downloading is refused: 403, and no byte of the file", download.took_s)

    async def _admin(self, ana: Browser, dana: Browser) -> None:
        url = f"{self._app}/admin"
        refused = await ana.open(url)
        expect(refused.status == HTTPStatus.FORBIDDEN, "403 for Ana, who is no administrator", refused)
        expect("for administrators" in refused.text, "a page that says why", refused.text)
        self._fact("Ana is blocked, and reads why", refused.took_s)
        api = await self._signed_in_weakly(dana, url)
        self._fact("Dana's weak sign-in is not enough: a stronger one is asked for", api.took_s)
        began = time.monotonic()
        page = await self._step_up(dana, url)
        is_in = page.status == HTTPStatus.OK and page.url == url and "Admin area" in page.text
        expect(is_in, f"200 at {url} after the security key", f"{page} at {page.url}")
        self._fact("with her security key she is in, at the exact URL", time.monotonic() - began)

    async def _signed_in_weakly(self, dana: Browser, url: str) -> Answer:
        page = await dana.sign_in(f"{self._app}/", "dana")
        expect("Dana Weiss" in page.text, "Dana signed in", f"{page} at {page.url}")
        api = await dana.fetch(url)
        is_asked = api.status == HTTPStatus.UNAUTHORIZED and "insufficient_user_authentication" in (
            api.text + api.header("www-authenticate")
        )
        expect(is_asked, "401 insufficient_user_authentication (RFC 9470)", f"{api} {api.text}")
        return api

    async def _step_up(self, dana: Browser, url: str) -> Answer:
        page = await dana.sign_in(url, "dana", with_key=True)
        if "/.gate/" in page.url:  # a page of the gateway explains before the provider asks
            link = required(link_of(page, "/.gate/login"), "a way to the stronger sign-in", page.text)
            page = await dana.sign_in(link, "dana", with_key=True)
        return page

    async def _forged(self) -> None:
        sensor = self._world.sensor
        state = next(iter(sensor.laptops.values()))
        body = json.dumps({"data": {"events": [report(state)]}}).encode()
        message = f"msg_{secrets.token_hex(12)}"
        forged = signed(body, message_id=message, secret="whsec_" + "A" * 43 + "=", at=time.time())
        delivery = await sensor.send_raw(body, forged, "forged")
        expect(delivery.status == HTTPStatus.UNAUTHORIZED, "401 for a forged signature", delivery)
        self._fact("a forged delivery is refused: 401", delivery.took_s)
        good = signed(body, message_id=message, secret=self._world.sensor_secret, at=time.time())
        first = await sensor.send_raw(body, good, "first")
        expect(first.is_enforced and first.answer.get("accepted") == 1, "accepted: 1", first)
        again = await sensor.send_raw(body, good, "again")
        is_known = again.status is not None and again.status < HTTPStatus.BAD_REQUEST
        expect(is_known and again.answer.get("duplicates") == 1, "duplicates: 1", again)
        self._fact("the same delivery again counts as a duplicate", again.took_s)

    async def _sign_out(self, ana: Browser) -> None:
        stolen = "; ".join(
            f"{each.key}={each.value}" for each in ana.jar if each["domain"] == "app.localhost"
        )
        page = await ana.open(f"{self._app}/.gate/logout")
        form = required(form_of(page, "/.gate/logout"), "a form that asks whether to sign out", page)
        began = time.monotonic()
        await ana.submit(page, form, {})
        self._fact("the session was ended", time.monotonic() - began)
        after = await ana.open(f"{self._app}/")
        is_out = after.url.startswith(self._world.addresses.login_url) and "signed out" in after.text.lower()
        expect(is_out, "a page that says: you are signed out", f"{after} at {after.url}")
        async with Browser() as thief:
            replay = await thief.fetch(f"{self._app}/api/whoami", headers={"Cookie": stolen})
        _expect_problem(replay, HTTPStatus.UNAUTHORIZED)
        self._fact("the old cookie is worthless: 401", replay.took_s)

    # --- parts of steps ---------------------------------------------------------------------------------

    @property
    def _hostname(self) -> str:
        return self._laptop.hostname if self._laptop is not None else ""

    async def _act(self, action: Action) -> Delivery:
        serial = self._laptop.serial if self._laptop is not None else ""
        delivery = required(await self._world.sensor.act(serial, action), "a delivery", action)
        expect(delivery.is_enforced, "a 2xx answer that says enforced: true", delivery)
        expect(not delivery.answer.get("rejected"), "no event rejected", delivery.answer)
        return delivery

    async def _expect_open(self, ana: Browser) -> None:
        page = await ana.open(self._app + DEEP_PATH)
        is_open = page.status == HTTPStatus.OK and page.url == self._app + DEEP_PATH
        expect(is_open and "Ana Torres" in page.text, "the app works again", f"{page} at {page.url}")
        self._fact("the app works again, with the same session", page.took_s)

    async def incident(self) -> str:
        """Return the timeline that the gateway kept of the compromise. Raises `StepFailedError` without one."""
        text = await self._cli("incidents", "--device", self._hostname)
        blocks = [
            block for block in text.split("\n\n") if DETECTION_TITLE in block and "access restored" in block
        ]
        expect(bool(blocks), f"an incident of {self._hostname}, from webhook to access restored", text)
        return blocks[0].strip()

    async def _explain(self, code: str) -> str:
        return await self._cli("explain", code)

    async def _cli(self, command: str, *arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", command, "--config", str(self._world.config), *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await process.communicate()
        text = output.decode(errors="replace")
        expect(
            process.returncode == 0, f"`posturegate {command}` to end with 0", f"{process.returncode}: {text}"
        )
        return text

    def _expect_cut(self, stream: Stream, what: str, answered_mono_s: float) -> None:
        ended = required(stream.ended_mono_s, f"{what} with the webhook's answer", _end_of(stream))
        late_s = ended - answered_mono_s
        expect(late_s < READING_DELAY_S, f"{what} with the webhook's answer", f"{late_s:.3f} s after it")
        when = "before" if late_s <= 0 else "after"
        self._fact(f"{what}; seen {abs(late_s) * 1000:.1f} ms {when} the answer", None)


def _expect_problem(answer: Answer, status: HTTPStatus) -> None:
    is_problem = answer.status == status and answer.header("content-type").startswith(PROBLEM)
    expect(is_problem, f"{status.value} {PROBLEM}", f"{answer}: {answer.text[:300]}")


def _end_of(stream: Stream) -> str:
    if stream.ended_mono_s is None:
        return f"still open after {len(stream.messages)} messages"
    return f"ended after {len(stream.messages)} messages, code {stream.close_code} {stream.close_reason!r}"
